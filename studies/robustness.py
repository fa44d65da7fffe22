"""Where the world is not the model, or not the one trained for: shipped networks beside NOMP, and docs/robustness.md.

    python -m studies.robustness [--scenes 400]        (`make robustness`)

Error against each departure from the model alone, at 20 dB; then the worlds that no network was trained on: channels with a
strong line of sight, other codes; then each number of sources by SNR. A cell that has been computed with the same code,
networks and settings is kept in ship/robustness.json, so that an interrupted run goes on.
"""

import argparse
import hashlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch

from pipeline.sections import override
from risloc.config import as_mapping, build, read_yaml
from risloc.estimation.localiser import Localiser, SearchConfig
from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.performance.intervals import bootstrap_interval
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.atomic_files import replacing
from stages.support.resumable import source_digest
from studies.robustness_methods import CUTOFF, METHODS, Cell, located

matplotlib.use("Agg")

SEED, BATCH = 20261124, 50
KEPT, PAGE, FIGURE = Path("ship/robustness.json"), Path("docs/robustness.md"), Path("docs/robustness.png")

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


def main() -> None:
    """Compute what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=400, help="of a cell")
    count = parser.parse_args().scenes
    torch.set_num_threads(1)
    study = Study(count)
    with replacing(PAGE) as temporary:
        temporary.write_text("\n".join(page(study)) + "\n", encoding="utf-8")
    print(f"{PAGE} and {FIGURE} are written")


class Study:
    """Cells of scenes, computed once: GOSPA of every method in every scene."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.base = build(Scenario, preset("default"), "default")
        self.search = build(SearchConfig, read_yaml(Path("params.yaml"))["search"], "search")
        self.networks = {name: load_checkpoint(shipped_checkpoint(name))[0] for name in SHIPPED}
        code = source_digest("risloc.scenes.simulation") + source_digest(located.__module__)
        weights = [(shipped_checkpoint(name) / "model.safetensors").read_bytes() for name in SHIPPED]
        self.state = hashlib.sha256(b"".join(weights) + code.encode()).hexdigest()
        self.kept: dict[str, Cell] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}

    def cell(self, changes: Mapping[str, Any], snr_db: float, sources: int | None = None) -> Cell:
        """GOSPA by method, scene by scene, of the default scenario with these changes."""
        scenario = changed(self.base, changes)
        asked = [self.state, as_mapping(scenario), as_mapping(self.search), snr_db, sources, self.count, SEED]
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:20]
        if key not in self.kept:
            print(
                f"{changes or 'default'}, {snr_db:g} dB, K = {sources if sources is not None else scenario.K_span}",
                flush=True,
            )
            self.kept[key] = self._compute(scenario, snr_db, sources)
            KEPT.parent.mkdir(exist_ok=True)
            with replacing(KEPT) as temporary:
                temporary.write_text(json.dumps(self.kept), encoding="utf-8")
        return self.kept[key]

    def _compute(self, scenario: Scenario, snr_db: float, sources: int | None) -> Cell:
        localiser, found = Localiser(scenario, self.search), {name: list[float]() for name in METHODS}
        for first in range(0, self.count, BATCH):
            stop = min(first + BATCH, self.count)
            scenes = simulate(scenario, seed=SEED, split="test", start=first, stop=stop, snr_db=snr_db, count=sources)
            with torch.inference_mode():
                for name, values in located(scenes, localiser, self.networks).items():
                    found[name] += values
        return found


def changed(base: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with the values at these dotted paths; extra paths come on with their power."""
    on = {"mismatch.multipath_paths": 2} if "mismatch.multipath_db" in changes else {}
    plain = {path: list(value) if isinstance(value, tuple) else value for path, value in changes.items()}
    return build(Scenario, override(as_mapping(base), plain | on), "scenario")


def page(study: Study) -> Iterator[str]:
    """The lines of the page; draws its figure."""
    curves = {title: [study.cell({path: v}, 20.0) for v in values] for title, (path, values) in MISMATCH.items()}
    plot(curves)
    yield "# Where the world is not the model"
    yield ""
    yield (
        f"Written by `make robustness`; edit the generator, not this page. GOSPA with cut-off {CUTOFF:g} m, in metres, mean over "
        f"{study.count} scenes with its 95 % bootstrap interval. `default` and `robust` are the shipped networks (see their "
        "cards in `risloc/learning/shipped`); all methods share engine and fit; NOMP searches a grid of half the steps in u and v. NOMP takes its number of sources from BIC with "
        "the noise level as given, and from BIC that takes what is not explained for noise."
    )
    yield from ("", f"![GOSPA against each departure]({FIGURE.name})")
    yield from ("", "## One departure at a time: default scenario, 20 dB, K = 1..5", "")
    for title, (_, values) in MISMATCH.items():
        yield from _table(title, [_shown(value) for value in values], curves[title])
    yield from ("## Worlds that no network was trained on: 10 dB, K = 1..5", "")
    yield from _table("world", list(ELSEWHERE), [study.cell(changes, 10.0) for changes in ELSEWHERE.values()])
    snrs, everyone = (-5.0, 0.0, 10.0, 20.0, 30.0), range(study.base.K_MAX + 1)
    yield from ("## One model for every SNR and number of sources: default world", "")
    wide = {"K_span": (0, study.base.K_MAX)}
    for snr in snrs:
        yield from _table(f"K, at {snr:g} dB", [str(k) for k in everyone], [study.cell(wide, snr, k) for k in everyone])


def _table(title: str, heads: Sequence[str], cells: Sequence[Cell]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(METHODS) + " |"
    yield "|" + "---|" * (1 + len(METHODS))
    for head, cell in zip(heads, cells, strict=True):
        yield f"| {head} | " + " | ".join(_mean(cell[name]) for name in METHODS) + " |"
    yield ""


def _mean(values: Sequence[float]) -> str:
    found = bootstrap_interval(torch.tensor(values, dtype=torch.float64).numpy(), lambda x: x.mean(axis=-1), 0.95, SEED)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _shown(value: object) -> str:
    return f"{value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def plot(curves: Mapping[str, Sequence[Cell]]) -> None:
    """One panel a departure, one line a method."""
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axis, (title, cells) in zip(axes, curves.items(), strict=False):
        heads = [_shown(value) for value in MISMATCH[title][1]]
        for name, colour in METHODS.items():
            axis.plot(heads, [statistics.fmean(cell[name]) for cell in cells], color=colour, marker="o", label=name)
        axis.set(xlabel=title, ylim=(0, None))
        axis.grid(True, alpha=0.3)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(handles, labels, loc="center")
    axes[0].set_ylabel("GOSPA [m]")
    figure.savefig(FIGURE, dpi=90)


if __name__ == "__main__":
    main()
