"""What is known of the receiver beside the channel: pilots, gains of its antennas, a path that does not pass the surface.

Axes: batch B (scene), snap L, ant M, elem N.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from risloc.io.measurement_checks import Fault, MeasurementError
from risloc.scenes.rearrangement import without_static_path

__all__ = ["GAINS", "Reception", "reception_faults"]

GAINS = ("none", "antenna")
"""Which complex gains are unknown: none, or one of each antenna that is constant over the snapshots of a scene."""

_ROUNDING = 1e-6  # of energies in single precision
_LEAVE = "leave the scene out"


@dataclass(frozen=True, kw_only=True)
class Reception:
    """What a receiver knows and does not know.

    Parameters
    ----------
    pilots
        Whether the sources send pilots that are known up to one complex amplitude of each source and scene.
    unknown_gains
        One of `GAINS`.
    static_path
        Whether a part of the signal does not pass the surface and is the same for all codes, apart from the pilots.

    Raises
    ------
    MeasurementError
        `unknown_gains` is none of the choices, or the pilots are missing where they are needed.
    """

    pilots: bool = False
    unknown_gains: str = "none"
    static_path: bool = False

    def __post_init__(self) -> None:
        if self.unknown_gains not in GAINS:
            raise MeasurementError(f"unknown_gains: expected one of {', '.join(GAINS)}, got {self.unknown_gains!r}")
        if self.pilots:
            return
        remedy = "give the pilots (--pilots constant if the sources send the same at all codes; pilots=1 in Python)"
        if self.unknown_gains != "none":
            raise MeasurementError(
                f"unknown_gains: expected known pilots, got none: gains times unknown symbols are not supported; {remedy}"
            )
        if self.static_path:
            raise MeasurementError(
                f"static_path: expected known pilots, got none: a static path would carry unknown symbols, too; {remedy}"
            )

    @property
    def gains_unknown(self) -> bool:
        """Whether each antenna has an unknown gain."""
        return self.unknown_gains != "none"

    def sizes(self, snapshots: int, antennas: int) -> tuple[int, int]:
        """Count the snapshots and antennas of the rearranged observation of `risloc.scenes.rearrangement`.

        Parameters
        ----------
        snapshots
            The number of snapshots L.
        antennas
            The number of antennas M.

        Returns
        -------
        tuple of int
            The numbers of both.

        Raises
        ------
        MeasurementError
            Too few codes are left to tell anything.
        """
        if not self.pilots:
            return snapshots, antennas
        least = 1 + self.static_path + (self.gains_unknown or antennas == 1)
        if snapshots < least:
            raise MeasurementError(
                f"y: expected at least {least} snapshots, each with another code, got {snapshots}: {_LOST[self._lost(antennas)]}"
            )
        left = snapshots - self.static_path
        return (antennas, left) if self.gains_unknown else (1, left * antennas)

    def words(self) -> str:
        """Describe what differs from unknown symbols alone.

        Returns
        -------
        str
            The description; "" for unknown symbols alone.
        """
        parts = ("known pilots", "an unknown gain of each antenna", "a static path")
        there = (self.pilots, self.gains_unknown, self.static_path)
        return ", ".join(part for part, holds in zip(parts, there, strict=True) if holds)

    def _lost(self, antennas: int) -> str:
        return "gains" if self.gains_unknown else "antenna" if antennas == 1 else "static"


_LOST = {
    "gains": "an unknown gain of each antenna explains codes that do not vary",
    "antenna": "one antenna sees directions only by codes that vary",
    "static": "a static path explains codes that do not vary",
}


def reception_faults(
    reception: Reception,
    pilots: Complex[Tensor, "batch snap"],
    codebook: Complex[Tensor, "batch snap elem"],
    H: Complex[Tensor, "batch ant elem"],
    y: Complex[Tensor, "batch snap ant"],
) -> list[Fault]:
    """Find scenes in which what is unknown explains everything, whatever the positions of the sources.

    Parameters
    ----------
    reception
        What is known.
    pilots : [batch, snap]
        The pilots.
    codebook : [batch, snap, elem]
        The codes.
    H : [batch, ant, elem]
        The channel.
    y : [batch, snap, ant]
        The snapshots.

    Returns
    -------
    list of Fault
        The faults, in order of importance.
    """
    finite = pilots.isfinite().all(1)
    if not finite.all():
        return [Fault("pilots", ~finite, "finite numbers", "NaN or infinity", _LEAVE)]
    sent = (pilots != 0).any(1)
    if not sent.all():
        return [Fault("pilots", ~sent, "pilots that are not all zero", "zeros", _LEAVE)]
    checks: Sequence[tuple[str, Tensor, str, str, str]] = (
        *_code_checks(reception, pilots.to(torch.complex128), codebook, H.shape[1]),
        *_gain_checks(reception, H),
        *_signal_checks(reception, pilots.to(torch.complex128), y),
    )
    return [Fault(name, ~good, expected, got, remedy) for name, good, expected, got, remedy in checks if not good.all()]


def _code_checks(
    reception: Reception, pilots: Tensor, codebook: Tensor, antennas: int
) -> list[tuple[str, Tensor, str, str, str]]:
    """Check that the codes vary: what is left of them is not zero or, for one antenna or unknown gains, not of rank one."""
    if not (reception.static_path or reception.gains_unknown or antennas == 1):
        return []
    codes = pilots[..., None] * codebook
    whole = codes.abs().square().sum((1, 2))
    if reception.static_path:
        codes = without_static_path(codes, pilots)
    left = codes.abs().square().sum((1, 2))
    good = left > _ROUNDING * whole
    if reception.gains_unknown or antennas == 1:
        gram = (codes @ codes.mH).abs().square().sum((1, 2))
        good &= gram < (1 - _ROUNDING) * left.square()
    got = f"codes that do not vary enough: {_LOST[reception._lost(antennas)]}"
    return [("codebook", good, "codes that vary", got, "measure with several codes, or leave the scene out")]


def _gain_checks(reception: Reception, H: Tensor) -> list[tuple[str, Tensor, str, str, str]]:
    """Check that some antenna sees several elements: the gain of one that sees a single element absorbs its steering."""
    if not reception.gains_unknown:
        return []
    energy = H.abs().square()
    good = (energy.amax(2) < (1 - _ROUNDING) * energy.sum(2)).any(1)
    got = "one element seen by each antenna, whose unknown gain absorbs the phase of the steering vector"
    remedy = "give the gains, by dividing y by them, and leave unknown_gains out"
    return [("H", good, "antennas that see several elements", got, remedy)]


def _signal_checks(reception: Reception, pilots: Tensor, y: Tensor) -> list[tuple[str, Tensor, str, str, str]]:
    """Check that the static path is not all of the signal."""
    if not reception.static_path:
        return []
    wide = y.to(torch.complex128)
    scale = wide.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    good: Bool[Tensor, " batch"] = (without_static_path(wide / scale, pilots).abs() > 1e-12).flatten(1).any(1)
    return [("y", good, "a signal that varies with the codes", "a static path alone", _LEAVE)]
