"""docs/echoes.md from docs/echoes.json, which holds what studies/echoes.py has measured."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from risloc.performance.intervals import Interval
from risloc.utils.atomic_files import replacing
from studies.table_rows import table

__all__ = ["PAGE", "RESULTS", "Cell", "Results", "page", "read_results", "write_results"]

RESULTS, PAGE = Path("docs/echoes.json"), Path("docs/echoes.md")


@dataclass(frozen=True)
class Cell:
    """What was measured in the scenes of one world, SNR and number of sources, by method.

    gospa : mean GOSPA in metres.  right : share of scenes with the right number of sources.  close : share of sources within 3
    root-CRB, with echoes as parameters of the bound.  error : RMS error of matched sources over their root-CRB.  ratio : GOSPA over that
    in the same scenes without echoes, or over that of NOMP with the same knowledge of the noise where a world is not compared so.  inside : shares of matched, resolved sources inside their ellipsoids.
    """

    gospa: Mapping[str, Interval]
    right: Mapping[str, Interval]
    close: Mapping[str, Interval]
    error: Mapping[str, float]
    ratio: Mapping[str, Interval]
    inside: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Results:
    """The cells by name, each of so many scenes."""

    scenes: int
    cells: Mapping[str, Cell]


def read_results(path: Path = RESULTS) -> Results | None:
    """Read the results from their JSON file; None if there is none."""
    if not path.is_file():
        return None
    contents = json.loads(path.read_text(encoding="utf-8"))
    return Results(contents["scenes"], {name: _cell(values) for name, values in contents["cells"].items()})


def write_results(results: Results, path: Path = RESULTS, page_path: Path = PAGE) -> None:
    """Write the results as a JSON file, and the page of them."""
    for target, text in (
        (path, json.dumps(dataclasses.asdict(results), indent=1) + "\n"),
        (page_path, "\n".join(page(results)) + "\n"),
    ):
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")


def page(results: Results) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# Sources with echoes"
    yield ""
    yield (
        f"Written by `python -m studies.echoes --scenes {results.scenes}`. A source and its echoes are waves of the same symbols "
        "(see [Concepts](concepts.md)). GOSPA is a mean over the scenes with a cut-off of 2 m; 95 % intervals are in brackets. "
        "The number of sources is unknown unless a column says otherwise. *With echoes*: `risloc locate` as it is "
        "by default, with the noise variance given and correct, or unknown. *Ratio*: GOSPA over that in the same scenes "
        "(places, codes, symbols, noise and noise variance) without their echoes; in worlds without echoes, and in the preset robust, "
        "over that of NOMP with K by BIC and the same knowledge of the noise variance. A cell that is not in a table has not been measured."
    )
    for world in dict.fromkeys(name.split("; ")[0] for name in results.cells):
        names = sorted((name for name in results.cells if name.startswith(f"{world}; ")), key=_order)
        yield from _section(world, {name: results.cells[name] for name in names})


def _section(world: str, cells: Mapping[str, Cell]) -> Iterator[str]:
    yield ""
    yield f"## {world[0].upper()}{world[1:]}"
    yield ""
    methods = list(next(iter(cells.values())).gospa)
    yield "GOSPA in metres, and the share of scenes with the right number of sources:"
    yield ""
    heads = ["SNR", "K", *methods]
    yield from table(
        heads, [[*_place(name), *(_both(cell, method) for method in methods)] for name, cell in cells.items()]
    )
    known = {name: cell for name, cell in cells.items() if cell.close}
    if not known:
        return
    own = list(next(iter(known.values())).inside)
    yield ""
    yield "Sources within 3 root-CRB, RMS error of matched sources over root-CRB, and calibration of the stated covariance:"
    yield ""
    heads = [
        "SNR",
        "K",
        "method",
        "within 3 root-CRB",
        "error / root-CRB",
        "ratio",
        "inside 68 %",
        "inside 95 %",
        "resolved",
    ]
    yield from table(
        heads, [[*_place(name), method, *_quality(cell, method)] for name, cell in known.items() for method in own]
    )


def _order(name: str) -> tuple[float, int]:
    snr, count = _place(name)
    return float(snr.removesuffix(" dB")), int(count)


def _place(name: str) -> list[str]:
    _, snr, count = name.split("; ")
    return [snr, count.removeprefix("K = ")]


def _both(cell: Cell, method: str) -> str:
    return f"{_interval(cell.gospa[method])}, {cell.right[method].value:.3f}"


def _quality(cell: Cell, method: str) -> list[str]:
    inside = cell.inside[method]
    ratio = _interval(cell.ratio[method]) if method in cell.ratio else ""
    shares = [f"{inside[name]:.2f}" for name in ("68%", "95%", "resolved")]
    return [f"{cell.close[method].value:.3f}", f"{cell.error[method]:.2f}", ratio, *shares]


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _cell(values: Mapping[str, Mapping[str, object]]) -> Cell:
    def intervals(name: str) -> dict[str, Interval]:
        return {method: Interval(**value) for method, value in values[name].items()}  # type: ignore[arg-type]

    return Cell(
        gospa=intervals("gospa"),
        right=intervals("right"),
        close=intervals("close"),
        error=values["error"],  # type: ignore[arg-type]
        ratio=intervals("ratio"),
        inside=values["inside"],  # type: ignore[arg-type]
    )
