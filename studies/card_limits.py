"""What the study of robustness found of a shipped network, for its card."""

from collections.abc import Iterator

from risloc.learning.k_rules import BY_BIC, LEARNT, NOISE_UNKNOWN
from stages.evaluation.method import HYBRID, NOMP
from stages.reporting.looks import phrase
from studies.robustness_page import Results
from studies.table_rows import section, shown

__all__ = ["DEPARTURES", "limits"]

TRUE, DFT = "nothing", "2-D DFT codes, 10 dB"
DEPARTURES = {
    TRUE: ("share of dead elements", "0"),
    "phase error of each element, 5 deg": ("phase error of each element, standard deviation [deg]", "5"),
    "2 % of the elements dead": ("share of dead elements", "0.02"),
    "NMSE of the channel estimate 0.01": ("NMSE of the channel estimate", "0.01"),
    "two extra paths for each source, -12 dB": ("two extra paths a source, their power [dB]", "-12"),
    "two extra paths for each source, -6 dB": ("two extra paths a source, their power [dB]", "-6"),
    "all scenes coherent": ("share of coherent scenes", "1"),
    "powers within +- 10 dB": ("powers within +- [dB]", "10"),
    "k = 10, a strong line of sight, 10 dB": ("world", "k = 10, a strong line of sight"),
    DFT: ("world", "2-D DFT codes"),
}
"""What a card repeats of docs/robustness.md: its words, and the table and the row there."""

BIC, NOISE, KNOWN = phrase(NOMP.by(BY_BIC)), phrase(NOMP.by(NOISE_UNKNOWN)), phrase(NOMP)


def limits(name: str, results: Results) -> Iterator[str]:
    """The lines of a card on the worlds that its network was not trained for.

    Raises
    ------
    KeyError
        The results have no table, row or method of `DEPARTURES`.
    """
    own = phrase(HYBRID.by(LEARNT), name)
    columns = [own, BIC, NOISE, KNOWN]
    found = {
        words: {method: shown(gospa) for method, gospa in results.row(*place).items()}
        for words, place in DEPARTURES.items()
    }
    rows = [[words, *(cells[column] for column in columns)] for words, cells in found.items()]
    true, dft = found[TRUE], found[DFT]
    yield from section(
        "Where the scenes differ",
        ["default scenario, 20 dB, except for", *columns],
        rows,
        "GOSPA with cut-off 2 m, in metres, from docs/robustness.md, which has more cases.",
        level=3,
    )
    if name == "robust":
        yield (
            f"- Where the model is true, its K rule costs accuracy, because it takes weak sources for extra paths: {true[own]} m in the "
            f"default scenario, where NOMP with K by BIC and the noise level unknown has {true[NOISE]} m."
        )
        yield "- The rule is better where extra paths are strong. Without them BIC with the noise level unknown is the better choice."
    else:
        yield (
            "- Its K rule, like BIC, assumes that the model is true: with element errors, dead elements, a wrong channel or extra "
            "paths it finds false sources. BIC with the noise level unknown is then the better choice without extra paths, the "
            "network `robust` with strong ones."
        )
    yield (
        f"- With 2-D DFT codes, on which it was not trained, it has {dft[own]} m at 10 dB, where NOMP with K by BIC has {dft[BIC]} m."
    )
    yield "- docs/room.md has results in a ray-traced hall, with line of sight and reflections."
