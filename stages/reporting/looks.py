"""How a method is shown: its words and phrases, its colour, its marker and its line."""

from collections.abc import Mapping
from dataclasses import dataclass

from risloc.learning.k_rules import K_RULES, needs_network
from risloc.plotting.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILION
from stages.evaluation.method import ECHOES, HYBRID, NOMP, PLAIN, REFINED, STOCHASTIC, Method

__all__ = ["GROUP_WORDS", "ORDERS", "RULES", "Look", "look_of", "phrase", "rule_phrase"]

GROUP_WORDS = {
    "hybrid": "the hybrid",
    "learned": "learned, ablated",
    "classical": "classical, no network",
    "oracle": "oracle: knows R_true",
}
"""Words for each group of methods."""

RULES = {name: rule.words for name, rule in K_RULES.items()}
"""Words for each way in which K is known."""


@dataclass(frozen=True)
class Look:
    """How a method, or an estimator of K alone, is shown.

    Parameters
    ----------
    name
        Its name in the tables.
    text
        Words without the K rule.
    short
        Words without the step either.
    colour, marker, line
        As matplotlib names them.
    strong
        Whether its curve is drawn wide, above the others.
    """

    name: str
    text: str
    short: str
    colour: str
    marker: str
    line: str
    strong: bool = False


# Words, colour, marker and line of each source.
_SOURCES: Mapping[str, tuple[str, str, str, str]] = {
    "R_blend": ("R_blend", VERMILION, "o", "-"),
    "R_pred": ("R_pred", ORANGE, "^", "-"),
    "untrained": ("untrained network", PURPLE, "v", "-"),
    "slots": ("slots of the network", ORANGE, "<", "--"),
    "R_samp": ("R_samp", BLUE, "s", "-"),
    "mvdr": ("MVDR", BLUE, "x", "--"),
    "beamforming": ("beamforming", SKY_BLUE, "P", "--"),
    "back_projection": ("back-projection peaks", SKY_BLUE, "P", "-"),
    "sbl": ("sparse Bayesian learning", GREY, "X", "-"),
    "omp": ("matching pursuit (OMP)", BLACK, "D", "--"),
    "nomp": ("matching pursuit (NOMP)", BLACK, "D", "-"),
    "nomp_echoes": ("matching pursuit (NOMP) with echoes", BLUE, "D", "-."),
    "R_true": ("R_true", GREEN, "*", "-"),
}
_MUSIC = ("R_blend", "R_pred", "untrained", "R_samp", "R_true")
# Short words for a source in the tables of studies.
_PHRASES = {HYBRID.source: "hybrid", NOMP.source: "NOMP", ECHOES.source: "NOMP with echoes"}
_STEPS = {PLAIN: "", REFINED: ", refined", STOCHASTIC: ", refined, stochastic fit"}

ORDERS = {
    "mdl": Look("mdl", "MDL on R_samp", "MDL on R_samp", BLUE, "s", "--"),
    "aic": Look("aic", "AIC on R_samp", "AIC on R_samp", SKY_BLUE, "v", "--"),
    "presence": Look("presence", "presence of the network", "presence of the network", ORANGE, "^", "--"),
}
"""Estimators of K alone."""


def look_of(method: Method) -> Look:
    """Return how a method is shown; one whose source has no look is shown in grey under its source's name."""
    if method.ablation:
        words = f"hybrid, {method.source.removeprefix('ablation_').replace('_', ' ')}"
        return Look(method.name, words, words, PURPLE, "o", ":")
    words, colour, marker, line = _SOURCES.get(method.source, (method.source, GREY, ".", ":"))
    text = f"MUSIC on {words}" if method.source in _MUSIC and method.step == PLAIN else words
    return Look(method.name, text + _STEPS[method.step], words, colour, marker, line, strong=method.group == "hybrid")


def phrase(method: Method, network: str = "") -> str:
    """Name a refined method in the table of a study: "hybrid `default`, K learnt" or "NOMP, K by BIC".

    Parameters
    ----------
    method
        The method; its step is not shown.
    network
        The network of the hybrid, if several are compared; or the one whose K rule another method uses.
    """
    words = _PHRASES.get(method.source, look_of(method).short)
    if network and method.group == "hybrid":
        return f"{words} `{network}`, {rule_phrase(method.rule)}"
    return f"{words}, {rule_phrase(method.rule, network)}"


def rule_phrase(rule: str, network: str = "") -> str:
    """Name a K rule, "K by BIC", or the rule of a network that another method uses: "K by the rule of `robust`"."""
    return f"K by the rule of `{network}`" if network and needs_network(rule) else RULES[rule]
