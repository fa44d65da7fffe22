"""What the study of robustness found of a shipped network, for its card."""

from collections.abc import Iterator

from studies.robustness_page import Results
from studies.table_rows import section, shown

__all__ = ["DEPARTURES", "limits"]

TRUE, DFT = "nothing", "2-D DFT codes, 10 dB"
DEPARTURES = {
    TRUE: ("share of dead elements", "0"),
    "phase error of each element, 5 deg": ("phase error of each element, standard deviation [deg]", "5"),
    "2 % of the elements dead": ("share of dead elements", "0.02"),
    "NMSE of the channel estimate .01": ("NMSE of the channel estimate", "0.01"),
    "two extra paths a source, -12 dB": ("two extra paths a source, their power [dB]", "-12"),
    "two extra paths a source, -6 dB": ("two extra paths a source, their power [dB]", "-6"),
    "all scenes coherent": ("share of coherent scenes", "1"),
    "powers within +- 10 dB": ("powers within +- [dB]", "10"),
    "k = 10, a strong line of sight, 10 dB": ("world", "k = 10, a strong line of sight"),
    DFT: ("world", "2-D DFT codes"),
}
"""What a card repeats of docs/robustness.md: its words, and the table and the row there."""

BIC, NOISE, KNOWN = "NOMP, K by BIC", "NOMP, K by BIC, noise level unknown", "NOMP, K known"


def limits(name: str, results: Results) -> Iterator[str]:
    """The lines of a card on the worlds that its network was not trained for.

    Raises
    ------
    KeyError
        The results have no table, row or method of `DEPARTURES`.
    """
    own = f"hybrid `{name}`, K learnt"
    columns = [own, BIC, NOISE, KNOWN]
    found = {
        words: {method: shown(gospa) for method, gospa in results.row(*place).items()}
        for words, place in DEPARTURES.items()
    }
    rows = [[words, *(cells[column] for column in columns)] for words, cells in found.items()]
    true, dft = found[TRUE], found[DFT]
    yield from section(
        "Where the world is another",
        ["default scenario, 20 dB, but for", *columns],
        rows,
        "GOSPA with cut-off 2 m, metres, from docs/robustness.md, which has more.",
        level=3,
    )
    if name == "robust":
        yield (
            f"- What its K rule costs in the default world, where nothing is wrong: {true[own]} m, where NOMP with K by BIC, "
            f"the noise level unknown, has {true[NOISE]} m. It takes weak sources for extra paths."
        )
        yield "- It pays where extra paths are strong. Without them BIC with the noise level unknown is the better choice."
    else:
        yield (
            "- Its K rule, as BIC, takes the model for true: with element errors, dead elements, a wrong channel or extra "
            "paths it finds sources that are not there. Without extra paths BIC with the noise level unknown is then the "
            "better choice, with strong ones network `robust`."
        )
    yield (
        f"- 2-D DFT codes, which it has not been trained on, 10 dB: {dft[own]} m, where NOMP with K by BIC has {dft[BIC]} m."
    )
    yield "- A ray-traced hall, line of sight and reflections: docs/room.md."
