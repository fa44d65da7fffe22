"""A prompt end on Ctrl-C and SIGTERM.

Prefect's temporary server dies by the same Ctrl-C and its client then retries for minutes; so the first signal runs the
clean-up calls, ends the child processes, and leaves at once with code 130.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import psutil

__all__ = ["EXIT_CODE", "install", "leave", "on_stop"]

EXIT_CODE = 130
_GRACE_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_cleanup: list[Callable[[], None]] = []


@contextlib.contextmanager
def on_stop(call: Callable[[], None]) -> Iterator[None]:
    """While the block runs, have `call` run (the innermost block's first) when a signal ends this process."""
    _cleanup.append(call)
    try:
        yield
    finally:
        _cleanup.remove(call)


def install() -> None:
    """Take over SIGINT and SIGTERM. Call again where a library may have installed its own handlers."""
    for number in _SIGNALS:
        signal.signal(number, _stop)


def leave(code: int) -> NoReturn:
    """End this process at once with its words written and its children ended, whatever libraries would do at the exit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    _end_children()
    os._exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    watchdog = threading.Timer(_GRACE_SECONDS, os._exit, [EXIT_CODE])  # a clean-up may need a lock that we interrupted
    watchdog.daemon = True
    watchdog.start()
    try:
        with contextlib.suppress(OSError):  # whoever read our words may be gone
            sys.stderr.write(f"stopped by {signal.Signals(number).name}\n")
        for call in reversed(_cleanup):
            call()
        _end_children()
    finally:
        os._exit(EXIT_CODE)


def _end_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
