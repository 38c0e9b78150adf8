"""Figures of records: published vectors, a second library, hand-made records, and books that must balance."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.agent import View
from qframe_rl.evaluate.metrics import (
    bars_per_year,
    drawdown,
    ledger,
    metrics,
    returns,
    sharpe,
    skew_and_kurtosis,
    sortino,
    tail_ratio,
    unexplained,
)
from qframe_rl.kernel.rules import rules_of
from qframe_rl.runner.backtest import joined
from qframe_rl.types import DAY, HOUR, MINUTE, Account, Fills, Float, Instrument, Orders, Record

from .made import START, Trader, cash_record, market, random_target, returns_record, traded

U6 = np.array([0.01, -0.02, 0.03, 0.005, -0.01, 0.02, -0.005, 0.015])


def test_bars_of_a_year() -> None:
    found = [bars_per_year(cash_record([1.0] * 9, bar_ns)) for bar_ns in (DAY, HOUR, 15 * MINUTE)]
    assert found == [365.0, 8760.0, 35040.0]


def thinned(rate: Float, keep: Float, bar_ns: int) -> Record:
    """A record of which only some bars traded: the returns of the others are part of the next one's."""
    whole = returns_record(rate, bar_ns)
    rows = np.flatnonzero(np.concatenate([[True], keep[:-1], [True]]))
    record = cash_record(whole.account.equity[rows], bar_ns)
    return replace(record, time=whole.time[rows])


@pytest.mark.parametrize("n_days", [1, 5])
def test_a_year_is_a_year_of_the_calendar(n_days: int) -> None:
    """T6: where one minute of five traded, or five days of seven, a year was counted in rows."""
    rng = np.random.default_rng(3)
    n, bar_ns, keep = (
        (200_000, MINUTE, np.arange(200_000) % 5 == 4) if n_days == 1 else (3650, DAY, np.arange(3650) % 7 < 5)
    )
    scale = np.sqrt(bar_ns / (365.0 * DAY))
    rate = 0.6 * scale * rng.standard_normal(n) + 1.2 * scale**2
    whole, some = metrics(returns_record(rate, bar_ns)), metrics(thinned(rate, keep, bar_ns))
    assert some.bars < 0.8 * whole.bars and some.years == whole.years == pytest.approx(n * bar_ns / (365.0 * DAY))
    assert some.annual_return == pytest.approx(whole.annual_return, rel=1e-12)
    assert some.sharpe == pytest.approx(whole.sharpe, rel=0.03)
    assert some.volatility == pytest.approx(whole.volatility, rel=0.03)
    assert some.max_drawdown_days == pytest.approx(whole.max_drawdown_days, rel=0.2)


def test_time_between_pieces_is_no_part_of_their_years() -> None:
    one = returns_record(U6)
    late = replace(one, time=one.time + 100 * DAY)
    whole = joined([one, late])
    assert whole.years == pytest.approx(16 / 365) and bars_per_year(whole) == pytest.approx(365.0)
    assert metrics(whole).sharpe == pytest.approx(sharpe(np.tile(U6, 2), 365.0))
    assert joined([whole, one]).years == pytest.approx(24 / 365), "pieces may overlap"


