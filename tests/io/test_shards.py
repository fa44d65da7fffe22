import json
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from same_scenes import same

from risloc.config import as_mapping
from risloc.io.scene_arrays import arrays_of, layout
from risloc.io.scene_checks import SceneError, validate
from risloc.io.shard_batches import batches
from risloc.io.shard_header import ShardError, shard_checksum
from risloc.io.shard_reader import ShardReader
from risloc.io.shard_writer import write_shard
from risloc.scenes.batch import Scenes
from risloc.scenes.simulation import simulate

SIZES = (40, 40, 17)


@pytest.fixture(scope="module")
def scenes(small_scenario):
    with_empty = replace(small_scenario, K_span=(0, 3))
    return with_empty, simulate(with_empty, seed=4, split="train", start=0, stop=sum(SIZES))


@pytest.fixture(scope="module")
def folder(scenes, tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("shards"), *scenes)


def write_all(path, scenario, scenes):
    start = 0
    for number, size in enumerate(SIZES):
        arrays = arrays_of(scenes[start : start + size], scenario.code_bits)
        write_shard(path / f"{number:05d}.h5", scenario, arrays, seed=4, split="train", start=start, chunk=8)
        start += size
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_what_was_written_is_read_bit_for_bit(folder, scenes):
    reader = ShardReader(folder)
    assert (len(reader), reader.seed, reader.split, reader.scenario) == (97, 4, "train", scenes[0])
    assert same(reader.read(slice(None)), scenes[1])
    assert same(reader.read(slice(30, 85)), scenes[1][30:85])
    picked = [0, 3, 4, 39, 40, 41, 79, 80, 96]
    assert same(reader.read(picked), scenes[1][torch.tensor(picked)])
    assert same(reader.read(torch.tensor(picked)), scenes[1][torch.tensor(picked)])


@pytest.fixture(scope="module", params=["farther", "room"])
def echoing(request, small_scenario):
    law = replace(small_scenario.echoes, law=request.param, paths=2)
    scenario = replace(small_scenario, K_span=(0, 3), echoes=law)
    return scenario, simulate(scenario, seed=4, split="train", start=0, stop=sum(SIZES))


def test_echoes_are_read_bit_for_bit(echoing, tmp_path):
    write_all(tmp_path, *echoing)
    reader = ShardReader(tmp_path, expected=echoing[0])
    assert same(reader.read(slice(None)), echoing[1])
    assert same(reader.read([0, 39, 40, 96]), echoing[1][torch.tensor([0, 39, 40, 96])])
    with h5py.File(tmp_path / "00000.h5") as file:
        assert file.attrs["schema"] == 3  # of which versions without echoes say that a later version wrote it
        assert set(file) == {*layout(echoing[0])} > {"echo_location", "echo_gain"}
    validate(arrays_of(echoing[1], 3), echoing[0], "block 0", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a["echo_gain"].__setitem__((3, 2), 1.0), "scene 3: an echo has no source"),
        (lambda a: a["echo_location"].__setitem__((3, 0, 0, 2), 0.01), "scene 3: an image is nearer than its source"),
        (lambda a: a["echo_gain"].__setitem__((3, 0, 0), 9.0), "scene 3: noise_var contradicts snr_db"),
        (lambda a: a["echo_gain"].__setitem__((3, 0, 0), np.nan), "scene 3: echo_gain has values that are not finite"),
        (lambda a: a.pop("echo_gain"), "expected the arrays y, .*, echo_location, echo_gain, got"),
    ],
)
def test_impossible_echoes_are_not_stored(echoing, change, said):
    scenario, scenes = echoing
    first = int(torch.nonzero(scenes.truth.count[3:] == 1)[0])
    arrays = {name: array.copy() for name, array in arrays_of(scenes[first : first + 8], 3).items()}
    change(arrays)
    with pytest.raises(SceneError, match=f"block 0: .*{said}"):
        validate(arrays, scenario, "block 0", 0)


def test_without_echoes_the_file_is_the_one_that_earlier_versions_wrote(folder):
    """The same datasets and attributes: earlier versions read it, and it takes no more bytes."""
    with h5py.File(folder / "00000.h5") as file:
        assert file.attrs["schema"] == 2
        assert "echoes" not in json.loads(file.attrs["scenario"])
        assert set(file) == {"y", "codes", "H", "noise_var", "location", "power", "symbols", "count", "snr_db"}


@pytest.mark.parametrize("index", [[3, 2], [1, 1], [-1, 2], [97], [], slice(5, 5)])
def test_indices_outside_or_out_of_order_are_errors(folder, index):
    with pytest.raises(IndexError, match=r"increasing numbers of scenes in 0\.\.96"):
        ShardReader(folder).read(index)


