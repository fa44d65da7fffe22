"""The stochastic likelihood of the raw snapshots: powers by scoring, and a joint Fisher-scoring fit.

With independent Gaussian symbols y_l ~ CN(0, C_l), C_l = B_l diag(p) B_l^H + sigma^2 I, the negative log-likelihood is

    f = sum_l ln det C_l + y_l^H C_l^-1 y_l

without M L ln pi. sigma^2 is known. From the responses on, everything is in double precision, because B^H C^-1 B cancels at
high SNR.

Axes: batch B, snap L, ant M, src K, col 4 K.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.estimation.conditional import Fit, Sensing
from risloc.estimation.newton import Model, Problem, minimise
from risloc.performance.fisher_information import known_noise_information, location_derivatives
from risloc.physics.box_coordinates import box_clamp, box_derivatives, from_box, to_box
from risloc.physics.steering import steering_derivatives, steering_matrix

__all__ = ["column_information", "fit_powers", "fit_response_powers", "fit_stochastic", "information"]

RIDGE = 1e-9  # share of its diagonal that keeps the information about powers invertible, also for identical sources
FLOOR = 1e-6  # the least power, as a share of the mean power of a snapshot over that of a response


@dataclass(frozen=True)
class _Moments:
    """What f needs of the responses: X = Z^H C^-1 Z and xi_l = Z^H C^-1 y_l, and f itself."""

    X: Complex[Tensor, "batch snap col col"]
    xi: Complex[Tensor, "batch snap col"]
    value: Float[Tensor, " batch"]

    def put(self, rows: Tensor, other: "_Moments") -> "_Moments":
        """Return these moments with `other` in place of the rows where the mask is True."""
        return _Moments(
            torch.where(rows[:, None, None, None], other.X, self.X),
            torch.where(rows[:, None, None], other.xi, self.xi),
            torch.where(rows, other.value, self.value),
        )


def _gram(Z: Tensor, y: Tensor) -> Tensor:
    """Return (Z, y)^H (Z, y) of each snapshot in double precision: all that f needs of the antennas, whatever the powers."""
    columns = torch.cat([Z, y[:, :, None]], dim=2).to(torch.complex128)
    return columns.conj() @ columns.mT


def _moments(gram: Tensor, antennas: int, power: Tensor, noise_var: Tensor) -> _Moments:
    """Compute the moments by Woodbury with the K x K matrix V = I + sqrt(p) B^H B sqrt(p) / sigma^2; power 0 drops a source.

    The value is infinite if V cannot be factorised, because powers or responses are not finite.
    """
    K = power.shape[-1]
    noise = noise_var[:, None, None, None]
    root = (power.sqrt() / noise_var.sqrt()[:, None])[:, None, :, None]
    T = gram[:, :, :K] * root
    V = T[..., :K] * root.mT + torch.eye(K, dtype=T.dtype, device=T.device)
    C, info = torch.linalg.cholesky_ex(V)
    half = torch.linalg.solve_triangular(C, T, upper=False)
    X = (gram - half.mH @ half) / noise
    log_det = antennas * noise_var.log()[:, None] + 2 * C.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
    value = (log_det + X[..., -1, -1].real).sum(-1)
    return _Moments(X[..., :-1, :-1], X[..., :-1, -1], value.masked_fill((info != 0).any(-1), torch.inf))


def fit_powers(
    sensing: Sensing,
    polar: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    *,
    iterations: int = 8,
) -> tuple[Float[Tensor, "batch src"], Float[Tensor, " batch"]]:
    """Find the powers that maximise the likelihood at fixed locations.

    Fisher scoring in p, (|X_bb|^2) dp = |xi|^2 - X_bb, kept above a small floor; a step that raises f is shortened.

    Parameters
    ----------
    sensing
        The scenes.
    polar : [batch, src, 3]
        (u, v, w).
    present : [batch, src]
        Which slots hold a source.
    iterations
        The number of steps.

    Returns
    -------
    [batch, src]
        The powers; 0 in empty slots.
    [batch]
        f at these powers.
    """
    B = sensing.responses(steering_matrix(sensing.array, polar))
    return fit_response_powers(B, sensing.y, sensing.noise_var, present, iterations=iterations)


def fit_response_powers(
    B: Complex[Tensor, "batch snap src ant"],
    y: Complex[Tensor, "batch snap ant"],
    noise_var: Float[Tensor, " batch"],
    present: Bool[Tensor, "batch src"],
    *,
    iterations: int = 8,
) -> tuple[Float[Tensor, "batch src"], Float[Tensor, " batch"]]:
    """Find the powers that maximise the likelihood for given responses, as `fit_powers` does.

    Parameters
    ----------
    B : [batch, snap, src, ant]
        The responses of the sources, as rows.
    y : [batch, snap, ant]
        The snapshots.
    noise_var : [batch]
        The noise variance sigma^2.
    present : [batch, src]
        Which slots hold a source.
    iterations
        The number of steps.

    Returns
    -------
    [batch, src]
        The powers; 0 in empty slots.
    [batch]
        f at these powers.
    """
    gram, antennas, noise_var = _gram(B, y), y.shape[-1], noise_var.double()
    energy = gram.diagonal(dim1=-2, dim2=-1).real
    floor = FLOOR * energy[..., -1:].mean(1) / energy[..., :-1].mean(1)
    match = gram[..., :-1, -1] / energy[..., :-1]
    power = torch.where(present, match.abs().square().mean(1).clamp_min(floor), 0.0)
    m = _moments(gram, antennas, power, noise_var)
    share = torch.ones_like(noise_var)[:, None]
    for _ in range(iterations):
        step = _scoring_step(m, present)
        trial = torch.where(present, torch.maximum(power + share * step, floor), 0.0)
        trial_moments = _moments(gram, antennas, trial, noise_var)
        better = trial_moments.value < m.value
        power = torch.where(better[:, None], trial, power)
        m = m.put(better, trial_moments)
        share = torch.where(better[:, None], 2 * share, share / 4).clamp(max=1)
    return power, m.value


def _scoring_step(m: _Moments, present: Tensor) -> Tensor:
    score = (m.xi.abs().square() - m.X.diagonal(dim1=-2, dim2=-1).real).sum(1) * present
    information = m.X.abs().square().sum(1) * (present[:, :, None] & present[:, None, :])
    ridge = RIDGE * information.diagonal(dim1=-2, dim2=-1)
    return torch.linalg.solve(information + torch.diag_embed(ridge + (~present).double()), score)


def information(
    sensing: Sensing, location: Float[Tensor, "batch src 3"], power: Float[Tensor, "batch src"]
) -> Float[Tensor, "batch par par"]:
    """Compute the Fisher information about (azimuth, elevation, 1/r) of each source, then the powers; sigma^2 is known.

    Parameters
    ----------
    sensing
        The scenes.
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    power : [batch, src]
        The powers.

    Returns
    -------
    [batch, par, par]
        The information.
    """
    A, dA = location_derivatives(sensing.array.to(location.double()), location.double())
    return column_information(sensing, torch.cat([A, dA.flatten(-2)], dim=-1), power)


def column_information(
    sensing: Sensing,
    columns: Complex[Tensor, "batch elem col"],
    power: Float[Tensor, "batch src"],
    owner: Int[Tensor, "*rows der"] | None = None,
) -> Float[Tensor, "batch par par"]:
    """Compute the Fisher information about the parameters of the columns, then the powers; sigma^2 is known.

    Parameters
    ----------
    sensing
        The scenes.
    columns : [batch, elem, col]
        What the elements receive from each of the K sources, then the derivatives.
    power : [batch, src]
        The powers.
    owner : [der] or [batch, der]
        The source of each derivative; None: three of each source in turn.

    Returns
    -------
    [batch, par, par]
        The information.
    """
    Z = sensing.responses(columns.to(sensing.G.dtype))
    m = _moments(_gram(Z, sensing.y), sensing.y.shape[-1], power.double(), sensing.noise_var.double())
    return known_noise_information(m.X, power.double(), owner)


def fit_stochastic(
    sensing: Sensing,
    start: Float[Tensor, "batch src 3"],
    power: Float[Tensor, "batch src"],
    *,
    tolerance: float,
    iterations: int,
) -> tuple[Fit, Float[Tensor, "batch src"]]:
    """Fit locations and powers jointly, by damped Fisher scoring in ln p; f never rises.

    Parameters
    ----------
    sensing
        The scenes.
    start : [batch, src, 3]
        (u, v, w) at the start.
    power : [batch, src]
        The powers at the start; sources of power 0 are absent and stay absent.
    tolerance
        The predicted decrease of f at which to stop.
    iterations
        The largest number of steps.

    Returns
    -------
    Fit
        The locations; its value is f.
    [batch, src]
        The powers.
    """
    power = power.double()
    point = torch.cat([to_box(start.double()).flatten(1), power.clamp_min(1e-30).log()], dim=1)
    limit = torch.full_like(point[:, 0], tolerance)
    end = minimise(_Stochastic(sensing, power > 0), point, limit, iterations)
    K = power.shape[1]
    polar = from_box(end.point[:, : 3 * K].reshape(-1, K, 3))
    fitted = torch.where(power > 0, end.point[:, 3 * K :].exp(), 0.0)
    return Fit(polar, end.value, end.converged), fitted


@dataclass(frozen=True)
class _Stochastic(Problem):
    sensing: Sensing
    present: Tensor

    def __getitem__(self, rows: Tensor) -> "_Stochastic":
        return _Stochastic(self.sensing[rows], self.present[rows])

    def project(self, point: Tensor) -> Tensor:
        box = 3 * self.present.shape[1]
        inside = box_clamp(point[:, :box].reshape(len(point), -1, 3), self.sensing.domain)
        return torch.cat([inside.flatten(1), point[:, box:].clamp(-80.0, 80.0)], dim=1)

    def model(self, point: Tensor) -> Model:
        s, K = self.sensing, self.present.shape[1]
        polar = from_box(point[:, : 3 * K].reshape(len(point), K, 3))
        power = torch.where(self.present, point[:, 3 * K :].exp(), 0.0)
        A, dA = steering_derivatives(s.array.to(polar), polar)
        Z = s.responses(torch.cat([A, box_derivatives(dA, polar).flatten(-2)], dim=-1))
        m = _moments(_gram(Z, s.y), s.y.shape[-1], power, s.noise_var.double())
        source = torch.arange(K, device=point.device).repeat_interleave(3)
        bd = m.X[:, :, source, K + torch.arange(3 * K, device=point.device)]
        d_coordinate = 2 * (bd - m.xi[..., source] * m.xi[..., K:].conj()).real.sum(1) * power[:, source]
        d_power = (m.X.diagonal(dim1=-2, dim2=-1).real[..., :K] - m.xi[..., :K].abs().square()).sum(1)
        unit = torch.cat([torch.ones_like(d_coordinate), power], dim=1)  # d/d ln p = p d/dp
        gradient = torch.cat([d_coordinate, d_power], dim=1) * unit
        F = known_noise_information(m.X, power) * unit[:, :, None] * unit[:, None, :]
        # Halves: the engine counts a value as |r|^2, a gradient as Re(J^H r) and a curvature as Re(J^H J).
        return Model(value=m.value, gradient=gradient / 2, curvature=F / 2)
