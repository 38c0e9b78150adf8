"""The leak gauge: a column that is stamped too early is told."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.gauge import Echo, Gauge, gauges
from qframe_rl.feeds.load import load, remarks
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.types import CLOSE, DAY, History, iso

NEWS = Path(os.environ.get("QFRAME_DATA", "data")) / "alt" / "bitcoin_headlines.parquet"


@pytest.fixture
def days() -> History:
    return synthetic("gbm", n_bars=1500, seed=3, bar_ns=DAY)


def shown(history: History, values: np.ndarray) -> History:
    """Bars with one more column, the same for all instruments."""
    column = np.broadcast_to(values[:, None, None], (*history.values.shape[:2], 1))
    return replace(history, values=np.concatenate([history.values, column], axis=2), columns=(*history.columns, "x"))


def returns(history: History) -> np.ndarray:
    return np.diff(np.log(history.values[:, 0, CLOSE]), prepend=np.nan)


def test_it_tells_the_bars_apart(days: History) -> None:
    moved = returns(days)
    for shift, name in ((1, "before"), (0, "same"), (-1, "next")):
        (gauge,) = gauges(shown(days, np.roll(moved, shift)), ["x"])
        assert getattr(gauge.level, name) == pytest.approx(1.0, abs=0.01)
        assert gauge.knows_tomorrow == (name == "next")
    assert gauge.level.error == pytest.approx(1.0 / np.sqrt(1498), rel=0.01)


@pytest.mark.parametrize(
    ("before", "same", "after", "error", "told"),
    [
        (0.3, 0.5, 0.12, 0.01, True),  # great, though it echoes more
        (0.3, 0.5, -0.12, 0.01, True),
        (0.3, 0.5, 0.09, 0.01, False),
        (0.01, -0.02, 0.05, 0.01, True),  # more than it echoes
        (0.01, -0.06, 0.05, 0.01, False),
        (0.0, 0.0, 0.019, 0.001, False),  # sure, and next to nothing
        (0.0, 0.0, 0.15, 0.06, False),  # much, and not sure
        (np.nan, np.nan, np.nan, np.nan, False),
    ],
)
def test_the_rule_that_is_stated(before: float, same: float, after: float, error: float, told: bool) -> None:
    assert Echo(before, same, after, error).too_good == told


def test_it_agrees_with_scipy_ties_included(days: History) -> None:
    from scipy.stats import spearmanr

    values = np.round(np.random.default_rng(1).normal(size=len(days)) + 30.0 * np.nan_to_num(returns(days)))
    (gauge,) = gauges(shown(days, values), ["x"])
    assert gauge.level.same == pytest.approx(spearmanr(values[1:], returns(days)[1:]).statistic, abs=1e-12)
    assert gauge.level.next == pytest.approx(spearmanr(values[1:-1], returns(days)[2:]).statistic, abs=0.002)


def test_noise_and_echoes_are_no_leak(days: History) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        (gauge,) = gauges(shown(days, rng.normal(size=len(days)).cumsum()), ["x"])
        assert not gauge.knows_tomorrow
    (gauge,) = gauges(shown(days, returns(days) + 0.01 * rng.normal(size=len(days))), ["x"])
    assert not gauge.knows_tomorrow and gauge.level.same > 0.5


@pytest.mark.long
def test_chance_is_told_rarely(days: History) -> None:
    """The figure of docs/texts.md: 14 of 2,000 columns of noise."""
    rng, told, names = np.random.default_rng(11), 0, tuple(f"x{k}" for k in range(80))
    for _ in range(25):
        noise = rng.normal(size=(len(days), 1, len(names)))
        bars = replace(days, values=np.concatenate([days.values, noise], axis=2), columns=names)
        told += sum(gauge.knows_tomorrow for gauge in gauges(bars, names))
    assert told == 14


def test_a_price_of_tomorrow_is_seen_in_its_changes(days: History) -> None:
    price = days.values[:, 0, CLOSE]
    (gauge,) = gauges(shown(days, np.append(price[1:], price[-1])), ["x"])
    assert not gauge.level.too_good and gauge.change.too_good
    assert gauge.lines()[1].startswith("column x knows tomorrow")


def test_it_says_where_a_column_has_no_value(days: History) -> None:
    values = np.where(np.arange(len(days)) < 300, np.nan, returns(days))
    (gauge,) = gauges(shown(days, values), ["x"])
    assert gauge.blank == 0.2 and gauge.lines()[0].endswith("(1,199 bars; none in 20.0% of all)")


def test_of_very_many_bars_some_are_enough() -> None:
    many = synthetic("gbm", n_bars=450_001, seed=3, bar_ns=DAY // 24)
    (gauge,) = gauges(shown(many, np.roll(returns(many), -1)), ["x"])
    assert gauge.level.error == pytest.approx(1.0 / np.sqrt(150_000), rel=0.001)
    assert gauge.level.next > 0.999 and gauge.knows_tomorrow


def test_too_few_values_say_nothing(days: History) -> None:
    values = np.full(len(days), np.nan)
    values[100:120] = returns(days)[101:121]
    (gauge,) = gauges(shown(days, values), ["x"])
    assert not gauge.knows_tomorrow and "too few" in gauge.lines()[0]
    assert json.dumps(gauge.plain(), allow_nan=False)
    (flat,) = gauges(shown(days, np.ones(len(days))), ["x"])
    assert not flat.knows_tomorrow and json.dumps(flat.plain(), allow_nan=False)
    with pytest.raises(UserError, match="no column 'y'"):
        gauges(days, ["y"])


def test_a_stamp_one_day_early_lifts_it_and_days_cannot_be_joined_at_their_beginning(tmp_path: Path) -> None:
    """A mood that is made of each day's return, joined by its end, one day early, and by its date."""
    history = synthetic("gbm", n_bars=800, seed=4, bar_ns=DAY)
    mood = returns(history) + 0.03 * np.random.default_rng(8).normal(size=len(history))

    def write(name: str, stamps: np.ndarray) -> None:
        lines = [f"{iso(int(t)).replace(' ', 'T')},{v}" for t, v in zip(stamps, mood, strict=True) if np.isfinite(v)]
        (tmp_path / name).write_text("\n".join(["timestamp,mood", *lines]))

    write("evening.csv", history.time - 600_000_000_000)
    write("early.csv", history.time - DAY - 600_000_000_000)
    write("day.csv", history.time - DAY)
    found = {
        name: gauges(extend(history, (f"{name}={name}.csv:mood:{delay}",), tmp_path), [name])[0]
        for name, delay in (("evening", "0s"), ("early", "0s"), ("day", "1d"))
    }
    assert found["early"].level.next > 0.3 > 0.1 > abs(found["evening"].level.next)
    assert found["early"].knows_tomorrow and not found["evening"].knows_tomorrow and not found["day"].knows_tomorrow
    assert found["day"].level.same == found["evening"].level.same
    with pytest.raises(UserError, match="known at its end"):
        extend(history, ("day=day.csv:mood:0s",), tmp_path)


