"""The text of docs/peers.md: results with sources off the grid, compared with published results with sources on it."""

import math
from collections.abc import Mapping, Sequence

from stages.evaluation.method import HYBRID, NOMP, PLAIN, Method
from stages.evaluation.tables import WITHIN, Row, number
from stages.reporting.looks import look_of

__all__ = ["METHODS", "page"]

METHODS = tuple(
    method.name
    for method in (
        *(Method(source, PLAIN) for source in ("R_samp", "beamforming", "mvdr", "sbl", "R_blend", "slots")),
        HYBRID,
        *(Method(source) for source in ("untrained", "back_projection", "R_samp", "sbl")),
        NOMP,
        Method("R_true"),
    )
)
TITLES = {
    "independent": "Non-coherent: independent Gaussian symbols, stochastic bound",
    "coherent": "Coherent: one waveform for both sources, deterministic bound",
}
PUBLISHED = {"independent": ("0.0073", "1.8"), "coherent": ("0.05", "8")}
"""Angle [rad] and range [m] of 2-D MUSIC with K known in published code of this setting, sources on its search grid."""

_Table = Mapping[tuple[str, float], Row]
_Columns = Sequence[tuple[str, float]]
_COLUMNS: _Columns = (
    ("angle_rmse_matched_deg", math.radians(1)),
    ("distance_rmse_matched_m", 1.0),
    ("angle_error_median_deg", math.radians(1)),
    ("distance_error_median_m", 1.0),
    (f"within_{WITHIN:g}_root_crb", 1.0),
)
_BOUNDS: Mapping[str, _Columns] = {
    "mean root-CRB": (("root_crb_angle_mean_deg", math.radians(1)), ("root_crb_distance_mean_m", 1.0)),
    "root mean CRB": (("root_crb_angle_rms_deg", math.radians(1)), ("root_crb_distance_rms_m", 1.0)),
}

HEAD = """\
# Comparison with published near-field subspace learning

This page evaluates the methods in the setting of published near-field subspace learning. `make peers`
(`python -m studies.peers`) writes it; edit the generator, not this page.

The preset `ula_coherent` defines the setting: a linear array of 15 elements half a wavelength apart (wavelength 1 m, phases
referred to the end element), observed directly, T = 100 snapshots, K = 2 sources of equal power, K known, azimuth within
+-60 degrees and at least 15 degrees apart, range 8 to 48 m. Our sources are drawn from the continuum, **off every grid**. The
SNR is exact and refers to both sources together: 3.01 dB means 0 dB for each of two independent sources. Two sources with one
waveform add in amplitude at each element, so at 3.01 dB together each is at 0 dB on average over the scenes, with a standard
deviation of 0.4 dB.

**Published figures on the grid are not comparable with ours.** Published code for this setting draws its sources on the grid
on which it then searches. An estimate can then hit a source exactly, and often does, so the average error can fall below the
bound, which applies to estimators that do not know the grid. Off the grid this advantage does not exist. (All methods here
do know the search domain: no estimate lies beyond 48 m. At 0 dB this keeps the range errors of the farthest sources, and the
root mean square error, below a bound that does not use this knowledge.) The published figures are shown for reference, not for
ranking.

Every estimate is assigned to a source, whatever its distance, so the root mean square errors include outright failures. The
bound is given in two forms: the mean of the root-CRBs, which publications usually state, and the root of the mean CRB. The
latter is the root mean square error of an efficient estimator and is the larger of the two. Bounds above the standard deviation
of the prior are clipped to it. *Refined* means selection by likelihood with a joint fit.
"""

NOTES = {
    "independent": """\
With H = I and codes of 1 the least-squares snapshots are the snapshots themselves, up to scale. R_samp is therefore the
classical sample covariance, and MUSIC on it reaches the bound, as in textbooks: with 100 snapshots of 15 elements a network
has nothing to gain. Plain MUSIC on R_blend falls behind as the SNR rises, because the error of R_pred does not vanish with the
noise. Refined, it reaches the bound again, as does any list of candidates that misses no source.
""",
    "coherent": """\
With one waveform the signal part of R_samp has rank one: its second eigenvector is noise, and MUSIC on R_samp fails at any
SNR. R_true = A diag(p) A^H has rank two, and the network is trained to predict it: among the spectra, MUSIC on R_blend is the
best. The likelihood used for selection and fit treats every waveform as unknown and needs no rank: all refined methods have
their medians at the bound. However, the likelihood of coherent sources has more local maxima, and one to three sources in a
hundred end at a wrong one, fewest from the candidates of R_true. This dominates the root mean square errors of the refined
methods, whose order depends on a handful of scenes. The shares within 3 root-CRB are more informative.
""",
}


