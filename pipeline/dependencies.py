"""`python -m pipeline dependencies`: the parameters, dependencies and outputs of each stage in dvc.yaml, from the code."""

import ast
import re
from pathlib import Path

from pipeline.layout import PATHS, STAGES
from risloc.utils.atomic_files import write_bytes
from stages.support.imports import closure

__all__ = ["lists_of", "signature", "write_dependencies"]

_EXECUTION = ("report", "runner", "storage")  # parameters of a stage that change no result


def signature(root: Path, path: Path) -> dict[str, str]:
    """Return the keyword-only parameters of the file's `run`, each with its annotation's text.

    Raises
    ------
    ValueError
        `run` takes positional parameters.
    """
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    if run.args.args:
        raise ValueError(f"{path}: expected keyword-only parameters; write def run(*, ...)")
    return {argument.arg: ast.unparse(argument.annotation) for argument in run.args.kwonlyargs if argument.annotation}


def lists_of(root: Path, stage: str) -> dict[str, list[str]]:
    """Return what dvc.yaml lists of a stage: its sections, its modules and inputs, its outputs."""
    module, files = Path("stages") / f"{stage}.py", STAGES[stage]
    kinds = signature(root, module)
    return {
        "params": [name for name, kind in kinds.items() if kind != "Path" and name not in _EXECUTION],
        "deps": [*sorted(map(str, closure(root, module))), *(PATHS[name] for name in files.deps)],
        "outs": [PATHS[name] for name in files.outs],
    }


def write_dependencies(root: Path) -> list[str]:
    """Rewrite these lists in dvc.yaml, whose comments and plots stay; return the stages that changed.

    Raises
    ------
    ValueError
        dvc.yaml lacks a stage, or a list of one.
    """
    file = root / "dvc.yaml"
    text, changed = file.read_text(encoding="utf-8"), []
    for stage in STAGES:
        before = text
        for key, items in lists_of(root, stage).items():
            if items:
                text = _with_list(text, stage, key, items)
        changed += [stage] if text != before else []
    write_bytes(file, text.encode())
    return changed


def _with_list(text: str, stage: str, key: str, items: list[str]) -> str:
    head = rf"(\n  {stage}:\n(?:(?!\n  \w).)*?\n    {key}:\n)(?:      - [^\n]*\n)+"
    lines = "".join(f"      - {item}\n" for item in items)
    text, count = re.subn(head, lambda match: match[1] + lines, text, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"dvc.yaml: expected the stage {stage} with a list {key}; add it with any entry")
    return text
