"""A real browser without a screen, to open the studio's pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.support import PATIENCE_SECONDS, wait_for

CHROMIUM = "/usr/bin/chromium"
SIZES = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Debian's Chromium."""
    assert shutil.which(CHROMIUM), "scripts/test.sh installs chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM,
            timeout=1000 * PATIENCE_SECONDS,
            args=["--no-sandbox", "--disable-gpu", *arguments],
        )
        yield found
        found.close()


@dataclass
class Seen:
    """A page, and what it complained about."""

    page: Page
    complaints: list[str]


def opened(browser: Browser, size: str, *, dark: bool = False) -> tuple[BrowserContext, Seen]:
    """A fresh browser of a size, with a page."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        has_touch=size != "desktop",
        is_mobile=size == "phone",
        accept_downloads=True,
    )
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    expect.set_options(timeout=1000 * PATIENCE_SECONDS)
    seen = Seen(context.new_page(), [])
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("console", lambda message: seen.complaints.append(message.text) if message.type == "error" else None)
    return context, seen


class SlowNetwork:
    """Holds a page's requests to some addresses, while that is wanted.

    The page is loaded anew: what was loaded before may get past it.
    """

    def __init__(self, page: Page, addresses: str, *, is_slow: bool = False) -> None:
        self.page, self.is_slow = page, is_slow
        self.held: list[Route] = []
        page.route(addresses, lambda route, _: self.held.append(route) if self.is_slow else route.continue_())
        page.reload()

    def take(self) -> Route:
        """The first request that is on its way."""
        wait_for(lambda: self.page.wait_for_timeout(20) or self.held, "nothing is sent")
        return self.held.pop(0)

    def hold(self, what: Callable[[], None]) -> Route:
        """Do something that sends a request, which stays on its way."""
        self.is_slow = True
        what()
        route = self.take()
        self.is_slow = False
        return route

    def answer(self, route: Route, **answer: Any) -> None:
        """Let the page have an answer, and draw."""
        with self.page.expect_event("requestfinished", lambda request: request == route.request):
            route.fulfill(**answer)
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
