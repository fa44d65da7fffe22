"""The hybrid: candidates from a network and from MUSIC on R_blend, selected and fitted by maximum likelihood.

Axes: batch B, src K_MAX.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.assessment import Estimates
from risloc.estimation.conditional import Sensing
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import Rule
from risloc.estimation.spectrum import Peaks
from risloc.learning.k_rules import order_rules
from risloc.learning.network import HybridNetwork
from risloc.learning.prediction import Prediction
from risloc.scenes.batch import Observation

__all__ = ["NetworkView", "hybrid"]


@dataclass(frozen=True)
class NetworkView:
    """The output of a network for a batch of scenes, and the covariances that follow from it.

    Parameters
    ----------
    network
        The network.
    observation
        The scenes.
    prediction
        The network's slots and the factors of R_pred.
    R_samp, R_blend
        The sample covariance, and R_blend = (1 - beta) R_pred + beta R_samp, both of trace N.
    """

    network: HybridNetwork
    observation: Observation
    prediction: Prediction
    R_samp: FactoredCovariance
    R_blend: FactoredCovariance

    @classmethod
    def of(cls, network: HybridNetwork, observation: Observation) -> "NetworkView":
        """Run a network on a batch of scenes.

        Parameters
        ----------
        network
            The network.
        observation
            The scenes.

        Returns
        -------
        NetworkView
            Its output.
        """
        return cls(network, observation, *network.blend(observation))

    def candidates(self, localiser: Localiser, R: FactoredCovariance | None = None, **left_out: bool) -> Peaks:
        """Return the candidates of the network and of the snapshots.

        Parameters
        ----------
        localiser
            The localiser of the surface.
        R
            The covariance whose MUSIC spectrum gives candidates; None: R_blend.
        **left_out
            The kinds of candidates to leave out, each set to False; see `Localiser.hybrid_candidates`.

        Returns
        -------
        Peaks
            The candidates.
        """
        prediction = self.prediction
        R = self.R_blend if R is None else R
        return localiser.hybrid_candidates(self.observation, prediction.R_pred, R, prediction.polar, **left_out)

    def locate(
        self, localiser: Localiser, rules: Sequence[Rule | str], sensing: Sensing | None = None
    ) -> list[Estimates]:
        """Select among the candidates and fit, as `hybrid` does.

        Parameters
        ----------
        localiser
            The localiser of the surface.
        rules
            How K is known; see `hybrid`.
        sensing
            The sensing of the scenes; None: it is computed.

        Returns
        -------
        list of Estimates
            The estimates under each rule, in the order of the rules.
        """
        sensing = localiser.sensing(self.observation) if sensing is None else sensing
        k_rules = order_rules(rules, self.network, self.prediction)
        return localiser.select(sensing, self.candidates(localiser), k_rules)


def hybrid(
    network: HybridNetwork, localiser: Localiser, observation: Observation, rules: Sequence[Rule | str]
) -> list[Estimates]:
    """Locate the sources of a batch of scenes by the hybrid, once for each rule.

    Parameters
    ----------
    network
        A network of the localiser's surface.
    localiser
        The localiser of the surface.
    observation
        The scenes.
    rules
        For each result: the number of sources of each scene [batch], the name of a K rule (`risloc.learning.k_rules.RULES`),
        or a rule itself. All answers come from one selection.

    Returns
    -------
    list of Estimates
        The estimates under each rule, in the order of the rules.

    Raises
    ------
    ValueError
        There is no K rule of that name, or the network's learnt rule has not been fitted.
    """
    return NetworkView.of(network, observation).locate(localiser, rules)
