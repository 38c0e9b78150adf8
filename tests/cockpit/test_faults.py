"""What goes wrong where a person can see it: it is said, figures are greyed, and it mends by itself."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.store import ServiceStore
from tests.cockpit.places import PASSWORD, Visitor, goes, visitor
from tests.service.places import Replayed, Served, Session, served, start

LATE = ".figures.late"
WATCH = """() => {
  window.watched = performance.now();
  const place = document.querySelector("[data-link]");
  new MutationObserver(() => {
    if (place.dataset.link === "lost") window.lost ??= performance.now();
  }).observe(place, {attributes: true});
}"""


class Quick(Session):
    """One whose bars are a second long: two seconds without one, and it is late."""

    def put(self, kind: str, **payload: Any) -> int:
        return super().put(kind, **payload | ({"bar_ns": 10**9} if kind == "session" else {}))


@pytest.fixture(scope="module")
def service(root: Path, session: Session) -> Iterator[Served]:
    with served(root) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Path, Session]]:
    one = Session(tmp_path / "alpha")
    one.bar(20)
    yield tmp_path, one
    one.close()


@pytest.mark.long
def test_a_lost_connection_is_seen_and_mends_and_no_event_is_lost(
    browser: Browser, own: tuple[Path, Session], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One service is killed and started again; another is stopped in its tracks, its connections open and silent."""
    root, session = own
    still = Session(tmp_path_factory.mktemp("still") / "beta")
    still.bar(20)
    service, silent = start(root), start(still.folder.parent)
    port = urlsplit(service.url).port or 0
    with visitor(browser, service, "read") as one, visitor(browser, silent, "read") as another:
        quiet = another.go(f"/session/{still.id}")
        goes(quiet)
        quiet.evaluate(WATCH)
        silent.process.send_signal(signal.SIGSTOP)
        still.bar(3)
        page, other = one.go(f"/session/{session.id}"), one.go("/", one.tab())
        for tab in (page, other):
            goes(tab)
        session.bar(5)
        expect(page.get_by_text("25", exact=True)).to_be_visible()
        service.stop(signal.SIGKILL)
        for tab in (page, other):
            expect(tab.locator("[data-link=lost]")).to_be_visible(timeout=20_000)
            expect(tab.locator(LATE).first).to_be_visible()
            expect(tab.get_by_text("The connection is lost").first).to_be_visible()
        session.bar(5)
        again = start(root, port=port)
        for tab in (page, other):
            goes(tab)
            expect(tab.locator(LATE)).to_have_count(0)
            expect(tab.locator("[data-link]")).to_have_attribute("title", "30 events taken, 0 missing, 0 sent twice")
        expect(page.get_by_text("30", exact=True)).to_be_visible()
        again.stop()
        expect(quiet.locator("[data-link=lost]")).to_be_visible(timeout=25_000)
        silent.process.send_signal(signal.SIGCONT)
        assert quiet.evaluate("window.lost - window.watched") <= 20_000.0
        goes(quiet)
        expect(quiet.locator("[data-link]")).to_have_attribute("title", "9 events taken, 0 missing, 0 sent twice")
        silent.stop()
    still.close()


def test_a_session_that_dies_is_seen(anna: Visitor, replayed: Replayed) -> None:
    page = anna.go()
    row = page.get_by_role("row").filter(has_text="carry")
    expect(row).to_contain_text("● active")
    replayed.end(signal.SIGKILL)
    expect(row).to_contain_text("stopped, was active", timeout=20_000)
    expect(row).to_have_class("late")


def test_figures_of_a_session_that_is_two_bars_late_are_grey(anna: Visitor, root: Path) -> None:
    quick = Quick(root / "quick")
    quick.bar(2)
    page = anna.go()
    row = page.get_by_role("row").filter(has_text="quick")
    expect(row).to_have_class("late")
    expect(row).to_contain_text("⚠ late by")
    quick.bar()
    expect(row).not_to_have_class("late")
    expect(row).to_have_class("late")
    quick.close()


