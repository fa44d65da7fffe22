"""Read a file in a process of its own first.

HDF5's library is C: a crafted file can crash it, or keep it in a loop that no signal handler of Python's ends. Who does so
ends a child here, and the command says so.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path

import torch

from risloc.command.words import CommandError
from risloc.measurement_reader import MeasurementReader
from risloc.shards import check_shard

__all__ = ["Steps", "measured", "sharded", "slices", "tried"]

QUIET_S = 60.0  # one step takes a fraction of a second
_AT_ONCE = 2**25  # bytes of a step, about

Steps = Callable[[Path], Iterator[None]]
"""What is to be done with a file, piece by piece."""


def tried(path: Path, steps: Steps, quiet_s: float = QUIET_S) -> None:
    """Take the steps in a child process; what they raise is left to those who take them in earnest.

    Raises
    ------
    CommandError
        The child was ended by a signal, or was busy with one step for `quiet_s` seconds.
    """
    context: ForkContext | SpawnContext = ForkContext() if sys.platform == "linux" else SpawnContext()
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_go, args=(path, steps, there), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the child starts none
        child.start()
    there.close()
    try:
        if not _finished(here, quiet_s):
            raise CommandError(
                f"{path}: expected HDF5 to read it, it is in a loop: a damaged or a crafted file; do not use it"
            )
        child.join()
    finally:
        child.kill()
        child.join()
        here.close()
    if child.exitcode is not None and child.exitcode < 0:
        raise CommandError(
            f"{path}: expected HDF5 to read it, it crashed (signal {-child.exitcode}): a damaged or a crafted file; do not use it"
        )


def measured(path: Path) -> Iterator[None]:
    """Read and check every scene of a measurement file."""
    with MeasurementReader(path) as reader:
        for part in slices(reader):
            yield
            reader.read(part)


def slices(reader: MeasurementReader) -> Iterator[slice]:
    """All scenes, as many at once as take some 32 MiB."""
    step = max(1, _AT_ONCE // (16 * reader.antennas * max(reader.setup.size, reader.snapshots)))
    for start in range(0, len(reader), step):
        yield slice(start, start + step)


def sharded(path: Path) -> Iterator[None]:
    """Read a shard and compare it with its checksum."""
    yield
    check_shard(path)


def _finished(steps: Connection, quiet_s: float) -> bool:
    with contextlib.suppress(EOFError):
        while steps.poll(quiet_s):
            steps.recv()
        return False
    return True


def _go(path: Path, steps: Steps, done: Connection) -> None:
    torch.set_num_threads(1)  # the pool of the process that was forked is not there
    with contextlib.suppress(Exception):
        for _ in steps(path):
            done.send(None)
