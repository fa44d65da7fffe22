"""Reads a file in a child process first.

HDF5 and SciPy's reader of .mat files are compiled: a crafted file can crash them, or trap them in a loop that no Python signal
handler can interrupt. Such a file ends a child process, and the command reports it.
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
from risloc.io.reading_options import Reading
from risloc.io.shard_header import check_shard

__all__ = ["Steps", "measurement_steps", "read_in_child", "shard_steps"]

QUIET_S = 60.0  # one step takes a fraction of a second

Steps = Callable[[Path], Iterator[Mapping[int, str]]]
"""Reads a file piece by piece; each step yields the scenes that are bad, with their reasons."""


def read_in_child(path: Path, steps: Steps, quiet_s: float = QUIET_S) -> dict[int, str]:
    """Read a file in a child process.

    An exception that a step raises is ignored: the caller meets it when it reads the file itself.

    Parameters
    ----------
    path
        The file.
    steps
        Reads it.
    quiet_s
        The longest time that one step may take, in seconds.

    Returns
    -------
    dict
        The scenes that are bad, with their reasons.

    Raises
    ------
    CommandError
        A signal ended the child, or a step took too long.
    """
    context: ForkContext | SpawnContext = ForkContext() if sys.platform == "linux" else SpawnContext()
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_take, args=(path, steps, sender), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about a fork beside threads: the child starts none
        child.start()
    sender.close()
    bad: dict[int, str] = {}
    try:
        if not _is_complete(receiver, quiet_s, bad):
            raise CommandError(
                f"{path}: reading it has not finished within {quiet_s:g} s: the file is damaged or crafted and must not be "
                "used, or the storage does not respond"
            )
        child.join()
    finally:
        child.kill()
        child.join()
        receiver.close()
    if child.exitcode is not None and child.exitcode < 0:
        raise CommandError(
            f"{path}: signal {-child.exitcode} ended HDF5 or SciPy while it was reading the file: the file is damaged or crafted and must "
            "not be used, or (signal 9) the machine is out of memory"
        )
    return bad


def measurement_steps(path: Path, reading: Reading | None = None, start: int = 0) -> Iterator[Mapping[int, str]]:
    """Read and check every scene of a measurement file.

    Parameters
    ----------
    path
        The file.
    reading
        What the file does not say.
    start
        The number of the first scene to read.

    Yields
    ------
    Mapping
        The bad scenes of a part of the file, with their reasons.
    """
    with MeasurementReader(path, reading) as reader:
        yield {}
        for part in reader.parts(start):
            yield reader.bad(part)


def shard_steps(path: Path) -> Iterator[Mapping[int, str]]:
    """Read a shard and compare it with its checksum.

    Parameters
    ----------
    path
        The shard.

    Yields
    ------
    Mapping
        Nothing: a shard is valid as a whole or not at all.
    """
    yield {}
    check_shard(path)


def _is_complete(receiver: Connection, quiet_s: float, bad: dict[int, str]) -> bool:
    """Return whether the steps came to an end; add what they yield to `bad`."""
    with contextlib.suppress(EOFError):
        while receiver.poll(quiet_s):
            scenes = json.loads(receiver.recv_bytes())  # JSON: a crafted file cannot make Python run code
            bad |= {int(scene): str(why) for scene, why in scenes.items()}
        return False
    return True


def _take(path: Path, steps: Steps, sender: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the parent's handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to both, and the parent ends this process
    torch.set_num_threads(1)  # a fork does not inherit the thread pool
    with contextlib.suppress(Exception):
        for bad in steps(path):
            sender.send_bytes(json.dumps(bad).encode())
