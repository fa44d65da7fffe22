"""One table of the methods: from a method's name to the words, the group, the colour and the marker it is shown with.

A name is a source, a step and a K rule: ``R_blend_refined_bic`` is MUSIC on R_blend, with likelihood refinement, K by
BIC; ``ablation_no_slots`` is an ablation of the hybrid, refined, K known.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from risloc.learning.k_rules import K_RULES
from risloc.learning.k_rules import RULES as FINDING

__all__ = ["GROUPS", "ORDERS", "RULES", "Method", "chosen", "method_of"]

GROUPS = {
    "hybrid": "the hybrid",
    "learned": "learned, ablated",
    "classical": "classical, no network",
    "oracle": "oracle: knows R_true",
}
"""Kinds of methods, in the order in which they are listed."""

RULES = {name: rule.words for name, rule in K_RULES.items()}
"""Words for each way in which K is known."""

ORDERS = {
    "mdl": ("MDL on R_samp", "#0072B2", "s"),
    "aic": ("AIC on R_samp", "#56B4E9", "v"),
    "presence": ("presence of the network", "#E69F00", "^"),
}
"""Estimators of K alone: words, colour and marker."""


@dataclass(frozen=True)
class Method:
    """How a method is shown.

    source : what it runs on.  step : ``refined`` by likelihood, ``stochastic``: fitted once more
    by the stochastic one, or ``plain``.  rule : one of the K rules.  ablation :
    whether it is the hybrid less one part.  text : words without the K rule.  short : without the step either.  colour, marker, line : as matplotlib
    names them.
    """

    name: str
    source: str
    step: str
    rule: str
    ablation: bool
    text: str
    short: str
    group: str
    colour: str
    marker: str
    line: str


# Words, group, colour (Okabe and Ito: told apart with any colour vision), marker and line of each source.
_SOURCES = {
    "R_blend": ("R_blend", "hybrid", "#D55E00", "o", "-"),
    "R_pred": ("R_pred", "learned", "#E69F00", "^", "-"),
    "untrained": ("untrained network", "learned", "#CC79A7", "v", "-"),
    "slots": ("slots of the network", "learned", "#E69F00", "<", "--"),
    "R_samp": ("R_samp", "classical", "#0072B2", "s", "-"),
    "mvdr": ("MVDR", "classical", "#0072B2", "x", "--"),
    "beamforming": ("beamforming", "classical", "#56B4E9", "P", "--"),
    "back_projection": ("back-projection peaks", "classical", "#56B4E9", "P", "-"),
    "sbl": ("sparse Bayesian learning", "classical", "#7F7F7F", "X", "-"),
    "omp": ("matching pursuit (OMP)", "classical", "#000000", "D", "--"),
    "nomp": ("matching pursuit (NOMP)", "classical", "#000000", "D", "-"),
    "R_true": ("R_true", "oracle", "#009E73", "*", "-"),
}
_MUSIC = ("R_blend", "R_pred", "untrained", "R_samp", "R_true")
_ABLATED = "ablation_"


def method_of(name: str) -> Method:
    """The method of that name; one whose source stands in no table is shown in grey under its own name."""
    rule = next((rule for rule in FINDING if name.endswith(f"_{rule}")), "known")
    base = name.removesuffix(f"_{rule}")
    step = next((step for step in ("plain", "stochastic") if base.endswith(f"_{step}")), "refined")
    source = base.removesuffix(f"_{step}")
    if source.startswith(_ABLATED):
        short, shown = f"hybrid, {source.removeprefix(_ABLATED).replace('_', ' ')}", ("learned", "#CC79A7", "o", ":")
    else:
        short, *rest = _SOURCES.get(source, (source, "classical", "#7F7F7F", ".", ":"))
        shown = (rest[0], rest[1], rest[2], rest[3])
    text = f"MUSIC on {short}" if source in _MUSIC and step == "plain" else short
    if not source.startswith(_ABLATED):
        text += {"plain": "", "refined": ", refined", "stochastic": ", refined, stochastic fit"}[step]
    group, colour, marker, line = shown
    return Method(name, source, step, rule, source.startswith(_ABLATED), text, short, group, colour, marker, line)


def chosen(
    names: Iterable[str], *, step: str | None = None, rule: str | None = None, ablations: bool = False
) -> list[Method]:
    """The methods among `names` of that step and K rule (None: any), each once, by step, group and order of the table.

    ablations : whether the ablations of the hybrid are wanted too.
    """
    order = list(_SOURCES)
    found = [method_of(name) for name in dict.fromkeys(names)]
    kept = [m for m in found if step in (None, m.step) and rule in (None, m.rule) and (ablations or not m.ablation)]
    place = {source: i for i, source in enumerate(order)}
    return sorted(
        kept,
        key=lambda m: (
            list(K_RULES).index(m.rule),
            m.step != "refined",
            list(GROUPS).index(m.group),
            m.ablation,
            place.get(m.source, 99),
        ),
    )
