"""`make verify`: the metrics of a fresh run beside the committed ones, each within its tolerance, or named.

What is drawn is the same bits on every processor. What is computed without training differs by rounding, and where that tips
a decision. What is trained differs as replicates do, docs/concepts.md says why; its tolerance is wide, for it asks whether the run
is of the same kind, not whether it is the same.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.git import git
from pipeline.layout import MEASURED

__all__ = ["VerifyError", "compare", "verify"]

_UNTRAINED = ("R_samp", "R_true", "back_projection", "beamforming", "mvdr", "nomp", "omp", "sbl", "untrained")


class VerifyError(RuntimeError):
    """There is nothing to compare, or nothing to compare with."""


@dataclass(frozen=True)
class Tolerance:
    """Numbers a and b agree if |a - b| <= absolute + relative * |b|; anything else if it is equal."""

    words: str
    relative: float
    absolute: float

    def holds(self, fresh: Any, committed: Any) -> bool:
        """Whether the two agree."""
        if not _number(fresh) or not _number(committed):
            return type(fresh) is type(committed) and fresh == committed
        if math.isnan(fresh) or math.isnan(committed):
            return math.isnan(fresh) and math.isnan(committed)
        return abs(fresh - committed) <= self.absolute + self.relative * abs(committed)


SAME = Tolerance("the same", 0.0, 0.0)
ROUNDED = Tolerance("within 2 % + 0.01", 0.02, 0.01)
TRAINED = Tolerance("within 50 % + 0.05", 0.5, 0.05)
ANY = Tolerance("any: chosen counts", 0.0, math.inf)
_MISSING = "missing"
_FEW = 20  # values that are all shown


def tolerance(stage: str, name: str) -> Tolerance:
    """Of one value of a stage's metrics."""
    if stage in ("simulate", "shard") or name.split("/")[-1] in ("scenes", "passed"):
        return SAME
    if stage == "hpo":
        return SAME if name == "chosen" else ANY
    method = name.split("/")[1] if stage == "evaluate" else ""
    return ROUNDED if method.startswith(_UNTRAINED) and not method.endswith("_learnt") else TRAINED


def verify(revision: str, here: Path) -> tuple[list[str], bool]:
    """The lines to print, and whether all values agree with those that `revision` has of every stage.

    Raises
    ------
    VerifyError
        No git, no such revision, or no metrics of a stage on one side.
    """
    lines, good = [], True
    for stage in MEASURED:
        path = f"metrics/{stage}.json"
        text = git("show", f"{revision}:./{path}", at=here)
        if text is None:
            raise VerifyError(
                f"{revision}:{path}: not in git; name a commit that has metrics (make verify REVISION=...)"
            )
        if not (here / path).is_file():
            raise VerifyError(f"{path}: missing; `dvc repro {stage}` makes it")
        said, agree = compare(stage, json.loads((here / path).read_text(encoding="utf-8")), json.loads(text))
        lines += said
        good &= agree
    lines.append(
        f"All values agree with {revision}." if good else f"NOT all values agree with {revision}: see DIFFERS above."
    )
    return lines, good


def compare(stage: str, fresh: Mapping[str, Any], committed: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The values of a stage side by side, where they are many those alone that differ; whether none does."""
    left, right = dict(_leaves(fresh)), dict(_leaves(committed))
    rows, differ, equal = [], 0, 0
    for name in [*right, *(name for name in left if name not in right)]:
        allowed = tolerance(stage, name)
        here, there = left.get(name, _MISSING), right.get(name, _MISSING)
        holds = allowed.holds(here, there)
        differ += not holds
        equal += here == there
        if not holds or len(right) <= _FEW:
            verdict = "" if holds else "DIFFERS"
            rows.append(
                f"  {name:40s} {_shown(here):>34s} {_shown(there):>34s}  {allowed.words:20s} {verdict}".rstrip()
            )
    counts = f"{len(left.keys() | right.keys())} values, {equal} of them equal, {differ} outside their tolerance"
    header = [f"  {'':40s} {'here':>34s} {'committed':>34s}  tolerance"] if rows else []
    return [f"{stage}: {counts}", *header, *rows], not differ


def _leaves(metrics: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}/")
        else:
            yield f"{above}{name}", value


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
