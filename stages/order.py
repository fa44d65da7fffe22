"""Fit the trained network's own K rule on scenes that it has not seen; the checkpoint is network and rule together."""

from dataclasses import dataclass
from pathlib import Path

from risloc.config import ParamError, as_mapping, param
from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import SearchConfig
from risloc.learning.checkpoint import check_geometry, load_checkpoint, save_checkpoint
from risloc.learning.fresh_batches import fresh_batches
from risloc.learning.k_rules import BY_BIC, KNOWN, LEARNT
from risloc.learning.network import HybridNetwork
from risloc.learning.order_examples import OrderExamples, order_examples
from risloc.learning.order_rule import fit_order_head
from risloc.learning.validation import GOSPA_CUTOFF
from risloc.scenes.scenario import Scenario
from stages.support.reporter import Reporter
from stages.support.writers import write_json

__all__ = ["HELD_BACK", "OrderConfig", "run"]

HELD_BACK = 8
"""One scene of so many is kept to judge the rule by."""

_FIRST = 10**9  # of the stream of training scenes: beyond what any training draws
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """The `order` section of params.yaml."""

    scenes: int = param(
        "scenes that the learnt K rule is fitted on, but for an eighth that judges it; 0: no such rule", ge=0
    )

    def __post_init__(self) -> None:
        if 0 < self.scenes < 2 * HELD_BACK:
            raise ParamError(f"scenes: expected 0 or at least {2 * HELD_BACK}, got {self.scenes}")


def run(
    *,
    seed: int,
    scenario: Scenario,
    search: SearchConfig,
    order: OrderConfig,
    trained: Path,
    checkpoint: Path,
    metrics: Path,
    report: Reporter,
) -> None:
    """Write `checkpoint`, which is `trained` with its K rule fitted, and what the rule is worth beside BIC.

    Raises
    ------
    risloc.learning.checkpoint.CheckpointError
        The trained network is missing, damaged, or made for another geometry.
    """
    network, extra = load_checkpoint(trained)
    check_geometry(network, scenario)
    gospa: dict[str, float] = {}
    if order.scenes > 0:
        gospa = _fit(network, Localiser(scenario, search), scenario, seed, order.scenes, report)
    save_checkpoint(checkpoint, network, extra | {"order": as_mapping(order) | gospa})
    write_json(metrics, {"scenes": order.scenes, **gospa})
    report.metrics({f"order/{name}": value for name, value in gospa.items()})
    report.artifact(checkpoint)


def _fit(
    network: HybridNetwork, localiser: Localiser, scenario: Scenario, seed: int, count: int, report: Reporter
) -> dict[str, float]:
    """Fit the order head; mean GOSPA (cut-off 2 m, over the cut-off) of scenes held back with K known, by BIC, learnt."""
    parts = []
    with report.progress(count, "scenes for the K rule") as advance:
        for scenes in fresh_batches(scenario, _BATCH, seed=seed, split="train", start=_FIRST, stop=_FIRST + count):
            parts.append(order_examples(network, localiser, scenes, GOSPA_CUTOFF))
            advance(len(scenes))
    examples, held_back = OrderExamples.cat(parts), count // HELD_BACK
    kept, held = examples[:-held_back], examples[-held_back:]
    fit_order_head(network.order, kept.features, kept.cost, seed)
    orders = {KNOWN: held.known, BY_BIC: held.bic, LEARNT: network.order(held.features).argmax(1)}
    gospa = {f"gospa_{name}": held.mean_cost(order) for name, order in orders.items()}
    said = ", ".join(f"{name} {held.mean_cost(order):.3f}" for name, order in orders.items())
    report.line(f"GOSPA / {GOSPA_CUTOFF:g} m of {held_back} scenes held back, K rule by rule: {said}")
    return gospa
