"""Whether a tuned setting beats the default for other networks and orders, too: both are trained again, side by side.

One training says little: its initial network, the order of its scenes and the rounding of its processor move the score as much
as most settings do. And a trial that came out best had luck as well, which its own scores cannot tell.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from risloc.learning.loss import TermError
from stages.support.mapping import Runner
from stages.support.writers import write_json
from stages.tuning.best_params import Best

__all__ = ["Difference", "both_again", "compare", "compare_scenes"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean score of the best less the default's, and the margin beyond which it must be below 0."""

    mean: float
    margin: float

    @property
    def better(self) -> bool:
        """Whether the best is better beyond doubt: a lower score."""
        return self.mean + self.margin < 0

    def __str__(self) -> str:
        return f"{self.mean:+.4f} +- {self.margin:.4f}"


class Trainer(Protocol):
    """Who trains a setting from the initial network and in the order of a replicate, and scores the held-out scenes."""

    def train_again(self, name: str, best: Best, replicate: int) -> list[float]: ...


@dataclass(frozen=True, kw_only=True)
class Again:
    """One training. threads : that it computes with; None: as its process is set up.  kept : takes its scores."""

    by: Trainer
    best: Best
    replicate: int
    threads: int | None
    kept: Path

    @property
    def name(self) -> str:
        return f"{self.best.chosen}-replicate-{self.replicate}"


def held_out(again: Again) -> list[float] | None:
    """The scores of the held-out scenes, from the file if they are there; None where what was tuned cannot be trained."""
    if again.kept.is_file():
        scores: list[float] = json.loads(again.kept.read_text(encoding="utf-8"))["held_out"]
        return scores
    before = torch.get_num_threads()
    torch.set_num_threads(again.threads or before)
    try:
        scores = again.by.train_again(again.name, again.best, again.replicate)
    except (FloatingPointError, TermError):
        if again.best == Best.default():
            raise
        return None
    finally:
        torch.set_num_threads(before)
    write_json(again.kept, {"held_out": scores})
    return scores


def both_again(
    by: Trainer, tuned: Best, replicates: Sequence[int], runner: Runner, folder: Path, say: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The held-out scores [replicate, scene] of the default and of `tuned`; None where `tuned` cannot be trained."""
    threads = None if runner.hosts else max(1, torch.get_num_threads() // runner.workers)
    trainings = [
        Again(by=by, best=best, replicate=number, threads=threads, kept=folder / f"{_digest(best)}-{number}.json")
        for number in replicates
        for best in (Best.default(), tuned)
    ]
    scores: list[list[float]] = []
    for again, found in zip(trainings, runner.map(held_out, trainings), strict=True):
        if found is None:
            say(f"{again.name}: cannot be trained")
            return None
        scores.append(found)
        say(f"Replicate {len(scores)}/{len(trainings)}: {again.name} held-out score {np.mean(found):.4f}")
    return np.array(scores[::2]), np.array(scores[1::2])


def compare_scenes(default: Sequence[float], best: Sequence[float], confidence: float) -> Difference:
    """From one training each, scene by scene: it knows the scenes, not the training."""
    from scipy.stats import norm  # half a second, which not every stage needs

    difference = np.subtract(best, default)
    margin = norm.ppf(confidence) * difference.std(ddof=1) / math.sqrt(difference.size)
    return Difference(mean=float(difference.mean()), margin=float(margin))


def compare(default: np.ndarray, best: np.ndarray, confidence: float) -> Difference:
    """From scores [replicate, scene], for trainings and scenes not seen: both vary, and both are paired.

    The variance of the mean is that of the replicates' means plus that of the scenes' means, each over its number, which
    counts what a scene and a replicate do together twice: never too little. Student's t has the replicates' degrees of freedom.
    """
    from scipy.stats import t

    difference = best - default
    replicates, scenes = difference.shape
    variance = difference.mean(1).var(ddof=1) / replicates + difference.mean(0).var(ddof=1) / scenes
    return Difference(
        mean=float(difference.mean()), margin=float(t.ppf(confidence, replicates - 1) * math.sqrt(variance))
    )


def _digest(best: Best) -> str:
    """Names a setting whatever trial it was."""
    values = {"values": best.values, "loss_factors": best.loss_factors}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
