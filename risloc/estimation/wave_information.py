"""What an estimate of waves can know: the covariance of their places and gains from the stochastic Fisher information.

Axes: batch B, wave W, src K.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.stochastic import column_information
from risloc.estimation.waves import Waves
from risloc.performance.fisher_information import diagonal_blocks, inverse_information, wave_columns
from risloc.physics.echo_domain import echo_domain
from risloc.physics.geometry import location_of

__all__ = ["wave_covariance"]

SCENES = 8  # at a time: 20 waves take 30 MB a scene


def wave_covariance(
    sensing: Sensing, waves: Waves, power: Float[Tensor, "batch src"]
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
    covariance = torch.cat([_covariance(sensing[rows], waves[rows], power[rows]) for rows in runs])
    places = diagonal_blocks(covariance, 3, waves.present)
    gains = diagonal_blocks(covariance[:, 3 * width :, 3 * width :], 2, waves.present)
    missing = slots - width
    return _widened(places, missing), _widened(gains, missing)


def _covariance(sensing: Sensing, waves: Waves, power: Tensor) -> Tensor:
    location, composition = location_of(waves.polar.double()), waves.composition.to(torch.complex128)
    columns = wave_columns(sensing.array.to(location), location, composition)
    owner = torch.cat([waves.source.repeat_interleave(size, dim=1) for size in (3, 2)], dim=1)
    return inverse_information(column_information(sensing, columns, power, owner), _parameters(sensing, waves))


def _parameters(sensing: Sensing, waves: Waves) -> Tensor:
    """Return which places, gains and powers are unknown, as booleans [batch, par]."""
    echo = waves.present & ~waves.reference
    direct, image = (
        torch.tensor(domain.free, device=echo.device) for domain in (sensing.domain, echo_domain(sensing.domain))
    )
    places = (waves.reference[..., None] & direct) | (echo[..., None] & image)
    return torch.cat([places.flatten(1), echo.repeat_interleave(2, dim=1), waves.sources], dim=1)


def _widened(x: Tensor, missing: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, 0, 0, missing), value=torch.nan)
