"""A message of risloc fits a reader who has the wheel alone: commands of the repository are named as such."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_THE_REPOSITORY = re.compile(r"\bdvc \w|`make |make setup|python -m (pipeline|stages|studies|benchmarks)")
MODULES = sorted(Path(__file__).parents[2].glob("risloc/**/*.py"))


def messages(tree: ast.AST) -> Iterator[str]:
    """Every text in the code that is not a docstring, with what is filled in left out."""
    inside = {id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in ast.walk(text)}
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | documentation:
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(path.parts[-3:]))
def test_commands_of_the_repository_are_named_as_such(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [each for each in messages(tree) if IN_THE_REPOSITORY.search(each) and "in the repository" not in each]
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(path.parts[-3:]))
def test_no_error_sends_its_reader_to_params_yaml(path: Path) -> None:
    """The wheel has none: a value may come from a room, a checkpoint or an argument."""
    raised = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)]
    assert [text for node in raised for text in messages(node) if re.search(r"params\.yaml|\bin params\b", text)] == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('raise E(f"{x}: run `dvc repro shard`")', 1),
        ('A = "run `dvc repro x`, in the repository"', 0),
        ('"""dvc repro"""', 0),
    ],
)
def test_a_wrong_remedy_would_be_seen(source: str, count: int) -> None:
    texts = messages(ast.parse(source))
    assert sum(bool(IN_THE_REPOSITORY.search(each)) and "in the repository" not in each for each in texts) == count
