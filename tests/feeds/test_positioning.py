"""Open interest and ratios of accounts, by a real client from a small exchange on 127.0.0.1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments.cli import door
from experiments.download import main as body
from qframe_rl.config import UserError
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.positioning import SavedStatistic, download_statistics
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.types import HOUR, MINUTE, iso, parse_time
from tests.loopback import Loopback, loopback

main = partial(door, body)
START = parse_time("2024-01-01")
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


@pytest.fixture
def server() -> Iterator[Loopback]:
    now = (START + 1_000 * HOUR) // 1_000_000
    with loopback(START // 1_000_000, lambda: now) as state:
        yield state


def fetch(
    server: Loopback, root: Path, first: int, last: int, *symbols: str, kind: str = "open_interest"
) -> list[SavedStatistic]:
    span = (START + first * HOUR, START + last * HOUR)
    return list(
        download_statistics((kind,), "binance", symbols or (BTC,), "1h", *span, root=root, url=server.url, pause_s=0.01)
    )


def test_all_of_it_comes_through_faults_once(server: Loopback, tmp_path: Path) -> None:
    server.faults = {1: "429", 3: "drop", 5: "broken", 7: "502"}
    (one,) = fetch(server, tmp_path, 0, 350)
    assert one.path == tmp_path / "series" / "binance_um" / "open_interest_1h.parquet"
    rows = pq.read_table(one.path).to_pylist()
    assert [row["timestamp"].value for row in rows] == [START + k * HOUR for k in range(351)]
    assert all(row["published"].value == row["timestamp"].value + HOUR + MINUTE for row in rows)
    stamp = rows[7]["timestamp"].value / 1e6
    assert (
        rows[7]["open_interest"] == pytest.approx(1e5 + stamp / 3.6e6 % 1e3) and rows[7]["open_interest_value"] == 1.5
    )
    assert (one.rows, one.added, one.odd) == (351, 351, 0)


def test_it_grows_at_both_ends_and_asks_for_nothing_twice(server: Loopback, tmp_path: Path) -> None:
    fetch(server, tmp_path, 100, 150)
    before = server.data_requests
    (one,) = fetch(server, tmp_path, 100, 150)
    assert (one.added, server.data_requests) == (0, before)
    (one,) = fetch(server, tmp_path, 50, 200)
    assert (one.rows, one.added, one.first, one.last) == (151, 100, START + 50 * HOUR, START + 200 * HOUR)


def test_each_symbol_has_its_rows_and_a_column_its_instrument(server: Loopback, tmp_path: Path) -> None:
    one, two = fetch(server, tmp_path, 0, 30, BTC, ETH, kind="long_short")
    assert one.path == two.path and (one.rows, two.rows) == (31, 31)
    made = synthetic("gbm", n_bars=100, seed=0, bar_ns=HOUR).rows(0, 4)
    named = replace(made.instruments[0], symbol=BTC)
    history = replace(made, instruments=(named,), time=START + HOUR * np.arange(1, 5))
    spec = "ls=series/binance_um/long_short_1h.parquet:long_short_ratio"
    got = extend(history, (spec,), tmp_path).values[:, 0, -1]
    said = [row["long_short_ratio"] for row in pq.read_table(one.path).to_pylist() if row["symbol"] == BTC]
    # The row of hour 0 is published at 1:01, after the first close.
    np.testing.assert_array_equal(got, [np.nan, *said[:3]])


def test_rows_that_say_nothing_are_left_out_and_counted(server: Loopback, tmp_path: Path) -> None:
    server.spoiled_rates = {(START + 3 * HOUR) // 1_000_000: "none"}
    (one,) = fetch(server, tmp_path, 0, 9, kind="long_short")
    assert (one.rows, one.odd) == (9, 1)


@pytest.mark.parametrize(
    ("kinds", "exchange", "symbol", "why"),
    [
        (("open_intrest",), "binance", BTC, "unknown statistic 'open_intrest'; did you mean 'open_interest'"),
        (("open_interest",), "binance", "BTC/USDT", "BTC/USDT is spot"),
        (("open_interest",), "binance", "BTX/USDT:USDT", "no perpetual symbol"),
    ],
)
def test_what_there_is_not(
    server: Loopback, tmp_path: Path, kinds: tuple[str], exchange: str, symbol: str, why: str
) -> None:
    with pytest.raises(UserError, match=why):
        download_statistics(kinds, exchange, (symbol,), "1h", START, root=tmp_path, url=server.url)


def test_the_door(server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--statistics", "open_interest,long_short", "--symbols", BTC, "--since", "2024-01-01", "--url", server.url]
    argv += ["--data", str(tmp_path), "--until", iso(START + 50 * HOUR).replace(" ", "T"), "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)["statistics"]
    assert [(one["rows"], one["first"], one["odd"]) for one in found] == [(51, "2024-01-01 00:00:00", 0)] * 2
