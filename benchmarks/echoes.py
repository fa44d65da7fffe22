"""Milliseconds a scene of the search for sources with echoes on one core, against NOMP with K by BIC, with and without echoes.

    python -m benchmarks.echoes

Both take turns on the same scenes in one run; a ratio is the median over the rounds.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.timing import alternately, median_ratio
from benchmarks.workload import SNR_DB, SOURCES
from risloc import scenario
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import BIC
from risloc.scenes.simulation import simulate

BATCH, ROUNDS = 64, 3
PATHS, POWER_DB = 2, -6.0  # of the echoes of a source together, relative to its direct wave


def main() -> None:
    """Print the times and their ratio, and the same as JSON at the end."""
    torch.set_num_threads(1)
    plain = scenario("default")
    law = dataclasses.replace(plain.echoes, law="farther", paths=PATHS, power_db=POWER_DB)
    worlds = {"no echoes": plain, f"{PATHS} echoes a source": dataclasses.replace(plain, echoes=law)}
    print(f"K = {SOURCES}, {SNR_DB:g} dB, batch of {BATCH}, sigma^2 given, one core; ms for each scene")
    figures: dict[str, float] = {}
    for name, world in worlds.items():
        drawn = simulate(world, seed=0, split="test", start=0, stop=BATCH, snr_db=SNR_DB, count=SOURCES)
        localiser = Localiser(world)
        sensing, search = localiser.sensing(drawn.observation), EchoLocaliser(localiser)
        with torch.inference_mode():
            works: dict[str, Callable[[], object]] = {
                "with echoes": partial(search.locate, sensing, given=True),
                "NOMP": partial(localiser.pursuit, sensing, BIC),
            }
            seconds = alternately(works, ROUNDS)
        for method, each in seconds.items():
            figures[f"{name}: {method}"] = statistics.median(each) / BATCH * 1e3
        figures[f"{name}: ratio"] = median_ratio(seconds["with echoes"], seconds["NOMP"])
    for name, value in figures.items():
        print(f"  {name:40s} {value:9.3f}")
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
