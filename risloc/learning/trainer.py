"""The training loop that all stages share: one step in a fixed order, and the means over an epoch.

    forward -> backward -> unscale -> clip -> finite check -> optimizer.step -> scaler.update -> scheduler.step

A step may be computed in parts, one after the other (`fit.accumulate`) and in parallel (a `Group` of processes). The terms of
the parts add up to those of the step, so that the step is the same except for rounding.

The network runs in mixed precision if its configuration and the device allow it; the losses run in full precision.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from risloc.learning.distributed import ALONE, Group, share
from risloc.learning.gradient_checks import check_gradients, gradient_norms
from risloc.learning.loss import TermError, Whole
from risloc.learning.loss_weights import WEIGHTS, LossConfig, LossWeights
from risloc.learning.network import HybridNetwork
from risloc.learning.schedules import warm_average, warm_cosine
from risloc.learning.training_step import FirstStep, FitConfig, StepPart, StepReport, summed
from risloc.learning.validation import Means
from risloc.scenes.batch import Scenes, Truth
from risloc.utils.atomic_files import write_bytes
from risloc.utils.device import half_precision

__all__ = ["Trainer"]

_PARTS = ("network", "average", "optimizer")
_MOST_SKIPPED = 32  # consecutive steps: each one halves the scale, which starts at 2^16


class Trainer:
    """A network, its averaged copy, and the optimizer.

    Parameters
    ----------
    network
        The network, which is moved to `device`.
    loss
        The weights of the loss.
    fit
        How to fit.
    epochs, steps_per_epoch
        The length of the run, which fixes the schedules of the learning rate and of the loss weights.
    device
        Where to train.
    group
        The processes that train this network together. Each has a trainer of the same network, whose state after a step
        (weights, averages, schedule, means, skipped steps) is the same in all.
    """

    def __init__(
        self,
        network: HybridNetwork,
        loss: LossConfig,
        fit: FitConfig,
        *,
        epochs: int,
        steps_per_epoch: int,
        device: torch.device,
        group: Group = ALONE,
    ) -> None:
        self.network = network.to(device)
        self.average = AveragedModel(self.network, avg_fn=warm_average(fit.ema_decay))
        self.loss, self.fit, self.epochs, self.device = loss, fit, epochs, device
        self.optimizer = torch.optim.AdamW(network.parameters(), fit.learning_rate, weight_decay=fit.weight_decay)
        schedule = warm_cosine(steps_per_epoch * epochs, fit.warmup)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule)
        half = network.config.amp and half_precision(device) == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.epoch, self.skipped, self._skipped_on_end, self.group = 0, 0, 0, group
        if group.size > 1:
            network.order.requires_grad_(False)  # it is fitted later: the ranks must not wait for its gradients
        self.part = group.replicated(StepPart(self.network, loss))

    @property
    def averaged(self) -> HybridNetwork:
        """The averaged network, in evaluation mode."""
        module = self.average.module
        assert isinstance(module, HybridNetwork)
        return module.eval()

    def weights(self) -> LossWeights:
        """Return the weights of the current epoch.

        Returns
        -------
        LossWeights
            The weights.

        Raises
        ------
        TermError
            The schedule gives 0 for a weight that is above 0 in the configuration.
        """
        weights = self.loss.weights_at(self.epoch, self.epochs)
        for name in WEIGHTS:
            if getattr(self.loss, name) > 0 and getattr(weights, name) == 0:
                raise TermError(
                    f"{name}: expected a weight above 0, as {getattr(self.loss, name)} was given, got 0 from the schedule "
                    f"in epoch {self.epoch}; fix the schedule"
                )
        return weights

    def train_epoch(
        self, batches: Iterable[Scenes], *, on_first: Callable[[FirstStep], None], on_step: Callable[[int], None]
    ) -> dict[str, float]:
        """Train for one epoch.

        Parameters
        ----------
        batches
            This process's share of the scenes of each step, which may be empty; every rank has the same number of batches.
        on_first
            Called with the report of the first step.
        on_step
            Called after each step with its number of scenes.

        Returns
        -------
        dict
            The mean of each raw term over the epoch, by its name.

        Raises
        ------
        FloatingPointError
            The loss is not finite (the message names the terms); or a gradient is not, and the search for the scale of half
            precision, which may take 32 steps, does not explain it.
        TermError
            A weighted term has no usable gradient in the first step of the epoch, and thus of the run.
        ValueError
            There is no batch.
        RuntimeError
            Another process of the group has ended.
        """
        self.network.train()
        weights, sums, count = self.weights(), Means(), 0
        for scenes in batches:
            terms, size = self._step(scenes, weights, on_first if count == 0 else None)
            sums.add(terms, size)
            on_step(size)
            count += 1
        if count == 0:
            raise ValueError("training: expected at least one batch an epoch, got none; lower batch_size or add scenes")
        self.epoch += 1
        return summed(self.group.gather(sums.result()))

    def _step(
        self, scenes: Scenes, weights: LossWeights, on_first: Callable[[FirstStep], None] | None
    ) -> tuple[dict[str, Tensor], int]:
        """Take one step; return this process's share of each raw term, and the number of scenes of the whole step."""
        parts = max(1, min(self.fit.accumulate, len(scenes)))
        whole = self._whole(scenes.truth) if parts > 1 or self.group.size > 1 else None
        scenes, said = scenes.to(self.device), StepReport(first=on_first is not None)
        self.optimizer.zero_grad(set_to_none=True)
        for index in range(parts - 1):
            with self.group.apart(self.part):
                self._backward(scenes[share(len(scenes), index, parts)], whole, weights, said)
        self._backward(scenes[share(len(scenes), parts - 1, parts)], whole, weights, said)
        if faults := [fault for each in self.group.gather(said.faults) for fault in each]:
            raise FloatingPointError(f"loss: expected a finite value, got {faults[0]}")
        if on_first is not None:
            on_first(self._first_step(said, weights))
        self._update()
        return said.terms, len(scenes) if whole is None else whole.scenes

    def _whole(self, truth: Truth) -> Whole:
        counts = self.group.gather((len(truth), int((truth.count > 0).sum())))
        return Whole(sum(scenes for scenes, _ in counts), sum(sourced for _, sourced in counts))

    def _backward(self, part: Scenes, whole: Whole | None, weights: LossWeights, said: "StepReport") -> None:
        """Add the gradients of a part; they must add up over ranks, of which `replicated` takes the mean."""
        terms, prediction, R_blend = self.part(part, whole)
        total = terms.total(weights)
        if not torch.isfinite(total):
            bad = [name for name, value in terms.values.items() if not torch.isfinite(value)]
            said.faults.append(f"{float(total.detach())} (terms: {', '.join(bad)})")
        if said.first and len(part):
            said.norms.append(gradient_norms(terms, weights, prediction))
            said.sources |= bool((part.truth.count > 0).any())
            said.blended |= R_blend.factor.requires_grad
        torch.autograd.backward(self.scaler.scale(total * self.group.size if self.group.size > 1 else total))
        for name, value in terms.values.items():
            said.terms[name] = said.terms[name] + value.detach() if name in said.terms else value.detach()

    def _first_step(self, said: "StepReport", weights: LossWeights) -> FirstStep:
        """Combine the reports of all parts on all ranks, and check the gradients."""
        values = summed(self.group.gather({name: float(value) for name, value in said.terms.items()}))
        norms = summed(self.group.gather(summed(said.norms)))
        sources, blended = (any(each) for each in zip(*self.group.gather((said.sources, said.blended)), strict=True))
        check_gradients(values, norms, weights, sources=sources)
        first = {name: values[name] for name in ("loss_nmse", "loss_nmse_pred")}
        return FirstStep(weights=weights, **first, R_blend_requires_grad=blended)

    def _update(self) -> None:
        """Unscale, clip, check and step; with a scaler, a gradient that is not finite may be due to the scale."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.fit.clip_norm)
        finite = bool(torch.isfinite(norm))
        if not finite and (not self.scaler.is_enabled() or self._skipped_on_end >= _MOST_SKIPPED):
            raise FloatingPointError(
                f"gradient: expected a finite norm, got {float(norm)} of finite terms; lower fit.learning_rate, or fix "
                "the newest term of the loss"
            )
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self._skipped_on_end = 0 if finite else self._skipped_on_end + 1
        if not finite:
            self.skipped += 1
            return
        self.scheduler.step()
        self.average.update_parameters(self.network)

    def save(self, path: "str | os.PathLike[str]", extra: Mapping[str, Any]) -> None:
        """Write everything that is needed to resume with the same result to a safetensors file, completely or not at all.

        Parameters
        ----------
        path
            The file.
        extra
            What else to store; must be JSON.

        Raises
        ------
        risloc.utils.atomic_files.DiskFullError
            There is no room; the file that was there before is unchanged.
        """
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in slots.items()}
        scalars = {
            "epoch": self.epoch,
            "skipped": self.skipped,
            "step": self.scheduler.last_epoch,
            "scaler": self.scaler.state_dict(),
            "extra": dict(extra),
        }
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        write_bytes(path, save(plain, {"scalars": json.dumps(scalars)}))

    def load(self, path: "str | os.PathLike[str]") -> dict[str, Any]:
        """Resume from a file that `save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        dict
            What was saved as `extra`.
        """
        with safe_open(path, "pt", device=str(self.device)) as file:
            scalars = json.loads(file.metadata()["scalars"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        part = {name: {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith(name)} for name in _PARTS}
        self.network.load_state_dict(part["network"])
        self.average.load_state_dict(part["average"])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in part["optimizer"].items():
            index, key = name.split(".")
            slots.setdefault(int(index), {})[key] = value
        state = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**state, "state": slots})
        self.scaler.load_state_dict(scalars["scaler"])
        self.epoch, self.skipped = scalars["epoch"], scalars["skipped"]
        self.scheduler.last_epoch = scalars["step"]
        for group, base, factor in zip(
            self.optimizer.param_groups, self.scheduler.base_lrs, self.scheduler.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(scalars["step"])
        return scalars["extra"]
