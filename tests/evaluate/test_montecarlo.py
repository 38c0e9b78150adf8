"""Resampled returns, rebuilt prices, shuffled trades, null models, and the bar that is a whole backtest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import blocks
from qframe_rl.evaluate.metrics import drawdown, returns, sharpe
from qframe_rl.evaluate.montecarlo.influence import influences
from qframe_rl.evaluate.montecarlo.periods import by_crisis, by_regime, by_year
from qframe_rl.evaluate.montecarlo.prices import (
    NULLS,
    fit_garch,
    moves_of,
    null_model,
    rebuilt,
    resampled,
    sign_flipped,
    usual_block,
)
from qframe_rl.evaluate.montecarlo.summary import Paths, curve_of
from qframe_rl.evaluate.montecarlo.trades import shuffled, trades_of
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.quality import quarantine
from qframe_rl.types import CLOSE, DAY, VOLUME, History, Orders
from tests.evaluate.made import START, Trader, market, random_target, returns_record, traded
from tests.markets import panel, prices


def test_blocks_are_runs_of_geometric_length() -> None:
    rows = blocks(1000, 200_000, 20.0, 0, 0)
    assert rows.min() >= 0
    assert rows.max() == 999
    joints = np.count_nonzero((np.diff(rows) != 1) & (np.diff(rows) != -999))
    assert joints == pytest.approx(200_000 / 20, rel=0.05)
    assert np.array_equal(rows[:500], blocks(1000, 500, 20.0, 0, 0))
    assert not np.array_equal(rows[:500], blocks(1000, 500, 20.0, 0, 1))


@pytest.mark.parametrize("kind", ["spot", "perpetual"])
def test_the_same_rows_rebuild_the_same_bars(kind: str) -> None:
    history = panel(300, 3, seed=4, kind=kind, ragged=False)
    moves = moves_of(history)
    again = rebuilt(moves, np.arange(300), moves.logs, "the same")
    assert np.allclose(again.values, history.values, rtol=1e-12)
    assert np.allclose(again.funding, history.funding, rtol=1e-9, atol=1e-15)
    assert again.source.environment == "synthetic"


def test_rebuilt_bars_are_bars_and_their_returns_are_those_that_were() -> None:
    history = panel(500, 3, seed=2)
    moves = moves_of(history)
    path = resampled(moves, 800, 30.0, 1, 7)
    checked(path)
    rows = blocks(500, 800, 30.0, 1, 7)
    got = np.diff(np.log(path.marks), axis=0)
    want = moves.close[rows][1:]
    seen = ~np.isnan(got)
    assert np.allclose(got[seen], want[seen], atol=1e-9)
    assert np.array_equal(np.isnan(path.values[:, :, CLOSE]), np.isnan(history.values[rows][:, :, CLOSE]))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_no_price_row_is_ever_put_elsewhere(seed: int) -> None:
    """A rebuilt path has no move that the bars did not make: resampled price rows would leap at every joint."""
    history = market(400, 3, volatility=0.02, drift=0.01)
    moves = moves_of(history)
    path = resampled(moves, 400, 5.0, seed, 0)
    made = np.abs(np.diff(np.log(path.values[:, 0, CLOSE])))
    assert made.max() <= np.abs(moves.close).max() + 1e-9
    leaps = np.abs(np.diff(np.log(history.values[blocks(400, 400, 5.0, seed, 0), 0, CLOSE])))
    assert leaps.max() > 5.0 * made.max()


def clustered(n: int = 20_000) -> History:
    """Returns with a planted GARCH(1, 1): 2e-6, .08, .9, a standard deviation of .01 and a drift."""
    rng = np.random.default_rng(0)
    variance, rate = 1e-4, np.empty(n)
    for t in range(n):
        rate[t] = np.sqrt(variance) * rng.standard_normal()
        variance = 2e-6 + 0.08 * rate[t] ** 2 + 0.9 * variance
    return prices(100.0 * np.exp(np.cumsum(rate + 2e-4)))


@pytest.mark.parametrize("name", list(NULLS))
def test_null_models_have_the_volatility_and_no_drift(name: str) -> None:
    history = clustered(6000) if name == "garch" else market(6000, 1, n=2, volatility=0.01, drift=0.002)
    moves = moves_of(history)
    make = null_model(name, moves, 6000, 20.0, 3)
    ends = []
    for path in range(12):
        bars = make(path)
        checked(bars)
        rate = np.diff(bars.values[:, :, CLOSE], axis=0) / bars.values[:-1, :, CLOSE]
        assert np.allclose(rate.std(axis=0), 0.01, rtol=0.3)
        ends.append(rate.mean(axis=0) / rate.std(axis=0))
    assert abs(np.mean(ends)) < 4.0 * 0.013 / np.sqrt(12)
    assert np.array_equal(make(3).values, make(3).values)


def test_null_models_of_coins_that_never_traded_together_are_refused() -> None:
    """As one that came back as another under its ticker: its second life begins where the first has ended."""
    history = market(400, 1, n=2)
    values = history.values.copy()
    values[200:, 0] = values[:200, 1] = np.nan
    moves = moves_of(replace(history, values=values))
    for name in ("gbm", "garch"):
        with pytest.raises(UserError, match=f"in no bar did all of .* trade, so {name} has no shape"):
            null_model(name, moves, 100, 5.0, 0)
    checked(null_model("sign_flip", moves, 100, 5.0, 0)(0))


def test_garch_finds_what_was_planted() -> None:
    (fit,) = fit_garch(moves_of(clustered()))
    assert (fit.alpha, fit.beta) == pytest.approx((0.08, 0.9), abs=0.02)
    assert fit.omega == pytest.approx(2e-6, rel=0.4)


def test_a_turned_bar_mirrors_its_range() -> None:
    history = market(200, 5, volatility=0.01)
    path = sign_flipped(moves_of(history), 200, 10.0, 0, 0)
    assert (path.values[:, 0, 1] >= path.values[:, 0, 3]).all()
    assert (path.values[:, 0, 2] <= path.values[:, 0, 0]).all()


def test_blocks_are_at_least_what_is_asked_for() -> None:
    moves = moves_of(market(2000, 0))
    assert usual_block(moves, 500) == 500.0
    assert usual_block(moves) >= 2000 ** (1 / 3) - 1e-9


@pytest.mark.parametrize("n", [1, 3])
def test_trades_make_up_the_record_and_their_order_changes_the_way_only(n: int) -> None:
    record = traded(market(800, 3, n=n, volatility=0.02), random_target(1, every=9))
    parts = trades_of(record)
    rate = returns(record.account.equity)
    assert parts.start[0] == 0 and parts.stop[-1] == len(rate)
    assert np.array_equal(parts.start[1:], parts.stop[:-1])
    total = record.account.equity[-1] / record.account.equity[0]
    assert np.prod(1.0 + parts.rate) == pytest.approx(total, rel=1e-12)
    curves = np.stack(list(shuffled(record, 50, 0)))
    assert np.allclose(curves[:, -1], total, rtol=1e-10)
    assert np.ptp([drawdown(curve).min() for curve in curves]) > 0.0
    alone = returns_record(np.empty(0))
    assert len(trades_of(alone).start) == 0
    assert [curve.tolist() for curve in shuffled(alone, 2, 0)] == [[1.0], [1.0]]


def test_a_round_trip_is_one_trade_with_its_costs() -> None:
    turns = iter([0.0] * 20 + [0.5] * 30 + [0.0] * 40 + [0.5] * 50 + [-0.5] * 200)

    def decide(view: View) -> Orders:
        return Orders.market(next(turns) * view.account.equity / view.account.mark - view.account.position)

    record = traded(market(200, 3, volatility=0.001), Trader(decide))
    parts = trades_of(record)
    assert parts.held.tolist() == [0, 1, 0, 1, 1]
    assert (parts.stop - parts.start)[1:4].tolist() == [31, 39, 51]
    assert parts.rate[parts.held == 0] == pytest.approx(0.0, abs=1e-15)


def test_paths_are_summed_up_and_held_against_the_record() -> None:
    rng = np.random.default_rng(0)
    rates = rng.normal(1e-4, 0.01, (200, 500))
    real = curve_of(rates[0])
    paths = Paths(8760.0, real).add_all(curve_of(rate) for rate in rates)
    spread = paths.spread("sharpe")
    assert spread.real == pytest.approx(sharpe(rates[0], 8760.0))
    assert spread.low < spread.median < spread.high
    assert spread.reached == np.mean([sharpe(rate, 8760.0) >= spread.real - 1e-12 for rate in rates])
    plain = paths.describe()
    assert plain["paths"] == 200
    assert sum(plain["histogram"]["counts"]) == 200
    assert len(plain["fan"]["quantiles"]) == 5
    assert plain["fan"]["quantiles"][2][0] == 1.0
    assert (np.diff(np.array(plain["fan"]["quantiles"]), axis=0) >= 0.0).all()


def claim(factor: float = 1.95, row: int = 640) -> tuple[np.ndarray, np.ndarray]:
    """A thousand hours of a market that goes nowhere, without and with one bad print."""
    rng = np.random.default_rng(56)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0005, 1000)))
    close *= 1.0 - 0.005 * np.linspace(0, 1, 1000)
    bad = close.copy()
    bad[row] *= factor
    return close, bad


def test_the_claim_of_56_percent_is_one_bad_bar_and_is_reported_as_such() -> None:
    """ALGORITHMS 0: one bar times 1.95 in a thousand made "56.5 % return, Sharpe 2.254".

    Resampling price rows makes that figure from a flat market; our Monte Carlo names the bar and says that the result
    rests on it, and the data check lists it before anything is traded.
    """
    close, bad = claim(row=999)
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.integers(0, 1000, 1000)) for _ in range(200)]
    made = np.array([bad[r][-1] / bad[r][0] - 1.0 for r in rows])
    assert made.mean() == pytest.approx(0.6, abs=0.12)
    assert made.std() > 0.35

    rate = np.diff(bad) / bad[:-1]
    (first, *rest) = influences(rate, 8760.0)
    assert first.row == 998
    assert first.decides
    assert not any(one.decides for one in rest)
    assert np.prod(1.0 + rate) - 1.0 > 0.9
    assert first.total_without == pytest.approx(close[998] / close[0] - 1.0, abs=1e-12)
    assert abs(first.total_without) < 0.05
    assert not any(one.decides for one in influences(np.diff(close) / close[:-1], 8760.0))


@pytest.mark.parametrize("row", [0, 999])
def test_a_bad_print_at_an_edge_is_listed_and_kept(row: int) -> None:
    """U8: it may be a market that moved before the data begin or after they end, so nothing is taken out."""
    clean = prices(claim()[0], kind="spot")
    values = clean.values.copy()
    values[row, :, :4] *= 1.95
    kept = quarantine(replace(clean, values=values))
    assert [(s.time, s.quarantined) for s in kept.suspects] == [(clean.time[row], False)]
    assert np.array_equal(kept.values, values)


@pytest.mark.parametrize("row", [3, 500, 998])
def test_a_quarantined_bar_moves_no_statistic_by_more_than_its_error(row: int) -> None:
    """U8: a print without a trade is taken out, and what is reported is what the clean market gives."""
    clean = prices(claim()[0], kind="spot")
    values = clean.values.copy()
    values[row, :, :4] *= 1.95
    values[row, :, VOLUME] = 0.0
    mended = quarantine(replace(clean, values=values))
    assert [s.time for s in mended.suspects if s.quarantined] == [clean.time[row]]
    rates = [np.diff(h.values[:, 0, CLOSE]) / h.values[:-1, 0, CLOSE] for h in (clean, quarantine(clean), mended)]
    assert np.array_equal(rates[0], rates[1])
    error = np.sqrt(8760.0 / 1000.0)
    assert sharpe(rates[2], 8760.0) == pytest.approx(sharpe(rates[0], 8760.0), abs=0.1 * error)
    ends = [np.prod(1.0 + rate) for rate in rates]
    assert ends[2] == pytest.approx(ends[0], abs=0.1 * rates[0].std() * np.sqrt(1000))


def test_years_crises_and_regimes_cover_what_they_say() -> None:
    n = 4 * 365
    rng = np.random.default_rng(1)
    move = rng.normal(0.0, np.where(np.arange(n) % 300 < 150, 0.01, 0.04))
    record = returns_record(move, DAY)
    history = panel(n, 1, ragged=False, kind="spot")
    history = type(history)(
        history.instruments, DAY, START + DAY * np.arange(1, n + 1), history.values, history.funding, history.final,
        history.source, history.columns,
    )  # fmt: skip
    years = by_year(record)
    assert [cell.name for cell in years] == ["2020", "2021", "2022", "2023"]
    assert sum(cell.bars for cell in years) == n
    assert np.prod([1.0 + cell.total_return for cell in years]) == pytest.approx(np.prod(1.0 + move), rel=1e-9)
    crises = by_crisis(record)
    assert [cell.name[:7] for cell in crises] == ["2020-03", "2021-05", "2022-05", "2022-11"]
    assert crises[0].bars == 14
    cells = by_regime(record, history)
    assert len(cells) == 6
    assert sum(cell.bars for cell in cells) == n - 201
    assert not any(cell.stands_out for cell in cells)
    alone = by_year(returns_record(move[: 366 + 1], DAY))[-1]
    assert (alone.bars, alone.stands_out) == (1, False)
    assert alone.total_return == pytest.approx(move[366]), "a bar that is alone in its year earned what it earned"
