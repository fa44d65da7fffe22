"""The place of the next echo.

The matched filter of an echo runs over snapshots and antennas at once, because the echo carries the symbols s_k(l) that are known so
far:

    h_k = sum_l conj(s_k(l)) G_l^H r_l,   gain |a^H h_k|^2 / sum_l |s_k(l)|^2 |P_perp(B_l) G_l a|^2.

This takes one product with the grid for each source, L times fewer than the search for a source.

Axes: row, cand, src K, snap L, ant M, elem N.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.projection import INDEPENDENT, Projection
from risloc.estimation.spectrum import grid_products, peaks
from risloc.estimation.waves import Waves
from risloc.physics.echo_domain import echo_domain
from risloc.physics.grid import PolarGrid
from risloc.physics.steering import steering_matrix

__all__ = ["EchoPlace", "best_echo", "echo_gain"]

_TRIES = 4  # places of each source whose exact gain is computed


@dataclass(frozen=True)
class EchoPlace:
    """The most promising echo of each scene.

    Parameters
    ----------
    polar : [row, 3]
        Its place (u, v, w).
    source : [row]
        The source whose echo it is.
    gain : [row]
        Its complex gain.
    value : [row]
        The decrease of the conditional cost; not above 0 if there is none.
    """

    polar: Float[Tensor, "row 3"]
    source: Tensor
    gain: Complex[Tensor, " row"]
    value: Float[Tensor, " row"]


def best_echo(sensing: Sensing, waves: Waves, fit: Projection, grid: PolarGrid) -> EchoPlace:
    """Find the echo that lowers the cost most, with the symbols as fitted so far.

    The places are the strongest peaks of |a^H h_k| on the grid; their gain is exact.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.
    fit
        The projection of the waves.
    grid
        The grid of the echoes' region.

    Returns
    -------
    EchoPlace
        The echoes.
    """
    rows, (_, snap, ant), most = len(sensing), sensing.y.shape, max(1, int(waves.count.amax()))
    s = fit.s[:, :, :most]
    back = (fit.residual.conj()[:, :, None] @ sensing.G.view(rows, snap, ant, -1))[:, :, 0]  # r_l^H G_l
    h = (s.mT @ back).conj().mT  # [row, elem, src]
    match = torch.cat([part.abs().square() for part in grid_products(grid, h)], dim=-1)
    found = peaks(match.flatten(0, 1), grid, _TRIES, 0.0)
    polar = echo_domain(sensing.domain).clamp(found.polar).view(rows, most * _TRIES, 3)
    gain, value = echo_gain(sensing, fit, polar, s.repeat_interleave(_TRIES, dim=2))
    usable = found.valid.view(rows, -1) & waves.sources[:, :most].repeat_interleave(_TRIES, dim=1)
    value = torch.where(usable, value, 0.0)
    best = value.argmax(dim=1)
    at = torch.arange(rows, device=best.device), best
    return EchoPlace(polar[at], best // _TRIES, gain[at], value[at])


def echo_gain(
    sensing: Sensing,
    fit: Projection,
    polar: Float[Tensor, "row cand 3"],
    symbols: Complex[Tensor, "row snap cand"],
) -> tuple[Complex[Tensor, "row cand"], Float[Tensor, "row cand"]]:
    """Compute the gain of an echo at each place, and the decrease of the conditional cost.

    Parameters
    ----------
    sensing
        The scenes.
    fit
        The projection of the waves so far.
    polar : [row, cand, 3]
        The places (u, v, w).
    symbols : [row, snap, cand]
        The symbols that the echo at each place would carry.

    Returns
    -------
    [row, cand]
        The complex gains.
    [row, cand]
        The decreases.
    """
    Z = sensing.responses(steering_matrix(sensing.array, polar))
    weight = symbols.abs().square()
    inner = (symbols.conj() * (Z.conj() @ fit.residual[..., None])[..., 0]).sum(1)
    energy = (weight * Z.abs().square().sum(-1)).sum(1)
    outside = (weight * fit.complement(Z).abs().square().sum(-1)).sum(1)
    outside = torch.maximum(outside, INDEPENDENT * energy).clamp_min(1e-30)
    return inner / outside, (inner.abs().square() / outside).nan_to_num(0.0)
