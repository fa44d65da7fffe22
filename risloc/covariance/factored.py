"""Covariances as factors: R = F F^H with a tall, thin F; the true covariance and the hybrid.

No N x N matrix is formed unless the factor is wider than N.

Axes: elem N, ant M, snap L, src K, rank r.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.config import param
from risloc.physics.geometry import Array
from risloc.scenes.batch import Truth
from risloc.utils.argument_checks import check_tensor

__all__ = ["CovarianceConfig", "FactoredCovariance", "covariance_of", "hybrid_covariance", "true_covariance"]

EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class CovarianceConfig:
    """Parameters of R_blend."""

    beta: float = param("weight of R_samp in R_blend = (1 - beta) R_pred + beta R_samp", ge=0.0, lt=1.0)


@dataclass(frozen=True)
class FactoredCovariance:
    """R = F F^H, Hermitian and positive semidefinite by construction.

    Parameters
    ----------
    factor : [*batch, elem, rank]
        The factor F, complex.
    """

    factor: Complex[Tensor, "*batch elem rank"]

    def __post_init__(self) -> None:
        check_tensor("factor", self.factor, None, None, complex_=True)

    @property
    def trace(self) -> Float[Tensor, "*batch"]:
        """tr R = |F|_F^2."""
        return frobenius_squared(self.factor)

    def normalised(self) -> "FactoredCovariance":
        """Scale R to trace N, by N / max(trace, eps), so that a zero covariance stays zero.

        Returns
        -------
        FactoredCovariance
            The scaled covariance.
        """
        n = self.factor.shape[-2]
        return FactoredCovariance(self.factor * (n / self.trace.clamp_min(EPS)).sqrt()[..., None, None])

    def inner(self, other: "FactoredCovariance") -> Float[Tensor, "*batch"]:
        """Compute <R, S> = tr(R S) = |F^H T|_F^2.

        Parameters
        ----------
        other
            S = T T^H.

        Returns
        -------
        [*batch]
            The inner product.
        """
        return frobenius_squared(self.factor.mH @ other.factor)

    def squared_distance(self, other: "FactoredCovariance") -> Float[Tensor, "*batch"]:
        """Compute |R - S|_F^2 = |F^H F|^2 + |T^H T|^2 - 2 |F^H T|^2, clipped at 0.

        Parameters
        ----------
        other
            S = T T^H.

        Returns
        -------
        [*batch]
            The squared distance.
        """
        return (self.inner(self) + other.inner(other) - 2 * self.inner(other)).clamp_min(0)

    def subspace(self, rank: int) -> Complex[Tensor, "*batch elem {rank}"]:
        """Compute the leading eigenvectors from the smaller of F^H F and F F^H.

        No gradient passes, because eigenvectors of close eigenvalues have unbounded derivatives.

        Parameters
        ----------
        rank
            The number of eigenvectors, 1..N.

        Returns
        -------
        [*batch, elem, rank]
            Orthonormal columns, the largest eigenvalue first; columns beyond the rank of R are zero.

        Raises
        ------
        ValueError
            `rank` is outside 1..N.
        """
        F = self.factor.detach()
        n, width = F.shape[-2:]
        if not 0 < rank <= n:
            raise ValueError(f"rank: expected 1..{n} (the number of elements), got {rank}")
        values, vectors = torch.linalg.eigh(F.mH @ F if width < n else F @ F.mH)
        values, vectors = values.flip(-1)[..., :rank], vectors.flip(-1)[..., :rank]
        solid = values > values[..., :1].clamp_min(EPS) * torch.finfo(values.dtype).eps * width
        if width >= n:
            return vectors * solid[..., None, :]
        scale = torch.where(solid, values.clamp_min(EPS).rsqrt(), 0.0)
        basis = F @ (vectors * scale[..., None, :])
        missing = rank - basis.shape[-1]
        return torch.nn.functional.pad(basis, (0, missing)) if missing > 0 else basis


def true_covariance(A: Complex[Tensor, "*batch elem src"], power: Float[Tensor, "*batch src"]) -> FactoredCovariance:
    """Compute R_true = A diag(p) A^H, scaled to trace N.

    Parameters
    ----------
    A : [*batch, elem, src]
        The steering matrix, complex.
    power : [*batch, src]
        Linear powers, 0 for absent sources; without any source R_true is 0.

    Returns
    -------
    FactoredCovariance
        R_true.

    Raises
    ------
    TypeError
        An argument is not a tensor.
    ValueError
        The shapes do not fit, or A is real or the power complex.
    """
    check_tensor("A", A, None, None, complex_=True)
    check_tensor("power", power, A.shape[-1], complex_=False)
    return FactoredCovariance(A * power.sqrt()[..., None, :]).normalised()


def covariance_of(truth: Truth, array: Array) -> FactoredCovariance:
    """Compute R_true of the sources of each scene; see `true_covariance`.

    Parameters
    ----------
    truth
        The truth of the scenes.
    array
        The surface.

    Returns
    -------
    FactoredCovariance
        R_true.
    """
    return true_covariance(truth.steering(array), truth.power)


def hybrid_covariance(
    R_pred: FactoredCovariance, R_samp: FactoredCovariance, beta: float, *, training: bool
) -> FactoredCovariance:
    """Compute R_blend = (1 - beta) R_pred + beta R_samp.detach() by concatenating the factors.

    Training and inference both use this function; its checks are the contract of R_blend.

    Parameters
    ----------
    R_pred
        The predicted covariance, of trace N.
    R_samp
        The sample covariance, of trace N.
    beta
        The weight of R_samp, in [0, 1].
    training
        Whether R_blend must carry a gradient.

    Returns
    -------
    FactoredCovariance
        R_blend.

    Raises
    ------
    ValueError
        beta is outside [0, 1]; the factors differ in shape or are real; a value is not finite; the trace is not N; or, in
        training, R_blend carries no gradient.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta: expected a value in [0, 1], got {beta}")
    pred, samp = R_pred.factor, R_samp.factor.detach()
    if pred.shape[:-1] != samp.shape[:-1]:
        raise ValueError(
            f"R_pred and R_samp: expected factors of equal batch size and number of elements, got {tuple(pred.shape)} and {tuple(samp.shape)}"
        )
    if not (pred.is_complex() and samp.is_complex()):
        raise ValueError(f"R_pred and R_samp: expected complex factors, got {pred.dtype} and {samp.dtype}")
    R_blend = FactoredCovariance(torch.cat([(1 - beta) ** 0.5 * pred, beta**0.5 * samp], dim=-1))
    trace, n = R_blend.trace.detach(), pred.shape[-2]
    if not torch.isfinite(trace).all():
        raise ValueError(
            f"R_blend: expected finite values, got {int((~torch.isfinite(trace)).sum())} scenes with other values"
        )
    if (trace - n).abs().max() > 1e-3 * n:
        worst = float(trace[(trace - n).abs().argmax()])
        raise ValueError(f"R_blend: expected trace {n}, got {worst}; normalise R_pred and R_samp first")
    if training and (beta == 1 or not R_blend.factor.requires_grad):
        raise ValueError(
            "R_blend: expected a tensor with a gradient, got one without, because R_pred is detached or beta is 1"
        )
    return R_blend


def frobenius_squared(x: Tensor) -> Tensor:
    """Compute |x|_F^2 of a complex matrix over the last two axes."""
    return torch.view_as_real(x).square().sum((-3, -2, -1))
