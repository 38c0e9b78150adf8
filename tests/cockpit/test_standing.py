"""How a session stands beside its account: instruments and the hand on each, locks, shadows, and its model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from qframe_rl.config import canonical
from tests.cockpit.places import PASSWORD, Visitor
from tests.service.places import HOUR, START, Replayed, Served, Session, served


@pytest.fixture(scope="module")
def service(root: Path, replayed: Replayed, session: Session) -> Iterator[Served]:
    with served(root, "--allow", "operate,trade,jobs") as running:
        yield running


def tab(anna: Visitor, session: str, name: str) -> Page:
    page = anna.go()
    page.get_by_role("link", name=session, exact=True).click()
    page.get_by_role("tab", name=name).click()
    return page


def test_one_instrument_is_closed_locked_and_released(anna: Visitor, replayed: Replayed) -> None:
    page = tab(anna, "carry", "Instruments")
    row, dialog = page.get_by_role("row").filter(has_text="COIN0/USDT:USDT"), page.get_by_role("dialog")
    expect(row).to_contain_text("as its agent asks")
    row.get_by_role("button", name="Close and lock").click()
    expect(dialog).to_contain_text("stays flat until somebody releases it")
    dialog.get_by_label("Type COIN0/USDT:USDT").fill("COIN0/USDT:USDT")
    dialog.get_by_role("button", name="Close and lock").click()
    expect(row).to_contain_text("closed by hand, until it is released")
    expect(row.get_by_role("cell").nth(1)).to_have_text("0")
    page.get_by_role("tab", name="Commands").click()
    expect(page.get_by_role("row").filter(has_text="flatten COIN0/USDT:USDT")).to_contain_text("✓ obeyed")
    page.get_by_role("tab", name="Instruments").click()
    row.get_by_role("button", name="Release").click()
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_role("button", name="Release").click()
    expect(row).to_contain_text("as its agent asks")
    assert anna.complaints == []


def test_locks_shadows_and_the_model_are_shown(anna: Visitor, session: Session) -> None:
    pause = "ETH/USDT buy may only be reduced until 2023-11-20T00:00:00Z (cooldown)"
    shadow = {"answer": "ahead", "bars": 900, "mean": 1.25e-4, "low": 1e-5, "high": 2.4e-4, "gone": False}
    model = {"number": 3, "time": START, "until": START - HOUR, "state": "late", "reason": "it was under way still"}
    said = {"locked": ["BTC/USDT"], "paused": [pause], "shadows": {"slow": shadow}, "refit": model}
    session.writer.commit(canonical(session.pulse() | said))
    page = anna.go()
    name = session.folder.name
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("1 closed by hand, 1 paused")
    page = tab(anna, name, "Instruments")
    rows = page.get_by_role("tabpanel").get_by_role("row")
    expect(rows.filter(has_text="BTC/USDT")).to_contain_text("closed by hand")
    expect(rows.filter(has_text="ETH/USDT")).to_contain_text("paused by a protection")
    expect(page.get_by_text(pause)).to_be_visible()
    expect(page.locator(".stats")).to_contain_text(re.compile("Model.*3 late.*under way still: the one before goes on"))
    page.get_by_role("tab", name="Shadows").click()
    expect(rows.filter(has_text="slow")).to_contain_text(re.compile(r"▲ ahead.*900.*1\.25"))
    assert anna.complaints == []
