"""Mapped work on threads and processes, for real: a flow on Prefect's temporary server, in a process of its own."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import psutil
import pytest
from mapped_run import differing, run_all, run_script

from pipeline.env import SettingError
from pipeline.runner_setting import RunnerSetting, runner_setting

SETTINGS = ("threads:2", "processes:2")


@pytest.fixture(scope="module")
def serial(small_scenario, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    run_all(folder, small_scenario)
    return folder


@pytest.fixture(scope="module")
def mapped(small_scenario, tmp_path_factory):
    """The same on every runner."""
    folder = tmp_path_factory.mktemp("mapped")
    run_script(folder, small_scenario, *SETTINGS)
    return folder


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=SETTINGS)
def test_every_byte_is_the_same_on_every_runner(serial, mapped, number):
    assert differing(serial, mapped / str(number)) == []
    assert list((mapped / str(number) / "state").iterdir()) == []


@pytest.mark.e2e
@pytest.mark.usefixtures("shared_prefect")
@pytest.mark.parametrize("runner", SETTINGS)
def test_an_error_in_one_item_is_said_once_and_leaves_nothing(repository, serial, tmp_path, runner):
    """Scene 20 of the second block of val has no power: the stage `shard` says so and ends; no shard is published."""
    shutil.copytree(serial / "raw", tmp_path / "data" / "raw")
    block = tmp_path / "data" / "raw" / "val" / "00001.npz"
    with np.load(block) as file:
        arrays = dict(file)
    arrays["noise_var"][3] = 0.0
    np.savez(block, **arrays)
    manifest = json.loads((serial / "raw" / "manifest.json").read_text())
    sections = ("mismatch", "echoes")
    changes = {f"scenario.{key}": value for key, value in manifest["scenario"].items() if key not in sections}
    changes |= {
        f"scenario.{section}.{key}": value
        for section in sections
        for key, value in manifest["scenario"][section].items()
    }
    changes |= {"seed": manifest["seed"], "shards.scenes_per_shard": 24, "shards.chunk": 8}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "shard", "--into", str(tmp_path), *words],
        cwd=repository,
        env=os.environ | {"RISLOC_RUNNER": runner, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1
    said = "shard failed: SceneError: val/00001.npz: scene 19: noise_var is not positive"
    assert [line.startswith(said) for line in done.stderr.splitlines() if "shard failed" in line] == [True]
    assert "Retry" not in done.stderr
    assert not (tmp_path / "data" / "shards").exists()
    assert not (tmp_path / "metrics").exists()
    assert list((tmp_path / ".state" / "shard").iterdir()) == []
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])
    ]


@pytest.mark.parametrize("setting", ["processes:0", "dask:nowhere"])
def test_a_wrong_setting_ends_the_command_line_at_once(repository, tmp_path, setting):
    command = [sys.executable, "-m", "pipeline", "simulate", "--into", str(tmp_path)]
    environment = os.environ | {"RISLOC_RUNNER": setting}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("RISLOC_RUNNER: expected serial, threads:N, processes:N, dask:N")
    assert done.stderr.endswith(f"got {setting!r}\n")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RunnerSetting("serial")),
        ("serial", RunnerSetting("serial")),
        ("threads:3", RunnerSetting("threads", 3)),
        ("processes:16", RunnerSetting("processes", 16)),
        ("dask:2", RunnerSetting("dask", 2)),
        ("dask:tcp://127.0.0.1:8786", RunnerSetting("dask", None, "tcp://127.0.0.1:8786")),
    ],
)
def test_what_a_setting_means(text, expected):
    assert runner_setting({"RISLOC_RUNNER": text}) == expected
    assert runner_setting({}) == RunnerSetting("serial")


@pytest.mark.parametrize(
    "text",
    ["serial:1", "threads", "threads:", "threads:0", "processes:0", "processes:-1", "processes:two", "dask", "dask:", "dask:0",
     "dask:tcp://", "dask:tcp://host", "dask:host:8786", "Threads:2", "threads:2 ", "ray:2"],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_told(text):
    with pytest.raises(SettingError, match=r"RISLOC_RUNNER: expected serial, threads:N, .* got"):
        runner_setting({"RISLOC_RUNNER": text})


def test_workers_on_other_hosts_need_a_server_that_they_can_reach():
    setting = {"RISLOC_RUNNER": "dask:tcp://node7:8786"}
    with pytest.raises(SettingError, match="dask:tcp://node7:8786 needs PREFECT_API_URL"):
        runner_setting(setting)
    found = runner_setting(setting | {"PREFECT_API_URL": "http://head:4200/api"})
    assert found == RunnerSetting("dask", None, "tcp://node7:8786")
