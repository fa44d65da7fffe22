import re
from pathlib import Path

from risloc.plotting import palette


def test_a_colour_stands_once(repository: Path) -> None:
    """No other module writes a colour of the palette out."""
    colours = re.compile("|".join(colour for colour in palette.PALETTE if colour != palette.BLACK), re.IGNORECASE)
    folders = ("risloc", "stages", "pipeline", "studies", "benchmarks", "docs")
    files = [path for folder in folders for path in (repository / folder).rglob("*.py")]
    assert len(files) > 150
    written = [str(path.relative_to(repository)) for path in files if colours.search(path.read_text(encoding="utf-8"))]
    assert written == ["risloc/plotting/palette.py"]
    assert len(set(palette.PALETTE)) == len(palette.PALETTE) == 7
