"""Milliseconds a scene of localisation on one core: step by step, whole, against NOMP, and against the plain reference.

    python -m benchmarks.localise [--checkpoint models/checkpoint]

Every figure comes from one run in which all works take turns; a ratio is the median over the rounds. Without a checkpoint
the network has the weights of a training's start, whose poorer candidates cost the fits behind them some more steps.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks import reference
from benchmarks.case import SNR_DB, SOURCES, Case
from benchmarks.timing import alternately, median_ratio
from risloc.covariance import score_snapshots
from risloc.likelihood import Fit, fit_conditional
from risloc.localise import Localiser
from risloc.scene import Scenario
from risloc.selection import TIGHT, PeakCandidates, SelectionPath, assess, forward_selection
from risloc.spectrum import grid_energy, peaks

BATCH, ROUNDS, SLOW_ROUNDS = 64, 9, 3
HYBRID, HYBRID_BIC = "hybrid, K known", "hybrid, K by BIC"
HYBRID_LEARNT = "hybrid, K learnt"
NOMP, NOMP_BIC = "NOMP, K known", "NOMP, K by BIC"
NOMP_COARSE = "NOMP on the coarse grid, K known"
MUSIC, REFERENCE = "MUSIC on R_samp with Newton refinement", "plain reference: 3-D MUSIC, one scene"
Works = Mapping[str, Callable[[], object]]


def main() -> None:
    """Print the steps, the wholes and the ratios, and the same as JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a trained network; without it, one before training")
    checkpoint = parser.parse_args().checkpoint
    torch.set_num_threads(1)
    case = Case.of(BATCH, checkpoint=checkpoint)
    planes, rows, columns = case.localiser.grid.shape
    network = f"network of {checkpoint}" if checkpoint else "network before training"
    print(f"K = {SOURCES}, {SNR_DB:g} dB, batch of {BATCH}, grid {planes} x {rows} x {columns}, {network}, one core")
    with torch.inference_mode():
        steps = alternately(_steps(case), ROUNDS)
        wholes = alternately(_wholes(case), ROUNDS)
        slow = alternately({**_slow(case), MUSIC: case.music}, SLOW_ROUNDS)
    ratios = {
        "hybrid / NOMP, K known": median_ratio(wholes[HYBRID], wholes[NOMP]),
        "hybrid / NOMP on the coarse grid, K known": median_ratio(wholes[HYBRID], wholes[NOMP_COARSE]),
        "hybrid / NOMP, K by BIC": median_ratio(wholes[HYBRID_BIC], wholes[NOMP_BIC]),
        "plain reference / MUSIC": median_ratio(slow[REFERENCE], slow[MUSIC]) * BATCH,
    }
    slow[REFERENCE] = [seconds * BATCH for seconds in slow[REFERENCE]]  # it takes one scene at a time
    for title, seconds in {"steps": steps, "wholes": wholes, "others": slow}.items():
        print(f"{title + ' [ms a scene]':50s} {'median':>9s} {'best':>9s}")
        for name, each in seconds.items():
            print(f"  {name:48s} {_ms(statistics.median(each)):9.3f} {_ms(min(each)):9.3f}")
    for name, ratio in ratios.items():
        print(f"{name:50s} {ratio:9.3f}")
    medians = {name: _ms(statistics.median(each)) for name, each in {**slow, **steps, **wholes}.items()}
    print(json.dumps({name: float(f"{value:.4g}") for name, value in {**medians, **ratios}.items()}))


def _steps(case: Case) -> Works:
    """What the hybrid does, one step after another, each on the results of those before."""
    o, count, localiser, search = (
        case.scenes.observation,
        case.scenes.truth.count,
        case.localiser,
        case.localiser.search,
    )
    seen, _, R_blend = case.network.blend(o)
    sensing, grid, slots = localiser.sensing(o), localiser.coarse, localiser.slots
    U = R_blend.subspace(slots)
    X = score_snapshots(o.y, o.codebook, o.H, o.noise_var, seen.R_pred)
    energy, left = grid_energy(grid, U), search.peaks - slots - search.score_peaks
    candidates = localiser.hybrid_candidates(o, seen.R_pred, R_blend, seen.polar)

    def select() -> SelectionPath:
        source = PeakCandidates(sensing, candidates)
        between = search.steps_between
        return forward_selection(sensing, source, slots, least=count, seek=False, steps_between=between)

    def fit() -> Fit:
        return fit_conditional(sensing, polar, present, tolerance=TIGHT, iterations=search.iterations)

    polar, present = (each[:, :SOURCES] for each in select().at(count))
    end = fit()
    return {
        "network: snapshots to R_blend": lambda: case.network.blend(o),
        "R_samp alone": case.R_samp,
        f"subspace of R_blend, rank {slots}": lambda: R_blend.subspace(slots),
        "MUSIC spectrum on the coarse grid": lambda: grid_energy(grid, U),
        "score snapshots": lambda: score_snapshots(o.y, o.codebook, o.H, o.noise_var, seen.R_pred),
        "score spectrum on the coarse grid": lambda: grid_energy(grid, X),
        "peaks of one spectrum": lambda: peaks(energy, grid, left, search.separation),
        "stacked sensing H diag(c)": lambda: localiser.sensing(o),
        f"selection among {search.peaks}, with joint fits": select,
        "last joint fit": fit,
        "assess: powers, likelihood, deviations": lambda: assess(sensing, end.polar, present, end.converged),
    }


def _wholes(case: Case) -> Works:
    count = case.scenes.truth.count
    search = case.localiser.search
    coarse = dataclasses.replace(
        case, localiser=Localiser(case.localiser.scenario, dataclasses.replace(search, grid=search.coarse))
    )
    works = {
        HYBRID: lambda: case.hybrid(count),
        NOMP: lambda: case.pursuit(count),
        NOMP_COARSE: lambda: coarse.pursuit(count),
        HYBRID_BIC: lambda: case.hybrid(None),
        NOMP_BIC: lambda: case.pursuit(None),
    }
    if bool(case.network.order.fitted):
        works[HYBRID_LEARNT] = lambda: case.hybrid(None, learnt=True)
    return works


def _slow(case: Case) -> Works:
    return {"sparse Bayesian learning": case.sparse, REFERENCE: _reference(case)}


def _reference(case: Case) -> Callable[[], object]:
    """The reference on one scene and a grid of about as many points."""
    scenario, rng = case.network.scenario, np.random.default_rng(0)
    axes = _axes(scenario, case.localiser.grid.steering.shape[1], case.localiser.search.grid.planes)
    places = reference.elements(scenario)

    def run() -> object:
        R = reference.sample_covariance(reference.simulate(scenario, rng))
        return reference.music(R, places, scenario.wavelength, axes, SOURCES)

    return run


def _axes(scenario: Scenario, points: int, planes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    side = round((points / planes / 2) ** 0.5)
    near, far = scenario.distance_span_m
    return (
        np.radians(np.linspace(*scenario.azimuth_span_deg, 2 * side)),
        np.radians(np.linspace(*scenario.elevation_span_deg, side)),
        1 / np.linspace(1 / far, 1 / near, planes),
    )


def _ms(seconds: float) -> float:
    """Milliseconds a scene of a batch."""
    return seconds / BATCH * 1e3


if __name__ == "__main__":
    main()
