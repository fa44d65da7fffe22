from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from risloc.config import ParamError, as_mapping, build, flatten, param
from risloc.scenes.scenario import Scenario
from risloc.utils.yaml_reader import read_yaml


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = param("a rate", unit="1/s", gt=0.0, le=1.0)
    note: str | None = param("a note or nothing")


@dataclass(frozen=True, kw_only=True)
class Outer:
    size: int = param("how many", ge=1)
    on: bool = param("whether")
    kind: str = param("which", choices=("a", "b"))
    span: tuple[float, float] = param("a span", ge=-1.0)
    steps: tuple[int, ...] = param("some steps", ge=0)
    table: dict[str, float] = param("by name")
    inner: Inner = param("more")


GOOD = {
    "size": 3,
    "on": True,
    "kind": "a",
    "span": [0, 1.5],
    "steps": [1, 2, 3],
    "table": {"x": 1},
    "inner": {"rate": 0.5, "note": None},
}


def test_a_section_is_built_and_taken_apart_again():
    outer = build(Outer, GOOD, "section")
    assert outer.span == (0.0, 1.5)
    assert isinstance(outer.span[0], float)
    assert outer.table == {"x": 1.0}
    assert outer.inner == Inner(rate=0.5, note=None)
    assert build(Outer, as_mapping(outer), "section") == outer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sise": 3}, r"section\.sise: unknown parameter; allowed here: size, on"),
        ({"size": 0}, r"section\.size: expected a value >= 1, got 0"),
        ({"size": 2.5}, r"section\.size: expected int, got 2.5"),
        ({"size": True}, r"section\.size: expected int, got True"),
        ({"size": None}, r"section\.size: expected int, got None"),
        ({"on": 1}, r"section\.on: expected bool, got 1"),
        ({"kind": "c"}, r"section\.kind: expected a value one of \('a', 'b'\), got 'c'"),
        ({"span": [0]}, r"section\.span: expected a list of 2"),
        ({"span": 3}, r"section\.span: expected a list, got 3"),
        ({"span": [-2, 1]}, r"section\.span: expected a value >= -1.0, got -2.0"),
        ({"span": [float("nan"), 1]}, r"section\.span: expected a finite number, got nan"),
        ({"span": [0, float("inf")]}, r"section\.span: expected a finite number, got inf"),
        ({"steps": [1, -1]}, r"section\.steps: expected a value >= 0, got -1"),
        ({"table": {"x": "y"}}, r"section\.table\.x: expected a number, got the text 'y'; write it without quotes"),
        ({"inner": {"rate": 0.0, "note": None}}, r"section\.inner\.rate: expected a value > 0.0 and <= 1.0, got 0.0"),
        ({"inner": {"rate": 0.5}}, r"section\.inner\.note: missing \(a note or nothing\)"),
        ({"inner": None}, r"section\.inner: expected a mapping"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(change, message):
    with pytest.raises(ParamError, match=message):
        build(Outer, {**GOOD, **change}, "section")


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_parameter_is_named(name):
    with pytest.raises(ParamError, match=rf"section\.{name}: missing .*it has no default, add it$"):
        build(Outer, {key: value for key, value in GOOD.items() if key != name}, "section")


def test_a_doubled_key_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("loss:\n  lam_cov: 1.0\n  lam_gap: 2.0\n  lam_cov: 0.0\n")
    with pytest.raises(ParamError, match=r"params\.yaml: .*line 4, column 3: lam_cov: duplicate key; keep one"):
        read_yaml(path)


@pytest.mark.parametrize("text", ["- 1\n", "a: [1\n", "", "a: !!python/object/apply:os.getcwd []\n"])
def test_what_is_no_mapping_is_an_error(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamError, match=r"params\.yaml"):
        read_yaml(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(value="1e-3")
@given(value=st.floats(1e-12, 1.0).flatmap(lambda x: st.sampled_from([f"{x!r}", f"{x:.17e}", f"{x:.17E}"])))
def test_numbers_survive_yaml_in_any_notation(value, tmp_path):
    (tmp_path / "params.yaml").write_text(f"rate: {value}\nnote: n\n")
    assert build(Inner, read_yaml(tmp_path / "params.yaml"), "x").rate == float(value)


def test_flatten_gives_dotted_keys():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": 3}) == {"a.b": 1, "a.c.d": [2], "e": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K_span": [0, 6]}, "K_span: expected at most K_MAX = 5"),
        ({"K_span": [-1, 3]}, r"K_span: expected a value >= 0, got -1"),
        ({"K_span": [3, 1]}, r"K_span: expected \[lowest, highest\], got \[3, 1\]; swap the two values"),
        ({"distance_span_m": [0.0, 1.0]}, "distance_span_m: expected a value >= 0.001"),
        ({"azimuth_span_deg": [-90.0, 60.0]}, "azimuth_span_deg: expected a value > -90.0 and < 90.0"),
        (
            {"observation": "direct"},
            "antennas: expected 144, one for each element with direct observation, got 16",
        ),
        (
            {"observation": "direct", "antennas": 144},
            "codebook: expected 'ones', because direct observation has no codes",
        ),
        ({"antennas": 145}, r"antennas: expected at most one for each element \(144\), got 145"),
        ({"code_bits": 9}, "code_bits: expected a value >= 1 and <= 8, got 9"),
        ({"waveform": "chirp"}, "waveform: expected a value one of"),
        ({"coherent_fraction": 1.5}, "coherent_fraction: expected a value >= 0.0 and <= 1.0, got 1.5"),
        ({"coherent_fraction": -0.1}, "coherent_fraction: expected a value >= 0.0 and <= 1.0, got -0.1"),
        (
            {"coherent_fraction": 0.25, "waveform": "coherent"},
            "coherent_fraction: expected 0 with waveform 'coherent', got 0.25; only scenes with 'independent'",
        ),
        ({"coherent_fraction": 0.25, "snapshots": 1}, "coherent_fraction: expected 0 with one snapshot, got 0.25"),
    ],
)
def test_a_scenario_outside_its_domain_is_named(scenario, change, message):
    with pytest.raises(ParamError, match=f"scenario.*{message}"):
        build(Scenario, {**as_mapping(scenario), **change}, "scenario")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multipath_paths": -1}, "multipath_paths: expected a value >= 0 and <= 64, got -1"),
        ({"multipath_paths": 1.5}, "multipath_paths: expected int, got 1.5"),
        ({"multipath_db": float("-inf")}, "multipath_db: expected a finite number, got -inf"),
        ({"multipath": 2}, "multipath: unknown parameter; allowed here: element_phase_std_deg"),
    ],
)
def test_a_mismatch_outside_its_domain_is_named(scenario, change, message):
    values = as_mapping(scenario)
    with pytest.raises(ParamError, match=rf"scenario\.mismatch\.{message}"):
        build(Scenario, {**values, "mismatch": {**values["mismatch"], **change}}, "scenario")
