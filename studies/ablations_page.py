"""The text of docs/ablations.md: the means of each setting over its replicates, and its paired differences from the base."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from stages.evaluation.method import HYBRID, NOMP, PLAIN, Method

__all__ = ["BASE", "MEASURES", "NOMP_MEASURES", "R_PRED", "SLOTS", "Mean", "differences", "mean_of", "page"]

BASE = "base"
CONFIDENCE = 0.95

R_PRED, SLOTS = Method("R_pred"), Method("slots", PLAIN)


def _gospa(of: Method, snr_db: int) -> str:
    return f"gospa/{of.name}/snr{snr_db}"


MEASURES = {
    "NMSE of R_pred": ("train", "val_nmse_pred"),
    "NMSE of R_blend": ("train", "val_loss_nmse"),
    "physical score": ("train", "score"),
    "slots, 10 dB": ("evaluate", _gospa(SLOTS, 10)),
    "MUSIC on R_pred, 10 dB": ("evaluate", _gospa(R_PRED.stepped(PLAIN), 10)),
    "MUSIC on R_blend, 10 dB": ("evaluate", _gospa(HYBRID.stepped(PLAIN), 10)),
    "refined, 0 dB": ("evaluate", _gospa(HYBRID, 0)),
    "refined, 10 dB": ("evaluate", _gospa(HYBRID, 10)),
}
"""Columns: words, the stage whose metrics have it, and its key there. Less is better in each."""

NOMP_MEASURES = {f"NOMP, {snr} dB": ("evaluate", _gospa(NOMP, snr)) for snr in (0, 10)}
"""The same in every run, for comparison."""

HEAD = """\
# What each part contributes

This page shows how much each part of the hybrid contributes. `{command}` writes it; edit the generator, not this page.

Each setting changes one part of the base and is trained again, {replicates} times from different initial networks
(`fit.replicate`) on the same scenes. Each run is a DVC experiment: `dvc exp show` lists it where it was made, and
`dvc exp run --temp` with the parameters at the end repeats it. The trainings are short ({scenes} scenes, each used once), so
they rank the settings; no number here is that of the trained network in the README.

NMSE and the physical score (subspace distance of R_blend plus GOSPA of the slots divided by its cut-off) are measured on
validation scenes, at the epoch that is kept. The other columns give the mean GOSPA in metres on test scenes, with a cut-off of
2 m and K known: of the network's slots alone, of plain MUSIC, and of the whole hybrid, refined. Smaller is better in every
column. NMSE of R_blend is not comparable between values of beta, because R_blend contains beta. `lam_cov` = 0 also turns off
`lam_cross` and `lam_gap`, which are multiplied by it. NOMP on the same test scenes: {nomp}.
"""

FIRST = """\
## Means

Means over the replicates, with Student's interval at {confidence:.0%}, which shows the effect of the initial network.
"""

SECOND = """\
## Differences from the base

Each difference is taken within a replicate; the table gives means with Student's interval, in **bold** where the interval
excludes 0. A positive difference means that the base is better. Of {count} intervals about {chance:.0f} exclude 0 by chance.
"""


@dataclass(frozen=True)
class Mean:
    """A mean with half the width of its interval, NaN for a single value."""

    value: float
    half: float

    @property
    def beyond_doubt(self) -> bool:
        """Whether 0 is outside the interval."""
        return abs(self.value) > self.half


def mean_of(values: Sequence[float]) -> Mean:
    """The mean, and t s / sqrt(n) with Student's t of n - 1 degrees of freedom at `CONFIDENCE`."""
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return Mean(float(x.mean()), math.nan)
    quantile = student.ppf((1 + CONFIDENCE) / 2, len(x) - 1)
    return Mean(float(x.mean()), float(quantile * x.std(ddof=1) / math.sqrt(len(x))))


def differences(values: Sequence[float], base: Sequence[float]) -> Mean:
    """The mean of value less base, replicate by replicate."""
    return mean_of([value - other for value, other in zip(values, base, strict=True)])


def page(
    found: Mapping[str, Sequence[Mapping[str, float]]],
    settings: Mapping[str, Mapping[str, object]],
    common: Mapping[str, object],
    command: str,
) -> str:
    """The Markdown text.

    command : that writes it.
    found : for each setting the measures of its replicates, in the order of these.  settings : what each changes.
    common : what differs from params.yaml in all of them.
    """
    base = found[BASE]
    nomp = ", ".join(f"{words.removeprefix('NOMP, ')} {base[0][words]:.3f}" for words in NOMP_MEASURES)
    scenes = int(str(common["data.train"])) * int(str(common["train.epochs"]))
    means = {
        setting: [f"{(m := mean_of(_column(own, name))).value:.4f} {_half(m)}" for name in MEASURES]
        for setting, own in found.items()
    }
    less = {
        setting: [_difference(differences(_column(own, name), _column(base, name))) for name in MEASURES]
        for setting, own in found.items()
        if setting != BASE
    }
    count = len(less) * len(MEASURES)
    parts = [
        HEAD.format(command=command, replicates=len(base), scenes=scenes, nomp=nomp),
        FIRST.format(confidence=CONFIDENCE),
        _table(means),
        SECOND.format(count=count, chance=(1 - CONFIDENCE) * count),
        _table(less),
        "## Parameters\n\nAll runs use `params.yaml` with these changes:\n",
        *(f"    {_change(path, value)}" for path, value in common.items()),
        "\nEach setting adds:\n",
        *(f"    {name}: {_changes(settings[name])}" for name in found if settings[name]),
        "",
    ]
    return "\n".join(parts)


def _column(replicates: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [each[name] for each in replicates]


def _half(mean: Mean) -> str:
    return "" if math.isnan(mean.half) else f"± {mean.half:.4f}"


def _difference(mean: Mean) -> str:
    text = f"{mean.value:+.4f} {_half(mean)}".strip()
    return f"**{text}**" if mean.beyond_doubt else text


def _table(rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"| | {' | '.join(MEASURES)} |", "|---|" + "---|" * len(MEASURES)]
    lines += [f"| {setting} | {' | '.join(cell.strip() for cell in cells)} |" for setting, cells in rows.items()]
    return "\n".join(lines) + "\n"


def _change(path: str, value: object) -> str:
    return f"{path}={json.dumps(value)}"


def _changes(changes: Mapping[str, object]) -> str:
    return " ".join(_change(path, value) for path, value in changes.items())
