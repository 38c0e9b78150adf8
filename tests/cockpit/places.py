"""A browser on a service over sessions, as a person sees it; and how to look at what it shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Browser, BrowserContext, Page

from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.guard import COOKIE
from qframe_rl.service.store import ServiceStore
from tests.service.places import ROOT, Served

CHROMIUM = "/usr/bin/chromium"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PASSWORD = "correct horse battery"
EVERYTHING = ("read", "operate", "trade", "jobs", "admin")
SCRIPT = "<img src=x onerror=window.hacked=1>"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
"""https://github.com/dequelabs/axe-core"""


class Visitor:
    """A person with a browser of his own, logged in.

    What the page complains of is kept in `complaints`.
    """

    def __init__(self, context: BrowserContext, service: Served):
        self.context, self.service = context, service
        self.complaints: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def go(self, place: str = "/", page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(f"{self.service.url}/#{place}")
        page.wait_for_selector("main h1, main form")
        return page


@contextmanager
def visitor(
    browser: Browser, service: Served, *scopes: str, user: str = "anna", theme: str = "light",
    size: dict[str, int] | None = None, token: bool = False, **more: Any,
) -> Iterator[Visitor]:  # fmt: skip
    """Somebody who is logged in as a user with these scopes, or with a pasted token."""
    context = browser.new_context(viewport=size or DESK, color_scheme=theme, **more)  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    store = ServiceStore(service.state)
    keeper = Doorkeeper(store)
    if token:
        made = keeper.new_token("pasted", scopes or EVERYTHING)
        context.add_init_script(f"sessionStorage.setItem('qframe-token', '{made}')")
    else:
        if user not in {one["name"] for one in keeper.users()}:
            keeper.new_user(user, PASSWORD, scopes or EVERYTHING)
        cookie = {"name": COOKIE, "value": keeper.login(user), "url": service.url, "sameSite": "Strict"}
        context.add_cookies([{**cookie, "httpOnly": True}])  # type: ignore[list-item]
    store.close()
    try:
        yield Visitor(context, service)
    finally:
        context.close()


def unfit(page: Page) -> list[str]:
    """What axe has to say against a page, of the rules of WCAG 2.2 AA and good practice."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"]]


def sideways(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def goes(page: Page, seconds: float = 20.0) -> None:
    """Wait until the page is told of events."""
    page.wait_for_selector("[data-link=live]", timeout=seconds * 1000)


def checkpoints_under(root: Path) -> None:
    """Put a checkpoint that ships below a root."""
    shutil.copytree(ROOT / "checkpoints" / "funding_arbitrage", root / "checkpoints" / "carry")
