"""Repeat an early trial of the method: K known, no least separation, share of sources at the bound and large errors.

    python -m studies.close_sources [--checkpoint models/checkpoint] [--scenes 200]

Rows of (K, SNR): share of sources within 3 root-CRB / 90 % quantile of the position error / milliseconds a scene in
batches of 64 on one core, for the hybrid and for NOMP, beside what the trial had for its hybrid (12 peaks, selection,
Gauss-Newton) and its NOMP, both unbatched and on 40 scenes a row.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.workload import Case
from risloc.estimation.assessment import Estimates
from risloc.estimation.spectral_methods import Located
from risloc.performance.crb import prior_deviation
from risloc.scenes.simulation import simulate
from stages.evaluation.method import HYBRID, NOMP, Method
from stages.evaluation.methods import Result
from stages.evaluation.scores import score, score_bound

BATCH = 64
EVERYTHING = 100.0  # m: a cut-off beyond the domain, so that every estimate is assigned
TRIAL = {  # (K, SNR): the trial's hybrid, then its NOMP
    (2, 0.0): ("0.82 / 2.8 m / 23", "0.77 / 3.6 m / 50"),
    (3, 10.0): ("0.98 / 0.71 m / 23", "0.96 / 0.78 m / 60"),
    (3, 20.0): ("0.98 / 0.23 m / 21", "0.98 / 0.23 m / 63"),
    (5, 20.0): ("0.94 / 0.42 m / 34", "0.92 / 0.48 m / 95"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("models/checkpoint"), help="a trained network")
    parser.add_argument("--scenes", type=int, default=200, help="scenes for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = Case.of(BATCH, checkpoint=options.checkpoint)
    print(f"{'K, SNR':>10s} {'hybrid':>24s} {'NOMP':>24s} {'hybrid of the trial':>24s} {'NOMP of the trial':>24s}")
    for (sources, snr_db), published in TRIAL.items():
        hybrid, pursuit = _measure(case, sources, snr_db, options.scenes)
        name = f"{sources}, {snr_db:g} dB"
        print(f"{name:>10s} {hybrid:>24s} {pursuit:>24s} {published[0]:>24s} {published[1]:>24s}", flush=True)


def _measure(case: Case, sources: int, snr_db: float, scenes: int) -> tuple[str, str]:
    wide = dataclasses.replace(case.network.scenario, min_separation_uv=0.0)
    drawn = simulate(wide, seed=4, split="test", start=0, stop=scenes, snr_db=snr_db, count=sources)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    seconds = [0.0, 0.0]
    for start in range(0, scenes, BATCH):
        here = dataclasses.replace(case, scenes=drawn[slice(start, start + BATCH)])
        count = here.scenes.truth.count
        for i, (method, locate) in enumerate(((HYBRID, here.hybrid), (NOMP, here.pursuit))):
            began = time.perf_counter()
            with torch.inference_mode():
                found = locate(count)
            seconds[i] += time.perf_counter() - began
            parts[i].append(_errors(here, method, found))
    hybrid, pursuit = (_words(np.concatenate(own), 1e3 * s / scenes) for own, s in zip(parts, seconds, strict=True))
    return hybrid, pursuit


def _errors(case: Case, method: Method, found: Estimates) -> np.ndarray:
    """Position error and its ratio to the root-CRB of every source, [source, 2]; a source without an estimate: infinite."""
    scenes = case.scenes
    bounds = score_bound(scenes, case.localiser, prior_deviation(case.localiser.domain), "independent")
    result = Result(method, Located(found.polar, found.present), 0.0, None)
    scores = score(scenes, bounds, result, case.network.scenario, (EVERYTHING,))
    columns = [scores[name][scenes.truth.present].double().numpy() for name in ("position", "ratio")]
    return np.stack(columns, axis=1)


def _words(errors: np.ndarray, ms: float) -> str:
    return f"{np.mean(errors[:, 1] < 3):.3f} / {np.quantile(errors[:, 0], 0.9):.2f} m / {ms:.1f}"


if __name__ == "__main__":
    main()
