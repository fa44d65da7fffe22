"""The page of `risloc view`, a self-contained HTML text, and the records of the scenes that it shows."""

import base64
import hashlib
import html
import importlib.resources
import json
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

from risloc.cli.errors import NOT_DONE, CommandError, counted
from risloc.locating.result_rows import Row, rows_of, scenes_of
from risloc.locating.truth_errors import MATCHED_WITHIN
from risloc.plotting.interactive import codebook_figure, direction_figure, range_figure, space_figure
from risloc.plotting.scene_view import SceneView

__all__ = ["Record", "check_plotly", "page", "record_of"]

Record = dict[str, Any]
"""A scene in the form that the script of the page reads: its number, summary, table rows, and figures with descriptions."""

COLUMNS = (
    "source",
    "x [m]",
    "y [m]",
    "z [m]",
    "distance [m]",
    "azimuth [°]",
    "elevation [°]",
    "power",
    "echoes",
    "resolved",
    "error [m]",
)


def check_plotly() -> None:
    """Check that plotly is installed before the work begins.

    Raises
    ------
    CommandError
        It is not.
    """
    try:
        import plotly  # noqa: F401
    except ImportError:
        raise CommandError("view needs plotly; run: pip install 'risloc[view]'", NOT_DONE) from None


def record_of(view: SceneView, scene: int) -> Record:
    """Make the record of a scene.

    Parameters
    ----------
    view
        The scene and its sources.
    scene
        Its number.

    Returns
    -------
    Record
        What the page shows of it.
    """
    (rows,) = rows_of(view.found, scene)
    errors = [float(view.error[row["source"] - 1]) for row in rows]
    figures = {
        "space": space_figure(view),
        "directions": direction_figure(view),
        "ranges": range_figure(view),
        "codebook": codebook_figure(view),
    }
    words = _words(view, rows)
    return {
        "scene": scene,
        "summary": _summary(view, rows, errors),
        "rows": [
            {"cells": _cells(row, error), "resolved": row["resolved"]} for row, error in zip(rows, errors, strict=True)
        ],
        "figures": {name: json.loads(figure.to_json()) | {"words": words[name]} for name, figure in figures.items()},
    }


def page(title: str, subtitle: str, scenes: Sequence[int], records: Mapping[int, Record] | None) -> str:
    """Make the HTML text.

    Parameters
    ----------
    title
        The title.
    subtitle
        The line below it.
    scenes
        The numbers of the scenes.
    records
        The records of all scenes; None: the page fetches each from ``scene/NUMBER``.

    Returns
    -------
    str
        The page.
    """
    from plotly.offline import get_plotlyjs

    plotly, script = get_plotlyjs(), _asset("view.js")
    return string.Template(_asset("view.html")).substitute(
        policy=html.escape(_policy(plotly, script, "'none'" if records is not None else "'self'")),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=_asset("view.css"),
        options="".join(f"<option>{scene}</option>" for scene in scenes),
        columns="".join(f'<th scope="col">{name}</th>' for name in COLUMNS),
        records=_inert(records),
        plotly=plotly,
        script=script,
    )


def _policy(plotly: str, script: str, connect: str) -> str:
    """Return the Content-Security-Policy: the two scripts of the page by their digests, and nothing from elsewhere.

    Plotly needs inline styles, and blobs to save pictures. `connect` is the source that scripts may fetch from.
    """
    scripts = " ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _cells(row: Row, error: float) -> list[str]:
    """Return a row of the table, in the order of `COLUMNS`."""
    metres = [f"{row[f'{name}_m']:.3f} ± {row[f'{name}_std_m']:.3f}" for name in ("x", "y", "z", "distance")]
    degrees = [f"{row[f'{name}_deg']:.2f} ± {row[f'{name}_std_deg']:.2f}" for name in ("azimuth", "elevation")]
    resolved = "yes" if row["resolved"] else f"no: {row['reason']}"
    distance = "–" if math.isnan(error) else f"{error:.3f}"
    echoes = "–" if row["echoes"] is None else str(row["echoes"])
    return [str(row["source"]), *metres, *degrees, f"{row['power']:.3g}", echoes, resolved, distance]


def _summary(view: SceneView, rows: Sequence[Row], errors: Sequence[float]) -> str:
    (scene,) = scenes_of(view.found, 0)
    noise = f"sigma² = {scene['noise_var']:.3g}, {scene['noise']}; {_fit(scene)}"
    number = sum(row["echoes"] or 0 for row in rows)
    echoes = f" with {counted(number, 'echo', 'echoes')}" if number else ""
    sources = (
        f"{counted(len(rows), 'source')}{echoes}, {sum(not row['resolved'] for row in rows)} not resolved; {noise}."
    )
    if scene["grouping"] == "ambiguous":
        sources += " The symbols do not vary and cannot tell an echo from a source."
    if view.truth is None:
        return f"{sources} The file has no truth, so the errors are unknown."
    false = counted(sum(map(math.isnan, errors)), "false alarm")
    true = counted(len(view.truth), "true source")
    return f"{sources} {true}: {view.missed} missed (no estimate within {MATCHED_WITHIN:g} m), {false}."


def _fit(scene: Row) -> str:
    """Describe the residual."""
    share = f"{100 * scene['explained']:.1f} % of the energy explained"
    if scene["whiteness"] is not None:
        return f"{share}, residual {scene['verdict']}"
    if math.isnan(scene["misfit"]):
        return f"{share}, too few samples for a misfit"
    limits = f"{scene['misfit_low']:.2g} to {scene['misfit_high']:.2g}"
    return f"{share}, misfit {scene['misfit']:.3g} (expected 1, fits from {limits}): {scene['verdict']}"


def _words(view: SceneView, rows: Sequence[Row]) -> dict[str, str]:
    """Describe each figure for readers who cannot see it."""
    setup, spectrum = view.setup, f"MUSIC spectrum of {view.covariance}"
    places = "; ".join(f"({row['x_m']:.2f}, {row['y_m']:.2f}, {row['z_m']:.2f}) m" for row in rows) or "none"
    u, v, w = view.slices.through.tolist()
    return {
        "space": f"Surface of {setup.n_h} x {setup.n_v} elements, {spectrum} and sources in space. Positions (x, y, z): {places}",
        "directions": f"{spectrum} over u and v at {1 / w:.2f} m, {float(view.level[0]):.1f} dB at the highest on the grid",
        "ranges": f"{spectrum} over inverse range in the direction u {u:.2f}, v {v:.2f}; the estimate lies at {1 / w:.2f} m",
        "codebook": f"Phases of {view.codebook.shape[1]} elements in {view.codebook.shape[0]} snapshots",
    }


def _inert(value: Any) -> str:
    """Return JSON that cannot close the HTML element that contains it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (importlib.resources.files("risloc.cli") / "page" / name).read_text(encoding="utf-8")
