"""The text of docs/ablations.md: each setting's means over its replicates, and its paired differences to the base."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

__all__ = ["BASE", "MEASURES", "NOMP", "Mean", "differences", "mean_of", "page"]

BASE = "base"
CONFIDENCE = 0.95

MEASURES = {
    "NMSE of R_pred": ("train", "val_nmse_pred"),
    "NMSE of R_blend": ("train", "val_loss_nmse"),
    "physical score": ("train", "score"),
    "slots, 10 dB": ("evaluate", "gospa/slots_plain/snr10"),
    "MUSIC on R_pred, 10 dB": ("evaluate", "gospa/R_pred_plain/snr10"),
    "MUSIC on R_blend, 10 dB": ("evaluate", "gospa/R_blend_plain/snr10"),
    "refined, 0 dB": ("evaluate", "gospa/R_blend_refined/snr0"),
    "refined, 10 dB": ("evaluate", "gospa/R_blend_refined/snr10"),
}
"""Columns: words, the stage whose metrics have it, and its key there. Less is better in each."""

NOMP = {f"NOMP, {snr} dB": ("evaluate", f"gospa/nomp_refined/snr{snr}") for snr in (0, 10)}
"""The same in every run, for comparison."""

HEAD = """\
# What each part is worth

Written by `{command}`; edit the generator, not this page.

One knob is changed at a time, and everything is trained again, {replicates} times from other initial networks
(`fit.replicate`) on the same scenes. Each run is a DVC experiment, which `dvc exp show` lists where it was made, and
`dvc exp run --temp` with the parameters at the end repeats one. Trainings are short ({scenes} scenes, none seen twice):
they rank the settings, and no number here is that of the trained network in the README.

NMSE and physical score (subspace distance of R_blend plus GOSPA of the slots over its cut-off) are on validation scenes,
of the epoch that is kept; the others are mean GOSPA in metres, cut-off 2 m, K known, on test scenes: the network's slots
alone, plain MUSIC, and the whole hybrid, refined. Less is better everywhere. NMSE of R_blend is not comparable between
values of beta, which are part of it. `lam_cov` = 0 turns `lam_cross` and `lam_gap` off too, which are per unit of it. NOMP on the same test scenes: {nomp}.
"""

FIRST = """\
## Means

Mean over replicates, with Student's interval at {confidence:.0%}: what another initial network may change.
"""

SECOND = """\
## Differences to the base

Of the same replicate, mean with Student's interval; **bold** where 0 is outside, so that the knob matters. Positive: the
base is better. Of {count} intervals about {chance:.0f} exclude 0 by chance.
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
    nomp = ", ".join(f"{words.removeprefix('NOMP, ')} {base[0][words]:.3f}" for words in NOMP)
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
        "## Parameters\n\nThose of `params.yaml` but for\n",
        *(f"    {_change(path, value)}" for path, value in common.items()),
        "\nand in each setting\n",
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
