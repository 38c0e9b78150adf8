"""Protections one by one: what each locks, for how long, and that what is locked may always be reduced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.config import UserError
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.live.held import checked_limits
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.session import Session, run
from qframe_rl.types import DAY, HOUR, Account, Fills, Instrument, Orders, Segment
from qframe_rl.venues.guarded import GuardedVenue
from qframe_rl.venues.simulated import SimulatedVenue
from tests.agents.planted import bars_of
from tests.agents.runs import FREE, market_of
from tests.markets import START

FIRST_HOUR = START % DAY // HOUR
"""Hour of the day at which the first bar closes."""


class Wants(Memoryless):
    """Positions that are written down beforehand, bar by bar."""

    window = 2

    def __init__(self, wished: np.ndarray):
        self.wished, self.t = wished, -1
        self.locks: list[np.ndarray] = []

    def decide(self, view: View) -> Orders:
        self.t += 1
        assert view.locks is not None
        self.locks.append(view.locks)
        return Orders.market(self.wished[self.t] - view.account.position)


def played(close: Any, wished: Any, **limits: Any) -> tuple[np.ndarray, list[np.ndarray], RiskEngine]:
    """Positions of each bar from the first decision on, what was shown as locked, and the engine.

    ``close`` are prices from the bar of the first decision on; ``wished`` positions, decided at each of them.
    """
    close = np.array(close, dtype=np.float64).reshape(len(close), -1)
    wished = np.array(wished, dtype=np.float64).reshape(len(close), -1)
    history = bars_of(np.concatenate([close[:1], close]), maintenance=0.0)
    market = market_of(history, leverage=20.0, **FREE)
    venue = GuardedVenue(SimulatedVenue(market.rules, market.cash), RiskEngine(Limits(**limits), market.instruments))
    held: list[np.ndarray] = []
    agent = Wants(np.concatenate([wished, wished[-1:]]))
    session = Session(HistoryFeed(history, Segment(2, len(history)), 2), venue, 2)
    view = session.start()
    while not view.over:
        view = session.step(agent.decide(view))
        held.append(view.account.position.copy())
    return np.array(held[: len(close) - 1]), agent.locks, venue.engine


def test_after_a_position_was_closed_its_instrument_cools_down() -> None:
    held, locks, _ = played([100.0] * 9, [1, 0, 1, 1, 1, 1, 1, 1, 1], cooldown_bars=3)
    assert held[:, 0].tolist() == [1, 0, 0, 0, 0, 1, 1, 1]
    assert [one[0].tolist() for one in locks[:7]] == [[0, 0], [0, 0], [3, 3], [2, 2], [1, 1], [0, 0], [0, 0]]


def test_a_turn_is_an_exit_and_of_it_only_the_exit_passes_while_locked() -> None:
    held, _, _ = played([100.0] * 8, [1, -1, 1, 1, 1, 1, 1, 1], cooldown_bars=3)
    assert held[:, 0].tolist() == [1, -1, 0, 0, 0, 0, 1], "closing the short was an exit as well"
    held, _, _ = played([100.0] * 6, [2, 1, 1, 0, 1, 1], cooldown_bars=9)
    assert held[:, 0].tolist() == [2, 1, 1, 0, 0], "a part is no exit"


LOSES = [100, 90, 100, 90, 100, 90, 100, 90, 100, 90]
LONGS = [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]


def test_losing_exits_in_the_window_lock_and_winning_ones_do_not() -> None:
    guard = {"stop_guard": 2, "stop_guard_bars": 5, "stop_guard_lock_bars": 3}
    held, locks, _ = played(LOSES, LONGS, **guard)
    assert held[:, 0].tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 1], "two losses, and three decisions without an entry"
    assert [one[0, 0] for one in locks] == [0, 0, 0, 0, 3, 2, 1, 0, 0, 0]
    rises = [90, 100] * 5
    assert played(rises, LONGS, **guard)[0][:, 0].tolist() == LONGS[:9]
    far = guard | {"stop_guard_bars": 2}
    assert played(LOSES, LONGS, **far)[0][:, 0].tolist() == LONGS[:9], "never two within two bars"


@pytest.mark.parametrize(("scope", "other", "short"), [("account", 0, 0), ("symbol", 1, 0), ("side", 1, -1)])
def test_what_a_stop_guard_locks(scope: str, other: int, short: int) -> None:
    close = np.stack([LOSES, np.full(10, 50.0)], axis=1)
    wished = np.zeros((10, 2))
    wished[:4, 0], wished[4:, 0], wished[4:, 1] = LONGS[:4], -1, 1
    guard = {"stop_guard": 2, "stop_guard_bars": 9, "stop_guard_lock_bars": 9, "stop_guard_scope": scope}
    held, _, _ = played(close, wished, **guard)
    assert held[5].tolist() == [short, other]


def test_fees_make_a_losing_exit_of_an_even_one() -> None:
    history = bars_of(np.full((12, 1), 100.0), maintenance=0.0)
    for fee, held in ((0.0, 1.0), (5.0, 0.0)):
        market = market_of(history, **{**FREE, "taker_fee_bps": fee})
        limits = Limits(stop_guard=1, stop_guard_lock_bars=20)
        venue = GuardedVenue(SimulatedVenue(market.rules, market.cash), RiskEngine(limits, market.instruments))
        view = run(
            Session(HistoryFeed(history, Segment(2, 12), 2), venue, 2), Wants(np.array([[1.0], [0.0], *[[1.0]] * 9]))
        )
        assert view.account.position[0] == held


def test_an_instrument_that_earned_too_little_is_locked() -> None:
    """1 % of 10,000 are ten units of ten."""
    rule = {"low_profit": -0.01, "low_profit_bars": 4, "low_profit_lock_bars": 2}
    held, _, _ = played(LOSES, [8, 0, 8, 0, 8, 0, 8, 0, 8, 0], **rule)
    assert held[:, 0].tolist() == [8, 0, 8, 0, 0, 0, 8, 0, 8], "80 lost, 160 lost; later the first is out of the window"
    assert played(LOSES, [4, 0] * 5, **rule)[0][:, 0].tolist() == [4, 0, 4, 0, 4, 0, 4, 0, 4]


def test_a_drawdown_pauses_all_lets_close_and_has_an_end() -> None:
    close = [100, 100, 99, 98, 98, 98, 98, 98, 98, 97, 97]
    rule = {"drawdown_pause": 0.015, "drawdown_pause_bars": 100, "drawdown_pause_lock_bars": 3}
    held, locks, _ = played(close, [100, 100, 100, 150, 150, 20, 150, 150, 150, 150, 150], **rule)
    assert held[:, 0].tolist() == [100, 100, 100, 100, 100, 20, 150, 150, 150, 150]
    assert [one[0, 0] for one in locks[2:8]] == [0, 3, 2, 1, 0, 0]
    near = rule | {"drawdown_pause_bars": 2}
    assert played(close, [100] * 11, **near)[2].pauses.now == (), "no two bars lost so much"


def test_entries_of_a_day_are_counted_until_midnight() -> None:
    """The first decision is made at the close of the second bar; a bar that closes at midnight is the next day's."""
    n = 60
    held, locks, _ = played(np.full(n, 100.0), np.tile([1.0, 0.0], n)[:n], max_entries_per_day=2)
    days = (START + HOUR * (2 + np.arange(n - 1))) // DAY
    before = np.concatenate([[0.0], held[:-1, 0]])
    entries = (held[:, 0] > 0.0) & (before == 0.0)
    counts = [int(entries[days == day].sum()) for day in np.unique(days)]
    assert counts[:-1] == [2, 2, 2]
    shown = np.array([one[0, 0] for one in locks[: n - 1]])
    for k in np.flatnonzero(shown):
        assert (days[k : k + shown[k]] == days[k]).all() and days[k + shown[k]] == days[k] + 1
    assert (shown > 0).any()