def test_a_corrupt_journal_is_red_and_the_others_go_on(anna: Visitor, root: Path, session: Session) -> None:
    spoiled = Session(root / "spoiled")
    spoiled.bar(4)
    page = anna.go()
    row = page.get_by_role("row").filter(has_text="spoiled")
    expect(row).to_contain_text("active")
    spoiled.close()
    with closing(sqlite3.connect(root / "spoiled" / "journal.db")) as database, database:
        database.execute("DROP TRIGGER no_update")
        database.execute("UPDATE events SET payload = '{\"account\": 1}' WHERE seq = 6")
        database.execute("INSERT INTO events SELECT max(seq) + 1, 1, 'bar', '{}', x'00' FROM events")
    expect(row).to_contain_text("✕ broken", timeout=20_000)
    expect(row).to_contain_text("is corrupt")
    session.bar(2)
    expect(page.get_by_role("row").filter(has_text="alpha")).to_contain_text(f"{session.bars} \u00d7 1h")
    page.get_by_role("link", name="spoiled").first.click()
    expect(page.get_by_role("alert").first).to_contain_text("is corrupt")


def test_a_slow_network_is_waited_for_and_a_lost_one_said(anna: Visitor) -> None:
    page = anna.page
    wire = anna.context.new_cdp_session(page)
    wire.send("Network.enable")
    slow = {"offline": False, "latency": 1500, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
    page.goto(anna.service.url)
    goes(page)
    wire.send("Network.emulateNetworkConditions", slow)
    page.goto(f"{anna.service.url}/#/alerts")
    expect(page.get_by_text("asking…").first).to_be_visible()
    expect(page.get_by_text("No session has said anything.")).to_be_visible()
    wire.send("Network.emulateNetworkConditions", slow | {"offline": True, "latency": 0})
    expect(page.locator("[data-link=lost]")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("What is shown is as of").first).to_be_visible()
    wire.send(
        "Network.emulateNetworkConditions", {**slow, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    )
    goes(page)
    expect(page.locator(LATE)).to_have_count(0)


def test_a_token_that_ends_leads_to_the_login_and_back(browser: Browser, service: Served) -> None:
    with visitor(browser, service, "read", user="berta") as one:
        page = one.go()
        goes(page)
        store = ServiceStore(service.state)
        keeper = Doorkeeper(store)
        (mine,) = (token for token in keeper.tokens() if token["owner"] == "berta")
        keeper.delete_token(mine["id"])
        store.close()
        expect(page.get_by_role("alert")).to_contain_text("You are logged out", timeout=40_000)
        expect(page.get_by_text("alpha")).to_have_count(0)
        page.get_by_label("User").fill("berta")
        page.get_by_label("Password").fill("wrong password")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("no such user, or another password")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("link", name="alpha")).to_be_visible()


def test_a_pasted_token_opens_and_is_in_no_address(browser: Browser, service: Served) -> None:
    token = service.token("read", name="phone")
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(service.url)
    page.get_by_text("With a token instead").click()
    page.get_by_label("Token").fill("qfr_wrong")
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("alert")).to_contain_text("give a token")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("link", name="alpha")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="alpha")).to_be_visible()
    assert not any(token in url for url in asked)
    context.close()


def test_without_a_service_the_shell_opens_and_shows_no_figure(browser: Browser, own: tuple[Path, Session]) -> None:
    root, _ = own
    service = start(root)
    with visitor(browser, service, "read") as one:
        page = one.go()
        page.get_by_role("link", name="alpha").wait_for()
        page.evaluate("navigator.serviceWorker.ready")
        page.reload()
        page.get_by_role("link", name="alpha").wait_for()
        service.stop(signal.SIGKILL)
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("the service does not answer")
        expect(page.get_by_text("alpha")).to_have_count(0)
        kept = page.evaluate(
            "caches.keys().then((names) => Promise.all(names.map((n) => caches.open(n).then((c) => c.keys()))))"
            ".then((all) => all.flat().map((one) => new URL(one.url).pathname))"
        )
        assert all(path == "/" or path.startswith("/assets/") for path in kept)
