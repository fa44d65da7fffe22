"""A small learning problem that the tests of network, loss, training and stages share."""

import dataclasses

import torch

from risloc.covariance.factored import CovarianceConfig
from risloc.learning.gradient_checks import check_gradients, gradient_norms
from risloc.learning.loss import LossTerms
from risloc.learning.loss_weights import WEIGHTS, LossConfig, LossWeights
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.learning.prediction import Prediction
from risloc.learning.training_step import FitConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

GRID = GridConfig(step_beams=0.4, planes=3)
COVARIANCE = CovarianceConfig(beta=0.3)
NETWORK = NetworkConfig(head="manifold", channels=16, blocks=1, passes=2, amp=False)
FIT = FitConfig(
    batch_size=16,
    accumulate=1,
    learning_rate=3e-3,
    weight_decay=0.0,
    warmup=0.1,
    clip_norm=1.0,
    ema_decay=0.99,
    replicate=0,
)
LOSS = LossConfig(
    lam_cov=1.0,
    lam_cov_pred=0.05,
    lam_cross=2.5e-3,
    lam_gap=0.065,
    lam_ang=1.0,
    lam_rng=1.0,
    lam_K=1.0,
    lam_nll=0.0,
    gap_margin=0.6,
    curriculum=False,
)
ALL = dataclasses.replace(LOSS, **{name: getattr(LOSS, name) or 0.1 for name in WEIGHTS})  # no term is off


def network(scenario: Scenario, seed: int = 0, **changes: object) -> HybridNetwork:
    torch.manual_seed(seed)
    config = dataclasses.replace(NETWORK, **changes)  # type: ignore[arg-type]
    return HybridNetwork(scenario, GRID, COVARIANCE, config)


def scenes(scenario: Scenario, n: int = 16, split: str = "train", **changes: object) -> Scenes:
    return simulate(scenario, seed=5, split=split, start=0, stop=n, **changes)  # type: ignore[arg-type]


def guard(terms: LossTerms, weights: LossWeights, prediction: Prediction, *, sources: bool = True) -> None:
    """The first step's guard, of a step in one part."""
    values = {name: float(value.detach()) for name, value in terms.values.items()}
    check_gradients(values, gradient_norms(terms, weights, prediction), weights, sources=sources)
