"""What an estimate of waves can know: the covariance of their places and gains from the Fisher information.

The expected information, that of `stochastic_bound`, averages over the symbols. Every snapshot has a code of its own; with few
snapshots and many parameters the covariance exceeds the inverse of that average, by a quarter for five sources with two
echoes each in 16 snapshots. The observed information takes the symbols of these snapshots (Efron and Hinkley 1978),

    F = (2 / sigma^2) sum_l Re(M_l^H D_l^H P_perp(B_l) D_l M_l),   mu_l = E[s_l | y_l] = (B_l^H B_l + sigma^2 P^-1)^-1 B_l^H y_l

with mu_l on the diagonal of M_l. It is the deterministic information at high SNR, and it fades with the sources at low SNR.

Axes: batch B, wave W, src K, snap L, ant M.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.missing_echoes import missing_echo_covariance
from risloc.estimation.stochastic import column_information
from risloc.estimation.waves import Waves
from risloc.performance.fisher_information import (
    deterministic_information,
    diagonal_blocks,
    inverse_information,
    wave_columns,
)
from risloc.physics.echo_domain import echo_domain
from risloc.physics.geometry import location_of

__all__ = ["wave_covariance"]

SCENES = 8  # at a time: 20 waves take 30 MB a scene


def wave_covariance(
    sensing: Sensing, waves: Waves, power: Float[Tensor, "batch src"], *, observed: bool = False
) -> tuple[Float[Tensor, "batch wave 3 3"], Float[Tensor, "batch wave 2 2"]]:
    """Compute the smallest covariances of the places and gains of waves; the powers are unknown, sigma^2 is known.

    The gain of a reference is 1 and no parameter. Coordinates that the domain fixes are known: those of a reference by the
    domain of the sources, those of an echo by that of the images.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.
    power : [batch, src]
        The powers of the sources.
    observed
        True takes the observed information and adds what echoes do that were too weak to be found
        (`risloc.estimation.missing_echoes`), False takes the expected information.

    Returns
    -------
    [batch, wave, 3, 3]
        The covariance of (azimuth [rad], elevation [rad], 1/r [1/m]) of each wave; zero for fixed coordinates, infinite where the
        information is singular, and NaN for absent waves.
    [batch, wave, 2, 2]
        That of the real and the imaginary part of each gain; zero for references.
    """
    slots, waves = waves.present.shape[1], waves.trimmed()
    width = waves.present.shape[1]
    runs = [slice(start, start + SCENES) for start in range(0, max(1, len(sensing)), SCENES)]
    covariance = torch.cat([_covariance(sensing[rows], waves[rows], power[rows].double(), observed) for rows in runs])
    places = diagonal_blocks(covariance, 3, waves.present)
    gains = diagonal_blocks(covariance[:, 3 * width :, 3 * width :], 2, waves.present)
    missing = slots - width
    return _widened(places, missing), _widened(gains, missing)


def _covariance(sensing: Sensing, waves: Waves, power: Tensor, observed: bool) -> Tensor:
    location, composition = location_of(waves.polar.double()), waves.composition.to(torch.complex128)
    columns = wave_columns(sensing.array.to(location), location, composition)
    owner = torch.cat([waves.source.repeat_interleave(size, dim=1) for size in (3, 2)], dim=1)
    if not observed:
        F = column_information(sensing, columns, power, owner)
        return inverse_information(F, _parameters(sensing, waves)[:, : F.shape[-1]])
    Z = sensing.responses(columns.to(sensing.G.dtype)).to(torch.complex128)
    noise_var = sensing.noise_var.double()
    s = _mean_symbols(Z[:, :, : power.shape[1]], sensing.y, power, noise_var)
    F = deterministic_information(Z, s[..., :, None] * s[..., None, :].conj(), noise_var, owner)
    covariance = inverse_information(F, _parameters(sensing, waves)[:, : F.shape[-1]])
    return covariance + missing_echo_covariance(sensing, waves, Z, s, covariance)


def _mean_symbols(B: Tensor, y: Tensor, power: Tensor, noise_var: Tensor) -> Complex[Tensor, "batch snap src"]:
    """Return E[s_l | y_l], as sqrt(p) (sqrt(p) B^H B sqrt(p) + sigma^2 I)^-1 sqrt(p) B^H y: 0 for a source of power 0."""
    weighted = B * power.sqrt()[:, None, :, None]
    V = weighted.conj() @ weighted.mT
    V = V + noise_var[:, None, None, None] * torch.eye(V.shape[-1], dtype=V.dtype, device=V.device)
    match = weighted.conj() @ y.to(B.dtype)[..., None]
    return torch.linalg.solve(V, match)[..., 0] * power.sqrt()[:, None]


def _parameters(sensing: Sensing, waves: Waves) -> Tensor:
    """Return which places, gains and powers are unknown, as booleans [batch, par]."""
    echo = waves.echo
    direct, image = (
        torch.tensor(domain.free, device=echo.device) for domain in (sensing.domain, echo_domain(sensing.domain))
    )
    places = (waves.reference[..., None] & direct) | (echo[..., None] & image)
    return torch.cat([places.flatten(1), echo.repeat_interleave(2, dim=1), waves.sources], dim=1)


def _widened(x: Tensor, missing: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, 0, 0, missing), value=torch.nan)
