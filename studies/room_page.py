"""Write docs/room.md from the results of studies/room.py."""

import math
import statistics
from collections.abc import Iterator, Mapping

import numpy as np

from risloc.learning.k_rules import LEARNT
from risloc.performance.intervals import bootstrap_interval, proportion_interval
from stages.evaluation.method import HYBRID, NOMP
from stages.reporting.looks import phrase, rule_phrase
from studies.room_methods import CUTOFF, LENDER, NOMP_RULES, Cell
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
        "This page compares the shipped networks with NOMP in a ray-traced hall, by line of sight and with reflections. `make room` "
        "writes it; edit the generator, not this page."
    )
    yield ""
    yield (
        "The hall measures 12 x 6.5 x 8 m (`risloc/scenes/rooms/hall.yaml`). Sionna RT traces two things at 1 GHz: the channel H to "
        "the base station, which is known with all its paths, and the waves from each source to the surface. Of the latter the "
        "bound, the training of the networks and every method but NOMP with echoes model the line of sight only. Sources, codes, symbols and SNR follow "
        f"the preset `default`, with powers within +-6 dB. Each cell has {places * draws} scenes: {places} placements of the sources "
        f"with {draws} draws each of codes, powers, symbols and noise, the same in all worlds. Each world has one H, so the "
        "intervals cover the variation of sources and snapshots, but not of rooms."
    )
    yield from ("", "## What the base station observes", "")
    yield (
        "The table gives the effective rank of H, the bound and GOSPA at K = 2 and 10 dB. The rank is at most 16; a channel with "
        "independent entries has about 15. A compact array far away observes little more than one wave, to which reflections add "
        "a little. With antennas two wavelengths apart, in the near field of the surface, the line of sight alone gives nearly as "
        "many as there are antennas."
    )
    yield from ("", *_placements(placements))
    yield from ("", "## What limits the accuracy", "")
    yield from (f"- {name}: {_summary(table)}." for name, (_, table) in worlds.items())
    yield ""
    yield (
        "With K known, reflections keep the mean GOSPA at decimetres: they bias the estimates, and since the bias does not fall "
        "with the noise, fewer sources are within 3 root-CRB at 20 dB than at 10 dB. With K unknown and a given noise level, every "
        "deviation from the model appears as additional sources; the variation of the free-space loss over the surface suffices."
    )
    for name, (reflected_db, table) in worlds.items():
        yield from ("", f"## {name[0].upper()}{name[1:]}", "")
        if reflected_db > -math.inf:
            yield f"The reflections of a source have a median power of {reflected_db:.1f} dB relative to its line of sight."
        yield from _world(table)
    yield from ("", "## How it was made", "")
    yield (
        "Elements are isotropic and vertically polarised. Walls reflect specularly, without scattering, refraction or diffraction. "
        "All paths are divided by the modulus of the direct path at each element, so that the line of sight equals the steering "
        "vector; one world keeps this spreading loss. The bound is that of the line-of-sight model with the traced H, at the "
        "exact SNR, which counts all received power: with reflections, estimators need not reach it."
    )


def _summary(table: Table) -> str:
    """NOMP with the most sources at the highest SNR."""
    cell, known, rules = table[COUNTS[-1], SNRS[-1]], phrase(NOMP), NOMP_RULES[1:]
    outcomes, scenes = cell["methods"], len(cell["methods"][known]["gospa"])
    near = outcomes[known]["near"] / len(cell["bounds"])
    right = "; ".join(
        f"{outcomes[phrase(NOMP.by(rule), LENDER)]['right'] / scenes:.2f} {rule_phrase(rule, LENDER).removeprefix('K ')}"
        for rule in rules
    )
    return (
        f"NOMP at K = {COUNTS[-1]}, {SNRS[-1]:g} dB: {statistics.fmean(outcomes[known]['gospa']):.3f} m with K known, "
        f"{near:.2f} of the sources within 3 root-CRB. Share with the right K: {right}"
    )


def _placements(tables: Mapping[str, Table]) -> Iterator[str]:
    shown = (phrase(HYBRID, "default"), phrase(HYBRID.by(LEARNT), "robust"), phrase(NOMP))
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
    yield f"The effective rank of H is {first['rank']:.1f}; the median root-CRB is, in the order of the columns, {bounds} m."
    yield ""
    yield f"GOSPA [m] with a cut-off of {CUTOFF:g} m, and its 95 % interval:"
    yield ""
    names = list(first["methods"])
    yield from _table(["", *heads], [[name, *(_gospa(table[key], name) for key in cells)] for name in names])
    yield ""
    yield "Share of sources within 3 root-CRB / share of scenes with the right K:"
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
