"""`risloc inspect`: describes and checks a measurement file, a shard, a folder of shards or a checkpoint."""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import h5py

from risloc.cli.errors import CommandError, counted
from risloc.cli.located_scenes import in_words
from risloc.cli.output_files import FileName
from risloc.cli.sandbox import measurement_steps, read_in_child, shard_steps
from risloc.config import as_mapping
from risloc.io.measurement_checks import root_mean_square
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import FORMAT
from risloc.io.safe_hdf5 import FAILURES
from risloc.io.shard_header import check_shard
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator

__all__ = ["inspect"]

Facts = dict[str, Any]
BAD = "bad scenes"


@click.command()
@click.argument("source", metavar="FILE|FOLDER|NAME", type=FileName())
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def inspect(source: Path, as_json: bool) -> None:
    """Describe and check a measurement file, a shard, a folder of shards or a checkpoint.

    All scenes of a measurement file are read and checked, and those that cannot be located are listed. Shards are compared
    with their checksums.

    \b
    Examples:
      risloc inspect room.h5
      risloc inspect data/shards/test
      risloc inspect models/checkpoint
      risloc inspect default --json
    """
    facts = _facts(source)
    if as_json:
        click.echo(json.dumps(facts, indent=2, allow_nan=False))
    else:
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            click.echo(f"{name:<{width}}  {_line(value)}")
    if bad := facts.get(BAD):
        raise CommandError(f"{source}: {in_words(bad, facts['scenes'])}; risloc locate --skip-bad skips such scenes")


def _facts(source: Path) -> Facts:
    if str(source) in SHIPPED and not source.exists():
        return _checkpoint(shipped_checkpoint(str(source)))
    if source.is_dir():
        if (source / "config.json").exists():
            return _checkpoint(source)
        return _shards(source)
    if not source.is_file():
        raise CommandError(f"{source}: no such file; expected a file, a folder or one of {', '.join(SHIPPED)}")
    bad = read_in_child(source, _steps)
    if _is_shard(source):
        return _shard(source)
    return _measurements(source, bad)


def _steps(path: Path) -> Iterator[Mapping[int, str]]:
    yield {}
    yield from shard_steps(path) if _is_shard(path) else measurement_steps(path)


def _is_shard(path: Path) -> bool:
    """Return whether the attributes are those of a shard; faults of the file are reported by its reader."""
    names = _attributes(path)
    return "format" not in names and {"schema", "scenario", "checksum"} <= names


def _attributes(path: Path) -> set[str]:
    """Return the names of the attributes of a file, or none if it cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return set(file.attrs)
    except FAILURES:
        return set()


def _measurements(path: Path, bad: Mapping[int, str]) -> Facts:
    with MeasurementReader(path) as reader:
        facts: Facts = {
            "kind": FORMAT,
            "scenes": len(reader),
            "snapshots L": reader.snapshots,
            "antennas M": reader.antennas,
            **as_mapping(reader.setup),
            **({"receiver": words} if (words := reader.reception.words()) else {}),
            "noise_var": "",
            "truth": _truth(reader),
        }
        if reader.how:
            facts["how"] = reader.how
        facts["noise_var"] = _noise(reader, bad)
        if reader.unknown:
            facts["unknown names"] = f"{', '.join(reader.unknown)} (ignored)"
        facts["checked"] = "all scenes are valid"
        if bad:
            facts["checked"] = f"{len(reader) - len(bad)} of {counted(len(reader), 'scene')} can be located"
            facts[BAD] = dict(bad)
        facts["fits"] = ", ".join(_fitting(reader)) or "no shipped network; risloc locate needs none"
        return facts


def _truth(reader: MeasurementReader) -> str:
    if not reader.sources:
        return "none"
    echoes = f", {reader.paths} echoes or fewer each" if reader.paths else ""
    return f"up to {counted(reader.sources, 'source')}{echoes}"


def _noise(reader: MeasurementReader, bad: Mapping[int, str]) -> str:
    """Describe the noise level of the good scenes by the SNR that it implies."""
    if not reader.has_noise:
        return "not given; risloc locate estimates it"
    snr = list[float]()
    for scenes in reader.parts():
        good = [scene for scene in range(len(reader))[scenes] if scene not in bad]
        if good and (part := reader.read(good)).noise_var is not None:
            snr += ((root_mean_square(part.y) / part.noise_var.sqrt()).square() - 1).tolist()
    if not snr:
        return "given"
    middle = statistics.median(snr)
    implied = f"SNR {10 * math.log10(middle):.1f} dB" if middle > 0 else "larger than the mean |y|^2"
    return f"given; {implied} (median of {counted(len(snr), 'scene')})"


def _fitting(reader: MeasurementReader) -> list[str]:
    fitting = []
    for name in SHIPPED:
        try:
            network = load_checkpoint(shipped_checkpoint(name))[0]
            Locator(reader.setup, reader.snapshots, reader.antennas, network, reception=reader.reception)
            fitting.append(name)
        except LocateError:
            continue
    return fitting


def _shard(path: Path) -> Facts:
    header = check_shard(path)
    facts: Facts = {"kind": "risloc shard"} | {f.name: getattr(header, f.name) for f in dataclasses.fields(header)}
    arrays = facts.pop("arrays")
    facts |= {"path": str(path), "checksum": f"{header.checksum} (matches)"}
    return facts | {f"data {name}": f"{dtype} {shape}" for name, (dtype, shape) in arrays.items()}


def _shards(folder: Path) -> Facts:
    paths = sorted(folder.glob("*.h5"))
    if not paths:
        raise CommandError(
            f"{folder}: expected a folder with shards (*.h5), or with config.json and model.safetensors of a checkpoint"
        )
    for path in paths:
        read_in_child(path, shard_steps)
        if "format" in _attributes(path):
            raise CommandError(f"{path}: not a shard, although it is in a folder of shards; inspect it separately")
    reader = ShardReader(folder)
    try:
        for start in range(0, len(reader), 512):
            reader.read(slice(start, min(start + 512, len(reader))))
        return {
            "kind": "risloc shards",
            "folder": str(folder),
            "files": len(paths),
            "scenes": len(reader),
            "split": reader.split,
            "seed": reader.seed,
            "checksum": f"{reader.checksum} (all files match theirs)",
            "scenario": as_mapping(reader.scenario),
        }
    finally:
        reader.close()


def _checkpoint(folder: Path) -> Facts:
    network, extra = load_checkpoint(folder)
    weights = sum(parameter.numel() for parameter in network.parameters())
    return {
        "kind": "risloc checkpoint",
        "folder": str(folder),
        "parameters": weights,
        "learnt K rule": bool(network.order.fitted),
        "beta": network.beta,
        "network": as_mapping(network.config),
        "grid": as_mapping(network.grid_config),
        "scenario": as_mapping(network.scenario),
        "extra": extra,
    }


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_line(each)}" for name, each in value.items())
    return str(value)
