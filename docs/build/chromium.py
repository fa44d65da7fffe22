"""A real Chromium, Debian's, without a window and with WebGL by software: for the tests of the pages and their pictures."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

__all__ = ["chromium"]

_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """The browser, closed afterwards. flags : of its own, beside those for WebGL.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError(
            "chromium: not found; install Debian's package chromium, or run `make chromium` as root"
        )
    with sync_playwright() as driver:
        sandbox = os.geteuid() != 0  # as root Chromium has none
        browser = driver.chromium.launch(executable_path=program, chromium_sandbox=sandbox, args=[*_WEBGL, *flags])
        try:
            yield browser
        finally:
            browser.close()
