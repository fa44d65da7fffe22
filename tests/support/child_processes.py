"""Processes that a test starts and that do not outlive it."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

__all__ = ["end", "kill", "started"]


@contextlib.contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process of `subprocess.Popen`, killed at the end of the block if it still runs, with all that it has started.

    The block of a Popen itself waits for the process, which may never end if a test fails.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            kill(process)


def end(process: psutil.Popen) -> None:
    """SIGTERM, and kill -9 for it and for all that it has started, if they are still there after 15 s."""
    everyone = _family(process)
    if everyone:
        process.terminate()
        for slow in psutil.wait_procs(everyone, 15)[1]:
            slow.kill()
    process.wait()


def kill(process: psutil.Popen | subprocess.Popen) -> None:
    """kill -9 of a process and of all that it has started."""
    for each in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _family(process: psutil.Popen | subprocess.Popen) -> list[Any]:
    """All that the process has started, and the process; empty if it has ended."""
    if process.poll() is not None:
        return []
    return [*psutil.Process(process.pid).children(recursive=True), process]
