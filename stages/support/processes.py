"""Which process is at something, and whether it still lives: for records that may outlive it."""

import os
import socket

import psutil

__all__ = ["lives", "this_process"]

_CLOCK = 2.0  # s by which a process's start may seem to move when the clock is set


def this_process() -> dict[str, object]:
    """host, pid, and `started`, the time [s] that tells it from a later process of that pid."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def lives(pid: int, started: float) -> bool:
    """Whether that process of this host still runs."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < _CLOCK
    except psutil.NoSuchProcess:
        return False
