"""Scenes of known pilots, drawn from the formula: one antenna or several, unknown gains, a static path."""

import math

import torch

from risloc.io.measurements import Measurements, setup_of
from risloc.io.true_sources import Sources
from risloc.physics.steering import steering_matrix
from risloc.scenes.named_scenario import scenario
from risloc.scenes.simulation import simulate


def pilot_scenes(
    scenes: int,
    *,
    snapshots: int,
    antennas: int,
    snr_db: float,
    sources: int = 1,
    gains: bool = False,
    static_db: float | None = None,
    varying: bool = False,
    seed: int = 1,
) -> Measurements:
    """Draw scenes of the preset `default` with another number of codes and antennas.

    The SNR is that of a sample without the static path, which is `static_db` above the signal; gains are complex Gaussian.
    """
    world, random = scenario("default"), torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        parts = torch.randn(2, *shape, generator=random, dtype=torch.float64) / math.sqrt(2)
        return torch.complex(parts[0], parts[1])

    truth = simulate(world, seed=seed, split="test", start=0, stop=scenes, snr_db=10.0, count=sources).truth
    H = normal(scenes, antennas, world.size)
    phases = torch.randint(0, 2**world.code_bits, (scenes, snapshots, world.size), generator=random)
    codes = torch.exp(2j * math.pi / 2**world.code_bits * phases.double())
    pilots = normal(scenes, snapshots) if varying else torch.ones(scenes, snapshots, dtype=torch.complex128)
    amplitude = truth.power[:, :sources].double().sqrt() * torch.exp(
        2j * math.pi * torch.rand(scenes, sources, generator=random, dtype=torch.float64)
    )
    A = steering_matrix(world.surface.array, truth.polar[:, :sources].double())
    field = (A @ amplitude[..., None])[:, None]
    z = pilots[..., None] * ((H[:, None] * codes[:, :, None]) @ field)[..., 0]
    z = z * (normal(scenes, 1, antennas) if gains else 1)
    power = z.abs().square().mean((1, 2))
    noise_var = power / 10 ** (snr_db / 10)
    y = z + normal(scenes, snapshots, antennas) * noise_var.sqrt()[:, None, None]
    if static_db is not None:
        static = normal(scenes, antennas)
        level = (power / static.abs().square().mean(1)).sqrt() * 10 ** (static_db / 20)
        y = y + (static * level[:, None])[:, None] * pilots[..., None]
    return Measurements(
        setup=setup_of(world),
        y=y,
        codebook=codes,
        H=H,
        noise_var=noise_var,
        truth=Sources(location=truth.location, power=truth.power, count=truth.count),
        pilots=pilots,
        unknown_gains="antenna" if gains else "none",
        static_path=static_db is not None,
    )
