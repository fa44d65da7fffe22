"""The polar grid: uniform in (u, v, 1/r), shared by the input map of the network and the search of every spectrum.

Axes: grid G = P V U, planes P in 1/r, rows V in v, columns U in u.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.config import param
from risloc.physics.geometry import Domain, Surface
from risloc.physics.steering import steering_matrix

__all__ = ["GridConfig", "PolarGrid", "grid_shape", "polar_grid"]


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """How finely (u, v, 1/r) is sampled."""

    step_beams: float = param("spacing in u and v, in units of the beamwidth lambda / aperture", ge=0.01, le=1.0)
    planes: int = param("number of planes, uniform in 1/r from the farthest to the nearest distance", ge=1, le=256)


@dataclass(frozen=True, kw_only=True)
class PolarGrid:
    """Grid points whose flat axis runs over (plane, row, column), the column fastest.

    Parameters
    ----------
    u : [U]
        The coordinates along u.
    v : [V]
        The coordinates along v.
    w : [P]
        The coordinates along w, in 1/m.
    inside : [V, U]
        Which (u, v) cells lie in the domain.
    steering : [elem, grid]
        The steering matrix A of all points, complex64.
    projection : [2 grid, 2 elem]
        The real matrix that maps (Re x, Im x) to (Re A^H x, Im A^H x), which is faster than complex products.
    step
        The spacing in (u, v, w); 0 along an axis of one point.
    """

    u: Float[Tensor, " U"]
    v: Float[Tensor, " V"]
    w: Float[Tensor, " P"]
    inside: Bool[Tensor, "V U"]
    steering: Complex[Tensor, "elem grid"]
    projection: Float[Tensor, "2*grid 2*elem"]
    step: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of planes, rows and columns (P, V, U)."""
        return len(self.w), len(self.v), len(self.u)

    @property
    def polar(self) -> Float[Tensor, "grid 3"]:
        """The coordinates (u, v, w) of every point."""
        return _points(self.u, self.v, self.w)

    def to(self, device: torch.device | str) -> "PolarGrid":
        """Move the grid to a device.

        Parameters
        ----------
        device
            Where to move it.

        Returns
        -------
        PolarGrid
            The same grid on that device.
        """
        names = ("u", "v", "w", "inside", "steering", "projection")
        return dataclasses.replace(self, **{name: getattr(self, name).to(device) for name in names})


def polar_grid(surface: Surface, config: GridConfig) -> PolarGrid:
    """Make the grid over the box of the domain, end points included; a fixed coordinate has one point.

    A beam is lambda / aperture in u and v, where each element adds half a wavelength to the aperture. Cells that touch the
    domain count as inside.

    Parameters
    ----------
    surface
        The array, and the region to cover.
    config
        The spacing of the grid.

    Returns
    -------
    PolarGrid
        The grid.
    """
    box, counts = surface.domain.polar_box, reversed(grid_shape(surface, config))
    u, v, w = (
        torch.linspace(low, high, n, dtype=torch.float32)
        if n > 1
        else torch.tensor([(low + high) / 2], dtype=torch.float32)
        for (low, high), n in zip(box, counts, strict=True)
    )
    step = tuple(float(x[1] - x[0]) if len(x) > 1 else 0.0 for x in (u, v, w))
    inside = _touching(surface.domain, u, v, [each or 1.0 for each in step[:2]])
    steering = steering_matrix(surface.array, _points(u, v, w))
    real, imag = steering.mT.real, steering.mT.imag
    projection = torch.cat([torch.cat([real, imag], 1), torch.cat([-imag, real], 1)])
    return PolarGrid(u=u, v=v, w=w, inside=inside, steering=steering, projection=projection, step=step)  # type: ignore[arg-type]


def grid_shape(surface: Surface, config: GridConfig) -> tuple[int, int, int]:
    """Compute the shape of `polar_grid` without making the grid.

    Parameters
    ----------
    surface
        The array, and the region to cover.
    config
        The spacing of the grid.

    Returns
    -------
    (P, V, U)
        The numbers of planes, rows and columns.
    """
    box, beams, free = surface.domain.polar_box, surface.array.beams, surface.domain.free
    columns, rows = (
        math.ceil((box[i][1] - box[i][0]) / (config.step_beams * beams[i])) + 1 if free[i] else 1 for i in (0, 1)
    )
    return config.planes if free[2] else 1, rows, columns


def _points(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    planes, rows, columns = torch.meshgrid(w, v, u, indexing="ij")
    return torch.stack([columns, rows, planes], dim=-1).reshape(-1, 3)


def _touching(domain: Domain, u: Tensor, v: Tensor, step: list[float]) -> Tensor:
    """Return which cells of size `step` around the points share a point with the domain, bool [V, U].

    Along the row of a cell |u| reaches farthest where |v| is smallest, and least far where |v| is largest.
    """
    (low, high), (lowest, highest) = ([math.sin(a) for a in span] for span in (domain.azimuth, domain.elevation))
    near = v.sign() * (v.abs() - step[1] / 2).clamp_min(0)
    far = v.sign() * (v.abs() + step[1] / 2)
    cosines = [(1 - x.clamp(lowest, highest).square()).sqrt()[:, None] for x in (near, far)]
    most, least = torch.maximum(high * cosines[0], high * cosines[1]), torch.minimum(low * cosines[0], low * cosines[1])
    row = (v >= lowest - step[1] / 2 - 1e-6) & (v <= highest + step[1] / 2 + 1e-6)
    return row[:, None] & (u <= most + step[0] / 2 + 1e-6) & (u >= least - step[0] / 2 - 1e-6)
