"""Mapped work on threads and processes, for real: a flow on Prefect's temporary server, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mapped import results, run_all

from risloc.params import as_mapping

SETTINGS = ("threads:2", "processes:2")


@pytest.fixture(scope="module")
def serial(small_scenario, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    run_all(folder, small_scenario)
    return folder


@pytest.fixture(scope="module")
def mapped(small_scenario, tmp_path_factory):
    """The same on every runner, by the path that the command line takes."""
    folder = tmp_path_factory.mktemp("mapped")
    script = Path(__file__).with_name("mapped.py")
    command = [sys.executable, str(script), str(folder), json.dumps(as_mapping(small_scenario)), *SETTINGS]
    environment = os.environ | {"PYTHONPATH": str(script.parents[1]), "PREFECT_HOME": str(folder / "prefect")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


@pytest.mark.parametrize("number", range(len(SETTINGS)), ids=SETTINGS)
def test_every_byte_is_the_same_on_every_runner(serial, mapped, number):
    expected, found = results(serial), results(mapped / str(number))
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert list((mapped / str(number) / "state").iterdir()) == []
