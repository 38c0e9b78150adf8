"""Prints that no trade can explain are taken out; what else looks odd is listed, and what a market did is kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import PRICES
from qframe_rl.feeds.quality import AFTER_SPIKE, PRINT, SPIKE, describe, quarantine, suspects, without
from qframe_rl.types import CLOSE, HOUR, OPEN, VOLUME, History, iso, timeframe_ns
from tests.markets import panel, prices

DATA = os.environ.get("QFRAME_DATA")


def quiet(n: int = 1000, seed: int = 0) -> np.ndarray:
    return 30_000.0 * np.exp(np.cumsum(0.006 * np.random.default_rng(seed).standard_normal(n)))


def with_bar(history: History, row: int, factor: float) -> History:
    values = history.values.copy()
    values[row, 0, :4] *= factor
    return replace(history, values=values)


def chained(close: np.ndarray) -> History:
    """Every bar opens where the last one closed, with wicks of its own and a volume."""
    history = prices(close)
    rng = np.random.default_rng(1)
    values = history.values.copy()
    values[:, 0, 1] *= 1.0 + 0.002 * rng.random(len(close))
    values[:, 0, 2] /= 1.0 + 0.002 * rng.random(len(close))
    values[:, 0, 4] *= rng.random(len(close)) + 0.5
    return replace(history, values=values)


def printed(history: History, row: int, factor: float, length: int = 1) -> History:
    """The same with bars that lie apart although nothing traded in them."""
    values = history.values.copy()
    values[row : row + length, 0, :4] *= factor
    values[row : row + length, 0, 4] = 0.0
    return replace(history, values=values)


@pytest.mark.parametrize("row", [4, 37, 500, 994])
@pytest.mark.parametrize("factor", [1.95, 1 / 1.95])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_print_without_a_trade_is_taken_out_wherever_it_stands(row: int, factor: float, length: int) -> None:
    history = printed(chained(quiet()), row, factor, length)
    found = suspects(history)
    gone = list(history.time[row : row + length])
    assert [s.time for s in found] == gone and {s.rule for s in found} == {PRINT}
    assert all(s.quarantined for s in found)
    clean = quarantine(history)
    assert len(clean) == 1000 - length and not np.isin(gone, clean.time).any()
    assert clean.suspects == found and clean.quarantine == "on"
    line, *_ = describe(clean.suspects)
    assert "taken out" in line and "C0/USDT:USDT" in line


@pytest.mark.parametrize("row", [0, 1, 37, 500, 998, 999])
@pytest.mark.parametrize("factor", [1.95, 1 / 1.95])
def test_the_same_with_a_volume_is_listed_and_kept(row: int, factor: float) -> None:
    history = with_bar(chained(quiet()), row, factor)
    (found,) = suspects(history)
    assert found.time == history.time[row] and not found.quarantined
    assert np.array_equal(quarantine(history).values, history.values)


def test_a_crash_that_comes_back_within_two_hours_is_lived_through() -> None:
    """100, 64, 101: the opens join, and thrice the usual volume traded."""
    close = np.where(np.arange(400) == 200, 64.0, np.where(np.arange(400) < 200, 100.0, 101.0)) * np.exp(
        0.001 * np.random.default_rng(0).standard_normal(400)
    )
    history = prices(close)
    values = history.values.copy()
    values[200:202, 0, 4] *= 3.0
    history = replace(history, values=values)
    found = suspects(history)
    assert [s.rule for s in found] == [SPIKE, AFTER_SPIKE] and not any(s.quarantined for s in found)
    clean = quarantine(history)
    assert np.array_equal(clean.values, history.values) and len(clean) == 400


def test_without_volume_a_gap_one_way_is_a_market_whose_volume_is_not_told() -> None:
    close = quiet()
    close[500:] *= 0.5
    history = prices(close)
    values = history.values.copy()
    values[500, 0, 0] = close[500]  # it opens there, and stays
    values[500, 0, 1] = close[500]
    values[500, 0, 4] = 0.0
    assert not any(s.quarantined for s in suspects(replace(history, values=values)))
    joined = prices(np.where(np.arange(1000) == 500, 0.6, 1.0) * quiet())
    values = joined.values.copy()
    values[500, 0, 4] = 0.0  # it trades its way there and back, as its opens show
    assert not any(s.quarantined for s in suspects(replace(joined, values=values)))


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_close_is_listed_and_so_is_the_open_that_follows_it(seed: int) -> None:
    close = quiet(seed=seed)
    close[400] *= 1.95
    found = suspects(chained(close))
    assert [s.rule for s in found] == [SPIKE, AFTER_SPIKE] and not any(s.quarantined for s in found)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_spikes_of_a_few_bars(length: int) -> None:
    history = chained(quiet())
    values = history.values.copy()
    values[300 : 300 + length, 0, :4] *= 0.8
    found = suspects(replace(history, values=values))
    assert [int(s.time) for s in found] == list(history.time[300 : 300 + length])


def test_crashes_squeezes_and_level_shifts_are_left_alone() -> None:
    for path in ([1, 0.6, 0.55, 0.7], [1, 1.3, 1.1, 1.05], [1, 0.5, 0.5, 0.5], [1, 2.0, 2.1, 2.0], [1, 0.75, 0.97, 1]):
        close = quiet()
        close[500:504] *= path
        close[504:] *= path[-1]
        assert suspects(chained(close)) == ()


def test_an_open_market_in_two_instruments_keeps_the_row() -> None:
    history = panel(500, 2, ragged=False, volatility=0.004)
    values = history.values.copy()
    values[200, 1, :4] *= 3.0
    values[200, 1, 4] = 0.0
    clean = quarantine(replace(history, values=values))
    assert len(clean) == 500
    assert np.isnan(clean.values[200, 1]).all() and not np.isnan(clean.values[200, 0]).any()
    assert clean.symbols[1] == clean.suspects[0].symbol


def beside_its_coin(high: float, low: float) -> History:
    """A coin and its perpetual, whose extremes are ``high`` and ``low`` times the coin's in one bar."""
    one = chained(quiet(500))
    values = np.repeat(one.values, 2, axis=1)
    values[200, 1, 1] *= high
    values[200, 1, 2] *= low
    perpetual = one.instruments[0]
    coin = replace(perpetual, symbol=perpetual.symbol.partition(":")[0], kind="spot")
    pair = {name: np.repeat(getattr(one, name), 2, axis=1) for name in ("funding", "final")}
    return replace(one, instruments=(coin, perpetual), values=values, **pair)


