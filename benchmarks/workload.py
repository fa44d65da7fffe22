"""One batch of scenes and the methods on it, from the snapshots on, as the stage evaluate runs them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from risloc.config import build
from risloc.covariance.factored import CovarianceConfig, FactoredCovariance
from risloc.covariance.snapshots import sample_covariance_of
from risloc.estimation.assessment import Estimates
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import Rule
from risloc.estimation.search_config import SearchConfig
from risloc.estimation.spectral_methods import Located
from risloc.learning.checkpoint import load_checkpoint
from risloc.learning.hybrid import hybrid
from risloc.learning.k_rules import order_rules
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml

__all__ = ["SNR_DB", "SOURCES", "Case"]

SOURCES, SNR_DB = 3, 10.0


@dataclass(frozen=True)
class Case:
    """A batch of scenes of `SOURCES` sources at `SNR_DB`, and what localises them."""

    scenes: Scenes
    localiser: Localiser
    network: HybridNetwork

    @classmethod
    def of(cls, batch: int, *, side: int | None = None, coarser: float = 1.0, checkpoint: Path | None = None) -> "Case":
        """params.yaml, where nothing else is said.

        side : of a square surface, in elements.  coarser : how much wider the steps in (u, v) of both grids are, in beams.
        checkpoint : the network's; None: its weights at the start of a training.
        """
        params = read_yaml(Path("params.yaml"))
        scenario = build(Scenario, params["scenario"], "scenario")
        scenario = dataclasses.replace(scenario, n_h=side or scenario.n_h, n_v=side or scenario.n_v)
        search = build(SearchConfig, params["search"], "search")
        search = dataclasses.replace(
            search, grid=_coarser(search.grid, coarser), coarse=_coarser(search.coarse, coarser)
        )
        network = HybridNetwork(
            scenario,
            _coarser(build(GridConfig, params["grid"], "grid"), coarser),
            build(CovarianceConfig, params["covariance"], "covariance"),
            build(NetworkConfig, params["network"], "network"),
        )
        if checkpoint is not None:
            network, _ = load_checkpoint(checkpoint)
        scenes = simulate(scenario, seed=0, split="test", start=0, stop=batch, snr_db=SNR_DB, count=SOURCES)
        return cls(scenes, Localiser(scenario, search), network.eval())

    def R_samp(self) -> FactoredCovariance:
        """The sample covariance of the least-squares snapshots."""
        return sample_covariance_of(self.scenes.observation)

    def music(self) -> Located:
        """Plain MUSIC on R_samp with Newton refinement, K known."""
        return self.localiser.music(self.R_samp(), self.scenes.truth.count)

    def hybrid(self, rule: Rule | str) -> Estimates:
        """Network, candidates, selection and joint fit, K given or by the rule of that name."""
        return hybrid(self.network, self.localiser, self.scenes.observation, [rule])[0]

    def pursuit(self, rule: Rule | str) -> Estimates:
        """NOMP on `search.coarse`, as the hybrid's candidates are; the same engine and fit."""
        sensing = self.localiser.sensing(self.scenes.observation)
        return self.localiser.pursuit(sensing, *order_rules([rule]))[0]

    def sparse(self) -> FactoredCovariance:
        """The covariance that sparse Bayesian learning finds."""
        return self.localiser.sparse(self.localiser.sensing(self.scenes.observation))


def _coarser(grid: GridConfig, factor: float) -> GridConfig:
    return dataclasses.replace(grid, step_beams=grid.step_beams * factor)
