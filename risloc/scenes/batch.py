"""Batches of scenes: what an estimator may see of them, and the truth behind them.

Axes: batch B, src K_MAX, elem N, ant M, snap L.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from risloc.physics.geometry import Array, polar_of
from risloc.physics.steering import steering_matrix

__all__ = ["Observation", "Scenes", "Truth"]

_ROUNDING = 1e-9  # of a product of two energies


BatchT = TypeVar("BatchT", bound="Observation | Truth")


def _map(batch: BatchT, apply: Callable[[Tensor], Tensor]) -> BatchT:
    return type(batch)(**{f.name: apply(getattr(batch, f.name)) for f in dataclasses.fields(batch)})


def _cat(parts: Sequence[BatchT]) -> BatchT:
    names = [f.name for f in dataclasses.fields(parts[0])]
    return type(parts[0])(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What an estimator may see of B scenes: y_l = H diag(c_l) A s_l + n_l.

    y : snapshots.  codebook : unit-modulus codes c_l.  H : the known channel.  noise_var : sigma^2.
    """

    y: Complex[Tensor, "batch snap ant"]
    codebook: Complex[Tensor, "batch snap elem"]
    H: Complex[Tensor, "batch ant elem"]
    noise_var: Float[Tensor, " batch"]

    def __len__(self) -> int:
        return self.y.shape[0]

    def __getitem__(self, index: "slice | Tensor") -> "Observation":
        return _map(self, lambda x: x[index])

    def to(self, device: "torch.device | str") -> "Observation":
        """The same batch on `device`."""
        return _map(self, lambda x: x.to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What lies behind B scenes. Sources stand in the first `count` slots; the others are zero.

    location : azimuth [rad], elevation [rad], distance [m].  power : linear, 0 where absent.  symbols : s_l, of
    power p_k.  count : K.  snr_db : the exact SNR.
    """

    location: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    symbols: Complex[Tensor, "batch src snap"]
    count: Int[Tensor, " batch"]
    snr_db: Float[Tensor, " batch"]

    def __len__(self) -> int:
        return self.power.shape[0]

    def __getitem__(self, index: "slice | Tensor") -> "Truth":
        return _map(self, lambda x: x[index])

    def to(self, device: "torch.device | str") -> "Truth":
        """The same batch on `device`."""
        return _map(self, lambda x: x.to(device, non_blocking=True))

    @property
    def present(self) -> Tensor:
        """bool [batch, src]: which slots hold a source."""
        return torch.arange(self.power.shape[1], device=self.count.device) < self.count[:, None]

    @property
    def placed(self) -> Float[Tensor, "batch src 3"]:
        """`location` with a harmless one, 1 rad, 1 rad and 1 m, in the slots that hold no source."""
        return self.location.masked_fill(~self.present[..., None], 1.0)

    @property
    def polar(self) -> Float[Tensor, "batch src 3"]:
        """(u, v, w) of `placed`."""
        return polar_of(self.placed)

    def steering(self, array: Array) -> Complex[Tensor, "batch elem src"]:
        """Compute the steering matrix of the sources; the columns of slots that hold none are zero."""
        return steering_matrix(array, self.polar) * self.present[:, None, :]

    @property
    def coherent(self) -> Tensor:
        """bool [batch]: whether two or more sources share one waveform: |s_k^H s_1|^2 = |s_k|^2 |s_1|^2 for all k.

        Read from the symbols themselves. Single precision leaves 1e-13 between the sides; independent Gaussian symbols
        come within the 1e-9 allowed here with probability 1e-9^(L - 1). One snapshot tells nothing: False.
        """
        s = self.symbols.to(torch.complex128)
        energy = s.abs().square().sum(-1)
        aligned = (s * s[:, :1].conj()).sum(-1).abs().square() >= (1 - _ROUNDING) * energy * energy[:, :1]
        return aligned.all(1) & (self.count > 1) & (s.shape[-1] > 1)


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes: the observation and the truth behind it."""

    observation: Observation
    truth: Truth

    def __len__(self) -> int:
        return len(self.observation)

    def __getitem__(self, index: "slice | Tensor") -> "Scenes":
        return Scenes(self.observation[index], self.truth[index])

    @staticmethod
    def cat(parts: "Sequence[Scenes]") -> "Scenes":
        """Batches, one after the other."""
        return Scenes(_cat([part.observation for part in parts]), _cat([part.truth for part in parts]))

    def to(self, device: "torch.device | str") -> "Scenes":
        """The same batch on `device`."""
        return Scenes(self.observation.to(device), self.truth.to(device))