def test_several_entries_at_once_are_cut_to_what_is_left_of_the_day() -> None:
    held, _, _ = played(np.full((4, 3), 100.0), np.ones((4, 3)), max_entries_per_day=2)
    assert held[-1].tolist() == [1, 1, 0]


def test_a_wild_market_is_left_alone_for_a_while() -> None:
    close = [100, 100, 100, 106, 106, 106, 106, 106, 106]
    rule = {"volatility_halt": 0.05, "volatility_halt_bars": 2, "volatility_halt_lock_bars": 2}
    held, locks, _ = played(close, [1, 1, 1, 2, 2, 2, 2, 2, 2], **rule)
    assert held[:, 0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2]
    assert [one[0, 0] for one in locks[2:7]] == [0, 2, 2, 1, 0]
    still = [100, 100, 100, 104, 104, 104, 104, 104, 104]
    assert played(still, [1, 1, 1, 2, 2, 2, 2, 2, 2], **rule)[0][3, 0] == 2


def test_all_of_it_goes_to_another_process_and_refuses_where_quotes_are_made() -> None:
    limits = {"cooldown_bars": 9, "stop_guard": 2, "low_profit": 0.0, "drawdown_pause": 0.01, "volatility_halt": 0.05}
    _, _, engine = played(LOSES, LONGS, **limits)
    other = RiskEngine(Limits(), engine.instruments)
    other.carry(engine.carried())
    assert other.left is not None and engine.left is not None
    assert np.array_equal(other.left, engine.left) and engine.left.any()
    assert other.carried() == engine.carried()
    with pytest.raises(UserError, match="means nothing where a strategy quotes"):
        checked_limits(Limits(cooldown_bars=3))


