"""The bound with echoes: which parameters they add to the Fisher information, and how well those can be known.

    y_l = G_l sum_k at_k s_k(l) + n_l,    at_k = a(p_k) + sum_j g_kj a(q_kj)

The waves are the direct waves of all sources, then the echoes, source by source. The parameters are, in this order: (azimuth,
elevation, 1/r) of each wave; the real and the imaginary part of each gain; and those that a bound without echoes has after the
coordinates. The gain of a direct wave is 1 and not a parameter.

Axes: batch B, elem N, src K, path J, wave W = K + K J.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.performance.fisher_information import diagonal_blocks, wave_columns
from risloc.physics.echo_domain import echo_domain
from risloc.physics.geometry import Array, Domain
from risloc.scenes.batch import Echoes

__all__ = ["EchoBound", "echo_bound", "echo_columns", "echo_owner", "echo_parameters", "present_echoes"]


@dataclass(frozen=True)
class EchoBound:
    """Smallest variances of unbiased estimates of echoes; infinite where the information is singular, NaN for absent echoes.

    Parameters
    ----------
    covariance : [batch, src, path, 3, 3]
        Of (azimuth [rad], elevation [rad], 1/r [1/m]) of the image; zero for fixed coordinates.
    gain : [batch, src, path, 2, 2]
        Of the real and the imaginary part of the gain.
    """

    covariance: Float[Tensor, "batch src path 3 3"]
    gain: Float[Tensor, "batch src path 2 2"]


def present_echoes(echoes: Echoes | None, present: Bool[Tensor, "batch src"]) -> Echoes | None:
    """Remove the echoes of absent sources, and put absent echoes where 1/r is finite.

    Parameters
    ----------
    echoes
        The echoes, or None.
    present : [batch, src]
        Which slots hold a source.

    Returns
    -------
    Echoes or None
        The echoes in double precision; None if there are no slots for echoes.
    """
    if echoes is None or echoes.gain.shape[-1] == 0:
        return None
    gain = torch.where(present[..., None], echoes.gain.to(torch.complex128), 0)
    those = Echoes(location=echoes.location.double(), gain=gain)
    return dataclasses.replace(those, location=those.placed)


def echo_columns(
    array: Array, location: Float[Tensor, "batch src 3"], echoes: Echoes
) -> Complex[Tensor, "batch elem col"]:
    """Compute what the elements receive from each source, and the derivatives, as `wave_columns` does.

    Parameters
    ----------
    array
        The surface.
    location : [batch, src, 3]
        Azimuth and elevation of the sources in radians, distance in metres.
    echoes
        The echoes.

    Returns
    -------
    [batch, elem, col]
        The columns, with col = K + 5 W.
    """
    direct = torch.eye(echoes.gain.shape[1], dtype=echoes.gain.dtype, device=echoes.gain.device)
    echo = (echoes.gain[..., None] * direct[:, None]).flatten(1, 2)
    composition = torch.cat([direct.expand(len(echo), -1, -1), echo], dim=1)
    return wave_columns(array, torch.cat([location, echoes.location.flatten(1, 2)], dim=1), composition)


def echo_owner(echoes: Echoes) -> Int[Tensor, " der"]:
    """Return the source of each derivative.

    Parameters
    ----------
    echoes
        The echoes.

    Returns
    -------
    [der]
        The sources, with der = 5 W.
    """
    _, sources, paths = echoes.gain.shape
    source = torch.arange(sources, device=echoes.gain.device)
    wave = torch.cat([source, source.repeat_interleave(paths)])
    return torch.cat([wave.repeat_interleave(3), wave.repeat_interleave(2)])


def echo_parameters(echoes: Echoes, present: Bool[Tensor, "batch src"], domain: Domain) -> Bool[Tensor, "batch par"]:
    """Return which parameters are unknown.

    Parameters
    ----------
    echoes
        The echoes; those of gain 0 are absent.
    present : [batch, src]
        Which slots hold a source.
    domain
        The region of the sources; `echo_domain` gives that of the images.

    Returns
    -------
    [batch, par]
        True for the coordinates that are free and the gains that are there, and for the powers and sigma^2: par = 5 W + K + 1.
    """
    echo = echoes.present.flatten(1)
    direct, image = (torch.tensor(region.free, device=echo.device) for region in (domain, echo_domain(domain)))
    places = [(present[..., None] & direct).flatten(1), (echo[..., None] & image).flatten(1)]
    gains = torch.cat([torch.zeros_like(present), echo], dim=1).repeat_interleave(2, dim=1)
    return torch.cat([*places, gains, present, torch.ones_like(present[:, :1])], dim=1)


def echo_bound(covariance: Float[Tensor, "batch par par"], echoes: Echoes) -> EchoBound:
    """Return the bound of the echoes.

    Parameters
    ----------
    covariance : [batch, par, par]
        The bound of all parameters.
    echoes
        The echoes.

    Returns
    -------
    EchoBound
        The bound of each echo.
    """
    sources, paths = echoes.gain.shape[1:]
    waves, echo = sources * (1 + paths), echoes.present.flatten(1)
    after_direct, after_gains = 3 * sources, 3 * waves + 2 * sources
    places = diagonal_blocks(covariance[:, after_direct:, after_direct:], 3, echo)
    gains = diagonal_blocks(covariance[:, after_gains:, after_gains:], 2, echo)
    slots = (len(echo), sources, paths)
    return EchoBound(places.reshape(*slots, 3, 3), gains.reshape(*slots, 2, 2))
