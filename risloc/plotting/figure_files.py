"""Write figures to files: whole or not at all, with the same bytes for the same figure."""

import os
import typing
from pathlib import Path

from risloc.utils.atomic_files import replacing

if typing.TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = ["FORMATS", "save_figure"]

FORMATS = (".pdf", ".png", ".svg")
"""The endings of file names that `save_figure` accepts."""


_METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}


def save_figure(figure: "matplotlib.figure.Figure", path: "str | os.PathLike[str]") -> None:
    """Write a figure, completely or not at all; the same figure always gives the same bytes.

    Parameters
    ----------
    figure
        The figure.
    path
        The file, whose ending selects the format: PNG, or SVG or PDF as vectors.

    Raises
    ------
    ValueError
        The name has another ending.
    risloc.utils.atomic_files.DiskFullError
        There is no room.
    """
    import matplotlib

    path = Path(path)
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{path.name}: expected a name that ends in one of {', '.join(FORMATS)}, got {ending!r}")
    with replacing(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "risloc"}):
        figure.savefig(temporary, format=ending[1:], dpi=130, metadata=_METADATA[ending])
