"""Covariances as factors: R = F F^H with F tall and thin, the least-squares sample covariance, and the hybrid.

Nothing here forms an N x N matrix unless the factor is wider than N.

Axes: elem N, ant M, snap L, src K, rank r.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.config import param
from risloc.utils.tensor_checks import check_tensor

__all__ = [
    "CovarianceConfig",
    "FactoredCovariance",
    "element_power",
    "hybrid_covariance",
    "least_squares_snapshots",
    "pseudo_snapshots",
    "sample_covariance",
    "score_snapshots",
    "true_covariance",
]

EPS = 1e-12
LEAST_NOISE = 1e-5


@dataclass(frozen=True, kw_only=True)
class CovarianceConfig:
    """How R_blend is made."""

    beta: float = param("weight of R_samp in R_blend = (1 - beta) R_pred + beta R_samp", ge=0.0, lt=1.0)


@dataclass(frozen=True)
class FactoredCovariance:
    """R = F F^H, Hermitian and positive semidefinite by construction.

    factor : complex [..., elem, rank], the F above.
    """

    factor: Complex[Tensor, "*batch elem rank"]

    def __post_init__(self) -> None:
        check_tensor("factor", self.factor, None, None, complex_=True)

    @property
    def trace(self) -> Float[Tensor, "*batch"]:
        """tr R = |F|_F^2."""
        return _energy(self.factor)

    def normalised(self) -> "FactoredCovariance":
        """R scaled to trace N, by max(trace, eps): the covariance of no source stays zero."""
        n = self.factor.shape[-2]
        return FactoredCovariance(self.factor * (n / self.trace.clamp_min(EPS)).sqrt()[..., None, None])

    def inner(self, other: "FactoredCovariance") -> Float[Tensor, "*batch"]:
        """<R, S> = tr(R S) = |F^H T|_F^2."""
        return _energy(self.factor.mH @ other.factor)

    def squared_distance(self, other: "FactoredCovariance") -> Float[Tensor, "*batch"]:
        """|R - S|_F^2 = |F^H F|^2 + |T^H T|^2 - 2 |F^H T|^2, never below zero."""
        return (self.inner(self) + other.inner(other) - 2 * self.inner(other)).clamp_min(0)

    def subspace(self, rank: int) -> Complex[Tensor, "*batch elem {rank}"]:
        """The `rank` leading eigenvectors, orthonormal, strongest first, from the smaller of F^H F and F F^H.

        Not for a backward pass: eigenvectors of close eigenvalues have unbounded derivatives. Directions beyond the
        rank of R come back as zero columns.
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
    """R_true = A diag(p) A^H with trace N; absent sources have power 0, and no source at all gives R_true = 0."""
    check_tensor("A", A, None, None, complex_=True)
    check_tensor("power", power, A.shape[-1], complex_=False)
    return FactoredCovariance(A * power.sqrt()[..., None, :]).normalised()


