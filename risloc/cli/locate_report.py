"""What `risloc locate` writes: the table and the totals on the terminal, and the rows in CSV and JSON files."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from risloc.cli.alarms import Alarms
from risloc.cli.errors import counted
from risloc.cli.output_files import text_file
from risloc.cli.tally import Tally
from risloc.locating.echo_rows import ECHO_COLUMNS, echo_rows_of
from risloc.locating.found import Found
from risloc.locating.result_files import CsvFile, JsonFile
from risloc.locating.result_rows import COLUMNS, SKIPPED, TRUTH_COLUMNS, Row, scenes_of
from risloc.locating.result_table import empty_line, table_head, table_line
from risloc.locating.truth_errors import TruthErrors

__all__ = ["LocateReport", "RowFiles", "row_files"]

_COUNTED = {
    "auto": "each path counts as a source; with --echoes always, paths with the same symbols count as one",
    "always": "paths with the same symbols count as one source",
}


@dataclass(frozen=True)
class RowFiles:
    """The CSV and JSON files that were asked for.

    Parameters
    ----------
    csv
        The CSV file of the sources, or None.
    echo_csv
        The CSV file of the echoes, or None.
    json
        The JSON file, or None.
    """

    csv: CsvFile | None
    echo_csv: CsvFile | None
    json: JsonFile | None

    def add(self, found: Found, scenes: list[list[Row]], start: int) -> None:
        """Write located scenes.

        Parameters
        ----------
        found
            The result of a batch of scenes.
        scenes
            The rows of each scene.
        start
            The number of the first scene.
        """
        if self.csv is not None:
            self.csv.add(scenes)
        if self.echo_csv is not None:
            self.echo_csv.add(echo_rows_of(found, start))
        if self.json is not None:
            self.json.add(found, scenes, start)

    def skip(self, scene: int, why: str) -> None:
        """Write that a scene has no answer.

        Parameters
        ----------
        scene
            Its number.
        why
            The reason.
        """
        for output in (self.csv, self.json):
            if output is not None:
                output.skip(scene, why)


@contextlib.contextmanager
def row_files(targets: Mapping[str, Path], head: Mapping[str, Any], *, truth: bool) -> Iterator[RowFiles]:
    """Open the files, which are written as a whole or, if the block raises, not at all.

    Parameters
    ----------
    targets
        The paths by option, among them ``--csv``, ``--echo-csv`` and ``--json``.
    head
        The head of the JSON file.
    truth
        Whether rows have errors with respect to the truth.

    Yields
    ------
    RowFiles
        The files.
    """
    columns = (*COLUMNS, *(TRUTH_COLUMNS if truth else ()), SKIPPED)
    with contextlib.ExitStack() as stack:
        csv, echo_csv, json = (
            stack.enter_context(text_file(targets[name])) if name in targets else None
            for name in ("--csv", "--echo-csv", "--json")
        )
        files = RowFiles(
            csv=CsvFile(csv, columns) if csv is not None else None,
            echo_csv=CsvFile(echo_csv, ECHO_COLUMNS) if echo_csv is not None else None,
            json=JsonFile(json, head) if json is not None else None,
        )
        yield files
        if files.json is not None:
            files.json.end()


class LocateReport:
    """Prints the table of the first scenes, counts the sources of all scenes and collects warnings.

    Parameters
    ----------
    noise
        "given" or "estimated", which decides between the columns misfit and explained.
    truth
        Whether rows have errors with respect to the truth.
    show
        The number of scenes in the table.
    say
        Prints a line.
    """

    def __init__(self, noise: str, truth: bool, show: int, say: Callable[[str], object]) -> None:
        self.truth, self.skipped = truth, dict[int, str]()
        self._fit, self._show, self._say = "misfit" if noise == "given" else "explained", show, say
        self._sources, self._unresolved, self._echoes, self._ambiguous = 0, 0, 0, 0
        self._alarms, self._tally = Alarms(), Tally()
        if show:
            say(table_head(self._fit, truth=truth))

    def add(self, found: Found, scenes: list[list[Row]], errors: TruthErrors | None, start: int) -> None:
        """Add located scenes.

        Parameters
        ----------
        found
            The result of a batch of scenes.
        scenes
            The rows of each scene.
        errors
            The errors of its sources, or None if the truth is not known.
        start
            The number of the first scene.
        """
        self._alarms.add(found)
        self._tally.add(errors)
        for scene, rows in zip(scenes_of(found, start), scenes, strict=True):
            self._ambiguous += scene["grouping"] == "ambiguous"
            self._sources += len(rows)
            self._unresolved += sum(not row["resolved"] for row in rows)
            self._echoes += sum(row["echoes"] or 0 for row in rows)
            if scene["scene"] < self._show:
                for line in [table_line(row, self._fit) for row in rows] or [empty_line(scene, self._fit)]:
                    self._say(line)

    def skip(self, scene: int, why: str) -> None:
        """Add a scene without an answer.

        Parameters
        ----------
        scene
            Its number.
        why
            The reason.
        """
        self.skipped[scene] = why
        if scene < self._show:
            self._say(f"{scene:6}  skipped: {why}")

    def title(self, scenes: int, drawn: int) -> str:
        """Return the title of a picture.

        Parameters
        ----------
        scenes
            The number of scenes in the file.
        drawn
            The number of sources in the picture.

        Returns
        -------
        str
            The number of sources and scenes.
        """
        return f"{f'the first {drawn} of ' if drawn < self._sources else ''}{self._counts(scenes)}"

    def totals(self, scenes: int, echoes: str) -> None:
        """Print the number of sources, where symbols cannot tell echoes and, if the truth is known, how well sources match it.

        Parameters
        ----------
        scenes
            The number of scenes in the file.
        echoes
            "auto", "never" or "always".
        """
        first = counted(self._show, "scene") if self._show > 1 else "scene"
        part = f"; the table shows the first {first}" if 0 < self._show < scenes else ""
        self._say(f"{self._counts(scenes)}, {self._unresolved} not resolved{part}")
        if self._ambiguous:
            number = f"{self._ambiguous} of {counted(scenes, 'scene')}"
            self._say(f"{number}: the symbols do not vary and cannot tell an echo from a source; {_COUNTED[echoes]}")
        if self.truth:
            self._say(self._tally.words())

    def warnings(self, slots: int, *, order_known: bool, noise_given: bool) -> list[str]:
        """Return the warnings about the scenes; the arguments are those of `Alarms.words`.

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
        return self._alarms.words(slots, order_known, noise_given)

    def _counts(self, scenes: int) -> str:
        echoes = f" with {counted(self._echoes, 'echo', 'echoes')}" if self._echoes else ""
        return f"{counted(self._sources, 'source')}{echoes} in {counted(scenes, 'scene')}"
