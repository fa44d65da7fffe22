"""Milliseconds a scene of localisation on one core: step by step, whole, against NOMP, and against the plain reference.

And what is located in that time: the mean GOSPA of the hybrid and of NOMP in the same scenes, and their mean difference.

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
from benchmarks.timing import alternately, median_ratio
from benchmarks.workload import SNR_DB, SOURCES, Case
from risloc.covariance.snapshots import score_snapshots
from risloc.estimation.assessment import Estimates
from risloc.estimation.candidates import PeakCandidates
from risloc.estimation.conditional import Fit, fit_conditional
from risloc.estimation.estimates import TIGHT, assess
from risloc.estimation.order_rules import SelectionPath
from risloc.estimation.selection import forward_selection
from risloc.estimation.spectrum import grid_energy, peaks
from risloc.learning.hybrid import NetworkView
from risloc.learning.k_rules import BY_BIC, KNOWN, LEARNT
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.physics.grid import PolarGrid
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from stages.evaluation import method
from stages.reporting.looks import phrase

BATCH, ROUNDS, SLOW_ROUNDS = 64, 9, 3
SCENES, SNRS_DB, CUTOFF = 512, (0.0, 10.0, 20.0), 2.0  # of GOSPA; cut-off in metres
NORMAL = 1.96  # standard errors in half of a 95 % interval
HYBRID, HYBRID_BIC, HYBRID_LEARNT = (phrase(method.HYBRID.by(rule)) for rule in (KNOWN, BY_BIC, LEARNT))
NOMP, NOMP_BIC = (phrase(method.NOMP.by(rule)) for rule in (KNOWN, BY_BIC))
MUSIC, REFERENCE = "MUSIC on R_samp with Newton refinement", "plain reference: 3-D MUSIC, one scene"
Works = Mapping[str, Callable[[], object]]


def main() -> None:
    """Print the steps, the wholes and the ratios, and the same as JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="a trained network (default: an untrained one)")
    checkpoint = parser.parse_args().checkpoint
    torch.set_num_threads(1)
    case = Case.of(BATCH, checkpoint=checkpoint)
    grids = f"NOMP and the hybrid on {_shape(case.localiser.coarse)}"
    network = f"network of {checkpoint}" if checkpoint else "network before training"
    print(f"K = {SOURCES}, {SNR_DB:g} dB, batch of {BATCH}, {grids}, {network}, one core")
    with torch.inference_mode():
        steps = alternately(_steps(case), ROUNDS)
        wholes = alternately(_wholes(case), ROUNDS)
        slow = alternately({**_slow(case), MUSIC: case.music}, SLOW_ROUNDS)
        errors = {snr_db: _errors(case, snr_db) for snr_db in SNRS_DB}
    ratios = {
        f"hybrid / {NOMP}": median_ratio(wholes[HYBRID], wholes[NOMP]),
        f"hybrid / {NOMP_BIC}": median_ratio(wholes[HYBRID_BIC], wholes[NOMP_BIC]),
        "plain reference / MUSIC": median_ratio(slow[REFERENCE], slow[MUSIC]) * BATCH,
    }
    slow[REFERENCE] = [seconds * BATCH for seconds in slow[REFERENCE]]  # it takes one scene at a time
    for title, seconds in {"steps": steps, "wholes": wholes, "others": slow}.items():
        print(f"{title + ' [ms for each scene]':50s} {'median':>9s} {'best':>9s}")
        for name, each in seconds.items():
            print(f"  {name:48s} {_ms(statistics.median(each)):9.3f} {_ms(min(each)):9.3f}")
    for name, ratio in ratios.items():
        print(f"{name:50s} {ratio:9.3f}")
    accuracy = _accuracy(errors)
    medians = {name: _ms(statistics.median(each)) for name, each in {**slow, **steps, **wholes}.items()}
    print(json.dumps({name: float(f"{value:.4g}") for name, value in {**medians, **ratios, **accuracy}.items()}))


