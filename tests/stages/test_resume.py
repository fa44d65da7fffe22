"""What an interrupted stage has finished is not done again, and the end is the same as without the interruption."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading

import mapped_run as mapped
import pytest
import torch
from child_processes import started
from mapped_run import results, run_all, run_evaluate, run_shard, run_simulate

from pipeline.console_reporter import ConsoleReporter
from stages.support.mapping import SERIAL
from stages.support.one_thread import one_thread
from stages.support.resumable import kept, publish, work_key

WORK = {
    run_simulate: ("raw", ()),
    run_shard: ("shards", ("raw",)),
    run_evaluate: ("evaluate", ("shards", "checkpoint")),
}
"""Of each stage: what it makes, and of what."""


class Interrupted:
    """A runner that is stopped, as by Ctrl-C, when it has done some of the items."""

    workers, hosts = 1, False

    def __init__(self, after):
        self.after = after

    def map(self, work, items):
        for item in items[: self.after]:
            yield work(item)
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(small_scenario, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run_all(folder, small_scenario)
    return folder


def interrupted(stage, whole, folder, scenario, after):
    """Run the stage up to the item `after`; the folder of what is kept."""
    for name in WORK[stage][1]:
        if not (folder / name).exists():
            shutil.copytree(whole / name, folder / name)
    with pytest.raises(KeyboardInterrupt):
        stage(folder, scenario, Interrupted(after), ConsoleReporter())
    assert not (folder / WORK[stage][0]).exists()
    (state,) = [path for path in (folder / "state").iterdir() if path.is_dir()]
    return state


def identities(folder):
    """A file keeps its number and its time when its folder is renamed, and has others when it is written again."""
    return {(path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("stage", "after"), [(run_simulate, 2), (run_shard, 3), (run_evaluate, 3)])
def test_a_stage_goes_on_where_it_was_interrupted(whole, small_scenario, tmp_path, stage, after):
    state = interrupted(stage, whole, tmp_path, small_scenario, after)
    done = identities(state)
    assert len(done) >= after
    assert interrupted(stage, whole, tmp_path, small_scenario, after + 1) == state
    assert done < identities(state), "what was there stays, and more comes"
    finished = next(path for path in state.rglob("*") if path.is_file())
    finished.with_name(".torn.part").write_text("half of a file")
    stage(tmp_path, small_scenario, SERIAL, ConsoleReporter())
    expected, found = results(whole), results(tmp_path)
    assert found
    assert [name for name, content in found.items() if expected[name] != content] == []
    assert list((tmp_path / "state").iterdir()) == []
    assert not list(tmp_path.rglob("*.part"))


def test_an_end_while_the_results_were_published_loses_nothing(whole, small_scenario, tmp_path):
    """Killed between the two renames: what is known of the blocks is still there, and they are not."""
    state = interrupted(run_simulate, whole, tmp_path, small_scenario, 3)
    (state / "raw").rename(tmp_path / ".raw.part")
    run_simulate(tmp_path, small_scenario, SERIAL, ConsoleReporter())
    expected = results(whole)
    assert {name: expected[name] for name in results(tmp_path)} == results(tmp_path)
    assert not (tmp_path / ".raw.part").exists()


def test_other_raw_blocks_are_other_work(whole, small_scenario, tmp_path):
    first = interrupted(run_shard, whole, tmp_path, small_scenario, 1)
    os.utime(tmp_path / "raw" / "train" / "00001.npz")
    with pytest.raises(KeyboardInterrupt):
        run_shard(tmp_path, small_scenario, Interrupted(1), ConsoleReporter())
    assert {path.is_dir() for path in first.parent.iterdir()} == {True}
    assert len(list(first.parent.iterdir())) == 2


HOLDER = """
import sys
from pathlib import Path
from stages.support.resumable import kept
with kept(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_second_of_two_waits_and_then_has_it_to_itself(repository, tmp_path):
    """The same key at once: the second goes on only when the first has ended, well or by kill -9."""
    said, entered = [], threading.Event()

    def second():
        with kept(tmp_path / "key", said.append):
            entered.set()

    for end in ("well", "killed"):
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "key")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with started(command, cwd=repository, text=True, **pipes) as first:
            assert first.stdout.readline() == "held\n"
            waiting = threading.Thread(target=second)
            waiting.start()
            assert not entered.wait(0.5)
            if end == "well":
                first.communicate("\n")
            else:
                first.kill()
            waiting.join(10)
            assert entered.is_set()
        entered.clear()
        assert list(tmp_path.iterdir()) == []
    assert said == ["Another run is doing the same work (key); waiting until it has finished"] * 2


def test_a_key_stands_for_the_parts_and_the_code(whole):
    assert work_key("stages.shard", 1, "a") == work_key("stages.shard", 1, "a")
    assert len({work_key("stages.shard", 1), work_key("stages.shard", 2), work_key("stages.simulate", 1)}) == 3


def test_publishing_replaces_the_whole_folder(tmp_path):
    for name in ("made", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    publish(tmp_path / "made", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["made"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target"]


def test_one_thread_is_one_in_every_thread_and_what_it_was_afterwards():
    torch.set_num_threads(2)
    seen, both = [], threading.Barrier(2)

    def work():
        with one_thread():
            both.wait(10)
            seen.append(torch.get_num_threads())
            both.wait(10)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize("size", [16, 7, 300])
def test_the_hash_is_of_the_scenes_and_not_of_the_blocks(whole, small_scenario, tmp_path, size, monkeypatch):
    monkeypatch.setattr(mapped, "DATA", dataclasses.replace(mapped.DATA, block=size))
    run_simulate(tmp_path, small_scenario, SERIAL, ConsoleReporter())
    assert (tmp_path / "simulate.json").read_bytes() == (whole / "simulate.json").read_bytes()
