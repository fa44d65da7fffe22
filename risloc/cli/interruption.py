"""Ctrl-C while packages are imported, and afterwards."""

import os
import signal
from types import FrameType

from risloc.cli.errors import INTERRUPTED

__all__ = ["end_at_once", "end_in_order"]


def end_at_once() -> None:
    """Let Ctrl-C end the process at once, because a package that is being imported may swallow a KeyboardInterrupt.

    This also holds where a shell that starts a job with `&` makes it ignore SIGINT.
    """
    signal.signal(signal.SIGINT, _end)


def end_in_order() -> None:
    """Let Ctrl-C raise a KeyboardInterrupt again, if `end_at_once` was called before."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"risloc: interrupted\n")
    os._exit(INTERRUPTED)
