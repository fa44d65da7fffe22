"""What the ranks of tests/learning/test_distributed.py run under torchrun: `ranks.py FOLDER FAULT FRESH EPOCHS`.

Each rank writes which scenes it was given and the averaged weights it ends with; FAULT (error, poison, stray, none)
befalls the last rank.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from small_training import train_there

from pipeline.console_reporter import ConsoleReporter
from risloc.learning.distributed import joined
from risloc.learning.loss import LossTerms, loss_terms
from risloc.learning.trainer import Trainer
from risloc.scenes.batch import Scenes

FAULTY_EPOCH = 1


def main(folder: Path, fault: str, fresh: bool, epochs: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    group = joined()
    last = group.rank == group.size - 1
    given: list[list[list[float]]] = []
    train_epoch, trainers = Trainer.train_epoch, []

    def watched(trainer: Trainer, batches: Iterable[Scenes], **rest: Any) -> dict[str, float]:
        if last and fault == "error" and trainer.epoch == FAULTY_EPOCH:
            raise OSError("no space left on this rank")
        shares = list(batches)
        given.append([share.observation.noise_var.tolist() for share in shares])
        trainers.append(trainer)
        return train_epoch(trainer, shares, **rest)

    def poisoned(*args: Any, **named: Any) -> LossTerms:
        terms = loss_terms(*args, **named)
        return LossTerms({**terms.values, "loss_rng": terms.values["loss_rng"] * torch.nan})

    Trainer.train_epoch = watched  # type: ignore[method-assign]
    if last and fault == "poison":
        import risloc.learning.training_step

        risloc.learning.training_step.loss_terms = poisoned  # type: ignore[assignment]
    asked = epochs + (last and fault == "stray")
    train_there(folder, ConsoleReporter(f"rank {group.rank}: "), fresh=fresh, epochs=asked)
    own = {"given": given, "skipped": trainers[-1].skipped, "checksum": _checksum(trainers[-1])}
    (folder / f"rank-{group.rank}.json").write_text(json.dumps(own))
    torch.distributed.destroy_process_group()


def _checksum(trainer: Trainer) -> float:
    return float(torch.cat([p.detach().double().flatten() for p in trainer.averaged.parameters()]).square().sum())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], bool(int(sys.argv[3])), int(sys.argv[4]))