def test_published_vector() -> None:
    figures = metrics(returns_record(U6))
    assert figures.sharpe == pytest.approx(6.485678, abs=5e-7)
    assert figures.sortino == pytest.approx(13.265826, abs=5e-7)
    assert figures.max_drawdown == pytest.approx(-0.02, abs=1e-12)
    assert (figures.bars, figures.max_drawdown_bars) == (8, 2)
    assert figures.hit_rate == 5 / 8
    assert (figures.best_bar, figures.worst_bar) == (pytest.approx(0.03), pytest.approx(-0.02))
    assert figures.total_return == pytest.approx(np.prod(1 + U6) - 1)
    assert figures.annual_return == pytest.approx(np.prod(1 + U6) ** (365 / 8) - 1)
    assert figures.calmar == pytest.approx(figures.annual_return / 0.02)
    assert figures.years == pytest.approx(8 / 365)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_empyrical(seed: int) -> None:
    empyrical = pytest.importorskip("empyrical")
    rng = np.random.default_rng(seed)
    rate = rng.standard_t(4, 1500) * 0.01 + 5e-4
    series = pd.Series(rate, index=pd.date_range("2020-01-01", periods=1500))
    figures = metrics(returns_record(rate))
    year = {"annualization": 365}
    assert figures.sharpe == pytest.approx(empyrical.sharpe_ratio(series, **year), rel=1e-9)
    assert figures.sortino == pytest.approx(empyrical.sortino_ratio(series, **year), rel=1e-9)
    assert figures.annual_return == pytest.approx(empyrical.annual_return(series, **year), rel=1e-9)
    assert figures.volatility == pytest.approx(empyrical.annual_volatility(series, **year), rel=1e-9)
    assert figures.calmar == pytest.approx(empyrical.calmar_ratio(series, **year), rel=1e-9)
    assert figures.max_drawdown == pytest.approx(empyrical.max_drawdown(series), rel=1e-9)
    assert figures.tail_ratio == pytest.approx(empyrical.tail_ratio(series), rel=1e-9)
    stats = pytest.importorskip("scipy.stats")
    assert figures.skew == pytest.approx(stats.skew(rate), rel=1e-9)
    assert figures.kurtosis == pytest.approx(stats.kurtosis(rate, fisher=False), rel=1e-9)


@pytest.mark.parametrize(
    "record",
    [
        cash_record([100.0]),
        cash_record([100.0, 100.0]),
        cash_record([100.0, 110.0]),
        cash_record([100.0] * 50),
        cash_record([100.0, 0.0]),
        cash_record([100.0, 50.0, 0.0, 0.0, 0.0]),
        cash_record([0.0, 0.0, 0.0]),
        cash_record([1e-50, 1e50, 1e-50]),
        returns_record(np.full(40, 0.01)),
        returns_record(np.full(40, -0.01)),
        returns_record(np.full(3, 0.5), bar_ns=MINUTE),
    ],
)
def test_every_figure_is_finite(record: Record) -> None:
    text = json.dumps(asdict(metrics(record)), allow_nan=False)
    assert json.loads(text)["bars"] == len(record) - 1


def test_degenerate_records_return_what_is_stated() -> None:
    flat = metrics(cash_record([100.0] * 50))
    assert (flat.sharpe, flat.sortino, flat.calmar, flat.tail_ratio, flat.skew, flat.kurtosis) == (0, 0, 0, 0, 0, 3)
    assert (flat.max_drawdown, flat.max_drawdown_bars, flat.hit_rate, flat.annual_return) == (0, 0, 0, 0)
    ruined = metrics(cash_record([100.0, 50.0, 0.0, 0.0]))
    assert (ruined.annual_return, ruined.total_return, ruined.max_drawdown) == (-1, -1, -1)
    assert (ruined.worst_bar, ruined.max_drawdown_bars) == (-1, 3)
    steady = metrics(returns_record(np.full(40, 0.01)))
    assert steady.sharpe == 0.0 and steady.volatility == 0.0 and steady.sortino == 0.0
    assert metrics(returns_record([0.5, 0.5], bar_ns=MINUTE)).annual_return == pytest.approx(1e6, rel=1e-5)


def test_drawdown_length_runs_from_peak_to_recovery() -> None:
    figures = metrics(cash_record([100, 120, 90, 100, 119, 120, 121, 110.0]))
    assert figures.max_drawdown == pytest.approx(-0.25)
    assert figures.max_drawdown_bars == 4
    assert metrics(cash_record([100, 120, 90, 100, 119.0])).max_drawdown_bars == 3
    assert np.array_equal(drawdown(np.array([1.0, 2.0, 1.0, 2.0])), [0, 0, -0.5, 0])


