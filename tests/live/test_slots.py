"""Orders that rest in slots: the same bits in a paper session, its resumption, its replay and the backtest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import metrics, unexplained
from qframe_rl.feeds.finer import with_made_up
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.market import Market
from qframe_rl.interface import protect, rebalance
from qframe_rl.journal.inbox import order
from qframe_rl.journal.record_file import read_record, write_record
from qframe_rl.listeners import Journal
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.record import journal_record
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.live.spec import SessionSpec
from qframe_rl.orders import KEEP
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.session import Session, run
from qframe_rl.types import MINUTE, History, Orders, Segment
from qframe_rl.venues.guarded import GuardedVenue
from qframe_rl.venues.simulated import SimulatedVenue
from tests.live.test_transfers import WINDOW, events, setting


class Guarded(Memoryless):
    """Goes long what rose and short what fell, with a stop that trails, a target and an end; and a fishing limit."""

    window = WINDOW

    def decide(self, view: View) -> Orders:
        rose = view.close[-1] > view.close[0]
        flat = view.account.position == 0.0
        target = np.where(flat & view.tradable, np.where(rose, 0.4, -0.4), np.nan)
        orders = protect(view, rebalance(view, target), take=0.03, trail=0.03, bars=2)
        n, k = orders.quantity.shape
        wider = Orders(*(np.concatenate([field, np.zeros((n, 1))], axis=1) for field in orders))  # type: ignore[arg-type]
        stands = view.resting is not None and view.resting.quantity.shape[1] > k
        free = np.ones(n, dtype=np.bool_) if not stands else view.resting.quantity[:, k] == 0.0  # type: ignore[union-attr]
        wider.quantity[:, k] = np.where(free, 1.0, KEEP)
        wider.limit[:, k], wider.stop[:, k] = view.account.mark * 0.985, np.nan
        assert wider.good is not None and wider.trail is not None
        wider.good[:, k], wider.trail[:, k] = 6.0, np.nan
        return wider


def detailed(inside: bool) -> tuple[History, Market, SessionSpec]:
    """The setting, with bars that consist of finer ones if ``inside``."""
    history, one, terms = setting(3.0)
    if not inside:
        return history, one, terms
    rules = replace(one.rules, detail_ns=10 * MINUTE)
    return with_made_up(history, 10 * MINUTE, 0), replace(one, rules=rules), terms


def lived(folder: Path, agent: Any = None, stop: int = 10**9, *, inside: bool = False, **more: Any) -> SessionResult:
    history, one, terms = detailed(inside)
    feed = ReplayFeed(history, Segment(WINDOW, len(history)), WINDOW)

    class Counter:
        n = 0

        def carried(self) -> dict[str, Any]:
            return {"n": self.n}

        def carry(self, memory: Any, view: View) -> None:
            self.n = memory["n"]

        def started(self, view: View) -> None:
            """Nothing."""

        def settled(self, view: View, orders: Orders) -> None:
            self.n += 1
            if self.n == stop:
                feed.stopped.set()

        def ended(self, view: View) -> None:
            """Nothing."""

    return paper(
        one, agent or Guarded(), feed, terms, folder, listeners=[Counter()], durable=False, snapshot_bars=20, **more
    )


@pytest.mark.parametrize("inside", [False, True])
def test_paper_its_resumption_its_replay_and_the_backtest_have_the_same_bits(tmp_path: Path, inside: bool) -> None:
    history, one, terms = detailed(inside)
    journal = Journal(one.instruments, one.bar_ns)
    feed = HistoryFeed(history, Segment(WINDOW, len(history)), WINDOW)
    run(Session(feed, SimulatedVenue(one.rules, one.cash), WINDOW, journal), Guarded())
    record = journal.record()
    assert record.slots is not None
    filled = (record.slots.fills[:, :, 0] != 0.0).sum(axis=(0, 1))
    assert (filled > 0).all(), f"entries, stops, targets, ends and limits: {filled}"
    assert unexplained(record) < 1e-12
    assert metrics(record).trades == filled.sum()

    whole = lived(tmp_path / "whole", inside=inside)
    assert whole.digest == record.digest
    for stop in (20, 33):
        lived(tmp_path / f"{stop}", stop=stop, inside=inside)
        assert lived(tmp_path / f"{stop}", inside=inside).digest == whole.digest
        assert replay(one, Guarded(), terms, tmp_path / f"{stop}" / "journal.db").digest == whole.digest
    written = journal_record(tmp_path / "33" / "journal.db")
    assert written.digest == record.digest
    write_record(record, tmp_path / "record.parquet")
    read = read_record(tmp_path / "record.parquet", one.instruments, one.bar_ns)
    for other in (written, read):
        assert other.slots is not None
        np.testing.assert_array_equal(other.slots.fills, record.slots.fills)
        stood = record.slots.orders[:, :, 0] != 0.0
        np.testing.assert_array_equal(other.slots.orders[:, :, 0], record.slots.orders[:, :, 0])
        for c in range(8):
            np.testing.assert_array_equal(other.slots.orders[:, :, c][stood], record.slots.orders[:, :, c][stood])
        np.testing.assert_array_equal(other.orders.quantity, record.orders.quantity)


@pytest.mark.parametrize("word", ["halt", "flatten"])
def test_a_kill_switch_leaves_nothing_resting(tmp_path: Path, word: str) -> None:
    lived(tmp_path, stop=30)
    order(tmp_path / "journal.db", word)
    lived(tmp_path)
    settled = events(tmp_path, "settled")
    assert "resting" in settled[29]
    assert not any("resting" in one for one in settled[31:])
    if word == "flatten":
        assert not any(settled[-1]["account"]["position"])


def test_to_reduce_leaves_the_exits_alone(tmp_path: Path) -> None:
    lived(tmp_path, stop=30)
    order(tmp_path / "journal.db", "reduce")
    lived(tmp_path)
    settled = events(tmp_path, "settled")
    assert not any(settled[-1]["account"]["position"]), "all exits came to their end"
    later = [one["resting"] for one in settled[31:] if "resting" in one]
    assert later, "exits stood beside what was held"
    held = np.array([one["account"]["position"] for one in settled[30:]])
    assert (np.abs(held[1:]) <= np.abs(held[:-1])).all(), "and nothing opened"


def test_limits_hold_each_order(tmp_path: Path) -> None:
    lived(tmp_path, limits=Limits(max_position=2_000.0, max_order=1_500.0))
    record = journal_record(tmp_path / "journal.db")
    assert record.slots is not None
    placed = record.slots.orders[1:, :, 0, 0] * record.account.mark[:-1]
    assert np.nanmax(np.abs(placed)) <= 1_500.0 * (1 + 1e-9)
    assert np.nanmax(np.abs(record.account.position * record.account.mark)) <= 2_100.0


def test_locks_cut_what_opens_and_outlive_the_process(tmp_path: Path) -> None:
    """After each exit two bars go by without an entry; that is so in the backtest, after a restart, and in a replay."""
    limits = Limits(cooldown_bars=3, stop_guard=2, stop_guard_lock_bars=5, max_entries_per_day=6)
    history, one, terms = setting(3.0)
    venue = GuardedVenue(SimulatedVenue(one.rules, one.cash), RiskEngine(limits, one.instruments))
    journal = Journal(one.instruments, one.bar_ns)
    run(Session(HistoryFeed(history, Segment(WINDOW, len(history)), WINDOW), venue, WINDOW, journal), Guarded())
    whole = lived(tmp_path / "whole", limits=limits)
    written, record = journal_record(tmp_path / "whole" / "journal.db"), journal.record()
    np.testing.assert_array_equal(written.account.equity, record.account.equity)
    np.testing.assert_array_equal(written.fills.quantity, record.fills.quantity)
    assert whole.digest != lived(tmp_path / "free").digest
    for stop in (20, 33):
        lived(tmp_path / f"{stop}", stop=stop, limits=limits)
        assert lived(tmp_path / f"{stop}", limits=limits).digest == whole.digest
        assert replay(one, Guarded(), terms, tmp_path / f"{stop}" / "journal.db").digest == whole.digest
    reasons = {r.partition(":")[0] for e in events(tmp_path / "whole", "decision") for r in e.get("reasons", [])}
    assert {"cooldown_bars", "stop_guard"} <= reasons


def test_books_do_not_fill_several(tmp_path: Path) -> None:
    from qframe_rl.kernel.rules import rules_of
    from qframe_rl.venues.book import TwinVenue

    history, _, _ = setting(3.0)
    venue = TwinVenue(rules_of(history.instruments), 1_000.0, by_book=True)
    with pytest.raises(UserError, match="filled by order books has one order per instrument"):
        venue.submit(Orders.market(np.zeros((2, 3))))