def paused(equity: list[float], bars: int, memory: Any = None) -> tuple[list[bool], dict[str, Any]]:
    """Whether each bar's equity locked all, from the second on, and what is remembered then."""
    limits = Limits(drawdown_pause=0.02, drawdown_pause_bars=bars, drawdown_pause_lock_bars=1)
    engine = RiskEngine(limits, (Instrument("BTC/USDT"),))
    accounts = [Account(np.array(one), np.zeros(1), np.ones(1)) for one in equity]
    none, locked = (Orders.market(np.zeros(1)), Fills.none(1)), []
    engine.begin(0, accounts[0])
    if memory is not None:
        engine.carry(engine.carried() | {"guard": memory})
    for t, account in enumerate(accounts[1:], 1):
        engine.settled(t * HOUR, account, *none)
        locked.append(bool(engine.pauses.left.any()))
    return locked, engine.carried()["guard"]


def queue_of(equity: list[float], bars: int) -> tuple[list[bool], dict[str, Any]]:
    """The same in lists: a window of so many bars; and what version 1 remembered of it."""
    window, locked = [(0, equity[0])], []
    for t, one in enumerate(equity[1:], 1):
        window = [*window, (t, one)][-bars:]
        locked.append(one <= max(top for _, top in window) * (1.0 - 0.02))
        window = [(t, one)] if locked[-1] else window
    queue = [(t, one) for t, one in window if all(later < one for at, later in window if at > t)]
    n = len(equity) - 1
    ring = {(k + 3) % (bars + 1): one for k, one in enumerate(queue)}
    peaks, tops = ([ring.get(k, (0, 0.0))[which] for k in range(bars + 1)] for which in range(2))
    clock = [n, n * HOUR, HOUR, 0, 0, 3, 3 + len(queue), 0]
    return locked, {"clock": clock, "peaks": peaks, "tops": tops}


@pytest.mark.parametrize("bars", [1, 2, 7, 30])
def test_the_highest_of_a_window_is_that_of_a_list_and_of_what_earlier_versions_kept(bars: int) -> None:
    walk = 1e4 * np.exp(np.cumsum(0.008 * np.random.default_rng(bars).standard_normal(400)))
    equity = walk.tolist()
    locked = paused(equity, bars)[0]
    assert locked == queue_of(equity, bars)[0]
    assert any(locked) == (bars > 1)
    for cut in (1, 40, 237):
        old = queue_of(equity[:cut], bars)[1]
        now = paused(equity[:cut], bars)[1]
        later = paused(equity[cut - 1 :], bars, earlier(now, old))
        assert later[0] == locked[cut - 1 :], cut


def earlier(now: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """What version 1 would have remembered."""
    return {name: value for name, value in now.items() if name not in {"crest", "tops"}} | old
