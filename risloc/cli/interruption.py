"""Ctrl-C before there is anything to tidy up, and afterwards."""

import os
import signal
from types import FrameType

from risloc.cli.errors import INTERRUPTED

__all__ = ["end_at_once", "end_in_order"]


def end_at_once() -> None:
    """From now on Ctrl-C ends the process: what is being imported might swallow a KeyboardInterrupt.

    Also where a shell that starts a job with `&` has it ignore SIGINT.
    """
    signal.signal(signal.SIGINT, _at_once)


def end_in_order() -> None:
    """From now on, after `end_at_once`, Ctrl-C is a KeyboardInterrupt; without it nothing is changed."""
    if signal.getsignal(signal.SIGINT) is _at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _at_once(number: int, frame: FrameType | None) -> None:
    os.write(2, b"risloc: interrupted\n")
    os._exit(INTERRUPTED)
