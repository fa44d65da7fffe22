"""kill -9 of Prefect's server in the middle of a stage whose work is mapped; of a training, see test_pipeline_e2e.py.

The stage runs to its end, one line says that Prefect was not informed, and the next run on a new server succeeds.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import mapped_without_server
import pytest
from child_processes import kill
from mapped_stages import SIMULATE, Run, identity, undisturbed
from servers import free_port, prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.scale, pytest.mark.timeout(900)]


def test_a_mapped_stage_goes_on_without_the_server_and_does_not_wait_for_it(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "RISLOC_RUNNER": "processes:2",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_CLIENT_MAX_RETRIES": "1",  # not a minute of them
    }
    with (
        prefect_server(tmp_path, port) as server,
        Run(SIMULATE, tmp_path / "into", **settings) as run,
    ):
        run.wait_for(SIMULATE.pieces // 5)
        kept = SIMULATE.kept(run.folder)
        began = time.monotonic()
        kill(server)
        assert SIMULATE.midway(kept)
        run.wait()
        print(f"ended {time.monotonic() - began:.1f} s after the server")
        said = run.said()
    assert "simulate is done; Prefect's server is unreachable and was not informed" in said
    assert "Still processing items" not in said, "it does not wait for a server that is gone"
    assert kept < {identity(path) for path in (tmp_path / "into/data/raw/train").iterdir()}
    with prefect_server(tmp_path, port), Run(SIMULATE, tmp_path / "again", **settings) as run:
        run.wait()
    expected = undisturbed(SIMULATE, tmp_path / "alone")
    for name in ("into", "again"):
        assert (tmp_path / name / "metrics" / "simulate.json").read_bytes() == expected


@pytest.mark.parametrize("runner", ["threads:2", "processes:2", "dask:2"])
def test_workers_that_never_met_the_server_do_their_work_and_a_piece_without_a_result_is_repeated(
    tmp_path: Path, repository: Path, runner: str
) -> None:
    port = free_port()
    settings = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_CLIENT_MAX_RETRIES": "1"}
    settings["PYTHONPATH"] = os.pathsep.join([str(repository), str(repository / "tests" / "support")])
    with prefect_server(tmp_path, port) as server:
        done = subprocess.run(
            [sys.executable, mapped_without_server.__file__, str(server.pid), str(tmp_path), runner],
            env=os.environ | settings,
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    squares = [piece * piece for piece in range(mapped_without_server.PIECES)]
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results[:2] == [squares, squares]
    if runner != "dask:2":
        assert re.match(r"the same piece of work has ended 3 times without a result \(.*SystemExit: 0\)", results[2])
        assert re.search(r"A piece of work has ended without a result \(.*SystemExit: 1\); it is repeated", done.stderr)
