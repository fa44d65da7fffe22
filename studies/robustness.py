"""Where the world is not the model, or not the one trained for: shipped networks beside NOMP.

Writes docs/robustness.json, and from it docs/robustness.md and its figure.

    python -m studies.robustness [--scenes 400]        (`make robustness`)

Error against each departure from the model alone, at 20 dB; then the worlds that no network was trained on: channels with a
strong line of sight, other codes; then each number of sources by SNR; then echoes, beside the same scenes without them. A cell that has been computed with the same code,
networks and settings is kept in ship/robustness.json, so that an interrupted run is resumed.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.sections import override
from risloc.config import as_mapping, build
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import SearchConfig
from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.performance.intervals import Interval, bootstrap_interval, proportion_interval
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.atomic_files import replacing
from risloc.utils.yaml_reader import read_yaml
from stages.support.resumable import source_digest
from studies.paired_ratio import paired_ratio
from studies.robustness_methods import METHODS, RIVALS, Cell, empty_cell, located
from studies.robustness_page import FIGURE, RESULTS, Results, Rows, page, plot, write_results

SEED, BATCH = 20261124, 50
SNRS = (-5.0, 0.0, 10.0, 20.0, 30.0)  # dB, at which each number of sources is shown
KEPT, PAGE = Path("ship/robustness.json"), Path("docs/robustness.md")

MISMATCH: Mapping[str, tuple[str, Sequence[Any]]] = {
    "phase error of each element, standard deviation [deg]": (
        "mismatch.element_phase_std_deg",
        (0.0, 2.5, 5.0, 10.0, 20.0),
    ),
    "gain error of each element, standard deviation [dB]": ("mismatch.element_gain_std_db", (0.0, 0.5, 1.0, 2.0)),
    "share of dead elements": ("mismatch.dead_fraction", (0.0, 0.02, 0.05, 0.1)),
    "NMSE of the channel estimate": ("mismatch.channel_error", (0.0, 0.003, 0.01, 0.03, 0.1)),
    "two extra paths a source, their power [dB]": ("mismatch.multipath_db", (-30.0, -18.0, -12.0, -6.0)),
    "share of coherent scenes": ("coherent_fraction", (0.0, 0.5, 1.0)),
    "powers within +- [dB]": ("power_span_db", ((0.0, 0.0), (-3.0, 3.0), (-6.0, 6.0), (-10.0, 10.0))),
}
"""What departs from the default scenario, K = 1..5, one at a time."""

ELSEWHERE: Mapping[str, Mapping[str, Any]] = {
    "as trained for: k in 0..0.4, random 3-bit codes": {},
    "k = 2, a line of sight": {"rician_span": (2.0, 2.0)},
    "k = 10, a strong line of sight": {"rician_span": (10.0, 10.0)},
    "random 1-bit codes": {"code_bits": 1},
    "2-D DFT codes": {"codebook": "dft"},
    "sources closer than trained: no least separation": {"min_separation_uv": 0.0},
}
"""Channels, codes and separations of other distributions, at 10 dB."""


def _echoing(paths: int, power_db: float) -> Mapping[str, Any]:
    return {"echoes.law": "farther", "echoes.paths": paths, "echoes.power_db": power_db}


ECHOES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "two echoes a source, their mean power together [dB]": {
        f"{power:g}": _echoing(2, power) for power in (-30.0, -24.0, -18.0, -12.0, -6.0, 0.0)
    },
    "echoes a source, their mean power together -6 dB": {str(paths): _echoing(paths, -6.0) for paths in range(1, 7)},
}
"""How many echoes a source has and how strong they are, at 20 dB."""


def main() -> None:
    """Compute what is missing and write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=400, help="scenes in each cell")
    count = parser.parse_args().scenes
    torch.set_num_threads(1)
    write(results_of(Study(count)))
    print(f"{RESULTS}, {PAGE} and {FIGURE} are written")


def write(results: Results) -> None:
    """Write the results, and the page and its figure from them."""
    write_results(results)
    plot(results.departures)
    with replacing(PAGE) as temporary:
        temporary.write_text("\n".join(page(results)) + "\n", encoding="utf-8")


