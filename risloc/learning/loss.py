"""The loss: above all R_blend against R_true, and the geometry of the slots. It is a pure function with frozen weights.

    total = lam_cov NMSE(R_blend) + lam_cov_pred NMSE(R_pred) + lam_cov (lam_cross cross + lam_gap gap)
          + lam_ang angle + lam_rng range + lam_K presence + lam_nll nll

Every term has a name, is of order one at the start, and is a mean over the scenes to which it applies: all scenes for
presence, the scenes with sources for the other terms. If the network makes several passes, NMSE(R_pred), angle, range and
presence are means over the passes, because each pass should find the sources.

Axes: batch B, src K_MAX, elem N, ant M, snap L, rank r.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.nn import functional

from risloc.covariance.factored import FactoredCovariance, true_covariance
from risloc.covariance.snapshots import element_power
from risloc.learning.loss_weights import LossConfig, LossWeights
from risloc.learning.prediction import MapOutput, Prediction
from risloc.physics.geometry import Array
from risloc.physics.grid import PolarGrid
from risloc.scenes.batch import Observation, Scenes

__all__ = ["LossTerms", "TermError", "Whole", "loss_terms", "nmse"]


@dataclass(frozen=True)
class LossTerms:
    """The raw terms of the loss.

    Parameters
    ----------
    values
        Each term, a scalar, by its name; a term that has no weight may be missing.
    """

    values: dict[str, Tensor]

    def total(self, weights: LossWeights) -> Tensor:
        """Sum the weighted terms; a term of weight 0 adds nothing, whatever its value.

        Parameters
        ----------
        weights
            The weights.

        Returns
        -------
        Tensor
            The total, a scalar.
        """
        used = [weight * self.values[name] for name, weight in weights.effective().items() if weight > 0]
        return torch.stack(used).sum() if used else torch.stack(list(self.values.values())).sum() * 0


class TermError(ValueError):
    """A term of the loss that has a weight cannot train the network."""


@dataclass(frozen=True)
class Whole:
    """The step that a batch is part of.

    Parameters
    ----------
    scenes
        The number of scenes in the step.
    sourced
        How many of them have sources.
    """

    scenes: int
    sourced: int


def loss_terms(
    prediction: Prediction,
    R_blend: FactoredCovariance,
    scenes: Scenes,
    array: Array,
    grid: PolarGrid,
    config: LossConfig,
    whole: Whole | None = None,
    *,
    every: bool = True,
) -> LossTerms:
    """Compute the terms of the loss for a batch of scenes; the function is pure, and the weights do not enter.

    R_blend and the likelihood use R_pred of the last pass; the terms of `EVERY_PASS` are means over all passes.

    Parameters
    ----------
    prediction
        The prediction of the network.
    R_blend
        The covariance that it leads to.
    scenes
        The scenes with their truth.
    array
        The surface.
    grid
        The grid of the network.
    config
        The margin of the gap; the weight of the likelihood says whether that is needed.
    whole
        The step that the batch is part of, so that the terms of the parts add up to those of the whole; None: the batch is
        the step.
    every
        False: leave out the likelihood if it has no weight, because it takes long.

    Returns
    -------
    LossTerms
        The terms.
    """
    truth = scenes.truth
    polar, A = truth.polar, truth.steering(array)
    some = truth.count > 0
    R_true = true_covariance(A, truth.power)
    Q = torch.linalg.qr(A).Q * truth.present[:, None, :]
    cross, energy = _subspace_energies(R_blend, Q)
    passes = (prediction, *prediction.earlier)
    angle, range_ = zip(*(_geometry(each.output, grid, polar, truth.present) for each in passes), strict=True)
    presence = (_presence(each.output, grid, polar, truth.present) for each in passes)

    def mean(values: Float[Tensor, " batch"]) -> Tensor:
        count = some.sum().clamp_min(1) if whole is None else max(whole.sourced, 1)
        return torch.where(some, values, 0.0).sum() / count

    def mean_of_all(values: Tensor) -> Tensor:
        return values.mean() if whole is None else values.sum() / whole.scenes

    values = {
        "loss_nmse": mean(nmse(R_blend, R_true)),
        "loss_nmse_pred": _over_passes(mean(nmse(each.R_pred, R_true)) for each in passes),
        "loss_cross": mean(cross),
        "loss_gap": mean(functional.relu(config.gap_margin - (2 * energy - 1))),
        "loss_ang": _over_passes(mean(each) for each in angle),
        "loss_rng": _over_passes(mean(each) for each in range_),
        "loss_K": _over_passes(mean_of_all(each) for each in presence),
    }
    if every or config.lam_nll > 0:
        values["loss_nll"] = mean(_excess(prediction.R_pred, R_true, scenes.observation))
    return LossTerms(values)


def nmse(R: FactoredCovariance, R_true: FactoredCovariance, white: float = 0.0) -> Float[Tensor, " batch"]:
    """Compute |R + white I - R_true|^2 / |R_true|^2 (squared Frobenius norms) without storing I as a matrix.

    Parameters
    ----------
    R, R_true
        The covariances, factors [batch, elem, rank] of the same scenes and elements.
    white
        The power of a white part that is added to R.

    Returns
    -------
    [batch]
        The normalised squared errors.

    Raises
    ------
    TypeError
        A covariance is not a `FactoredCovariance`.
    ValueError
        The factors differ in scenes or elements.
    """
    for name, each in (("R", R), ("R_true", R_true)):
        if not isinstance(each, FactoredCovariance):
            came = type(each).__name__
            raise TypeError(
                f"{name}: expected a FactoredCovariance, got {came}: use FactoredCovariance(F) with R = F F^H"
            )
    if R.factor.shape[:-1] != R_true.factor.shape[:-1]:
        shapes = f"{tuple(R.factor.shape)} and {tuple(R_true.factor.shape)}"
        raise ValueError(f"R, R_true: expected factors of the same scenes and elements, got {shapes}")
    distance = R.squared_distance(R_true)
    if white:
        distance = distance + (white**2 * R.factor.shape[-2] + 2 * white * (R.trace - R_true.trace))
    return distance / R_true.inner(R_true).clamp_min(1e-6)


def negative_log_likelihood(R_pred: FactoredCovariance, observation: Observation) -> Float[Tensor, " batch"]:
    """Compute (1 / (L M)) sum_l log det(C_l / sigma^2) + y_l^H C_l^-1 y_l, with C_l = p_tot G_l R_pred G_l^H + sigma^2 I."""
    H, sigma2 = observation.H, observation.noise_var
    p_tot = element_power(observation)
    F = R_pred.factor * (p_tot / sigma2).sqrt()[:, None, None]
    B = torch.einsum("bmn,bln,bnr->blmr", H, observation.codebook, F)
    B = B.to(torch.complex128)  # C's condition is the SNR
    C = B @ B.mH + torch.eye(H.shape[-2], dtype=B.dtype, device=H.device)
    chol = torch.linalg.cholesky(C)
    y = (observation.y / sigma2.sqrt()[:, None, None]).to(B.dtype)
    z = torch.linalg.solve_triangular(chol, y[..., None], upper=False)
    log_det = 2 * chol.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
    return ((log_det + z.abs().square().sum((-2, -1))).mean(-1) / H.shape[-2]).float()


def _excess(
    R_pred: FactoredCovariance, R_true: FactoredCovariance, observation: Observation
) -> Float[Tensor, " batch"]:
    """Return the negative log-likelihood of R_pred minus that of R_true; the best that can be reached is about 0."""
    return negative_log_likelihood(R_pred, observation) - negative_log_likelihood(R_true, observation)


def _subspace_energies(R_blend: FactoredCovariance, Q: Complex[Tensor, "batch elem src"]) -> tuple[Tensor, Tensor]:
    """Return cross = 2 (|T F^H|^2 - |T T^H|^2) / N^2 and E = |T|^2 / N with T = Q^H F, which needs no derivatives of
    eigenvectors.
    """
    F = R_blend.factor
    n, T = F.shape[-2], Q.mH @ F
    TT, TF = FactoredCovariance(T), T @ F.mH
    cross = 2 * (torch.view_as_real(TF).square().sum((-3, -2, -1)) - TT.inner(TT)) / n**2
    return cross, TT.trace / n


def _geometry(
    output: MapOutput, grid: PolarGrid, polar: Float[Tensor, "batch src 3"], present: Bool[Tensor, "batch src"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return the Huber errors of (u, v) and of 1/r in grid steps: means over the cells near a source, each cell against the
    nearest source.
    """
    step = _steps(grid, polar.device)
    centre = torch.stack(torch.meshgrid(grid.v, grid.u, indexing="ij")[::-1], dim=-1)
    offset = (polar[:, None, None, :, :2] - centre[:, :, None, :]) / step[:2]
    squared = offset.square().sum(-1).masked_fill(~present[:, None, None, :], torch.inf)
    nearest, source = squared.min(-1)
    weight = (torch.exp(-nearest) * (nearest < 2.25)).flatten(1)
    target = polar.gather(1, source.flatten(1)[..., None].expand(-1, -1, 3))
    error = functional.huber_loss(output.polar.flatten(1, 2) / step, target / step, reduction="none")
    angle, range_ = error[..., :2].sum(-1), error[..., 2]
    total = weight.sum(1).clamp_min(1e-6)
    return (weight * angle).sum(1) / total, (weight * range_).sum(1) / total


