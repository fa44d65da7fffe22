"""Whether an input is harmless: the library beneath a reader, without it, reads it or raises, at once and in little memory.

What is not harmless is kept nowhere in the repository: somebody's software may meet it there.
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkContext
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import yaml
from safetensors import safe_open

__all__ = ["Alone", "by_h5py", "by_json", "by_json_and_safetensors", "by_numpy", "by_pyyaml", "by_scipy", "harmless"]

Alone = Callable[[bytes, Path], None]
"""Reads an input, laid out in a folder, with a library alone."""

AT_ONCE_S = 2  # of the processor; some ten milliseconds are usual
PATIENCE_S = 60  # on a machine that does other things, too
LITTLE_MB = 256


def harmless(alone: Alone, content: bytes, folder: Path) -> bool:
    """Whether a child process that reads the input ends, by itself, in time and within the memory; on Linux."""
    child = ForkContext().Process(target=_go, args=(alone, content, folder), daemon=True)
    child.start()
    child.join(PATIENCE_S)
    ended = child.exitcode == 0
    child.kill()
    child.join()
    return ended


def by_h5py(content: bytes, folder: Path) -> None:
    """Every attribute and every dataset of an HDF5 file."""
    path = folder / "read.h5"
    path.write_bytes(content)
    with h5py.File(path, "r") as file:
        names = ["/", *file]  # links, too
        file.visit(names.append)
        for name in names:
            with contextlib.suppress(Exception):
                _everything(file[name])


def _everything(what: h5py.HLObject) -> None:
    for name in what.attrs:
        with contextlib.suppress(Exception):
            what.attrs[name]
    if isinstance(what, h5py.Dataset):
        what[()]


def by_numpy(content: bytes, folder: Path) -> None:
    """Every array of a .npz file."""
    path = folder / "read.npz"
    path.write_bytes(content)
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            with contextlib.suppress(Exception):
                file[name]


def by_scipy(content: bytes, folder: Path) -> None:
    """Every variable of a .mat file."""
    path = folder / "read.mat"
    path.write_bytes(content)
    scipy.io.whosmat(path)
    scipy.io.loadmat(path)


def by_json(content: bytes, folder: Path) -> None:
    """The description of a recording, before a zero byte."""
    repr(json.loads(content.partition(b"\0")[0]))


def by_pyyaml(content: bytes, folder: Path) -> None:
    """Both loaders, and the values as text."""
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        with contextlib.suppress(Exception):
            repr(yaml.load(content, loader))  # noqa: S506 - SafeLoaders


def by_json_and_safetensors(content: bytes, folder: Path) -> None:
    """A checkpoint: config.json, a zero byte, model.safetensors."""
    config, _, weights = content.partition(b"\0")
    with contextlib.suppress(Exception):
        repr(json.loads(config))
    path = folder / "model.safetensors"
    path.write_bytes(weights)
    with safe_open(path, "np") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no mapping
            tensors.get_tensor(name)


def _go(alone: Alone, content: bytes, folder: Path) -> None:
    before, used = _peak_mb(), time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + AT_ONCE_S + 1,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + 2**32,) * 2)
    with contextlib.suppress(Exception):
        alone(content, folder)
    sys.exit(_peak_mb() - before > LITTLE_MB or time.process_time() - used > AT_ONCE_S)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