def test_the_file_is_self_describing(folder, scenes):
    with h5py.File(folder / "00001.h5") as file:
        assert dict(file.attrs)["schema"] == 2
        assert set(file) == set(layout(scenes[0]))
        assert json.loads(file.attrs["scenario"])["n_h"] == 4
        assert (file.attrs["start"], file.attrs["stop"], file.attrs["split"], file.attrs["seed"]) == (
            40,
            80,
            "train",
            4,
        )
        assert file["codes"].dtype == np.uint8
        assert int(file["codes"][...].max()) == 7
        assert file["y"].dtype == np.complex64
        assert file["y"].id.get_type().get_class() == h5py.h5t.COMPOUND
        assert file["H"].chunks == (8, 4, 16)


def test_a_second_writing_gives_the_same_bytes(folder, scenes, tmp_path):
    write_all(tmp_path, *scenes)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_bytes_do_not_depend_on_when_python_frees_a_dataset(folder, scenes, tmp_path, monkeypatch):
    """HDF5 gives it its room when its last handle is gone: here none goes before the file does."""
    held, create = [], h5py.File.create_dataset

    def create_and_hold(file, *args, **kwargs):
        held.append(create(file, *args, **kwargs))
        return held[-1]

    monkeypatch.setattr(h5py.File, "create_dataset", create_and_hold)
    write_all(tmp_path, *scenes)
    for path in sorted(folder.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_scene_takes_little_beside_its_channel(scenario, tmp_path):
    """At the default scenario, all datasets but H take under 1/28 of N x N complex64 covariances."""
    arrays = arrays_of(simulate(scenario, seed=1, split="val", start=0, stop=128), scenario.code_bits)
    write_shard(tmp_path / "0.h5", scenario, arrays, seed=1, split="val", start=0, chunk=32)
    with h5py.File(tmp_path / "0.h5") as file:
        stored = {name: file[name].id.get_storage_size() for name in file}
    overhead = (tmp_path / "0.h5").stat().st_size - sum(stored.values())
    kept = sum(size for name, size in stored.items() if name != "H") + overhead
    assert kept * 28 < 128 * scenario.size**2 * 8


# --- what a reader refuses


def test_no_shards_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(ShardError, match=r"got none; correct the path or, in the repository, run `dvc repro shard`"):
        ShardReader(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_a_truncated_shard_is_named(copy, keep):
    path = copy / "00001.h5"
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    with pytest.raises(
        ShardError, match=r"00001\.h5: (the file is truncated|not an HDF5 file) .*run `dvc repro shard`"
    ):
        ShardReader(copy)


def test_a_foreign_file_is_named(copy):
    with h5py.File(copy / "00000.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(
        ShardError,
        match=r"00000\.h5: expected a shard, got an HDF5 file without the attributes .*run `dvc repro shard`",
    ):
        ShardReader(copy)
    (copy / "00000.h5").write_text("not HDF5")
    with pytest.raises(ShardError, match=r"00000\.h5: not an HDF5 file"):
        ShardReader(copy)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            1,
            r"got version 1; an earlier version of risloc wrote it; in the repository, run `dvc repro shard`; otherwise ask its author",
        ),
        (4, r"got version 4; a later version of risloc wrote it; install that version$"),
        ("x", r"got version 'x'; copy the file again"),
    ],
)
def test_another_schema_version_is_refused(copy, schema, message):
    with h5py.File(copy / "00002.h5", "r+") as file:
        file.attrs["schema"] = schema
    with pytest.raises(ShardError, match=rf"00002\.h5: expected a shard of schema version 2 or 3, {message}"):
        ShardReader(copy)


def test_a_shard_of_schema_1_is_refused_for_its_version(copy):
    """As version 1 stored it: with the factor of R_true, under a checksum that fits."""
    with h5py.File(copy / "00000.h5", "r+") as file:
        file.attrs["schema"] = 1
        file.create_dataset("R_true_factor", data=np.zeros((40, 16, 3), np.complex64), chunks=(8, 16, 3))
        file.attrs["checksum"] = shard_checksum(file)
    with pytest.raises(ShardError, match=r"00000\.h5: expected a shard of schema version 2 or 3, got version 1"):
        ShardReader(copy)


def test_a_missing_shard_is_noticed(copy):
    (copy / "00001.h5").unlink()
    with pytest.raises(ShardError, match=r"00002\.h5: expected scenes from 40 with"):
        ShardReader(copy)


