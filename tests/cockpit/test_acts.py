"""What a person does to sessions: said in words, typed where it cannot be undone, and its outcome by the journal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from qframe_rl.journal.store import read
from tests.cockpit.places import PASSWORD, Visitor, visitor
from tests.service.places import Replayed, Served, served

OBEYED = re.compile(r"✓ obeyed at bar 20\d\d-\d\d-\d\d \d\d:\d\d, event \d+")


@pytest.fixture(scope="module")
def service(root: Path, replayed: Replayed) -> Iterator[Served]:
    with served(root, "--allow", "operate,trade,jobs") as running:
        yield running


def opened(anna: Visitor) -> Page:
    page = anna.go()
    page.get_by_role("link", name="carry", exact=True).click()
    page.get_by_role("button", name="Halt", exact=True).wait_for()
    return page


def test_each_command_says_what_it_will_do_and_what_became_of_it(anna: Visitor, replayed: Replayed) -> None:
    page = opened(anna)
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Halt", exact=True).click()
    expect(dialog).to_contain_text("sends no order any more, until somebody says resume")
    dialog.get_by_role("button", name="Halt").click()
    expect(page.get_by_text(OBEYED).first).to_be_visible()
    expect(page.locator(".head .mark")).to_contain_text("halted")
    page.get_by_role("button", name="Resume").click()
    expect(dialog).to_contain_text("may raise risk")
    again = dialog.get_by_role("button", name="Resume")
    expect(again).to_be_disabled()
    dialog.get_by_label("Password of anna").fill("not the password")
    again.click()
    expect(dialog.get_by_role("alert")).to_contain_text("give your password again")
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    again.click()
    expect(page.locator(".head .mark")).to_contain_text("active")
    page.get_by_role("button", name="Reduce only").click()
    dialog.get_by_role("button", name="Reduce only").click()
    expect(page.locator(".head .mark")).to_contain_text("reduce only")
    page.get_by_role("button", name="Flatten").click()
    sure = dialog.get_by_role("button", name="Flatten")
    expect(sure).to_be_disabled()
    dialog.get_by_label("Type FLATTEN").fill("flatten")
    expect(sure).to_be_disabled()
    dialog.get_by_label("Type FLATTEN").fill("FLATTEN")
    sure.click()
    expect(page.locator(".head .mark")).to_contain_text("halted")
    expect(page.get_by_text(OBEYED)).to_have_count(4)
    assert [text for text in anna.complaints if "403" not in text] == []


def test_the_kill_switch_halts_all_and_says_so_of_each(anna: Visitor, replayed: Replayed) -> None:
    page = anna.go()
    page.get_by_role("button", name="KILL").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 of them run now: carry")
    sure = dialog.get_by_role("button", name="Halt every session")
    expect(sure).to_be_disabled()
    dialog.get_by_label("Type KILL").fill("KILL")
    sure.click()
    expect(page.get_by_role("dialog")).to_contain_text(OBEYED)


def test_what_is_not_allowed_is_dead_and_says_what_it_needs(browser: Browser, service: Served) -> None:
    with visitor(browser, service, "read", user="reader") as reader:
        page = opened(reader)
        button = page.get_by_role("button", name="Halt", exact=True)
        expect(button).to_have_attribute("aria-disabled", "true")
        assert "you lack the scope operate" in (button.get_attribute("title") or "")
        button.click(force=True)
        expect(page.get_by_role("dialog")).to_have_count(0)
    with served(service.state.parent, "--state", str(service.state)) as closed, visitor(browser, closed) as one:
        page = opened(one)
        button = page.get_by_role("button", name="KILL")
        assert "--allow operate" in (button.get_attribute("title") or "")
        button.click(force=True)
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_dialog_that_is_left_does_nothing(anna: Visitor, replayed: Replayed) -> None:
    page, sent = opened(anna), []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    before = commands(replayed)
    page.get_by_role("button", name="Halt", exact=True).click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Halt", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert sent == []
    assert commands(replayed) == before


def commands(one: Replayed) -> int:
    """How many a session obeyed so far."""
    return sum(event.kind == "command" for event in read(one.folder / "journal.db"))
