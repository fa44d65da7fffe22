"""Run docs/tutorial.py cell by cell and write docs/tutorial.md: its words, its code, and what came out of it.

    python -m docs.build.tutorial [FOLDER]        default: docs, which is the page of the site

A cell begins with ``# %%``; one of ``# %% [markdown]`` is words. What a cell prints is shown below it; if its last line is
a figure, so is that, and it is kept as FOLDER/tutorial/N.png.
"""

import ast
import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from risloc.plotting.figure_files import save_figure
from risloc.utils.atomic_files import write_bytes

__all__ = ["SCRIPT", "Cell", "cells", "code_of", "execute"]

SCRIPT = Path("docs/tutorial.py")
_MARK, _WORDS = "# %%", "# %% [markdown]"


@dataclass(frozen=True)
class Cell:
    """A cell of the script.  line : of the file, from 1, that its text begins in."""

    words: bool
    text: str
    line: int


def main() -> None:
    """Write the page and its figures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SCRIPT.parent
    began = time.perf_counter()
    parts = list(execute(cells(SCRIPT.read_text(encoding="utf-8")), folder))
    minutes = (time.perf_counter() - began) / 60
    head = (
        f"Made by `python -m docs.build.tutorial` from `{SCRIPT}`: {minutes:.1f} minutes, on {os.cpu_count()} cores of which "
        f"torch used {torch.get_num_threads()}."
    )
    title, rest = parts[0].split("\n", 1)
    page = "\n\n".join([title, head, rest.strip(), *parts[1:]]) + "\n"
    write_bytes(folder / "tutorial.md", page.encode())
    print(f"{folder / 'tutorial.md'}: {minutes:.1f} minutes")


def cells(source: str) -> list[Cell]:
    """The cells of a script in percent format; what stands before the first one is left out."""
    lines = source.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(_MARK)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        words = lines[start].startswith(_WORDS)
        own = [line.removeprefix("#").removeprefix(" ") if words else line for line in lines[start + 1 : end]]
        blank = next((i for i, line in enumerate(own) if line), 0)
        found.append(Cell(words, "\n".join(own).strip("\n"), start + blank + 2))
    return found


def code_of(page: str) -> list[str]:
    """The code that a page written here shows, cell by cell."""
    return [block.split("\n```", 1)[0] for block in page.split("```python\n")[1:]]


def execute(script: list[Cell], folder: Path) -> Iterator[str]:
    """Run the cells in one namespace; each as Markdown, with what it printed and its figure.

    An exception of a cell goes through, with the script's own line numbers.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    figures = 0
    for cell in script:
        if cell.words:
            yield cell.text
            continue
        print(f"{SCRIPT}:{cell.line}", flush=True)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            value = _run(cell, space)
        parts = [f"```python\n{cell.text}\n```"]
        if said.getvalue():
            parts.append(f"```text\n{said.getvalue().rstrip()}\n```")
        if isinstance(value, Figure):
            figures += 1
            save_figure(value, folder / "tutorial" / f"{figures}.png")
            parts.append(f"![figure {figures}](tutorial/{figures}.png)")
        yield "\n\n".join(parts)


def _run(cell: Cell, space: dict[str, Any]) -> object:
    """Execute the cell; the value of its last line if that is an expression."""
    tree = ast.parse(cell.text)
    ast.increment_lineno(tree, cell.line - 1)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(SCRIPT), "exec"), space)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), str(SCRIPT), "eval"), space)


if __name__ == "__main__":
    main()
