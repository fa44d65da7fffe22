"""A docstring of the house comes out of docutils with the words that went in, and no complaint."""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from sphinx.ext.napoleon import Config as NapoleonConfig
from sphinx.ext.napoleon import NumpyDocstring

from risloc.config import param


@pytest.fixture(scope="module")
def docstrings(repository: Path):
    place = repository / "docs" / "docstrings.py"
    spec = importlib.util.spec_from_file_location("docstrings", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree(lines: list[str]):
    """As docutils reads it; a warning is an error."""
    return publish_doctree("\n".join(lines), settings_overrides={"halt_level": 2, "report_level": 2})


@pytest.mark.parametrize(
    "text",
    [
        "N / |a - U U^H a|^2 >= 1, with a *batch of R_ and `code` in it.",
        "Shards' `params.yaml`'s own; ``beta``, a_n and _private, *args and **kwargs, 2*3*4, |x| and x_.",
        "A `name`s plural, back\\slash, <angle> & more.",
    ],
)
def test_what_is_no_code_is_taken_literally(docstrings, text):
    words = tree(docstrings.restructured([text])).astext()
    assert words.split() == re.sub("`+", "", text).split()


def test_arguments_become_a_list(docstrings):
    lines = ["y : snapshots.  codebook : codes c_l.", "first, second : both", "of them.  last : 1 : 2."]
    entries = list(tree(docstrings.restructured(lines)).findall(lambda node: node.tagname == "list_item"))
    assert [entry.astext() for entry in entries] == [
        "y: snapshots.",
        "codebook: codes c_l.",
        "first, second: both of them.",
        "last: 1 : 2.",
    ]


def test_formulas_stand_as_they_are(docstrings):
    lines = ["Before:", "", "    R = |F|^2  * x_", "      indented", "", "after."]
    doctree = tree(docstrings.restructured(lines))
    (formula,) = doctree.findall(lambda node: node.tagname == "literal_block")
    assert formula.astext() == "R = |F|^2  * x_\n  indented"
    assert [node.astext() for node in doctree.findall(lambda n: n.tagname == "paragraph")] == ["Before:", "after."]


def fields_of(docstrings, text: str) -> dict[str, str]:
    """The fields that napoleon makes of the sections of a docstring."""
    lines = str(NumpyDocstring(docstrings.restructured(text.split("\n")), NapoleonConfig())).split("\n")
    fields = tree(lines).findall(lambda node: node.tagname == "field")
    return {field[0].astext(): " ".join(field[1].astext().split()) for field in fields}


def test_sections_become_fields(docstrings):
    text = """Do it.

Parameters
----------
R_ : [*batch, elem]
    The |R|, with `code` and
    a second line.
first, second : [m]
    Both.

Returns
-------
[*batch]
    |x|_2.

Raises
------
ValueError
    It is |bad|,
    always.
OSError
    No room."""
    assert fields_of(docstrings, text) == {
        "param R_": "The |R|, with code and a second line.",
        "type R_": "[*batch, elem]",
        "param first": "Both.",
        "type first": "[m]",
        "param second": "Both.",
        "type second": "[m]",
        "returns": "|x|_2.",
        "rtype": "[*batch]",
        "raises ValueError": "It is |bad|, always.",
        "raises OSError": "No room.",
    }


def test_a_parameter_s_dataclass_lists_its_fields(docstrings):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        span_m: float = param("how |wide|", unit="m", gt=0.0)
        on: bool = param("whether")

    lines = ["The section.", ""]
    docstrings.process(None, "class", "Config", Config, None, lines)
    entries = tree(lines).findall(lambda node: node.tagname == "list_item")
    assert [entry.astext() for entry in entries] == ["span_m [m]: how |wide|", "on: whether"]
