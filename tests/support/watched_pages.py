"""Pages in a real Chromium, and what serves them."""

import subprocess
from dataclasses import dataclass, field

from playwright.sync_api import Page, expect

__all__ = ["REBOUND", "Served", "Watched"]

REBOUND = "rebound.example"
"""A name that this Chromium takes for 127.0.0.1, as after an attack on its DNS."""


@dataclass
class Watched:
    """A page with what it has asked for, and the errors that it has raised or put on its console."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))

    def shown(self) -> Page:
        """The viewer's page when its scene is there."""
        expect(self.page.locator("#status")).to_be_empty(timeout=60_000)
        return self.page


@dataclass(frozen=True)
class Served:
    """`risloc view` as a process of its own."""

    process: subprocess.Popen[str]
    url: str
    port: int
