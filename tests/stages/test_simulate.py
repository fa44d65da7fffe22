import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from same_scenes import same

from pipeline.console_reporter import ConsoleReporter
from risloc.config import ParamError, build
from risloc.io.scene_arrays import layout, scenes_of
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate as draw
from stages import simulate

DATA = {"train": 50, "val": 20, "test_per_cell": 3, "test_snr_db": [0.0, 10.0], "block": 16}


@pytest.fixture(scope="module")
def world(small_scenario) -> Scenario:
    return replace(small_scenario, K_span=(0, 2))


def run(path, scenario, **changes):
    config = build(simulate.DataConfig, {**DATA, **changes}, "data")
    report = ConsoleReporter()
    simulate.run(
        seed=9,
        scenario=scenario,
        data=config,
        raw=path / "raw",
        metrics=path / "m.json",
        state=path / "state",
        report=report,
    )
    return report


@pytest.fixture(scope="module")
def raw(world, tmp_path_factory):
    path = tmp_path_factory.mktemp("simulate")
    run(path, world)
    return path


def load(path, split) -> Scenes:
    blocks = [simulate.load_block(block) for block in simulate.block_paths(path / "raw", split)]
    return Scenes.cat([scenes_of(block, 3) for block in blocks])


def test_blocks_hold_the_scenes_of_their_split(raw, world):
    for split, size in (("train", 50), ("val", 20)):
        assert same(load(raw, split), draw(world, seed=9, split=split, start=0, stop=size))
    sizes = [len(np.load(path)["y"]) for path in simulate.block_paths(raw / "raw", "train")]
    assert sizes == [16, 16, 16, 2]


def test_a_block_needs_no_pickle_and_has_the_layout(raw, world):
    path = simulate.block_paths(raw / "raw", "val")[0]
    with np.load(path, allow_pickle=False) as file:
        assert {name: (file[name].dtype, file[name].shape[1:]) for name in file.files} == layout(world)


def test_the_test_split_has_every_cell_alike(raw):
    truth = load(raw, "test").truth
    cells = torch.stack([truth.snr_db, truth.count.float()], -1)
    values, counts = cells.unique(dim=0, return_counts=True)
    assert values.tolist() == [[snr, k] for snr in (0.0, 10.0) for k in (0.0, 1.0, 2.0)]
    assert counts.tolist() == [3] * 6


def test_scenes_do_not_depend_on_the_block(raw, world, tmp_path):
    run(tmp_path, world, block=7)
    for split in ("train", "val", "test"):
        assert same(load(raw, split), load(tmp_path, split))


def test_a_second_run_gives_the_same_bytes(raw, world, tmp_path):
    run(tmp_path, world)
    files = sorted(p.relative_to(raw) for p in raw.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert all((raw / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)


def test_metrics_tell_the_scenes_and_not_the_clock(raw):
    metrics = json.loads((raw / "m.json").read_text())
    assert {split: values["scenes"] for split, values in metrics.items()} == {"train": 50, "val": 20, "test": 18}
    assert metrics["test"]["mean_K"] == 1.0
    assert set(metrics["train"]) == {"scenes", "mean_K", "mean_effective_rank", "hash"}


def test_the_speed_is_reported(world, tmp_path):
    records = run(tmp_path, world).records
    assert any(kind == "metrics" and "simulate/scenes_per_second" in values[0] for kind, values in records)


def test_the_manifest_is_that_of_this_scenario_and_seed(raw, world):
    assert simulate.manifest(raw / "raw", world, 9) == ({"train": 50, "val": 20, "test": 18}, 16)
    with pytest.raises(ValueError, match="of another scenario or seed; run `dvc repro simulate`"):
        simulate.manifest(raw / "raw", world, 10)
    with pytest.raises(ValueError, match="another scenario"):
        simulate.manifest(raw / "raw", replace(world, snapshots=7), 9)
    with pytest.raises(ValueError, match=r"manifest\.json: not there, .*`dvc repro simulate`"):
        simulate.manifest(raw, world, 9)


def test_a_damaged_block_is_named(tmp_path):
    path = tmp_path / "00000.npz"
    path.write_bytes(b"PK\x03\x04 not a block")
    with pytest.raises(ValueError, match=r"00000\.npz: damaged block"):
        simulate.load_block(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train", 0),
        ("block", 0),
        ("test_per_cell", -1),
        ("test_snr_db", 3.0),
        ("test_snr_db", []),
        ("test_snr_db", [5.0, 5.0]),
    ],
)
def test_a_size_outside_its_domain_is_named(name, value):
    with pytest.raises(ParamError, match=rf"data(\.|: ){name}"):
        build(simulate.DataConfig, {**DATA, name: value}, "data")
