"""Draw docs/architecture.svg: the rooms of risloc from the ground up, and an arc for each room that another one imports.

    python -m docs.build.architecture

Rooms stand in a column, each above all that it imports. An arc on the right leads from a room down to one that it imports; its
width grows with the number of modules that do so. A test compares the file with what this module draws.
"""

from collections import Counter
from pathlib import Path

from risloc.plotting.palette import BLUE
from risloc.utils.atomic_files import write_bytes
from stages.support.imports import local_imports

__all__ = ["PICTURE", "ROOMS", "arrows", "draw", "room_of"]

PICTURE = Path("docs/architecture.svg")
ROOMS = {
    "config": "typed parameters, read from YAML",
    "utils": "whole files, progress, devices",
    "physics": "geometry, steering vectors, codes, channels, the grid",
    "scenes": "scenarios, scenes drawn from them, ray-traced rooms",
    "covariance": "covariance matrices as factors; R_samp, R_true",
    "performance": "the Cramer-Rao bound and errors",
    "io": "files of scenes and of measurements, read with distrust",
    "estimation": "spectra, selection, fits, deviations, reliability",
    "learning": "the network, its loss, training, the hybrid, K rules",
    "locating": "from measurements to positions",
    "plotting": "figures",
    "cli": "the command risloc",
}
"""The rooms from the ground up: each imports only those before it."""

_ROW, _WIDTH, _HEIGHT, _LEFT, _TOP = 46, 510, 34, 12, 12


def room_of(path: Path) -> str:
    """Return the room of a module of risloc."""
    return path.parts[1].removesuffix(".py")


def arrows(root: Path) -> Counter[tuple[str, str]]:
    """Return, for each pair of rooms, how many modules of the first import the second."""
    found: Counter[tuple[str, str]] = Counter()
    for module in sorted((root / "risloc").rglob("*.py")):
        path = module.relative_to(root)
        if room_of(path) in ROOMS:
            imported = {room_of(other) for other in local_imports(root, path)} & set(ROOMS)
            found.update((room_of(path), other) for other in imported - {room_of(path)})
    return found


def draw(counts: Counter[tuple[str, str]]) -> str:
    """Return the picture as SVG."""
    place = {room: _TOP + _ROW * (len(ROOMS) - 1 - floor) for floor, room in enumerate(ROOMS)}
    edge = _LEFT + _WIDTH
    widest = edge + 16 + _ROW * len(ROOMS) // 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest}" height="{_ROW * len(ROOMS) + _TOP}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for (above, below), count in sorted(counts.items()):
        top, bottom = place[above] + _HEIGHT * 0.65, place[below] + _HEIGHT * 0.35
        reach = edge + (bottom - top) * 0.62
        lines.append(
            f'<path d="M {edge} {top:.0f} C {reach:.0f} {top:.0f} {reach:.0f} {bottom:.0f} {edge} {bottom:.0f}" fill="none" '
            f'stroke="{BLUE}" stroke-opacity="0.55" stroke-width="{0.6 + 0.35 * count:.2f}">'
            f"<title>{above} imports {below}: {count} modules</title></path>"
        )
    for room, y in place.items():
        lines += [
            f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="#f4f6f8" stroke="#44546a"/>',
            f'<text x="{_LEFT + 10}" y="{y + 22}" font-weight="bold">{room}</text>',
            f'<text x="{_LEFT + 118}" y="{y + 22}">{ROOMS[room]}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Write the picture."""
    write_bytes(PICTURE, draw(arrows(Path())).encode())
    print(PICTURE)


if __name__ == "__main__":
    main()
