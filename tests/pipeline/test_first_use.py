"""Several first uses of Prefect at once: one makes the database, the others wait for it."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from child_processes import started

USE = """
import sys, time
from pathlib import Path
import pipeline.env
import prefect
from pipeline.first_use import database_made

@prefect.flow
def one(): return 1

ready = Path(sys.argv[1])
(ready / sys.argv[2]).touch()
while len(list(ready.iterdir())) < 3:
    time.sleep(0.01)
database_made()
one()
"""


@pytest.mark.e2e
def test_three_first_uses_at_once_make_one_database(repository: Path, tmp_path: Path) -> None:
    """Without the lock two of them make the tables at once, and 190 lines of traceback say so."""
    (tmp_path / "ready").mkdir()
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # on a busy machine
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    commands = [[sys.executable, "-c", USE, str(tmp_path / "ready"), str(number)] for number in range(3)]
    with contextlib.ExitStack() as stack:
        for child in [stack.enter_context(started(c, cwd=repository, env=environment, **pipes)) for c in commands]:
            said, _ = child.communicate()
            assert child.returncode == 0, said
            assert "Traceback" not in said
            assert "Error" not in said, said
    assert len(list((tmp_path / "home").glob("prefect.db.made-by-*"))) == 1
