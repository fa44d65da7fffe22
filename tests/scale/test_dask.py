"""Mapped work on Dask, for real: a cluster of this process's own, and a scheduler and a worker that were there before."""

import pytest
from mapped_run import differing, run_all, run_script
from servers import dask_cluster

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def serial(small_scenario, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    run_all(folder, small_scenario)
    return folder


def test_every_byte_is_the_same_on_a_cluster_of_its_own(serial, small_scenario, tmp_path, prefect_url):
    run_script(tmp_path, small_scenario, "dask:2", PREFECT_API_URL=prefect_url)
    assert differing(serial, tmp_path / "0") == []
    assert list((tmp_path / "0" / "state").iterdir()) == []


def test_every_byte_is_the_same_on_a_scheduler_that_was_there(
    serial, small_scenario, tmp_path, repository, prefect_url
):
    with dask_cluster(tmp_path, repository, workers=1, threads=2) as (address, _):
        run_script(tmp_path, small_scenario, f"dask:{address}", PREFECT_API_URL=prefect_url)
    assert differing(serial, tmp_path / "0") == []
    assert list((tmp_path / "0" / "state").iterdir()) == []