@pytest.mark.parametrize(("high", "low", "size"), [(1.2, 1.0, 1.2), (1.0, 0.85, 0.85), (1.15, 0.7, 0.7)])
def test_a_perpetual_that_strays_from_its_coin_is_listed_and_kept(high: float, low: float, size: float) -> None:
    history = beside_its_coin(high, low)
    (found,) = suspects(history)
    assert (found.rule, found.symbol, found.quarantined) == ("strays from its coin", history.symbols[1], False)
    assert found.size == pytest.approx(np.log(size))
    assert found.time == history.time[200]
    assert np.array_equal(quarantine(history).values, history.values)
    alone = replace(
        history, instruments=history.instruments[1:], values=history.values[:, 1:], funding=history.funding[:, 1:],
        final=history.final[:, 1:],
    )  # fmt: skip
    assert suspects(alone) == ()


def test_a_perpetual_near_its_coin_or_without_it_is_not_listed() -> None:
    history = beside_its_coin(1.09, 0.92)
    assert suspects(history) == ()
    values = beside_its_coin(1.3, 1.0).values.copy()
    values[200, 0] = np.nan
    assert suspects(replace(history, values=values)) == ()


def test_moves_without_volume_and_feeds_that_stand_still() -> None:
    history = chained(quiet())
    values = history.values.copy()
    values[100, 0, 4] = 0.0
    values[601:604, 0] = values[600, 0]
    found = suspects(replace(history, values=values))
    assert [s.rule for s in found] == ["moves without volume", *["repeats the bar before"] * 3]
    assert not any(s.quarantined for s in found)
    mute = history.values.copy()
    mute[:, 0, 4] = 0.0
    assert not suspects(replace(history, values=mute))


