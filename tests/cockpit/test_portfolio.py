"""Portfolios in a browser: capital, limits and members as they stand, and money that moves by the ledger alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.cockpit.places import PASSWORD, Visitor, sideways, unfit
from tests.cockpit.scene import scene
from tests.service.places import Served

PATIENCE_MS = 60_000.0


@pytest.fixture(scope="module")
def service(root: Path) -> Iterator[Served]:
    with scene(root) as running:
        yield running


def test_a_portfolio_is_shown_with_its_members_limits_and_ledger(anna: Visitor) -> None:
    page = anna.go("/portfolios")
    page.get_by_role("link", name="main", exact=True).click()
    expect(page.get_by_text("Limits and exposure")).to_be_visible()
    expect(page.get_by_text("max drawdown:")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="carry-a")).to_contain_text("● active")
    expect(page.get_by_role("application")).to_be_visible(timeout=PATIENCE_MS)
    assert sideways(page) <= 0
    assert unfit(page) == []
    page.get_by_role("tab", name="Ledger").click()
    expect(page.get_by_role("row").filter(has_text="25,000.00").first).to_be_visible()
    page.get_by_role("tab", name="Positions").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("Member")
    assert anna.complaints == []


def test_its_report_is_kept_as_a_file(anna: Visitor) -> None:
    page = anna.go("/portfolio/main")
    with page.expect_download(timeout=120_000) as kept:
        page.get_by_role("button", name="PDF").click()
    assert kept.value.suggested_filename == "portfolio-main.pdf"
    assert Path(kept.value.path()).read_bytes().startswith(b"%PDF")
    assert anna.complaints == []


def test_money_moves_once_and_its_outcome_is_the_journals(anna: Visitor) -> None:
    page = anna.go("/portfolio/main")
    page.get_by_role("tab", name="Transfers").click()
    page.get_by_label("Whom").select_option("carry-a")
    page.get_by_label("USDT").fill("1234.567")
    page.get_by_role("button", name="Move it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1,234.567 USDT of what is unallocated goes to carry-a")
    dialog.get_by_label("Type 1234.567").fill("1234.567")
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_role("button", name="Move it").click()
    row = page.get_by_role("row").filter(has_text="1,234.567")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("✓ settled", timeout=PATIENCE_MS)
    expect(page.locator(".stat").filter(has_text="Unallocated")).to_contain_text("23,765.433")
    page.get_by_label("USDT").fill("1.123456789")
    expect(page.get_by_role("button", name="Move it")).to_have_count(0)


def test_a_portfolio_is_halted_and_resumed(anna: Visitor) -> None:
    page = anna.go("/portfolio/main")
    page.get_by_role("button", name="Halt").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("main, 2 members: carry-a, carry-b")
    dialog.get_by_role("button", name="Halt").click()
    expect(page.locator(".head .mark")).to_contain_text("halted", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Resume").click()
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .mark")).to_contain_text("active", timeout=PATIENCE_MS)
    assert anna.complaints == []
