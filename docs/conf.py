"""The site: README, guides, tutorial, parameters and the API, from the repository itself. `make docs` builds it.

The source directory is the repository's root, so that a link between two pages is the same here and on a forge. Nothing is
fetched while it is built. What the pages say of this installation is read from it: version, docstrings, signatures.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import docstrings  # noqa: E402

import risloc  # noqa: E402
from risloc.plotting.palette import BLUE, SKY_BLUE  # noqa: E402

project = "risloc"
author = "The risloc authors"
copyright = "2026, the risloc authors"
version = release = risloc.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "risloc/learning/shipped/*/card.md"]
exclude_patterns = [".*", "data", "mlartifacts", "models", "peers", "reports", "ship", "site", "study"]
myst_heading_anchors = 3
highlight_language = "text"
smartquotes = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
napoleon_google_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"risloc {release}"
html_extra_path = ["landing"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": BLUE, "color-brand-content": BLUE},
    "dark_css_variables": {"color-brand-primary": SKY_BLUE, "color-brand-content": SKY_BLUE},
}


def setup(app: object) -> None:
    """Escape docstrings, which are written for readers in a terminal, before napoleon renders their sections."""
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
