"""Which files of this repository a module imports, read from its source: nothing is executed."""

import ast
from collections.abc import Collection
from pathlib import Path

__all__ = ["closure", "imported_names", "local_imports"]

_PACKAGES = ("risloc", "stages")


def imported_names(root: Path, path: Path) -> set[str]:
    """Return every dotted name that the file imports: `from a import b` gives a and a.b.

    Raises
    ------
    ValueError
        The file has a relative import.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}:{node.lineno}: expected no relative import; write the module's full name")
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def local_imports(root: Path, path: Path, packages: Collection[str] = _PACKAGES) -> set[Path]:
    """Return the files of `packages` that the file imports, without the `__init__` files of packages.

    Parameters
    ----------
    root
        Folder of the repository; all other paths are relative to it.
    path
        File whose imports are read.
    packages
        Top-level packages that count.
    """
    files = {Path(*name.split(".")).with_suffix(".py") for name in imported_names(root, path)}
    return {file for file in files if file.parts[0] in packages and (root / file).is_file()}


def closure(root: Path, path: Path) -> set[Path]:
    """Return the file and all files of risloc and stages that it imports, directly or not."""
    found: set[Path] = set()
    waiting = {path}
    while waiting:
        current = waiting.pop()
        found.add(current)
        waiting |= local_imports(root, current) - found
    return found
