"""Why nothing beats NOMP by much below threshold: there the likelihood itself prefers wrong places.

    python -m studies.threshold [--checkpoint models/checkpoint] [--scenes 128] [--snr 0]

For each K, K known: the share of scenes in which the fit that started at the truth has a lower likelihood, by more than
one unit, than what NOMP found (and the reverse); the mean log-likelihood of the hybrid's answer less NOMP's; GOSPA (2 m)
of NOMP, of the hybrid and of the fit from the truth, which knows what no estimator knows.
"""

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.workload import Case
from risloc.estimation.assessment import Estimates
from risloc.estimation.estimates import fit_and_assess
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes
from risloc.scenes.simulation import simulate

BATCH, CUTOFF, ITERATIONS = 64, 2.0, 30


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("models/checkpoint"), help="a trained network")
    parser.add_argument("--scenes", type=int, default=128, help="scenes for each K")
    parser.add_argument("--snr", type=float, default=0.0, help="SNR in dB")
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = Case.of(BATCH, checkpoint=options.checkpoint)
    print(f"{options.snr:g} dB, {options.scenes} scenes for each K")
    print(" K  NOMP above truth  truth above NOMP  ln p: hybrid - NOMP  GOSPA: NOMP  hybrid  from the truth")
    for sources in range(1, case.network.scenario.K_MAX + 1):
        drawn = simulate(
            case.network.scenario, seed=4, split="test", start=0, stop=options.scenes, snr_db=options.snr, count=sources
        )
        parts = [_compare(case, drawn[slice(i, i + BATCH)]) for i in range(0, options.scenes, BATCH)]
        above, below, less, *costs = torch.cat(parts, dim=1).mean(1).tolist()
        words = "  ".join(f"{cost:.3f}" for cost in costs)
        print(f"{sources:2d}  {above:16.2f}  {below:16.2f}  {less:19.3f}  {words:>31s}", flush=True)


@torch.inference_mode()
def _compare(case: Case, scenes: Scenes) -> Tensor:
    """The columns of the table, scene by scene: [column, scene]."""
    here, count = dataclasses.replace(case, scenes=scenes), scenes.truth.count
    present = scenes.truth.present
    true = scenes.truth.polar
    oracle = fit_and_assess(here.localiser.sensing(scenes.observation), true, present, iterations=ITERATIONS)
    nomp, hybrid = here.pursuit(count), here.hybrid(count)
    more = nomp.log_likelihood - oracle.log_likelihood
    place = position_of(location_of(true))

    def cost(found: Estimates) -> Tensor:
        return gospa(position_of(location_of(found.polar)), found.present, place, present, CUTOFF)

    less = hybrid.log_likelihood - nomp.log_likelihood
    return torch.stack([(more > 1).float(), (more < -1).float(), less, cost(nomp), cost(hybrid), cost(oracle)])


if __name__ == "__main__":
    main()
