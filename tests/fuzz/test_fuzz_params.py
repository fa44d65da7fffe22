"""Parameters as nobody would write them: any values, any YAML, any override ends in a section or in one ParamError."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from extreme_params import EXTREMES, PARAMS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.sections import override, typed_sections
from risloc.config import ParamError, build, flatten
from risloc.scenes.scenario import Scenario
from risloc.utils.yaml_reader import read_yaml
from tests.fuzz.readers import READERS, judge

PLACES = sorted(flatten(PARAMS))
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.dates(),
    st.sampled_from([10**400, -(10**4000), 1e308, 5e-324, math.nan, math.inf, "1e999", "nan", "", "x" * 10**6]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_LONG = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % (n, n, *[n - 1] * 9) for n in range(98, 101)
)
"""`d` has 6561 leaves: its text is longer than a message may be."""


def _said(error: pytest.ExceptionInfo[ParamError] | ParamError) -> None:
    assert 0 < len(str(error)) < 5000


@settings(max_examples=settings().max_examples // 3)
@given(changes=st.dictionaries(st.sampled_from(PLACES), _VALUES, min_size=1, max_size=3))
def test_any_value_anywhere_is_taken_or_named(changes: dict[str, Any]) -> None:
    before = copy.deepcopy(PARAMS)
    try:
        typed_sections("evaluate", override(PARAMS, changes))
    except ParamError as error:
        _said(error)
    assert before == PARAMS


@given(section=st.sampled_from(sorted(PARAMS)), value=_VALUES)
def test_any_section_is_taken_or_named(section: str, value: object) -> None:
    try:
        typed_sections("train", {**PARAMS, section: value})
    except ParamError as error:
        _said(error)


@given(
    path=st.text(alphabet="ab._scenrio\n\0é", max_size=12) | st.sampled_from(["scenario", "seed.x", "scenario.n_h.x"])
)
def test_an_override_of_what_is_not_there_is_an_error(path: str) -> None:
    if path in PLACES:
        return
    with pytest.raises(ParamError, match=r"not a parameter|a section") as caught:
        override(PARAMS, {path: 1})
    _said(caught.value)


@example(text=_LONG + b"scenario: *d\n")
@example(text=_LONG + b"seed: *d\ngrid: {step_beams: *d, planes: *d}\n")
@example(text=b"a: &a {<<: [*a, *a]}\n")
@example(text=b"grid: " + b"[" * 600)
@example(text=b"grid: {step_beams: 0x" + b"F" * 5000 + b", planes: 0x" + b"F" * 5000 + b"}\n")
@example(text=b"grid: 2001-99-99\n")
@example(text=b"grid: !!timestamp x\n")
@example(text=b"grid: !!bool x\n")
@example(text=b"grid: !!int ''\n")
@example(text=b"grid: !!python/object/apply:os.system ['true']\n")
@example(text=b"&a ? *a : 1")
@example(text=b"\xff\xfe")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="ab:&*!<>[]{}-?|#'\" \n0.e_", max_size=40).map(str.encode))
def test_any_yaml_is_read_or_refused(text: bytes, tmp_path: Path) -> None:
    judge(READERS["params"], text, tmp_path)


def test_yaml_without_end_is_refused() -> None:
    with pytest.raises(ParamError, match="expected at most 262144 bytes of YAML"):
        read_yaml(Path("/dev/zero"))


@given(changes=st.fixed_dictionaries({}, optional={name: st.sampled_from(few) for name, few in EXTREMES.items()}))
def test_no_scenario_is_larger_than_can_be_borne(changes: dict[str, Any]) -> None:
    try:
        scenario = build(Scenario, PARAMS["scenario"] | changes, "scenario")
    except ParamError as error:
        _said(error)
        return
    assert scenario.size * max(scenario.antennas, scenario.K_MAX * scenario.snapshots) <= 2**23
    assert scenario.surface.array.elements.isfinite().all()
