"""Runners that share no line with the pipeline's: threads, or a forked process for each item, begun again if it is killed."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LIVES = 3


class Processes:
    """`workers` processes at once on this host."""

    hosts = False

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """`work` of each item, in their order."""
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(lambda item: _in_a_process(work, item), items)


class Threads(Processes):
    """`workers` threads of this process."""

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """`work` of each item, in their order."""
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(work, items)


def _in_a_process(work: Callable[[T], R], item: T) -> R:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.hpo"])  # imported once, not for each item
    for _ in range(_LIVES):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(sender, work, item))
        process.start()
        sender.close()
        try:
            result, error = receiver.recv()
        except EOFError:  # killed
            continue
        finally:
            process.join()
            receiver.close()
        if error is not None:
            raise error
        return result
    raise RuntimeError(f"the worker died {_LIVES} times")


def _answer(sender: Connection, work: Callable[[Any], Any], item: Any) -> None:
    try:
        answer = (work(item), None)
    except Exception as error:  # noqa: BLE001  raised again where the result is awaited
        answer = (None, error)
    sender.send(answer)
