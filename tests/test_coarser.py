"""Features of coarser bars: against pandas, at every row, and never of a bar that has not closed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qframe_rl.coarser import coarse_bars
from qframe_rl.config import UserError
from qframe_rl.features import features
from qframe_rl.gym.make import make_env
from qframe_rl.interface import interface_from
from qframe_rl.times import DAY, HOUR, MINUTE, WEEK, timeframe_name
from qframe_rl.types import CLOSE, Float, History
from tests.markets import panel

COARSE = (
    "4h:rsi:3",
    "3h:volatility:4",
    "1d:log_return:1",
    "6h:range:2",
    "2h:column:signal",
    "12h:macd:1:2",
    "1w:log_return:1",
)


def resampled(history: History, length_ns: int) -> tuple[Float, Float]:
    """Coarser bars by pandas, of the first instrument, and their ends."""
    table = pd.DataFrame(history.values[:, 0, :5], columns=["open", "high", "low", "close", "volume"])
    opens = pd.to_datetime(history.time - history.bar_ns)
    rule = "W-MON" if length_ns == WEEK else pd.Timedelta(length_ns, "ns")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    bars = table.set_index(opens).resample(rule, label="left", closed="left").agg(how)
    return bars.to_numpy(), bars.index.as_unit("ns").asi8 + length_ns


@pytest.mark.parametrize("hours", [2, 4, 24, 168])
def test_a_value_is_that_of_the_last_bar_that_has_closed(hours: int) -> None:
    history = panel(1200, 1, seed=3, ragged=False)
    name = timeframe_name(hours * HOUR)
    (feature,) = features([f"{name}:log_return:1"], history.columns, history.bar_ns)
    rows = feature.rows(history.values, history.time)[:, 0]
    bars, ends = resampled(history, hours * HOUR)
    for t in range(feature.lookback - 1, 1200):
        last = int(np.searchsorted(ends, history.time[t], side="right")) - 1
        assert rows[t] == pytest.approx(np.log(bars[last, 3] / bars[last - 1, 3]), abs=1e-12), t
    assert np.isnan(rows[: feature.lookback - 1]).all()


def test_all_channels_are_merged_as_pandas_does() -> None:
    history = panel(1000, 1, seed=5)
    bars, ends = resampled(history, 4 * HOUR)
    for spec, value in (("range:1", np.log(np.log(bars[:, 1] / bars[:, 2]) + 1e-6)), ("volume_z:2", None)):
        (feature,) = features([f"4h:{spec}"], history.columns, history.bar_ns)
        rows = feature.rows(history.values, history.time)[:, 0]
        seen = np.flatnonzero(~np.isnan(rows))
        assert len(seen) > 800
        if value is not None:
            last = np.searchsorted(ends, history.time[seen], side="right") - 1
            assert rows[seen] == pytest.approx(value[last])


def test_columns_of_a_coarse_bar_are_those_of_the_last_bar_with_a_trade() -> None:
    """Else a coin that has left its universe would count as one that never was in any."""
    bars = np.ones((6, 1, 6))
    bars[:, 0, 5] = range(6)
    bars[[1, 3, 4, 5], 0] = np.nan
    coarse, _ = coarse_bars(bars, HOUR + MINUTE * np.arange(1, 7), 2 * MINUTE)
    assert np.array_equal(coarse[:, 0, 5], [0.0, 2.0, np.nan], equal_nan=True)
    assert np.array_equal(coarse[:, 0, CLOSE], [1.0, 1.0, np.nan], equal_nan=True)


@pytest.mark.parametrize("spec", COARSE)
def test_the_last_row_of_a_live_window_is_the_row_of_the_history(spec: str) -> None:
    history = panel(1500, 2, seed=2)
    (feature,) = features([spec], history.columns, history.bar_ns)
    whole = feature.rows(history.values, history.time)
    for t in np.random.default_rng(0).integers(feature.lookback - 1, 1500, 80):
        for extra in (0, 7):
            begin = max(0, t - feature.lookback + 1 - extra)
            window = slice(begin, t + 1)
            last = feature.rows(history.values[window].copy(), history.time[window].copy(), t - begin)
            assert np.array_equal(last[0], whole[t], equal_nan=True)


@pytest.mark.parametrize("spec", COARSE)
def test_nothing_later_and_nothing_outside_the_lookback_matters(spec: str) -> None:
    history = panel(1500, 1, seed=4, ragged=False)
    (feature,) = features([spec], history.columns, history.bar_ns)
    whole = feature.rows(history.values, history.time)
    for t in (feature.lookback + 50, 1400):
        scrambled = history.values.copy()
        scrambled[t + 1 :] *= 3.0
        scrambled[: t - feature.lookback + 1] *= 0.2
        assert np.array_equal(feature.rows(scrambled, history.time)[t], whole[t])


def test_gaps_of_rows_and_of_an_instrument() -> None:
    """Where a coarse bar is missing for an instrument, what looks at it is NaN; rows that do not exist do not count."""
    history = panel(400, 2, seed=6, ragged=False)
    values = history.values.copy()
    end = int(np.flatnonzero(history.time % (4 * HOUR) == 0)[50])
    values[end - 3 : end + 1, 0, :5] = np.nan
    (feature,) = features(["4h:log_return:1"], history.columns, history.bar_ns)
    rows = feature.rows(values, history.time)
    assert np.isnan(rows[end : end + 8, 0]).all()
    assert np.isfinite(rows[end - 1, 0])
    assert np.isfinite(rows[end + 8, 0])
    assert np.isfinite(rows[end : end + 8, 1]).all()
    kept = np.delete(np.arange(400), np.arange(200, 240))
    gone = feature.rows(history.values[kept], history.time[kept])
    for t in range(int(feature.lookback) - 1, 360):
        window = kept[t - feature.lookback + 1 : t + 1]
        live = feature.rows(history.values[window], history.time[window], feature.lookback - 1)
        assert np.array_equal(live[0], gone[t], equal_nan=True)


def test_an_observation_has_several_timeframes_and_a_checkpoint_keeps_them() -> None:
    history = panel(900, 2, seed=7, kind="spot")
    env = make_env("spot", history, features=["rsi:5", "4h:rsi:3", "1d:log_return:2"], n_rows=2)
    assert env.reset(seed=1)[0].shape == (2 * 2 * 3 + 4,)
    interface = env.engine.interface
    again = interface_from(interface.describe())
    assert [f.name for f in again.observer.features] == ["rsi:5", "4h:rsi:3", "1d:log_return:2"]
    assert again.window == interface.window
    assert np.array_equal(again.observer.matrix(history), interface.observer.matrix(history))
    plain = make_env("spot", history, features=["rsi:5"]).engine.interface
    assert "bar_ns" not in plain.describe()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("90m:rsi:3", "several whole ones"), ("1h:rsi:3", "several whole ones"), ("30m:rsi:3", "several whole ones"),
        ("4h:rsy:3", "did you mean 'rsi'"), ("4h:4h:rsi:3", "several whole ones"),
        ("9999w:rsi:3", "looks back"),
        ("4h:", "unknown feature"), ("0h:rsi:3", "unknown feature"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(spec: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        features([spec], (), HOUR)


def test_weeks_end_on_mondays() -> None:
    assert DAY * 7 == WEEK
    history = panel(1500, 1, seed=1, ragged=False)
    (feature,) = features(["1w:column:signal"], history.columns, history.bar_ns)
    rows = feature.rows(history.values, history.time)[:, 0]
    seen = np.flatnonzero(~np.isnan(rows))
    changes = seen[1:][np.diff(rows[seen]) != 0]
    days = pd.to_datetime(history.time[changes])
    assert len(changes) > 3
    assert (days.day_of_week == 0).all()
    assert (days.hour == 0).all()