class Study:
    """Cells of scenes, computed once: what every method finds in every scene."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.base = build(Scenario, preset("default"), "default")
        self.search = build(SearchConfig, read_yaml(Path("params.yaml"))["search"], "search")
        self.networks = {name: load_checkpoint(shipped_checkpoint(name))[0] for name in SHIPPED}
        code = source_digest("risloc.scenes.simulation") + source_digest(located.__module__)
        weights = [(shipped_checkpoint(name) / "model.safetensors").read_bytes() for name in SHIPPED]
        self.state = hashlib.sha256(b"".join(weights) + code.encode()).hexdigest()
        self.kept: dict[str, Cell] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}

    def cell(
        self, changes: Mapping[str, Any], snr_db: float, sources: int | None = None, *, echoes: bool = True
    ) -> Cell:
        """The cell of the default scenario with these changes; `echoes=False` takes the echoes out of the same scenes."""
        scenario = changed(self.base, changes)
        asked = [self.state, as_mapping(scenario), as_mapping(self.search), snr_db, sources, echoes, self.count, SEED]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:20]
        if key not in self.kept:
            print(
                f"{changes or 'default'}, {snr_db:g} dB, K = {sources if sources is not None else scenario.K_span}"
                f"{'' if echoes else ', echoes removed'}",
                flush=True,
            )
            self.kept[key] = self._compute(scenario, snr_db, sources, echoes)
            KEPT.parent.mkdir(exist_ok=True)
            with replacing(KEPT) as temporary:
                temporary.write_text(json.dumps(self.kept), encoding="utf-8")
        return self.kept[key]

    def _compute(self, scenario: Scenario, snr_db: float, sources: int | None, echoes: bool) -> Cell:
        localiser, found = EchoLocaliser(Localiser(scenario, self.search)), empty_cell()
        drawn = partial(simulate, scenario, seed=SEED, split="test", snr_db=snr_db, count=sources, echoes=echoes)
        for first in range(0, self.count, BATCH):
            scenes = drawn(start=first, stop=min(first + BATCH, self.count))
            with torch.inference_mode():
                part = located(scenes, localiser, self.networks)
            for name in METHODS:
                found["gospa"][name] += part["gospa"][name]
                found["right"][name] += part["right"][name]
        return found


def changed(base: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with the values at these dotted paths; extra paths come on with their power."""
    on = {"mismatch.multipath_paths": 2} if "mismatch.multipath_db" in changes else {}
    plain = {path: list(value) if isinstance(value, tuple) else value for path, value in changes.items()}
    return build(Scenario, override(as_mapping(base), plain | on), "scenario")


def results_of(study: Study) -> Results:
    """Every table of the page."""
    departures = {
        title: {_shown(value): study.cell({path: value}, 20.0) for value in values}
        for title, (path, values) in MISMATCH.items()
    }
    worlds = {"world": {name: study.cell(changes, 10.0) for name, changes in ELSEWHERE.items()}}
    wide, counts = {"K_span": (0, study.base.K_MAX)}, range(study.base.K_MAX + 1)
    by_count = {f"K, at {snr:g} dB": {str(k): study.cell(wide, snr, k) for k in counts} for snr in SNRS}
    echoes = {
        words: {row: study.cell(changes, 20.0, echoes=kept) for row, changes in rows.items()}
        for title, rows in ECHOES.items()
        for words, kept in ((title, True), (f"{title}, removed", False))
    }
    return Results(
        study.count,
        departures=_each(departures, _means),
        worlds=_each(worlds, _means),
        counts=_each(by_count, _means),
        echoes=_each(echoes, _means),
        right=_each(echoes, _shares),
        ratios=_each(departures | worlds | by_count | echoes, _ratios),
    )


def _each(
    tables: Mapping[str, Mapping[str, Cell]], made: Callable[[Cell], Mapping[str, Interval]]
) -> Mapping[str, Rows]:
    """What is made of the cells of each table; rows of which nothing is made are left out."""
    found = {title: {row: made(cell) for row, cell in cells.items()} for title, cells in tables.items()}
    return {title: {row: values for row, values in rows.items() if values} for title, rows in found.items()}


def _ratios(cell: Cell) -> Mapping[str, Interval]:
    """The default over the best other method that finds K and knows as much of the noise; empty where that makes no error."""
    found: dict[str, Interval] = {}
    for words, (default, others) in RIVALS.items():
        best = min(others, key=lambda name: sum(cell["gospa"][name]))
        errors, least = (np.asarray(cell["gospa"][name], dtype=np.float64) for name in (default, best))
        if not least.any():
            return {}
        found[words] = _rounded(paired_ratio(errors, least, 0.95, SEED))
        found[f"best other, {words} [m]"] = _mean(cell["gospa"][best])
    return found


def _means(cell: Cell) -> Mapping[str, Interval]:
    """The mean GOSPA of each method with its interval, in whole millimetres."""
    return {name: _mean(values) for name, values in cell["gospa"].items()}


def _mean(values: Sequence[float]) -> Interval:
    return _rounded(
        bootstrap_interval(torch.tensor(values, dtype=torch.float64).numpy(), lambda x: x.mean(axis=-1), 0.95, SEED)
    )


def _shares(cell: Cell) -> Mapping[str, Interval]:
    """The share of scenes in which each method finds the right number of sources."""
    return {name: _rounded(proportion_interval(sum(right), len(right), 0.95)) for name, right in cell["right"].items()}


def _rounded(x: Interval) -> Interval:
    return Interval(*(round(value, 3) for value in (x.value, x.low, x.high)))


def _shown(value: object) -> str:
    return f"{value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


if __name__ == "__main__":
    main()
