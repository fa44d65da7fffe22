"""`train` in several processes: with RISLOC_PROCESSES=N, `python -m pipeline train` runs as N ranks under torchrun.

Rank 0 is the stage's flow, with Prefect and MLflow; the others do the same work and say nothing. A rank that a signal
kills takes the others with it, and all start again from the last checkpoint, at most 3 times; a rank that ends with an
error of its own ends them all, for the same error would come again. The launcher's own end (Ctrl-C, SIGTERM, kill -9) is
that of every rank. CUDA ranks take one device each; the cores are shared out evenly, unless OMP_NUM_THREADS says how.

Several hosts: start torchrun on each of them instead, with as many ranks as it has devices,

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:PORT --rdzv-id ID -m pipeline train

In a process that torchrun has started, RISLOC_PROCESSES is not looked at. The hosts must see one copy of data/shards,
models/best.yaml and .state.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipeline.dvc_process import TRANSIENT
from pipeline.env import COPY, ROOT, SettingError
from pipeline.layout import paths_of
from pipeline.sections import stage_function
from pipeline.signals import EXIT_CODE
from stages.support.reporter import Reporter

__all__ = ["PROCESSES", "Silent", "follow", "joined", "launch", "processes", "rank"]

PROCESSES = "RISLOC_PROCESSES"
_DISTRIBUTED = "train"
_RESTARTS = 3
_GRACE_SECONDS = 5.0
_SHUTDOWN_SECONDS = 10  # until torchrun kills a rank that it has asked to stop: longer than pipeline.signals takes


def processes(stage: str) -> int:
    """In how many processes this one is to have `stage` run: 1 for every stage but train, and where torchrun runs us.

    Raises
    ------
    SettingError
        RISLOC_PROCESSES is no whole number >= 1, or there are fewer CUDA devices; or torchrun runs another stage.
    """
    if _number("WORLD_SIZE", 1) > 1:
        if stage != _DISTRIBUTED:
            raise SettingError(f"WORLD_SIZE: only {_DISTRIBUTED} supports several ranks; run {stage} without torchrun")
        return 1
    wanted = _number(PROCESSES, 1)
    if stage != _DISTRIBUTED or wanted == 1:
        return 1
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < wanted:
        raise SettingError(
            f"{PROCESSES}: expected at most one for each CUDA device ({torch.cuda.device_count()}), got {wanted}"
        )
    return wanted


def launch(count: int, arguments: Sequence[str]) -> int:
    """`python -m pipeline ARGUMENTS` as `count` ranks under torchrun, to their end; the exit code."""
    import torch
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    command = [
        "--standalone",
        f"--nproc-per-node={count}",
        "--max-restarts=0",
        f"--shutdown-timeout={_SHUTDOWN_SECONDS}",
    ]
    for restarts in range(_RESTARTS + 1):
        try:
            run.main([*command, "-m", "pipeline", *arguments])
        except ChildFailedError as error:
            for failure in error.failures.values():
                with contextlib.suppress(ProcessLookupError, PermissionError):  # what a killed rank has started
                    os.killpg(failure.pid, signal.SIGKILL)
            killed = [r for r, failure in error.failures.items() if failure.exitcode in _KILLED]
            if not killed or restarts == _RESTARTS:
                return TRANSIENT if any(each.exitcode == TRANSIENT for each in error.failures.values()) else 1
            sys.stderr.write(f"rank {killed[0]} was killed; all start again from the last checkpoint\n")
        except SignalException:
            return EXIT_CODE
        else:
            return 0
    raise AssertionError("unreachable")


# SIGTERM is what torchrun itself ends the others with.
_KILLED = frozenset(-number for number in signal.Signals if number != signal.SIGTERM)


def rank() -> int:
    """The rank that torchrun has given this process; 0 where it has not started it."""
    return _number("RANK", 0)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """While the block runs, this process is one of torchrun's group; nothing where torchrun has not started it."""
    if _number("WORLD_SIZE", 1) == 1:
        yield
        return
    import torch

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(_number("LOCAL_RANK", 0))
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    yield
    torch.distributed.destroy_process_group()


def follow(stage: str, typed: Mapping[str, Any], into: Path | None) -> None:
    """Do the work of `stage` beside rank 0, whose flow speaks and writes for all."""
    stage_function(stage)(**typed, **paths_of(stage, COPY, ROOT, into), report=Silent())


class Silent:
    """A `Reporter` that says, keeps and writes nothing: that of every rank but rank 0."""

    def line(self, text: str) -> None:
        """Nothing."""

    def params(self, values: Mapping[str, object]) -> None:
        """Nothing."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Nothing."""

    def tag(self, key: str, value: str) -> None:
        """Nothing."""

    def artifact(self, path: Path) -> None:
        """Nothing."""

    def model(self, checkpoint: Path) -> None:
        """Nothing."""

    def child(self, name: str) -> AbstractContextManager[Reporter]:
        """This reporter."""
        return contextlib.nullcontext(self)

    def progress(
        self, total: int, what: str, part: tuple[int, int] = (0, 1)
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Nothing to show."""
        return contextlib.nullcontext(lambda count: None)


def _end_with(launcher: int) -> None:
    """End this process when its launcher has died: nothing else would."""
    while os.getppid() == launcher:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(EXIT_CODE)


def _number(name: str, default: int) -> int:
    """The environment variable as a whole number: ranks >= 0, counts >= 1."""
    text, least = os.environ.get(name, str(default)), default
    if not text.isdecimal() or int(text) < least:
        raise SettingError(f"{name}: expected a whole number >= {least}, got {text!r}; correct or unset it")
    return int(text)
