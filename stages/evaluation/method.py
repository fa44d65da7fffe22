"""What a method of the evaluation is: a source, a step and a K rule, with the name that tables, metrics and params.yaml use.

How a method is drawn and worded stands beside the drawing, keyed by `Method`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from risloc.learning.k_rules import K_RULES, KNOWN, RULES

__all__ = [
    "ECHOES",
    "GROUPS",
    "HYBRID",
    "NOMP",
    "PLAIN",
    "REFINED",
    "SOURCES",
    "STEPS",
    "STOCHASTIC",
    "Method",
    "chosen",
]

REFINED, STOCHASTIC, PLAIN = STEPS = ("refined", "stochastic", "plain")
"""Refined by likelihood; fitted once more by the stochastic likelihood; a plain spectrum, or whatever has no fit."""

GROUPS = ("hybrid", "learned", "classical", "oracle")
"""Kinds of methods, in the order in which they are listed."""

SOURCES: Mapping[str, str] = {
    "R_blend": "hybrid",
    "R_pred": "learned",
    "untrained": "learned",
    "slots": "learned",
    "R_samp": "classical",
    "mvdr": "classical",
    "beamforming": "classical",
    "back_projection": "classical",
    "sbl": "classical",
    "omp": "classical",
    "nomp": "classical",
    "nomp_echoes": "classical",
    "R_true": "oracle",
}
"""The group of each source, in the order in which they are listed; a source that is not here is classical and comes last."""

_ABLATION = "ablation_"


@dataclass(frozen=True)
class Method:
    """A method of the evaluation.

    Parameters
    ----------
    source
        What the method runs on: a covariance, a spectrum or a search; ``ablation_no_X`` is the hybrid without X.
    step
        One of `STEPS`; an ablation is always refined.
    rule
        The K rule, one of `risloc.learning.k_rules.K_RULES`.

    Raises
    ------
    ValueError
        No step or K rule of that name; or an ablation that is not refined.
    """

    source: str
    step: str = REFINED
    rule: str = KNOWN

    def __post_init__(self) -> None:
        steps = (REFINED,) if self.ablation else STEPS
        if self.step not in steps:
            raise ValueError(f"step of {self.source}: expected {' or '.join(steps)}, got {self.step!r}")
        if self.rule not in K_RULES:
            raise ValueError(f"K rule of {self.source}: expected one of {', '.join(K_RULES)}, got {self.rule!r}")

    @classmethod
    def named(cls, name: str) -> "Method":
        """Return the method of that name.

        Raises
        ------
        ValueError
            The name is not that of a method.
        """
        rule = next((rule for rule in RULES if name.endswith(f"_{rule}")), KNOWN)
        base = name.removesuffix(f"_{rule}")
        if base.startswith(_ABLATION):
            return cls(base, rule=rule)
        source, _, step = base.rpartition("_")
        if not source:
            raise ValueError(f"method: expected SOURCE_STEP or SOURCE_STEP_RULE, got {name!r}")
        return cls(source, step, rule)

    @property
    def name(self) -> str:
        """The name in tables, metrics and params.yaml: ``R_blend_refined``, ``mvdr_plain_bic``, ``ablation_no_slots``."""
        base = self.source if self.ablation else f"{self.source}_{self.step}"
        return base if self.rule == KNOWN else f"{base}_{self.rule}"

    @property
    def ablation(self) -> bool:
        """Whether it is the hybrid with one part left out."""
        return self.source.startswith(_ABLATION)

    @property
    def group(self) -> str:
        """One of `GROUPS`."""
        return "learned" if self.ablation else SOURCES.get(self.source, "classical")

    def by(self, rule: str) -> "Method":
        """Return the same method under another K rule."""
        return replace(self, rule=rule)

    def stepped(self, step: str) -> "Method":
        """Return the same source and K rule with another step."""
        return replace(self, step=step)


HYBRID = Method("R_blend")
"""The hybrid: network and snapshots, refined, K known."""

NOMP = Method("nomp")
"""The strong classical method, which stands beside the hybrid."""

ECHOES = Method("nomp_echoes")
"""NOMP that searches for the echoes of the sources, too; it finds K itself, so it has no row with K known."""


def chosen(
    names: Iterable[str], *, step: str | None = None, rule: str | None = None, ablations: bool = False
) -> list[Method]:
    """Select methods by name and put them into the order in which they are listed.

    Parameters
    ----------
    names
        Names of methods; one that comes twice is listed once.
    step, rule
        The step and the K rule of the methods that are wanted; None stands for any.
    ablations
        Whether the ablations of the hybrid are wanted, too.
    """
    methods = [Method.named(name) for name in dict.fromkeys(names)]
    wanted = [m for m in methods if step in (None, m.step) and rule in (None, m.rule) and (ablations or not m.ablation)]
    return sorted(wanted, key=_place)


def _place(method: Method) -> tuple[int, bool, int, bool, int]:
    """Where a method is listed: by K rule, refined ones first, by group, ablations last, by source."""
    sources = list(SOURCES)
    return (
        list(K_RULES).index(method.rule),
        method.step != REFINED,
        GROUPS.index(method.group),
        method.ablation,
        sources.index(method.source) if method.source in SOURCES else len(sources),
    )
