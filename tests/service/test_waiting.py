"""Money that waits for a session which does not run: it is said, once to people, and delivered at the next start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import portfolio
from qframe_rl.alerts.sender import Channel
from qframe_rl.listeners import Soft
from qframe_rl.portfolio.ledger import CapitalTransfer, TransferState
from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.service import notices, steward
from qframe_rl.service.booking import PortfolioSpec
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.membership import bar_of
from qframe_rl.service.notices import NoticeSender, PortfolioNotices
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.standings import standing, transfers
from qframe_rl.service.steering import steered
from qframe_rl.service.steward import Steward
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.waiting import waiting
from qframe_rl.types import HOUR
from tests.service.test_portfolios import E8, Obeying, exact


class Two:
    """A portfolio of two members that have come, both running."""

    def __init__(self, folder: Path):
        self.store, self.sessions = ServiceStore(folder / "state"), folder / "sessions"
        self.rows, self.desired = Portfolios(self.store), Desired(self.store)
        self.rows.make("main", PortfolioSpec(band=0.0), 2_000 * E8, "test")
        self.told: list[str] = []
        self.steward = Steward(self.store, self.sessions, self.told.append)
        self.members = {}
        for name in ("a", "b"):
            self.desired.add(name, SupervisedSpec(checkpoint="carry"))
            self.members[name] = Obeying(self.sessions / name)
            self.members[name].bar()
            self.runs(name)
        self.rows.change("main", PortfolioChanges(members={"a": 0.7, "b": 0.3}), "test")
        self.steward.step()

    def runs(self, name: str, state: str = "RUNNING") -> None:
        """As the supervisor notes it."""
        self.desired.note(name, state=state, since_ns=self.now())

    def now(self) -> int:
        return notices.time.time_ns()

    def stops(self, name: str) -> None:
        self.members[name].close()
        self.runs(name, "FAILED")

    def starts(self, name: str) -> None:
        cash = self.members[name].cash
        self.members[name] = Obeying(self.sessions / name)
        self.members[name].cash = cash
        self.runs(name)

    def looks(self, n: int = 3) -> None:
        for _ in range(n):
            self.steward.step()

    def alerts(self) -> list[str]:
        return [one.text for one in PortfolioNotices(self.store).latest("main", 100) if one.alert]

    def close(self) -> None:
        for one in self.members.values():
            one.close()
        self.store.close()


@pytest.fixture
def two(each_store: str, tmp_path: Path) -> Iterator[Two]:
    one = Two(tmp_path)
    yield one
    one.close()


def test_a_transfer_waits_is_said_to_wait_and_comes_at_the_next_start(
    two: Two, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two.rows.transfer("main", CapitalTransfer("t", "b", 5 * E8), "test")
    assert waiting(two.rows, "main") == [], "its session runs, and decides"
    two.looks()
    two.members["b"].obey()
    two.looks()
    two.stops("a")
    argv = ["--state", str(two.store.folder)]
    portfolio.main(["transfer", "main", "a", "250", "--id", "t1", *argv])
    assert "waiting for a, which does not run, since 20" in capsys.readouterr().out
    two.looks()
    (wait,) = standing(two.rows, two.rows.one("main"), {}).waiting
    assert (wait.transfer, wait.member, wait.units) == ("t1", "a", str(250 * E8))
    (asked,) = (one for one in transfers(two.rows, "main", 10) if one.state == "PENDING")
    assert asked.waiting_ns == wait.since_ns == asked.asked_ns
    portfolio.main(["show", "main", *argv])
    assert "waiting for a, which does not run, since 20" in capsys.readouterr().out
    assert [line for line in two.told if "waiting" in line] == ["main: waiting for a, which does not run"], "once"
    assert two.alerts() == [], "it has not waited for as long as a bar"
    assert bar_of(two.sessions / "a" / "journal.db") == HOUR
    monkeypatch.setattr(steward, "bar_of", lambda _: -1)
    two.looks()
    Steward(two.store, two.sessions, two.told.append).step()
    assert len(two.alerts()) == 1, "once for ever, whoever looks"
    assert "waiting for a, which does not run" in two.alerts()[0]
    two.starts("a")
    assert waiting(two.rows, "main") == []
    two.members["a"].obey()
    two.looks()
    assert [one.state for one in transfers(two.rows, "main", 10)] == ["SETTLED", "SETTLED"]
    assert two.rows.transfers("main")[0].transfer.state is TransferState.SETTLED
    exact(two.rows)


def test_a_rebalance_says_whom_it_waits_for(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steward, "bar_of", lambda _: -1)
    two.rows.note("main", due_ns=1)
    two.looks(4)
    two.members["b"].obey()  # it gives, and then its share goes to the other one
    two.looks(4)
    two.stops("a")
    two.looks(4)
    row = two.rows.one("main")
    (wait,) = standing(two.rows, row, {}).waiting
    assert row.plan
    assert wait.why == "waiting for a, which does not run"
    assert [text.partition(",")[0] for text in two.alerts()] == ["waiting for a"]
    two.starts("a")
    two.members["a"].obey()
    two.looks(4)
    assert not two.rows.one("main").plan
    assert standing(two.rows, two.rows.one("main"), {}).waiting == []
    assert [one.rule for one in PortfolioNotices(two.store).latest("main", 2)] == ["rebalance", "waits"]


def test_states_are_told_with_their_reasons_and_by_whom(two: Two) -> None:
    two.rows.change("main", PortfolioChanges(PortfolioSpec(band=0.0, limits=PortfolioLimits(max_drawdown=0.2))), "t")
    two.looks()
    two.members["a"].cash = 1_000.0
    two.members["a"].bar()
    two.looks()
    steered(two.rows, "main", "resume", "anna")
    newest, first = PortfolioNotices(two.store).latest("main", 10)
    assert first.text.startswith("FLATTEN (max_drawdown: equity 13,000.00 is 40.91% under 22,000.00")
    assert newest.text == "ACTIVE, told resume by anna"
    assert [bool(one.alert) for one in (first, newest)] == [True, False], "who does it knows it"


def test_an_alert_is_sent_to_each_channel_once_and_waits_for_one_that_is_away(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_WAIT_S", (0.0, 0.0))
    away, got, said = [True], {"near": list[str](), "far": list[str]()}, list[str]()

    def far(title: str, text: str) -> bool:
        if not away[0]:
            got["far"].append(text)
        return not away[0]

    def near(title: str, text: str) -> bool:
        got["near"].append(f"{title} / {text}")
        return True

    rows = PortfolioNotices(two.store)
    assert rows.say("main", "ramp", "a raised", key="k", alert=True)
    assert not rows.say("main", "ramp", "a raised", key="k", alert=True)
    rows.say("main", "rebalance", "rebalanced")
    sender = NoticeSender(rows, [Channel("near", near), Channel("far", far)], Soft(said.append))
    for _ in range(3):
        sender.step()
    assert got == {"near": ["QFrame: ramp of portfolio main / main: a raised"], "far": []}
    assert rows.latest("main", 5)[1].sent_ns is None
    assert len(said) == 1
    away[0] = False
    for _ in range(3):
        sender.step()
    assert (len(got["near"]), got["far"]) == (1, ["main: a raised"])
    assert [bool(one.sent_ns) for one in rows.latest("main", 5)] == [False, True], "what is no alert goes nowhere"
