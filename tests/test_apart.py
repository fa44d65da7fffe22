"""Files that HDF5's library does not survive end a child process, and the command in one line."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from risloc.command.apart import Steps, measured, sharded, tried
from risloc.command.words import CommandError

LOOPS = {"measurements.h5": measured, "shard.h5": sharded}


@pytest.mark.parametrize("name", LOOPS)
def test_a_file_that_keeps_hdf5_in_a_loop_is_one_line(name: str, repository: Path) -> None:
    path = repository / "tests" / "fuzz" / "loops" / name
    began = time.monotonic()
    with pytest.raises(CommandError, match=f"{path}: expected HDF5 to read it, it is in a loop"):
        tried(path, LOOPS[name], quiet_s=2.0)
    assert time.monotonic() - began < 60


def test_a_file_that_crashes_hdf5_is_one_line(tmp_path: Path) -> None:
    def crashing(path: Path) -> Iterator[None]:
        yield
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(CommandError, match=r"expected HDF5 to read it, it crashed \(signal 9\)"):
        tried(tmp_path / "m.h5", crashing)


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError])
def test_what_is_merely_wrong_is_left_to_its_reader(error: type[Exception], tmp_path: Path) -> None:
    def failing(path: Path) -> Iterator[None]:
        yield
        raise error("no matter")

    steps: Steps = failing
    tried(tmp_path / "m.h5", steps)
