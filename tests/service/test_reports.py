"""Reports of sessions over the API: made within limits in a process of their own, kept, and refused in a sentence."""

from __future__ import annotations

import base64
import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from experiments import paper, portfolio, report
from experiments.cli import SHIPPED, door
from qframe_rl.config import Unavailable, UserError
from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.service import reports
from qframe_rl.service.booking import PortfolioSpec
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.places import Found, Places
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.reports import Reports
from qframe_rl.service.steward import Steward
from qframe_rl.service.store import ServiceStore
from tests.service.places import ROOT, Served, Session, served

N = 400
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it a session that has lived, one that has not begun, and one whose journal is spoiled."""
    made = tmp_path_factory.mktemp("reported")
    argv = [str(SHIPPED / "funding_arbitrage"), "--data", "synthetic:carry", "--bars", str(N + 1800)]
    assert door(paper.main, [*argv, "--out", str(made / "lived"), "--json"]) == 0
    fresh = Session(made / "fresh")
    fresh.close()
    return made


@pytest.fixture(scope="module")
def service(root: Path) -> Iterator[Served]:
    with served(root) as running:
        yield running


@pytest.fixture(scope="module")
def api(service: Served) -> Iterator[httpx.Client]:
    with service.client() as client:
        client.timeout = httpx.Timeout(150.0)
        yield client


def found(root: Path, name: str) -> Found:
    return next(one for one in Places([root]).sessions().values() if one.name == name)


def test_page_and_pdf_are_made_once_for_each_state_of_the_journal(
    api: httpx.Client, service: Served, root: Path
) -> None:
    session = found(root, "lived").id
    page = api.get(f"/sessions/{session}/report")
    assert page.status_code == 200, page.text
    assert page.headers["content-type"].startswith("text/html")
    assert "forecast" in page.text
    assert str(root) not in page.text
    begun = time.monotonic()
    pdf = api.get(f"/sessions/{session}/report.pdf")
    assert time.monotonic() - begun < 2.0, "it was there already"
    assert pdf.content.startswith(b"%PDF")
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.headers["content-disposition"] == f'inline; filename="report-{session}.pdf"'
    with ServiceClient(service.url, service.token()) as client:
        assert client.report(session) == pdf.content
    assert len(list((root / ".service" / "reports").iterdir())) == 1
    maps = Path(f"/proc/{service.process.pid}/maps")
    if maps.exists():
        loaded = maps.read_text()
        assert not [name for name in ("libtorch", "llvmlite", "_path.cpython", "matplotlib") if name in loaded]


def test_a_browser_runs_the_page_s_own_script_and_nothing_else(api: httpx.Client, root: Path) -> None:
    page = api.get(f"/sessions/{found(root, 'lived').id}/report")
    policy = page.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "allow-same-origin" not in policy


def test_what_cannot_be_reported_is_said_in_a_sentence(api: httpx.Client, root: Path) -> None:
    for name in ("report", "report.pdf"):
        refused = api.get(f"/sessions/{found(root, 'fresh').id}/{name}")
        assert refused.status_code == 422
        assert "has no bar yet" in refused.json()["detail"]
        assert str(root) not in refused.text
        assert api.get(f"/sessions/{'0' * 16}/{name}").status_code == 404


def test_a_portfolio_is_reported_with_all_that_it_is(
    api: httpx.Client, service: Served, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ServiceStore(service.state)
    Desired(store).add("lived", SupervisedSpec(checkpoint="carry"), "STOPPED")
    rows = Portfolios(store)
    for name in ("main", "empty"):
        rows.make(name, PortfolioSpec(limits=PortfolioLimits(max_drawdown=0.3)))
    rows.contribute("main", "capital", 123 * 10**8 + 1, "anna")
    rows.change("main", PortfolioChanges(members={"lived": 0.5}), "test")
    for _ in range(4):
        Steward(store, root, lambda line: None).step()
    store.close()
    page = api.get("/portfolios/main/report")
    assert page.status_code == 200, page.text
    for part in ("Members", "Exposure", "Limits", "Ledger", "123.00000001", "max_drawdown", "lived", "REPLAY DATA"):
        assert part in page.text, part
    pdf = api.get("/portfolios/main/report.pdf")
    assert pdf.content.startswith(b"%PDF")
    assert api.get("/portfolios/empty/report").status_code == 200
    assert api.get("/portfolios/none/report").status_code == 404
    argv = ["report", "main", "--state", str(service.state), "--sessions", str(root), "--out", str(tmp_path)]
    assert door(portfolio.main, argv) == 0
    assert "on what was paid in" in capsys.readouterr().out
    assert (tmp_path / "report.pdf").is_file()


def test_it_ends_with_its_time_and_its_memory(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Reports(tmp_path)
    monkeypatch.setattr(reports, "SECONDS", 1)
    with pytest.raises(Unavailable, match="took more than 1 s"):
        made.of_session(found(root, "lived"))
    monkeypatch.setattr(reports, "SECONDS", 60)
    monkeypatch.setattr(reports, "MEMORY_GB", 0.2)
    with pytest.raises(Unavailable, match="could not be made"):
        made.of_session(found(root, "lived"))
    monkeypatch.setattr(reports, "_WAIT_S", 0.01)
    made._one.acquire()
    with pytest.raises(Unavailable, match="other reports are being made"):
        made.of_session(found(root, "lived"))
    assert list((tmp_path / "reports").iterdir()) == []


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Reports(tmp_path)
    monkeypatch.setattr(reports, "KEPT", 2)
    monkeypatch.setattr(Reports, "_run", lambda self, out, *given: (out / reports.PDF).write_bytes(b"%PDF"))
    first = made.made("a", [])
    made.made("b", [])
    assert made.made("a", []) == first
    made.made("c", [])
    assert len(list((tmp_path / "reports").iterdir())) == 2
    assert first.is_dir(), "asked for lately"


def test_nobody_s_keys_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would make the report tells its environment instead."""
    monkeypatch.setenv("QFRAME_ACCOUNT_MAIN_API_KEY", "a key of somebody")
    monkeypatch.setenv("APPRISE_URLS", "json://user:password@somewhere")
    seen: list[dict[str, str]] = []

    class Child:
        def __init__(self, argv: list[str], **given: object):
            seen.append(given["env"])  # type: ignore[arg-type]

        def wait(self) -> int:
            return 2

    monkeypatch.setattr(subprocess, "Popen", Child)
    with pytest.raises(UserError, match="nothing can be reported"):
        Reports(tmp_path).made("x", [])
    assert "a key of somebody" not in str(seen)
    assert "password@somewhere" not in str(seen)


def test_a_disk_that_keeps_no_report_is_not_there_now(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("no folder")
    with pytest.raises(Unavailable, match="cannot be kept"):
        Reports(tmp_path).made("x", [])


def test_a_module_within_limits_is_ended_by_its_own_alarm() -> None:
    argv = [sys.executable, "-m", "qframe_rl.service.limited", "4", "1", "http.server", "0"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=60.0, check=False)
    assert done.returncode == -signal.SIGALRM


def test_the_door_reports_sessions_and_refuses_what_does_not_belong(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(report.main, [str(root / "lived"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "forecast" in said
    assert (tmp_path / "out" / "report.html").is_file()
    for wrong, why in (
        ([str(root / "lived"), "--data", "synthetic:carry"], "by their journals"),
        ([str(root / "fresh")], "has no bar yet"),
        ([str(root / "lived"), str(tmp_path)], "is not there"),
    ):
        assert door(report.main, wrong) == 2
        assert why in capsys.readouterr().err
