"""Where fuzzing starts: small valid files of each kind, and files that a fuzzer's choices make of them."""

import copy
import functools
import io
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch
from safetensors.numpy import load, save

from risloc.config import as_mapping, build
from risloc.covariance.factored import CovarianceConfig
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import measurements_of
from risloc.io.scene_arrays import arrays_of
from risloc.io.shard_header import shard_checksum
from risloc.io.shard_writer import write_shard
from risloc.learning.checkpoint import save_checkpoint
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.preset_files import preset
from risloc.scenes.room import read_room
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from tests.fuzz.hdf5_changes import Choices, changed

__all__ = [
    "changed_checkpoint",
    "changed_shard",
    "checkpoint",
    "choices_alone",
    "mat",
    "measurements",
    "measurements_otherwise",
    "npz",
    "params",
    "rooms",
    "shard",
    "sigmf",
]

_SCENES = 3


@functools.cache
def _scenario() -> Scenario:
    few = {"n_h": 2, "n_v": 2, "antennas": 2, "snapshots": 2, "K_MAX": 1, "K_span": [0, 1]}
    return build(Scenario, preset("default") | few, "scenario")


def _echoing() -> Scenario:
    echoes = preset("default")["echoes"] | {"law": "farther", "paths": 2}
    return build(Scenario, as_mapping(_scenario()) | {"echoes": echoes}, "scenario")


@functools.cache
def measurements(echoes: bool = False, layout: str = "risloc") -> bytes:
    """A measurement file, whose truth may have echoes, in our layout or that of MATLAB."""
    scenario = _echoing() if echoes else _scenario()
    scenes = simulate(scenario, seed=1, split="test", start=0, stop=_SCENES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.h5"
        write_measurements(path, _SCENES, [measurements_of(scenario, scenes)], scenario.code_bits, layout)
        return path.read_bytes()


def measurements_otherwise() -> bytes:
    """The same layout as others would write it: the newest format of HDF5, compressed, complex codes, nothing optional."""
    rng = np.random.default_rng(1)
    phasors = np.exp(2j * np.pi * rng.random((2, 4)))
    with h5py.File("seed", "w", driver="core", backing_store=False, libver="latest") as file:
        file.attrs.update(
            {"format": "risloc measurements", "version": 1, "n_h": 2, "n_v": 2, "spacing_m": 0.1, "carrier_hz": 1e9}
        )
        file.create_dataset("y", data=rng.random((2, 2, 2)) + 1j, chunks=(1, 2, 2), compression="gzip", shuffle=True)
        file["H"], file["codes"] = rng.random((2, 4)) + 1j, phasors
        file.flush()
        return file.id.get_file_image()


def _arrays() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    values = {"n_h": 2, "n_v": 2, "spacing_m": 0.1, "carrier_hz": 1e9, "code_bits": 3, "noise_var": np.ones(2)}
    channel = rng.random((2, 4)) + 1j
    return values | {"y": rng.random((2, 3, 2)) + 1j, "H": channel, "codes": rng.integers(0, 8, (3, 4)).astype(float)}


def npz() -> bytes:
    """Measurements as numpy writes them."""
    file = io.BytesIO()
    np.savez(file, **_arrays())
    return file.getvalue()


def mat() -> bytes:
    """Measurements as MATLAB writes them up to version 7."""
    file = io.BytesIO()
    scipy.io.savemat(
        file, _arrays() | {"truth": {"location": np.ones((2, 1, 3)), "power": np.ones((2, 1)), "count": [1, 1]}}
    )
    return file.getvalue()


def sigmf() -> bytes:
    """A SigMF recording: the description, a zero byte, the samples."""
    described = {"global": {"core:datatype": "cf32_le", "core:num_channels": 2}, "captures": [{"core:frequency": 1e9}]}
    samples = np.random.default_rng(1).random((6, 2, 2)).astype("<f4")
    return json.dumps(described).encode() + b"\0" + samples.tobytes()


@functools.cache
def shard(echoes: bool = False) -> bytes:
    """A shard, whose sources may have echoes."""
    scenario = _echoing() if echoes else _scenario()
    arrays = arrays_of(simulate(scenario, seed=1, split="test", start=0, stop=_SCENES), scenario.code_bits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.h5"
        write_shard(path, scenario, arrays, seed=1, split="test", start=0, chunk=2)
        return path.read_bytes()


def changed_shard(content: bytes) -> bytes:
    """A shard with changes, sealed anew or not."""
    choices = Choices(content)
    seal = choices.of((True, False))
    return changed(shard(), choices, _sealed if seal else None)


def _sealed(file: h5py.File) -> None:
    """Give a changed shard the checksum of what it holds: a checksum keeps out accidents, not people."""
    if sum(file[name].nbytes for name in file) < 2**22:
        file.attrs["checksum"] = shard_checksum(file)


@functools.cache
def checkpoint() -> bytes:
    """A small network: config.json, a zero byte, model.safetensors."""
    torch.manual_seed(1)
    config = NetworkConfig(head="manifold", channels=8, blocks=1, passes=1, amp=False)
    network = HybridNetwork(_scenario(), GridConfig(step_beams=1.0, planes=1), CovarianceConfig(beta=0.3), config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder, network, {"score": 0.5})
        return (folder / "config.json").read_bytes() + b"\0" + (folder / "model.safetensors").read_bytes()


_LEAVES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        1,
        -1,
        2,
        9,
        10**3,
        10**5,
        10**9,
        10**30,
        0.5,
        1e-9,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "free",
        "dft",
    ),
    *("1e3", "nan", "direct", "first", [], [1], [1, 2], [2, 1], [0.0, 0.0], [1e-300, 1e300], {}, {"a": {}}, "x" * 9999),
)
_JSON = (b"[" * 2000, b"1" * 5000, b'{"a":' * 2000, b"\xff", b"", b"null", b"[1e999]")


