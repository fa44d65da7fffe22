"""Shape and dtype checks on every call into risloc, one thread, and no word from outside the test."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("risloc", "beartype.beartype")  # before the first import of risloc

from risloc.config import build  # noqa: E402
from risloc.scenes.scenario import Scenario  # noqa: E402
from risloc.utils.yaml_reader import read_yaml  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
LONGEST = "test_pipeline_e2e.py"
FOREIGN = ("DVC_", "PREFECT_", "MLFLOW_", "OPTUNA_", "RISLOC_", "WORLD_SIZE", "RANK", "LOCAL_RANK")

settings.register_profile("house", deadline=None, derandomize=True)  # the same examples on every machine, however slow
settings.register_profile(
    "long", deadline=None, max_examples=5000
)  # pytest --hypothesis-profile=long tests/test_fuzz_*.py
settings.load_profile("house")

torch.set_num_threads(1)  # small tensors: a second thread only waits


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file comes first, then those that run whole programs: shared among processes, no long one comes last."""
    long = {item.path for item in items if any(map(item.get_closest_marker, ("e2e", "scale", "ui")))}
    items.sort(key=lambda item: (item.path.name != LONGEST, item.path not in long))


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the caller's DVC run, servers or databases, nor leaves anything there."""
    home = tmp_path_factory.getbasetemp()
    for name in [key for key in os.environ if key.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(home / "prefect"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server that the tests of this process share."""
    from servers import free_port, prefect_server

    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    environment |= {"PREFECT_HOME": str(folder), "DO_NOT_TRACK": "true"}
    with prefect_server(folder, port, environment):
        yield f"http://127.0.0.1:{port}/api"


@pytest.fixture
def shared_prefect(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages of a test run on the shared server, not each on a temporary one, which takes seconds to start."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """The scenario of params.yaml: the default preset."""
    return build(Scenario, read_yaml(REPOSITORY / "params.yaml")["scenario"], "scenario")


@pytest.fixture(scope="session")
def small_scenario(scenario: Scenario) -> Scenario:
    """4 x 4 elements, M = 4, L = 6, K = 1..3 of 3: quick, and still near-field (0.6 m wide, 0.3..1.5 m away)."""
    return dataclasses.replace(
        scenario,
        preset="small",
        n_h=4,
        n_v=4,
        antennas=4,
        snapshots=6,
        K_MAX=3,
        K_span=(1, 3),
        distance_span_m=(0.3, 1.5),
    )


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded CPU generator."""
    return torch.Generator().manual_seed(20261123)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of measurements: three scenes of two sources at 20 dB."""
    from risloc.cli.main import run

    path = tmp_path_factory.mktemp("room") / "room.h5"
    assert run(["simulate", str(path), "--scenes", "3", "--snr", "20", "--sources", "2"]) == 0
    return path


@pytest.fixture(scope="session")
def easy(small_scenario: Scenario) -> Scenario:
    """One source or two at 15 dB or more: what a small network learns in seconds."""
    return dataclasses.replace(small_scenario, K_span=(1, 2), K_MAX=2, snr_db_span=(15.0, 20.0))


@pytest.fixture(scope="session")
def shard_dir(easy: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of `easy`, to be read only."""
    from learning_shards import make_shards

    return make_shards(tmp_path_factory.mktemp("shards"), easy)


@pytest.fixture(scope="session")
def alone(easy: Scenario, shard_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the search of `searches.py` as one process runs it, on a journal."""
    from small_searches import run_search

    from stages.support.mapping import SERIAL

    path = tmp_path_factory.mktemp("alone")
    run_search(easy, shard_dir, path, SERIAL)
    assert read_yaml(path / "best.yaml")["chosen"] != "default"
    return path
