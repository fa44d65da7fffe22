"""Batches of scenes: the data that an estimator is given, and the ground truth.

Axes: batch B, src K_MAX, elem N, ant M, snap L.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from risloc.physics.geometry import Array, polar_of
from risloc.physics.steering import steering_matrix

__all__ = ["Echoes", "Observation", "Scenes", "Truth"]

_ROUNDING = 1e-9  # relative tolerance of a product of two energies


BatchT = TypeVar("BatchT", bound="_Batch")


class _Batch:
    """Tensors with a batch axis, as fields of a frozen dataclass; what is absent is None."""

    def __getitem__(self: BatchT, index: "slice | Tensor") -> BatchT:
        return _map(self, lambda x: x[index])

    def to(self: BatchT, device: "torch.device | str") -> BatchT:
        """Copy the batch to a device.

        Parameters
        ----------
        device
            The device, such as 'cpu' or 'cuda:0'.

        Returns
        -------
        the same class
            The batch on `device`.
        """
        return _map(self, lambda x: x.to(device, non_blocking=True))


def _values(batch: Any) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


def _map(batch: BatchT, apply: Callable[[Tensor], Tensor]) -> BatchT:
    """Apply a function to every tensor, also to those of a nested batch."""
    values = _values(batch)
    for name, value in values.items():
        if value is not None:
            values[name] = _map(value, apply) if isinstance(value, _Batch) else apply(value)
    return type(batch)(**values)


def _cat(parts: Sequence[BatchT]) -> BatchT:
    pieces = [_values(part) for part in parts]
    return type(parts[0])(**{name: _joined([piece[name] for piece in pieces]) for name in pieces[0]})


def _joined(pieces: list[Any]) -> Any:
    absent = [piece is None for piece in pieces]
    if any(absent):
        if not all(absent):
            raise ValueError("parts: expected echoes in all parts or in none; draw all parts from one scenario")
        return None
    return _cat(pieces) if isinstance(pieces[0], _Batch) else torch.cat(pieces)


@dataclass(frozen=True, kw_only=True)
class Observation(_Batch):
    """The data of B scenes that an estimator is given: y_l = H diag(c_l) A s_l + n_l.

    Parameters
    ----------
    y : [batch, snap, ant]
        The snapshots y_l.
    codebook : [batch, snap, elem]
        The codes c_l, of modulus 1.
    H : [batch, ant, elem]
        The channel from the surface to the base station, as the estimator knows it.
    noise_var : [batch]
        The noise variance sigma^2.
    """

    y: Complex[Tensor, "batch snap ant"]
    codebook: Complex[Tensor, "batch snap elem"]
    H: Complex[Tensor, "batch ant elem"]
    noise_var: Float[Tensor, " batch"]

    def __len__(self) -> int:
        return self.y.shape[0]


@dataclass(frozen=True, kw_only=True)
class Echoes(_Batch):
    """The echoes of the sources of B scenes: waves from images that carry the symbols of their source.

    Parameters
    ----------
    location : [batch, src, path, 3]
        Azimuth and elevation of the images in radians, distance in metres.
    gain : [batch, src, path]
        The complex gain of each echo relative to the direct wave of its source; 0 where there is no echo.
    """

    location: Float[Tensor, "batch src path 3"]
    gain: Complex[Tensor, "batch src path"]

    def __len__(self) -> int:
        return self.gain.shape[0]

    @property
    def present(self) -> Tensor:
        """Which slots contain an echo, as booleans [batch, src, path]."""
        return self.gain != 0

    @property
    def placed(self) -> Float[Tensor, "batch src path 3"]:
        """`location`, with the valid placeholder (1 rad, 1 rad, 1 m) in the slots that contain no echo."""
        return self.location.masked_fill(~self.present[..., None], 1.0)

    @property
    def polar(self) -> Float[Tensor, "batch src path 3"]:
        """The coordinates (u, v, w) of `placed`."""
        return polar_of(self.placed)


@dataclass(frozen=True, kw_only=True)
class Truth(_Batch):
    """The ground truth of B scenes. The sources occupy the first `count` slots; the other slots are zero.

    Parameters
    ----------
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    power : [batch, src]
        The linear powers p_k.
    symbols : [batch, src, snap]
        The symbols s_l; those of source k have power p_k.
    count : [batch]
        The number of sources K.
    snr_db : [batch]
        The exact SNR in dB.
    echoes
        The echoes of the sources; None if the scenario has none.
    """

    location: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    symbols: Complex[Tensor, "batch src snap"]
    count: Int[Tensor, " batch"]
    snr_db: Float[Tensor, " batch"]
    echoes: Echoes | None = None

    def __len__(self) -> int:
        return self.power.shape[0]

    @property
    def present(self) -> Tensor:
        """Which slots contain a source, as booleans [batch, src]."""
        return torch.arange(self.power.shape[1], device=self.count.device) < self.count[:, None]

    @property
    def placed(self) -> Float[Tensor, "batch src 3"]:
        """`location`, with the valid placeholder (1 rad, 1 rad, 1 m) in the slots that contain no source."""
        return self.location.masked_fill(~self.present[..., None], 1.0)

    @property
    def polar(self) -> Float[Tensor, "batch src 3"]:
        """The coordinates (u, v, w) of `placed`."""
        return polar_of(self.placed)

    def steering(self, array: Array) -> Complex[Tensor, "batch elem src"]:
        """Compute the steering matrix of the sources, of their direct waves; the columns of slots without a source are zero.

        Parameters
        ----------
        array
            The array.

        Returns
        -------
        [batch, elem, src]
            The steering matrix A.
        """
        return steering_matrix(array, self.polar) * self.present[:, None, :]

    def arriving(self, array: Array) -> Complex[Tensor, "batch elem src"]:
        """Compute what the elements receive from each source: the direct wave and the echoes, a(p_k) + sum_j g_kj a(q_kj).

        Parameters
        ----------
        array
            The array.

        Returns
        -------
        [batch, elem, src]
            The waves; the columns of slots without a source are zero.
        """
        waves = self.steering(array)
        if self.echoes is None:
            return waves
        for path in range(self.echoes.gain.shape[2]):
            gain = self.echoes.gain[:, None, :, path]
            waves = waves + steering_matrix(array, self.echoes.polar[:, :, path]) * gain
        return waves

    @property
    def coherent(self) -> Tensor:
        """Which scenes have two or more sources that share one waveform, as booleans [batch].

        The sources share a waveform if |s_k^H s_1|^2 = |s_k|^2 |s_1|^2 for all k, which is tested on the symbols with a
        relative tolerance of 1e-9. In single precision the two sides differ by about 1e-13; independent Gaussian symbols
        pass the test with probability 1e-9^(L - 1). One snapshot cannot decide, and the result is False.
        """
        s = self.symbols.to(torch.complex128)
        energy = s.abs().square().sum(-1)
        aligned = (s * s[:, :1].conj()).sum(-1).abs().square() >= (1 - _ROUNDING) * energy * energy[:, :1]
        return aligned.all(1) & (self.count > 1) & (s.shape[-1] > 1)


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes: the observation and its ground truth.

    Parameters
    ----------
    observation
        The data that an estimator is given.
    truth
        The ground truth.
    """

    observation: Observation
    truth: Truth

    def __len__(self) -> int:
        return len(self.observation)

    def __getitem__(self, index: "slice | Tensor") -> "Scenes":
        return Scenes(self.observation[index], self.truth[index])

    @staticmethod
    def cat(parts: "Sequence[Scenes]") -> "Scenes":
        """Concatenate batches.

        Parameters
        ----------
        parts
            The batches, at least one.

        Returns
        -------
        Scenes
            The scenes of all batches, in order.
        """
        return Scenes(_cat([part.observation for part in parts]), _cat([part.truth for part in parts]))

    def to(self, device: "torch.device | str") -> "Scenes":
        """Copy the batch to a device.

        Parameters
        ----------
        device
            The device, such as 'cpu' or 'cuda:0'.

        Returns
        -------
        Scenes
            The batch on `device`.
        """
        return Scenes(self.observation.to(device), self.truth.to(device))
