"""What the source says about itself: imports by AST, nothing executed."""

import ast
from pathlib import Path

__all__ = [
    "COMMAND",
    "LAYERS",
    "ROOMS",
    "closure",
    "external_imports",
    "local_imports",
    "modules",
    "science",
    "signature",
]

LAYERS = ("risloc", "stages", "pipeline")
ROOMS = (  # of risloc, from the ground up: each imports only those before it
    "config",
    "utils",
    "physics",
    "covariance",
    "scenes",
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


def _names(root: Path, path: Path) -> set[str]:
    """Every dotted name that the file imports: `from a import b` gives a and a.b."""
    names: set[str] = set()
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write the full name"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def local_imports(root: Path, path: Path) -> set[Path]:
    """The files of this repository's packages that the file imports, packages' __init__ left out."""
    files = {Path(*name.split(".")).with_suffix(".py") for name in _names(root, path)}
    return {file for file in files if file.parts[0] in LAYERS and (root / file).is_file()}


def external_imports(root: Path, path: Path) -> set[str]:
    """The top-level packages from elsewhere that the file imports."""
    return {name.split(".")[0] for name in _names(root, path)} - set(LAYERS)


def closure(root: Path, path: Path) -> set[Path]:
    """The file and all that it imports from this repository, directly or not."""
    found: set[Path] = set()
    waiting = {path}
    while waiting:
        current = waiting.pop()
        found.add(current)
        waiting |= local_imports(root, current) - found
    return found


def signature(root: Path, path: Path) -> dict[str, str]:
    """The keyword-only parameters of the file's `run`, each with its annotation's text."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    assert not run.args.args, f"{path}: run takes keyword-only parameters: def run(*, ...)"
    return {argument.arg: ast.unparse(argument.annotation) for argument in run.args.kwonlyargs if argument.annotation}
