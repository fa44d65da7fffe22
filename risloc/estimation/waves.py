"""Sources as sums of coherent waves: a direct wave and its echoes, which carry the same symbols.

    y_l = G_l sum_k at_k s_k(l) + n_l,    at_k = sum_p g_p a(q_p) over the waves p of source k

An echo is the spherical wave of an image source at q_p, with a complex gain g_p that stays over the block. The scale of at_k is
that of its symbols, so that the first wave of each source, its reference, has the gain 1.

Axes: batch B, wave W, src K, snap L, ant M.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.physics.geometry import Domain

__all__ = ["Waves"]


@dataclass(frozen=True)
class Waves:
    """The waves of B scenes and the sources that they belong to.

    The waves that are present come first, those of one source beside each other; sources are numbered in that order.

    Parameters
    ----------
    polar : [batch, wave, 3]
        (u, v, w).
    source : [batch, wave]
        The number of the source of each wave.
    gain : [batch, wave]
        The gain g of each wave, 1 for the reference of its source.
    present : [batch, wave]
        Which slots hold a wave.
    most
        The largest number of sources.
    """

    polar: Float[Tensor, "batch wave 3"]
    source: Int[Tensor, "batch wave"]
    gain: Complex[Tensor, "batch wave"]
    present: Bool[Tensor, "batch wave"]
    most: int

    @classmethod
    def none(cls, batch: int, slots: int, most: int, domain: Domain, like: Tensor) -> "Waves":
        """Make empty slots.

        Parameters
        ----------
        batch
            The number of scenes.
        slots
            The largest number of waves of a scene.
        most
            The largest number of sources of a scene.
        domain
            The region of the sources, in which the places of empty slots lie too.
        like
            A complex tensor whose precision and device the waves take.

        Returns
        -------
        Waves
            No wave in any scene.
        """
        polar = domain.clamp(torch.zeros(batch, slots, 3, dtype=like.real.dtype, device=like.device))
        source = torch.zeros(batch, slots, dtype=torch.long, device=like.device)
        return cls(polar, source, torch.zeros_like(polar[..., 0], dtype=like.dtype), source > 0, most)

    @classmethod
    def of_sources(cls, polar: Float[Tensor, "batch src 3"], present: Bool[Tensor, "batch src"], slots: int) -> "Waves":
        """Make sources without echoes.

        Parameters
        ----------
        polar : [batch, src, 3]
            (u, v, w).
        present : [batch, src]
            Which slots hold a source: the first ones.
        slots
            The largest number of waves of a scene.

        Returns
        -------
        Waves
            One wave of each source.
        """
        most = present.shape[1]
        pad = torch.nn.functional.pad
        number = torch.arange(most, device=present.device).expand_as(present) * present
        gain = torch.complex(present.to(polar.dtype), torch.zeros_like(polar[..., 0]))
        rest = polar[:, -1:].expand(-1, slots - most, -1)
        slack = (0, slots - most)
        return cls(torch.cat([polar, rest], dim=1), pad(number, slack), pad(gain, slack), pad(present, slack), most)

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, rows: "slice | Tensor") -> "Waves":
        return self._mapped(lambda x: x[rows])

    def put(self, rows: Tensor, other: "Waves") -> "Waves":
        """Replace the waves of some scenes.

        Parameters
        ----------
        rows
            The numbers of the scenes.
        other
            Their waves.

        Returns
        -------
        Waves
            The waves of all scenes.
        """
        return self._paired(other, lambda x, new: x.index_put((rows,), new))

    @property
    def own(self) -> Bool[Tensor, "batch wave src"]:
        """Which waves are of which source."""
        return torch.nn.functional.one_hot(self.source, self.most).bool() & self.present[..., None]

    @property
    def echo(self) -> Bool[Tensor, "batch wave"]:
        """Which waves are echoes, as those that are not the first of their source."""
        return self.present & ~self.reference

    @property
    def reference(self) -> Bool[Tensor, "batch wave"]:
        """Which waves are the first of their source."""
        return ((self.own.cumsum(1) * self.own).sum(-1) == 1) & self.present

    @property
    def count(self) -> Int[Tensor, " batch"]:
        """The number of sources of each scene."""
        return self.reference.sum(1)

    @property
    def total(self) -> Int[Tensor, " batch"]:
        """The number of waves of each scene."""
        return self.present.sum(1)

    @property
    def sources(self) -> Bool[Tensor, "batch src"]:
        """Which slots of sources are used."""
        return torch.arange(self.most, device=self.present.device) < self.count[:, None]

    @property
    def composition(self) -> Complex[Tensor, "batch wave src"]:
        """The matrix whose columns hold the gains of the waves of each source."""
        return self.own * self.gain[..., None]

    def trimmed(self) -> "Waves":
        """Drop the slots of waves that are empty in every scene.

        Returns
        -------
        Waves
            The same waves in at least one slot.
        """
        width = max(1, int(self.total.amax())) if len(self) else 1
        return self._mapped(lambda x: x[:, :width])

    def in_slots_of(self, wider: "Waves") -> "Waves":
        """Undo `trimmed`.

        Parameters
        ----------
        wider
            Waves of the same scenes with more slots.

        Returns
        -------
        Waves
            These waves in that number of slots.
        """
        width = self.present.shape[1]
        return self._paired(wider, lambda x, y: torch.cat([x, y[:, width:]], dim=1))

    def joined_by(
        self, polar: Float[Tensor, "batch 3"], source: Int[Tensor, " batch"], gain: Complex[Tensor, " batch"]
    ) -> "Waves":
        """Add a wave to each scene, in its first empty slot.

        Parameters
        ----------
        polar : [batch, 3]
            Its place.
        source : [batch]
            Its source: one of the scene, or the next number for a new source.
        gain : [batch]
            Its gain, 1 for a new source.

        Returns
        -------
        Waves
            The waves; the new one comes last until `ordered`.
        """
        at = torch.nn.functional.one_hot(self.total, self.present.shape[1]).bool()
        return Waves(
            torch.where(at[..., None], polar[:, None], self.polar),
            torch.where(at, source[:, None], self.source),
            torch.where(at, gain[:, None], self.gain),
            self.present | at,
            self.most,
        )

    def merged(
        self, source: Int[Tensor, " batch"], other: Int[Tensor, " batch"], ratio: Complex[Tensor, " batch"]
    ) -> "Waves":
        """Make the waves of another source echoes of a source.

        Parameters
        ----------
        source : [batch]
            The source of each scene.
        other : [batch]
            The source that becomes part of it.
        ratio : [batch]
            The symbols of the other source over those of the source.

        Returns
        -------
        Waves
            The waves with one source less, in order.
        """
        mine = self.present & (self.source == other[:, None])
        gain = torch.where(mine, self.gain * ratio[:, None], self.gain)
        return dataclasses.replace(self, source=torch.where(mine, source[:, None], self.source), gain=gain).ordered()

    def without(self, wave: Int[Tensor, " batch"]) -> "Waves":
        """Remove a wave of each scene.

        Parameters
        ----------
        wave : [batch]
            The number of the wave.

        Returns
        -------
        Waves
            The other waves, in order.
        """
        gone = torch.nn.functional.one_hot(wave, self.present.shape[1]).bool()
        return dataclasses.replace(self, present=self.present & ~gone).ordered()

    def ordered(self, preference: "Float[Tensor, 'batch wave'] | None" = None) -> "Waves":
        """Sort the waves by source and by preference, and make the first wave of each source its reference.

        Parameters
        ----------
        preference : [batch, wave]
            Not negative, the largest first; None: the strength of the waves.

        Returns
        -------
        Waves
            The same sources; the symbols of a source absorb the gain of its reference.
        """
        value = self.gain.abs() if preference is None else preference
        strength = torch.where(self.present, value, -1.0).argsort(dim=1, descending=True, stable=True)
        by_strength = self._taken(strength)
        number = torch.where(by_strength.present, by_strength.source, self.most)
        waves = by_strength._taken(number.argsort(dim=1, stable=True))
        first = waves.reference
        number = (first.cumsum(1) - 1).clamp_min(0) * waves.present
        start = torch.where(first, waves.gain, 0)
        own = torch.nn.functional.one_hot(number, self.most).to(start.dtype) * waves.present[..., None]
        scale = (own @ (own.mT @ start[..., None]))[..., 0]
        gain = torch.where(waves.present & (scale != 0), waves.gain / torch.where(scale != 0, scale, 1), 0)
        return dataclasses.replace(waves, source=number, gain=torch.where(first, torch.ones_like(gain), gain))

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.polar, self.source, self.gain, self.present

    def _mapped(self, apply: Callable[[Tensor], Tensor]) -> "Waves":
        polar, source, gain, present = (apply(x) for x in self._tensors)
        return Waves(polar, source, gain, present, self.most)

    def _paired(self, other: "Waves", apply: Callable[[Tensor, Tensor], Tensor]) -> "Waves":
        pairs = zip(self._tensors, other._tensors, strict=True)
        polar, source, gain, present = (apply(x, y) for x, y in pairs)
        return Waves(polar, source, gain, present, self.most)

    def _taken(self, order: Tensor) -> "Waves":
        """Return the slots in a new order."""
        return self._mapped(lambda x: x.gather(1, order if x.ndim == 2 else order[..., None].expand(-1, -1, 3)))
