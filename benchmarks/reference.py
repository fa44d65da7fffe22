"""A plain reference to measure against: numpy, one scene at a time, dense N x N covariances, loops where formulas have sums.

It follows the same model and shares no code with risloc beyond the scenario's values.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from risloc.scenes.scenario import Scenario

__all__ = ["Scene", "elements", "music", "sample_covariance", "simulate", "steering_vector"]


@dataclass(frozen=True)
class Scene:
    """One scene: y [snap ant], codebook [snap elem], H [ant elem], sigma^2, locations [src 3], R_true [elem elem]."""

    y: np.ndarray
    codebook: np.ndarray
    H: np.ndarray
    noise_var: float
    location: np.ndarray
    R_true: np.ndarray


def elements(scenario: Scenario) -> np.ndarray:
    """Positions [elem 3] in metres, centred, x fastest."""
    step = scenario.wavelength / 2
    places = [
        ((ix - (scenario.n_h - 1) / 2) * step, (iy - (scenario.n_v - 1) / 2) * step, 0.0)
        for iy in range(scenario.n_v)
        for ix in range(scenario.n_h)
    ]
    return np.array(places)


def steering_vector(places: np.ndarray, wavelength: float, location: np.ndarray) -> np.ndarray:
    """a_n = exp(-j 2 pi (|p - x_n| - r) / wavelength)."""
    azimuth, elevation, r = location
    p = r * np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        ]
    )
    return np.exp(-2j * np.pi * (np.linalg.norm(p - places, axis=1) - r) / wavelength)


def simulate(scenario: Scenario, rng: np.random.Generator) -> Scene:
    """One scene of a 'ris' scenario with independent waveforms, random codes and powers uniform in dB; no mismatch."""
    s, places = scenario, elements(scenario)
    spans = np.array([np.radians(s.azimuth_span_deg), np.radians(s.elevation_span_deg), s.distance_span_m])
    k = int(rng.integers(s.K_span[0], s.K_span[1] + 1))
    while True:
        location = np.array([[rng.uniform(*span) for span in spans] for _ in range(k)])
        uv = [(math.sin(az) * math.cos(el), math.sin(el)) for az, el, _ in location]
        if all(math.dist(uv[i], uv[j]) >= s.min_separation_uv for i in range(k) for j in range(i)):
            break
    power = 10 ** (rng.uniform(*s.power_span_db, size=k) / 10)
    A = np.stack([steering_vector(places, s.wavelength, x) for x in location], axis=1)
    R_true = sum(p * np.outer(a, a.conj()) for p, a in zip(power, A.T, strict=True))
    H = _channel(s, places, rng)
    codebook = np.exp(2j * np.pi * rng.integers(0, 2**s.code_bits, (s.snapshots, s.size)) / 2**s.code_bits)
    clean, received = [], 0.0
    for code in codebook:
        G = H @ np.diag(code)
        clean.append(G @ A @ (np.sqrt(power) * _gaussian(rng, k)))
        received += np.trace(G @ R_true @ G.conj().T).real / s.antennas
    noise_var = received / s.snapshots / 10 ** (rng.uniform(*s.snr_db_span) / 10)
    y = np.array([x + math.sqrt(noise_var) * _gaussian(rng, s.antennas) for x in clean])
    return Scene(y, codebook, H, noise_var, location, R_true * s.size / np.trace(R_true).real)


def sample_covariance(scene: Scene) -> np.ndarray:
    """R_samp [elem elem] of trace N: least squares with ridge, one inverse a snapshot, averaged as dense matrices."""
    m, n = scene.H.shape
    row_energy = np.sum(np.abs(scene.H) ** 2) / m
    y_power = np.mean(np.abs(scene.y) ** 2)
    p_tot = max(y_power - scene.noise_var, 0.01 * y_power) / row_energy
    R = np.zeros((n, n), dtype=complex)
    for code, y in zip(scene.codebook, scene.y, strict=True):
        G = scene.H @ np.diag(code)
        x = G.conj().T @ np.linalg.inv(G @ G.conj().T + scene.noise_var / p_tot * np.eye(m)) @ y
        R += np.outer(x, x.conj()) / len(scene.y)
    return R * n / np.trace(R).real


def music(
    R: np.ndarray, places: np.ndarray, wavelength: float, axes: tuple[np.ndarray, np.ndarray, np.ndarray], sources: int
) -> np.ndarray:
    """Full 3-D MUSIC: locations [sources 3], strongest first.

    axes : azimuths [rad], elevations [rad] and distances [m] of the search grid. Peaks are grid points not below any
    neighbour; each is refined by a simplex search and brought back into the spans of the axes. Fewer peaks: the rest of the rows are NaN.
    """
    n = len(R)
    noise = np.linalg.eigh(R)[1][:, : n - sources]

    def spectrum(location: np.ndarray) -> float:
        a = steering_vector(places, wavelength, location)
        return float(n / np.linalg.norm(noise.conj().T @ a) ** 2)

    values = np.array([[[spectrum(np.array([az, el, r])) for r in axes[2]] for el in axes[1]] for az in axes[0]])
    peaks = []
    for i, j, k in np.ndindex(values.shape):
        around = values[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, max(k - 1, 0) : k + 2]
        if values[i, j, k] >= around.max():
            peaks.append((values[i, j, k], (axes[0][i], axes[1][j], axes[2][k])))
    peaks.sort(reverse=True)
    found = np.full((sources, 3), np.nan)
    low, high = (np.array([edge(axis) for axis in axes]) for edge in (np.min, np.max))
    for row, (_, start) in enumerate(peaks[:sources]):
        best = scipy.optimize.minimize(
            lambda x: -math.log(spectrum(x)), start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-3}
        ).x
        found[row] = np.clip(best, low, high)
    return found


def _channel(s: Scenario, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    k = rng.uniform(*s.rician_span)
    psi, azimuth, elevation = (math.radians(rng.uniform(-a, a)) for a in (60, 60, 30))
    toward = np.array([math.sin(azimuth) * math.cos(elevation), math.sin(elevation), 0.0])
    a_bs = np.exp(-1j * np.pi * math.sin(psi) * np.arange(s.antennas))
    a_ris = np.exp(2j * np.pi * places @ toward / s.wavelength)
    scattered = _gaussian(rng, s.antennas * s.size).reshape(s.antennas, s.size)
    return math.sqrt(k / (1 + k)) * np.outer(a_bs, a_ris.conj()) + math.sqrt(1 / (1 + k)) * scattered


def _gaussian(rng: np.random.Generator, size: int) -> np.ndarray:
    return (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / math.sqrt(2)
