"""What the risk engine must never let through, and the states it can be in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.interface import rebalance
from qframe_rl.kernel.columns import EQUITY, MARK, POSITION, QUANTITY, opened
from qframe_rl.kernel.rules import rules_of, sizes_of
from qframe_rl.listeners import Journal
from qframe_rl.risk import engine as engine_module
from qframe_rl.risk.columns import watch_of
from qframe_rl.risk.engine import Conditions, RiskEngine, State, ready
from qframe_rl.risk.limits import Limits
from qframe_rl.risk.rows import closing_part, judge_rows
from qframe_rl.session import Session, run
from qframe_rl.types import HOUR, MINUTE, PER_INSTRUMENT, SECOND, Account, Fills, History, Instrument, Orders, Segment
from qframe_rl.venues.guarded import GuardedVenue
from qframe_rl.venues.simulated import SimulatedVenue
from tests.markets import panel, prices

COINS = (
    Instrument("A/USDT:USDT", "perpetual", lot=0.001, tick=0.1, min_notional=5.0),
    Instrument("B/USDT:USDT", "perpetual", lot=0.1, tick=0.01, min_notional=5.0),
)
SIZES = hnp.arrays(np.float64, (3, 2), elements=st.floats(-50.0, 50.0))
MARKS = hnp.arrays(np.float64, (3, 2), elements=st.floats(0.5, 2_000.0))
CASH = hnp.arrays(np.float64, 3, elements=st.floats(-1e4, 1e5))
MAYBE = st.none() | st.floats(1.0, 1e5)


def fills(quantity: list[float]) -> Fills:
    zero = np.zeros(2)
    return Fills(np.array(quantity), *(zero for _ in PER_INSTRUMENT[1:]), np.zeros(()), np.zeros(()))


def account(cash: float = 10_000.0, position: tuple[float, float] = (0.0, 0.0)) -> Account:
    return Account(np.array(cash), np.array(position), np.array([100.0, 10.0]))


def buy(a: float, b: float = 0.0) -> Orders:
    return Orders.market(np.array([a, b]))


def capped(quantity: np.ndarray, held: Account, limits: Limits) -> np.ndarray:
    """(B, A) what the limits leave of market orders of (B, A), decided at once."""
    b, a = quantity.shape
    money, holding, asked = opened(0.0, b), np.empty((b, a, 2)), np.full((b, a, 3), np.nan)
    money[:, EQUITY], holding[..., POSITION], holding[..., MARK] = held.equity, held.position, held.mark
    asked[..., QUANTITY] = quantity
    watch = watch_of(limits, sizes_of(COINS), b)
    judge_rows(asked, money, holding, np.zeros(1, np.int64), np.zeros(b, np.int64), np.ones(b, np.bool_), watch)
    return watch.orders[..., QUANTITY]


def filtered(orders: Orders, held: Account) -> Orders:
    return RiskEngine(Limits(filters=True), COINS).check(0, orders, held, Conditions()).orders


@given(SIZES, SIZES, MARKS, CASH, MAYBE, MAYBE, MAYBE, st.none() | st.floats(0.1, 10.0))
def test_caps_hold_for_any_orders(
    quantity: np.ndarray, position: np.ndarray, mark: np.ndarray, cash: np.ndarray,
    order: float | None, one: float | None, gross: float | None, leverage: float | None,
) -> None:  # fmt: skip
    limits = Limits(max_order=order, max_position=one, max_gross=gross, max_leverage=leverage)
    held = Account(cash, position, mark)
    out = capped(quantity, held, limits)
    assert (np.abs(out) <= np.abs(quantity)).all()
    assert (out * quantity >= 0.0).all()
    after, eps = position + out, 1.0 + 1e-9
    if order is not None:
        assert (np.abs(out) * mark <= order * eps).all()
    grown = np.abs(after) > np.abs(position) * eps
    if one is not None:
        assert (np.abs(after) * mark <= np.maximum(one, np.abs(position) * mark) * eps).all()
    total, before = (np.abs(after) * mark).sum(-1), (np.abs(position) * mark).sum(-1)
    bound = np.full(3, np.inf)
    if gross is not None:
        bound = np.minimum(bound, gross)
    if leverage is not None:
        bound = np.minimum(bound, leverage * np.maximum(held.equity, 0.0))
    assert ((total <= bound * eps + 1e-9) | (total <= before * eps + 1e-9)).all()
    for b in range(3):
        single = Account(cash[b], position[b], mark[b])
        verdict = RiskEngine(limits, COINS).check(0, Orders.market(quantity[b]), single, Conditions())
        assert np.array_equal(verdict.orders.quantity, out[b])
    if not limits.binding:
        assert np.array_equal(out, quantity)
    assert grown.shape == out.shape


@given(SIZES, SIZES)
def test_a_closing_part_never_opens(quantity: np.ndarray, position: np.ndarray) -> None:
    pairs = zip(quantity.ravel().tolist(), position.ravel().tolist(), strict=True)
    closing = np.array([closing_part(*pair) for pair in pairs]).reshape(quantity.shape)
    assert (np.abs(position + closing) <= np.abs(position)).all()
    assert ((position + closing) * position >= 0.0).all()
    assert (np.abs(closing) <= np.abs(quantity)).all()


@given(
    hnp.arrays(np.float64, 2, elements=st.floats(-50.0, 50.0)), hnp.arrays(np.int64, 2, elements=st.integers(-50, 50))
)
def test_filters_leave_whole_lots_above_the_minimum(quantity: np.ndarray, lots_held: np.ndarray) -> None:
    """Of contracts whole lots are held: fills are, and nothing else moves a position."""
    position = lots_held * np.array([coin.lot for coin in COINS])
    held = account(position=(float(position[0]), float(position[1])))
    out = filtered(Orders.market(quantity), held).quantity
    for q, asked, have, mark, coin in zip(out, quantity, position, held.mark, COINS, strict=True):
        lots = abs(q) / coin.lot
        closes = q * have < 0.0 and abs(q) <= abs(have)
        assert abs(lots - round(lots)) < 1e-6
        assert q == 0.0 or closes or abs(q) * mark >= coin.min_notional * (1.0 - 1e-12)
        assert abs(q) <= abs(asked) * (1 + 1e-9)
    again = filtered(Orders.market(out), held).quantity
    assert np.allclose(again, out)


def test_a_limit_price_is_rounded_to_the_passive_side() -> None:
    orders = Orders(np.array([1.0, -1.0]), np.array([99.97, 10.013]), np.full(2, np.nan))
    out = filtered(orders, account())
    assert out.limit == pytest.approx([99.9, 10.02])


def test_the_collar_refuses_prices_from_elsewhere() -> None:
    engine = RiskEngine(Limits(collar=0.05), COINS)
    orders = Orders(np.array([1.0, 1.0]), np.array([94.0, 9.9]), np.full(2, np.nan))
    verdict = engine.check(0, orders, account(), Conditions())
    assert verdict.orders.quantity.tolist() == [0.0, 1.0]
    assert verdict.reasons == ("collar: A/USDT:USDT",)
    verdict = engine.check(0, buy(1.0, 1.0), account(), Conditions(mid=np.array([100.0, 12.0])))
    assert verdict.orders.quantity.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("now", [Conditions(late_ns=61 * SECOND), Conditions(skew_ns=-3 * SECOND)])
def test_late_bars_and_wrong_clocks_only_close(now: Conditions) -> None:
    engine = RiskEngine(Limits(stale_s=60.0, max_skew_s=2.0), COINS)
    assert engine.check(0, buy(1.0), account(), Conditions(60 * SECOND, 2 * SECOND)).orders.quantity[0] == 1.0
    held = account(position=(-0.4, 0.0))
    verdict = engine.check(0, buy(1.0, 1.0), held, now)
    assert verdict.orders.quantity.tolist() == [0.4, 0.0]
    assert engine.state is State.ACTIVE


def test_the_order_rate_is_of_an_hour_and_never_stops_a_close() -> None:
    engine = RiskEngine(Limits(max_orders_per_hour=3), COINS)
    held = account(position=(0.0, 2.0))
    assert engine.check(0, buy(1.0, 1.0), held, Conditions()).orders.quantity.tolist() == [1.0, 1.0]
    verdict = engine.check(HOUR // 2, buy(1.0, 1.0), held, Conditions())
    assert verdict.orders.quantity.tolist() == [1.0, 0.0]
    assert engine.check(HOUR // 2 + 1, buy(1.0, -3.0), held, Conditions()).orders.quantity.tolist() == [0.0, -2.0]
    assert engine.check(2 * HOUR, buy(1.0, 1.0), held, Conditions()).orders.quantity.tolist() == [1.0, 1.0]


def test_an_engine_that_takes_over_another_ones_memory_goes_on_as_that_would() -> None:
    limits = Limits(max_orders_per_hour=6, daily_loss=0.1, max_rejects=30, on_loss="REDUCE_ONLY")
    one, rng, states = RiskEngine(limits, COINS), np.random.default_rng(0), set()
    one.begin(0, account())
    for k in range(4_200):
        if k % 600 == 0:
            two = RiskEngine(Limits(), COINS)
            two.carry(json.loads(json.dumps(one.carried())))
            assert two.carried() == one.carried()
        if k % 500 == 400:
            assert one.command("resume") == two.command("resume")
        time, orders, held = (
            10 * MINUTE * k,
            buy(*rng.integers(-1, 2, 2)),
            account(cash=float(rng.uniform(8_990.0, 1e4))),
        )
        left = [engine.check(time, orders, held, Conditions()) for engine in (one, two)]
        assert left[0].reasons == left[1].reasons
        assert np.array_equal(left[0].orders.quantity, left[1].orders.quantity)
        why = [engine.settled(time + 10 * MINUTE, held, orders, fills([0.0, 0.0])) for engine in (one, two)]
        assert why[0] == why[1]
        states.add(one.state)
    assert two.carried() == one.carried()
    assert states >= {State.ACTIVE, State.HALTED}


@pytest.mark.parametrize("rule", ["daily_loss", "max_drawdown"])
@pytest.mark.parametrize("then", ["REDUCE_ONLY", "FLATTEN", "HALTED"])
def test_losses_count_what_is_not_realised(rule: str, then: str) -> None:
    engine = RiskEngine(Limits(**{rule: 0.1, "on_loss": then}), COINS)
    engine.begin(0, account())
    under_water = account(cash=18_999.0, position=(-100.0, 0.0))
    reasons = engine.settled(HOUR, under_water, buy(0.0), fills([0.0, 0.0]))
    assert engine.state == then
    assert rule in reasons[0]
    verdict = engine.check(HOUR, buy(-5.0, 3.0), under_water, Conditions())
    expected = {"REDUCE_ONLY": [0.0, 0.0], "FLATTEN": [100.0, 0.0], "HALTED": [0.0, 0.0]}[then]
    assert verdict.orders.quantity.tolist() == expected
    assert engine.settled(2 * HOUR, under_water, verdict.orders, fills([0.0, 0.0])) == ()
    reasons = engine.settled(3 * HOUR, account(cash=8_999.0), verdict.orders, fills([100.0, 0.0]))
    assert engine.state == ("HALTED" if then == "FLATTEN" else then)
    engine.command("resume")
    assert engine.state is State.ACTIVE
    assert engine.settled(4 * HOUR, account(cash=8_999.0), buy(0.0), fills([0.0, 0.0])) == ()


def test_of_nothing_nothing_is_lost_and_the_first_money_there_is_is_the_first_of_the_day() -> None:
    engine = RiskEngine(Limits(daily_loss=0.1, max_drawdown=0.5, on_loss="HALTED"), COINS)
    engine.begin(0, account(cash=0.0))
    for hour, cash, trips in ((1, 0.0, 0), (2, 10_000.0, 0), (3, 9_001.0, 0), (4, 9_000.0, 1)):
        assert len(engine.settled(hour * HOUR, account(cash=cash), buy(0.0), fills([0.0, 0.0]))) == trips
    assert engine.state is State.HALTED


def test_a_new_day_forgives_the_daily_loss_but_not_the_drawdown() -> None:
    engine = RiskEngine(Limits(daily_loss=0.1, max_drawdown=0.15, on_loss="HALTED"), COINS)
    engine.begin(0, account())
    assert engine.settled(23 * HOUR, account(cash=9_100.0), buy(0.0), fills([0.0, 0.0])) == ()
    assert engine.settled(24 * HOUR, account(cash=9_050.0), buy(0.0), fills([0.0, 0.0])) == ()
    assert engine.settled(25 * HOUR, account(cash=8_600.0), buy(0.0), fills([0.0, 0.0])) == ()
    assert "max_drawdown" in engine.settled(26 * HOUR, account(cash=8_500.0), buy(0.0), fills([0.0, 0.0]))[0]


def test_what_is_too_small_to_be_sold_does_not_keep_an_engine_from_halting() -> None:
    ended = {}
    for exempt in (False, True):
        coins = COINS if exempt else tuple(replace(coin, kind="spot") for coin in COINS)
        engine = RiskEngine(Limits(), coins)
        engine.begin(0, account())
        engine.command("flatten")
        for k, position in enumerate([(1.0, 0.0), (0.04, 0.3), (0.0004, 0.09)]):
            reasons = engine.settled(k * HOUR, account(position=position), buy(0.0), fills([0.0, 0.0]))
            if engine.state is State.HALTED:
                ended[exempt] = k
                assert reasons == ("FLATTEN: every position is closed, but for what is too small to be sold",)
                break
    assert ended == {False: 1, True: 2}


def test_rejects_in_a_row_halt_but_resting_orders_are_no_rejects() -> None:
    engine = RiskEngine(Limits(max_rejects=3), COINS)
    engine.begin(0, account())
    rests = Orders(np.array([1.0, 0.0]), np.array([90.0, np.nan]), np.full(2, np.nan))
    for k in range(9):
        assert engine.settled(k, account(), rests, fills([0.0, 0.0])) == ()
    assert engine.settled(10, account(), buy(1.0), fills([0.0, 0.0])) == ()
    assert engine.settled(11, account(), buy(1.0), fills([0.5, 0.0])) == ()
    assert engine.settled(12, account(), buy(1.0, 1.0), fills([0.0, 0.0])) == ()
    assert "max_rejects" in engine.settled(13, account(), buy(1.0), fills([0.0, 0.0]))[0]
    assert engine.state is State.HALTED


def test_rejects_end_no_flatten() -> None:
    """A market without volume for some bars: what is held is sold when there is some again."""
    engine = RiskEngine(Limits(max_rejects=2, max_drawdown=0.1), COINS)
    engine.begin(0, account())
    held, lost = account(position=(1.0, 0.0)), account(cash=8_000.0, position=(1.0, 0.0))
    assert engine.settled(1, held, buy(1.0), fills([0.0, 0.0])) == ()
    assert "max_drawdown" in engine.settled(2, lost, buy(1.0), fills([0.0, 0.0]))[0]
    for k in range(3, 9):
        assert engine.settled(k, lost, buy(-1.0), fills([0.0, 0.0])) == ()
        assert engine.state is State.FLATTEN
    assert engine.settled(9, account(cash=8_000.0), buy(-1.0), fills([-1.0, 0.0]))
    assert engine.state is State.HALTED


def test_commands() -> None:
    engine = RiskEngine(Limits(), COINS)
    for word, state in [
        ("reduce", "REDUCE_ONLY"),
        ("halt", "HALTED"),
        ("reduce", "HALTED"),
        ("flatten", "FLATTEN"),
        ("resume", "ACTIVE"),
    ]:
        assert engine.command(word) == state
    with pytest.raises(UserError, match="unknown command 'stop'; known: halt, flatten, reduce, resume"):
        engine.command("stop")


class Wild:
    """Wants far too much, in a random direction."""

    window = 5

    def decide(self, view: View) -> Orders:
        rng = np.random.default_rng(view.time % 2**32)
        return rebalance(view, rng.uniform(-3.0, 3.0, len(view.account.position)))


def guarded(history: History, limits: Limits) -> tuple[GuardedVenue, Journal]:
    rules = rules_of(history.instruments, shorting=True, leverage=3.0, half_spread=1e-4)
    venue = GuardedVenue(SimulatedVenue(rules, 10_000.0), RiskEngine(limits, history.instruments))
    journal = Journal(history.instruments, history.bar_ns)
    run(Session(HistoryFeed(history, Segment(5, len(history)), 5), venue, 5, journal), Wild())
    return venue, journal


def test_in_a_backtest_leverage_stays_under_the_limit_at_each_decision() -> None:
    history = panel(400, 2, ragged=False)
    venue, journal = guarded(history, Limits(max_leverage=0.5))
    record = journal.record()
    traded = record.fills.quantity != 0.0
    gross = np.abs(record.account.exposure).sum(-1)
    assert traded.any()
    assert np.median(gross[traded.any(-1)]) < 0.55
    assert venue.engine.state is State.ACTIVE


def test_without_limits_a_guarded_venue_changes_no_bit() -> None:
    history = panel(300, 2)
    rules = rules_of(history.instruments, shorting=True, leverage=3.0, half_spread=1e-4)
    plain = Journal(history.instruments, history.bar_ns)
    run(Session(HistoryFeed(history, Segment(5, 300), 5), SimulatedVenue(rules, 10_000.0), 5, plain), Wild())
    assert guarded(history, Limits())[1].digest == plain.digest


def test_a_falling_market_is_left_at_the_drawdown_limit() -> None:
    history = prices(100.0 * 0.995 ** np.arange(200))

    class Long:
        window = 5

        def decide(self, view: View) -> Orders:
            return rebalance(view, np.array([1.0]), band=0.05)

    rules = rules_of(history.instruments, shorting=True, leverage=1.0)
    venue = GuardedVenue(SimulatedVenue(rules, 10_000.0), RiskEngine(Limits(max_drawdown=0.1), history.instruments))
    journal = Journal(history.instruments, history.bar_ns)
    run(Session(HistoryFeed(history, Segment(5, 200), 5), venue, 5, journal), Long())
    equity = journal.record().account.equity
    assert 0.88 * 10_000 < equity[-1] < 0.9 * 10_000
    assert venue.engine.state is State.HALTED
    assert [state for _, state, _ in venue.trips] == ["FLATTEN", "HALTED"]
    assert not venue.account.position.any()


def test_a_session_has_its_engine_compiled_before_a_kill_switch_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for name in ("begin_rows", "judge_rows", "watch_rows"):
        whole = getattr(engine_module, name)
        monkeypatch.setattr(engine_module, name, lambda *given, n=name, f=whole: ran.append(n) or f(*given))
    ready((Instrument("A/USDT"), Instrument("B/USDT")))
    assert ran == ["begin_rows", "judge_rows", "watch_rows"]


@pytest.mark.parametrize(("later", "sent"), [(HOUR, 1.0), (HOUR - 1, 0.0)])
def test_an_order_counts_for_an_hour_and_no_longer(later: int, sent: float) -> None:
    engine = RiskEngine(Limits(max_orders_per_hour=1), (Instrument("A/USDT"),))
    account, orders = Account(np.array(1e4), np.zeros(1), np.ones(1)), Orders.market(np.ones(1))
    engine.begin(0, account)
    engine.check(0, orders, account, Conditions())
    assert engine.check(later, orders, account, Conditions()).orders.quantity[0] == sent