def _presence(
    output: MapOutput, grid: PolarGrid, polar: Float[Tensor, "batch src 3"], present: Bool[Tensor, "batch src"]
) -> Float[Tensor, " batch"]:
    """Return the cross entropy, per source, between the heat map and the cells that hold a source, in units of log(cells)."""
    _, rows, columns = grid.shape
    step = _steps(grid, polar.device)
    low = torch.stack([grid.u[0], grid.v[0]])
    index = ((polar[..., :2] - low) / step[:2]).round().long()
    cell = index[..., 1].clamp(0, rows - 1) * columns + index[..., 0].clamp(0, columns - 1)
    target = torch.zeros(len(polar), rows * columns, dtype=polar.dtype, device=polar.device)
    target.scatter_add_(1, cell, present.to(target.dtype))
    entropy = functional.binary_cross_entropy_with_logits(output.heat.flatten(1), target.clamp_max(1), reduction="none")
    return (entropy * grid.inside.flatten()).sum(1) / present.sum(1).clamp_min(1) / math.log(rows * columns)


def _steps(grid: PolarGrid, device: torch.device) -> Float[Tensor, " 3"]:
    """Return the grid steps; 1 along a fixed coordinate."""
    return torch.tensor([step or 1.0 for step in grid.step], dtype=torch.float32, device=device)


def _over_passes(values: Iterable[Tensor]) -> Tensor:
    """Return the mean over the passes of a network, each of which must find the sources and the covariance of its slots."""
    return torch.stack(list(values)).mean()
