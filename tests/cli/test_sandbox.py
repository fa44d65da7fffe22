"""A child process that does not come back, or that a signal ends, is one line of the command: harmless stand-ins for HDF5."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from risloc.cli.errors import CommandError
from risloc.cli.sandbox import Steps, read_in_child


def test_a_child_that_does_not_return_is_ended_and_one_line(tmp_path: Path) -> None:
    """A stand-in: one step sleeps for an hour, deaf to what Ctrl-C and a polite end send."""
    pid = tmp_path / "pid"

    def sleeping(path: Path) -> Iterator[dict[int, str]]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        pid.write_text(str(os.getpid()), encoding="utf-8")
        yield {}
        time.sleep(3600)

    with pytest.raises(CommandError, match=r"m\.h5: reading it has not finished within 2 s"):
        read_in_child(tmp_path / "m.h5", sleeping, quiet_s=2.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="utf-8")), 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_a_signal_ends_is_one_line(number: signal.Signals, tmp_path: Path) -> None:
    """Also where this process has a handler of its own, which a fork would inherit."""

    def ending(path: Path) -> Iterator[dict[int, str]]:
        yield {}
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(CommandError, match=rf"signal {number:d} ended HDF5 or SciPy while it was reading the file"):
            read_in_child(tmp_path / "m.h5", ending)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_is_left_to_the_parent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal sends it to both; the child would show a traceback."""

    def interrupted(path: Path) -> Iterator[dict[int, str]]:
        os.kill(os.getpid(), signal.SIGINT)
        yield {3: "y: bad"}

    assert read_in_child(tmp_path / "m.h5", interrupted) == {3: "y: bad"}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError])
def test_what_is_merely_wrong_is_left_to_its_reader(error: type[Exception], tmp_path: Path) -> None:
    def failing(path: Path) -> Iterator[dict[int, str]]:
        yield {3: "y: bad"}
        raise error("no matter")

    steps: Steps = failing
    assert read_in_child(tmp_path / "m.h5", steps) == {3: "y: bad"}
