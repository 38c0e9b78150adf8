"""Columns of bars from recorded ticks: sums that files say, known at the close, and none where there are no ticks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qframe_rl.book.features import book_features
from qframe_rl.config import UserError
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import Listing, listing
from qframe_rl.feeds.load import live, load
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.store import load_store
from qframe_rl.feeds.tick_columns import bar_signals
from qframe_rl.feeds.ticks import tick_runs
from qframe_rl.types import MINUTE, History, Int, parse_time
from tests.feeds.test_ticks import MS, T0, Recording

SPOT = Listing("binance", "BTC/USDT")
SECOND = 10**9
OPEN = T0 * MS // MINUTE * MINUTE


def history_of(root: Path, opens: Int, timeframe: str = "1m", exchange: str = "binance") -> History:
    """Bars of one coin that rise a little."""
    values = np.array([100.0, 101.0, 99.0, 100.0, 7.0]) + 0.01 * np.arange(len(opens))[:, None]
    parquet.write(store.bars_path(root, listing(exchange, "BTC/USDT"), timeframe), PRICES, Series(opens, values))
    return load_store(root, exchange, ("BTC/USDT",), timeframe, funding="zero")


def recorded(root: Path) -> Recording:
    """Nearly three minutes of spot, a message a second, all of it 3 ms late."""
    made = Recording(root, SPOT, n=160)
    for table, every in ((made.depth, 1), (made.trades, 4)):
        at = OPEN // MS + 30_000 + 1_000 * np.arange(0, 160, every)[: len(table)]
        for name in {"event_ms", "transact_ms", "trade_ms"} & set(table.columns):
            table[name] = np.where(table[name] < 0, -1, at)
        table["local_ts_ns"] = at * MS + 3 * MS
    made.whole(10)
    return made


def test_a_bar_that_ticks_cover_has_them_and_no_other(tmp_path: Path) -> None:
    made = recorded(tmp_path)
    made.runs()
    history = history_of(tmp_path, OPEN + MINUTE * np.arange(6))
    got = extend(
        history, ("flow=ticks:flow", "n=ticks:trades", "tilt=ticks:imbalance:5", "size=ticks:volume"), tmp_path
    )
    assert got.columns == ("flow", "n", "tilt", "size")
    columns = got.values[:, 0, 5:]
    covered = ~np.isnan(columns).any(axis=1)
    assert np.flatnonzero(covered).tolist() == [1, 2] and np.isnan(columns[~covered]).all()
    for row in (1, 2):
        close = int(history.time[row])
        local = made.trades["local_ts_ns"].to_numpy()
        n = int(((local > close - MINUTE) & (local <= close)).sum())
        assert columns[row, 1] == n == 15 and columns[row, [0, 3]] == pytest.approx(0.002 * n)
        assert -1.0 < columns[row, 2] < 1.0


def test_what_arrives_after_the_close_is_not_in_the_bar(tmp_path: Path) -> None:
    """Trades that happened in a bar and were received after it count in the next one."""
    made = recorded(tmp_path)
    history = history_of(tmp_path, OPEN + MINUTE * np.arange(6))
    made.runs()
    before = extend(history, ("n=ticks:trades",), tmp_path).values[:, 0, 5]
    happened = made.trades["trade_ms"].to_numpy() * MS
    last = np.flatnonzero(happened < history.time[1])[-1]
    made.trades.loc[last, "local_ts_ns"] = int(history.time[1]) + 1
    made.runs()
    after = extend(history, ("n=ticks:trades",), tmp_path).values[:, 0, 5]
    np.testing.assert_array_equal(after - before, [np.nan, -1.0, 1.0, np.nan, np.nan, np.nan])


def test_by_the_door(tmp_path: Path) -> None:
    recorded(tmp_path).runs()
    history_of(tmp_path, OPEN + MINUTE * np.arange(6))
    asked = DataConfig(
        data=str(tmp_path), symbols=("BTC/USDT",), timeframe="1m", columns=("f=ticks:ofi", "g=ticks:ofi:2")
    )
    got = load(asked)
    assert got.columns == ("f", "g") and np.isfinite(got.values[1:3, 0, 5:]).all()
    with pytest.raises(UserError, match="'f=ticks:ofi' is of recorded ticks, which a session on coming bars does not"):
        live(asked, 10)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("f=ticks:ofu", "column 'f=ticks:ofu': ticks give bars no 'ofu'; did you mean 'ofi'?"),
        ("f=ticks:", "ticks give bars no ''; known: "),
        ("f=ticks:micro", "ticks give bars no 'micro'"),
        ("f=ticks:imbalance", "of a book is written imbalance:5."),
        ("f g=ticks:ofi", "is not NAME=FILE:COLUMN"),
    ],
)
def test_a_wrong_column_is_told(tmp_path: Path, spec: str, sentence: str) -> None:
    recorded(tmp_path).runs()
    history = history_of(tmp_path, OPEN + MINUTE * np.arange(6))
    with pytest.raises(UserError) as told:
        extend(history, (spec,), tmp_path)
    assert sentence in str(told.value)


def test_bars_without_ticks_are_told(tmp_path: Path) -> None:
    history = history_of(tmp_path, parse_time("2020-01-01") + MINUTE * np.arange(6))
    with pytest.raises(UserError, match="has no ticks of binance/BTC-USDT"):
        extend(history, ("f=ticks:ofi",), tmp_path)
    recorded(tmp_path).runs()
    with pytest.raises(UserError, match="no bar of BTC/USDT lies within its recorded ticks, 2023-11-14"):
        extend(history, ("f=ticks:ofi",), tmp_path)
    with pytest.raises(UserError, match="'f' is taken"):
        covered = history_of(tmp_path, OPEN + MINUTE * np.arange(6))
        extend(covered, ("f=ticks:ofi", "f=ticks:flow"), tmp_path)


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
def test_on_a_real_tape() -> None:
    """Spot bitcoin, six bars of a minute: sums of trades are the file's, and flows add up over shorter bars."""
    root = Path(os.environ["QFRAME_DATA"])
    runs = tick_runs(root, SPOT)
    first = int(runs[0].events.local_ns[0])
    close = (first // MINUTE + 1) * MINUTE + MINUTE * np.arange(9)
    names = ("ofi", "flow", "volume", "trades")
    found = bar_signals(runs, close, MINUTE, book_features([f"{name}:1m" for name in names] + ["imbalance:1"]))
    covered = ~np.isnan(found).any(axis=1)
    assert covered.sum() >= 5 and not covered[[0, -1]].any()
    trades = pd.read_parquet(next(root.glob("ticks/binance/BTC-USDT/*_trades.parquet"))).drop_duplicates("trade_id")
    local = trades["local_ts_ns"].to_numpy() + runs[0].clock_shift_ns
    for row in np.flatnonzero(covered):
        some = trades[(local > close[row] - MINUTE) & (local <= close[row])]
        signed = np.where(some["buyer_is_maker"], -1.0, 1.0) * some["qty"]
        assert found[row, 1:4] == pytest.approx([signed.sum(), some["qty"].sum(), len(some)], abs=1e-9)
    short = close[covered][:, None] - MINUTE + 10 * SECOND * np.arange(1, 7)[None, :]
    parts = bar_signals(runs, short.ravel(), 10 * SECOND, book_features([f"{name}:10s" for name in names]))
    np.testing.assert_allclose(parts.reshape(-1, 6, 4).sum(axis=1), found[covered, :4], atol=1e-9)
    assert (np.abs(found[covered, 4]) < 1.0).all() and found[covered, 0].any()
