"""docs/room.md from the cells of studies/room.py."""

import math
import statistics
from collections.abc import Iterator, Mapping

import numpy as np

from risloc.performance.intervals import bootstrap_interval, proportion_interval
from studies.room_methods import CUTOFF, Cell
from studies.room_worlds import COUNTS, SNRS

__all__ = ["page"]

LEVEL, SEED = 0.95, 1
Table = Mapping[tuple[int, float], Cell]


def page(
    places: int, draws: int, worlds: Mapping[str, tuple[float, Table]], placements: Mapping[str, Table]
) -> Iterator[str]:
    """The lines of the page."""
    yield from ("# In a ray-traced room", "")
    yield (
        "Written by `make room`; edit the generator, not this page. A hall of 12 x 6.5 x 8 m (`risloc/scenes/rooms/hall.yaml`), traced at "
        "1 GHz by Sionna RT: the channel H to the base station, which is known with all its paths, and what each source sends to "
        "the surface, of which every method, the networks' training and the bound know the line of sight alone. Sources, "
        f"codes, symbols and SNR are those of preset `default`, powers within +-6 dB: {places * draws} scenes a cell, {places} "
        f"placements of the sources with {draws} draws each of codes, powers, symbols and noise, the same in all worlds. Each world "
        "has one H. So intervals tell of sources and snapshots, not of rooms."
    )
    yield from ("", "## What the base station sees decides", "")
    yield (
        "H's effective rank, at most 16 (independent entries have about 15); the bound, and GOSPA, "
        "at K = 2 and 10 dB. Compact antennas far away see little more than one wave, to which reflections add a little; the same antennas two "
        "wavelengths apart, in the near field of the surface, see nearly as many as there are antennas by line of sight alone."
    )
    yield from ("", *_placements(placements))
    yield from ("", "## What is then left", "")
    yield from (f"- {name}: {_summary(table)}." for name, (_, table) in worlds.items())
    yield ""
    yield (
        "With K known mean GOSPA stays at decimetres: reflections pull the estimates, and since "
        "the pull does not fall with the noise, fewer sources are within 3 root-CRB at 20 dB than at 10. With K unknown, a noise "
        "level that is given makes sources of whatever the model lacks, and the differences of free-space loss over "
        "the surface alone are enough for that."
    )
    for name, (reflected_db, table) in worlds.items():
        yield from ("", f"## {name[0].upper()}{name[1:]}", "")
        if reflected_db > -math.inf:
            yield f"The reflections of a source have {reflected_db:.1f} dB of the power of its line of sight, in the median."
        yield from _world(table)
    yield from ("", "## How it was made", "")
    yield (
        "Elements are isotropic and polarised vertically; faces reflect like mirrors (no scattering, refraction or diffraction). "
        "Paths are scaled by the modulus of the direct one at each element, so that the line of sight is the steering vector; "
        "in one world that loss is kept. The bound is that of the line-of-sight model with the traced H, at the exact SNR, in which "
        "all that arrives counts: with reflections no unbiased estimator need reach it."
    )


def _summary(table: Table) -> str:
    """NOMP with the most sources at the highest SNR."""
    cell = table[COUNTS[-1], SNRS[-1]]
    methods, scenes = cell["methods"], len(cell["methods"]["NOMP, K known"]["gospa"])
    near = methods["NOMP, K known"]["near"] / len(cell["bounds"])
    known = statistics.fmean(methods["NOMP, K known"]["gospa"])
    rules = [name for name in methods if name.startswith("NOMP") and "known" not in name.split(",")[1]]
    right = "; ".join(f"{methods[name]['right'] / scenes:.2f} {name.removeprefix('NOMP, K ')}" for name in rules)
    return f"NOMP at K = {COUNTS[-1]}, {SNRS[-1]:g} dB: {known:.3f} m with K known, {near:.2f} of sources within 3 root-CRB. K right: {right}"


def _placements(tables: Mapping[str, Table]) -> Iterator[str]:
    shown = ("hybrid `default`, K known", "hybrid `robust`, K learnt", "NOMP, K known")
    heads = ["base station", "effective rank", "root-CRB, median [m]", *(f"{name}, GOSPA [m]" for name in shown)]
    rows = []
    for name, table in tables.items():
        (cell,) = table.values()
        rows.append([name, f"{cell['rank']:.1f}", f"{statistics.median(cell['bounds']):.3f}"])
        rows[-1] += [_gospa(cell, method) for method in shown]
    return _table(heads, rows)


def _world(table: Table) -> Iterator[str]:
    first = next(iter(table.values()))
    cells = [(k, snr) for snr in SNRS for k in COUNTS]
    bounds = ", ".join(f"{statistics.median(table[key]['bounds']):.3f}" for key in cells)
    heads = [f"K = {k}, {snr:g} dB" for k, snr in cells]
    yield f"Effective rank of H {first['rank']:.1f}; median root-CRB in the order of the columns {bounds} m."
    yield ""
    yield f"GOSPA [m], cut-off {CUTOFF:g} m, with its 95 % interval:"
    yield ""
    names = list(first["methods"])
    yield from _table(["", *heads], [[name, *(_gospa(table[key], name) for key in cells)] for name in names])
    yield ""
    yield "Share of sources within 3 root-CRB / share of scenes whose K is right:"
    yield ""
    yield from _table(["", *heads], [[name, *(_shares(table[key], name) for key in cells)] for name in names])


def _gospa(cell: Cell, name: str) -> str:
    found = bootstrap_interval(np.array(cell["methods"][name]["gospa"]), lambda x: x.mean(axis=-1), LEVEL, SEED)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _shares(cell: Cell, name: str) -> str:
    method = cell["methods"][name]
    near = proportion_interval(method["near"], len(cell["bounds"]), LEVEL)
    right = method["right"] / len(method["gospa"])
    return f"{near.value:.2f} [{near.low:.2f}, {near.high:.2f}] / {right:.2f}"


def _table(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
