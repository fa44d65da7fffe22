"""How all scenes' sources compare with the truth, in one line."""

import statistics

from risloc.cli.errors import counted
from risloc.locating.truth_errors import MATCHED_WITHIN, TruthErrors

__all__ = ["Tally"]


class Tally:
    """Counts and the median error of the scenes that were added."""

    def __init__(self) -> None:
        self._errors, self._ratios = list[float](), list[float]()
        self._missed, self._false = 0, 0

    def add(self, errors: TruthErrors | None) -> None:
        """The errors of some scenes; None: their truth is not known."""
        if errors is None:
            return
        hit, ratio = errors.error.isfinite(), errors.error / errors.bound
        self._errors += errors.error[hit].tolist()
        self._ratios += ratio[ratio.isfinite()].tolist()
        self._missed += int(errors.missed.sum())
        self._false += int((errors.present & ~hit).sum())

    def words(self) -> str:
        """The line."""
        true = counted(len(self._errors) + self._missed, "true source")
        said = f"{true}: {self._missed} missed (nothing within {MATCHED_WITHIN:g} m), {self._false} false"
        if self._errors:
            said += f"; median error {statistics.median(self._errors):.3f} m"
        return f"{said}, {statistics.median(self._ratios):.2f} of the bound" if self._ratios else said
