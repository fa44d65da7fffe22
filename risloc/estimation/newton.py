"""The damped Newton engine of every fit: batched and monotone, it stays inside the domain and reports convergence.

Axes: batch B (independent problems), par P (parameters of each).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Minimum", "Model", "Problem", "minimise"]

COMPACT = 0.75  # drop finished problems once fewer than this share are still running
DAMPING_LIMIT = 1e7


@dataclass(frozen=True)
class Model:
    """The objective f = |r|^2 and its local model; gradient and curvature are half of the derivatives of f.

    Parameters
    ----------
    value : [batch]
        f.
    gradient : [batch, par]
        Re(J^H r).
    curvature : [batch, par, par]
        An approximation of Re(J^H J).
    """

    value: Float[Tensor, " batch"]
    gradient: Float[Tensor, "batch par"]
    curvature: Float[Tensor, "batch par par"]

    def put(self, rows: Tensor, other: "Model") -> "Model":
        """Replace some rows.

        Parameters
        ----------
        rows
            The mask of the rows to replace.
        other
            The model with the new rows.

        Returns
        -------
        Model
            The model with these rows.
        """
        return Model(
            torch.where(rows, other.value, self.value),
            torch.where(rows[:, None], other.gradient, self.gradient),
            torch.where(rows[:, None, None], other.curvature, self.curvature),
        )

    def __getitem__(self, rows: Tensor) -> "Model":
        return Model(self.value[rows], self.gradient[rows], self.curvature[rows])


class Problem(ABC):
    """B independent minimisations, evaluated together."""

    @abstractmethod
    def model(self, point: Tensor) -> Model:
        """Evaluate the objective and its quadratic model.

        Parameters
        ----------
        point : [batch, par]
            The points.

        Returns
        -------
        Model
            The model.
        """

    @abstractmethod
    def project(self, point: Tensor) -> Tensor:
        """Return the nearest admissible point, coordinate by coordinate; a fixed coordinate is set to its value.

        Parameters
        ----------
        point : [batch, par]
            The points.

        Returns
        -------
        [batch, par]
            The admissible points.
        """

    @abstractmethod
    def __getitem__(self, rows: Tensor) -> "Problem":
        """Return the problems of these rows (an index tensor)."""


@dataclass(frozen=True)
class Minimum:
    """The result of each problem.

    Parameters
    ----------
    point : [batch, par]
        The best point.
    value : [batch]
        Its value, which is never above that at the start.
    converged : [batch]
        Whether the problem converged.
    """

    point: Float[Tensor, "batch par"]
    value: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def minimise(
    problem: Problem,
    start: Float[Tensor, "batch par"],
    tolerance: Float[Tensor, " batch"],
    iterations: int,
    *,
    share: float = 0.0,
) -> Minimum:
    """Minimise by Levenberg-Marquardt steps, projected into the domain; steps that do not lower the value are not taken.

    A problem has converged when the decrease that its quadratic model predicts, g^T (C + damping)^-1 g, is below the
    tolerance. A coordinate at the border whose gradient points outwards is held there; a coordinate without curvature does
    not move. A non-finite value counts as no decrease; a problem that starts from one stays there and does not converge.

    Parameters
    ----------
    problem
        The problems.
    start : [batch, par]
        Where they start.
    tolerance : [batch]
        The predicted decrease at which to stop, in units of the value.
    iterations
        The largest number of steps.
    share
        A further tolerance, as a share of the value at the start.

    Returns
    -------
    Minimum
        The result.
    """
    point = problem.project(start)
    model = problem.model(point)
    best, value = point.clone(), model.value.clone()
    tolerance = tolerance + share * value
    converged = torch.zeros_like(value, dtype=torch.bool)
    rows = torch.arange(len(point), device=point.device)
    running = value.isfinite()
    damping = torch.full_like(value, 1e-3)
    for _ in range(iterations):
        step, promise = _step(problem, point, model, damping)
        trial = problem.project(point + step)
        trial_model = problem.model(trial)
        better = running & (trial_model.value < model.value)
        point, model = torch.where(better[:, None], trial, point), model.put(better, trial_model)
        done = running & (promise <= tolerance) & (damping <= 1)
        damping = torch.where(better, damping / 5, damping * 4).clamp_min(1e-6)
        best[rows], value[rows] = point, model.value
        converged[rows] |= done
        running = running & ~done & (damping < DAMPING_LIMIT)
        active = int(running.sum())
        if active == 0:
            break
        if active < COMPACT * len(rows):
            keep = running.nonzero()[:, 0]
            problem, point, model, damping = problem[keep], point[keep], model[keep], damping[keep]
            rows, running, tolerance = rows[keep], running[keep], tolerance[keep]
    return Minimum(best, value, converged)


def _step(problem: Problem, point: Tensor, model: Model, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Return the damped step and the decrease that it predicts, in double precision, scaled to unit curvature."""
    g, C = model.gradient.double(), model.curvature.double()
    nudge = torch.finfo(point.dtype).eps ** (2 / 3)
    moved = (problem.project(point - nudge * model.gradient.sign()) - point).abs()
    scale = C.diagonal(dim1=-2, dim2=-1).abs()
    free = (moved > nudge / 2) & (scale > 0) & g.isfinite() & scale.isfinite()
    inverse = torch.where(free, scale, 1.0).rsqrt() * free
    C = inverse[:, :, None] * C.nan_to_num() * inverse[:, None, :]
    C.diagonal(dim1=-2, dim2=-1).add_(damping.double()[:, None] + (~free))
    g = g.nan_to_num() * inverse
    chol, info = torch.linalg.cholesky_ex(C)
    usable = info == 0
    chol = torch.where(usable[:, None, None], chol, torch.eye(chol.shape[-1], dtype=chol.dtype, device=chol.device))
    step = -torch.cholesky_solve(g[..., None], chol)[..., 0]
    promise = torch.where(usable, -(g * step).sum(-1), torch.inf)
    step = torch.where(usable[:, None], step * inverse, 0.0)
    return step.to(point.dtype), promise.to(point.dtype)
