"""The K rules by name: what each way to know the number of sources is called, how it is described, and how it is made.

To add a rule, add an entry to `K_RULES`; the command line, `params.yaml`, tables, figures and pages read it from there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from risloc.estimation.order_rules import BIC, OrderRule, Rule, bic_noise_order
from risloc.learning.network import HybridNetwork
from risloc.learning.order_rule import learnt_order
from risloc.learning.prediction import Prediction

__all__ = [
    "BY_BIC",
    "KNOWN",
    "K_RULES",
    "LEARNT",
    "NOISE_UNKNOWN",
    "RULES",
    "KRule",
    "alternatives",
    "needs_network",
    "order_rule",
    "order_rules",
]

KNOWN, BY_BIC, NOISE_UNKNOWN, LEARNT = "known", "bic", "bic_noise", "learnt"
"""The names of the K rules, for code that asks for one of them."""

Make = Callable[[HybridNetwork | None, Prediction | None], OrderRule]


@dataclass(frozen=True)
class KRule:
    """A way to know the number of sources K of a scene.

    Parameters
    ----------
    name
        The name in `params.yaml`, in the names of methods and on the command line.
    words
        The label in tables and figures.
    phrase
        What completes the sentence "K is found by ..."; "given" if K is given.
    make
        Makes the rule for the scenes of a network's prediction; None if K is given.
    needs_network
        Whether `make` needs a network and its prediction.
    """

    name: str
    words: str
    phrase: str
    make: Make | None
    needs_network: bool = False


def _learnt(network: HybridNetwork | None, prediction: Prediction | None) -> OrderRule:
    if network is None or prediction is None:
        raise ValueError(
            f"K by {LEARNT!r}: expected a network and its prediction, because the rule is the network's own, got none"
        )
    return learnt_order(network, prediction)


K_RULES: Mapping[str, KRule] = {
    rule.name: rule
    for rule in (
        KRule(KNOWN, "K known", "given", None),
        KRule(BY_BIC, "K by BIC", "BIC", lambda network, prediction: BIC),
        KRule(
            NOISE_UNKNOWN,
            "K by BIC, noise level unknown",
            "BIC with the noise level unknown",
            lambda network, prediction: bic_noise_order,
        ),
        KRule(LEARNT, "K learnt", "the network's own rule", _learnt, needs_network=True),
    )
}
"""Every way in which K is known, by its name; the order is that of tables."""

RULES = tuple(rule.name for rule in K_RULES.values() if rule.make is not None)
"""The names of the rules that find K; the first is the default."""


def needs_network(name: object) -> bool:
    """Test whether a name is that of a rule that belongs to a network.

    Parameters
    ----------
    name
        Anything; what is not a string is not a name.

    Returns
    -------
    bool
        True if `order_rule` needs a network for this rule.
    """
    return isinstance(name, str) and name in K_RULES and K_RULES[name].needs_network


def order_rule(name: str, network: HybridNetwork | None = None, prediction: Prediction | None = None) -> OrderRule:
    """Make the rule of a name.

    Parameters
    ----------
    name
        One of `RULES`.
    network, prediction
        The network and its prediction of the scenes, for a rule that needs them.

    Returns
    -------
    OrderRule
        The rule, for the scenes of the prediction if it needs one.

    Raises
    ------
    ValueError
        No rule of that name finds K; or the rule needs a network whose order head has been fitted.
    """
    rule = K_RULES.get(name)
    if rule is None or rule.make is None:
        raise ValueError(f"K rule: expected one of {', '.join(RULES)}, got {name!r}")
    return rule.make(network, prediction)


def order_rules(
    rules: Iterable[Rule | str], network: HybridNetwork | None = None, prediction: Prediction | None = None
) -> list[Rule]:
    """Make the rules that are given by name.

    Parameters
    ----------
    rules
        Names; numbers of sources and rules that are already made are returned as they are.
    network, prediction
        The network and its prediction of the scenes, for rules that need them.

    Returns
    -------
    list of Rule
        The rules, in their order.

    Raises
    ------
    ValueError
        As in `order_rule`.
    """
    return [order_rule(rule, network, prediction) if isinstance(rule, str) else rule for rule in rules]


def alternatives(names: Sequence[str]) -> str:
    """Join the phrases of rules: "BIC, BIC with the noise level unknown, or the network's own rule".

    Parameters
    ----------
    names
        At least one name of `K_RULES`.

    Returns
    -------
    str
        The phrases with commas, and "or" before the last.
    """
    *others, last = (K_RULES[name].phrase for name in names)
    return f"{', '.join(others)}, or {last}" if others else last
