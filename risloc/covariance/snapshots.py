"""From snapshots to the field on the surface: least squares, posterior pseudo-snapshots, scores and the sample covariance.

Axes: batch B, elem N, ant M, snap L, rank r.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance, frobenius_squared
from risloc.scenes.batch import Observation
from risloc.utils.argument_checks import check_tensor

__all__ = [
    "element_power",
    "least_squares_snapshots",
    "pseudo_snapshots",
    "sample_covariance",
    "sample_covariance_of",
    "score_snapshots",
]

LEAST_NOISE = 1e-5


def element_power(observation: Observation) -> Float[Tensor, " batch"]:
    """Compute p_tot = max(mean |y|^2 - sigma^2, mean |y|^2 / 100) / mean row energy of G: the sources' power at an element.

    The codes have unit modulus, so that the rows of G_l = H diag(c_l) have the energies of the rows of H.

    Parameters
    ----------
    observation
        The scenes.

    Returns
    -------
    [batch]
        The power p_tot.
    """
    H = observation.H
    y_power = torch.view_as_real(observation.y).square().sum(-1).mean((-2, -1))
    row_energy = torch.view_as_real(H).square().sum((-3, -2, -1)) / H.shape[-2]
    return torch.maximum(y_power - observation.noise_var, 0.01 * y_power) / row_energy


def least_squares_snapshots(observation: Observation) -> Complex[Tensor, "batch elem snap"]:
    """Compute x_l = G_l^H (G_l G_l^H + rho I)^-1 y_l with G_l = H diag(c_l): ridge regression of the field on the surface.

    rho = sigma^2 / p_tot, see `element_power`. The codes have unit modulus, so that G_l G_l^H = H H^H and one Cholesky
    factorisation serves all snapshots of a scene; this is not checked, and with other codes the result is wrong. Scaling y
    and sigma, or H, only scales x.

    Parameters
    ----------
    observation
        The scenes.

    Returns
    -------
    [batch, elem, snap]
        The field x.

    Raises
    ------
    ValueError
        A value in y, H or noise_var is not finite (not checked while a graph is exported).
    """
    return observation.codebook.mT.conj() * _Ridge.of(observation).solve(observation.y.mT)


@torch.no_grad()
def pseudo_snapshots(observation: Observation, R: FactoredCovariance) -> Complex[Tensor, "batch elem snap"]:
    """Compute xhat_l + (N / M) G_l^H (G_l G_l^H + rho I)^-1 (y_l - G_l xhat_l); xhat_l is the posterior mean with prior p_tot R.

    With R = F F^H, B_l = G_l F and C_l = p_tot B_l B_l^H + sigma^2 I, xhat_l = p_tot F B_l^H C_l^-1 y_l. Noise below 1e-5 of
    the signal is raised to that level, which keeps C_l invertible in float32. No gradient passes.

    Parameters
    ----------
    observation
        The scenes.
    R
        The prior covariance up to its scale, of trace N.

    Returns
    -------
    [batch, elem, snap]
        The pseudo-snapshots.

    Raises
    ------
    ValueError
        A value in y, H or noise_var is not finite.
    """
    ridge = _Ridge.of(observation)
    given = _Given.of(observation, R, ridge.p_tot)
    weights = given.B.mH @ given.z
    residual = observation.y - (given.B @ weights)[..., 0]
    m, n = observation.H.shape[-2:]
    return given.F @ weights[..., 0].mT + (n / m) * observation.codebook.mT.conj() * ridge.solve(residual.mT)


@torch.no_grad()
def score_snapshots(observation: Observation, R: FactoredCovariance) -> Complex[Tensor, "batch elem snap"]:
    """Compute X with columns G_l^H C_l^-1 y_l, C_l = p_tot G_l R G_l^H + sigma^2 I: the part of the snapshots that R leaves out.

    A further source of small power p with the steering vector a raises the log-likelihood by
    p (sum_l |a^H x_l|^2 - sum_l |C_l^-1/2 G_l a|^2). The energy |X^H a|^2 is the part of this score that depends on the data;
    its peaks are the sources that R does not explain. The noise floor is that of `pseudo_snapshots`. No gradient passes.

    Parameters
    ----------
    observation
        The scenes.
    R
        The covariance up to its scale, of trace N.

    Returns
    -------
    [batch, elem, snap]
        X.
    """
    given = _Given.of(observation, R, element_power(observation))
    return observation.codebook.mT.conj() * (observation.H.mH @ given.z[..., 0].mT)


@dataclass(frozen=True)
class _Given:
    """The snapshots under the covariance p_tot R: its factor F, the responses B_l = G_l F, and z_l = C_l^-1 y_l."""

    F: Tensor
    B: Tensor
    z: Tensor

    @classmethod
    def of(cls, observation: Observation, R: FactoredCovariance, p_tot: Tensor) -> "_Given":
        F, H = R.factor * p_tot.sqrt()[:, None, None], observation.H
        B = torch.einsum("bmn,blnr->blmr", H, observation.codebook[..., None] * F[:, None])
        signal = frobenius_squared(B) / H.shape[-2]
        floor = torch.maximum(observation.noise_var[:, None], LEAST_NOISE * signal)
        C = B @ B.mH + floor[..., None, None] * torch.eye(H.shape[-2], dtype=H.dtype, device=H.device)
        return cls(F, B, torch.cholesky_solve(observation.y[..., None], torch.linalg.cholesky(C)))


@dataclass(frozen=True)
class _Ridge:
    """H^H (H H^H + rho I)^-1, factorised once for each scene, and the total power per element p_tot in rho."""

    H: Tensor
    chol: Tensor
    p_tot: Tensor

    @classmethod
    def of(cls, observation: Observation) -> "_Ridge":
        H = observation.H
        gram = H @ H.mH
        row_energy = gram.diagonal(dim1=-2, dim2=-1).real.mean(-1)
        p_tot = element_power(observation)
        _require_finite(p_tot)
        rho = observation.noise_var / p_tot.clamp_min(torch.finfo(p_tot.dtype).tiny)
        rho = torch.maximum(rho, row_energy * torch.finfo(rho.dtype).eps)
        eye = torch.eye(H.shape[-2], dtype=H.dtype, device=H.device)
        return cls(H, torch.linalg.cholesky(gram + rho[:, None, None] * eye), p_tot)

    def solve(self, columns: Tensor) -> Tensor:
        return self.H.mH @ torch.cholesky_solve(columns, self.chol)


def sample_covariance(snapshots: Complex[Tensor, "batch elem snap"]) -> FactoredCovariance:
    """Compute R_samp = (1 / L) sum_l x_l x_l^H, scaled to trace N and detached from any graph.

    Parameters
    ----------
    snapshots : [batch, elem, snap]
        The field on the surface.

    Returns
    -------
    FactoredCovariance
        R_samp; its factor is X / sqrt(L), rescaled.

    Raises
    ------
    TypeError
        The snapshots are not a tensor.
    ValueError
        The shape does not fit, or the snapshots are real.
    """
    check_tensor("snapshots", snapshots, None, None, batch=1, complex_=True)
    return FactoredCovariance(snapshots.detach()).normalised()


def _require_finite(p_tot: Tensor) -> None:
    if not (good := torch.isfinite(p_tot)).all():
        bad = torch.nonzero(~good).flatten().tolist()
        raise ValueError(
            f"y, H, noise_var: expected finite values and a nonzero H, got other values in {len(bad)} of {len(good)} scenes, the "
            f"first at {bad[0]} of the batch; remove these scenes"
        )


def sample_covariance_of(observation: Observation) -> FactoredCovariance:
    """Compute R_samp of the least-squares snapshots of each scene; see `sample_covariance`.

    Parameters
    ----------
    observation
        The scenes.

    Returns
    -------
    FactoredCovariance
        R_samp of each scene.
    """
    return sample_covariance(least_squares_snapshots(observation))
