"""The house's docstrings as reStructuredText: formulas stay as they stand, `name : meaning` becomes a list, errors fields.

A docstring here is plain text: paragraphs, indented formulas, arguments as ``name : meaning.  other : meaning.``, and a
section ``Raises``. What reStructuredText would read into it (|x|, *batch, R_) is taken literally.
"""

import dataclasses
import re
from collections.abc import Iterator

__all__ = ["process", "restructured"]

_ITEM = re.compile(r"(?:^|\n|  )([A-Za-z_]\w*(?:, \w+)*) : ")
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_SPECIAL = re.compile(r"[\\*|`]|_(?!\w)")


def process(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Sphinx's hook: change the lines of a docstring in place; a parameter's dataclass gets a list of its fields."""
    lines[:] = restructured(lines)
    if isinstance(obj, type) and dataclasses.is_dataclass(obj):
        lines += _parameters(obj)


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring, its common indent taken away, as reStructuredText."""
    done: list[str] = []
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for block in blocks:
        head, *rest = block.split("\n")
        if rest and head == "Raises" and set(rest[0]) == {"-"}:
            done += _raises(rest[1:])
        elif all(line.startswith(" ") for line in block.split("\n")):
            done += ["::", "", *(f"    {line}" for line in block.split("\n"))]
        elif any(line.startswith("    ") for line in rest):
            done += _mixed(block)
        else:
            done += _paragraph(block)
        done.append("")
    return done


def _mixed(block: str) -> Iterator[str]:
    """A paragraph with lines that are indented without a blank one before: those are shown as they stand."""
    for literal, part in _runs(block):
        yield from (["::", "", *(f"    {line}" for line in part)] if literal else _paragraph("\n".join(part)))
        yield ""


def _runs(block: str) -> Iterator[tuple[bool, list[str]]]:
    part: list[str] = []
    literal = False
    for line in block.split("\n"):
        if part and line.startswith("    ") != literal:
            yield literal, part
            part = []
        literal = line.startswith("    ")
        part.append(line)
    yield literal, part


def _paragraph(text: str) -> Iterator[str]:
    lead, *items = _ITEM.split(text)
    if lead.strip():
        yield _literal(lead)
        yield ""
    for names, meaning in zip(items[::2], items[1::2], strict=True):
        yield f"- {', '.join(f'``{name}``' for name in names.split(', '))}: {_literal(meaning)}"


def _raises(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith(" "):
            yield f"    {_literal(line.strip())}"
        else:
            yield f":raises {line.strip()}:"


def _parameters(cls: type) -> Iterator[str]:
    fields = [field for field in dataclasses.fields(cls) if "doc" in field.metadata]
    for field in fields:
        unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        yield f"- ``{field.name}``{unit}: {_literal(field.metadata['doc'])}"
    if fields:
        yield ""


def _literal(text: str) -> str:
    """On one line, code between backticks as code, and everything else as it stands."""
    text = " ".join(text.split())
    done, end = [], 0
    for code in _CODE.finditer(text):
        after = "\\ " if text[code.end() : code.end() + 1].isalnum() else ""
        done += [_SPECIAL.sub(r"\\\g<0>", text[end : code.start()]), f"``{code[2]}``{after}"]
        end = code.end()
    return "".join([*done, _SPECIAL.sub(r"\\\g<0>", text[end:])])
