"""The line that compares the sources of all scenes with the truth."""

import statistics

from risloc.cli.errors import counted
from risloc.locating.truth_errors import MATCHED_WITHIN, TruthErrors

__all__ = ["Tally"]


class Tally:
    """Counts missed sources and false alarms, and collects the errors of the others."""

    def __init__(self) -> None:
        self._errors, self._ratios = list[float](), list[float]()
        self._missed, self._false = 0, 0

    def add(self, errors: TruthErrors | None) -> None:
        """Add the errors of some scenes.

        Parameters
        ----------
        errors
            The errors, or None if the truth is not known.
        """
        if errors is None:
            return
        hit, ratio = errors.error.isfinite(), errors.error / errors.bound
        self._errors += errors.error[hit].tolist()
        self._ratios += ratio[ratio.isfinite()].tolist()
        self._missed += int(errors.missed.sum())
        self._false += int((errors.present & ~hit).sum())

    def words(self) -> str:
        """Return the line.

        Returns
        -------
        str
            The number of true sources, missed sources and false alarms, and the median error in metres and in multiples of
            the bound.
        """
        true = counted(len(self._errors) + self._missed, "true source")
        line = f"{true}: {self._missed} missed (no estimate within {MATCHED_WITHIN:g} m), {counted(self._false, 'false alarm')}"
        if self._errors:
            line += f"; median error {statistics.median(self._errors):.3f} m"
        return f"{line}, {statistics.median(self._ratios):.2f} times the bound" if self._ratios else line
