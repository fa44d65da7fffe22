"""The least-squares fit of the snapshots by the responses of sources, and the gain of one more source.

Axes: batch B, snap L, ant M, src K, cand C.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

__all__ = ["INDEPENDENT", "Projection", "likelihood_gain", "project"]

INDEPENDENT = 1e-2  # least share of a candidate's response outside the span of the sources already picked


@dataclass(frozen=True)
class Projection:
    """The least-squares fit of B_l to y_l.

    Parameters
    ----------
    Qh : [batch, snap, src, ant]
        The rows of an orthonormal basis of B_l, conjugated; zero rows for absent sources.
    s : [batch, snap, src]
        The symbols.
    residual : [batch, snap, ant]
        P_perp(B_l) y_l.
    """

    Qh: Complex[Tensor, "batch snap src ant"]
    s: Complex[Tensor, "batch snap src"]
    residual: Complex[Tensor, "batch snap ant"]

    @property
    def cost(self) -> Float[Tensor, " batch"]:
        """sum_l |P_perp(B_l) y_l|^2."""
        return self.residual.abs().square().sum((-2, -1))

    def inverse_factor(self, B: Complex[Tensor, "batch snap src ant"]) -> Complex[Tensor, "batch snap src src"]:
        """Compute C_l^-1, lower triangular, where the responses are B_l = Q_l C_l^H.

        Parameters
        ----------
        B : [batch, snap, src, ant]
            The responses, as rows.

        Returns
        -------
        [batch, snap, src, src]
            C_l^-1, with identity rows for absent sources.
        """
        C = B.conj() @ self.Qh.mH
        absent = self.Qh.abs().amax(-1) == 0
        C = C.masked_fill(absent[..., None], 0) + torch.diag_embed(absent.to(C.dtype))
        eye = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device).expand_as(C)
        return torch.linalg.solve_triangular(C, eye, upper=False)

    def rows(self, rows: Tensor) -> "Projection":
        """Return the fit of some of the scenes.

        Parameters
        ----------
        rows
            The numbers of the scenes.

        Returns
        -------
        Projection
            Their fit.
        """
        return Projection(Qh=self.Qh[rows], s=self.s[rows], residual=self.residual[rows])

    def complement(self, Z: Complex[Tensor, "batch snap col ant"]) -> Complex[Tensor, "batch snap col ant"]:
        """Compute P_perp(B_l) z for every row z.

        Parameters
        ----------
        Z : [batch, snap, col, ant]
            The rows z.

        Returns
        -------
        [batch, snap, col, ant]
            The parts of the rows outside the span of B_l.
        """
        return Z - (Z @ self.Qh.mT) @ self.Qh.conj()


def project(
    B: Complex[Tensor, "batch snap src ant"], y: Complex[Tensor, "batch snap ant"], present: Bool[Tensor, "batch src"]
) -> Projection:
    """Fit y_l by the responses B_l of the sources that are present.

    If the sources of a scene are linearly dependent in float precision, its residual is NaN, which is neither a fit nor a
    decrease.

    Parameters
    ----------
    B : [batch, snap, src, ant]
        The responses, as rows.
    y : [batch, snap, ant]
        The snapshots.
    present : [batch, src]
        Which slots hold a source.

    Returns
    -------
    Projection
        The fit.
    """
    B = B * present[:, None, :, None]
    gram = B.conj() @ B.mT + torch.diag_embed((~present).to(B.dtype))[:, None]
    C, info = torch.linalg.cholesky_ex(gram)
    Qh = torch.linalg.solve_triangular(C, B.conj(), upper=False)
    z = (Qh @ y[..., None]) * torch.where(info == 0, 1.0, torch.nan).to(y.real.dtype)[..., None, None]
    s = torch.linalg.solve_triangular(C.mH, z, upper=True)
    return Projection(Qh=Qh, s=s[..., 0], residual=y - (z.mT @ Qh.conj())[..., 0, :])


def likelihood_gain(Z: Complex[Tensor, "batch snap cand ant"], fit: Projection) -> Float[Tensor, "batch cand"]:
    """Compute the decrease of the cost by one more source: sum_l |z^H r_l|^2 / |P_perp(B_l) z|^2.

    Parameters
    ----------
    Z : [batch, snap, cand, ant]
        The responses of the candidates.
    fit
        The fit of the sources so far.

    Returns
    -------
    [batch, cand]
        The gains.
    """
    energy = Z.abs().square().sum(-1)
    outside = energy - (Z @ fit.Qh.mT).abs().square().sum(-1)
    match = (Z.conj() @ fit.residual[..., None])[..., 0].abs().square()
    return (match / torch.maximum(outside, INDEPENDENT * energy).clamp_min(1e-30)).sum(1)