def test_funding_of_a_bar_that_is_gone_is_due_in_the_next() -> None:
    history = panel(300, 2, seed=4)
    gone = np.zeros(300, dtype=np.bool_)
    gone[[5, 6, 40, 64]] = True
    left = without(history, gone)
    assert len(left) == 296
    assert np.allclose(left.funding.sum(axis=0), history.funding.sum(axis=0))
    row = int(np.searchsorted(left.time, history.time[65]))
    assert np.array_equal(left.funding[row], history.funding[64] + history.funding[65])


def test_a_broken_file_is_refused() -> None:
    close = quiet()
    close[::8] *= 3.0
    with pytest.raises(UserError, match="look like bad prints"):
        quarantine(chained(close))


def test_the_load_lists_and_takes_out_unless_told_not_to(tmp_path: Path) -> None:
    history = printed(chained(quiet()), 500, 1.95)
    rows = ["timestamp,open,high,low,close,volume"]
    rows += [",".join(map(repr, [int(t - HOUR) // 10**9, *bar[0, :5].tolist()])) for t, bar in
             zip(history.time, history.values, strict=True)]  # fmt: skip
    path = tmp_path / "BTC-USDT.csv"
    path.write_text("\n".join(rows))
    clean = load(DataConfig(data=str(path), symbols=("BTC/USDT",)))
    assert len(clean) == 999 and clean.quarantine == "on"
    kept = load(DataConfig(data=str(path), symbols=("BTC/USDT",), quarantine="off"))
    assert len(kept) == 1000 and kept.quarantine == "off"
    (suspect,) = kept.suspects
    assert not suspect.quarantined
    told = kept.describe()
    assert told["quarantine"] == "off" and told["suspects"][0]["rule"] == PRINT  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
def test_nothing_is_taken_out_of_the_real_series_and_why_no_volume_means_zero() -> None:
    root = Path(str(DATA))
    files = [*root.glob("events/binance/*/*.parquet"), *root.glob("ohlcv/binance*/*/*.parquet")]
    assert len(files) == 87
    bars, untraded, moved, leaps = 0, 0, 0, []
    for path in files:
        history = real(path)
        values, close = history.values[:, 0], np.log(history.values[:, 0, CLOSE])
        assert not any(s.quarantined for s in suspects(history)), path
        idle = values[:, VOLUME] == 0.0
        bars, untraded = bars + len(history), untraded + int(idle.sum())
        moved += int((idle & (np.diff(close, prepend=close[0]) != 0.0)).sum())
        there, back = np.log(values[1:-1, OPEN]) - close[:-2], close[1:-1] - np.log(values[2:, OPEN])
        leaps.append(float(np.where(there * back > 0.0, np.minimum(np.abs(there), np.abs(back)), 0.0).max()))
    assert (bars, untraded, moved) == (2_589_614, 54, 0)
    assert max(leaps) == pytest.approx(0.0286, abs=1e-4)


def real(path: Path) -> History:
    """A series of the store as a coin, whatever it is."""
    series, length = parquet.read(path, PRICES), timeframe_ns(path.stem.split("_")[0])
    made = prices(series.values[:, CLOSE], kind="spot")
    return replace(made, values=series.values[:, None].copy(), time=series.time + length, bar_ns=length)


@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
def test_the_print_of_323_is_listed_beside_others_of_its_kind() -> None:
    """The ether perpetual's worst trades, of 44,649 hours: its mark price never left the coin's by much."""
    history = load(DataConfig(data=str(DATA), symbols=("ETH/USDT", "ETH/USDT:USDT"), timeframe="1h"))
    listed = {iso(s.time)[:13]: s for s in history.suspects if s.symbol == "ETH/USDT:USDT"}
    assert not any(s.quarantined for s in listed.values())
    assert sorted(listed) == ["2019-11-27 09", "2020-03-13 03", "2021-05-19 14"]


def test_what_did_not_trade_at_all_is_no_suspect() -> None:
    """A candidate of a universe need not trade in the bars that are looked at."""
    history = panel(100, 3, ragged=False, column=False)
    values = history.values.copy()
    values[:, 1] = np.nan
    assert quarantine(replace(history, values=values)).suspects == ()
