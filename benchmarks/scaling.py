"""Milliseconds a scene on one core and peak memory against the batch, the elements N and the points of the grid G.

    python -m benchmarks.scaling

Each size runs in its own process, the methods in turns; the network is one before training. The exponent is the slope of
log time over log size. Memory is what the process needed beyond its imports: scenes, grids and network, then the methods.
"""

import json
import multiprocessing
import resource
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from benchmarks.timing import alternately
from benchmarks.workload import SNR_DB, SOURCES, Case

BATCH, SMALL_BATCH = 64, 8
METHODS = ("MUSIC", "hybrid", "NOMP")


@dataclass(frozen=True)
class Size:
    """One size of the problem; `side` and `coarser` as in `Case.of`."""

    batch: int = BATCH
    side: int = 12
    coarser: float = 1.0
    rounds: int = 3


@dataclass(frozen=True)
class Run:
    """What a size took.

    ms : a scene, best of the rounds, by method.  before, during : peak MiB beyond the imports, without the methods and with.
    """

    batch: int
    N: int
    G: int
    ms: dict[str, float]
    before: float
    during: float


# Steps in (u, v) are counted in beams, and a beam narrows as the side grows: to widen the step by as much keeps G.
SWEEPS: dict[str, tuple[Callable[[Run], int], list[Size]]] = {
    "batch": (lambda run: run.batch, [Size(batch=b, rounds=64 // b if b < BATCH else 3) for b in (1, 8, 64, 256)]),
    "N, the same grid": (lambda run: run.N, [Size(side=n, coarser=n / 12) for n in (12, 16, 32)]),
    "N, the same steps in beams": (
        lambda run: run.N,
        [Size(batch=SMALL_BATCH, side=n, rounds=1 if n == 32 else 3) for n in (12, 16, 32)],
    ),
    "G at N = 144": (lambda run: run.G, [Size(coarser=factor**-0.5) for factor in (1, 2, 4)]),
}


def main() -> None:
    """Print a table for each sweep with its exponents, and the same as JSON at the end."""
    sizes = [size for _, each in SWEEPS.values() for size in each]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        runs = {size: pool.apply(_run, (size,)) for size in dict.fromkeys(sizes)}
    print(f"K = {SOURCES}, {SNR_DB:g} dB, one core; ms for each scene: {', '.join(METHODS)}")
    results = {}
    for title, (axis, each) in SWEEPS.items():
        swept = [runs[size] for size in each]
        print(f"against {title}\n{'batch':>7s} {'N':>6s} {'G':>7s} {'':27s} {'MiB before':>11s} {'and during':>11s}")
        for run in swept:
            times = " ".join(f"{run.ms[name]:8.2f}" for name in METHODS)
            print(f"{run.batch:7d} {run.N:6d} {run.G:7d} {times:27s} {run.before:11.0f} {run.during:11.0f}")
        exponents = {name: _slope([axis(run) for run in swept], [run.ms[name] for run in swept]) for name in METHODS}
        print("exponent " + " " * 13 + " ".join(f"{exponents[name]:8.2f}" for name in METHODS))
        results[title] = {"runs": [asdict(run) for run in swept], "exponents": exponents}
    print(json.dumps(results, default=float))


def _run(size: Size) -> Run:
    torch.set_num_threads(1)
    imports = _peak()
    case = Case.of(size.batch, side=size.side, coarser=size.coarser)
    before = _peak()
    count = case.scenes.truth.count
    works = {"MUSIC": case.music, "hybrid": lambda: case.hybrid(count), "NOMP": lambda: case.pursuit(count)}
    with torch.inference_mode():
        seconds = alternately(works, size.rounds)
    return Run(
        batch=size.batch,
        N=case.localiser.array.size,
        G=case.localiser.grid.steering.shape[1],
        ms={name: min(each) / size.batch * 1e3 for name, each in seconds.items()},
        before=before - imports,
        during=_peak() - imports,
    )


def _peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of log y over log x, least squares."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


if __name__ == "__main__":
    main()
