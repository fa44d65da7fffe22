"""The Cramer-Rao bound for snapshot-varying sensing, stochastic and deterministic, mapped to position.

The bound is the inverse of the Fisher information (`risloc.performance.fisher_information`), whose parameters are, in this
order: (azimuth, elevation, 1/r) of source 0, of source 1, ...; those of the images of all echoes; the complex gains; the powers
p_k; sigma^2. Absent sources and the coordinates that the domain fixes are not parameters. Everything is in double precision.

Axes: batch B, snap L, ant M, elem N, src K, path J, wave W = K or K + K J.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.performance.echo_bound import (
    EchoBound,
    echo_bound,
    echo_columns,
    echo_owner,
    echo_parameters,
    present_echoes,
)
from risloc.performance.fisher_information import (
    deterministic_information,
    diagonal_blocks,
    inverse_information,
    location_derivatives,
    stochastic_information,
)
from risloc.physics.geometry import Domain, Surface, position_of
from risloc.scenes.batch import Echoes, Observation

__all__ = [
    "Bound",
    "bound_of",
    "deterministic_bound",
    "position_jacobian",
    "prior_deviation",
    "stochastic_bound",
]

SCENES = 4  # with echoes, at a time: ten echoes of each of five sources take 100 MB a scene


@dataclass(frozen=True)
class Bound:
    """Smallest variances of unbiased estimates; infinite where the information is singular, NaN for absent sources.

    Parameters
    ----------
    covariance : [batch, src, 3, 3]
        Of (azimuth [rad], elevation [rad], 1/r [1/m]); zero for fixed coordinates.
    position : [batch, src]
        The root-CRB of the position p, in metres.
    distance : [batch, src]
        The root-CRB of the distance r, in metres.
    angle : [batch, src]
        The root of the summed bounds of azimuth and elevation, in radians.
    echoes
        The bound of the echoes; None if there are no slots for echoes.
    """

    covariance: Float[Tensor, "batch src 3 3"]
    position: Float[Tensor, "batch src"]
    distance: Float[Tensor, "batch src"]
    angle: Float[Tensor, "batch src"]
    echoes: EchoBound | None = None


def stochastic_bound(
    surface: Surface,
    observation: Observation,
    location: Float[Tensor, "batch src 3"],
    power: Float[Tensor, "batch src"],
    echoes: Echoes | None = None,
) -> Bound:
    """Compute the bound for independent Gaussian symbols of unknown power and unknown sigma^2.

    Places and gains of echoes are unknown, too.

    Parameters
    ----------
    surface
        The array, and the domain, whose fixed coordinates are not parameters.
    observation
        The codes, the channel and the noise variance; the snapshots are not used.
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    power : [batch, src]
        The linear powers; a source of power 0 is absent.
    echoes
        The echoes of the sources; None: there are none.

    Returns
    -------
    Bound
        The bound of each source.
    """
    present = power > 0
    location = _placed(location, present)
    p, noise_var = power.double(), observation.noise_var.double()

    def information(rows: slice, Z: Tensor, owner: Tensor | None) -> Tensor:
        return stochastic_information(Z, p[rows], noise_var[rows], owner)

    return _bound(information, surface, observation, location, present, echoes)


def deterministic_bound(
    surface: Surface,
    observation: Observation,
    location: Float[Tensor, "batch src 3"],
    symbols: Complex[Tensor, "batch src snap"],
    echoes: Echoes | None = None,
) -> Bound:
    """Compute the bound for unknown deterministic symbols s_l.

    Places and gains of echoes are unknown, too.

    Parameters
    ----------
    surface
        The array, and the domain, whose fixed coordinates are not parameters.
    observation
        The codes, the channel and the noise variance; the snapshots are not used.
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    symbols : [batch, src, snap]
        The symbols; a source whose symbols are all zero is absent.
    echoes
        The echoes of the sources; None: there are none.

    Returns
    -------
    Bound
        The bound of each source.

    References
    ----------
    Stoica and Nehorai 1989.
    """
    present = symbols.abs().amax(-1) > 0
    location, s = _placed(location, present), symbols.mT.to(torch.complex128)
    ss, noise_var = s[..., :, None] * s[..., None, :].conj(), observation.noise_var.double()

    def information(rows: slice, Z: Tensor, owner: Tensor | None) -> Tensor:
        return deterministic_information(Z, ss[rows], noise_var[rows], owner)

    return _bound(information, surface, observation, location, present, echoes)


def bound_of(
    F: Float[Tensor, "batch par par"],
    location: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    free: tuple[bool, bool, bool],
) -> Bound:
    """Compute the bound on locations from the information about their coordinates and the other parameters.

    V is the 3 x 3 block of the inverse of the whole matrix; the position bound is tr(J V J^T), J = dp/d(az, el, 1/r).

    Parameters
    ----------
    F : [batch, par, par]
        The information, the coordinates of each source first.
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    present : [batch, src]
        Which slots hold a source.
    free
        Which of azimuth, elevation and distance are parameters.

    Returns
    -------
    Bound
        The bound of each source.
    """
    known = present[:, :, None] & torch.tensor(free, device=F.device)
    used = torch.cat([known.flatten(1), present, torch.ones_like(present[:, :1])], dim=1)[:, : F.shape[-1]]
    return _source_bound(inverse_information(F, used), location, present)


def _source_bound(covariance: Tensor, location: Tensor, present: Tensor) -> Bound:
    """Return the bound of sources whose coordinates are the first parameters."""
    V = diagonal_blocks(covariance, 3, present)
    J = position_jacobian(location.double())
    r2 = location[..., 2].double().square()
    position = (J @ V @ J.mT).diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()
    return Bound(
        covariance=V,
        position=torch.where(present & position.isnan(), torch.inf, position),
        distance=V[..., 2, 2].sqrt() * r2,
        angle=(V[..., 0, 0] + V[..., 1, 1]).sqrt(),
    )


def prior_deviation(domain: Domain, points: int = 24) -> float:
    """Compute the root of the total variance of the position when azimuth, elevation and distance are uniform.

    This is the uncertainty before any snapshot, computed by the midpoint rule.

    Parameters
    ----------
    domain
        The region in which the source lies.
    points
        The number of points in each coordinate.

    Returns
    -------
    float
        The standard deviation in metres.
    """
    spans = (domain.azimuth, domain.elevation, domain.distance)
    step = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    axes = [low + (high - low) * step for low, high in spans]
    positions = position_of(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)).reshape(-1, 3)
    return float(positions.var(dim=0, correction=0).sum().sqrt())


def _placed(location: Tensor, present: Tensor) -> Tensor:
    """Put absent sources at a distance of 1 m, whatever their slots hold, so that 1/r is finite."""
    return torch.where(present[..., None], location, torch.ones_like(location))


def _bound(
    information: Callable[[slice, Tensor, Tensor | None], Tensor],
    surface: Surface,
    observation: Observation,
    location: Tensor,
    present: Tensor,
    echoes: Echoes | None,
) -> Bound:
    """Return the bound of the sources and of the echoes; with echoes, which are many parameters, a few scenes at a time."""
    array, domain, location = surface.array.to(location.double()), surface.domain, location.double()
    echoes = present_echoes(echoes, present)
    if echoes is None:
        A, dA = location_derivatives(array, location)
        Z = _responses(observation, torch.cat([A, dA.flatten(-2)], dim=-1))
        return bound_of(information(slice(None), Z, None), location, present, domain.free)
    owner, parts = echo_owner(echoes), []
    for rows in (slice(start, start + SCENES) for start in range(0, max(1, len(location)), SCENES)):
        some = echoes[rows]
        F = information(rows, _responses(observation[rows], echo_columns(array, location[rows], some)), owner)
        parts.append(inverse_information(F, echo_parameters(some, present[rows], domain)[:, : F.shape[-1]]))
    covariance = torch.cat(parts)
    return dataclasses.replace(_source_bound(covariance, location, present), echoes=echo_bound(covariance, echoes))


def _responses(observation: Observation, columns: Tensor) -> Tensor:
    G = observation.H.to(torch.complex128)[:, None] * observation.codebook.to(torch.complex128)[:, :, None]
    return (G @ columns[:, None]).mT


def position_jacobian(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Compute dp / d(azimuth, elevation, 1/r), one column a coordinate.

    Parameters
    ----------
    location : [*batch, 3]
        Azimuth and elevation in radians, distance in metres.

    Returns
    -------
    [*batch, 3, 3]
        The Jacobian of the position.
    """
    azimuth, elevation, r = location.unbind(-1)
    sa, ca, se, ce = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    zero = torch.zeros_like(r)
    d_az = r[..., None] * torch.stack([ca * ce, zero, -sa * ce], dim=-1)
    d_el = r[..., None] * torch.stack([-sa * se, ce, -ca * se], dim=-1)
    d_w = -r.square()[..., None] * torch.stack([sa * ce, se, ca * ce], dim=-1)
    return torch.stack([d_az, d_el, d_w], dim=-1)
