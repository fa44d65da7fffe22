"""The page of `risloc view` in a real Chromium, from its file without a network and from its server."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import psutil
import pytest
from playwright.sync_api import Page, expect
from watched_pages import REBOUND, Served, Watched

from risloc.cli.main import run

pytestmark = pytest.mark.ui

Open = Callable[..., Watched]
VERMILION, BLUE = (213, 94, 0), (0, 114, 178)  # estimates and truth


def table(page: Page) -> list[list[str]]:
    return page.eval_on_selector_all("#sources tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.textContent))")


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - np.array(colour)).max(axis=-1) < 12).sum())


@pytest.mark.parametrize("how", ["file", "server"])
def test_it_shows_what_was_located_and_asks_nobody_else(
    how: str, written: str, served: Served, room: Path, tmp_path: Path, watched: Open
) -> None:
    there = watched(written, offline=True) if how == "file" else watched(served.url)
    page = there.shown()
    assert run(["locate", str(room), "--json", str(tmp_path / "a.json")]) == 0
    scenes = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["scenes"]
    for scene in scenes:
        if scene["scene"]:
            page.select_option("#scene", str(scene["scene"]))
            there.shown()
        assert page.title() == f"Scene {scene['scene']}: room.h5"
        assert f"{len(scene['sources'])} sources" in page.text_content("#summary")
        rows = table(page)
        assert len(rows) == len(scene["sources"])
        for row, source in zip(rows, scene["sources"], strict=True):
            for cell, name in zip(row[1:5], ("x", "y", "z", "distance"), strict=True):
                numbers = [float(text) for text in cell.split(" ± ")]
                assert numbers == pytest.approx([source[f"{name}_m"], source[f"{name}_std_m"]], abs=6e-4)
    own = [written] if how == "file" else [served.url, *(f"{served.url}scene/{i}" for i in (0, 1))]
    assert there.requests == own
    assert there.errors == []


def test_the_figures_are_drawn(written: str, watched: Open) -> None:
    """By WebGL in space, and by SVG: estimates and truth in their colours, and a spectrum of many."""
    page = watched(written, offline=True).shown()
    assert page.evaluate("document.createElement('canvas').getContext('webgl') !== null")
    canvas = page.locator("#space .gl-container canvas").first
    pixels = matplotlib.image.imread(io.BytesIO(canvas.screenshot()))[..., :3] * 255
    assert near(pixels, VERMILION) > 20
    assert near(pixels, BLUE) > 20
    assert len(np.unique((pixels // 8).reshape(-1, 3), axis=0)) > 100
    for name in ("directions", "codebook"):
        assert page.locator(f"#{name} .heatmaplayer image").count() == 1
    assert page.locator("#ranges .scatterlayer path").count() >= 1
    for name in ("space", "directions", "ranges", "codebook"):
        assert len(page.get_attribute(f"#{name}", "aria-label")) > 30


def test_the_keyboard_does_it_all(served: Served, watched: Open) -> None:
    there = watched(served.url)
    page = there.shown()
    first = table(page)
    assert page.is_disabled("#previous")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    expect(page).to_have_title("Scene 1: room.h5")
    assert table(there.shown()) != first
    assert page.is_disabled("#next")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_title("Scene 0: room.h5")
    assert table(there.shown()) == first
    page.focus("#level")
    bands = "document.getElementById('space').data.filter(t => t.meta && t.visible).length"
    before = page.evaluate(bands)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#within")).to_have_text("15 dB")
    assert page.evaluate(bands) == before + 1
    assert there.errors == []


def test_a_phone_scrolls_downwards_only(written: str, watched: Open) -> None:
    page = watched(written, width=390, height=844, offline=True).shown()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    for name in ("space", "directions", "ranges", "codebook"):
        assert page.locator(f"#{name} .main-svg").first.bounding_box()["width"] <= 390
    region = page.locator(".scroll")
    assert region.evaluate("it => it.scrollWidth > it.clientWidth && it.tabIndex === 0")


def test_a_name_that_was_made_to_point_here_learns_nothing(served: Served, watched: Open) -> None:
    there = watched(f"http://{REBOUND}:{served.port}/")
    assert there.page.text_content("body") == "this server accepts requests for its own machine only"
    answer = there.page.evaluate("fetch('/scene/0').then(async a => [a.status, await a.text()])")
    assert answer == [403, "this server accepts requests for its own machine only"]


def test_it_listens_on_loopback_alone(served: Served) -> None:
    listening = [c for c in psutil.Process(served.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [c.laddr for c in listening] == [("127.0.0.1", served.port)]


def test_a_scene_that_cannot_be_shown_is_said(served: Served, watched: Open) -> None:
    there = watched(served.url)
    page = there.shown()
    page.evaluate("document.getElementById('scene').options[1].value = '99'")
    page.click("#next")
    page.wait_for_selector("#status.error")
    assert page.text_content("#status") == "Scene 99: no such scene"
    page.click("#previous")
    there.shown()
    assert page.title() == "Scene 0: room.h5"
