"""The evaluation's page in a real Chromium: it opens, asks nobody, its figures are there and its links lead somewhere."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mapped_run as mapped
import pytest
from drawn_page import draw_page

from risloc.scenes.scenario import Scenario

pytestmark = pytest.mark.ui
LINKS = """() => {
  const [within, beside] = [[], []];
  for (const a of document.links) a.hash ? within.push(decodeURIComponent(a.hash.slice(1))) : beside.push(a.href);
  return [within, beside];
}"""


@pytest.fixture(scope="module")
def report(small_scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evaluation")
    mapped.run_all(folder, small_scenario)
    draw_page(folder)
    return (folder / "page" / "page.html").as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_stands_on_its_own(report: str, width: int, watched) -> None:
    there = watched(report, width=width, offline=True)
    page = there.page
    assert "Localisation beside the bound" in page.title()
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert min(widths) > 200
    within, beside = page.evaluate(LINKS)
    assert [name for name in within if page.evaluate("id => document.getElementById(id) === null", name)] == []
    assert len(within) > 5
    assert [url for url in beside if not Path(url2pathname(urlsplit(url).path)).exists()] == []
    assert {Path(url).suffix for url in beside} >= {".png", ".pdf", ".csv", ".json"}
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert [url for url in there.requests if not url.startswith("data:")] == [report]
    assert there.errors == []
