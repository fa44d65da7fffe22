import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import h5py
import numpy as np
import pytest
from same_scenes import same

from pipeline.console_reporter import ConsoleReporter
from risloc.config import as_mapping, build
from risloc.io.scene_checks import SceneError
from risloc.io.shard_reader import ShardConfig, ShardReader
from risloc.scenes.simulation import simulate as draw
from stages import shard, simulate

DATA = {"train": 50, "val": 20, "test_per_cell": 3, "test_snr_db": [0.0, 10.0], "block": 16}
SIZES = {"train": 50, "val": 20, "test": 24}
CONFIG = ShardConfig(scenes_per_shard=24, chunk=8)


@pytest.fixture(scope="module")
def world(small_scenario):
    return replace(small_scenario, K_span=(0, 3))


def prepare(path, world):
    config = build(simulate.DataConfig, DATA, "data")
    simulate.run(
        seed=9,
        scenario=world,
        data=config,
        raw=path / "raw",
        metrics=path / "m.json",
        state=path / "state",
        report=ConsoleReporter(),
    )
    return path


def pack(path, world, config=CONFIG, seed=9):
    shard.run(
        seed=seed,
        scenario=world,
        shards=config,
        raw=path / "raw",
        shard_dir=path / "shards",
        metrics=path / "shard.json",
        state=path / "state",
        report=ConsoleReporter(),
    )


@pytest.fixture
def raw(world, tmp_path):
    return prepare(tmp_path, world)


def test_shards_hold_the_scenes_of_their_split(raw, world):
    pack(raw, world)
    for split in ("train", "val"):
        reader = ShardReader(raw / "shards" / split, world)
        assert same(reader.read(slice(None)), draw(world, seed=9, split=split, start=0, stop=SIZES[split]))
    assert [path.name for path in sorted((raw / "shards" / "train").iterdir())] == ["00000.h5", "00001.h5", "00002.h5"]
    assert len(ShardReader(raw / "shards" / "test", world)) == 24
    assert not list(raw.glob(".*"))


def test_a_second_run_gives_the_same_bytes(raw, world):
    pack(raw, world)
    first = {path: path.read_bytes() for path in (raw / "shards").rglob("*.h5")}
    metrics = (raw / "shard.json").read_text()
    pack(raw, world)
    assert {path: path.read_bytes() for path in (raw / "shards").rglob("*.h5")} == first
    assert (raw / "shard.json").read_text() == metrics
    assert json.loads(metrics)["train"]["shards"] == 3


def test_scenes_do_not_depend_on_the_shard_size(raw, world):
    pack(raw, world)
    reader = ShardReader(raw / "shards" / "train")
    wide = reader.read(slice(None))
    pack(raw, world, ShardConfig(scenes_per_shard=7, chunk=3))
    narrow = ShardReader(raw / "shards" / "train")
    assert same(narrow.read(slice(None)), wide)


def spoil(raw, change, split="val", number=1):
    """Change one block: `change` gets its arrays."""
    path = raw / "raw" / split / f"{number:05d}.npz"
    arrays = simulate.load_block(path)
    change(arrays)
    np.savez(path, **arrays)


def put(name, index, value):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][index] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("y", (2, 0, 1), np.nan), "scene 18: y has values that are not finite"),
        (put("y", (2, 0, 1), np.inf * 1j), "scene 18: y has values that are not finite"),
        (put("H", (3, 1, 1), np.nan), "scene 19: H has values that are not finite"),
        (put("codes", (0, 1, 1), 8), "scene 16: a code exceeds 3 bits"),
        (put("count", 1, 4), "scene 17: K exceeds K_MAX = 3"),
        (put("count", 1, 255), "scene 17: K exceeds K_MAX = 3"),
        (put("noise_var", 0, 0.0), "scene 16: noise_var is not positive"),
        (put("noise_var", 0, 1e6), "scene 16: noise_var contradicts snr_db"),
        (put("snr_db", 3, 40.0), "scene 19: noise_var contradicts snr_db"),
        (put("location", (0, slice(None), 2), 9.0), "scene 16: "),
        (put("power", (2, 2), -1.0), "scene 18: power is not positive exactly in the first K slots"),
        (lambda arrays: arrays.pop("y"), "expected the arrays y, codes, H"),
        (lambda arrays: arrays.update(y=arrays["y"][:, :3]), "y: expected complex64"),
        (lambda arrays: arrays.update(power=arrays["power"].astype(float)), "power: expected float32"),
    ],
)
def test_a_bad_scene_is_named_with_its_block_and_nothing_is_written(raw, world, change, message):
    spoil(raw, change)
    with pytest.raises(SceneError, match=rf"val/00001\.npz: {message}"):
        pack(raw, world)
    assert not (raw / "shards").exists()
    assert not (raw / "shard.json").exists()
    assert not list(raw.glob(".*"))


def test_a_source_outside_the_domain_is_named(raw, world):
    def far(arrays):
        first = int(np.flatnonzero(arrays["count"])[0])
        put("location", (first, 0, 2), 9.0)(arrays)

    spoil(raw, far)
    with pytest.raises(SceneError, match="a source lies outside the domain"):
        pack(raw, world)


