"""What a stage reads from params.yaml, and makes of `--set`, is what DVC reads and what `dvc exp run -S` writes there."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.changes import parse_change, written_change
from pipeline.sections import override
from risloc.config import ParamError
from risloc.utils.yaml_reader import read_yaml

SCALARS = [
    *(
        "0123",
        "017",
        "08",
        "0o17",
        "0o8",
        "0x1F",
        "0xfg",
        "0b101",
        "1_000",
        "1_000.5",
        "1__0",
        "_1",
        "+1",
        "-0",
        "-0123",
    ),
    *(
        "00",
        "1:30",
        "12:30:45",
        "190:20:30.15",
        "1e3",
        "1.e3",
        "1e-3",
        "1E3",
        "1e+3",
        "0.1e1",
        ".5",
        "5.",
        "-.5",
        ".1e3",
    ),
    *(
        "1e",
        ".e1",
        ".inf",
        "-.Inf",
        "+.INF",
        "inf",
        ".nan",
        "NaN",
        "1e400",
        "1,000",
        "1,5",
        "no",
        "No",
        "NO",
        "yes",
        "on",
    ),
    *("off", "y", "n", "true", "True", "TRUE", "tRUE", "false", "null", "Null", "~", "nil", "None", "2001-01-01", "<<"),
    *("2001-01-01T00:00:00Z", "'no'", "'0123'", '"1e3"', "[1,0123]", "{a:1}", '{"a":1}', "!!str 1", "!!int 0o17", "!"),
    *("!!float 1", "!foo x", "&x 1", "*x"),
]
BLOCKS = [
    "a: {<<: {b: 1}, c: no}\n", "a: &a {b: 1}\nc: {<<: *a}\n", "a: &a [0123, no]\nb: *a\n", "a: &a?b 1\n",
    "a: 1\na: 2\n", "no: 1\n", "1: 2\n", "a: {1.5: x, null: y, no: z}\n", "%YAML 1.1\n---\na: 0123\nb: no\n",
    "%YAML 1.2\n---\na: 0123\n", "a: |\n  0123\nb: >-\n  no\n", "a: 1 # no\n", "---\na: 1\n", "--- {a: 0123}\n", "a:\n",
    "a: {1: 2, 1: 3}\n", "? a\n: 0123\n", "? [1]\n: 2\n", "a: 1\n...\n", "a: 1\n---\nb: 2\n", "- 1\n", "", "\ufeffa: 0123\n",
]  # fmt: skip
ALPHABET = "ab:0123456789._-+eoxEX~ '\"#,[]{}|>&*!?\n\tinfy"


def judged(text: str, folder: Path) -> str:
    """'same' where both read the same values of the same types, 'refused' where one of them takes nothing from it."""
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        ours = read_yaml(path)
        theirs = load_yaml(str(path))
    except (ParamError, DvcException, ArithmeticError, LookupError, ValueError):
        return "refused"
    return "same" if same(ours, theirs) else f"{text!r}: {ours} for a stage, {theirs} for DVC"


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return type(other) is float and (one == other or (math.isnan(one) and math.isnan(other)))
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and same(list(one), list(other)) and same(list(one.values()), list(other.values()))
        )
    if isinstance(one, list | tuple):
        return type(other) is type(one) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("text", [*(f"a: {scalar}\n" for scalar in SCALARS), *BLOCKS])
def test_a_value_is_what_it_is_for_dvc_or_refused(text: str, tmp_path: Path) -> None:
    assert judged(text, tmp_path) in ("same", "refused")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0123", 123), ("017", 17), ("0o17", 15), ("1:30", "1:30"), ("no", "no"), ("on", "on"), ("1e3", 1000.0)),
        *(("1e-3", 0.001), ("true", True), (".inf", math.inf), ("1_000", 1000), ("-.5", -0.5), ("~", None)),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object, tmp_path: Path) -> None:
    assert judged(f"a: {text}\n", tmp_path) == "same"
    assert same(read_yaml(tmp_path / "params.yaml"), {"a": value})


def test_what_is_in_the_repository_is_the_same_for_both(repository: Path) -> None:
    files = [repository / "params.yaml", repository / "dvc.yaml", repository / "dvc.lock"]
    for path in [*files, *(repository / "risloc").rglob("*.yaml")]:
        assert same(read_yaml(path), load_yaml(str(path))), path


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=ALPHABET, max_size=12), start=st.sampled_from(["a: ", "a: [", "a:\n  ", ""]))
def test_any_text_is_what_it_is_for_dvc_or_refused(text: str, start: str, tmp_path: Path) -> None:
    assert judged(f"{start}{text}\n", tmp_path) in ("same", "refused")


def both(change: str, repository: Path, folder: Path) -> str:
    """As `judged`, for a text given to --set and to -S."""
    path = Path(shutil.copy(repository / "params.yaml", folder))
    try:
        ours = override(read_yaml(path), dict([parse_change(change)]))
        apply_overrides(path, [change])
    except (ParamError, DvcException):
        return "refused"
    theirs = load_yaml(str(path))
    return "same" if same(ours, theirs) else f"{change!r}: {ours} for --set, {theirs} for -S"


CHANGES = [f"seed={text}" for text in SCALARS] + [
    *("seed=5", "loss.lam_cov=1e-3", "loss.lam_cov=.5", "loss.lam_cov=-1", "seed=", "seed=''", "seed='0123'", "seed"),
    *("scenario.K_span=[1,2]", "scenario.K_span=[1, 2]", "evaluate.methods=[nomp_refined,no]", "evaluate.methods=[]"),
    *(
        "hpo.space.loss.lam_cross.high=5",
        "loss.lam_cov=1,2",
        "seed=choice(1,2)",
        "+new=1",
        "~seed",
        "++seed=2",
        "new=1",
    ),
    *("seed=${data.train}", "network.head='a b'", "network.head=a b", "network.head=free", "network.amp=False"),
    *("seed=int(3)", "loss={lam_cov: 2}", "seed={a: 1}", "scenario/n_h=3", "seed@x=1", "seed=1 # one", "fit=1", "=1"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_set_gives_the_value_that_dvc_writes_or_is_refused(change: str, repository: Path, tmp_path: Path) -> None:
    assert both(change, repository, tmp_path) in ("same", "refused")


@pytest.mark.parametrize(
    ("change", "value"),
    [
        *(("seed=5", 5), ("seed=0123", "0123"), ("seed=1:30", "1:30"), ("seed=no", "no"), ("seed=1e3", 1000.0)),
        *(("seed=.5", 0.5), ("seed=True", True), ("seed=null", None), ("seed='5'", "5"), ("seed=[1,no]", [1, "no"])),
        *(("seed=1_000", 1000), ("seed=nan", math.nan), ("seed=a b", "a b"), ("seed=0x1F", "0x1F")),
    ],
)
def test_a_change_is_read_as_hydra_reads_it(change: str, value: object, repository: Path, tmp_path: Path) -> None:
    assert both(change, repository, tmp_path) == "same"
    assert same(parse_change(change), ("seed", value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed", r"'seed': expected section\.key=value, .*missing EQUAL"),
        ("seed=1,2", r"expected one value, got several; run each separately, or give a list"),
        ("~seed", r"no parameter can be added or removed"),
        ("seed=${data.train}", r"got a reference"),
        ("network.head=é", r"quote strings"),
    ],
)
def test_a_change_that_is_none_is_told_why(change: str, message: str) -> None:
    with pytest.raises(ParamError, match=message) as caught:
        parse_change(change)
    assert "\n" not in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1, max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@example(value="no")
@example(value="it's")
@example(value="a, b")
@example(value=[1, 1.0, True, None, "null", "x y"])
@settings(max_examples=300)
@given(value=_JSON)
def test_what_a_flow_is_given_reaches_the_stage_through_dvc_or_is_refused(value: object) -> None:
    """The driver's set_params are JSON, and go through dvc's command line."""
    try:
        text = written_change("loss.lam_cov", value)
    except ParamError:
        assert not isinstance(value, bool | int | float | None), "a value that can be carried"
        return
    assert same(parse_change(text), ("loss.lam_cov", value))
