"""Prepare docstrings for `sphinx.ext.napoleon`: keep formulas and plain text literal, list the fields of parameters.

A docstring is plain text: paragraphs, indented formulas and numpydoc sections, which napoleon renders. Characters that
reStructuredText would interpret (|x|, *batch, R_) are escaped. Modules that have no numpydoc sections yet write their
arguments as ``name : meaning.  other : meaning.``, which becomes a list.
"""

import dataclasses
import re
from collections.abc import Iterator

__all__ = ["process", "restructured"]

_ITEM = re.compile(r"(?:^|\n|  )([A-Za-z_]\w*(?:, \w+)*) : ")
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "References")
_SPECIAL = re.compile(r"[\\*|`]|_(?!\w)")


def process(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Change the lines of a docstring in place, as Sphinx's event asks; append the fields of a dataclass of parameters."""
    lines[:] = restructured(lines)
    if isinstance(obj, type) and dataclasses.is_dataclass(obj):
        lines += _parameters(obj)


def restructured(lines: list[str]) -> list[str]:
    """Return the dedented lines of a docstring as reStructuredText with numpydoc sections."""
    done: list[str] = []
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for block in blocks:
        head, *rest = block.split("\n")
        if rest and head in _SECTIONS and set(rest[0]) == {"-"}:
            done += [head, rest[0], *_section(head, rest[1:])]
        elif all(line.startswith(" ") for line in block.split("\n")):
            done += ["::", "", *(f"    {line}" for line in block.split("\n"))]
        elif any(line.startswith("    ") for line in rest):
            done += _mixed(block)
        else:
            done += _paragraph(block)
        done.append("")
    return done


def _mixed(block: str) -> Iterator[str]:
    """Yield a paragraph in which indented lines follow without a blank line; show those lines as they stand."""
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


def _section(title: str, lines: list[str]) -> Iterator[str]:
    """Yield the entries of a section, names and descriptions escaped; types are code, lest Sphinx looks their words up."""
    for entry in re.split(r"\n(?! )", "\n".join(lines)):
        head, *description = entry.split("\n")
        name, colon, kind = head.partition(" : ")
        if title in ("Returns", "Yields"):
            yield f"``{head}``"
        else:
            yield f"{_literal(name)} : ``{kind}``" if colon else _literal(head)
        if description:
            yield f"    {_literal(' '.join(description))}"


def _parameters(cls: type) -> Iterator[str]:
    fields = [field for field in dataclasses.fields(cls) if "doc" in field.metadata]
    for field in fields:
        unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        yield f"- ``{field.name}``{unit}: {_literal(field.metadata['doc'])}"
    if fields:
        yield ""


def _literal(text: str) -> str:
    """Return the text on one line, with code between backticks as code and everything else escaped."""
    text = " ".join(text.split())
    done, end = [], 0
    for code in _CODE.finditer(text):
        after = "\\ " if text[code.end() : code.end() + 1].isalnum() else ""
        done += [_SPECIAL.sub(r"\\\g<0>", text[end : code.start()]), f"``{code[2]}``{after}"]
        end = code.end()
    return "".join([*done, _SPECIAL.sub(r"\\\g<0>", text[end:])])
