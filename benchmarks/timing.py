"""How the benchmarks time a piece of work."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["alternately", "best_seconds", "median_ratio"]


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest of `repeats` runs, after one that warms up."""
    return min(alternately({"": work}, repeats)[""])


def alternately(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each work in each round, after one that warms up: all in turn, so that a slow machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for name, work in [*works.items()] * (repeats + 1):
        began = time.perf_counter()
        work()
        seconds[name].append(time.perf_counter() - began)
    return {name: each[1:] for name, each in seconds.items()}


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds of `alternately` of one work's seconds over another's."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