def _steps(case: Case) -> Works:
    """What the hybrid does, one step after another, each on the results of those before."""
    o, count, localiser, search = (
        case.scenes.observation,
        case.scenes.truth.count,
        case.localiser,
        case.localiser.search,
    )
    view = NetworkView.of(case.network, o)
    seen, R_blend = view.prediction, view.R_blend
    sensing, grid, slots = localiser.sensing(o), localiser.coarse, localiser.slots
    U = R_blend.subspace(slots)
    X = score_snapshots(o, seen.R_pred)
    energy, left = grid_energy(grid, U), search.peaks - slots - search.score_peaks
    candidates = view.candidates(localiser)

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
        "score snapshots": lambda: score_snapshots(o, seen.R_pred),
        "score spectrum on the coarse grid": lambda: grid_energy(grid, X),
        "peaks of one spectrum": lambda: peaks(energy, grid, left, search.separation),
        "stacked sensing H diag(c)": lambda: localiser.sensing(o),
        f"selection among {search.peaks}, with joint fits": select,
        "last joint fit": fit,
        "assess: powers, likelihood, deviations": lambda: assess(sensing, end.polar, present, end.converged),
    }


def _wholes(case: Case) -> Works:
    count = case.scenes.truth.count
    works = {
        HYBRID: lambda: case.hybrid(count),
        NOMP: lambda: case.pursuit(count),
        HYBRID_BIC: lambda: case.hybrid(BY_BIC),
        NOMP_BIC: lambda: case.pursuit(BY_BIC),
    }
    if bool(case.network.order.fitted):
        works[HYBRID_LEARNT] = lambda: case.hybrid(LEARNT)
    return works


def _errors(case: Case, snr_db: float) -> dict[str, np.ndarray]:
    """GOSPA of each of `SCENES` scenes, metres, K known."""
    drawn = simulate(case.localiser.scenario, seed=0, split="test", start=0, stop=SCENES, snr_db=snr_db, count=SOURCES)
    parts: dict[str, list[np.ndarray]] = {HYBRID: [], NOMP: []}
    for start in range(0, SCENES, BATCH):
        here = dataclasses.replace(case, scenes=drawn[start : start + BATCH])
        truth = here.scenes.truth
        found: dict[str, Estimates] = {HYBRID: here.hybrid(truth.count), NOMP: here.pursuit(truth.count)}
        for name, each in found.items():
            places, true = position_of(location_of(each.polar)), position_of(truth.location)
            parts[name].append(gospa(places, each.present, true, truth.present, CUTOFF).numpy())
    return {name: np.concatenate(each) for name, each in parts.items()}


def _accuracy(errors: Mapping[float, Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Print the mean of each method, and its mean difference from NOMP scene by scene with half of a 95 % interval."""
    title = f"mean GOSPA, cut-off {CUTOFF:g} m, {SCENES} scenes [m]"
    print(f"{title:50s}" + "".join(f"{f'{snr_db:g} dB':>22s}" for snr_db in errors))
    rows: dict[str, list[str]] = {}
    result = {}
    for snr_db, found in errors.items():
        for name, each in found.items():
            rows.setdefault(name, []).append(f"{each.mean():22.4f}")
            result[f"GOSPA, {name}, {snr_db:g} dB"] = float(each.mean())
        less = found[HYBRID] - found[NOMP]
        half = NORMAL * less.std(ddof=1) / len(less) ** 0.5
        rows.setdefault(f"{HYBRID}, less NOMP", []).append(f"{f'{less.mean():+.5f} +- {half:.5f}':>22s}")
        result[f"GOSPA, {HYBRID}, minus NOMP, {snr_db:g} dB"] = float(less.mean())
        result[f"half width of that, {HYBRID}, {snr_db:g} dB"] = float(half)
    for name, cells in rows.items():
        print(f"  {name:48s}" + "".join(cells))
    return result


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


def _shape(grid: PolarGrid) -> str:
    return " x ".join(str(size) for size in grid.shape)


def _ms(seconds: float) -> float:
    """Milliseconds a scene of a batch."""
    return seconds / BATCH * 1e3


if __name__ == "__main__":
    main()
