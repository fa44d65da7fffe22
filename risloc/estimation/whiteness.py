"""Three tests whether the residual of a fit is white noise, for scenes whose sigma^2 is estimated and whose misfit says nothing.

1. The largest share of the residual that one more wave explains, over all directions of the hemisphere and 1/r from
   -1/r_min to 1/r_min: a wave of the opposite sign of the phase has a negative curvature, a(-u, -v, -w) =
   conj a(u, v, w). At a fixed place the share of white noise is Beta(L, L (M - K - 1)) distributed; the limit is that of
   the union over the grid.
2. The largest eigenvalue of S = sum_l r_l r_l^H over its trace, which is raised by signals that reach the antennas by another
   way than the surface. S is first scaled to equal noise in all directions; the limit is by Monte Carlo.
3. The variance of |r_l|^2 over the snapshots, relative to its mean squared: waves outside the model rise and fall
   with their symbols, whereas noise does not. Noise has |r_l|^2 ~ Gamma(M - K); the limit is by Monte Carlo.

Each has a third of `ALARM`, the share of scenes of a true model that are called not white.

Axes: batch B, snap L, ant M, elem N, cand C.
"""

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from scipy.special import betainccinv
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.misfit import ALARM
from risloc.estimation.projection import Projection, likelihood_gain, project
from risloc.physics.geometry import Array
from risloc.physics.steering import steering_matrix

__all__ = ["Whiteness", "eigenvalue_limit", "extended_grid", "peak_limit", "variation_limit", "whiteness"]

STEP, PLANES = 0.5, 15  # of the extended grid: in beams, and over both signs of 1/r
PEAKS = 8  # candidates of each plane whose share is computed
DRAWS, WORK = 1000, 1e8  # of a limit by Monte Carlo: the most draws, and what their eigenvalues may cost
SEED = 20261130
SHARE = ALARM / 3
SOLID = 0.5  # least share of the noise in the directions of the antennas that S is tested in


@dataclass(frozen=True)
class Whiteness:
    """The three statistics of each scene with their limits; NaN if there are too few samples.

    Parameters
    ----------
    peak : [batch]
        The largest share of the residual that one more wave explains.
    peak_limit : [batch]
        Its limit.
    eigenvalue : [batch]
        The largest eigenvalue of S over its trace.
    eigenvalue_limit : [batch]
        Its limit.
    variation : [batch]
        The variance of |r_l|^2 over the squared mean.
    variation_limit : [batch]
        Its limit.
    """

    peak: Float[Tensor, " batch"]
    peak_limit: Float[Tensor, " batch"]
    eigenvalue: Float[Tensor, " batch"]
    eigenvalue_limit: Float[Tensor, " batch"]
    variation: Float[Tensor, " batch"]
    variation_limit: Float[Tensor, " batch"]

    @property
    def white(self) -> Bool[Tensor, " batch"]:
        """Whether no statistic is above its limit."""
        above = (self.peak > self.peak_limit) | (self.eigenvalue > self.eigenvalue_limit)
        return ~(above | (self.variation > self.variation_limit))


def whiteness(
    sensing: Sensing, responses: Complex[Tensor, "batch snap src ant"], present: Bool[Tensor, "batch src"]
) -> Whiteness:
    """Test the residual of the sources that are present.

    Parameters
    ----------
    sensing
        The scenes.
    responses : [batch, snap, src, ant]
        The responses of the sources, with their echoes if these are modelled, as rows.
    present : [batch, src]
        Which slots hold a source.

    Returns
    -------
    Whiteness
        The statistics and their limits.
    """
    fit = project(responses, sensing.y, present)
    directions, planes = extended_grid(sensing.array, sensing.domain.inverse_distance[1])
    _, snap, ant = sensing.y.shape
    count = present.sum(1).tolist()
    peak_limits = [peak_limit(snap, ant, K, len(directions) * len(planes)) for K in count]
    eigenvalue, directions_kept = _eigenvalue(fit)
    eigenvalue_limits = [
        eigenvalue_limit(p, snap, max(K - (ant - p), 0)) for p, K in zip(directions_kept, count, strict=True)
    ]
    return Whiteness(
        peak=_peak(sensing, fit, directions, planes),
        peak_limit=torch.tensor(peak_limits, dtype=torch.float64),
        eigenvalue=eigenvalue,
        eigenvalue_limit=torch.tensor(eigenvalue_limits, dtype=torch.float64),
        variation=_variation(fit.residual.abs().square().sum(-1).double()),
        variation_limit=torch.tensor([variation_limit(ant, snap, K) for K in count], dtype=torch.float64),
    )


def extended_grid(array: Array, nearest: float) -> tuple[Float[Tensor, "cand 2"], Float[Tensor, " plane"]]:
    """Return directions (u, v) of the hemisphere and planes w of both signs.

    Parameters
    ----------
    array
        The surface; a coordinate in which it has no extent stays 0.
    nearest
        The largest w.

    Returns
    -------
    [cand, 2]
        The directions.
    [plane]
        The planes.
    """
    u, v = (
        torch.linspace(-1, 1, math.ceil(2 / (STEP * beam)) + 1, dtype=torch.float64)
        if beam < 2
        else torch.zeros(1, dtype=torch.float64)
        for beam in array.beams
    )
    directions = torch.cartesian_prod(u, v)
    return directions[directions.square().sum(1) < 1], torch.linspace(-nearest, nearest, PLANES, dtype=torch.float64)