def test_helpers_at_their_edges() -> None:
    none = np.array([])
    assert (sharpe(none, 365), sortino(none, 365), tail_ratio(none)) == (0, 0, 0)
    assert skew_and_kurtosis(none) == (0.0, 3.0)
    assert np.array_equal(returns(np.array([1.0, 0.0, 0.0])), [-1.0, 0.0])


def hand_made() -> Record:
    """Two hourly bars: buy 2 at 100 with costs, then sell 1 at 110 while 1 is closed by force at 108."""
    column = lambda *values: np.array(values, dtype=float)[:, None]  # noqa: E731
    fills = Fills(
        quantity=column(0, 2, -1),
        price=column(0, 101, 109),
        fee=column(0, 0.5, 0.4),
        spread=column(0, 1.5, 0.25),
        impact=column(0, 0.5, 0.75),
        funding=column(0, 0.25, -0.75),
        cancelled=column(0, 0, 0),
        forced=column(0, 0, -1),
        forced_price=column(0, 0, 108),
        absorbed=np.zeros(3),
        interest=np.zeros(3),
    )
    cash = np.array([1000.0, 1000 - 202 - 0.75, 1000 - 202 - 0.75 + 109 + 108 - 0.4 + 0.75])
    account = Account(cash, column(0, 2, 0), column(100, 104, 112))
    instruments = (Instrument("BTC/USDT:USDT", "perpetual"),)
    time = START + HOUR * np.arange(3)
    return Record(instruments, HOUR, time, account, Orders.market(column(0, 2, -1)), fills, np.zeros(3), "")


def test_money_of_a_hand_made_record() -> None:
    record = hand_made()
    figures = metrics(record)
    assert (figures.fees, figures.spread, figures.impact, figures.funding) == pytest.approx((0.9, 1.75, 1.25, -0.5))
    assert figures.costs == pytest.approx(3.4)
    assert (figures.trades, figures.forced_closes) == (2, 1)
    mean_equity = (1000 + 1000 - 202 - 0.75 + 208) / 2
    assert figures.turnover == pytest.approx((202 + 109 + 108) / mean_equity / (2 / 8760))
    assert figures.time_in_market == 0.5
    assert figures.exposure == figures.net_exposure == pytest.approx(208 / 1005.25 / 2)
    # Held 2 from 104 to the sale at 110 (before slippage) and to the forced close at 108; bought at 100.
    assert ledger(record).price == pytest.approx([2 * (104 - 100), (110 - 104) + (108 - 104)])
    assert ledger(record).residual == pytest.approx([0, 0], abs=1e-12)
    total = ledger(record).total()
    assert total.change == pytest.approx(figures.final_equity - figures.initial_equity)


def limits(seed: int) -> Trader:
    """Random limit and stop orders around the mark, long and short."""
    rng = np.random.default_rng(seed)

    def decide(view: View) -> Orders:
        mark = view.account.mark
        size = rng.normal(0.0, 0.6, len(mark)) * view.account.equity / mark
        near = mark * (1.0 + rng.normal(0.0, 0.004, (3, len(mark))))
        kind = rng.integers(0, 3, len(mark))
        return Orders(size, np.where(kind == 1, near[0], np.nan), np.where(kind == 2, near[1], np.nan))

    return Trader(decide)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 3),
    perpetual=st.booleans(),
    volatility=st.sampled_from([0.002, 0.02, 0.1]),
    cash=st.sampled_from([50.0, 1e4, 1e9]),
)
def test_books_balance(seed: int, n: int, perpetual: bool, volatility: float, cash: float) -> None:
    history = market(150, seed, n=n, perpetual=perpetual, volatility=volatility)
    rules = rules_of(
        history.instruments,
        half_spread=3e-4,
        impact=0.01,
        leverage=5.0 if perpetual else 1.0,
        shorting=perpetual,
        liquidation_fee=0.01,
    )
    record = traded(history, limits(seed), rules, cash)
    assert unexplained(record) < 1e-9
    total = ledger(record).total()
    terms = total.price - total.fees - total.slippage - total.funding + total.absorbed
    assert terms == pytest.approx(total.change, abs=1e-9 * float(record.account.equity.max()))
    assert json.dumps(asdict(metrics(record)), allow_nan=False)


