"""Blind to the future from the files on: they are scrambled after t, before they are loaded and joined.

The other contract tests scramble a history, after its making: what a loader shows too early they cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.feeds import cash, columns, panel, quality
from qframe_rl.feeds.load import load
from qframe_rl.types import CLOSE, DAY, HOUR, Float, History, Int, Record
from tests.contracts import checks, stores
from tests.contracts.test_agents import make
from tests.contracts.test_envs import maker

SYMBOLS = {
    "spot": ("BTC/USDT", "ETH/USDT"),
    "perp": ("BTC/USDT:USDT",),
    "funding": ("BTC/USDT", "BTC/USDT:USDT"),
}
RULES = {"spot": "momentum", "perp": "mean_reversion", "funding": "funding_arbitrage"}
HOURS = (160, 203, stores.CRASH + 1, 352, 401)
"""Moments, hours since the start: settlements and closes of longer bars among them, and the close of the crash."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stores.made(tmp_path_factory.mktemp("store"))


def pairs(root: Path, folder: Path, name: str) -> Iterator[tuple[History, History, int]]:
    """The store's history, that of the store scrambled after a moment, and the rows that were known by then."""
    whole = load(stores.config(root, SYMBOLS[name]))
    for hour in HOURS:
        now = stores.START + hour * HOUR
        other = load(stores.config(stores.hidden(root, folder / f"{name}-{hour}", now), SYMBOLS[name]))
        n = int(np.searchsorted(whole.time, now, side="right"))
        assert n == np.searchsorted(other.time, now, side="right"), f"time differs by {now}"
        yield whole, other, n


def files_are_blind(root: Path, folder: Path, name: str) -> None:
    for one, two, n in pairs(root, folder, name):
        for field in ("time", "values", "funding", "final", "cash_rate"):
            a, b = getattr(one, field)[:n], getattr(two, field)[:n]
            assert np.array_equal(a, b, equal_nan=field == "values"), f"{field} differs by {one.time[n - 1]}"
        assert not np.array_equal(one.values[n:], two.values[n:], equal_nan=True)


@pytest.mark.parametrize("name", SYMBOLS)
def test_what_is_loaded_up_to_a_moment_was_known_by_then(root: Path, tmp_path: Path, name: str) -> None:
    history = load(stores.config(root, SYMBOLS[name]))
    assert history.columns[-4:] == ("mood", "index", "coin", "own") and history.cash_rate.all()
    assert np.isfinite(history.values).all() and len(history) == 19 * 24
    files_are_blind(root, tmp_path, name)


@pytest.mark.parametrize("name", SYMBOLS)
def test_an_environment_sees_and_fills_the_same(root: Path, tmp_path: Path, name: str) -> None:
    for one, two, n in pairs(root, tmp_path, name):
        env = maker(name, episode_bars=None)(one)
        env.reset(seed=0)
        engine = env.engine
        steps = int(np.searchsorted(engine.tape.time, one.time[n - 1])) - int(engine.row[0])
        actions = checks.sampled(env, steps)
        log = checks.walk(env, actions)
        assert steps > 40 and engine.tape.time[engine.row[0]] <= one.time[n - 1]
        checks.same(log, checks.walk(maker(name, episode_bars=None)(two), actions))


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_strategy_orders_and_fills_the_same(root: Path, tmp_path: Path, name: str) -> None:
    for one, two, n in pairs(root, tmp_path, name):
        first, second = (_traded(name, history) for history in (one, two))
        known = int(np.searchsorted(first.time, one.time[n - 1], side="right"))
        assert len(second) >= known
        for mine, other in zip(
            (*first.orders.terms, *first.fills.sums), (*second.orders.terms, *second.fills.sums), strict=True
        ):
            assert np.array_equal(mine[:known], other[:known], equal_nan=True)


def _traded(name: str, history: History) -> Record:
    market, agent = make(RULES[name], history)
    return checks.trade(market, agent, history)


def at_the_open(path: Path, opens: Int) -> int:
    return 0


def at_the_settlement(leg: panel.Leg, close: Int) -> Float:
    assert leg.rates is not None
    return np.append(leg.rates.values[:, 0], np.nan)[np.searchsorted(panel.settled(leg.rates), close, "right") - 1]


def at_the_candles_close(leg: panel.Leg, stamps: Int, rows: Int, values: Float) -> Float:
    assert leg.marks is not None
    return leg.marks.values[np.searchsorted(leg.marks.time, stamps, side="right") - 1, CLOSE]


def a_day_ahead(rate: str, root: Path) -> Any:
    series = read(rate, root)
    return series._replace(time=series.time - DAY)


read = cash.published


def stated_later(column: Any, table: Any) -> Int:
    return known(column._replace(delay=None if column.delay is None else 0), table) - HOUR


known = columns._known_from


@pytest.mark.parametrize(
    ("name", "room", "function", "cheat"),
    [
        ("spot", columns, "_timeframe", at_the_open),
        ("spot", columns, "_known_from", stated_later),
        ("perp", panel, "_rate_before", at_the_settlement),
        ("perp", panel, "_marks_at", at_the_candles_close),
        ("spot", cash, "published", a_day_ahead),
    ],
)
def test_a_loader_that_looks_ahead_is_caught(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, room: Any, function: str, cheat: Any
) -> None:
    files_are_blind(root, tmp_path / "honest", name)
    monkeypatch.setattr(room, function, cheat)
    with pytest.raises(AssertionError, match="differs by"):
        files_are_blind(root, tmp_path / "cheat", name)


def test_a_quarantine_that_takes_out_what_was_traded_is_caught(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a crash comes back is told by the bars that follow: it must not be gone from those before."""
    found = quality._spikes
    monkeypatch.setattr(
        quality, "_spikes", lambda series: ((k, rule, size, True) for k, rule, size, _ in found(series))
    )
    with pytest.raises(AssertionError, match="differs by"):
        files_are_blind(root, tmp_path, "spot")


def test_the_scrambled_store_is_another_one(root: Path, tmp_path: Path) -> None:
    """A test of the test: a moment before everything leaves nothing as it was."""
    whole = load(stores.config(root, SYMBOLS["funding"]))
    other = load(stores.config(stores.hidden(root, tmp_path / "all", 0), SYMBOLS["funding"]))
    assert (whole.values[:, :, :5] != other.values[:, :, :5]).all()
    assert (whole.values[:, :, -4:] != other.values[:, :, -4:]).all()
    assert (whole.cash_rate != other.cash_rate).all() and (whole.funding[:, 1] != other.funding[:, 1]).sum() > 50
    assert np.array_equal(replace(whole, values=other.values).time, other.time)