def changed_checkpoint(content: bytes) -> bytes:
    """The same with changes to its config and its weights."""
    choices = Choices(content)
    config, _, weights = checkpoint().partition(b"\0")
    tree = json.loads(config)
    for _ in range(choices.of(range(4))):
        place = tree
        while True:
            name = choices.of(sorted(place))
            if not isinstance(place[name], dict) or not place[name] or choices.of((False, False, False, True)):
                break
            place = place[name]
        if choices.of((False, False, False, True)):
            del place[name]
        else:
            place[name] = copy.deepcopy(choices.of(_LEAVES))
    text = (
        choices.of((json.dumps(tree).encode(), *_JSON))
        if choices.of((False,) * 7 + (True,))
        else json.dumps(tree).encode()
    )
    return text + b"\0" + _changed_weights(weights, choices)


def _changed_weights(weights: bytes, choices: Choices) -> bytes:
    tensors = load(weights)
    for _ in range(choices.of(range(3))):
        name = choices.of(sorted(tensors))
        value = tensors.pop(name)
        changes = (
            value.astype("f8"),
            value[..., None],
            value.ravel()[:0],
            np.full_like(value, np.nan),
            value.astype("i8"),
            None,
        )
        other = choices.of(changes)
        if other is not None:
            tensors[choices.of((name, "other", f"{name}.x"))] = other
    packed = save(tensors)
    if choices.of((False, False, False, True)):
        return packed[: choices.of((0, 4, 8, 9, len(packed) // 2, len(packed) - 1))]
    if choices.of((False, False, False, True)):
        return struct.pack("<Q", choices.of((0, 1, 2**32, 2**63, 2**64 - 1))) + packed[8:]
    return packed


def params() -> list[bytes]:
    """Texts of YAML with its various kinds of values."""
    world = json.dumps(preset("default")).encode()
    small = b"grid:\n  step_beams: 0.5\n  planes: 4 # planes\n"
    aliases = b"a: &a [x, y]\nb: &b {<<: *a, c: *a}\ncovariance: {beta: 3e-1}\n"
    kinds = b"seed: 0x1F\na: 2001-12-14t21:59:43.10-05:00\nb: !!binary aGVsbG8=\nc: !!set {x}\nd: 1:30\ne: ~\nf: |\n  x\ng: >-\n  y\n? [k]\n: 1\n"
    return [b"scenario: " + world, small, aliases, kinds, b"shards: {scenes_per_shard: 1, chunk: 2}\n"]


def rooms() -> list[bytes]:
    """The hall, one with hardly a wall, and one that is turned, its numbers written otherwise."""
    hall = as_mapping(read_room("hall"))
    bare = json.dumps(hall | {"faces": {"floor": "metal"}, "max_depth": 0, "bs_columns": 1, "bs_rows": 1}).encode()
    turned = json.dumps(hall | {"yaw_deg": "3e1", "bs_yaw_deg": -90, "thickness_m": "1e-2", "faces": {}})
    for number in ("3e1", "1e-2"):
        turned = turned.replace(f'"{number}"', number)
    return [json.dumps(hall).encode(), bare, turned.encode()]


def choices_alone() -> list[bytes]:
    """No change, and some of each kind."""
    return [b"\0", *(bytes([1 + n % 3, n, n + 1, n + 2, 0, n, 1]) for n in range(40))]
