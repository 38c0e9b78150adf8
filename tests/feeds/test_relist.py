"""A coin that came back as another one under its old ticker is another instrument, unless a ratio is stated."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.quality import describe, quarantine
from qframe_rl.feeds.relist import relisted
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import CLOSE, DAY, HOUR, OPEN, VOLUME, History, Segment, iso
from tests.contracts.test_agents import make
from tests.feeds.test_quality import real
from tests.markets import START, panel, prices

DATA = os.environ.get("QFRAME_DATA")
HALT = 18 * 24
"""Hours in which nothing trades."""


def fallen(
    n: int = 600, back: float = 20_000.0, *, halt: int = HALT, kind: str = "spot", seed: int = 0, fall: float = 0.05
) -> History:
    """A coin that falls to nothing within two days, halts, and trades on at ``back`` times its last price."""
    rng = np.random.default_rng(seed)
    move = 0.006 * rng.standard_normal(2 * n)
    move[n - 48 : n] -= 12.0 / 48.0
    move[n - 48 : n] += fall * rng.standard_normal(48)
    close = 80.0 * np.exp(np.cumsum(move))
    close[n:] *= back
    made = prices(close, volume=1e12, kind=kind, lot=0.0, tick=0.0)
    values = made.values.copy()
    values[n, 0, :4] = close[n] * np.exp([-0.002, 0.003, -0.003, 0.0])
    time = made.time.copy()
    time[n:] += halt * HOUR
    return replace(made, values=values, time=time)


def traded(history: History, a: int) -> np.ndarray:
    return np.flatnonzero(~np.isnan(history.values[:, a, CLOSE]))


def test_the_coin_ends_and_another_one_begins() -> None:
    whole = fallen()
    history = relisted(quarantine(whole))
    assert history.symbols == ("C0/USDT", "C0/USDT#2")
    assert traded(history, 0).tolist() == list(range(600)) and traded(history, 1).tolist() == list(range(600, 1200))
    assert np.flatnonzero(history.final[:, 0]).tolist() == [599] and not history.final[:, 1].any()
    both = np.where(np.isnan(history.values[:, :1]), history.values[:, 1:], history.values[:, :1])
    assert np.array_equal(both, whole.values) and np.array_equal(history.time, whole.time)
    assert replace(history.instruments[1], symbol="C0/USDT") == history.instruments[0]
    (found,) = history.suspects
    assert (found.symbol, found.time, found.quarantined) == ("C0/USDT#2", whole.time[600], False)
    assert np.exp(found.size) == pytest.approx(20_000.0, rel=0.02)
    (line,) = describe(history.suspects)
    assert "C0/USDT#2" in line and "goes on as another" in line


def test_what_was_held_is_paid_out_before_the_halt() -> None:
    """Bought an hour before the halt and held: twenty thousand times the money, or what the last hour left."""

    def final(history: History) -> float:
        market, agent = make("buy_and_hold", history)
        return float(backtest(market, agent, history, Segment(598, len(history)), 2).account.equity[-1])

    assert final(fallen()) > 1e7
    assert 1_000.0 < final(relisted(fallen())) < 10_000.0


def test_funding_stays_with_its_instrument() -> None:
    whole = fallen(kind="perpetual")
    funding = np.arange(1200.0)[:, None]
    history = relisted(replace(whole, funding=funding))
    assert history.symbols == ("C0/USDT:USDT", "C0/USDT:USDT#2")
    assert np.array_equal(history.funding.sum(axis=1), funding[:, 0])
    assert not history.funding[600:, 0].any() and not history.funding[:600, 1].any()
    assert [i.pair for i in history.instruments] == ["C0/USDT", "C0/USDT#2"]
    assert {i.quote for i in history.instruments} == {"USDT"}


@pytest.mark.parametrize("back", [1000.0, 1 / 1000.0])
def test_a_redenomination_is_joined_by_its_ratio(back: float) -> None:
    close = 50.0 * np.exp(np.cumsum(0.006 * np.random.default_rng(1).standard_normal(800)))
    redenominated = np.where(np.arange(800) < 400, close, close * back)
    whole = prices(redenominated, kind="perpetual", lot=0.0, tick=0.0)
    values, time = whole.values.copy(), whole.time.copy()
    values[400, 0, :4] = redenominated[400]
    values[400:, 0, VOLUME] /= back
    time[400:] += 9 * HOUR
    funding = np.where(np.arange(800)[:, None] < 400, 1.0, back)
    whole = replace(whole, values=values, time=time, funding=funding)
    assert len(relisted(whole).symbols) == 2
    joined = relisted(whole, (f"C0/USDT:USDT:{back}",))
    assert joined.symbols == whole.symbols and not joined.final.any()
    assert np.allclose(joined.values[:, 0, CLOSE], close * back, rtol=1e-12)
    assert np.allclose(joined.values[:, 0, VOLUME], 1e6 / back) and np.allclose(joined.funding, back)
    (found,) = joined.suspects
    assert found.rule == "level shift, joined by the stated ratio" and found.symbol == "C0/USDT:USDT"


def test_several_under_one_ticker() -> None:
    close = 50.0 * np.exp(np.cumsum(0.006 * np.random.default_rng(1).standard_normal(900)))
    close[300:] *= 1000.0
    close[600:] *= 1000.0
    whole = prices(close, kind="spot", lot=0.0, tick=0.0)
    values, time = whole.values.copy(), whole.time.copy()
    values[[300, 600], 0, :4] = close[[300, 600], None]
    time[300:] += DAY
    time[600:] += DAY
    whole = replace(whole, values=values, time=time)
    assert relisted(whole).symbols == ("C0/USDT", "C0/USDT#2", "C0/USDT#3")
    once = relisted(whole, ("C0/USDT:1000",))
    assert once.symbols == ("C0/USDT", "C0/USDT#2") and traded(once, 0)[-1] == 599
    assert once.values[0, 0, OPEN] == pytest.approx(50_000.0, rel=0.02)
    assert relisted(whole, ("C0/USDT:1000", "C0/USDT:1000")).symbols == ("C0/USDT",)


def test_flat_candles_of_a_halt_are_no_trades() -> None:
    """Some exchanges list a halt as candles without volume."""
    whole = fallen(halt=0)
    idle = np.repeat(whole.values[599:600], 100, axis=0)
    idle[:, 0, :4], idle[:, 0, VOLUME] = whole.values[599, 0, CLOSE], 0.0
    values = np.concatenate([whole.values[:600], idle, whole.values[600:]])
    filled = replace(
        whole, values=values, time=START + HOUR * np.arange(1300, dtype=np.int64), funding=np.zeros((1300, 1)),
        final=np.zeros((1300, 1), dtype=np.bool_), cash_rate=np.zeros(0),
    )  # fmt: skip
    history = relisted(filled)
    assert history.symbols == ("C0/USDT", "C0/USDT#2")
    assert traded(history, 0)[-1] == 699 and history.final[699, 0] and traded(history, 1)[0] == 700


def test_a_relisting_within_a_bar_is_found_too() -> None:
    """On daily bars a halt of hours leaves no bar out."""
    assert relisted(fallen(halt=0)).symbols == ("C0/USDT", "C0/USDT#2")


def test_crashes_holes_and_bad_prints_are_no_relistings() -> None:
    close = 100.0 * np.exp(np.cumsum(0.006 * np.random.default_rng(3).standard_normal(600)))
    for factor, halt in ((0.2, 0), (0.45, 100), (2.5, 500), (0.02, 0)):
        path = np.where(np.arange(600) < 300, close, close * factor)
        whole = prices(path, kind="spot")
        values, time = whole.values.copy(), whole.time.copy()
        if halt:
            values[300, 0, :4] = path[300]
        time[300:] += halt * HOUR
        assert relisted(replace(whole, values=values, time=time)).symbols == ("C0/USDT",)
    spike = prices(close, kind="spot").values.copy()
    spike[300:302, 0, :4] *= 7.0
    assert relisted(replace(prices(close, kind="spot"), values=spike)).symbols == ("C0/USDT",)
    held = panel(500, 3, volatility=0.05)
    assert relisted(held) is held


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        ("C0/USDT", "is not SYMBOL:RATIO"),
        ("C0/USDT:none", "is not SYMBOL:RATIO"),
        ("C0/USDT:-3", "is not SYMBOL:RATIO"),
        ("C1/USDT:20000", "C1/USDT is not among the symbols C0/USDT"),
        ("C0/USDT:2", "so a shift of 99.* is left"),
        ("C0/USDT:20000,C0/USDT:3", "2 ratios stated, but the level shifts only 1 times"),
    ],
)
def test_what_is_wrong_is_one_sentence(ratio: str, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        relisted(fallen(), tuple(ratio.split(",")))
    assert "\n" not in str(caught.value)


def test_a_ratio_for_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="the level shifts nowhere in these bars"):
        relisted(panel(300, 2, kind="spot"), ("C0/USDT:10",))


def stored(root: Path, kind: str = "spot") -> Path:
    whole = fallen(kind=kind)
    series = Series(whole.time - HOUR, whole.values[:, 0, :5])
    symbol = "LUNA/USDT" if kind == "spot" else "LUNA/USDT:USDT"
    parquet.write(store.bars_path(root, listing("binance", symbol), "1h"), PRICES, series)
    return root


def test_the_door_to_data_splits_cuts_and_joins(tmp_path: Path) -> None:
    root = str(stored(tmp_path))
    two = load(DataConfig(data=root, symbols=("LUNA/USDT",)))
    assert two.symbols == ("LUNA/USDT", "LUNA/USDT#2")
    told = two.describe()
    assert told["symbols"] == ["LUNA/USDT", "LUNA/USDT#2"] and len(told["suspects"]) == 1  # type: ignore[arg-type]
    halted = iso(int(two.time[600] - HOUR)).replace(" ", "T")
    assert load(DataConfig(data=root, symbols=("LUNA/USDT",), until=halted)).symbols == ("LUNA/USDT",)
    assert load(DataConfig(data=root, symbols=("LUNA/USDT",), since=halted)).symbols == ("LUNA/USDT",)
    one = load(DataConfig(data=root, symbols=("LUNA/USDT",), relist=("LUNA/USDT:20000",)))
    assert one.symbols == ("LUNA/USDT",)
    with pytest.raises(UserError, match="one of several coins that binance listed as LUNA/USDT"):
        load(DataConfig(data=root, symbols=("LUNA/USDT#2",)))


@given(back=st.floats(5.0, 1e6), seed=st.integers(0, 50), halt=st.integers(1, 1000))
def test_no_bar_is_lost_or_made(back: float, seed: int, halt: int) -> None:
    whole = fallen(300, back, halt=halt, seed=seed)
    history = relisted(whole)
    assert np.array_equal(np.nansum(history.values, axis=1), whole.values[:, 0])
    assert history.final.sum() == len(history.instruments) - 1
    for a in range(len(history.instruments)):
        rows = traded(history, a)
        assert np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
def test_no_real_series_is_cut() -> None:
    root = Path(str(DATA))
    files = [*root.glob("events/binance/*/*.parquet"), *root.glob("ohlcv/binance*/*/*.parquet")]
    assert len(files) == 87
    between = []
    for path in files:
        history = real(path)
        assert len(relisted(quarantine(history)).symbols) == 1, path
        values = history.values[:, 0]
        between.append(float(np.abs(np.log(values[1:, OPEN] / values[:-1, CLOSE])).max()))
    assert max(between) == pytest.approx(np.log(1.94), abs=0.01)
