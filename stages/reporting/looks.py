"""How a method is shown: its words, its colour, its marker and its line."""

from collections.abc import Mapping
from dataclasses import dataclass

from risloc.learning.k_rules import K_RULES
from stages.evaluation.method import PLAIN, REFINED, STOCHASTIC, Method

__all__ = ["GROUP_WORDS", "ORDERS", "RULES", "Look", "look_of"]

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


# Words, colour (Okabe and Ito: told apart with any colour vision), marker and line of each source.
_SOURCES: Mapping[str, tuple[str, str, str, str]] = {
    "R_blend": ("R_blend", "#D55E00", "o", "-"),
    "R_pred": ("R_pred", "#E69F00", "^", "-"),
    "untrained": ("untrained network", "#CC79A7", "v", "-"),
    "slots": ("slots of the network", "#E69F00", "<", "--"),
    "R_samp": ("R_samp", "#0072B2", "s", "-"),
    "mvdr": ("MVDR", "#0072B2", "x", "--"),
    "beamforming": ("beamforming", "#56B4E9", "P", "--"),
    "back_projection": ("back-projection peaks", "#56B4E9", "P", "-"),
    "sbl": ("sparse Bayesian learning", "#7F7F7F", "X", "-"),
    "omp": ("matching pursuit (OMP)", "#000000", "D", "--"),
    "nomp": ("matching pursuit (NOMP)", "#000000", "D", "-"),
    "R_true": ("R_true", "#009E73", "*", "-"),
}
_MUSIC = ("R_blend", "R_pred", "untrained", "R_samp", "R_true")
_STEPS = {PLAIN: "", REFINED: ", refined", STOCHASTIC: ", refined, stochastic fit"}

ORDERS = {
    "mdl": Look("mdl", "MDL on R_samp", "MDL on R_samp", "#0072B2", "s", "--"),
    "aic": Look("aic", "AIC on R_samp", "AIC on R_samp", "#56B4E9", "v", "--"),
    "presence": Look("presence", "presence of the network", "presence of the network", "#E69F00", "^", "--"),
}
"""Estimators of K alone."""


def look_of(method: Method) -> Look:
    """Return how a method is shown; one whose source has no look is shown in grey under its source's name."""
    if method.ablation:
        words = f"hybrid, {method.source.removeprefix('ablation_').replace('_', ' ')}"
        return Look(method.name, words, words, "#CC79A7", "o", ":")
    words, colour, marker, line = _SOURCES.get(method.source, (method.source, "#7F7F7F", ".", ":"))
    text = f"MUSIC on {words}" if method.source in _MUSIC and method.step == PLAIN else words
    return Look(method.name, text + _STEPS[method.step], words, colour, marker, line, strong=method.group == "hybrid")
