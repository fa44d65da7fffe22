"""docs/params.md says of every parameter what the code says."""

import copy
import dataclasses
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.reference import params_reference, runs_again
from pipeline.sections import override
from risloc.config import flatten
from risloc.scenes.preset_files import preset, preset_names
from risloc.scenes.room import Room
from risloc.utils.yaml_reader import read_yaml

COMMAND = "python -m pipeline params-reference > docs/params.md"


@pytest.fixture(scope="module")
def params(repository: Path) -> dict:
    return read_yaml(repository / "params.yaml")


@pytest.fixture(scope="module")
def rows(params: dict) -> dict[str, list[str]]:
    """The cells of each row by the parameter's name."""
    found = re.findall(r"^\| `([\w.*]+)` \| (.*) \|$", params_reference(params), re.MULTILINE)
    return {name: [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)] for name, cells in found}


def test_the_page_is_up_to_date(repository: Path, params: dict) -> None:
    page = (repository / "docs" / "params.md").read_text(encoding="utf-8")
    assert page == params_reference(params), f"docs/params.md is of another version; run `{COMMAND}`"


def test_every_parameter_has_a_row_with_a_meaning_and_its_value(params: dict, rows: dict[str, list[str]]) -> None:
    space = params["hpo"]["space"]
    plain = flatten({**params, "hpo": {**params["hpo"], "space": {}}})
    knobs = {f"hpo.space.{s}.{name}": knob for s, ranges in space.items() for name, knob in ranges.items()}
    for name, value in {**plain, **knobs}.items():
        meaning, *_, shown = rows[name]
        assert meaning, name
        assert YAML(typ="safe").load(shown.strip("`")) == value, name


def test_a_row_says_unit_domain_and_type(rows: dict[str, list[str]]) -> None:
    assert rows["scenario.carrier_hz"][1:] == ["float", "Hz", ">= 1e+06 and &lt;= 1e+12", "`1e+09`"]
    assert rows["scenario.azimuth_span_deg"][1:4] == ["list of 2 float", "deg", "> -90 and &lt; 90"]
    assert rows["network.head"][1:] == ["str", "", "one of manifold, free", "`manifold`"]
    assert rows["evaluate.gospa_cutoffs"][1:] == ["list of float", "m", "> 0", "`[2.0, 0.5, 5.0]`"]
    assert rows["hpo.space.*.*.step"][1:] == ["float", "", ">= 0", ""]


def test_a_room_s_keys_have_rows_too(rows: dict[str, list[str]]) -> None:
    assert set(rows) >= {field.name for field in dataclasses.fields(Room)}
    assert rows["bs_rows"][1:] == ["int", "", ">= 1 and &lt;= 1024", "`4`"]
    assert rows["faces"][0].startswith("ITU-R P.2040 material")


def test_what_runs_again_is_what_dvc_would_run(repository: Path) -> None:
    """The oracle walks dvc.yaml, which knows files; the page walks the pipeline's table, which knows names."""
    stages = read_yaml(repository / "dvc.yaml")["stages"]
    for section in {section for stage in stages.values() for section in stage.get("params", [])}:
        takers = [name for name, stage in stages.items() if section in stage.get("params", [])]
        due = set(takers)
        for name, stage in stages.items():
            if any(out in stage["deps"] for other in due for out in stages[other]["outs"]):
                due.add(name)
        assert runs_again(takers) == [name for name in stages if name in due], section


def test_a_changed_value_makes_the_page_stale(params: dict) -> None:
    changed = override(copy.deepcopy(params), {"loss.lam_cov": 0.5})
    assert params_reference(changed) != params_reference(params)


def test_a_preset_is_default_and_what_its_row_says(params: dict) -> None:
    page = params_reference(params)
    for name in preset_names():
        row = re.search(rf"^\| `{name}` \| (.*) \|$", page, re.MULTILINE)[1]
        said = dict(entry.split(": ", 1) for entry in re.findall(r"`([^`]+)`", row))
        own = flatten(preset("default")) | {key: YAML(typ="safe").load(value) for key, value in said.items()}
        assert own | {"preset": name} == flatten(preset(name)) | {"preset": name}
