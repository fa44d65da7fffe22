"""The exact likelihood gain of one more source, or of one source at another place, at every point of a grid.

With the sources so far projected out, one more source with responses z_l = G_l a lowers the conditional cost by

    gain(a) = sum_l |z_l^H r_l|^2 / |P_perp(B_l) z_l|^2,    r_l = P_perp(B_l) y_l.

The energy of the back-projected residual omits the denominator. This is harmless if H has full rank, because |z_l|^2 is then
nearly constant; with H of low rank it is not, and the highest energy is often not at a source.

Without source k, P_perp(B_l) gains the direction p_k of b_k outside the span of the others. With B_l = Q_l C_l^H,

    p_k^H z / |p_k| = t_k^H Q_l^H z,    t_k^H the k-th row of C_l^-H over its norm,

so that all gains of a scene are linear in the products (Q_l^H z, r_l^H z), which are computed once.

Axes: batch B, snap L, ant M, elem N, src K, grid G.
"""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.projection import INDEPENDENT, Projection
from risloc.estimation.spectrum import grid_products
from risloc.physics.grid import PolarGrid

__all__ = ["GainMap"]


class GainMap:
    """The gains in the scenes of `sensing`, at the points of `grid`.

    The response energies |z_l|^2, [snap, grid] per scene, are computed when a scene is first requested, and cached.

    Parameters
    ----------
    sensing
        The scenes.
    grid
        The grid.
    """

    def __init__(self, sensing: Sensing, grid: PolarGrid) -> None:
        batch, snap, _ = sensing.y.shape
        self.grid = grid
        self._G = sensing.G.view(*sensing.y.shape, -1)
        self._energy = sensing.y.real.new_zeros(batch, snap, grid.steering.shape[1])
        self._measured = torch.zeros(batch, dtype=torch.bool)

    def further(self, rows: Tensor, fit: Projection) -> Float[Tensor, "row grid"]:
        """Compute the gain of one more source beside those of a fit.

        Parameters
        ----------
        rows
            The numbers of the scenes of the fit.
        fit
            The fit.

        Returns
        -------
        [row, grid]
            The gains; 0 if there is no fit.
        """
        return self._gains(rows, fit, [_further] * len(rows))[:, 0]

    def further_at_least(self, rows: Tensor, fit: Projection) -> Float[Tensor, "row grid"]:
        """Compute a lower bound of `further`: with |z|^2 in place of |P_perp z|^2, in a fraction of the time.

        Parameters
        ----------
        rows, fit
            As in `further`.

        Returns
        -------
        [row, grid]
            The lower bounds; 0 if there is no fit.
        """
        empty = dataclasses.replace(fit, Qh=fit.Qh[:, :, :0], s=fit.s[:, :, :0])
        return self._gains(rows, empty, [_further] * len(rows))[:, 0]

    def elsewhere(
        self, rows: Tensor, fit: Projection, inverse: Complex[Tensor, "row snap src src"]
    ) -> Float[Tensor, "row src grid"]:
        """Compute the gain of a source in place of each source of a fit, with the others unchanged.

        Parameters
        ----------
        rows
            The numbers of the scenes of the fit.
        fit
            The fit.
        inverse : [row, snap, src, src]
            `fit.inverse_factor`.

        Returns
        -------
        [row, src, grid]
            The gains.
        """
        T, f = _without_each(fit, inverse)
        return self._gains(rows, fit, [_Elsewhere(*each) for each in zip(T, f, strict=True)])

    def evidence_elsewhere(
        self,
        rows: Tensor,
        fit: Projection,
        inverse: Complex[Tensor, "row snap src src"],
        power: Float[Tensor, "row src"],
        noise_var: Float[Tensor, " row"],
    ) -> Float[Tensor, "row src grid"]:
        """Compute the log-likelihood ratio of a source of the same power, with Gaussian symbols, against no source.

        The symbols of the other sources are free, so that with p_perp = |P_perp z|^2 it is, summed over the snapshots, p
        |z^H r|^2 / (sigma^2 (sigma^2 + p p_perp)) - ln(1 + p p_perp / sigma^2).

        Parameters
        ----------
        rows
            The numbers of the scenes of the fit.
        fit
            The fit.
        inverse : [row, snap, src, src]
            `fit.inverse_factor`.
        power : [row, src]
            The powers p.
        noise_var : [row]
            The noise variance sigma^2.

        Returns
        -------
        [row, src, grid]
            The ratios.
        """
        T, f = _without_each(fit, inverse)
        levels = zip(T, f, power / noise_var[:, None], noise_var, strict=True)
        return self._gains(rows, fit, [_Evidence(*each) for each in levels])

    def _gains(self, rows: Tensor, fit: Projection, formulas: "Sequence[_Formula]") -> Tensor:
        self._measure(rows)
        residual = torch.where(fit.cost.isfinite()[:, None, None], fit.residual, 0.0)
        columns = torch.cat([fit.Qh.nan_to_num(), residual[:, :, None].conj()], dim=2)
        scenes = zip(rows.tolist(), columns, formulas, strict=True)
        return torch.stack([self._gain_of(scene, each, formula) for scene, each, formula in scenes])

    def _gain_of(self, scene: int, columns: Tensor, formula: "_Formula") -> Tensor:
        """Compute the gains of one scene, part by part of the grid; columns [snap, src + 1, ant]: the basis of the sources and
        the residual.
        """
        snap, width, _ = columns.shape
        projected = (columns @ self._G[scene]).flatten(0, 1)
        gains, low = [], 0
        for product in grid_products(self.grid, projected.mH[None]):
            points = product.shape[-1]
            energy = self._energy[scene, :, low : low + points]
            gains.append(formula(product[0].view(snap, width, points), energy).sum(0))
            low += points
        return torch.cat(gains, dim=-1)

    def _measure(self, rows: Tensor) -> None:
        """Compute the response energies of the scenes that are not cached yet."""
        for scene in rows[~self._measured[rows.cpu()]].tolist():
            G = self._G[scene]
            products = grid_products(self.grid, G.flatten(0, 1).mH[None])
            parts = [_squared(each[0]).view(*G.shape[:2], -1).sum(1) for each in products]
            self._energy[scene] = torch.cat(parts, dim=-1)
        self._measured[rows.cpu()] = True