@pytest.mark.parametrize("name", ["y", "codes", "location", "count"])
def test_changed_content_is_found_on_the_first_read(copy, name):
    with h5py.File(copy / "00001.h5", "r+") as file:
        flat = file[name][...]
        flat.view(np.uint8).reshape(-1)[-1] ^= 1
        file[name][...] = flat
    reader = ShardReader(copy)
    reader.read(slice(0, 40))
    with pytest.raises(ShardError, match=r"00001\.h5: the content does not match the checksum.*`dvc repro shard`"):
        reader.read(slice(39, 41))


def test_a_changed_header_is_found(copy):
    with h5py.File(copy / "00000.h5", "r+") as file:
        file.attrs["seed"] = 5
    with pytest.raises(ShardError, match="expected scenes from 40 with the scenario, seed and split of"):
        ShardReader(copy)
    for number in (1, 2):
        with h5py.File(copy / f"{number:05d}.h5", "r+") as file:
            file.attrs["seed"] = 5
    with pytest.raises(ShardError, match="does not match the checksum"):
        ShardReader(copy).read([0])


def test_another_scenario_is_named_with_what_differs(folder, scenes):
    assert ShardReader(folder, scenes[0]).scenario == scenes[0]
    with pytest.raises(
        ShardError,
        match=r"another scenario \(snapshots differ: 6 there, 7 requested\); request that scenario or, in the repository, run `dvc repro shard`",
    ):
        ShardReader(folder, replace(scenes[0], snapshots=7))


# --- a writer that is killed, and a disk that is full

WRITER = """
    import json, sys
    from pathlib import Path
    from risloc.config import build
    from risloc.io.scene_arrays import arrays_of
    from risloc.scenes.scenario import Scenario
    from risloc.io.shard_writer import write_shard
    from risloc.scenes.simulation import simulate

    scenario = build(Scenario, json.loads(sys.argv[1]), "scenario")
    arrays = arrays_of(simulate(scenario, seed=1, split="val", start=0, stop=64), scenario.code_bits)
    {before}
    write_shard(Path(sys.argv[2]), scenario, arrays, seed=1, split="val", start=0, chunk=8)
"""


def run_writer(scenario, path, before=""):
    code = textwrap.dedent(WRITER).format(before=before)
    command = [sys.executable, "-c", code, json.dumps(as_mapping(scenario)), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(small_scenario, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"
    done = run_writer(small_scenario, tmp_path / "0.h5", limit)
    assert done.returncode == 1
    assert "0.h5: File too large" in done.stderr
    assert "free some space and start again" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_older_shard_as_it_was(small_scenario, tmp_path):
    path = tmp_path / "0.h5"
    assert run_writer(small_scenario, path).returncode == 0
    before = path.read_bytes()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"
    assert run_writer(small_scenario, path, limit).returncode == 1
    assert [p.name for p in tmp_path.iterdir()] == ["0.h5"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_killed_writer_leaves_no_shard(small_scenario, tmp_path, moment):
    """Killed once all bytes are written but before they are known to be on disk, or before the file has its name."""
    owner = {"fsync": "os", "replace": "Path"}[moment]
    kill = f"import os, signal; {owner}.{moment} = lambda *a: os.kill(os.getpid(), signal.SIGKILL)"
    done = run_writer(small_scenario, tmp_path / "0.h5", kill)
    assert done.returncode == -signal.SIGKILL
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    with pytest.raises(ShardError, match="got none"):
        ShardReader(tmp_path)


# --- batches


def ids(batch: Scenes) -> list[float]:
    return batch.observation.noise_var.tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 40, 200])
def test_batches_in_order_are_the_scenes(folder, scenes, batch_size):
    parts = list(batches(ShardReader(folder), batch_size))
    assert same(Scenes.cat(parts), scenes[1])
    assert [len(part) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 200])
def test_shuffled_batches_hold_every_scene_once(folder, scenes, batch_size):
    parts = list(batches(ShardReader(folder), batch_size, seed=1))
    seen = [x for part in parts for x in ids(part)]
    assert sorted(seen) == sorted(ids(scenes[1]))
    assert seen != ids(scenes[1])
    assert all(len(part) == batch_size for part in parts[:-1])


def test_shuffling_is_decided_by_seed_and_epoch(folder):
    reader = ShardReader(folder)

    def order(**options):
        return [x for part in batches(reader, 8, **options) for x in ids(part)]

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert len({tuple(order(seed=s, epoch=e)) for s in (1, 2) for e in (0, 1)}) == 4


