"""Warnings about a file whose scenes the model does not explain."""

import statistics
from collections import Counter

from risloc.cli.errors import counted
from risloc.estimation.misfit import ALARM
from risloc.estimation.reliability import BORDERS, DIRECT_LOST, REASONS
from risloc.locating.found import Found

__all__ = ["Alarms"]

_CAUSES = (
    "the opposite sign of the phase (conjugate y, H and codes), y with snapshots and antennas swapped, codes whose losses were "
    "divided out, dead or miscalibrated elements, echoes, sources outside the search region"
)
_CAUSES_ABOVE = f"noise_var per real part (misfit 2) or too small, {_CAUSES}"
_OPTIONS = dict(zip(BORDERS, ("azimuth", "elevation", "distance"), strict=True))
_SPANS = {"azimuth": "azimuth_span_deg", "elevation": "elevation_span_deg", "distance": "distance_span_m"}
_BY_CHANCE = 0.05  # no warning if so many scenes that are not white occur by chance with at least this probability


class Alarms:
    """Counts scenes and sources that call for a warning."""

    def __init__(self) -> None:
        self._scenes, self._full = 0, 0
        self._with_sources, self._strong = 0, 0
        self._verdicts, self._reasons = Counter[str](), Counter[str]()
        self._misfits: dict[str, list[float]] = {"too high": [], "too low": []}

    def add(self, found: Found) -> None:
        """Add located scenes.

        Parameters
        ----------
        found
            The result of a batch of scenes.
        """
        self._scenes += len(found)
        self._full += int(found.present.all(1).sum())
        self._with_sources += int(found.present.any(1).sum())
        if found.echoes is not None:
            self._strong += int((found.present & (found.echoes.share > 1)).any(1).sum())
        self._verdicts.update(found.verdict)
        for verdict, misfit in zip(found.verdict, found.misfit.tolist(), strict=True):
            if verdict in self._misfits:
                self._misfits[verdict].append(misfit)
        self._reasons.update(REASONS[number] for number in found.reason.flatten().tolist())

    def words(self, slots: int, order_known: bool, noise_given: bool) -> list[str]:
        """Return the warnings.

        Parameters
        ----------
        slots
            The largest number of sources that was searched for.
        order_known
            Whether the number of sources was given.
        noise_given
            Whether the noise variance was given.

        Returns
        -------
        list of str
            One line per warning.
        """
        return [
            *self._of_misfits(),
            *self._of_whiteness(),
            *self._of_strong_echoes(),
            *self._of_borders(),
            *self._of_lost(),
            *(self._of_full(slots, noise_given) if not order_known and slots > 1 else []),
        ]

    def _of_misfits(self) -> list[str]:
        warnings = []
        if above := self._misfits["too high"]:
            warnings.append(
                f"{self._share(len(above))} a residual above noise_var (misfit {_typical(above)}, expected about 1), and the "
                f"sources are not resolved; likely causes: {_CAUSES_ABOVE}"
            )
        if below := self._misfits["too low"]:
            warnings.append(
                f"{self._share(len(below))} a residual below noise_var (misfit {_typical(below)}, expected about 1): noise_var "
                "is too large, and weak sources may be missed; correct it, or use --noise estimated"
            )
        return warnings

    def _of_whiteness(self) -> list[str]:
        from scipy.stats import binom  # half a second, which not every command needs

        stained = self._verdicts["not white"]
        if stained == 0 or binom.sf(stained - 1, self._scenes, ALARM) > _BY_CHANCE:
            return []
        return [
            f"{self._share(stained)} a residual that is not white noise: the model does not explain the data, and the sources "
            f"are not resolved; likely causes: {_CAUSES}"
        ]

    def _of_strong_echoes(self) -> list[str]:
        if 2 * self._strong <= self._with_sources:
            return []
        return [
            f"{self._share(self._strong)} a source whose echoes together are stronger than its direct wave; if there is a line "
            "of sight, check the sign of the phase (conjugate y, H and codes), the carrier, the spacing and the order of the "
            "elements, and that the search region (--azimuth, --elevation, --distance) holds the sources"
        ]

    def _of_borders(self) -> list[str]:
        total = sum(self._reasons[border] for border in BORDERS)
        if total == 0:
            return []
        names = [_OPTIONS[border] for border in BORDERS if self._reasons[border]]
        options = ", ".join(f"--{name} LOW HIGH" for name in names)
        spans = ", ".join(_SPANS[name] for name in names)
        return [
            f"{counted(total, 'source')} at the border of the search region ({', '.join(names)}), not resolved: the true "
            f"position may lie outside; widen the region with {options} ({spans} in the file and in Python)"
        ]

    def _of_lost(self) -> list[str]:
        lost = self._reasons[DIRECT_LOST]
        if lost == 0:
            return []
        spans = ", ".join(_SPANS.values())
        return [
            f"{counted(lost, 'source')} without a direct path in the search region, not resolved: the line of sight is blocked, or the "
            f"true position lies outside; widen the region with --azimuth, --elevation or --distance LOW HIGH ({spans} in the "
            "file and in Python)"
        ]

    def _of_full(self, slots: int, noise_given: bool) -> list[str]:
        if 2 * self._full <= self._scenes:
            return []
        level = "noise_var may be too small (check its unit)" if noise_given else "the estimated noise may be too small"
        scenes = "every scene has" if self._full == self._scenes else f"{self._full} of {self._scenes} scenes have"
        return [f"{scenes} {slots} sources, the most that were searched for: {level}, or there are more sources"]

    def _share(self, scenes: int) -> str:
        return f"{scenes} of {counted(self._scenes, 'scene')} {'have' if scenes > 1 else 'has'}"


def _typical(misfits: list[float]) -> str:
    return f"{statistics.median(misfits):.2g}"
