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
    expect(page.get_by_text("bought in equal parts at its first close and held")).to_contain_text("COIN0/USDT")
    assert anna.complaints == []


def test_a_ramp_is_set_and_ended_with_the_typed_name_and_says_what_came_of_it(anna: Visitor) -> None:
    page = anna.go("/portfolio/main")
    page.get_by_role("tab", name="Ramps").click()
    page.get_by_role("combobox", name="Member", exact=True).select_option("carry-b")
    page.get_by_label("Steps").fill("50%:30d,100%")
    page.get_by_role("button", name="Set the ramp").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("carry-b gets its share of main in the steps 50%:30d,100%")
    sure = dialog.get_by_role("button", name="Set the ramp")
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_label("Type carry-b").fill("carry")
    expect(sure).to_be_disabled()
    dialog.get_by_label("Type carry-b").fill("carry-b")
    sure.click()
    said = page.get_by_role("status").filter(has_text="revision")
    expect(said).to_contain_text("carry-b is on the ramp 50%:30d,100%, at 50.0% of its share")
    expect(page.get_by_role("row").filter(has_text="50%:30d,100%")).to_contain_text("50.0% of its share for")
    page.get_by_label("Steps").fill("100%:30d,5%")
    alert = dialog.get_by_role("alert")
    for _ in range(10):  # the page may not know the new revision yet, and then says so: look again
        page.get_by_role("button", name="Set the ramp").click()
        dialog.get_by_label("Password of anna").fill(PASSWORD)
        dialog.get_by_label("Type carry-b").fill("carry-b")
        dialog.get_by_role("button", name="Set the ramp").click()
        expect(alert).to_be_visible()
        if "look again" not in alert.inner_text():
            break
        page.keyboard.press("Escape")
        page.wait_for_timeout(1000.0)
    expect(alert).to_contain_text("each step is larger than the one before")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="End the ramp").click()
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_label("Type carry-b").fill("carry-b")
    dialog.get_by_role("button", name="End the ramp").click()
    expect(said).to_contain_text("carry-b has no ramp any more")
    expect(page.get_by_text("No member has a ramp")).to_be_visible()
    assert [text for text in anna.complaints if "422" not in text and "412" not in text] == []


def test_limits_are_changed_with_the_typed_name_and_bind(anna: Visitor) -> None:
    page = anna.go("/portfolio/main")
    page.get_by_text("Change the limits").click()
    field = page.get_by_label("max drawdown", exact=True)
    expect(field).to_have_value("0.2")
    expect(page.get_by_role("button", name="Change the limits")).to_have_count(0)
    field.fill("0.25")
    page.get_by_label("max net", exact=True).fill("")
    page.get_by_role("button", name="Change the limits").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("max drawdown: 0.2 → 0.25")
    expect(dialog).to_contain_text("max net: 30000 → no limit")
    dialog.get_by_label("Type main").fill("main")
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_role("button", name="Change the limits").click()
    expect(page.get_by_role("status").filter(has_text="revision")).to_contain_text("the limits are as asked")
    expect(page.get_by_text("max drawdown: ")).to_contain_text("of 0.25", timeout=PATIENCE_MS)
    expect(page.get_by_text("max net:")).to_have_count(0)
    page.get_by_role("tab", name="Events").click()
    expect(page.get_by_role("tabpanel")).to_be_visible()
    assert unfit(page) == []
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
    page.get_by_label("USDT").fill("\N{MINUS SIGN}250.5")  # the minus that the page itself writes
    page.get_by_role("button", name="Move it").click()
    expect(dialog).to_contain_text("carry-a gives 250.50 USDT back")


@pytest.mark.long
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
