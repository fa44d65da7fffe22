"""Scenes in double precision, drawn here from the model's equation and the tests' own steering vectors."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from oracle import elements, steering

from risloc.physics.geometry import Array, Domain, Surface, polar_of
from risloc.scenes.batch import Observation
from risloc.scenes.scenario import Scenario


@dataclass(frozen=True)
class World:
    """B scenes. location, power: absent slots hold a harmless location and power 0. symbols [batch, src, snap]."""

    scenario: Scenario
    observation: Observation
    location: torch.Tensor
    power: torch.Tensor
    symbols: torch.Tensor
    present: torch.Tensor
    A: torch.Tensor

    @property
    def polar(self):
        return polar_of(self.location)

    @property
    def count(self):
        return self.present.sum(1)


def surface_of(array: Array, free: tuple[bool, bool, bool]) -> Surface:
    """An array with a domain in which these of azimuth, elevation and distance are free."""
    azimuth, elevation, distance = ((0.5, 1.0 if each else 0.5) for each in free)
    return Surface(array=array, domain=Domain(azimuth=azimuth, elevation=elevation, distance=distance))


def observed_directly(elements: int, snapshots: int, noise_var: torch.Tensor) -> Observation:
    """What a bound needs to know of scenes without a surface: H = I, codes 1; there are no snapshots to see."""
    batch = len(noise_var)
    return Observation(
        y=torch.zeros(batch, snapshots, elements, dtype=torch.complex128),
        codebook=torch.ones(batch, snapshots, elements, dtype=torch.complex128),
        H=torch.eye(elements, dtype=torch.complex128).repeat(batch, 1, 1),
        noise_var=noise_var,
    )


def roomy(small):
    """8 x 8 elements, M = 8, L = 12: three sources are identifiable with room to spare."""
    return dataclasses.replace(small, n_h=8, n_v=8, antennas=8, snapshots=12, distance_span_m=(0.6, 3.0))


def world(scenario, counts, *, snr_db=20.0, seed=0, noise=True, spread=0.45, depth=(0.05, 0.6)):
    """One scene for each of `counts`: `spread` apart in (u, v), `depth` into the distance span, powers within +-3 dB."""
    rng = np.random.default_rng(seed)
    B, K, N, M, L = len(counts), scenario.K_MAX, scenario.size, scenario.antennas, scenario.snapshots
    xy = elements(scenario.n_h, scenario.n_v, scenario.wavelength)
    location = np.tile([0.0, 0.0, float(np.mean(scenario.distance_span_m))], (B, K, 1))
    power, A = np.zeros((B, K)), np.zeros((B, N, K), complex)
    for b, count in enumerate(counts):
        location[b, :count] = _locations(scenario, rng, count, spread, depth)
        power[b, :count] = 10 ** rng.uniform(-0.3, 0.3, count)
        A[b] = np.stack([steering(xy, scenario.wavelength, *location[b, k]) for k in range(K)], axis=-1)
    H = (rng.standard_normal((B, M, N)) + 1j * rng.standard_normal((B, M, N))) / math.sqrt(2)
    c = np.exp(2j * np.pi * rng.integers(8, size=(B, L, N)) / 8)
    s = (rng.standard_normal((B, K, L)) + 1j * rng.standard_normal((B, K, L))) * np.sqrt(power / 2)[..., None]
    y = np.einsum("bmn,bln,bnk,bkl->blm", H, c, A, s)
    level = np.einsum("bmn,bln,bnk,bk->blmk", H, c, A, np.sqrt(power))
    signal = (np.abs(level) ** 2).sum(-1).mean((1, 2))
    noise_var = np.where(signal > 0, signal, N) / 10 ** (snr_db / 10)
    if noise:
        n = rng.standard_normal((B, L, M)) + 1j * rng.standard_normal((B, L, M))
        y = y + n * np.sqrt(noise_var / 2)[:, None, None]
    tensors = {"y": y, "codebook": c, "H": H, "noise_var": noise_var}
    observation = Observation(**{name: torch.from_numpy(value) for name, value in tensors.items()})
    present = torch.arange(K) < torch.tensor(counts)[:, None]
    truth = [torch.from_numpy(x) for x in (location, power, s)]
    return World(scenario, observation, *truth, present, torch.from_numpy(A))


def _locations(scenario, rng, count, spread, depth):
    low, high = np.array([np.radians(scenario.azimuth_span_deg), np.radians(scenario.elevation_span_deg)]).T
    near, far = scenario.distance_span_m
    while True:
        angle = rng.uniform(0.8 * low, 0.8 * high, (count, 2))
        uv = np.stack([np.sin(angle[:, 0]) * np.cos(angle[:, 1]), np.sin(angle[:, 1])], axis=-1)
        gaps = np.linalg.norm(uv[:, None] - uv[None], axis=-1) + 9 * np.eye(count)
        if count == 0 or gaps.min() >= spread:
            return np.column_stack([angle, near + (far - near) * rng.uniform(*depth, count)])
