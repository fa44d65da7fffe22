"""A reporter without a server, for tests, benchmarks and a prompt."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from risloc.utils.progress import shown_progress
from stages.support.reporter import Reporter

__all__ = ["ConsoleReporter", "Record"]

Record = tuple[str, object]


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
        """Keep the path; FileNotFoundError if it does not exist."""
        if not path.exists():
            raise FileNotFoundError(f"artifact {path}: no such file or folder; write it before reporting it")
        self._keep("artifact", path)

    def model(self, checkpoint: Path) -> None:
        """Keep the path."""
        self._keep("model", checkpoint)

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator[Reporter]:
        """A reporter whose records go to the same list, their keys prefixed by `name`."""
        yield ConsoleReporter(f"{self.prefix}{name}: ", self.records)

    def progress(
        self, total: int, what: str, part: tuple[int, int] = (0, 1)
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A bar on a terminal, plain lines elsewhere."""
        return shown_progress(total, what, self.line)

    def _keep(self, kind: str, value: object) -> None:
        self.records.append((f"{self.prefix}{kind}", value))
