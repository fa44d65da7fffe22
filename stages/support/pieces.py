"""Resumable mapped work: a stage's work in pieces of some scenes, each done once by any worker, however often the stage is
stopped.

Keyed: `resumable.work_key` names a folder by all that the results depend on, `resumable.kept` holds it for one run and
removes it at the end. Cached: a piece writes its files there, whole or not at all, the one that tells of it last. Resumed:
the piece is not done again while they are there. Reported: `each` advances the stage's progress by the scenes of a piece.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from stages.support.mapping import Runner
from stages.support.one_thread import one_thread
from stages.support.reporter import Reporter

__all__ = ["Piece", "each", "finished"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Piece(Protocol[R_co]):
    """A piece of work that keeps its result in files of its own."""

    def kept(self) -> R_co | None:
        """Return the result from its files; None if any is missing."""

    def work(self) -> R_co:
        """Do the work and write the files; return the result."""


class Sized(Protocol):
    """A number of scenes that are worked on together."""

    @property
    def scenes(self) -> int:
        """How many there are."""


S = TypeVar("S", bound=Sized)


def finished(piece: Piece[R]) -> R:
    """Return the result of a piece, after doing its work, with one thread, unless an earlier run has done it."""
    result = piece.kept()
    if result is not None:
        return result
    with one_thread():
        return piece.work()


def each(do: Callable[[S], R], items: Sequence[S], report: Reporter, runner: Runner) -> Iterator[tuple[S, R]]:
    """Yield each item with `do` of it, in their order, as `runner` has done them; the stage's progress follows.

    do : a function of the stage's module, whose code workers compare with theirs; it calls `finished`.
    """
    with report.progress(sum(item.scenes for item in items), "scenes") as advance:
        for item, result in zip(items, runner.map(do, items), strict=True):
            advance(item.scenes)
            yield item, result