@pytest.mark.parametrize("seed", [None, 3])
def test_limit_and_drop_last(folder, scenes, seed):
    reader = ShardReader(folder)
    seen = [x for part in batches(reader, 8, seed=seed, limit=43) for x in ids(part)]
    assert sorted(seen) == sorted(ids(scenes[1][:43]))
    assert [len(part) for part in batches(reader, 8, seed=seed, limit=43, drop_last=True)] == [8] * 5
    assert sum(len(part) for part in batches(reader, 8, seed=seed, limit=1000)) == 97


def test_a_batch_left_half_way_leaves_no_thread(folder):
    import threading

    reader = ShardReader(folder)
    iterator = batches(reader, 4, seed=1)
    next(iterator)
    iterator.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_an_error_while_reading_ahead_reaches_the_caller(copy):
    reader = ShardReader(copy)
    (copy / "00001.h5").unlink()
    with pytest.raises(ShardError, match=r"00001\.h5"):
        list(batches(reader, 8))


@pytest.mark.parametrize(("batch_size", "limit"), [(0, None), (4, 0)])
def test_no_scenes_at_all_is_an_error(folder, batch_size, limit):
    with pytest.raises(ValueError, match="expected numbers of at least 1"):
        next(batches(ShardReader(folder), batch_size, limit=limit))


def test_a_reader_travels_to_another_process_without_its_files(folder, scenes):
    reader = ShardReader(folder)
    reader.read([0])
    other = pickle.loads(pickle.dumps(reader))  # noqa: S301 - our own bytes
    reader.close()
    assert same(other.read([5]), scenes[1][5:6])
    assert same(reader.read([5]), scenes[1][5:6])


def test_a_batch_shares_no_memory_with_the_next_read(folder):
    reader = ShardReader(folder)
    first = reader.read(slice(0, 8))
    first.observation.y.zero_()
    assert reader.read(slice(0, 8)).observation.y.abs().sum() > 0


def _sealed(change):
    """A change to a shard, then the checksum that fits: whoever can write a shard can compute it."""

    def change_file(file):
        change(file)
        file.attrs["checksum"] = shard_checksum(file)

    return change_file


def _again(file, name, **how):
    array = file[name][()]
    del file[name]
    file.create_dataset(name, data=array, **how)


def _external(file):
    del file["power"]
    file.create_dataset("power", (40, 3), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def _linked(file, link):
    del file["power"]
    file["power"] = link


def _never_written(file):
    del file["power"]
    file.create_dataset("power", (2**40, 3), "f4", chunks=(8, 3))


def _without_K_MAX(file):
    values = json.loads(file.attrs["scenario"])
    del values["K_MAX"]
    file.attrs["scenario"] = json.dumps(values)


CRAFTED = {
    "another type": (_sealed(lambda f: _again(f, "count", dtype="f8", chunks=(8,))), r"count: expected uint8 \(40,\), got float64"),
    "one more": (_sealed(lambda f: f.create_dataset("other", data=[1.0], chunks=(1,))), "other: expected no array, got float64"),
    "no chunks": (lambda f: _again(f, "power"), "power: expected chunked storage, got contiguous storage"),
    "a group": (lambda f: f.create_group("other"), "expected a dataset, got a Group"),
    "a loop": (lambda f: _linked(f, h5py.SoftLink("/power")), "got a SoftLink"),
    "another file": (lambda f: _linked(f, h5py.ExternalLink("/etc/passwd", "/power")), "got a ExternalLink"),
    "another file's bytes": (_external, "expected data in this file, got a reference to another"),
    "terabytes that are nowhere": (_never_written, "expected 13194139533312 bytes as declared, got 0"),
    "no scenes": (lambda f: f.attrs.__setitem__("stop", 0), "expected start < stop"),
    "no number": (lambda f: f.attrs.__setitem__("stop", "many"), "stop: expected int"),
    "no K_MAX": (_sealed(_without_K_MAX), r"scenario\.K_MAX: missing \([^;]*\)\); copy the file again"),
    "deep": (_sealed(lambda f: f.attrs.__setitem__("scenario", "[" * 4000)), "its scenario is not readable"),
}  # fmt: skip


@pytest.mark.parametrize("what", CRAFTED)
def test_a_crafted_shard_is_refused_before_it_is_read(folder, tmp_path, what):
    change, said = CRAFTED[what]
    shutil.copy(folder / "00000.h5", tmp_path)
    with h5py.File(tmp_path / "00000.h5", "a") as file:
        change(file)
    with pytest.raises(ShardError, match=said):
        ShardReader(tmp_path).read(slice(0, 4))