def peak_limit(snapshots: int, antennas: int, sources: int, places: int) -> float:
    """Compute the share of white noise that the best of some places exceeds in at most SHARE of the scenes.

    Parameters
    ----------
    snapshots
        The number of snapshots L.
    antennas
        The number of antennas M.
    sources
        The number of sources K.
    places
        The number of places.

    Returns
    -------
    float
        The limit; NaN if there are too few samples.
    """
    rest = snapshots * (antennas - sources - 1)
    return float(betainccinv(snapshots, rest, SHARE / places)) if rest > 0 else math.nan


@functools.lru_cache(maxsize=1024)
def eigenvalue_limit(antennas: int, snapshots: int, sources: int) -> float:
    """Compute what the largest eigenvalue over the trace exceeds in SHARE of the scenes of white noise.

    If K sources of directions that vary from snapshot to snapshot are projected out, r_l is isotropic with |r_l|^2 ~ Gamma(M
    - K). Mean, spread and skewness come from a Monte Carlo run with a fixed seed, the tail from the expansion of Cornish and
    Fisher.

    Parameters
    ----------
    antennas
        The number of antennas M.
    snapshots
        The number of snapshots L.
    sources
        The number of sources K.

    Returns
    -------
    float
        The limit; NaN if there are too few samples.
    """
    least, free = min(antennas, snapshots), antennas - sources
    if least < 2 or free < 1:
        return math.nan
    draws = max(200, min(DRAWS, int(WORK / (least**2 * max(antennas, snapshots)))))
    generator = torch.Generator().manual_seed(SEED)
    ratio = torch.cat(
        [_null(antennas, snapshots, free, part, generator) for part in _parts(draws, antennas * snapshots)]
    )
    return _upper(ratio)


@functools.lru_cache(maxsize=1024)
def variation_limit(antennas: int, snapshots: int, sources: int) -> float:
    """Compute what the variance of |r_l|^2 over its squared mean exceeds in SHARE of the scenes of white noise.

    Parameters
    ----------
    antennas
        The number of antennas M.
    snapshots
        The number of snapshots L.
    sources
        The number of sources K.

    Returns
    -------
    float
        The limit; NaN if there are too few samples.
    """
    free = antennas - sources
    if snapshots < 2 or free < 1:
        return math.nan
    draws = max(4 * DRAWS, min(20 * DRAWS, 2**23 // snapshots))
    shape = torch.full((draws, snapshots), float(free), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        energy = torch.distributions.Gamma(shape, torch.ones_like(shape)).sample()
    return float(_variation(energy).quantile(1 - SHARE))


def _variation(energy: Float[Tensor, "scene snap"]) -> Float[Tensor, " scene"]:
    return (energy / energy.mean(1, keepdim=True).clamp_min(1e-300) - 1).square().mean(1)


def _upper(ratio: Tensor) -> float:
    """Return the value that SHARE of the draws exceed, by the expansion of Cornish and Fisher."""
    from scipy.stats import norm  # half a second, which not every command needs

    spread = ratio.std()
    skewness = float(((ratio - ratio.mean()) / spread).pow(3).mean())
    z = float(norm.isf(SHARE))
    return float(ratio.mean() + spread * (z + (z * z - 1) * skewness / 6))


def _null(antennas: int, snapshots: int, free: int, draws: int, generator: torch.Generator) -> Tensor:
    r = torch.randn(draws, snapshots, antennas, dtype=torch.complex128, generator=generator)
    length = torch.randn(draws, snapshots, free, dtype=torch.complex128, generator=generator).abs().square().sum(-1)
    r = r * (length.sqrt() / r.abs().square().sum(-1).sqrt())[..., None]
    return _share(r @ r.mH if snapshots < antennas else r.mH @ r)


def _parts(draws: int, size: int) -> list[int]:
    at_once = max(1, 2**21 // size)
    return [min(at_once, draws - start) for start in range(0, draws, at_once)]


def _peak(sensing: Sensing, fit: Projection, directions: Tensor, planes: Tensor) -> Tensor:
    """Return the share of the candidate that explains most, among those that a map without norms shows."""
    batch, snap, ant = sensing.y.shape
    x = (fit.residual.conj()[:, :, None] @ sensing.G.view(batch, snap, ant, -1))[:, :, 0].flatten(0, 1)  # conj(G^H r)
    places = []
    for w in planes.to(directions):
        polar = torch.cat([directions, w.expand(len(directions), 1)], dim=1)
        A = steering_matrix(sensing.array, polar.to(sensing.y.real.dtype))
        energy = (x @ A).abs().square().view(batch, snap, -1).sum(1)
        places.append(polar[energy.topk(min(PEAKS, len(polar)), dim=1).indices])
    A = steering_matrix(sensing.array, torch.cat(places, dim=1).to(sensing.y.real.dtype))
    gain = likelihood_gain(sensing.responses(A), fit).amax(1)
    return (gain / fit.cost).double()


def _eigenvalue(fit: Projection) -> tuple[Tensor, list[int]]:
    """Return the largest eigenvalue of the whitened S over its trace, and the number of directions that are kept."""
    r, Qh = fit.residual.to(torch.complex128), fit.Qh.to(torch.complex128)
    mean = torch.eye(r.shape[-1], dtype=r.dtype) - (Qh.mT @ Qh.conj()).mean(1)
    level, basis = torch.linalg.eigh(mean.nan_to_num())
    solid = level > SOLID
    W = basis * torch.where(solid, level.clamp_min(1e-30).rsqrt(), 0.0)[:, None, :]
    x = (r @ W).nan_to_num()
    return _share(x.mH @ x), solid.sum(1).tolist()


def _share(S: Tensor) -> Tensor:
    """Return the largest eigenvalue over the trace."""
    return torch.linalg.eigvalsh(S)[..., -1] / S.diagonal(dim1=-2, dim2=-1).real.sum(-1).clamp_min(1e-300)
