"""Measure how well sources with echoes are located, beside the same scenes without their echoes.

    python -m studies.echoes [--scenes 400]

Writes docs/echoes.json and docs/echoes.md. Each finished cell is kept in docs/echoes.json, so that an interrupted run is resumed; a
run with another number of scenes measures every cell again.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor

from risloc import scenario as named_scenario
from risloc.estimation.assessment import Estimates
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import BIC, bic_noise_order
from risloc.performance.crb import Bound, position_jacobian, stochastic_bound
from risloc.performance.intervals import Interval, bootstrap_interval, proportion_interval
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from studies.echoes_page import Cell, Results, read_results, write_results
from studies.paired_ratio import paired_ratio

CUTOFF, SEED, LEVEL, BATCH = 2.0, 31, 0.95, 50
GIVEN, ABSENT = "echoes, sigma^2 given", "echoes, sigma^2 unknown"
COUNTS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class World:
    """A kind of scene. If `paired`, it is compared with the same scenes without their echoes, else with NOMP."""

    name: str
    scenario: Scenario
    snrs: tuple[float, ...]
    counts: tuple[int, ...]
    paired: bool


def worlds() -> list[World]:
    """The worlds of the page."""
    default, hall, peers = (named_scenario(name) for name in ("default", "hall", "ula_coherent"))

    def farther(power_db: float) -> Scenario:
        law = dataclasses.replace(default.echoes, law="farther", paths=2, power_db=power_db)
        return dataclasses.replace(default, echoes=law)

    return [
        World("two echoes, together -6 dB", farther(-6.0), (10.0, 20.0, 30.0), COUNTS, paired=True),
        World("two echoes, together -12 dB", farther(-12.0), (10.0, 20.0, 30.0), COUNTS, paired=True),
        World("hall", hall, (10.0, 20.0), (1, 2, 3), paired=True),
        World("no echoes", default, (0.0, 10.0, 20.0), (0, *COUNTS), paired=False),
        World(
            "no echoes, scenario of peers",
            dataclasses.replace(peers, waveform="independent"),
            (3.0, 10.0, 20.0),
            tuple(range(1, peers.K_MAX + 1)),
            paired=False,
        ),
        World("preset robust", named_scenario("robust"), (10.0, 20.0), (1, 2, 3), paired=False),
    ]


@dataclass(frozen=True)
class Answers:
    """Positions of every method in the scenes of a cell, [scene, src, 3], with which slots are used."""

    position: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    covariance: Mapping[str, Tensor]
    resolved: Mapping[str, Tensor]
    truth: Tensor
    true: Tensor
    bound: Tensor


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=400, help="scenes of a cell")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = read_results()
    cells = dict(kept.cells) if kept is not None and kept.scenes == options.scenes else {}
    for world, snr_db, count in plan():
        name = key(world.name, snr_db, count)
        if name not in cells:
            cells[name] = measured(world, snr_db, count, options.scenes)
            write_results(Results(options.scenes, cells))
            print(name, cells[name].gospa, flush=True)
    write_results(Results(options.scenes, cells))


def plan() -> list[tuple[World, float, int]]:
    """Every cell, those at 20 dB first."""
    cells = [(world, snr_db, count) for world in worlds() for snr_db in world.snrs for count in world.counts]
    return sorted(cells, key=lambda cell: cell[1] != 20.0)


def key(world: str, snr_db: float, count: int) -> str:
    """The name of a cell."""
    return f"{world}; {snr_db:g} dB; K = {count}"


def measured(world: World, snr_db: float, count: int, scenes: int) -> Cell:
    """Measure one cell."""
    own = answers(world.scenario, snr_db, count, scenes, echoes=True, methods=METHODS)
    errors = {name: _gospa(own, name) for name in METHODS}
    pair = {name: errors[rival] for name, rival in RIVALS.items()} if count else {}
    if world.paired:
        plain = answers(world.scenario, snr_db, count, scenes, echoes=False, methods=PAIRED)
        pair = {name: _gospa(plain, name) for name in PAIRED}
    return Cell(
        gospa={name: _mean(error) for name, error in errors.items()},
        right={name: _share(own.present[name].sum(1) == count) for name in METHODS},
        close={name: _share(_close(own, name)) for name in METHODS} if count else {},
        error={name: _matched(own, name) for name in METHODS} if count else {},
        ratio={name: paired_ratio(errors[name], pair[name], LEVEL, SEED) for name in pair},
        inside={name: _inside(own, name) for name in PAIRED} if count else {},
    )


def answers(
    scenario: Scenario,
    snr_db: float,
    count: int,
    scenes: int,
    *,
    echoes: bool,
    methods: Sequence[str],
) -> Answers:
    """Locate the sources of the scenes of a cell by every method."""
    localiser = Localiser(scenario)
    seeker = EchoLocaliser(localiser)
    parts: list[tuple[dict[str, Estimates], Scenes, Tensor]] = []
    for start in range(0, scenes, BATCH):
        stop = min(start + BATCH, scenes)
        drawn = simulate(
            scenario, seed=SEED, split="test", start=start, stop=stop, snr_db=snr_db, count=count, echoes=echoes
        )
        with torch.inference_mode():
            found = dict(zip(methods, located(seeker, drawn, count), strict=False))
            parts.append((found, drawn, _bound(scenario, drawn, count).position if count else torch.zeros(0)))
    truth = torch.cat([drawn.truth.placed for _, drawn, _ in parts]).double()

    def of(attribute: Callable[[Estimates], Tensor]) -> dict[str, Tensor]:
        return {name: torch.cat([attribute(found[name]) for found, _, _ in parts]) for name in methods}

    return Answers(
        position=of(lambda e: position_of(location_of(e.polar.double()))),
        present=of(lambda e: e.present),
        covariance=of(_covariance),
        resolved=of(lambda e: e.resolved),
        truth=position_of(truth),
        true=torch.cat([drawn.truth.present for _, drawn, _ in parts]),
        bound=torch.cat([bound for _, _, bound in parts]),
    )


def located(seeker: EchoLocaliser, scenes: Scenes, count: int) -> Iterator[Estimates]:
    """What every method of `METHODS` finds, those of `PAIRED` first."""
    localiser = seeker.localiser
    sensing = localiser.sensing(scenes.observation)
    search = seeker.search(sensing)
    yield search.answer(given=True).estimates
    yield search.answer(given=False).estimates
    yield from localiser.pursuit(sensing, torch.full((len(scenes),), count), BIC, bic_noise_order)


PAIRED = (GIVEN, ABSENT)
RIVALS = {GIVEN: "NOMP, K by BIC", ABSENT: "NOMP, K by BIC, noise level unknown"}
METHODS = (*PAIRED, "NOMP, K known", *RIVALS.values())


def _bound(scenario: Scenario, scenes: Scenes, count: int) -> Bound:
    truth = scenes.truth
    return stochastic_bound(scenario.surface, scenes.observation, truth.placed, truth.power, truth.echoes)


def _covariance(estimates: Estimates) -> Tensor:
    J = position_jacobian(location_of(estimates.polar.double()))
    return J @ estimates.covariance @ J.mT


def _gospa(own: Answers, name: str) -> np.ndarray:
    return gospa(own.position[name], own.present[name], own.truth, own.true, CUTOFF).numpy()


def _mean(errors: np.ndarray) -> Interval:
    return bootstrap_interval(errors, lambda x: x.mean(axis=1), LEVEL, SEED)


def _share(hits: Tensor) -> Interval:
    return proportion_interval(int(hits.sum()), int(hits.numel()), LEVEL)


def _nearest(own: Answers, name: str) -> tuple[Tensor, Tensor]:
    """The distance of each true source from the nearest estimate within the cut-off (else infinite), and its slot."""
    away = torch.cdist(own.truth, own.position[name]).masked_fill(~own.present[name][:, None], math.inf)
    distance, slot = away.min(dim=-1)
    return torch.where(own.true & (distance < CUTOFF), distance, math.inf), slot


def _close(own: Answers, name: str) -> Tensor:
    """Which sources are within 3 root-CRB."""
    return _nearest(own, name)[0][own.true] < 3 * own.bound[own.true]


def _matched(own: Answers, name: str) -> float:
    """The RMS error of matched sources over the RMS of their root-CRB."""
    distance, _ = _nearest(own, name)
    met = distance.isfinite()
    return float((distance[met].square().sum() / own.bound[met].clamp_max(CUTOFF).square().sum()).sqrt())


def _inside(own: Answers, name: str) -> dict[str, float]:
    """The share of matched, resolved sources inside their 68 % and 95 % ellipsoids, and the share that is resolved."""
    distance, slot = _nearest(own, name)
    pick = slot[..., None].expand(-1, -1, 3)
    error = own.truth - own.position[name].gather(1, pick)
    V = own.covariance[name].gather(1, pick[..., None].expand(-1, -1, 3, 3))
    met = distance.isfinite() & own.resolved[name].gather(1, slot)
    squared = (error[met][:, None] @ torch.linalg.pinv(V[met], hermitian=True) @ error[met][:, :, None])[:, 0, 0]
    shares = {f"{level:.0%}": float((squared < chi2.ppf(level, 3)).double().mean()) for level in (0.68, 0.95)}
    return shares | {"resolved": float(met.sum() / distance.isfinite().sum().clamp_min(1))}


if __name__ == "__main__":
    main()
