"""Read a file in a process of its own first.

HDF5's library is C: a crafted file can crash it, or keep it in a loop that no signal handler of Python's ends. Who does so
ends a child here, and the command says so.
"""

import contextlib
import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path

import torch

from risloc.cli.errors import CommandError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.shard_header import check_shard

__all__ = ["Steps", "measured", "sharded", "tried"]

QUIET_S = 60.0  # one step takes a fraction of a second

Steps = Callable[[Path], Iterator[Mapping[int, str]]]
"""What is to be done with a file, piece by piece; each gives the scenes that are bad, with their reasons."""


def tried(path: Path, steps: Steps, quiet_s: float = QUIET_S) -> dict[int, str]:
    """Take the steps in a child process; the bad scenes. What the steps raise is left to those who take them in earnest.

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
    bad: dict[int, str] = {}
    try:
        if not _finished(here, quiet_s, bad):
            raise CommandError(
                f"{path}: expected HDF5 to read it, it has not come back for {quiet_s:g} s: a damaged or a crafted file, which "
                "is not to be used, or storage that does not answer"
            )
        child.join()
    finally:
        child.kill()
        child.join()
        here.close()
    if child.exitcode is not None and child.exitcode < 0:
        raise CommandError(
            f"{path}: expected HDF5 to read it, signal {-child.exitcode} ended it: a damaged or a crafted file, which is not to "
            "be used, or (signal 9) a machine without memory"
        )
    return bad


def measured(path: Path) -> Iterator[Mapping[int, str]]:
    """Read and check every scene of a measurement file."""
    with MeasurementReader(path) as reader:
        yield {}
        for part in reader.parts():
            yield reader.bad(part)


def sharded(path: Path) -> Iterator[Mapping[int, str]]:
    """Read a shard and compare it with its checksum."""
    yield {}
    check_shard(path)


def _finished(steps: Connection, quiet_s: float, bad: dict[int, str]) -> bool:
    """Whether the steps came to an end; `bad` gets what they give."""
    with contextlib.suppress(EOFError):
        while steps.poll(quiet_s):
            given = json.loads(steps.recv_bytes())  # nothing that a crafted file could make Python run
            bad |= {int(scene): str(why) for scene, why in given.items()}
        return False
    return True


def _go(path: Path, steps: Steps, done: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler is not this process's
    torch.set_num_threads(1)  # the pool of the process that was forked is not there
    with contextlib.suppress(Exception):
        for bad in steps(path):
            done.send_bytes(json.dumps(bad).encode())
