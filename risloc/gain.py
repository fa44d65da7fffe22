"""The exact likelihood gain of one more source, or of one source put elsewhere, at every point of a grid.

With the sources so far projected out, a further source with responses z_l = G_l a lowers the conditional cost by

    gain(a) = sum_l |z_l^H r_l|^2 / |P_perp(B_l) z_l|^2,    r_l = P_perp(B_l) y_l.

The energy of the back-projected residual leaves the denominator out. That is harmless where H has full rank, because |z_l|^2 is
then nearly the same everywhere; where H has a low rank it is not, and the highest energy often is no source.

Without source k, P_perp(B_l) gains the direction p_k of b_k outside the span of the others. With B_l = Q_l C_l^H,

    p_k^H z / |p_k| = t_k^H Q_l^H z,    t_k^H the k-th row of C_l^-H over its norm,

so that all gains of a scene are linear in the products (Q_l^H z, r_l^H z), which are computed once.

Axes: batch B, snap L, ant M, elem N, src K, grid G.
"""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.grid import PolarGrid
from risloc.likelihood import INDEPENDENT, Projection, Sensing
from risloc.spectrum import grid_products

__all__ = ["GainMap"]


class GainMap:
    """The gains in the scenes of `sensing`, at the points of `grid`.

    The response energies |z_l|^2, [snap, grid] a scene, are computed when a scene is first asked for, and kept.
    """

    def __init__(self, sensing: Sensing, grid: PolarGrid) -> None:
        batch, snap, _ = sensing.y.shape
        self.grid = grid
        self._G = sensing.G.view(*sensing.y.shape, -1)
        self._energy = sensing.y.real.new_zeros(batch, snap, grid.steering.shape[1])
        self._known = torch.zeros(batch, dtype=torch.bool)

    def further(self, rows: Tensor, fit: Projection) -> Float[Tensor, "row grid"]:
        """The gain of one more source beside those of `fit`, which is of the scenes `rows`; 0 where there is no fit."""
        return self._gains(rows, fit, [_further] * len(rows))[:, 0]

    def elsewhere(
        self, rows: Tensor, fit: Projection, B: Complex[Tensor, "row snap src ant"]
    ) -> Float[Tensor, "row src grid"]:
        """The gain of a source in place of each source of `fit`, the others as they are; B: their responses."""
        C = B.conj() @ fit.Qh.mH
        eye = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device).expand_as(C)
        T = torch.linalg.solve_triangular(C, eye, upper=False).mH
        norm = T.abs().square().sum(-1).sqrt().clamp_min(1e-30)
        T, f = (T / norm[..., None]).nan_to_num(), (fit.s / norm).nan_to_num()
        return self._gains(rows, fit, [_Elsewhere(*each) for each in zip(T, f, strict=True)])

    def _gains(self, rows: Tensor, fit: Projection, formulas: "list[_Formula]") -> Tensor:
        self._measure(rows)
        residual = torch.where(fit.cost.isfinite()[:, None, None], fit.residual, 0.0)
        columns = torch.cat([fit.Qh.nan_to_num(), residual[:, :, None].conj()], dim=2)
        scenes = zip(rows.tolist(), columns, formulas, strict=True)
        return torch.stack([self._gain_of(scene, each, formula) for scene, each, formula in scenes])

    def _gain_of(self, scene: int, columns: Tensor, formula: "_Formula") -> Tensor:
        """Of one scene, part by part of the grid; columns [snap, src + 1, ant]: the sources' basis and the residual."""
        snap, width, _ = columns.shape
        seen = (columns @ self._G[scene]).flatten(0, 1)
        gains, low = [], 0
        for product in grid_products(self.grid, seen.mH[None]):
            points = product.shape[-1]
            energy = self._energy[scene, :, low : low + points]
            match, outside = formula(product[0].view(snap, width, points), energy)
            least = INDEPENDENT * energy[:, None]
            gains.append((match / torch.maximum(outside, least).clamp_min(1e-30)).sum(0))
            low += points
        return torch.cat(gains, dim=-1)

    def _measure(self, rows: Tensor) -> None:
        """The response energies of those of the scenes whose energies are not known yet."""
        for scene in rows[~self._known[rows.cpu()]].tolist():
            G = self._G[scene]
            products = grid_products(self.grid, G.flatten(0, 1).mH[None])
            parts = [_squared(each[0]).view(*G.shape[:2], -1).sum(1) for each in products]
            self._energy[scene] = torch.cat(parts, dim=-1)
        self._known[rows.cpu()] = True


_Formula = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From (Q^H z, r^H z) [snap, src + 1, part] and |z|^2 [snap, part] to |z^H r|^2 and |P_perp z|^2 [snap, any, part]."""


def _further(product: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
    squared = _squared(product)
    return squared[:, -1:], (energy - squared[:, :-1].sum(1))[:, None]


class _Elsewhere:
    """Each source left out: T, the rows t_k^H [snap, src, src], and f_k = p_k^H y / |p_k| [snap, src]."""

    def __init__(self, T: Tensor, f: Tensor) -> None:
        self.T, self.f = T, f

    def __call__(self, product: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
        Qz, rz = product[:, :-1], product[:, -1:]
        own = self.T @ Qz
        outside = (energy - _squared(Qz).sum(1))[:, None] + _squared(own)
        return _squared(rz + self.f.conj()[..., None] * own), outside


def _squared(x: Tensor) -> Tensor:
    return x.real.square() + x.imag.square()