def test_an_error_keeps_the_shards_that_were_there(raw, world):
    pack(raw, world)
    before = {path: path.read_bytes() for path in (raw / "shards").rglob("*.h5")}
    spoil(raw, put("y", (2, 0, 1), np.nan))
    with pytest.raises(SceneError):
        pack(raw, world)
    assert {path: path.read_bytes() for path in (raw / "shards").rglob("*.h5")} == before


def test_a_scene_of_one_split_in_another_is_found(raw, world):
    train = simulate.load_block(raw / "raw" / "train" / "00000.npz")

    def smuggle(arrays):
        for name, array in arrays.items():
            arrays[name] = array.copy()
            arrays[name][1] = train[name][5]

    spoil(raw, smuggle)
    with pytest.raises(SceneError, match=r"val/00001\.npz: scene 17 of val occurs twice.*must be disjoint"):
        pack(raw, world)


def test_a_missing_block_is_noticed(raw, world):
    (raw / "raw" / "train" / "00003.npz").unlink()
    with pytest.raises(ValueError, match=r"expected the 4 blocks .*, got 3: 00000\.npz, .*; run `dvc repro simulate`"):
        pack(raw, world)


def test_raw_scenes_of_another_seed_are_refused(raw, world):
    with pytest.raises(ValueError, match="another scenario or seed"):
        pack(raw, world, seed=10)


@pytest.mark.parametrize("changes", [{"dead_fraction": 0.2, "channel_error": 0.05}, {"multipath_paths": 2}])
def test_mismatched_scenes_pass_though_their_channel_is_unknown(small_scenario, tmp_path, changes):
    rough = replace(small_scenario, mismatch=replace(small_scenario.mismatch, **changes))
    pack(prepare(tmp_path, rough), rough)


@pytest.mark.parametrize("waveform", ["coherent", "constant"])
def test_every_waveform_passes(small_scenario, tmp_path, waveform):
    shared = replace(small_scenario, waveform=waveform)
    pack(prepare(tmp_path, shared), shared)


def test_scenes_of_which_some_are_coherent_pass(small_scenario, tmp_path):
    """Each scene's sigma^2 is checked with its own P."""
    mixed = replace(small_scenario, K_span=(2, 3), coherent_fraction=0.5)
    pack(prepare(tmp_path, mixed), mixed)


def test_a_full_disk_is_a_clear_error_that_leaves_no_shards(raw, world):
    """The real stage in a process whose files may not grow beyond 20 kB."""
    code = textwrap.dedent("""
        import json, resource, sys
        from pathlib import Path
        from risloc.config import build
        from risloc.scenes.scenario import Scenario
        from risloc.io.shard_reader import ShardConfig
        from stages import shard
        from pipeline.console_reporter import ConsoleReporter

        root = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        shard.run(seed=9, scenario=build(Scenario, json.loads(sys.argv[2]), "scenario"), raw=root / "raw",
                  shards=ShardConfig(scenes_per_shard=24, chunk=8), shard_dir=root / "shards",
                  metrics=root / "shard.json", state=root / "state", report=ConsoleReporter())
    """)
    command = [sys.executable, "-c", code, str(raw), json.dumps(as_mapping(world))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "free some space and start again" in done.stderr
    assert not (raw / "shards").exists()
    assert not (raw / "shard.json").exists()
    assert not list(raw.rglob("*.part"))


def test_five_times_the_scenes_take_no_more_memory(small_scenario, tmp_path):
    """Peak memory of simulate and shard, in a process each: bounded by the block and the shard."""
    code = textwrap.dedent("""
        import json, resource, sys
        from pathlib import Path
        from risloc.config import build
        from risloc.scenes.scenario import Scenario
        from risloc.io.shard_reader import ShardConfig, ShardReader
        from risloc.io.shard_batches import batches
        from stages import shard, simulate
        from pipeline.console_reporter import ConsoleReporter

        root, scenario = Path(sys.argv[1]), build(Scenario, json.loads(sys.argv[2]), "scenario")
        data = simulate.DataConfig(train=int(sys.argv[3]), val=8, test_per_cell=1, test_snr_db=(0.0,), block=64)
        report = ConsoleReporter()
        simulate.run(seed=9, scenario=scenario, data=data, raw=root / "raw", metrics=root / "m", state=root / "state",
                     report=report)
        shard.run(seed=9, scenario=scenario, raw=root / "raw", shards=ShardConfig(scenes_per_shard=64, chunk=16),
                  shard_dir=root / "shards", metrics=root / "m", state=root / "state", report=report)
        assert sum(len(batch) for batch in batches(ShardReader(root / "shards/train"), 32, seed=1)) == data.train
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)
    wide = replace(small_scenario, n_h=16, n_v=16, antennas=16)  # 47 kB a scene

    def peak(scenes):
        command = [sys.executable, "-c", code, str(tmp_path / str(scenes)), json.dumps(as_mapping(wide)), str(scenes)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
        return int(done.stdout.splitlines()[-1]) * 1024

    grown = peak(3000) - peak(600)
    assert grown < 0.3 * 2400 * 47_000


def test_the_storage_that_is_reported_is_that_of_the_files(raw, world):
    pack(raw, world)
    summary = json.loads((raw / "shard.json").read_text())["train"]
    files = list((raw / "shards" / "train").iterdir())
    assert summary["bytes_per_scene"] == sum(path.stat().st_size for path in files) // 50
    with h5py.File(files[0]) as file:
        assert file.attrs["chunk"] == 8
