"""The end of the process by Ctrl-C or SIGTERM."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from risloc.cli.errors import INTERRUPTED

__all__ = ["TERMINATED", "end_at_once", "end_in_order", "leave"]

TERMINATED = 143


def end_at_once() -> None:
    """Let Ctrl-C end the process at once, because a package that is being imported may swallow a KeyboardInterrupt.

    This also holds where a shell that starts a job with `&` makes it ignore SIGINT.
    """
    signal.signal(signal.SIGINT, _end)


def end_in_order() -> None:
    """Let Ctrl-C raise a KeyboardInterrupt again, if `end_at_once` was called before."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(code: int) -> NoReturn:
    """End the process without finalising the interpreter.

    At its end, Python stops the threads that still compute, such as those of the viewer's server, in the middle of a C++
    library. This aborts the process or blocks it for ever.

    Parameters
    ----------
    code
        The exit code.
    """
    end_at_once()  # even if the reader of the output does not read
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
    os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"risloc: interrupted\n")
    os._exit(INTERRUPTED)