def page(rows: Mapping[str, Sequence[Row]], settings: Mapping[str, object], confidence: float) -> str:
    """The Markdown text.

    rows : the table by SNR for each waveform, its first SNR 0 dB a source.  settings : what differs from params.yaml.
    confidence : of the intervals.

    Raises
    ------
    ValueError
        A method or an SNR has no row.
    """
    parts = [HEAD]
    for waveform, title in TITLES.items():
        table = {(str(row["method"]), number(row, "snr_db")): row for row in rows[waveform]}
        snrs = sorted({snr for _, snr in table})
        if missing := [(name, snr) for name in METHODS for snr in snrs if (name, snr) not in table]:
            raise ValueError(f"{waveform}: expected a row for each method and SNR, got none for {missing[0]}")
        parts += [f"## {title}\n", NOTES[waveform], _first(table, snrs[0], waveform, confidence), _by_snr(table, snrs)]
    changed = "\n".join(f"    {path}: {value}" for path, value in settings.items())
    parts.append(
        f"## Parameters\n\nAll runs use `params.yaml` with the scenario of the preset and these changes:\n\n{changed}\n"
    )
    return "\n".join(parts)


def _first(table: _Table, snr: float, waveform: str, confidence: float) -> str:
    """Every figure at 0 dB a source, with intervals."""
    scenes = table[METHODS[0], snr]["scenes"]
    lines = [
        f"At {snr:.4g} dB, {scenes} scenes; {100 * confidence:g} % intervals in brackets; *found* is the share of sources with an estimate:\n",
        f"| | angle RMSE [rad] | range RMSE [m] | median angle [rad] | median range [m] | within {WITHIN:g} root-CRB | found |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in METHODS:
        row = table[name, snr]
        cells = [_interval(row, column, scale) for column, scale in _COLUMNS]
        lines.append(f"| {_words(name)} | {' | '.join(cells)} | {_short(number(row, 'detected'))} |")
    for words, columns in _BOUNDS.items():
        cells = [_short(scale * number(table[METHODS[0], snr], column)) for column, scale in columns]
        lines.append(f"| **{words}** | **{cells[0]}** | **{cells[1]}** | | | | |")
    angle, distance = PUBLISHED[waveform]
    lines.append(f"| *published, on the grid, not comparable: 2-D MUSIC, K known* | *{angle}* | *{distance}* | | | | |")
    return "\n".join(lines) + "\n"


def _by_snr(table: _Table, snrs: Sequence[float]) -> str:
    """Both root mean squares at every SNR."""

    def line(words: str, name: str, columns: _Columns) -> str:
        cells = [
            " / ".join(_short(scale * number(table[name, snr], column)) for column, scale in columns) for snr in snrs
        ]
        return f"| {words} | {' | '.join(cells)} |"

    lines = [
        "Angle RMSE [rad] / range RMSE [m] for each SNR of both sources:\n",
        f"| | {' | '.join(f'{snr:.4g} dB' for snr in snrs)} |",
        "|---|" + "---|" * len(snrs),
        *(line(_words(name), name, _COLUMNS[:2]) for name in METHODS),
        *(line(f"**{words}**", METHODS[0], columns) for words, columns in _BOUNDS.items()),
    ]
    return "\n".join(lines) + "\n"


def _words(name: str) -> str:
    method = Method.named(name)
    text = look_of(method).text
    return f"{text} (oracle)" if method.group == "oracle" else text


def _interval(row: Row, column: str, scale: float) -> str:
    value, low, high = (_short(scale * number(row, f"{column}{end}")) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def _short(value: float) -> str:
    """Three digits of what is below 10, as 0.0073 and 2.34; no more decimals than four."""
    return f"{round(value, 4):.3g}"
