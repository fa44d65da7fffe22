"""How a stage says what it does: log lines, metrics, files, a model. A stage knows this protocol and no tracking server."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

__all__ = ["Reporter"]


class Reporter(Protocol):
    """Where a stage's words and numbers go. Keys are names or slash-separated paths, such as ``train/loss_nmse``."""

    def line(self, text: str) -> None:
        """One line of the log."""

    def params(self, values: Mapping[str, object]) -> None:
        """Parameters beyond params.yaml (tuned values, effective weights), with dotted keys."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers, at `step` (an epoch) or once."""

    def tag(self, key: str, value: str) -> None:
        """A short fact to search runs by."""

    def artifact(self, path: Path) -> None:
        """A file or a folder kept with the run. It must exist."""

    def model(self, checkpoint: Path) -> None:
        """The network in the folder `checkpoint`, kept as a model that locates wherever it is loaded."""

    def child(self, name: str) -> "AbstractContextManager[Reporter]":
        """A nested run, such as a trial. An exception that leaves the block marks it as failed."""

    def progress(
        self, total: int, what: str, part: tuple[int, int] = (0, 1)
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Progress over `total` items named `what`; call the result with the number of items just done.

        The items are part `part[0]`, counted from 0, of `part[1]` equal parts, such as an epoch of all epochs.
        """
