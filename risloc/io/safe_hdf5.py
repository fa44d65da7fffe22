"""Check the HDF5 objects of an untrusted file before reading them.

In HDF5 a name can lead to another file, a dataset can declare terabytes that are not stored, and a filter can be any plug-in.
These functions accept only plain numbers stored in the file itself, uncompressed or in compressed chunks of limited size.
"""

import contextlib
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = [
    "FAILURES",
    "MOST_IN_A_CHUNK",
    "StoredError",
    "attribute",
    "broken_as",
    "check_storage",
    "dataset",
    "present",
]

MOST_IN_A_CHUNK = 2**26
"""Maximum number of bytes in a chunk, which HDF5 keeps in memory as a whole."""

FAILURES = (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, MemoryError)
"""What h5py raises on a file that is broken."""

_MOST_TEXT = 2**12  # a scenario has some 2^10
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}


class StoredError(ValueError):
    """An object is not stored as required; the message states what was expected and found and the remedy, but not the file."""


_TROUBLE = (
    (
        "already open for write", "a process has it open for writing, or ended without closing it",
        "close it there or, if no process has it open, run `h5clear -s {path}` (one of the HDF5 tools)",
    ),
    ("file signature not found", "not an HDF5 file", "{again}"),
    ("truncated file", "the file is truncated", "{again}"),
)  # fmt: skip
"""The messages of HDF5 for a file that it cannot open, their meanings and the remedies."""


@contextlib.contextmanager
def broken_as(kind: type[ValueError], path: Path, again: str) -> Iterator[None]:
    """Convert every exception of h5py in the block to one of the given kind with a message of one line.

    Parameters
    ----------
    kind
        The exception to raise; exceptions of this kind pass unchanged.
    path
        The file, for the message.
    again
        The remedy for a broken file.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    kind
        HDF5 cannot read the file.
    """
    try:
        yield
    except kind:
        raise
    except FAILURES as error:
        words = " ".join(str(error).split()) or type(error).__name__
        what, remedy = _meaning(error, words)
        raise kind(f"{path}: {what} ({words}); {remedy.format(path=shlex.quote(str(path)), again=again)}") from error


def _meaning(error: Exception, words: str) -> tuple[str, str]:
    """Return the meaning of an exception and the remedy."""
    if isinstance(error, BlockingIOError):
        return "another process has it open for writing", "close it there"
    if isinstance(error, PermissionError):
        return "no permission to read it", "change its permissions"
    if "unable to lock file" in words:
        return "its file system does not support locks", "copy it to a local disk, or set HDF5_USE_FILE_LOCKING=FALSE"
    if isinstance(error, MemoryError):
        return "it needs more memory than is available, or is damaged", "read it on a larger machine, or {again}"
    for mark, what, remedy in _TROUBLE:
        if mark in words:
            return what, remedy
    here = f"HDF5 {h5py.version.hdf5_version} (h5py {h5py.__version__}) cannot read it"
    return f"{here}: it is damaged, or was written by a newer HDF5", "{again}, or install a newer h5py"


def attribute(owner: h5py.HLObject, name: str) -> Any:
    """Read an attribute as plain Python.

    Parameters
    ----------
    owner
        The object that has the attribute.
    name
        The name of the attribute.

    Returns
    -------
    Any
        Text, a number, or a list of two.

    Raises
    ------
    StoredError
        The attribute is larger, or is neither text nor numbers.
    """
    identity = owner.attrs.get_id(name)
    if identity.shape not in ((), (1,), (2,)):
        raise StoredError(f"expected one or two values, got the shape {identity.shape}")
    if identity.dtype.kind not in "iufSU" and h5py.check_string_dtype(identity.dtype) is None:
        raise StoredError(f"expected text or numbers, got {identity.dtype}")
    value = owner.attrs[name]
    if isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.size == 1 else value.tolist()
    value = value.decode() if isinstance(value, bytes) else value
    if isinstance(value, str) and len(value) > _MOST_TEXT:
        raise StoredError(f"expected text of at most {_MOST_TEXT} characters, got {len(value)}")
    return value


def present(group: h5py.Group, name: str) -> bool:
    """Test whether a group has an object of this name.

    Parameters
    ----------
    group
        The group.
    name
        The name.

    Returns
    -------
    bool
        Whether the object exists.

    Raises
    ------
    StoredError
        The name is a soft or external link.
    """
    link = group.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise StoredError(f"expected the data itself, got a {type(link).__name__}; copy the data into the file")
    return link is not None


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Find a dataset in a group.

    Parameters
    ----------
    group
        The group.
    name
        The name of the dataset.

    Returns
    -------
    h5py.Dataset
        The dataset.

    Raises
    ------
    StoredError
        The dataset does not exist or is empty, or the name is a link or an object of another kind.
    """
    if not present(group, name):
        raise StoredError("expected a dataset of this name, got none")
    data = group[name]
    if not isinstance(data, h5py.Dataset):
        raise StoredError(f"expected a dataset, got a {type(data).__name__}")
    if data.shape is None:
        raise StoredError("expected numbers, got an empty dataset")
    return data


def check_storage(data: h5py.Dataset) -> None:
    """Check that everything a dataset declares is stored in its file, contiguously or in chunks of limited size.

    Parameters
    ----------
    data
        The dataset.

    Raises
    ------
    StoredError
        The storage is virtual or external, a filter is not one of HDF5's own, a chunk exceeds 64 MiB, or data are missing.
    """
    if data.is_virtual or data.external:
        raise StoredError("expected data in this file, got a reference to another file; copy the data into the file")
    how = data.id.get_create_plist()
    if any(how.get_filter(i)[0] not in _FILTERS for i in range(how.get_nfilters())):
        allowed = ", ".join(_FILTERS.values())
        raise StoredError(f"expected only the filters {allowed}, got another filter; write the data again without it")
    stored = data.id.get_storage_size()
    if not _whole(data, stored) or stored > data.file.id.get_filesize():
        raise StoredError(
            f"expected {data.nbytes} bytes as declared, got {stored}: the data are truncated or incomplete; write the file again"
        )


def _whole(data: h5py.Dataset, stored: int) -> bool:
    if data.chunks is None:
        return stored >= data.nbytes
    if math.prod(data.chunks) * data.dtype.itemsize > MOST_IN_A_CHUNK:
        raise StoredError(f"expected chunks of at most 64 MiB, got {data.chunks}; write the data in smaller chunks")
    grid = math.prod(-(-size // chunk) for size, chunk in zip(data.shape, data.chunks, strict=True))
    return data.id.get_num_chunks() == grid
