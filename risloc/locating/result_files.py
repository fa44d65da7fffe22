"""CSV and JSON files of located sources and their echoes, written batch by batch."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import TextIOBase
from typing import Any, TextIO

from risloc.locating.found import Found
from risloc.locating.result_rows import SKIPPED, Row, records_of

__all__ = ["CsvFile", "JsonFile"]


class CsvFile:
    """A CSV file with one row per source or echo.

    Parameters
    ----------
    file
        The file to write to.
    columns
        The names of the columns.
    """

    def __init__(self, file: TextIO | TextIOBase, columns: Sequence[str]) -> None:
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        self._writer.writeheader()

    def add(self, scenes: list[list[Row]]) -> None:
        """Write the rows of scenes.

        Parameters
        ----------
        scenes
            The rows of each scene.
        """
        for rows in scenes:
            self._writer.writerows(rows)

    def skip(self, scene: int, why: str) -> None:
        """Write a row that says why a scene was skipped.

        Parameters
        ----------
        scene
            The number of the scene.
        why
            The reason.
        """
        self._writer.writerow({"scene": scene, SKIPPED: why})


class JsonFile:
    """A JSON file with one record per scene; a number that is not finite is null.

    Its layout is {..., "scenes": [{"scene": 0, "noise_var": ..., "sources": [...]}, ...]}.

    Parameters
    ----------
    file
        The file to write to.
    head
        The entries before the scenes.
    """

    def __init__(self, file: TextIO | TextIOBase, head: Mapping[str, Any]) -> None:
        self._file, self._between = file, "\n"
        file.write(json.dumps(dict(head), allow_nan=False)[:-1] + ', "scenes": [')

    def add(self, found: Found, scenes: list[list[Row]], start: int) -> None:
        """Write the records of scenes.

        Parameters
        ----------
        found
            The sources.
        scenes
            The rows of each scene.
        start
            The number of the first scene.
        """
        for record in records_of(found, start, scenes):
            self._write(record)

    def skip(self, scene: int, why: str) -> None:
        """Write a record without sources that says why a scene was skipped.

        Parameters
        ----------
        scene
            The number of the scene.
        why
            The reason.
        """
        self._write({"scene": scene, "noise_var": None, "sources": [], SKIPPED: why})

    def end(self) -> None:
        """Write the closing brackets."""
        self._file.write("\n]}\n")

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(self._between + json.dumps(record, allow_nan=False))
        self._between = ",\n"
