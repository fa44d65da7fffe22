"""What is to be said once about a file whose scenes the model does not explain."""

import statistics
from collections import Counter

from scipy.stats import binom

from risloc.cli.errors import counted
from risloc.estimation.misfit import ALARM
from risloc.estimation.reliability import BORDERS, REASONS
from risloc.locating.found import Found

__all__ = ["Alarms"]

_ABOVE = (
    "noise_var per real part (misfit 2) or too low, the opposite sign of phase (conjugate y, H and codes), snapshots and "
    "antennas of y swapped, codes whose losses were divided away, elements that are dead or off in phase, echoes, sources "
    "beyond the spans"
)
_STAINED = _ABOVE.removeprefix("noise_var per real part (misfit 2) or too low, ")
_OPTIONS = dict(zip(BORDERS, ("azimuth", "elevation", "distance"), strict=True))
_UNITS = {"azimuth": "azimuth_span_deg", "elevation": "elevation_span_deg", "distance": "distance_span_m"}
_BY_CHANCE = 0.05  # of no alarm where the share of scenes that are not white is what chance gives


class Alarms:
    """Counts scenes and sources as they come; `words` are the warnings, each one line."""

    def __init__(self) -> None:
        self._scenes, self._full = 0, 0
        self._verdicts, self._borders = Counter[str](), Counter[str]()
        self._misfits: dict[str, list[float]] = {"too high": [], "too low": []}

    def add(self, found: Found) -> None:
        """The next scenes."""
        self._scenes += len(found)
        self._full += int(found.present.all(1).sum())
        self._verdicts.update(found.verdict)
        for verdict, misfit in zip(found.verdict, found.misfit.tolist(), strict=True):
            if verdict in self._misfits:
                self._misfits[verdict].append(misfit)
        for number in found.reason.flatten().tolist():
            if REASONS[number] in BORDERS:
                self._borders[REASONS[number]] += 1

    def words(self, slots: int, sought: bool, given: bool) -> list[str]:
        """The warnings.  slots : the most sources that are looked for.  sought : K was not known.  given : sigma^2 was."""
        return [
            *self._of_misfits(),
            *self._of_whiteness(),
            *self._of_borders(),
            *(self._of_full(slots, given) if sought and slots > 1 else []),
        ]

    def _of_misfits(self) -> list[str]:
        said = []
        if above := self._misfits["too high"]:
            said.append(
                f"{self._share(len(above))} more unexplained than noise_var says (misfit {_typical(above)}, expected "
                f"about 1): their sources are not resolved; likely causes: {_ABOVE}"
            )
        if below := self._misfits["too low"]:
            said.append(
                f"{self._share(len(below))} less unexplained than noise_var says (misfit {_typical(below)}, expected "
                "about 1): noise_var is too large, weak sources may be missed; correct it, or use --noise estimated"
            )
        return said

    def _of_whiteness(self) -> list[str]:
        stained = self._verdicts["not white"]
        if stained == 0 or binom.sf(stained - 1, self._scenes, ALARM) > _BY_CHANCE:
            return []
        return [
            f"{self._share(stained)} a residual that is not white noise: the model does not explain them, and their "
            f"sources are not resolved; likely causes: {_STAINED}"
        ]

    def _of_borders(self) -> list[str]:
        if not self._borders:
            return []
        names = [_OPTIONS[border] for border in BORDERS if self._borders[border]]
        options = ", ".join(f"--{name} LOW HIGH" for name in names)
        spans = ", ".join(_UNITS[name] for name in names)
        total = sum(self._borders.values())
        return [
            f"{counted(total, 'source')} at the end of a span ({', '.join(names)}), not resolved: the true ones may lie "
            f"beyond; widen it by {options} (in the file and in Python {spans})"
        ]

    def _of_full(self, slots: int, given: bool) -> list[str]:
        if 2 * self._full <= self._scenes:
            return []
        level = "noise_var may be too low (its unit?)" if given else "the noise level may be estimated too low"
        which = "every scene has" if self._full == self._scenes else f"{self._full} of {self._scenes} scenes have"
        return [f"{which} {slots} sources, the most that are looked for: {level}, or there are more"]

    def _share(self, scenes: int) -> str:
        return f"{scenes} of {counted(self._scenes, 'scene')} {'leave' if scenes > 1 else 'leaves'}"


def _typical(misfits: list[float]) -> str:
    return f"{statistics.median(misfits):.2g}"
