"""Milliseconds a scene of localisation, batched against the plain reference, side by side on one core, step by step.

python -m benchmarks.localise
"""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import reference
from benchmarks.timing import best_seconds
from risloc.covariance import CovarianceConfig, least_squares_snapshots, sample_covariance
from risloc.grid import GridConfig, polar_grid
from risloc.likelihood import Sensing
from risloc.music import music_peaks, signal_subspace
from risloc.network import HybridNetwork, NetworkConfig
from risloc.params import build, read_yaml
from risloc.preset_files import preset
from risloc.scene import Scenario
from risloc.selection import MatchingPursuit, PeakCandidates, select_and_fit
from risloc.simulation import simulate
from risloc.spectrum import grid_energy, peaks

BATCH, SOURCES, SNR_DB = 64, 3, 10.0
PEAKS, SEPARATION, ITERATIONS = 12, 0.05, 30
GRID = GridConfig(step_beams=0.25, planes=8)
PLAIN = 1
REPEATS = 7


def main() -> None:
    """Print one line a step, the reference beside it, and the same as JSON at the end."""
    torch.set_num_threads(1)
    scenario = build(Scenario, preset("default"), "default")
    with torch.inference_mode():
        steps, points = _steps(scenario)
    plain = _plain(scenario, points)
    print(f"K = {SOURCES}, {SNR_DB:g} dB, batch of {BATCH}, grid of {points} points, one core; milliseconds a scene")
    for name, ms in steps.items():
        print(f"{name:>55s} {ms:8.3f}")
    print(f"{'plain reference: 3-D MUSIC, one scene':>55s} {plain:8.0f}")
    whole = steps["3-D MUSIC with Newton refinement, whole"]
    print(f"{'times faster':>55s} {plain / whole:8.0f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory of this process [MiB]':>55s} {peak:8.0f}")
    results = {**steps, "reference": plain, "ratio": plain / whole, "peak_MiB": peak}
    print(json.dumps({name: float(f"{value:.4g}") for name, value in results.items()}))


def _steps(scenario: Scenario) -> tuple[dict[str, float], int]:
    scenes = simulate(scenario, seed=0, split="test", start=0, stop=BATCH, snr_db=SNR_DB, count=SOURCES)
    o, count = scenes.observation, scenes.truth.count
    array, domain = scenario.array(), scenario.domain()
    grid = polar_grid(array, domain, GRID)
    x = least_squares_snapshots(o.y, o.codebook, o.H, o.noise_var)
    R = sample_covariance(x)
    U = signal_subspace(R, count, scenario.K_MAX)
    energy = grid_energy(grid, U)
    coarse = peaks(energy, grid, PEAKS, SEPARATION)
    sensing = Sensing.of(o, array, domain)

    def whole() -> object:
        R = sample_covariance(least_squares_snapshots(o.y, o.codebook, o.H, o.noise_var))
        return music_peaks(signal_subspace(R, count, scenario.K_MAX), array, domain, grid, PEAKS, SEPARATION)

    def selected() -> object:
        return select_and_fit(sensing, PeakCandidates(sensing, coarse), [count], scenario.K_MAX, iterations=ITERATIONS)

    network = _network(scenario)

    def pursuit() -> object:
        here = Sensing.of(o, array, domain)
        source = MatchingPursuit(here, o, grid, 4)
        return select_and_fit(here, source, [count], scenario.K_MAX, iterations=ITERATIONS)

    work: dict[str, Callable[[], object]] = {
        "R_samp": lambda: sample_covariance(least_squares_snapshots(o.y, o.codebook, o.H, o.noise_var)),
        "subspace": lambda: signal_subspace(R, count, scenario.K_MAX),
        "spectrum on the grid": lambda: grid_energy(grid, U),
        "peaks": lambda: peaks(energy, grid, PEAKS, SEPARATION),
        "3-D MUSIC with Newton refinement, whole": whole,
        "network: snapshots to R_blend": lambda: network.blend(o),
        "stacked sensing H diag(c)": lambda: Sensing.of(o, array, domain),
        "selection and joint fit of 12 peaks, K known": selected,
        "matching pursuit with the same fit, whole, K known": pursuit,
    }
    return {name: best_seconds(step, REPEATS) / BATCH * 1e3 for name, step in work.items()}, grid.steering.shape[1]


def _network(scenario: Scenario) -> HybridNetwork:
    """The network of params.yaml; its weights do not matter to its time."""
    params = read_yaml(Path("params.yaml"))
    return HybridNetwork(
        scenario,
        build(GridConfig, params["grid"], "grid"),
        build(CovarianceConfig, params["covariance"], "covariance"),
        build(NetworkConfig, params["network"], "network"),
    ).eval()


def _plain(scenario: Scenario, points: int) -> float:
    """Milliseconds of the reference on a grid of about as many points."""
    rng = np.random.default_rng(0)
    side = round((points / GRID.planes / 2) ** 0.5)
    near, far = scenario.distance_span_m
    axes = (
        np.radians(np.linspace(*scenario.azimuth_span_deg, 2 * side)),
        np.radians(np.linspace(*scenario.elevation_span_deg, side)),
        1 / np.linspace(1 / far, 1 / near, GRID.planes),
    )
    places = reference.elements(scenario)
    began = time.perf_counter()
    for _ in range(PLAIN):
        R = reference.sample_covariance(reference.simulate(scenario, rng))
        reference.music(R, places, scenario.wavelength, axes, SOURCES)
    return (time.perf_counter() - began) / PLAIN * 1e3


if __name__ == "__main__":
    main()