def element_power(
    y: Complex[Tensor, "batch snap ant"], H: Complex[Tensor, "batch ant elem"], noise_var: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """p_tot = max(mean |y|^2 - sigma^2, mean |y|^2 / 100) / mean row energy of G: the sources' power at an element.

    The codes have unit modulus, so that the rows of G_l = H diag(c_l) have the energy of those of H.
    """
    y_power = torch.view_as_real(y).square().sum(-1).mean((-2, -1))
    row_energy = torch.view_as_real(H).square().sum((-3, -2, -1)) / H.shape[-2]
    return torch.maximum(y_power - noise_var, 0.01 * y_power) / row_energy


def least_squares_snapshots(
    y: Complex[Tensor, "batch snap ant"],
    codebook: Complex[Tensor, "batch snap elem"],
    H: Complex[Tensor, "batch ant elem"],
    noise_var: Float[Tensor, " batch"],
) -> Complex[Tensor, "batch elem snap"]:
    """x_l = G_l^H (G_l G_l^H + rho I)^-1 y_l with G_l = H diag(c_l): the field on the surface, least squares with ridge.

    rho = sigma^2 / p_tot, see `element_power`. The codes have unit modulus, so that G_l G_l^H = H H^H and one Cholesky
    factorisation serves all snapshots of a scene; with other codes the result would be wrong. Scaling y and sigma, or
    H, scales x and nothing else.

    Raises
    ------
    ValueError
        A value in y, H or noise_var is not finite (not checked while a graph is exported).
    """
    back = _Ridge.of(y, H, noise_var)
    return codebook.mT.conj() * back.solve(y.mT)


@torch.no_grad()
def pseudo_snapshots(
    y: Complex[Tensor, "batch snap ant"],
    codebook: Complex[Tensor, "batch snap elem"],
    H: Complex[Tensor, "batch ant elem"],
    noise_var: Float[Tensor, " batch"],
    R: FactoredCovariance,
) -> Complex[Tensor, "batch elem snap"]:
    """xhat_l + (N / M) G_l^H (G_l G_l^H + rho I)^-1 (y_l - G_l xhat_l), xhat_l the posterior mean given the prior R.

    R : the prior up to its scale, trace N; the prior used is p_tot R. With R = F F^H, B_l = G_l F and C_l = p_tot B_l
    B_l^H + sigma^2 I, xhat_l = p_tot F B_l^H C_l^-1 y_l. Noise below 1e-5 of the signal counts as that much, which
    keeps C_l invertible in float32. No gradient passes.
    """
    ridge = _Ridge.of(y, H, noise_var)
    given = _Given.of(y, codebook, H, noise_var, R, ridge.p_tot)
    weights = given.B.mH @ given.z
    residual = y - (given.B @ weights)[..., 0]
    n, m = H.shape[-1], H.shape[-2]
    return given.F @ weights[..., 0].mT + (n / m) * codebook.mT.conj() * ridge.solve(residual.mT)


@torch.no_grad()
def score_snapshots(
    y: Complex[Tensor, "batch snap ant"],
    codebook: Complex[Tensor, "batch snap elem"],
    H: Complex[Tensor, "batch ant elem"],
    noise_var: Float[Tensor, " batch"],
    R: FactoredCovariance,
) -> Complex[Tensor, "batch elem snap"]:
    """X with columns G_l^H C_l^-1 y_l, C_l = p_tot G_l R G_l^H + sigma^2 I: what the snapshots say against R.

    A further source of small power p at a raises the log-likelihood by p (sum_l |a^H x_l|^2 - sum_l |C_l^-1/2 G_l a|^2): the
    energy |X^H a|^2 is the data's part of that score, and its peaks are the sources that R has not explained. R and the
    floor of the noise as in `pseudo_snapshots`. No gradient passes.
    """
    given = _Given.of(y, codebook, H, noise_var, R, element_power(y, H, noise_var))
    return codebook.mT.conj() * (H.mH @ given.z[..., 0].mT)


@dataclass(frozen=True)
class _Given:
    """The snapshots under the covariance p_tot R: its factor F, the responses B_l = G_l F, and z_l = C_l^-1 y_l."""

    F: Tensor
    B: Tensor
    z: Tensor

    @classmethod
    def of(
        cls, y: Tensor, codebook: Tensor, H: Tensor, noise_var: Tensor, R: FactoredCovariance, p_tot: Tensor
    ) -> "_Given":
        F = R.factor * p_tot.sqrt()[:, None, None]
        B = torch.einsum("bmn,blnr->blmr", H, codebook[..., None] * F[:, None])
        signal = _energy(B) / H.shape[-2]
        floor = torch.maximum(noise_var[:, None], LEAST_NOISE * signal)
        C = B @ B.mH + floor[..., None, None] * torch.eye(H.shape[-2], dtype=H.dtype, device=H.device)
        return cls(F, B, torch.cholesky_solve(y[..., None], torch.linalg.cholesky(C)))


@dataclass(frozen=True)
class _Ridge:
    """H^H (H H^H + rho I)^-1, factored once a scene, and the total power per element p_tot behind rho."""

    H: Tensor
    chol: Tensor
    p_tot: Tensor

    @classmethod
    def of(cls, y: Tensor, H: Tensor, noise_var: Tensor) -> "_Ridge":
        gram = H @ H.mH
        row_energy = gram.diagonal(dim1=-2, dim2=-1).real.mean(-1)
        p_tot = element_power(y, H, noise_var)
        _require_finite(p_tot)
        rho = noise_var / p_tot.clamp_min(torch.finfo(p_tot.dtype).tiny)
        rho = torch.maximum(rho, row_energy * torch.finfo(rho.dtype).eps)
        eye = torch.eye(H.shape[-2], dtype=H.dtype, device=H.device)
        return cls(H, torch.linalg.cholesky(gram + rho[:, None, None] * eye), p_tot)

    def solve(self, columns: Tensor) -> Tensor:
        return self.H.mH @ torch.cholesky_solve(columns, self.chol)


def sample_covariance(snapshots: Complex[Tensor, "batch elem snap"]) -> FactoredCovariance:
    """R_samp = (1 / L) sum_l x_l x_l^H with trace N; its factor is X / sqrt(L), rescaled. Detached from any graph."""
    check_tensor("snapshots", snapshots, None, None, batch=1, complex_=True)
    return FactoredCovariance(snapshots.detach()).normalised()


def hybrid_covariance(
    R_pred: FactoredCovariance, R_samp: FactoredCovariance, beta: float, *, training: bool
) -> FactoredCovariance:
    """R_blend = (1 - beta) R_pred + beta R_samp.detach(): the factors side by side.

    Training and inference both come through here. The checks below are the contract of R_blend and stay.

    Raises
    ------
    ValueError
        beta outside [0, 1]; factors of unlike shape or of a real dtype; a value that is not finite; a trace other than
        N; or, while training, an R_blend that carries no gradient (nothing would be learnt).
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta: expected a value in [0, 1], got {beta}")
    pred, samp = R_pred.factor, R_samp.factor.detach()
    if pred.shape[:-1] != samp.shape[:-1]:
        raise ValueError(
            f"R_pred and R_samp: expected equal batch and elements, got {tuple(pred.shape)} and {tuple(samp.shape)}"
        )
    if not (pred.is_complex() and samp.is_complex()):
        raise ValueError(f"R_pred and R_samp: expected complex factors, got {pred.dtype} and {samp.dtype}")
    R_blend = FactoredCovariance(torch.cat([(1 - beta) ** 0.5 * pred, beta**0.5 * samp], dim=-1))
    trace, n = R_blend.trace.detach(), pred.shape[-2]
    if not torch.isfinite(trace).all():
        raise ValueError(
            f"R_blend: expected finite values, got {int((~torch.isfinite(trace)).sum())} scenes that are not"
        )
    if (trace - n).abs().max() > 1e-3 * n:
        worst = float(trace[(trace - n).abs().argmax()])
        raise ValueError(f"R_blend: expected trace {n}, got {worst}; normalise R_pred and R_samp before blending")
    if training and (beta == 1 or not R_blend.factor.requires_grad):
        raise ValueError("R_blend carries no gradient: R_pred is detached or beta is 1, and nothing would be learnt")
    return R_blend


def _require_finite(p_tot: Tensor) -> None:
    if not (good := torch.isfinite(p_tot)).all():
        bad = torch.nonzero(~good).flatten().tolist()
        raise ValueError(
            f"y, H, noise_var: expected finite values and an H that is not zero, got others in {len(bad)} of {len(good)} "
            f"scenes, the first at {bad[0]} of the batch; leave them out"
        )


def _energy(x: Tensor) -> Tensor:
    return torch.view_as_real(x).square().sum((-3, -2, -1))
