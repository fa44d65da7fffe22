"""Resolution: how often the two closest sources of a scene are separated, against how far apart they are.

Axes: batch B, src (true slots), est (estimated slots).
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from risloc.performance.intervals import proportion_interval
from risloc.scenes.scenario import Scenario
from stages.evaluation.tables import Columns, Row, Table, interval

__all__ = ["EDGES", "SNR_RANGES", "beams_of", "closest_pair", "pair_resolved", "resolution"]

EDGES = (0.0, 0.6, 0.9, 1.2, 1.8, 2.4, math.inf)
"""Of the bins of separation, in beams of wavelength / aperture."""

SNR_RANGES = {"below 10 dB": (-math.inf, 10.0), "10 dB and above": (10.0, math.inf)}
"""The SNRs that are pooled; the lower end belongs to the range."""


def beams_of(polar: Tensor, scenario: Scenario) -> Tensor:
    """(u, v) in beams [..., 2]: over wavelength / aperture, the aperture counting half a wavelength an element.

    A coordinate that the array cannot see (one element across) or that the domain fixes is 0: a linear array is judged
    by its single coordinate.
    """
    seen = [n / 2 if n > 1 and free else 0.0 for n, free in _axes(scenario)]
    return polar[..., :2] * torch.tensor(seen, dtype=polar.dtype)


def closest_pair(beams: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """The separation [B] of the closest two sources of each scene, infinite below two, and their slots [B, 2]."""
    slots = present.shape[1]
    upper = torch.ones(slots, slots, dtype=torch.bool).triu(1)
    both = present[:, :, None] & present[:, None, :] & upper
    apart = (beams[:, :, None] - beams[:, None, :]).norm(dim=-1)
    least, place = torch.where(both, apart, torch.inf).flatten(1).min(dim=1)
    return least, torch.stack([place // slots, place % slots], dim=1)


def pair_resolved(found: Tensor, estimate: Tensor, beams: Tensor, separation: Tensor, pair: Tensor) -> Tensor:
    """Whether both sources of the pair are matched and both errors in beams are below half the separation, bool [B].

    found : estimates in beams [B, est, 2].  estimate : the slot assigned to each source, -1 where missed.
    """
    chosen = estimate.gather(1, pair)
    own = found.gather(1, chosen.clamp_min(0)[..., None].expand(-1, -1, 2))
    error = (own - beams.gather(1, pair[..., None].expand(-1, -1, 2))).norm(dim=-1)
    return ((chosen >= 0) & (error < separation[:, None] / 2)).all(1) & separation.isfinite()


def resolution(scenes: Columns, methods: Mapping[str, Columns], table: Table) -> list[Row]:
    """The probability of resolution by method, SNR range and bin of separation, with Wilson's interval.

    Scenes of at least two sources; bins without a scene are left out.
    """
    rows: list[Row] = []
    for name, scores in methods.items():
        for words, (least, most) in SNR_RANGES.items():
            within = (scenes["snr_db"] >= least) & (scenes["snr_db"] < most)
            for low, high in itertools.pairwise(EDGES):
                cell = within & _in_bin(scenes["pair_separation"], low, high)
                if cell.any():
                    hits, trials = int(scores["pair_resolved"][cell].sum()), int(cell.sum())
                    share = dict(interval("resolution", proportion_interval(hits, trials, table.confidence)))
                    bin_of = {"separation_low_beams": low, "separation_high_beams": high, "scenes": trials}
                    rows.append({"method": name, "snr_range": words} | bin_of | share)
    return rows


def _in_bin(separation: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.isfinite(separation) & (separation >= low) & (separation < high)


def _axes(scenario: Scenario) -> list[tuple[int, bool]]:
    free = scenario.surface.domain.free
    return [(scenario.n_h, free[0]), (scenario.n_v, free[1])]
