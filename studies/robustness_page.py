"""docs/robustness.md and its figure from docs/robustness.json, which holds what studies/robustness.py has measured."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from risloc.performance.intervals import Interval
from risloc.utils.atomic_files import replacing
from studies.robustness_methods import CUTOFF, METHODS
from studies.table_rows import shown, table

__all__ = ["FIGURE", "RESULTS", "Results", "Rows", "Tables", "page", "plot", "read_results", "write_results"]

RESULTS, FIGURE = Path("docs/robustness.json"), Path("docs/robustness.png")

_HOPELESS = 1.5  # metres, at a cut-off of 2

Rows = Mapping[str, Mapping[str, Interval]]
"""A value with its interval by row and method."""

Tables = Mapping[str, Rows]
"""The rows of each table by its title."""


@dataclass(frozen=True)
class Results:
    """What the page shows; GOSPA is in metres.

    scenes : in a cell.  departures : GOSPA, one departure from the model at a time.  worlds : GOSPA in those that no network
    was trained on.  counts : GOSPA by number of sources, a table for each SNR.  echoes : GOSPA with echoes and without them;
    none where they have not been measured.  right : likewise, the share of scenes with the right number of sources.
    ratios : GOSPA of the default method over that of the best other one, and the latter, for every row that is not free of error.
    """

    scenes: int
    departures: Tables
    worlds: Tables
    counts: Tables
    echoes: Tables = dataclasses.field(default_factory=dict)
    right: Tables = dataclasses.field(default_factory=dict)
    ratios: Tables = dataclasses.field(default_factory=dict)

    def row(self, title: str, row: str) -> Mapping[str, Interval]:
        """GOSPA by method in one row of a table; KeyError if there is none."""
        return {**self.departures, **self.worlds, **self.counts}[title][row]


def read_results(path: Path = RESULTS) -> Results:
    """Read the results from their JSON file."""
    contents = json.loads(path.read_text(encoding="utf-8"))
    return Results(contents.pop("scenes"), **{name: _tables(values) for name, values in contents.items()})


def write_results(results: Results, path: Path = RESULTS) -> None:
    """Write the results as a JSON file."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n", encoding="utf-8")


def _tables(values: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> Tables:
    return {
        name: {row: {method: Interval(**cell) for method, cell in cells.items()} for row, cells in rows.items()}
        for name, rows in values.items()
    }


def page(results: Results) -> Iterator[str]:
    """The lines of the page."""
    yield "# Robustness to model errors"
    yield ""
    yield (
        "This page shows the error of the shipped networks and of NOMP in scenes that depart from the model, or from the training "
        "scenes. `make robustness` writes it; edit the generator, not this page."
    )
    yield ""
    yield (
        f"Every number is a mean GOSPA in metres with a cut-off of {CUTOFF:g} m, over {results.scenes} scenes, with its 95 % bootstrap "
        "interval. `default` and `robust` are the shipped networks (see their cards in `risloc/learning/shipped`). All methods share "
        "selection and fit; NOMP searches a grid with half the step in u and v. NOMP finds the number of sources by BIC with the "
        "given noise level, or by BIC with the noise level unknown, which attributes the whole residual to noise. "
        "NOMP with echoes searches for waves with the symbols of a source, too, and does not count them as sources. "
        f"`{RESULTS}` holds the same numbers."
    )
    yield from _not_measured(results)
    yield from ("", f"![GOSPA against each departure]({FIGURE.name})")
    yield from ("", "## One departure from the model at a time: default scenario, 20 dB, K = 1..5", "")
    yield from _shown(results.departures)
    yield from ("## Scenarios that no network was trained on: 10 dB, K = 1..5", "")
    yield from _shown(results.worlds)
    yield from ("## Each SNR and number of sources: default scenario", "")
    yield from _shown(results.counts)
    if results.echoes:
        yield from _with_echoes(results)
    if results.ratios:
        yield from _against_the_best(results)


def _with_echoes(results: Results) -> Iterator[str]:
    yield from ("## Echoes: default scenario, 20 dB, K = 1..5", "")
    yield (
        "Each source has echoes from images that are farther away than the source. Below each table are the same scenes with the "
        "echoes removed: places, codes, symbols and noise variance are the same."
    )
    yield ""
    yield from _shown(results.echoes)
    yield from ("### Share of scenes with the right number of sources", "")
    yield from _shown(results.right)


def _against_the_best(results: Results) -> Iterator[str]:
    yield from ("## The default against the best other method", "")
    yield (
        "GOSPA of NOMP with echoes, the default of `risloc locate`, over that of the best other method that finds K and knows no more "
        "of the noise, in the same scenes, with the 95 % interval of the paired bootstrap; beside it the error of that method. Rows in "
        f"which the best error exceeds {_HOPELESS:g} m say little. Scenes without sources have no ratio: above, their GOSPA is that of "
        "false sources alone."
    )
    yield ""
    for title, rows in results.ratios.items():
        if rows:
            heads = list(next(iter(rows.values())))
            yield from table([title, *heads], ([row, *map(shown, values.values())] for row, values in rows.items()))


def _not_measured(results: Results) -> Iterator[str]:
    """What `METHODS` and the study have, and these results have not."""
    measured = _methods(results.departures)
    missing = [name for name in METHODS if name not in measured] + ([] if results.echoes else ["scenes with echoes"])
    if missing:
        yield from ("", f"Not measured yet, because they are newer than these results: {'; '.join(missing)}.")


def _methods(tables: Tables) -> list[str]:
    """The methods that were measured in every row, in the order of `METHODS`."""
    cells = [values for rows in tables.values() for values in rows.values()]
    return [name for name in METHODS if all(name in values for values in cells)]


def _shown(tables: Tables) -> Iterator[str]:
    methods = _methods(tables)
    for name, rows in tables.items():
        cells = ([row, *(shown(values[method]) for method in methods)] for row, values in rows.items())
        yield from table([name, *methods], cells)


def plot(departures: Tables) -> None:
    """One panel a departure, one line a method."""
    columns = 4
    rows = -(-len(departures) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axis, (title, cells) in zip(axes, departures.items(), strict=False):
        for name in _methods(departures):
            means = [values[name].value for values in cells.values()]
            axis.plot(list(cells), means, color=METHODS[name], marker="o", label=name)
        axis.set(xlabel=title, ylim=(0, None))
        axis.grid(True, alpha=0.3)
    for axis in axes[len(departures) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, loc="center")
    axes[0].set_ylabel("GOSPA [m]")
    figure.savefig(FIGURE, dpi=90)
