"""Answers to scenes made up from the truth: what stages' tables and page are tested on, without a search."""

from collections.abc import Sequence

import torch
from torch import Tensor

from risloc.estimation.assessment import Estimates
from risloc.estimation.spectral_methods import Located
from risloc.physics.geometry import polar_of
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from stages.evaluation.method import Method
from stages.evaluation.methods import Result
from stages.evaluation.scores import Bounds, Collection

NAMES = (
    "R_blend_refined",
    "R_samp_refined",
    "nomp_refined",
    "ablation_no_slots",
    "R_blend_refined_bic",
    "nomp_refined_bic",
    "ablation_no_slots_bic",
)
PLAIN = ("R_blend_plain", "mvdr_plain", "R_blend_plain_bic", "mvdr_plain_bic")


def draw(scenario: Scenario, snr_db: float, n: int = 8, count: int | None = None) -> Scenes:
    return simulate(scenario, seed=4, split="test", start=0, stop=n, snr_db=snr_db, count=count)


def true_polar(scenes: Scenes) -> Tensor:
    filler = torch.tensor([0.0, 0.0, 1.0])
    return polar_of(torch.where(scenes.truth.present[..., None], scenes.truth.location, filler))


def fit(polar: Tensor, present: Tensor, std: float | Tensor = 0.1, resolved: Tensor | None = None) -> Estimates:
    """Estimates with these deviations of position and distance; all converged, and resolved unless `resolved` says otherwise."""
    deviation = torch.where(present, torch.as_tensor(std), torch.nan)
    return Estimates(
        polar=polar,
        power=torch.ones(present.shape) * present,
        present=present,
        reason=torch.zeros_like(present, dtype=torch.int64) if resolved is None else (~resolved).long(),
        covariance=torch.full((*present.shape, 3, 3), torch.nan, dtype=torch.float64),
        position_std=deviation,
        distance_std=deviation,
        misfit=torch.ones(len(present), dtype=torch.float64),
        explained=torch.ones(len(present), dtype=torch.float64),
        freedom=torch.full((len(present),), 100.0, dtype=torch.float64),
        log_likelihood=torch.zeros(len(present)),
        converged=torch.ones(len(present), dtype=torch.bool),
    )


def answer(name: str, found: Estimates | Located, seconds: float = 0.1) -> Result:
    located = Located(found.polar, found.present)
    return Result(Method.named(name), located, seconds, found if isinstance(found, Estimates) else None)


def collection(
    scenario: Scenario, snrs: Sequence[float] = (0.0, 20.0), cutoffs: Sequence[float] = (2.0, 0.5)
) -> Collection:
    """Fits and plain spectra that are off at random, and one that misses everything; K by chance."""
    collected = Collection(scenario, cutoffs)
    noise = torch.Generator().manual_seed(1)
    for snr in snrs:
        scenes = draw(scenario, snr)
        there, true = scenes.truth.present, true_polar(scenes)
        collected.add_scenes(scenes, bounds(there))
        for name in NAMES:
            off = true + 0.02 * torch.randn(true.shape, generator=noise)
            resolved = torch.rand(there.shape, generator=noise) < 0.8
            collected.add_result(scenes, bounds(there), answer(name, fit(off, there, resolved=resolved)))
        for name in PLAIN:
            collected.add_result(scenes, bounds(there), answer(name, Located(true, torch.zeros_like(there))))
        collected.add_orders({"mdl": scenes.truth.count.clamp(max=1), "presence": scenes.truth.count})
    return collected


def bounds(there: Tensor) -> Bounds:
    position, distance, angle = (torch.where(there, value, torch.nan) for value in (0.1, 0.08, 0.01))
    return Bounds(position=position, distance=distance, angle=angle, clipped=torch.zeros_like(there))
