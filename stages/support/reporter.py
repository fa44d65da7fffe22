"""How a stage says what it does: log lines, metrics, files, a model. A stage knows this protocol and no tracking server."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from risloc.utils.atomic_files import replacing, write_bytes
from risloc.utils.progress import shown_progress

__all__ = [
    "ConsoleReporter",
    "Record",
    "Reporter",
    "write_arrays",
    "write_csv",
    "write_json",
    "write_text",
]

Record = tuple[str, object]


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

    def progress(self, total: int, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """Progress over `total` items named `what`; call the result with the number of items just done."""


class ConsoleReporter:
    """A `Reporter` without a server: prints the lines and keeps everything in `records` as (kind, value) pairs."""

    def __init__(self, prefix: str = "", records: list[Record] | None = None) -> None:
        self.prefix = prefix
        self.records: list[Record] = [] if records is None else records

    def line(self, text: str) -> None:
        """Print one line and keep it."""
        self._keep("line", text)
        print(f"{self.prefix}{text}", flush=True)

    def params(self, values: Mapping[str, object]) -> None:
        """Keep the parameters."""
        self._keep("params", dict(values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Keep (values, step)."""
        self._keep("metrics", ({key: float(value) for key, value in values.items()}, step))

    def tag(self, key: str, value: str) -> None:
        """Keep the tag."""
        self._keep("tag", (key, value))

    def artifact(self, path: Path) -> None:
        """Keep the path; FileNotFoundError where nothing is there."""
        if not path.exists():
            raise FileNotFoundError(f"artifact {path}: expected a file or a folder; write it before it is reported")
        self._keep("artifact", path)

    def model(self, checkpoint: Path) -> None:
        """Keep the path."""
        self._keep("model", checkpoint)

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator[Reporter]:
        """A reporter whose records go to the same list, their keys prefixed by `name`."""
        yield ConsoleReporter(f"{self.prefix}{name}: ", self.records)

    def progress(self, total: int, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """A bar on a terminal, plain lines elsewhere."""
        return shown_progress(total, what, self.line)

    def _keep(self, kind: str, value: object) -> None:
        self.records.append((f"{self.prefix}{kind}", value))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write `values` as JSON, whole or not at all; ValueError for NaN or infinity (JSON has none: write null)."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` as an .npz of plain data, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rows`, which all have the keys of the first one, as CSV, whole or not at all; ValueError if empty."""
    if not rows:
        raise ValueError(f"{path}: expected at least one row, got none")
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
