"""Research in a browser: a run under way and one that has ended, comparisons, jobs done by a worker, sessions kept."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from qframe_rl.journal.lock import writer_of
from tests.cockpit.places import PASSWORD, Visitor, sideways, unfit
from tests.cockpit.scene import door
from tests.service.places import ROOT, Served, Session, served

pytestmark = pytest.mark.long
PATIENCE_MS = 90_000.0


@pytest.fixture(scope="module")
def service(root: Path, session: Session) -> Iterator[Served]:
    """With a worker and a supervisor beside it."""
    shutil.copytree(ROOT / "checkpoints" / "funding_arbitrage", root / "checkpoints" / "carry")
    with served(root, "--allow", "operate,trade,jobs") as running:
        state = ["--state", str(running.state)]
        beside = [
            door("worker", "--root", str(root), *state),
            door("supervise", "--root", str(root), "--sessions", str(root / "supervised"), *state),
        ]
        yield running
        for one in beside:
            one.send_signal(signal.SIGTERM)
            one.wait(30.0)
        for journal in (root / "supervised").glob("*/journal.db"):
            if (pid := writer_of(journal)) is not None:
                os.kill(pid, signal.SIGKILL)


def fits(anna: Visitor, page: Page) -> None:
    assert sideways(page) <= 0
    assert unfit(page) == []
    assert anna.complaints == []


def test_a_job_is_asked_for_done_and_its_run_told_with_a_verdict(anna: Visitor) -> None:
    page = anna.go("/jobs")
    page.get_by_text("Ask for a job").click()
    page.get_by_label("Add a strategy").select_option("momentum", timeout=PATIENCE_MS)
    page.get_by_label("bars", exact=True).fill("2000")
    page.get_by_label("data", exact=True).fill("../../etc")
    page.get_by_text("Parameters of momentum").click()
    expect(page.get_by_text(re.compile(r"\(from \d")).first).to_be_visible()
    fits(anna, page)
    queue = page.get_by_role("button", name="Queue this train")
    queue.click()
    expect(page.get_by_role("alert")).to_contain_text("data such as synthetic:regimes")
    page.get_by_label("data", exact=True).fill("synthetic:regimes")
    anna.complaints.clear()
    queue.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Job ")
    expect(page.locator(".head .mark")).to_contain_text("done", timeout=PATIENCE_MS)
    expect(page.locator("pre")).to_contain_text("momentum")
    fits(anna, page)
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.get_by_role("cell", name="training").first.wait_for(timeout=PATIENCE_MS)
    page.locator("a[href^='#/run/']").first.click()
    board = page.get_by_role("table", name="Leaderboard")
    row = board.get_by_role("row").filter(has_text="buy_and_hold").first
    expect(row).to_contain_text(re.compile("luck|money|cash|trade|grow"), timeout=PATIENCE_MS)
    expect(page.get_by_text("The data are synthetic")).to_be_visible()
    fits(anna, page)
    page.get_by_role("link", name="Compare its records").click()
    expect(page.get_by_role("application")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="test-buy_and_hold")).to_contain_text("%")
    page.locator("label").filter(has_text=re.compile("^Session")).locator("select").select_option(label="alpha")
    expect(page.get_by_role("row").filter(has_text="alpha")).to_contain_text("%")
    fits(anna, page)


def test_a_job_is_cancelled(anna: Visitor) -> None:
    page = anna.go("/jobs?kind=train&names=ppo")
    page.get_by_label("data", exact=True).fill("synthetic:ar1")
    page.get_by_text("Parameters of ppo").click(timeout=PATIENCE_MS)
    page.get_by_label("total steps").fill("900000000")
    page.get_by_role("button", name="Queue this train").click()
    expect(page.locator(".head .mark")).to_contain_text("running", timeout=PATIENCE_MS)
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("what it has done so far stays in its folder")
    dialog.get_by_role("button", name="Cancel").last.click()
    expect(page.locator(".head .mark")).to_contain_text("cancelled", timeout=PATIENCE_MS)


def test_a_session_is_started_stopped_and_forgotten(anna: Visitor) -> None:
    page = anna.go("/supervised")
    page.get_by_text("Start a session").click()
    page.get_by_role("textbox", name=re.compile("^Name")).fill("kept")
    page.get_by_label("Checkpoint").select_option("carry")
    page.get_by_label("feed").select_option("replay")
    page.get_by_label("speed").fill("72000x")
    fits(anna, page)
    page.get_by_role("button", name="Start it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("kept begins with carry on recorded bars, orders on paper")
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_role("button", name="Start it").click()
    row = page.get_by_role("row").filter(has_text="kept")
    expect(row).to_contain_text("● running", timeout=PATIENCE_MS)
    row.get_by_role("button", name="Stop").click()
    expect(dialog).to_contain_text("What it holds stays open")
    dialog.get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("○ stopped", timeout=PATIENCE_MS)
    row.get_by_role("button", name="Forget").click()
    sure = dialog.get_by_role("button", name="Forget")
    expect(sure).to_be_disabled()
    dialog.get_by_label("Type kept").fill("kept")
    sure.click()
    expect(page.get_by_text("None is supervised")).to_be_visible()
    assert anna.complaints == []


def test_an_admin_makes_and_deletes_tokens_and_users(anna: Visitor) -> None:
    page = anna.go("/settings")
    page.get_by_text("Make a token").click()
    page.get_by_label("Name").first.fill("grafana")
    page.get_by_role("button", name="Make it").first.click()
    expect(page.get_by_text("Shown once: qfr_")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="grafana").filter(has_text="never")
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("table", name="Audit").get_by_role("row").filter(has_text="delete token")).to_have_count(1)
    page.get_by_label("dark").check()
    page.wait_for_selector("html[data-theme=dark]")
    page.get_by_label("as the machine").check()
    assert anna.complaints == []
