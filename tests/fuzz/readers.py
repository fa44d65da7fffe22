"""What is fuzzed: each reader of files with small valid inputs, and what it may say of the others.

An input is bytes. A reader returns, or raises the error that its contract names; whatever else happens is a finding.
"""

import contextlib
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.layout import STAGES
from pipeline.sections import sections_of, stage_function
from risloc.config import ParamError, build
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.reading_options import Reading
from risloc.io.shard_header import ShardError
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import CheckpointError, load_checkpoint
from risloc.scenes.room import read_room, shoebox
from risloc.utils.yaml_reader import read_yaml
from tests.fuzz import seeds
from tests.fuzz.harmlessness import (
    Alone,
    by_h5py,
    by_json,
    by_json_and_safetensors,
    by_numpy,
    by_pyyaml,
    by_scipy,
    harmless,
)
from tests.fuzz.hdf5_changes import Choices, changed

__all__ = ["CORPUS", "READERS", "Reader", "does_no_harm", "judge", "working_folder"]

CORPUS = Path("tests/fuzz/corpus")
_MOST_READ = 64  # scenes of a file: what is wrong with a later one is wrong with an early one of another file
_NOT_FROM_A_FILE = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
                    "ctypes.dlopen", "code.__new__")  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A reader of files: how it reads a file in a folder, what it may raise, inputs, and the library beneath it alone.

    file : what is in the file that an input stands for.
    """

    read: Callable[[bytes, Path], None]
    refuses: type[ValueError]
    seeds: Callable[[], list[bytes]]
    alone: Alone
    file: Callable[[bytes], bytes] = bytes


class ForbiddenError(Exception):
    """Reading a file made Python do what no file may make it do."""


def judge(reader: Reader, content: bytes, folder: Path) -> str | None:
    """What the reader says against the input, None if it takes it; any other exception is a finding and passes through."""
    try:
        with _WATCH.watching():
            reader.read(reader.file(content), folder)
    except reader.refuses as error:
        said = str(error)
        if not 0 < len(said) < 10_000:
            raise AssertionError(f"expected a message that can be read, got {len(said)} characters") from error
        return said
    return None


def does_no_harm(reader: Reader, content: bytes, folder: Path) -> bool:
    """Whether the library beneath the reader survives the input."""
    return harmless(reader.alone, reader.file(content), folder)


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """A folder for inputs, in memory where there is such a place, with a file beside them that nobody may be led to."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="risloc-fuzz-", dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        for kind, image in (("measurements", seeds.measurements()), ("shards", seeds.shard())):
            (folder / kind).mkdir()
            (folder / kind / "beside.h5").write_bytes(image)
        yield folder


class _Watch:
    """An audit hook that can be switched off, though never removed."""

    on = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in _NOT_FROM_A_FILE:
            raise ForbiddenError(f"{event} {arguments}")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.on = True
        try:
            yield
        finally:
            self.on = False


_WATCH = _Watch()
sys.addaudithook(_WATCH)


def _read_measurements(content: bytes, folder: Path) -> None:
    path = folder / "measurements" / "read.h5"
    path.write_bytes(content)
    with MeasurementReader(path) as reader:
        for start in range(0, min(len(reader), _MOST_READ), 2):
            reader.read(slice(start, start + 2))


def _read_sigmf(content: bytes, folder: Path) -> None:
    """The input is the description, a zero byte, the samples; a valid file has the rest."""
    described, _, samples = content.partition(b"\0")
    path = folder / "read.sigmf-meta"
    path.write_bytes(described)
    path.with_suffix(".sigmf-data").write_bytes(samples)
    beside = folder / "beside.npz"
    beside.write_bytes(seeds.npz())
    with MeasurementReader(path, Reading(beside=beside)) as reader:
        reader.read(slice(0, min(len(reader), 2)))


def _read_shard(content: bytes, folder: Path) -> None:
    path = folder / "shards" / "one" / "read.h5"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    reader = ShardReader(path.parent)
    try:
        for start in range(0, min(len(reader), _MOST_READ), 2):
            reader.read(slice(start, min(start + 2, len(reader))))
    finally:
        reader.close()


def _read_checkpoint(content: bytes, folder: Path) -> None:
    """The input is config.json, a zero byte, model.safetensors."""
    config, _, weights = content.partition(b"\0")
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors").write_bytes(weights)
    load_checkpoint(folder)


def _read_params(content: bytes, folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_bytes(content)
    values = read_yaml(path)
    for name, kind in _sections().items():
        if name in values and kind is not int:
            build(kind, values[name], name)


def _read_room(content: bytes, folder: Path) -> None:
    """Read, and laid out as the tracer gets it."""
    path = folder / "room.yaml"
    path.write_bytes(content)
    room = read_room(str(path))
    antennas, corners = room.antenna_positions(1.0), [corners for _, corners in shoebox(room)]
    if not all(each.isfinite().all() for each in (antennas, *corners)):
        raise AssertionError("expected finite positions")


@functools.cache
def _sections() -> dict[str, type]:
    return {name: kind for stage in STAGES for name, kind in sections_of(stage_function(stage)).items()}


READERS = {
    "measurements": Reader(
        _read_measurements,
        MeasurementError,
        lambda: [
            seeds.measurements(),
            seeds.measurements_otherwise(),
            seeds.measurements(echoes=True),
            seeds.measurements(echoes=True, layout="matlab"),
        ],
        by_h5py,
    ),
    "measurements_changed": Reader(
        _read_measurements,
        MeasurementError,
        seeds.choices_alone,
        by_h5py,
        lambda content: changed(seeds.measurements(), Choices(content)),
    ),
    "npz": Reader(_read_measurements, MeasurementError, lambda: [seeds.npz(), seeds.npz()[:-9]], by_numpy),
    "mat": Reader(_read_measurements, MeasurementError, lambda: [seeds.mat(), seeds.mat()[:-9]], by_scipy),
    "sigmf": Reader(_read_sigmf, MeasurementError, lambda: [seeds.sigmf(), seeds.sigmf()[9:]], by_json),
    "shards": Reader(_read_shard, ShardError, lambda: [seeds.shard(), seeds.shard(echoes=True)], by_h5py),
    "shards_changed": Reader(_read_shard, ShardError, seeds.choices_alone, by_h5py, seeds.changed_shard),
    "checkpoint": Reader(_read_checkpoint, CheckpointError, lambda: [seeds.checkpoint()], by_json_and_safetensors),
    "checkpoint_changed": Reader(
        _read_checkpoint,
        CheckpointError,
        seeds.choices_alone,
        by_json_and_safetensors,
        seeds.changed_checkpoint,
    ),
    "params": Reader(_read_params, ParamError, seeds.params, by_pyyaml),
    "room": Reader(_read_room, ParamError, seeds.rooms, by_pyyaml),
}
"""The readers by name; `_changed`: inputs are choices of changes to a valid file, not the file's own bytes."""
