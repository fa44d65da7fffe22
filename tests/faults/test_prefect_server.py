"""kill -9 of Prefect's server in the middle of a stage whose work is mapped; of a training, see test_pipeline_e2e.py.

The stage runs to its end, one line says that Prefect was not informed, and the next run on a new server succeeds.
"""

import dataclasses
import time
from pathlib import Path

import pytest
from child_processes import kill
from mapped_stages import SIMULATE, Run, identity, small_simulation, undisturbed
from servers import free_port, prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.scale, pytest.mark.timeout(900)]

LONG = dataclasses.replace(SIMULATE, pieces=160, changes=small_simulation(160))
"""Long enough for every worker process to have met the server before it dies."""


def test_a_mapped_stage_goes_on_without_the_server_and_does_not_wait_for_it(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "RISLOC_RUNNER": "processes:2",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_CLIENT_MAX_RETRIES": "1",  # not a minute of them
    }
    with (
        prefect_server(tmp_path, port) as server,
        Run(LONG, tmp_path / "into", **settings) as run,
    ):
        run.wait_for(LONG.pieces // 5)
        kept = LONG.kept(run.folder)
        began = time.monotonic()
        kill(server)
        assert LONG.midway(kept)
        run.wait()
        print(f"ended {time.monotonic() - began:.1f} s after the server")
        said = run.said()
    assert "simulate is done; Prefect's server is unreachable and was not informed" in said
    assert "Still processing items" not in said, "it does not wait for a server that is gone"
    assert kept < {identity(path) for path in (tmp_path / "into/data/raw/train").iterdir()}
    with prefect_server(tmp_path, port), Run(LONG, tmp_path / "again", **settings) as run:
        run.wait()
    expected = undisturbed(LONG, tmp_path / "alone")
    for name in ("into", "again"):
        assert (tmp_path / name / "metrics" / "simulate.json").read_bytes() == expected
