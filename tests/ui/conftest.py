"""One Chromium for the tests of a file, pages that are watched, and a room to look at."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from child_processes import started
from playwright.sync_api import Browser
from watched_pages import REBOUND, Served, Watched

from docs.build.chromium import chromium
from risloc.cli.main import run


@pytest.fixture(scope="module")  # its event loop must not outlive these tests: others run in this process too
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as opened:
        yield opened


@pytest.fixture
def watched(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens an address in a context of its own: `offline` without a network, `width` of the window."""
    with contextlib.ExitStack() as contexts:

        def open_page(url: str, *, width: int = 1280, height: int = 800, offline: bool = False) -> Watched:
            size = {"width": width, "height": height}
            context = contexts.enter_context(browser.new_context(viewport=size, offline=offline))
            found = Watched(context.new_page())
            found.page.goto(url)
            return found

        yield open_page


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("room") / "room.h5"
    assert run(["simulate", str(path), "--scenes", "2", "--snr", "15"]) == 0
    return path


@pytest.fixture(scope="session")
def written(room: Path) -> str:
    """The address of the room's page as a file."""
    path = room.with_suffix(".html")
    assert run(["view", str(room), "--html", str(path)]) == 0
    return path.as_uri()


@pytest.fixture(scope="session")
def served(room: Path) -> Iterator[Served]:
    command = [sys.executable, "-m", "risloc", "view", str(room), "--no-open"]
    with started(command, stdout=subprocess.PIPE, text=True) as process:
        found = re.match(r"(http://127\.0\.0\.1:(\d+)/) ", process.stdout.readline())
        yield Served(process, found[1], int(found[2]))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
