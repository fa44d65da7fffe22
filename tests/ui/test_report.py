"""The evaluation's page in a real Chromium: it opens, asks nobody, its figures are there and its links lead somewhere."""

import mapped
import pytest

from risloc.scene import Scenario

pytestmark = pytest.mark.ui


@pytest.fixture(scope="module")
def report(small_scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evaluation")
    mapped.run_all(folder, small_scenario)
    return (folder / "report" / "page.html").as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_stands_on_its_own(report: str, width: int, watched) -> None:
    there = watched(report, width=width, offline=True)
    page = there.page
    assert "Localisation beside the bound" in page.title()
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert min(widths) > 200
    broken = "[...document.links].filter(a => !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map(a => a.href)"
    assert page.evaluate("document.links.length") > 5
    assert page.evaluate(broken) == []
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert [url for url in there.requests if not url.startswith("data:")] == [report]
    assert there.errors == []