def _headlines_a_day_early(folder: Path, history: History) -> Gauge:
    """What they would know if each were stamped 24 hours before it came."""
    table = pq.read_table(NEWS)
    stamps = pc.subtract(table.column("timestamp"), pa.scalar(86_400_000, pa.duration("ms")))
    pq.write_table(table.set_column(0, "timestamp", stamps), folder / "early.parquet")
    return gauges(extend(history, ("early=texts:early.parquet:mean:24h",), folder), ["early"])[0]


@pytest.mark.skipif(not NEWS.is_file(), reason="needs market data")
def test_headlines_and_fear_and_greed_echo_the_market_and_do_not_know_it(tmp_path: Path) -> None:
    """The figures of docs/texts.md."""
    config = DataConfig(
        data=str(NEWS.parents[1]), symbols=("BTC/USDT",), timeframe="1d", since="2021-11-06", until="2023-12-31",
        columns=("fng=alt/fear_greed_daily.parquet:value:1d:3d", "news=texts:alt/bitcoin_headlines.parquet:mean:24h"),
    )  # fmt: skip
    history = load(config)
    fear, news = gauges(history, ["fng", "news"])
    assert (news.level.before, news.level.same) == pytest.approx((0.244, 0.128), abs=0.002)
    assert abs(news.level.next) < 2 * news.level.error and abs(fear.level.next) < 2 * fear.level.error
    assert not fear.knows_tomorrow and not news.knows_tomorrow
    early = _headlines_a_day_early(tmp_path, history)
    assert early.level.next == pytest.approx(0.128, abs=0.002) and early.knows_tomorrow
    assert (fear.blank, round(news.blank, 3)) == (0.0, 0.039)
    assert sum(line.startswith(("column fng: rank", "column news: rank")) for line in remarks(history)) == 2
