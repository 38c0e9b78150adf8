"""One browser for all, one service over live sessions for a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.cockpit.places import CHROMIUM, SCRIPT, Visitor, visitor
from tests.service.fixtures import ours, root, service, session
from tests.service.places import Replayed, Served, Session

__all__ = ["ours", "root", "service", "session"]
ARGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""Canvases are drawn by another process than the page's, as where there is a graphics card."""
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: as long as it lives, its event loop runs in the thread of the tests, and no other can."""
    assert Path(CHROMIUM).exists(), f"{CHROMIUM} is not there: apt-get install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGS, "--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def bars() -> int:
    return 60


@pytest.fixture(scope="module")
def scripted(root: Path) -> Iterator[Session]:
    """One whose name, agent and alert are scripts."""
    one = Session(root / SCRIPT, agent=SCRIPT)
    one.bar(3)
    yield one
    one.close()


@pytest.fixture(scope="module")
def replayed(root: Path) -> Iterator[Replayed]:
    """A real one that trades all the time."""
    one = Replayed(root / "carry")
    yield one
    one.end()


@pytest.fixture
def anna(browser: Browser, service: Served) -> Iterator[Visitor]:
    """Somebody who may do everything, at a desk."""
    with visitor(browser, service) as one:
        yield one
