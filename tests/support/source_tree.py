"""The layers and rooms of the source, and what each file of them imports."""

from pathlib import Path

from stages.support import imports

__all__ = [
    "COMMAND",
    "LAYERS",
    "ROOMS",
    "external_imports",
    "local_imports",
    "modules",
    "science",
]

LAYERS = ("risloc", "stages", "pipeline")
ROOMS = (  # of risloc, from the ground up: each imports only those before it
    "config",
    "utils",
    "physics",
    "scenes",
    "covariance",
    "performance",
    "io",
    "estimation",
    "learning",
    "locating",
    "plotting",
    "cli",
)
COMMAND = Path("risloc/cli")  # the command line: it stands on the science, and may print


def modules(root: Path, *packages: str) -> list[Path]:
    """The source files of the packages, relative to `root`."""
    return sorted(path.relative_to(root) for name in packages for path in (root / name).rglob("*.py"))


def science(root: Path) -> list[Path]:
    """The modules of risloc without the command line and `python -m risloc`."""
    return [p for p in modules(root, "risloc") if COMMAND not in p.parents and p.name != "__main__.py"]


def local_imports(root: Path, path: Path) -> set[Path]:
    """The files of this repository's packages that the file imports, packages' __init__ left out."""
    return imports.local_imports(root, path, LAYERS)


def external_imports(root: Path, path: Path) -> set[str]:
    """The top-level packages from elsewhere that the file imports."""
    return {name.split(".")[0] for name in imports.imported_names(root, path)} - set(LAYERS)
