"""What one measured scene looks like, as numbers: the spectrum in space and in slices, the sources beside the truth.

The spectrum is MUSIC's N / |a - U U^H a|^2 in dB, U the K_MAX leading eigenvectors: of R_blend with a network, where the
search takes candidates from it, of R_samp without. A weak source may be found that it does not show.

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

MOST_CELLS, MOST_POINTS = 100, 4000  # of the spectrum in space: the strongest
PARTS = (4, 4, 7)  # of a cell along u, v and 1/r, each a point
PIXELS = 101  # a side of a slice


@dataclass(frozen=True, kw_only=True)
class Slices:
    """The spectrum [dB] through a point (u, v, w): over u and v at its w, NaN where no direction is, and over w alone."""

    through: Float[Tensor, " 3"]
    u: Float[Tensor, " U"]
    v: Float[Tensor, " V"]
    directions: Float[Tensor, "V U"]
    w: Float[Tensor, " P"]
    ranges: Float[Tensor, " P"]


@dataclass(frozen=True, kw_only=True)
class SceneView:
    """One scene.

    found : a batch of one.  covariance : of which the spectrum is: "R_blend" or "R_samp".
    truth : azimuth [rad], elevation [rad], distance [m] of the true sources; None: not known.
    error : distance [m] of each slot of `found` to the true source assigned to it, NaN where there is none.
    missed : how many true sources no estimate was assigned to.
    points : positions [m] of the spectrum's strongest points, in the strongest cells of the search's grid; the strongest
    first.  level : the spectrum there [dB].
    slices : through the strongest estimate, or the strongest point where there is none.
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
    """Locate the sources of one scene and look at it.

    Raises
    ------
    ValueError
        Not one scene; or what `Locator.locate` says of it.
    """
    if len(scene) != 1:
        raise ValueError(f"scene: expected one scene, got {len(scene)}; take a slice of one")
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
    """The covariance to show, by its name, at the noise level that the answer rests on.

    The network runs once more only where that level is not the one that `view` was made with: the data contradicted it.
    """
    blank, size_y, _ = of_unit_size(scene)
    observation = dataclasses.replace(blank, noise_var=(noise_var / size_y / size_y).float())
    if view is not None and torch.equal(view.observation.noise_var, observation.noise_var):
        return "R_blend", view.R_blend
    R = covariances(observation, locator.network)
    return ("R_samp", R.R_samp) if R.R_blend is None else ("R_blend", R.R_blend)


def _strongest_points(localiser: Localiser, U: Tensor) -> tuple[Tensor, Tensor]:
    """(u, v, w) and dB of the strongest points in the grid's strongest cells, the strongest first."""
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
    """A coordinate's axis; one that is no parameter is shown a little to both sides."""
    low, high = span if span[1] > span[0] else (span[0] - margin, span[1] + margin)
    return torch.linspace(low, high, PIXELS, dtype=torch.float32)


def _decibels(x: Tensor) -> Tensor:
    return 10 * x.log10()
