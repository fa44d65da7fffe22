"""The numbers behind a picture of one measured scene: the spectrum in space and in slices, and the sources beside the truth.

The spectrum is that of MUSIC, N / |a - U U^H a|^2 in dB, with U the K_MAX leading eigenvectors. With a network they are those
of R_blend, from which the search takes candidates; without one they are those of R_samp. A weak source may be found although
the spectrum does not show it.

Axes: elem N, snap L, src K (slots), true K, point, U, V and P along u, v and 1/r.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.localiser import Localiser
from risloc.estimation.spectrum import grid_energy, music_spectrum
from risloc.io.measurements import Measurements, Setup
from risloc.learning.hybrid import NetworkView
from risloc.locating.covariances import covariances
from risloc.locating.found import Found
from risloc.locating.locator import Locator
from risloc.locating.single_precision import factorised, of_unit_size
from risloc.locating.truth_errors import truth_errors
from risloc.physics.geometry import Array, Domain, location_of, polar_of, position_of
from risloc.physics.steering import steering_matrix

__all__ = ["SceneView", "Slices", "scene_view"]

MOST_CELLS, MOST_POINTS = 100, 4000  # the strongest cells and points of the spectrum in space
PARTS = (4, 4, 7)  # points per cell along u, v and 1/r
PIXELS = 101  # along each side of a slice


@dataclass(frozen=True, kw_only=True)
class Slices:
    """The spectrum in dB through a point (u, v, w): over u and v at its w, and over w at its u and v.

    Parameters
    ----------
    through : [3]
        The point (u, v, w).
    u : [U]
        The values of u.
    v : [V]
        The values of v.
    directions : [V, U]
        The spectrum over u and v; NaN where u^2 + v^2 > 1.
    w : [P]
        The values of 1/r in 1/m.
    ranges : [P]
        The spectrum over w.
    """

    through: Float[Tensor, " 3"]
    u: Float[Tensor, " U"]
    v: Float[Tensor, " V"]
    directions: Float[Tensor, "V U"]
    w: Float[Tensor, " P"]
    ranges: Float[Tensor, " P"]


@dataclass(frozen=True, kw_only=True)
class SceneView:
    """One scene with its estimates and the spectrum.

    Parameters
    ----------
    setup
        The surface and the search region.
    codebook : [snap, elem]
        The codes.
    found
        The estimates, a batch of one scene.
    covariance
        The covariance whose spectrum is shown: "R_blend" or "R_samp".
    truth : [true, 3]
        Azimuth [rad], elevation [rad] and distance [m] of the true sources; None: not known.
    error : [src]
        The distance in metres of each slot of `found` to the true source assigned to it; NaN if there is none.
    missed
        The number of true sources to which no estimate is assigned.
    points : [point, 3]
        Positions in metres of the strongest points of the spectrum, in the strongest cells of the search grid; the strongest
        point comes first.
    level : [point]
        The spectrum there in dB.
    slices
        The slices through the strongest estimate, or through the strongest point if there is no estimate.
    """

    setup: Setup
    codebook: Complex[Tensor, "snap elem"]
    found: Found
    covariance: str
    truth: Float[Tensor, "true 3"] | None
    error: Float[Tensor, " src"]
    missed: int
    points: Float[Tensor, "point 3"]
    level: Float[Tensor, " point"]
    slices: Slices


@torch.no_grad()
@factorised()
def scene_view(locator: Locator, scene: Measurements) -> SceneView:
    """Locate the sources of one scene, and compute what its picture shows.

    Parameters
    ----------
    locator
        The locator.
    scene
        Measurements of one scene.

    Returns
    -------
    SceneView
        The scene.

    Raises
    ------
    ValueError
        There is not exactly one scene, or `Locator.locate` refuses it.
    """
    if len(scene) != 1:
        raise ValueError(f"scene: expected one scene, got {len(scene)}; select one with a slice such as scene[0:1]")
    (found, view), localiser = locator.locate_and_view(scene), locator.localiser
    name, R = _covariance(locator, scene, found.noise_var, view)
    U = R.subspace(locator.slots)[0]
    points, level = _strongest_points(localiser, U)
    truth = None if scene.truth is None else scene.truth.location[0, : int(scene.truth.count[0])].double()
    errors = truth_errors(found, scene)
    return SceneView(
        setup=scene.setup,
        codebook=scene.codebook[0],
        found=found,
        covariance=name,
        truth=truth,
        error=torch.full_like(found.power[0], torch.nan) if errors is None else errors.error[0],
        missed=0 if errors is None else int(errors.missed),
        points=position_of(location_of(points)),
        level=level,
        slices=_slices(localiser.array, localiser.domain, U, _strongest(found, points)),
    )


def _covariance(
    locator: Locator, scene: Measurements, noise_var: Tensor, view: NetworkView | None
) -> tuple[str, FactoredCovariance]:
    """Return the name and the factors of the covariance to show, at the noise level on which the answer rests.

    The network runs again only if that level differs from the one of `view`, because the data contradicted the latter.
    """
    blank, size_y, _ = of_unit_size(scene)
    observation = dataclasses.replace(blank, noise_var=(noise_var / size_y / size_y).float())
    if view is not None and torch.equal(view.observation.noise_var, observation.noise_var):
        return "R_blend", view.R_blend
    R = covariances(observation, locator.network)
    return ("R_samp", R.R_samp) if R.R_blend is None else ("R_blend", R.R_blend)


def _strongest_points(localiser: Localiser, U: Tensor) -> tuple[Tensor, Tensor]:
    """Return (u, v, w) and dB of the strongest points in the strongest cells of the grid, the strongest first."""
    grid, domain = localiser.grid, localiser.domain
    inside = grid.inside.expand(grid.shape).flatten()
    energy = torch.where(inside, grid_energy(grid, U[None])[0], -torch.inf)
    cells = grid.polar[energy.topk(min(MOST_CELLS, int(inside.sum()))).indices]
    parts = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) / n * step
        for n, step in zip(PARTS, grid.step, strict=True)
    ]
    fine = domain.clamp((cells[:, None] + torch.cartesian_prod(*parts)).flatten(0, 1))
    level = _decibels(music_spectrum(steering_matrix(localiser.array, fine), U))
    strongest = level.topk(min(MOST_POINTS, len(level)))
    return fine[strongest.indices], strongest.values


def _strongest(found: Found, points: Tensor) -> Tensor:
    if not bool(found.present.any()):
        return points[0]
    slot = torch.where(found.present[0], found.power[0], -torch.inf).argmax()
    return polar_of(found.location[0, slot]).float()


def _slices(array: Array, domain: Domain, U: Tensor, through: Tensor) -> Slices:
    u, v, w = (
        _axis(span, margin) for span, margin in zip(domain.polar_box, (0.1, 0.1, 0.1 * float(through[2])), strict=True)
    )
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    flat = torch.stack([columns, rows, through[2].expand_as(rows)], dim=-1).view(-1, 3)
    along = torch.cat([through[:2].expand(len(w), 2), w[:, None]], dim=1)
    directions = _decibels(music_spectrum(steering_matrix(array, flat), U)).view(rows.shape)
    nowhere = columns.square() + rows.square() > 1
    ranges = _decibels(music_spectrum(steering_matrix(array, along), U))
    return Slices(through=through, u=u, v=v, directions=directions.masked_fill(nowhere, torch.nan), w=w, ranges=ranges)


def _axis(span: tuple[float, float], margin: float) -> Tensor:
    """Return the axis of a coordinate; if the coordinate is fixed, the axis extends a little to both sides."""
    low, high = span if span[1] > span[0] else (span[0] - margin, span[1] + margin)
    return torch.linspace(low, high, PIXELS, dtype=torch.float32)


def _decibels(x: Tensor) -> Tensor:
    return 10 * x.log10()
