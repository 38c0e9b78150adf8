"""Money paid into a live session and out of it: each transfer once, exactly, and no profit."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.config import Ref, UserError
from qframe_rl.evaluate.metrics import drawdown, metrics, unexplained
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.interface import rebalance
from qframe_rl.journal.inbox import order, transfer_of, transfer_word
from qframe_rl.journal.record_file import read_record, write_record
from qframe_rl.journal.store import read
from qframe_rl.listeners import Journal
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.record import journal_record
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.live.spec import SessionSpec
from qframe_rl.risk.limits import Limits
from qframe_rl.types import History, Orders, Segment
from tests.markets import panel

E8 = 10**8
BARS = 120
WINDOW = 5


class Half(Memoryless):
    """Half of equity, in equal shares."""

    window = WINDOW

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        return rebalance(view, np.full(n, 0.5 / n))


class Teller:
    """Leaves words in the inbox after a bar, and keeps what was seen."""

    def __init__(self, folder: Path, words: dict[int, list[str]]):
        self.folder, self.words, self.n = folder, words, 0
        self.cash: list[float] = []
        self.flows: list[Any] = []

    def carried(self) -> dict[str, Any]:
        return {"n": self.n}

    def carry(self, memory: Any, view: View) -> None:
        self.n = memory["n"]

    def started(self, view: View) -> None:
        self._tell()

    def settled(self, view: View, orders: Orders) -> None:
        self.n += 1
        self.cash.append(float(view.account.cash))
        self._tell()

    def paid(self, flow: Any) -> None:
        self.flows.append(flow)

    def ended(self, view: View) -> None:
        """Nothing."""

    def _tell(self) -> None:
        for word in self.words.pop(self.n, []):
            order(self.folder / "journal.db", word)


def setting(leverage: float = 1.0) -> tuple[History, Market, SessionSpec]:
    history = panel(
        BARS + WINDOW,
        2,
        seed=3,
        volatility=0.01,
        ragged=False,
        column=False,
        kind="spot" if leverage == 1.0 else "perpetual",
    )
    one = market(
        "test", MarketConfig(features=("log_return:1",), actions=Ref(name="simplex"), half_spread_bps=3.0),
        history.instruments, history.columns, history.bar_ns, leverage=leverage, shorting=leverage != 1.0,
    )  # fmt: skip
    terms = SessionSpec(
        "half", "0" * 16, {"feed": "replay"}, history.instruments, history.columns, history.bar_ns, WINDOW
    )
    return history, one.fit([(history, whole(history))]), terms


def lived(
    folder: Path, words: dict[int, list[str]], *, leverage: float = 1.0, stop: int = 10**9, **more: Any
) -> tuple[SessionResult, Teller]:
    history, one, terms = setting(leverage)
    feed, teller = ReplayFeed(history, Segment(WINDOW, len(history)), WINDOW), Teller(folder, dict(words))
    settled = teller.settled

    def until(view: View, orders: Orders) -> None:
        settled(view, orders)
        if teller.n == stop:
            feed.stopped.set()

    teller.settled = until  # type: ignore[method-assign]
    result = paper(one, Half(), feed, terms, folder, listeners=[teller], durable=False, snapshot_bars=20, **more)
    return result, teller


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(e.payload) for e in read(folder / "journal.db") if e.kind == kind]


WORDS = {
    10: [transfer_word("a", 5_000 * E8 + 1)],
    11: [transfer_word("b", -1_234 * E8 - 56_789), transfer_word("a", 5_000 * E8 + 1)],
    40: [transfer_word("greedy", -(10**15))],
    41: ["transfer nonsense", "dance", transfer_word("c", -3)],
    90: [transfer_word("greedy", -1)],
}
NET = 5_000 * E8 + 1 - 1_234 * E8 - 56_789 - 3


def test_each_transfer_is_obeyed_once_to_the_last_unit_and_refusals_are_on_record(tmp_path: Path) -> None:
    notes: list[str] = []
    result, teller = lived(tmp_path, WORDS, note=notes.append)
    assert result.paid == NET
    said = events(tmp_path, "transferred")
    assert [(one["id"], one["state"]) for one in said] == [
        ("a", "SETTLED"), ("b", "SETTLED"), ("greedy", "REFUSED"), ("c", "SETTLED"),
    ]  # fmt: skip
    assert "more than the free cash" in said[2]["why"]
    assert [one["id"] for one in events(tmp_path, "transfer")] == ["a", "b", "a", "greedy", "c", "greedy"]
    before = {0: 9, 1: 10, 2: 39, 3: 40}
    for k, at in before.items():
        moved = said[k]["units"] if said[k]["state"] == "SETTLED" else 0
        assert Fraction(said[k]["account"]["cash"]) == Fraction(
            float(Fraction(teller.cash[at]) + Fraction(moved, E8))
        ), said[k]["id"]
    assert len(teller.flows) == 3
    assert any("transfer nonsense" in note for note in notes), "what means nothing is said, and ends no session"
    assert result.bars == BARS


@pytest.mark.parametrize("leverage", [1.0, 3.0])
def test_replay_and_resumption_come_to_the_same_hash(tmp_path: Path, leverage: float) -> None:
    whole_run, _ = lived(tmp_path / "whole", WORDS, leverage=leverage)
    for stop in (10, 11, 25, 41, 60):
        first, _ = lived(tmp_path / f"{stop}", WORDS, leverage=leverage, stop=stop)
        assert first.bars == stop
        rest = {n: words for n, words in WORDS.items() if n > stop}
        second, _ = lived(tmp_path / f"{stop}", rest, leverage=leverage)
        assert (second.digest, second.paid) == (whole_run.digest, NET)
        _, one, terms = setting(leverage)
        again = replay(one, Half(), terms, tmp_path / f"{stop}" / "journal.db")
        assert (again.digest, again.final_equity) == (whole_run.digest, whole_run.final_equity)


def test_what_is_paid_in_or_out_is_no_profit_anywhere(tmp_path: Path) -> None:
    """A session that trades in proportion earns the same with transfers as without: the oracle is the other session."""
    plain, _ = lived(tmp_path / "plain", {})
    limits = Limits(max_drawdown=0.5, daily_loss=0.5)
    _, _ = lived(tmp_path / "paid", WORDS, limits=limits)
    record, other = journal_record(tmp_path / "paid" / "journal.db"), journal_record(tmp_path / "plain" / "journal.db")
    assert plain.digest == other.digest
    assert other.worth is not None
    assert np.array_equal(other.worth, other.account.equity), "without transfers the same bits"
    np.testing.assert_allclose(record.worth, other.worth, rtol=5e-3)  # what came after a decision waits for the next
    equity, index = [Fraction(e) for e in record.account.equity.tolist()], [Fraction(10_000)]
    for n in range(1, len(equity)):
        index.append(index[-1] * equity[n] / (equity[n - 1] + Fraction(float(record.flow[n]))))
    np.testing.assert_allclose(record.worth, [float(value) for value in index], rtol=1e-12)
    assert abs(float(record.account.equity[-1] / other.account.equity[-1]) - 1.0) > 0.3, "the money is there"
    one, two = metrics(record), metrics(other)
    for name in ("total_return", "max_drawdown", "volatility", "worst_bar"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=5e-2, abs=5e-3), name
    assert unexplained(record) < 1e-9
    pulse = json.loads(_pulse(tmp_path / "paid"))
    assert pulse["paid"] == NET
    assert pulse["worth"] == pytest.approx(float(record.worth[-1]), rel=1e-9)
    fall = 1.0 - pulse["account"]["equity"] / pulse["peak"]
    assert fall == pytest.approx(-float(drawdown(record.worth)[-1]), abs=1e-9)
    assert pulse["state"] == "ACTIVE"


def test_a_deposit_hides_no_loss_and_a_withdrawal_trips_no_limit(tmp_path: Path) -> None:
    limits = Limits(max_drawdown=0.02)
    words = {5: [transfer_word("out", -4_000 * E8)], 6: [transfer_word("in", 50_000 * E8)]}
    lived(tmp_path / "a", {}, limits=limits)
    lived(tmp_path / "b", words, limits=limits)
    first, second = (events(tmp_path / name, "state")[0] for name in "ab")
    assert first["time"] == second["time"]
    assert "max_drawdown" in second["reasons"][0]


def test_a_record_with_flows_is_written_and_read(tmp_path: Path) -> None:
    lived(tmp_path, WORDS)
    record = journal_record(tmp_path / "journal.db")
    assert Fraction(float(record.flow[11])) == Fraction(float(Fraction(5_000 * E8 + 1, E8)))
    write_record(record, tmp_path / "one.parquet")
    again = read_record(tmp_path / "one.parquet", record.instruments, record.bar_ns)
    assert np.array_equal(again.worth, record.worth)


def test_a_journal_read_as_a_record_is_what_a_listener_kept(tmp_path: Path) -> None:
    history, one, terms = setting()
    kept = Journal(history.instruments, history.bar_ns)
    feed = ReplayFeed(history, Segment(WINDOW, len(history)), WINDOW)
    paper(one, Half(), feed, terms, tmp_path, listeners=[kept], durable=False)
    record, own = journal_record(tmp_path / "journal.db"), kept.record()
    assert record.digest == own.digest
    pairs = (
        (record.account, own.account),
        (record.orders.terms, own.orders.terms),
        (record.fills.sums, own.fills.sums),
    )
    for mine, its in pairs:
        for a, b in zip(mine, its, strict=True):
            assert np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("name, units", [("A", 1), ("a b", 1), ("", 1), ("a", 0), ("a", 10**18), ("../x", 5)])
def test_words_that_cannot_be_are_refused(name: str, units: int) -> None:
    with pytest.raises(UserError, match="a transfer has"):
        transfer_word(name, units)
    assert transfer_of(f"transfer {name} {units}") is None


def _pulse(folder: Path) -> str:
    from qframe_rl.journal.store import pulse

    said = pulse(folder / "journal.db")
    assert said is not None
    return said[1]
