"""The training loop that every stage shares: one step, in a fixed order, and what is known after an epoch.

    forward -> backward -> unscale -> clip -> finite check -> optimizer.step -> scaler.update -> scheduler.step

A step may be computed in parts, one after the other (`fit.accumulate`) and side by side (a `Group` of processes). The
terms of the parts add up to those of the step, so that the same step is taken, to rounding.

The network runs in mixed precision where its configuration and the device allow; the losses run in full precision.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from risloc.config import param
from risloc.covariance.factored import FactoredCovariance
from risloc.learning.distributed import ALONE, Group, share
from risloc.learning.loss import LossTerms, TermError, Whole, check_gradients, gradient_norms, loss_terms
from risloc.learning.loss_weights import TERMS, WEIGHTS, LossConfig, LossWeights
from risloc.learning.network import HybridNetwork, Prediction
from risloc.learning.schedules import warm_average, warm_cosine
from risloc.learning.validation import Means
from risloc.scenes.batch import Scenes, Truth
from risloc.utils.atomic_files import write_bytes
from risloc.utils.device import half_precision

__all__ = ["FirstStep", "FitConfig", "Trainer"]

_PARTS = ("network", "average", "optimizer")
_MOST_SKIPPED = 32  # steps on end: the scale is halved each time, from 2^16


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The `fit` section of params.yaml: how every network is fitted, whatever the stage."""

    batch_size: int = param("scenes a step", ge=1)
    accumulate: int = param("parts that a step is computed in, one after the other: less memory, the same step", ge=1)
    learning_rate: float = param("peak learning rate of AdamW", gt=0.0)
    weight_decay: float = param("decoupled weight decay", ge=0.0)
    warmup: float = param("fraction of all steps in which the learning rate rises", ge=0.0, lt=1.0)
    clip_norm: float = param("largest gradient norm", gt=0.0)
    ema_decay: float = param("decay of the averaged weights, which are the ones evaluated and shipped", ge=0.0, lt=1.0)
    replicate: int = param("repetition: another initial network and another order of the same scenes", ge=0)


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """What the first step of every run says, so that an unsupervised covariance cannot go unnoticed."""

    weights: LossWeights
    loss_nmse: float
    loss_nmse_pred: float
    R_blend_requires_grad: bool


class Trainer:
    """A network, its averaged copy, and the optimizer between them.

    network : moved to `device`.  steps_per_epoch : fixes the schedules of learning rate and loss weights.
    group : the processes that train this network together; each has a trainer of the same network, and what it knows
    after a step (weights, averages, schedule, means, skipped steps) is the same in all.
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
            network.order.requires_grad_(False)  # fitted later: no gradient of it is to be waited for
        self.part = group.replicated(_Part(self.network, loss))

    @property
    def averaged(self) -> HybridNetwork:
        """The averaged network, in evaluation mode."""
        module = self.average.module
        assert isinstance(module, HybridNetwork)
        return module.eval()

    def weights(self) -> LossWeights:
        """The weights of the current epoch.

        Raises
        ------
        risloc.learning.loss.TermError
            The schedule gives 0 to a weight that is above 0 in the configuration.
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
        """One pass; returns the mean of every raw term, and advances the epoch. `on_step` gets each step's scenes.

        batches : of each step this process's share, which may be empty; every rank has as many.

        Raises
        ------
        FloatingPointError
            The loss is not finite: names the terms. Or a gradient is not, and no scaler of half precision, which is given
            32 steps to find its scale, explains it.
        risloc.learning.loss.TermError
            In the first step of an epoch, so of every run: a weighted term teaches nothing.
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
        return _total(self.group.gather(sums.result()))

    def _step(
        self, scenes: Scenes, weights: LossWeights, on_first: Callable[[FirstStep], None] | None
    ) -> tuple[dict[str, Tensor], int]:
        """One update; this process's share of each raw term, and the scenes of the whole step."""
        parts = max(1, min(self.fit.accumulate, len(scenes)))
        whole = self._whole(scenes.truth) if parts > 1 or self.group.size > 1 else None
        scenes, said = scenes.to(self.device), _Said(first=on_first is not None)
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

    def _backward(self, part: Scenes, whole: Whole | None, weights: LossWeights, said: "_Said") -> None:
        """Add a part's gradients to the others'. `replicated` takes the mean over ranks, and the parts are to add up."""
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

    def _first_step(self, said: "_Said", weights: LossWeights) -> FirstStep:
        """What all parts of all ranks say together, after the guard has seen it."""
        values = _total(self.group.gather({name: float(value) for name, value in said.terms.items()}))
        norms = _total(self.group.gather(_total(said.norms)))
        sources, blended = (any(each) for each in zip(*self.group.gather((said.sources, said.blended)), strict=True))
        check_gradients(values, norms, weights, sources=sources)
        first = {name: values[name] for name in ("loss_nmse", "loss_nmse_pred")}
        return FirstStep(weights=weights, **first, R_blend_requires_grad=blended)

    def _update(self) -> None:
        """Unscale, clip, finite check, step. Where a scaler had scaled, a gradient that is not finite may be its doing."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.fit.clip_norm)
        finite = bool(torch.isfinite(norm))
        if not finite and (not self.scaler.is_enabled() or self._skipped_on_end >= _MOST_SKIPPED):
            raise FloatingPointError(
                f"gradient: expected a finite norm, got {float(norm)} of finite terms; lower fit.learning_rate, or mend the "
                "term that is new"
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
        """Everything needed to go on with the same result, and `extra` (JSON), as safetensors; whole or not at all.

        Raises
        ------
        risloc.utils.atomic_files.DiskFullError
            No room; what was there before is as it was.
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
        """Go on from `save`; returns its `extra`."""
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


class _Part(nn.Module):
    """A part of a step to its terms and what the network said: one call, as data-parallel training wants it."""

    def __init__(self, network: HybridNetwork, loss: LossConfig) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(
        self, scenes: Scenes, whole: Whole | None
    ) -> tuple[LossTerms, Prediction | None, FactoredCovariance | None]:
        """Without a scene, the terms are 0 and their gradients are, so that the other ranks do not wait for them."""
        network = self.network
        if len(scenes) == 0:
            zeros = [(weight * 0).sum() for weight in network.parameters() if weight.requires_grad]
            nothing = torch.stack(zeros).sum()
            computed = [name for name in TERMS if name != "loss_nll" or self.loss.lam_nll > 0]
            return LossTerms(dict.fromkeys(computed, nothing)), None, None
        prediction, _, R_blend = network.blend(scenes.observation)
        terms = loss_terms(prediction, R_blend, scenes, network.array, network.grid, self.loss, whole, every=False)
        return terms, prediction, R_blend


@dataclass
class _Said:
    """What the parts of a step have said so far; what the guard looks at, in an epoch's first step alone."""

    first: bool
    terms: dict[str, Tensor] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    norms: list[dict[str, float]] = field(default_factory=list)
    sources: bool = False
    blended: bool = False


def _total(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum over `parts` of each name's values."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part[name] for part in parts if name in part) for name in names}
