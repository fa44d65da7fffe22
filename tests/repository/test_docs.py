"""The pages are true: links lead somewhere, examples run, every module has its place, names that are named exist."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import source_tree as house
import yaml

import risloc
from docs.build import architecture
from docs.build.tutorial import SCRIPT, cells, code_of
from risloc.locating.echo_rows import ECHO_COLUMNS
from risloc.locating.result_rows import COLUMNS

PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md", "risloc/learning/shipped/*/card.md")


def pages(repository: Path) -> list[Path]:
    return sorted(path for pattern in PAGES for path in repository.glob(pattern))


def text_of(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_every_link_between_pages_leads_to_a_file_and_a_heading(repository: Path) -> None:
    """As a forge follows them; Sphinx, whose warnings are errors, says the same of the site."""
    links = 0
    for page in pages(repository):
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
            if target.startswith(("http://", "https://")):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name} links to {target}: no such file"
            assert file.is_relative_to(repository), f"{page.name} links to {target}: outside the repository"
            headings = re.findall(r"^#+ (.+)$", text_of(file), re.MULTILINE) if anchor else []
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, f"{page.name} links to {target}: no such heading"
            links += 1
    assert links > 20


def test_every_module_has_its_place_in_the_api_reference(repository: Path) -> None:
    """Each room has one page, which lists its modules and no others; the index lists the pages in the order of the rooms."""
    api = repository / "docs" / "api"
    rooms = [room for room in house.ROOMS if room != "cli"]
    assert re.findall(r"^(\w+)$", (api / "index.md").read_text(encoding="utf-8"), re.MULTILINE) == ["public", *rooms]
    modules = {".".join(path.with_suffix("").parts) for path in house.science(repository) if path.name != "__init__.py"}
    listed = 0
    for room in rooms:
        page = (api / f"{room}.md").read_text(encoding="utf-8")
        named = re.findall(r"^\.\. automodule:: (risloc\.[\w.]+)$", page, re.MULTILINE)
        own = {name for name in modules if name.split(".")[1] == room}
        assert sorted(named) == sorted(own), f"docs/api/{room}.md: expected each of {sorted(own ^ set(named))} once"
        listed += len(named)
    assert listed == len(modules)
    assert {page.stem for page in api.glob("*.md")} == {"index", "public", *rooms}


def test_every_public_name_has_its_place_in_the_page_of_risloc_itself(repository: Path) -> None:
    page = (repository / "docs" / "api" / "public.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto(?:function|class|exception):: risloc\.(\w+)$", page, re.MULTILINE)
    assert sorted([*named, "crb", "music", "refine"]) == sorted(risloc._HOME), "docs/api/public.md: name each once"
    for example in code_of(page):
        exec(compile(example, "docs/api/public.md", "exec"), {})


def test_the_examples_of_the_concepts_run(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, as they do with the wheel alone."""
    monkeypatch.chdir(tmp_path)
    blocks = code_of((repository / "docs" / "concepts.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 5
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/concepts.md", "exec"), space)


def test_the_command_line_s_page_names_all_that_is_written(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "command_line.md").read_text(encoding="utf-8")
    section = page.split("## What it writes", 1)[1].split("\n## ", 1)[0]
    source = (repository / "risloc" / "cli" / "search_request.py").read_text(encoding="utf-8")
    head = re.findall(r'^ +"(\w+)": ', source.split("def head(", 1)[1].split("\n        }", 1)[0], re.MULTILINE)
    assert len(head) == 8
    for name in (*COLUMNS, *ECHO_COLUMNS, *head, "scenes"):
        assert f"`{name}`" in section, f"docs/command_line.md, What it writes: no word of {name}"


def test_the_tutorial_s_page_shows_the_script(repository: Path) -> None:
    script = cells((repository / SCRIPT).read_text(encoding="utf-8"))
    page = (repository / "docs" / "tutorial.md").read_text(encoding="utf-8")
    remedy = "docs/tutorial.md is of another docs/tutorial.py; run `python -m docs.build.tutorial` (some minutes)"
    assert code_of(page) == [cell.text for cell in script if not cell.words], remedy
    for words in (cell.text for cell in script[1:] if cell.words):
        assert words in page, remedy
    for figure in re.findall(r"\((tutorial/\d+\.png)\)", page):
        assert (repository / "docs" / figure).stat().st_size > 5000


def test_the_tutorial_needs_the_wheel_alone_up_to_the_training(repository: Path) -> None:
    before = (repository / SCRIPT).read_text(encoding="utf-8").split("# ## Training a small network", 1)[0]
    modules = {node.module for node in ast.walk(ast.parse(before)) if isinstance(node, ast.ImportFrom)}
    assert {str(module).split(".")[0] for module in modules} == {"risloc"}
    assert "Path(" not in before


def test_cells_know_their_lines() -> None:
    source = "lost\n# %% [markdown]\n# # Title\n#\n# words\n# %%\n\n\nx = 1\n# a comment\nx\n# %%\ny = 2\n"
    words, first, second = cells(source)
    assert (words.words, words.text, words.line) == (True, "# Title\n\nwords", 3)
    assert (first.words, first.text) == (False, "x = 1\n# a comment\nx")
    assert source.splitlines()[first.line - 1] == "x = 1"
    assert (second.text, second.line) == ("y = 2", 13)


@pytest.mark.e2e
def test_the_tutorial_runs(repository: Path, tmp_path: Path) -> None:
    """Every cell, on few scenes: the page, six figures, and no word of an exception."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "docs.build.tutorial", str(tmp_path)],
        cwd=repository,
        env=os.environ | {"TUTORIAL_QUICK": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    page = (tmp_path / "tutorial.md").read_text(encoding="utf-8")
    assert len(list((tmp_path / "tutorial").glob("*.png"))) == page.count("![figure") == 6
    assert re.search(r"^3 sources found, of 3$", page, re.MULTILINE)
    assert "R_blend carries a gradient: True" in page
    train = [float(value) for value in re.findall(r"NMSE of R_blend, train ([\d.]+)", page)]
    assert train[-1] < train[0]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_guides_to_the_code_name_what_there_is(repository: Path, name: str) -> None:
    """`name` of `file`: the file has the name; every file and every make target that stands there exists."""
    page, guide = (repository / name).read_text(encoding="utf-8"), name
    pairs = re.findall(r"`(\w+)`(?: and `(\w+)`)?\s+(?:of|in)\s+`([\w/.]+\.\w+)`", page)
    assert len(pairs) >= 10
    for first, second, file in pairs:
        source = (repository / file).read_text(encoding="utf-8")
        for name in filter(None, (first, second)):
            assert re.search(rf"\b{name}\b", source), f"{guide}: no {name} in {file}"
    for file in re.findall(r"`((?:risloc|stages|pipeline|tests|benchmarks|docs)/[\w./-]*)`", page):
        made = "foo" in file or file == "pipeline/stage"  # to be written; a deployment
        assert made or (repository / file).exists(), f"{guide} names {file}"
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page)) <= targets
    assert re.search(r"val/weighted_loss_\w+", (repository / "dvc.yaml").read_text(encoding="utf-8"))


def test_the_picture_of_the_architecture_is_of_the_code(repository: Path) -> None:
    assert tuple(architecture.ROOMS) == house.ROOMS
    drawn = (repository / architecture.PICTURE).read_text(encoding="utf-8")
    assert drawn == architecture.draw(architecture.arrows(repository)), "run `python -m docs.build.architecture`"
    assert ("estimation", "physics") in architecture.arrows(repository)


def test_pre_commit_runs_what_make_lint_runs(repository: Path) -> None:
    config = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local", "nothing is fetched"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    assert [hook["entry"] for hook in local["hooks"]] == [
        line.strip() for line in lint.splitlines() if not line.startswith("\t@")
    ]


def test_the_citation_is_of_this_version(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == risloc.__version__
    assert f'version = "{risloc.__version__}"' in (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["authors"] == [{"name": "The risloc authors"}]
    assert citation["license"] == "Apache-2.0"
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [project[name] for name in ("authors", "license", "keywords")] == [
        citation[name] for name in ("authors", "license", "keywords")
    ]


def test_continuous_integration_builds_the_site(repository: Path) -> None:
    assert "make docs" in (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert "--fail-on-warning" in (repository / "Makefile").read_text(encoding="utf-8")