def test_liquidations_balance_too() -> None:
    seen = 0
    for seed in range(40):
        history = market(200, seed, perpetual=True, volatility=0.06)
        rules = rules_of(history.instruments, leverage=20.0, shorting=True, liquidation_fee=0.02)
        record = traded(history, random_target(seed, bound=20.0, every=5), rules)
        assert unexplained(record) < 1e-9
        seen += metrics(record).forced_closes
    assert seen > 10


def test_a_cooked_book_shows() -> None:
    record = traded(market(100, 0), random_target(0))
    account, fills = record.account, record.fills
    bump = np.zeros(len(record))
    bump[50:] = 1.0
    assert unexplained(replace(record, account=account._replace(cash=account.cash + bump))) > 1e-5
    moved = account._replace(position=account.position + 0.01 * bump[:, None])
    assert unexplained(replace(record, account=moved)) > 1e-5
    assert unexplained(replace(record, fills=fills._replace(fee=fills.fee * 0.5))) > 1e-5
    assert unexplained(record) < 1e-12


def test_costs_only_ever_cost() -> None:
    """U5: for a fixed list of trades, profit falls with the fee, and by the same amount for each step of it."""
    history = market(400, 3, perpetual=True)
    plain = tuple(replace(i, taker_fee=0.0) for i in history.instruments)
    agent = lambda: Trader(lambda view: Orders.market(np.array([(-1.0) ** (view.time // HOUR)])))  # noqa: E731
    finals: list[float] = []
    for fee in (0.0, 1e-3, 2e-3):
        instruments = tuple(replace(i, taker_fee=fee) for i in plain)
        rules = rules_of(instruments, leverage=3.0, shorting=True)
        finals.append(metrics(traded(history, agent(), rules)).final_equity)
    assert finals[0] > finals[1] > finals[2]
    assert finals[0] - finals[1] == pytest.approx(finals[1] - finals[2], rel=1e-9)


def gross_and_net(seed: int, n_bars: int) -> tuple[float, float]:
    history = market(n_bars, seed, volatility=0.005, perpetual=True)
    history = replace(history, funding=np.zeros_like(history.funding))
    free = tuple(replace(i, taker_fee=0.0, maker_fee=0.0, lot=0.0) for i in history.instruments)
    gross = rules_of(free, leverage=3.0, shorting=True)
    net = rules_of(tuple(replace(i, taker_fee=5e-4) for i in free), half_spread=1e-4, leverage=3.0, shorting=True)
    ratios: list[float] = []
    for rules in (gross, net):
        rng = np.random.default_rng(seed)
        side = rng.choice([-1.0, 1.0], n_bars)
        target = iter(side)

        def decide(view: View, target: "object" = target) -> Orders:
            share: Float = np.array([next(target)])  # type: ignore[call-overload]
            return Orders.market(share * view.account.equity / view.account.mark - view.account.position)

        ratios.append(metrics(traded(history, Trader(decide), rules)).sharpe)
    return ratios[0], ratios[1]


@pytest.mark.long
def test_luck_looks_like_luck() -> None:
    """U3: on driftless GBM the Sharpe ratio of random positions lies in ±2/sqrt(years) for 95 % of seeds."""
    n_bars = 500
    ratios = np.array([gross_and_net(seed, n_bars) for seed in range(200)])
    bound = 2.0 / math.sqrt(n_bars / 8760)
    inside = np.mean(np.abs(ratios[:, 0]) < bound)
    assert 0.91 <= inside <= 0.99
    assert (ratios[:, 1] <= ratios[:, 0]).all()