_Formula = Callable[[Tensor, Tensor], Tensor]
"""Maps (Q^H z, r^H z) [snap, src + 1, part] and |z|^2 [snap, part] to the summands over snapshots, [snap, any, part]."""


def _without_each(fit: Projection, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows t_k^H [row, snap, src, src], and p_k^H y / |p_k| [row, snap, src]; zero for absent sources."""
    T = inverse.mH
    norm = T.abs().square().sum(-1).sqrt().clamp_min(1e-30)
    return (T / norm[..., None]).nan_to_num(), (fit.s / norm).nan_to_num()


def _further(product: Tensor, energy: Tensor) -> Tensor:
    squared = _squared(product)
    return squared[:, -1:] / _outside((energy - squared[:, :-1].sum(1))[:, None], energy)


class _Elsewhere:
    """Each source left out: T, the rows t_k^H [snap, src, src], and f_k = p_k^H y / |p_k| [snap, src]."""

    def __init__(self, T: Tensor, f: Tensor) -> None:
        self.T, self.f = T, f

    def match(self, product: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
        """Return |z^H r|^2 and |P_perp z|^2 without each source."""
        Qz, rz = product[:, :-1], product[:, -1:]
        projection = self.T @ Qz
        outside = (energy - _squared(Qz).sum(1))[:, None] + _squared(projection)
        return _squared(rz + self.f.conj()[..., None] * projection), _outside(outside, energy)

    def __call__(self, product: Tensor, energy: Tensor) -> Tensor:
        match, outside = self.match(product, energy)
        return match / outside


class _Evidence(_Elsewhere):
    """The same with the power over sigma^2 of each source [src], and sigma^2."""

    def __init__(self, T: Tensor, f: Tensor, power: Tensor, noise_var: Tensor) -> None:
        super().__init__(T, f)
        self.power, self.noise_var = power[:, None], noise_var

    def __call__(self, product: Tensor, energy: Tensor) -> Tensor:
        match, outside = self.match(product, energy)
        level = self.power * outside
        return self.power * match / (self.noise_var * (1 + level)) - level.log1p()


def _outside(outside: Tensor, energy: Tensor) -> Tensor:
    return torch.maximum(outside, INDEPENDENT * energy[:, None]).clamp_min(1e-30)


def _squared(x: Tensor) -> Tensor:
    return x.real.square() + x.imag.square()
