"""Public docstrings of risloc have the numpydoc sections that their code calls for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for path in (ROOT / "risloc").rglob("*.py") if path != ROOT / "risloc" / "__init__.py")
Node = ast.FunctionDef | ast.ClassDef


def sections_of(docstring: str) -> dict[str, list[str]]:
    """The names of the entries of each section; the text outside sections stands under ''."""
    lines, sections = docstring.split("\n"), {"": []}
    title = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch("-{3,}", following):
            title = line
            sections[title] = []
        elif not line.startswith(" ") and line and not re.fullmatch("-{3,}", line):
            sections[title] += re.split(", ", line.partition(" : ")[0]) if title in ("Parameters", "Raises") else [line]
    return sections


def has_decorator(node: Node, name: str) -> bool:
    return any(name in ast.unparse(decorator) for decorator in node.decorator_list)


def raised_by(node: ast.AST) -> set[str]:
    calls = [part.exc for part in ast.walk(node) if isinstance(part, ast.Raise) and isinstance(part.exc, ast.Call)]
    return {ast.unparse(call.func).rpartition(".")[2] for call in calls}


def parameters_of(node: Node) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        signature = node.args
        plain = [*signature.posonlyargs, *signature.args]
        starred = [f"*{signature.vararg.arg}"] if signature.vararg else []
        names = [*(arg.arg for arg in plain), *starred, *(arg.arg for arg in signature.kwonlyargs)]
        names += [f"**{signature.kwarg.arg}"] if signature.kwarg else []
        bound = ("self", "cls") if has_decorator(node, "classmethod") else ("self",)
        return [name for name in names if name not in bound]
    if has_decorator(node, "dataclass"):  # fields by `param` carry their own meaning
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        return [f.target.id for f in fields if f.value is None or not ast.unparse(f.value).startswith("param(")]
    inits = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    return parameters_of(inits[0]) if inits else []


def returns_something(node: Node) -> bool:
    returned = isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns)
    return bool(returned) and returned not in ("None", "NoReturn") and not has_decorator(node, "property")


def complaints(name: str, node: Node) -> list[str]:
    if has_decorator(node, "click."):
        return []  # the docstring is the help of a command, whose options have help texts
    sections = sections_of(ast.get_docstring(node) or "")
    wanted, given = parameters_of(node), sections.get("Parameters", [])
    found = [f"{name}: Parameters has {given}, the signature {wanted}"] if given != wanted else []
    if returns_something(node) and not {"Returns", "Yields"} & sections.keys():
        found.append(f"{name}: no section Returns")
    bodies = (
        [node] if isinstance(node, ast.FunctionDef) else [f for f in node.body if getattr(f, "name", "") == "__init__"]
    )
    named = {
        entry.rpartition(".")[2] for entry in sections.get("Raises", [])
    }  # a full name becomes a link in the pages
    if unsaid := set().union(*map(raised_by, bodies)) - named:
        found.append(f"{name}: Raises does not name {sorted(unsaid)}")
    if re.search(r"Source:|\b(19|20)\d\d\b", " ".join(sections[""])):
        found.append(f"{name}: a source is cited outside the section References")
    return found


def public_nodes(path: Path) -> list[tuple[str, Node]]:
    """The functions and classes in `__all__` of a module, and the public methods of those classes."""
    tree = ast.parse(path.read_text())
    names = [
        ast.literal_eval(part.value)
        for part in tree.body
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "__all__"
    ]
    tops = [n for n in tree.body if isinstance(n, Node) and names and n.name in names[0]]
    methods = [
        (f"{top.name}.{part.name}", part)
        for top in tops
        if isinstance(top, ast.ClassDef)
        for part in top.body
        if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")
    ]
    return [(top.name, top) for top in tops] + methods


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_docstrings_have_their_sections(path):
    assert [line for name, node in public_nodes(path) for line in complaints(name, node)] == []


@pytest.mark.parametrize(
    "body",
    [
        'def f(x: int) -> None:\n    """Do it."""',
        'def f(x: int) -> None:\n    """Do it.\n\n    Parameters\n    ----------\n    y : int\n        It.\n    """',
        'def f() -> int:\n    """Do it."""',
        'def f() -> None:\n    """Do it."""\n    raise ValueError("no")',
        'def f() -> None:\n    """Do it: Roy 2007."""',
    ],
    ids=["no parameters", "another name", "no returns", "no raises", "source in the text"],
)
def test_a_missing_section_is_reported(body):
    assert len(complaints("f", ast.parse(body).body[0])) == 1
