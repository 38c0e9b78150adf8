"""A strategy whose orders are worked: what it sees, what it may not see, and what another process goes on with."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.coarser import coarse_bars
from qframe_rl.config import UserError
from qframe_rl.deploy import worked
from qframe_rl.execution import Worked, plan_of
from qframe_rl.gym.market import Market
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import HOUR, MINUTE, Fills, History, Orders, Record, Segment
from tests.execution.walks import FIRST, OWN, WINDOW, Asks, decided, minutes, traded, walked, working

WAYS = ("now", "twap:10m", "pov:5%", "passive")
ROWS = [[40.0], [-60.0], [0.0], [25.0]]


def lived(agent: Any, history: History) -> list[tuple[int, bytes]]:
    """When each order was decided, and its bits."""
    found: list[tuple[int, bytes]] = []
    decided(agent, history, traded(history), lambda v, o: found.append((v.time, np.stack(o.terms).tobytes())))
    return found


def test_it_sees_its_own_bars_and_is_asked_when_one_has_closed() -> None:
    history, inner = minutes(121, seed=1), Asks(ROWS)
    walked(working(inner, "twap:10m", history)[0], history, traded(history))
    coarse, ends = coarse_bars(history.values, history.time, OWN)
    assert [v.time for v in inner.views] == [
        t for t in ends.tolist() if history.time[FIRST - 1] <= t < history.time[-1]
    ]
    for v in inner.views:
        at = int(np.searchsorted(ends, v.time)) + 1
        assert np.array_equal(v.bars, coarse[at - WINDOW : at])
        assert np.array_equal(v.times, ends[at - WINDOW : at])
    assert [v.first for v in inner.views] == [True] + [False] * (len(inner.views) - 1)


def test_its_fills_are_those_of_all_minutes_since_it_was_asked() -> None:
    history, inner = minutes(121, seed=1, volume=0.003), Asks(ROWS)
    record = walked(working(inner, "pov:5%", history)[0], history, traded(history))
    for n, (before, v) in enumerate(pairwise(inner.views)):
        rows = (record.time > before.time) & (record.time <= v.time)
        filled = record.fills.quantity[rows].sum(axis=0)
        assert v.fills.quantity == pytest.approx(filled)
        assert v.fills.fee == pytest.approx(record.fills.fee[rows].sum(axis=0))
        paid = (record.fills.quantity[rows] * record.fills.price[rows]).sum(axis=0)
        assert v.fills.price * filled == pytest.approx(paid)
        assert v.fills.quantity + v.fills.cancelled == pytest.approx(inner.rows[n % len(inner.rows)], abs=1e-9)
    assert any(v.fills.cancelled.any() for v in inner.views), "volume was to be short"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", [45, 52, 61])
def test_a_scrambled_future_changes_no_child(way: str, cut: int) -> None:
    history = minutes(101, 2, seed=2, ragged=True, column=True)
    rng = np.random.default_rng(7)
    values = history.values.copy()
    values[cut:] = np.abs(values[cut:] * np.exp(rng.standard_normal(values[cut:].shape)))
    found = []
    for bars in (history, replace(history, values=values)):
        agent, _ = working(Asks([[40.0, -30.0], [-60.0, 5.0]]), way, bars)
        orders = lived(agent, bars)
        found.append([one for one in orders if one[0] <= history.time[cut - 1]])
    assert found[0]
    assert found[0] == found[1]


def test_a_missing_last_minute_delays_the_question_and_a_gap_asks_nothing() -> None:
    history = minutes(121, seed=3)
    kept = np.ones(121, dtype=np.bool_)
    kept[44] = False  # the minute that closes the third quarter
    kept[60:92] = False  # two whole quarters
    lacking = _rows(history, kept)
    inner = Asks(ROWS)
    agent, seen = working(inner, "twap:10m", lacking)[0], list[int]()
    decided(agent, lacking, traded(lacking), lambda v, o: seen.append(v.time))
    minute = [(v.time - int(history.time[0])) // MINUTE + 1 for v in inner.views]
    assert minute == [30, 45, 60, 105, 120]
    assert len(seen) == len(lacking) - FIRST + 1


def _rows(history: History, kept: np.ndarray) -> History:
    return replace(
        history, time=history.time[kept], values=history.values[kept], funding=history.funding[kept],
        final=history.final[kept], cash_rate=history.cash_rate[kept],
    )  # fmt: skip


class Reacts(Asks):
    """Asks for more the more was filled."""

    def decide(self, view: View) -> Orders:
        orders = super().decide(view)
        return Orders.market(orders.quantity + 0.5 * view.fills.quantity + view.fills.fee)


@pytest.mark.parametrize("way", WAYS)
def test_another_process_goes_on_to_the_same_bits(way: str) -> None:
    history = minutes(121, seed=4, volume=0.1)
    orders = lived(working(Reacts(ROWS), way, history)[0], history)
    moved = [working(Reacts(ROWS), way, history)[0]]

    class Moving:
        def decide(self, view: View) -> Orders:
            found = moved[-1].decide(view)
            memory = moved[-1].carried()
            assert memory is not None
            moved.append(working(Reacts(ROWS), way, history)[0])
            moved[-1].carry({name: value.copy() for name, value in memory.items()})
            return found

    assert lived(Moving(), history) == orders


def test_what_the_gate_refuses_or_the_venue_closes_ends_the_parent() -> None:
    history = minutes(61, seed=5)
    views: list[View] = []
    decided(Asks([[0.0]]), history, traded(history), lambda v, o: views.append(v))
    for happened in ("refused", "closed", "opposite"):
        agent = working(Asks([[40.0], [0.0]]), "twap:10m", history)[0]
        sent: list[float] = []
        fills = Fills.none(1)
        for n, v in enumerate(views[:8]):
            orders = agent.decide(replace(v, fills=fills))
            sent.append(float(orders.quantity[0]))
            filled, none = orders.quantity.copy(), np.zeros(1)
            fills = Fills.none(1)._replace(quantity=filled, cancelled=none)
            if n == 3:
                fills = {
                    "refused": Fills.none(1),
                    "closed": fills._replace(forced=np.array([-16.0])),
                    "opposite": fills._replace(quantity=np.array([-12.0])),
                }[happened]
        assert sent[:4] == [4.0] * 4
        assert not any(sent[4:]), happened


def test_a_halt_ends_what_was_worked_and_nothing_goes_on_behind_it() -> None:
    """The risk engine halts in the midst of a parent; what is left of it never fills."""
    history = minutes(61, seed=6)
    values = history.values.copy()
    values[34:, :, :4] *= 0.9
    falling, agent = replace(history, values=values), Asks([[9000.0], [0.0]])
    made, told = working(agent, "twap:15m", falling)
    record = walked(made, falling, replace(traded(falling), limits=Limits(daily_loss=0.01)))
    assert np.flatnonzero(record.fills.quantity[:, 0] > 0.0).tolist() == [1, 2, 3, 4, 5]
    assert np.flatnonzero(record.orders.quantity[:, 0]).tolist()[:7] == [1, 2, 3, 4, 5, 6, 31], "it went on"
    assert record.account.position[-1, 0] == 0.0
    assert told[0].quantity == 9000.0


class Limits30(Asks):
    """Rests a limit far away, or near."""

    def decide(self, view: View) -> Orders:
        super().decide(view)
        return Orders(np.array([30.0]), np.round(view.close[-1] * 0.996, 2), np.array([np.nan]))


def test_an_order_with_a_price_of_its_own_stands_whole_until_the_next_decision() -> None:
    history = minutes(46, seed=8)
    seen: list[tuple[float, float]] = []
    agent, inner = None, Limits30(ROWS)
    agent = working(inner, "twap:10m", history)[0]
    decided(agent, history, traded(history), lambda v, o: seen.append((float(o.quantity[0]), float(o.limit[0]))))
    price = float(np.round(inner.views[0].close[-1, 0] * 0.996, 2))
    standing = [one for one in seen[:15] if one[0]]
    assert standing[0] == (30.0, price)
    assert all(one[1] == price for one in standing)
    assert 1 < len(standing) < 15, "it was to fill after a while"


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_what_rests_follows_the_last_close_never_beyond_it_and_crosses_at_the_end(side: float) -> None:
    history = minutes(46, seed=9)
    values = history.values.copy()
    values[:, 0, :4] = 100.003 * np.exp(side * 1e-3 * np.arange(46))[:, None]  # away from who waits
    away, seen = replace(history, values=values), list[tuple[float, float, float]]()
    agent = working(Asks([[side * 30.0], [0.0]]), "passive:6m", away)[0]
    decided(agent, away, traded(away), lambda v, o: seen.append((o.quantity[0], o.limit[0], v.close[-1, 0])))
    for quantity, limit, close in seen[:5]:
        assert quantity == side * 30.0
        assert 0.0 <= side * (close - limit) < 0.01
    assert seen[5][0] == side * 30.0
    assert np.isnan(seen[5][1])
    assert not any(quantity for quantity, _, _ in seen[6:15])


class Several(Asks):
    """Two orders at once."""

    def decide(self, view: View) -> Orders:
        return Orders.market(np.ones((1, 2)))


def test_several_orders_at_once_and_bars_that_do_not_fit_are_refused() -> None:
    history = minutes(61)
    with pytest.raises(UserError, match="several"):
        walked(working(Several(ROWS), "now", history)[0], history, traded(history))
    for own, fine in ((MINUTE, MINUTE), (OWN, 4 * MINUTE), (MINUTE, HOUR)):
        with pytest.raises(UserError, match="--timeframe"):
            Worked(Asks(ROWS), plan_of("now"), history.instruments, own, fine, WINDOW)


def test_a_whole_order_costs_the_same_on_a_minute_as_on_the_bar_of_which_it_is_one() -> None:
    even = minutes(61, seed=1)
    values = np.broadcast_to([100.0, 100.0, 100.0, 100.0, 400.0], even.values.shape).copy()
    even = replace(even, values=values)
    coarse, ends = coarse_bars(even.values, even.time, OWN)
    own = replace(
        even, bar_ns=OWN, time=ends, values=coarse, funding=np.zeros((len(ends), 1)),
        final=np.zeros((len(ends), 1), dtype=np.bool_), cash_rate=np.zeros(len(ends)),
    )  # fmt: skip
    one = traded(own)
    finer, agent = worked(one, Asks([[9.0]]), traded(even), "now")
    assert agent.window == FIRST
    whole, parts = journal_of(own, one, Asks([[9.0]]), WINDOW), journal_of(even, finer, agent, FIRST)
    first = [record.fills.impact[record.fills.impact[:, 0] > 0.0, 0][0] for record in (whole, parts)]
    assert first[0] == pytest.approx(9.0 * 100.0 * 0.006 * np.sqrt(9.0 / 6000.0))
    assert first[1] == pytest.approx(first[0])


def journal_of(history: History, one: Market, agent: Any, window: int) -> Record:
    return backtest(one, agent, history, Segment(window, len(history)), window)
