"""The model card of a shipped network, from its checkpoint and the tables of its test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from risloc.config import as_mapping, build
from risloc.learning.checkpoint import load_checkpoint
from risloc.learning.k_rules import BY_BIC, K_RULES, LEARNT, NOISE_UNKNOWN
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from stages.evaluation.method import HYBRID, NOMP, Method
from studies.card_limits import limits
from studies.robustness_page import read_results
from studies.table_rows import (
    ABOVE,
    FEW,
    Row,
    Tables,
    bound_head,
    by_rules,
    by_snr,
    covariances,
    db,
    of_every_k,
    pooled,
    rule_words,
    section,
    those_of,
    value,
    with_stochastic,
    words,
)

__all__ = ["BOTH", "SHOWN", "Tested", "card"]


BOTH = (HYBRID, NOMP)
"""The hybrid, and NOMP beside it."""

SHOWN = (*BOTH, *(Method(source) for source in ("R_samp", "back_projection", "sbl", "untrained")))
"""The methods whose GOSPA is shown, by each K rule that they are run with."""

SEEKING = (BY_BIC, LEARNT)  # K rules whose errors stand beside the bound


@dataclass(frozen=True)
class Tested:
    """How the tables came about: the preset of the test, the commit whose code made them, the level of the intervals."""

    preset: str
    commit: str
    confidence: float


def card(name: str, shipped: Path, tables: Tables, trained_on: str, tested: Tested) -> Iterator[str]:
    """The lines of the model card.

    shipped : the folder of weights and config.  trained_on : the preset.
    """
    network, extra = load_checkpoint(shipped)
    size = sum(each.numel() for each in network.parameters())
    yield f"# Network `{name}`"
    yield ""
    yield (
        f"This network predicts the hybrid covariance of scenes of the preset `{trained_on}`, and its learnt K rule the number of "
        f"sources. It has {size:,} parameters, stored as safetensors. `evaluate.checkpoint: {name}` evaluates with it, and "
        f'`load_checkpoint(shipped_checkpoint("{name}"))` of `risloc.learning.checkpoint` loads it.'
    )
    yield from _training(name, extra, trained_on, tested)
    yield from ("", "## Training scenario", "")
    scenario = as_mapping(network.scenario)
    for key in ("snr_db_span", "K_span", "azimuth_span_deg", "elevation_span_deg", "distance_span_m", "rician_span"):
        yield f"- {key}: {scenario[key]}"
    yield f"- mismatch: {scenario['mismatch']}, coherent_fraction: {scenario['coherent_fraction']}"
    if network.scenario.echoes.on:
        yield f"- echoes: {scenario['echoes']}"
    yield from _measured(tables, tested)
    yield from ("", "## Limits", "")
    yield (
        "The network fits one array and one wavelength: another `n_h`, `n_v`, `carrier_hz`, `reference` or `K_MAX` is rejected. "
        "Sources outside the spans above are placed at their border."
    )
    yield from limits(name, read_results())


def _training(name: str, extra: Mapping[str, Any], trained_on: str, tested: Tested) -> Iterator[str]:
    fit, train, order, made = (extra[key] for key in ("fit", "train", "order", "made"))
    held = made["order_held_back"]
    yield from ("", "## Data and training", "")
    yield (
        f"The training scenes were drawn during training and each used once: preset `{trained_on}`, seed {extra['seed']}, "
        f"{train['epochs']} epochs of {made['epoch_scenes']:,}; batches of {fit['batch_size']}, AdamW, peak learning rate "
        f"{fit['learning_rate']:g}, averaged weights (decay {fit['ema_decay']:g}). The loss weights are "
        + ", ".join(f"{key} {each:g}" for key, each in extra["loss"].items() if key.startswith("lam_"))
        + f". The K rule was fitted on {order['scenes'] - held:,} further scenes and tested on {held:,} more, where GOSPA / 2 m is "
        f"{order['gospa_learnt']:.3f}, with K by BIC {order['gospa_bic']:.3f}, with K known {order['gospa_known']:.3f}. The physical "
        f"score on validation scenes is {extra['score']:.3f}. The command was"
    )
    yield from ("", f"    make ship NAME={name}", "")
    yield (
        f"The network was trained with the code of commit {made['train']}, the K rule fitted with that of {made['order']}, and both "
        f"tested with that of {tested.commit} (the last commit before the test that changed risloc/, stages/, pipeline/ or "
        f"params.yaml). `python -m studies.ship {name} --test` repeats the test."
    )


def _measured(tables: Tables, tested: Tested) -> Iterator[str]:
    """Every table of the test."""
    gospa, snrs = tables["by_snr"], sorted({row["snr_db"] for row in tables["by_snr"]})
    every = with_stochastic(by_rules(SHOWN, K_RULES), gospa)
    both = with_stochastic(by_rules(BOTH, K_RULES), gospa)
    head = ["method", "K", *map(db, snrs)]
    yield from ("", f"## Results on preset `{tested.preset}`", "")
    yield (
        f"There are {gospa[0]['scenes']} scenes for each SNR; brackets contain {100 * tested.confidence:g} % intervals. R_blend is "
        "the hybrid. The learnt K rule is that of this network; the hybrid and NOMP are both tested with it. The stochastic fit is "
        "tested only with K known and with K by BIC."
    )
    yield from section(
        "GOSPA with cut-off 2 m",
        head,
        [
            *_named(gospa, every, snrs, "gospa_2m"),
            ["best without a network", "K by either BIC", *_lowest(gospa, snrs)],
        ],
        "Mean over the scenes, in metres; missed and false sources count.",
        level=3,
    )
    ends = [(snr, cutoff) for snr in (snrs[0], snrs[-1]) for cutoff in ("0.5", "5")]
    yield from section(
        "GOSPA with cut-offs 0.5 and 5 m",
        ["method", "K", *(f"{cutoff} m, {db(snr)}" for snr, cutoff in ends)],
        _joined([_named(gospa, both, [snr], f"gospa_{cutoff}m") for snr, cutoff in ends]),
        "The same at the lowest and the highest SNR, in metres.",
        level=3,
    )
    yield from section(
        "The hybrid minus NOMP",
        head,
        _named(tables["paired"], those_of(tables["paired"], by_rules([HYBRID], K_RULES)), snrs, "gospa_2m_less_nomp"),
        "Mean difference of GOSPA (cut-off 2 m) in the same scenes with the same K rule, in metres; below 0 the hybrid is better.",
        level=3,
    )
    whole = of_every_k(tables["k_accuracy"])
    yield from section(
        "How many sources",
        head,
        _named(whole, those_of(whole, by_rules(BOTH, K_RULES)), snrs, "K_accuracy"),
        "Share of the scenes with the right K.",
        level=3,
    )
    yield from _bound(tables["by_cell"], snrs, tested)
    yield from covariances(tables["covariances"], level=3)


def _bound(by_cell: list[Row], snrs: Sequence[float], tested: Tested) -> Iterator[str]:
    """Yield the errors and the bound, if the bound applies to the scenes that were tested."""
    scenario = build(Scenario, preset(tested.preset), tested.preset)
    if scenario.mismatch.on or scenario.echoes.on:
        yield from ("", "### Comparison with the bound", "")
        yield (
            "This comparison is left out: the bound assumes the model, with the direct paths only and the given channel. It does "
            "not apply with element errors, a wrong channel or extra paths."
        )
        return
    found = {(row["method"], row["snr_db"], row["count"]): row for row in by_cell}
    counts = sorted({row["count"] for row in by_cell if row["count"] > 0})
    rows = []
    for name in those_of(by_cell, by_rules(BOTH, SEEKING)):
        for count in counts:
            cells = (found[name, snr, count] for snr in snrs)
            pairs = (f"{value(r, 'within_3_root_crb')} / {value(r, 'error_over_root_crb_median')}" for r in cells)
            rows.append([*_label(name), f"{count:g}", *pairs])
    yield from section(
        "Comparison with the bound",
        ["method", "K", "sources", *map(db, snrs)],
        rows,
        "Share of all sources, including missed ones, within 3 root-CRB of the truth / their median of error / root-CRB.",
        level=3,
    )
    names = with_stochastic(by_rules(SHOWN, SEEKING), by_cell)
    yield from section(
        f"At the bound above threshold: {ABOVE[0]:g}..{ABOVE[-1]:g} dB, {FEW[0]} to {FEW[-1]} sources",
        ["method", "K", *bound_head()],
        ([*_label(name), *pooled(by_cell, name, tested.confidence)] for name in names),
        "The columns are the share of the sources within 3 root-CRB; over those, the root mean square of error / root-CRB; and the "
        "median of that ratio over all sources, as a range over the cells. An efficient estimator has about 1 and 0.68 in the "
        "last two.",
        level=3,
    )


def _label(name: str) -> list[str]:
    return [words(name), rule_words(name)]


def _named(rows: list[Row], names: Sequence[str], snrs: Sequence[float], column: str) -> list[list[str]]:
    """`by_snr` with the K rule in a column of its own."""
    return [[*_label(name), *cells] for name, (_, *cells) in zip(names, by_snr(rows, names, snrs, column), strict=True)]


def _joined(tables: Sequence[list[list[str]]]) -> list[list[str]]:
    """Tables of the same methods side by side."""
    return [[*rows[0], *(cell for row in rows[1:] for cell in row[2:])] for rows in zip(*tables, strict=True)]


def _lowest(rows: list[Row], snrs: Sequence[float]) -> Iterator[str]:
    """The classical method of least GOSPA at each SNR, K by BIC, the noise level as given or unknown."""
    methods = {name: Method.named(name) for name in dict.fromkeys(row["method"] for row in rows)}
    names = {n for n, m in methods.items() if m.group == "classical" and m.rule in (BY_BIC, NOISE_UNKNOWN)}
    for snr in snrs:
        best = min(
            (row for row in rows if row["snr_db"] == snr and row["method"] in names), key=lambda r: r["gospa_2m"]
        )
        yield f"{best['gospa_2m']:.3f}: {', '.join(_label(best['method']))}"
