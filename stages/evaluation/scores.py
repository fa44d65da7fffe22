"""Scores of every method, scene by scene: for each method a row of numbers for each scene."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from risloc.estimation.localiser import Localiser
from risloc.performance.crb import deterministic_bound, stochastic_bound
from risloc.performance.metrics import gospa, match, resolved_scenes
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from stages.evaluation.calibration import standardised
from stages.evaluation.methods import Result
from stages.evaluation.resolution import beams_of, closest_pair, pair_resolved
from stages.evaluation.tables import Columns

__all__ = ["Bounds", "Collection", "Scores", "score", "score_bound"]

_TIMES, _EVERY = "times", "every"


@dataclass(frozen=True)
class Bounds:
    """The root-CRBs of a batch, each clipped to the standard deviation of the prior; NaN where there is no source.

    position, distance : metres.  angle : radians.  clipped : whether the root-CRB of the position was clipped.
    """

    position: Tensor
    distance: Tensor
    angle: Tensor
    clipped: Tensor


class Scores:
    """Columns of per-scene scores of one method (or of the scenes themselves), batch by batch."""

    def __init__(self) -> None:
        self._parts: list[Columns] = []

    def add(self, **columns: Tensor) -> None:
        """Append a batch; the first axis of every column runs over its scenes."""
        self.extend({name: value.detach().cpu().numpy() for name, value in columns.items()})

    def extend(self, columns: Columns) -> None:
        """Append the `columns` of other scores."""
        self._parts.append(columns)

    def columns(self) -> Columns:
        """Return the columns of all scenes added so far."""
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}


class Collection:
    """All scores of an evaluation: of the scenes, of each method and of each estimator of K, with the time of each method."""

    def __init__(self, scenario: Scenario, cutoffs: Sequence[float]) -> None:
        self.scenario, self.cutoffs = scenario, cutoffs
        kinds = (defaultdict[str, Scores](Scores) for _ in range(4))
        self._scenes, self._methods, self._orders, self._covariances = kinds
        self.times: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def arrays(self) -> Columns:
        """Return all scores as arrays with names such as methods/nomp_refined/position, as `extend` takes them."""
        found = {
            f"{kind}/{name}/{column}": values
            for kind, group in self._groups().items()
            for name, scores in group.items()
            for column, values in scores.columns().items()
        }
        return found | {f"{_TIMES}/{name}": np.array(each) for name, each in self.times.items()}

    def extend(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Append all scores of another collection with the same scenario and cut-offs."""
        groups = self._groups()
        columns: defaultdict[tuple[str, str], Columns] = defaultdict(dict)
        for path, values in arrays.items():
            kind, name, *column = path.split("/")
            if kind == _TIMES:
                self.times[name] += [(int(scenes), float(seconds)) for scenes, seconds in values]
            else:
                columns[kind, name][column[0]] = values
        for (kind, name), own in columns.items():
            groups[kind][name].extend(own)

    def _groups(self) -> dict[str, dict[str, Scores]]:
        return {
            "scenes": self._scenes,
            "methods": self._methods,
            "orders": self._orders,
            "covariances": self._covariances,
        }

    def add_scenes(self, scenes: Scenes, bounds: Bounds) -> None:
        """Add the properties of a batch of scenes that do not depend on a method."""
        t = scenes.truth
        separation, _ = closest_pair(beams_of(t.polar, self.scenario), t.present)
        self._scenes[_EVERY].add(
            snr_db=t.snr_db,
            count=t.count,
            root_crb=bounds.position,
            root_crb_distance=bounds.distance,
            root_crb_angle=bounds.angle,
            clipped=bounds.clipped,
            pair_separation=separation,
        )

    def add_result(self, scenes: Scenes, bounds: Bounds, result: Result) -> None:
        """Add the scores of a method on that batch."""
        name = result.method.name
        self._methods[name].add(**score(scenes, bounds, result, self.scenario, self.cutoffs))
        self.times[name].append((len(scenes), result.seconds))

    def add_orders(self, orders: Mapping[str, Tensor]) -> None:
        """Add the estimates of K by estimators of K alone for that batch, [B] each."""
        for name, order in orders.items():
            self._orders[name].add(count=order)

    def add_covariances(self, scores: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Add the scores of the covariances themselves for that batch, [B] each."""
        for name, own in scores.items():
            self._covariances[name].add(**own)

    @property
    def scenes(self) -> Columns:
        """The columns of the scenes."""
        return self._scenes[_EVERY].columns()

    @property
    def methods(self) -> dict[str, Columns]:
        """The columns of each method."""
        return {name: scores.columns() for name, scores in self._methods.items()}

    @property
    def covariances(self) -> dict[str, Columns]:
        """The columns of each covariance."""
        return {name: scores.columns() for name, scores in self._covariances.items()}

    @property
    def orders(self) -> dict[str, Columns]:
        """The columns of each estimator of K."""
        return {name: scores.columns() for name, scores in self._orders.items()}


def score_bound(scenes: Scenes, localiser: Localiser, prior: float, waveform: str) -> Bounds:
    """Return the bound of each source: stochastic for independent symbols, deterministic for a shared waveform.

    If only some scenes are coherent, each scene gets its own bound. The bound assumes the model: the direct waves and
    the echoes of the truth, whose places and gains are unknown, too, and the given channel.
    """
    t, d = scenes.truth, localiser.domain
    position, distance, angle = _root_crbs(scenes, localiser, waveform)
    if waveform == "independent" and (coherent := t.coherent[:, None]).any():
        others = _root_crbs(scenes, localiser, "coherent")
        position, distance, angle = (
            torch.where(coherent, other, own) for other, own in zip(others, (position, distance, angle), strict=True)
        )
    az_std, el_std, r_std = (_deviation(span) for span in (d.azimuth, d.elevation, d.distance))
    return Bounds(
        position=position.clamp(max=prior),
        distance=distance.clamp(max=r_std),
        angle=angle.clamp(max=math.hypot(az_std, el_std)),
        clipped=(position > prior) & t.present,
    )


def score(
    scenes: Scenes, bounds: Bounds, result: Result, scenario: Scenario, cutoffs: Sequence[float]
) -> dict[str, Tensor]:
    """Return the scores of one method on a batch; the first cut-off decides which estimates match a source.

    A method with a fit also has `unresolved` (the number of reported sources that are not resolved), `not_converged`, and its
    standardised errors.
    """
    t, located = scenes.truth, result.located
    true = t.polar
    found = match(located.polar, located.present, true, t.present, cutoffs[0])
    p, q = position_of(location_of(located.polar)), position_of(location_of(true))
    beams = beams_of(true, scenario)
    pair = closest_pair(beams, t.present)
    columns = {
        "position": found.position,
        "distance": found.distance,
        "angle": found.angle,
        "ratio": found.position / bounds.position,
        "missed": found.missed,
        "false": found.false,
        "count": located.present.sum(1),
        "resolved": resolved_scenes(found.position, q, t.present),
        "pair_resolved": pair_resolved(beams_of(located.polar, scenario), found.estimate, beams, *pair),
    }
    columns |= {f"gospa_{c:g}m": gospa(p, located.present, q, t.present, c) for c in cutoffs}
    if (fit := result.estimates) is not None:
        columns |= {"unresolved": (fit.present & ~fit.resolved).sum(1), "not_converged": ~fit.converged}
        columns |= standardised(found, fit)
    return columns


def _root_crbs(scenes: Scenes, localiser: Localiser, waveform: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the root-CRBs of position, distance and angle, with the same bound for all scenes."""
    o, t = scenes.observation, scenes.truth
    if waveform == "independent":
        bound = stochastic_bound(localiser.surface, o, t.location, t.power, t.echoes)
    else:
        bound = deterministic_bound(localiser.surface, o, t.location, t.symbols, t.echoes)
    return bound.position, bound.distance, bound.angle


def _deviation(span: tuple[float, float]) -> float:
    """Return the standard deviation of a uniform distribution in `span`."""
    low, high = span
    return (high - low) / math.sqrt(12)
