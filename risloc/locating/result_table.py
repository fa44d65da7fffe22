"""The table of located sources on the terminal."""

from risloc.locating.result_rows import Row

__all__ = ["empty_line", "table_head", "table_line"]

_TABLE = (
    *(("scene", 6, "d"), ("source", 6, "d"), ("x_m", 9, ".3f"), ("x_std_m", 7, ".3f"), ("y_m", 9, ".3f")),
    *(("y_std_m", 7, ".3f"), ("z_m", 9, ".3f"), ("z_std_m", 7, ".3f"), ("power", 10, ".3g")),
)
_TABLE_TRUTH = (("error_m", 9, ".3f"), ("bound_m", 9, ".3f"))
_FIT = {
    "misfit": ("misfit", 7, ".2f"),
    "explained": ("explained", 9, ".3f"),
}  # misfit if sigma^2 is given, otherwise explained
_NAMES = {"error_m": "error [m]", "bound_m": "bound [m]"} | {
    "x_m": "x [m]",
    "y_m": "y [m]",
    "z_m": "z [m]",
    "x_std_m": "+-",
    "y_std_m": "+-",
    "z_std_m": "+-",
}


def table_head(fit: str, *, truth: bool = False) -> str:
    """Return the head of the table.

    Parameters
    ----------
    fit
        The column that says how well a scene is explained, "misfit" or "explained".
    truth
        Whether there are columns for the error and the bound.

    Returns
    -------
    str
        A line.
    """
    return " ".join(f"{_NAMES.get(name, name):>{width}}" for name, width, _ in _columns(fit, truth))


def table_line(row: Row, fit: str) -> str:
    """Return the line of a source, which ends with the number of its echoes and, if it is not resolved, with the reason.

    Parameters
    ----------
    row
        The row of the source.
    fit
        "misfit" or "explained".

    Returns
    -------
    str
        A line.
    """
    columns = _columns(fit, "error_m" in row)
    cells = " ".join(f"{row[name]:>{width}{format_}}" for name, width, format_ in columns).replace("nan", "  -")
    if row["echoes"]:
        cells += f"  {row['echoes']} {'echo' if row['echoes'] == 1 else 'echoes'}"
    return cells if row["resolved"] else f"{cells}  not resolved: {row['reason']}"


def empty_line(scene: Row, fit: str) -> str:
    """Return the line of a scene without sources.

    Parameters
    ----------
    scene
        What is known of the scene.
    fit
        "misfit" or "explained".

    Returns
    -------
    str
        A line.
    """
    name, width, format_ = _FIT[fit]
    head = f"{scene['scene']:>6d} {'no source':>{len(table_head(fit)) - width - 8}} {scene[name]:>{width}{format_}}"
    if scene["verdict"] in ("fits", "white", "undetermined"):
        return head
    return f"{head}  {'misfit' if fit == 'misfit' else 'residual'} {scene['verdict']}"


def _columns(fit: str, truth: bool) -> tuple[tuple[str, int, str], ...]:
    return (*_TABLE, _FIT[fit], *(_TABLE_TRUTH if truth else ()))
