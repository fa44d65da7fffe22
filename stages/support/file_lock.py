"""A lock on a file, for threads and processes of one host, and of several where the file system has flock (NFS 4 has).

It is the kernel's flock: a waiter sleeps until its turn, the lock of a process that dies is free at once, kill -9 included,
and a child that inherits the descriptor holds the lock on when its parent is gone.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Held", "file_lock"]


class Held(NamedTuple):
    """A lock that is held. waited : whether another had it first.  descriptor : of the locked file."""

    waited: bool
    descriptor: int


@contextlib.contextmanager
def file_lock(path: Path, on_wait: Callable[[], object] = lambda: None, *, remove: bool = False) -> Iterator[Held]:
    """Hold the lock on the file `path` while the block runs.

    Parameters
    ----------
    path
        The file; it is created, with its folder, if need be.
    on_wait
        Called once, before the wait, if another holds the lock.
    remove
        Whether the file is removed afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        with path.open("w") as file:
            if not _taken_at_once(file.fileno()):
                if not waited:
                    on_wait()
                waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file.fileno()):
                continue  # whoever held it has removed it
            try:
                yield Held(waited, file.fileno())
            finally:
                if remove:
                    path.unlink()
            return


def _taken_at_once(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
