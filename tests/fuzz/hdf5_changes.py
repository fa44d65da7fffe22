"""HDF5 files made of a fuzzer's choices: a file that is as it must be, then changes that HDF5 allows and a reader may meet.

Raw bytes seldom get past HDF5's own checks. Here each byte is a decision, and 0, the harmless one, where they are used up: any
bytes are a file, the same one every time, and a fuzzer that changes a byte changes a decision.

No file may harm other software: h5py alone reads each of them, or raises an error, at once and in little memory.
"""

import contextlib
import math
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import h5py
import numpy as np

__all__ = ["Choices", "changed"]

T = TypeVar("T")
_MOST_CHANGES = 5
_WRITTEN = 2**16  # bytes: what is larger is declared, and written as compressed zeros or not at all
_SIZES = (1, 0, 2, 3, 5, 16, 64, 1023, 2**20, 2**50)
_BEARABLE = 2**24  # bytes of a dataset that are read in a moment; more than that is more than any machine can address
_MOST_CHUNKS = 2**12
_NUMBERS = (0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e308, 1e-320, 255.0, 3.0, 1e9)
_POINT = np.dtype([("r", "f4"), ("i", "f4"), ("rest", "f8")])
_DTYPES: tuple[Any, ...] = (
    *("c8", "c16", "f4", "f8", "u1", "i8", "f2", "u8", "i2", "?", "S3", "V5", ">c8", ">f4", ">i4", np.clongdouble),
    *(np.longdouble, _POINT, np.dtype(("f4", (2,))), h5py.string_dtype(), h5py.vlen_dtype("u1"), h5py.ref_dtype),
    *(h5py.regionref_dtype, h5py.enum_dtype({"a": 0, "b": 7}), h5py.opaque_dtype(np.dtype("M8[s]"))),
)
_VALUES: tuple[Any, ...] = (
    *(
        1,
        0,
        -1,
        2,
        3,
        8,
        9,
        1e9,
        2**31,
        2**62,
        0.1,
        1.5,
        math.nan,
        math.inf,
        1e308,
        True,
        "",
        "centre",
        "train",
        "[]",
        "{}",
    ),
    *(
        "[" * 5000,
        "1e999",
        "\ud7ff",
        "nul",
        "x" * 60000,
        b"\xff\xfe",
        [1.0, 2.0],
        [2.0, 1.0],
        [math.nan, 1.0],
        [1, 2, 3],
    ),
    *(h5py.Empty("f4"), h5py.Empty("S1"), np.zeros((2, 2)), np.zeros(0), np.array(["a", "b"], dtype="S2"), 1j),
    *(np.array((1.0, 2.0, 3.0), _POINT), np.array([1], dtype="u1"), np.float16(1), np.longdouble(2), np.void(b"abc")),
)
_REFUSED = (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


class Choices:
    """A fuzzer's bytes as decisions, 0 when none is left."""

    def __init__(self, content: bytes) -> None:
        self._rest = iter(content)

    def of(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[next(self._rest, 0) % len(options)]


def changed(image: bytes, choices: Choices, finish: Callable[[h5py.File], None] | None = None) -> bytes:
    """The HDF5 file `image` with up to 5 changes to its datasets and attributes; `finish` may then mend what follows from them.

    What HDF5 refuses to write stays as it was.
    """
    with h5py.File.in_memory(image) as file:
        names: list[str] = []
        file.visititems(lambda name, what: names.append(name) if isinstance(what, h5py.Dataset) else None)
        names = [*sorted(names), "other"]
        attributes = [*sorted(file.attrs), "other"]
        for _ in range(choices.of(range(_MOST_CHANGES + 1))):
            change = choices.of(_CHANGES)
            with contextlib.suppress(*_REFUSED), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                change(file, choices.of(attributes if change in (_without_attribute, _attribute) else names), choices)
        if finish is not None:
            with contextlib.suppress(*_REFUSED):
                finish(file)
        file.flush()
        return file.id.get_file_image()


def _without(file: h5py.File, name: str, choices: Choices) -> None:
    del file[name]


def _without_attribute(file: h5py.File, name: str, choices: Choices) -> None:
    del file.attrs[name]


def _attribute(file: h5py.File, name: str, choices: Choices) -> None:
    file.attrs[name] = choices.of(_VALUES)


def _spoilt(file: h5py.File, name: str, choices: Choices) -> None:
    data = file[name]
    data[tuple(min(choices.of(range(4)), size - 1) for size in data.shape)] = choices.of(_NUMBERS)


def _filled(file: h5py.File, name: str, choices: Choices) -> None:
    file[name][...] = choices.of(_NUMBERS)


def _other(file: h5py.File, name: str, choices: Choices) -> None:
    """Another dtype, shape, layout or filter."""
    old = file.get(name)
    dtype = np.dtype(choices.of([old.dtype if old is not None else "f4", *_DTYPES]))
    shape = _shape(old.shape if old is not None else (1,), dtype.itemsize, choices)
    how = _layout(shape, choices)
    values = choices.of(_NUMBERS)
    if old is not None:
        del file[name]
    if math.prod(shape) * dtype.itemsize <= _WRITTEN and dtype.kind in "fciub":
        file.create_dataset(name, data=np.full(shape, values).astype(dtype), **how)
        return
    made = file.create_dataset(name, shape, dtype, **how)
    if made.chunks is not None and how.get("compression") == "gzip":
        _zeros(made, choices.of((0, 1, 4, 40)))


def _shape(shape: tuple[int, ...], itemsize: int, choices: Choices) -> tuple[int, ...]:
    sizes = list(shape)
    kind = choices.of(("same", "size", "size", "less", "more", "sizes"))
    if kind == "less":
        sizes = sizes[1:]
    elif kind == "more":
        sizes.insert(choices.of((0, len(sizes))), choices.of(_SIZES))
    elif kind == "size" and sizes:
        sizes[choices.of(range(len(sizes)))] = choices.of(_SIZES)
    elif kind == "sizes":
        sizes = [choices.of(_SIZES) for _ in range(choices.of(range(5)))]
    if math.prod(sizes) * itemsize > _BEARABLE:
        sizes[0] = _SIZES[-1]
    return tuple(sizes)


def _layout(shape: tuple[int, ...], choices: Choices) -> dict[str, Any]:
    how: dict[str, Any] = {"track_times": False}
    kind = choices.of(("plain", "chunks", "gzip", "lzf", "szip", "scaleoffset", "foreign"))
    if kind == "plain":
        return how
    steps = [choices.of((2**13, 1, 2, 7, 2**20)) for _ in shape]
    if math.prod(-(-size // step) for size, step in zip(shape, steps, strict=True)) > _MOST_CHUNKS:
        steps = [2**20 for _ in shape]
    how["chunks"] = tuple(min(max(size, 1), step) for size, step in zip(shape, steps, strict=True))
    how["maxshape"] = choices.of((shape, (None,) * len(shape)))
    how["shuffle"], how["fletcher32"] = choices.of((False, True)), choices.of((False, True))
    if kind in ("gzip", "lzf", "szip"):
        how["compression"] = kind
    elif kind == "scaleoffset":
        how["scaleoffset"] = 2
    elif kind == "foreign":
        how |= {"compression": choices.of((32015, 307, 65535)), "allow_unknown_filter": True}
    return how


def _zeros(data: h5py.Dataset, chunks: int) -> None:
    """The first chunks, each some bytes that unpack to as many zeros as the chunk has room for, or 2^26."""
    packed = zlib.compress(bytes(min(math.prod(data.chunks) * data.dtype.itemsize, 2**26)), 1)
    grid = [range(0, size, step) for size, step in zip(data.shape, data.chunks, strict=True)]
    for number in range(min(chunks, math.prod(map(len, grid)))):
        corner = []
        for axis in reversed(grid):
            number, at = divmod(number, len(axis))
            corner.append(axis[at])
        data.id.write_direct_chunk(tuple(reversed(corner)), packed)


def _link(file: h5py.File, name: str, choices: Choices) -> None:
    link = choices.of(
        (
            *(h5py.SoftLink("/H"), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/nowhere"), h5py.SoftLink("/")),
            *(h5py.ExternalLink("beside.h5", f"/{name}"), h5py.ExternalLink("/etc/passwd", "/y")),
            h5py.ExternalLink("read.h5", f"/{name}"),
        )
    )
    with contextlib.suppress(KeyError):
        del file[name]
    file[name] = link


def _twice(file: h5py.File, name: str, choices: Choices) -> None:
    """The same object under two names, or a group that holds itself."""
    other = choices.of(("y", "H", "codes", "other", "truth"))
    target = file if choices.of((False, True)) else file[name]
    with contextlib.suppress(KeyError):
        del file[other]
    file[other] = target


def _group(file: h5py.File, name: str, choices: Choices) -> None:
    del file[name]
    file.create_group(name)


def _type(file: h5py.File, name: str, choices: Choices) -> None:
    del file[name]
    file[name] = np.dtype("f4")


def _external(file: h5py.File, name: str, choices: Choices) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    where = choices.of(("/etc/hostname", "beside.h5", "/dev/zero", "nowhere"))
    file.create_dataset(name, shape, dtype, external=[(where, 0, h5py.h5f.UNLIMITED)])


def _virtual(file: h5py.File, name: str, choices: Choices) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(choices.of(("beside.h5", "nowhere.h5", "/etc/passwd")), name, shape)
    file.create_virtual_dataset(name, layout)


_CHANGES = (
    *(_attribute, _without_attribute, _spoilt, _filled, _other, _other, _other, _without),
    *(_link, _twice, _group, _type, _external, _virtual),
)
