"""Tests of a test: a strategy that looks elsewhere than in its view is caught, whichever way it looks."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from qframe_rl.agent import View
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import Orders, Segment
from tests.contracts import checks
from tests.contracts.denied import Denied, denied
from tests.contracts.test_agents import market_for
from tests.markets import panel

WAYS: dict[str, Callable[[Path], object]] = {
    "pandas": lambda place: pd.read_parquet(place / "bars.parquet"),
    "arrow": lambda place: pyarrow.parquet.read_table(place / "bars.parquet"),
    "arrow's file": lambda place: pyarrow.parquet.ParquetFile(place / "bars.parquet"),
    "csv": lambda place: pd.read_csv(place / "bars.csv"),
    "numpy": lambda place: np.load(place / "bars.npy"),
    "open": lambda place: (place / "bars.csv").read_text(),
    "descriptor": lambda place: os.open(place / "bars.csv", os.O_RDONLY),
    "program": lambda place: subprocess.run(["cat", str(place / "bars.csv")], check=True),
    "network": lambda _: socket.create_connection(("127.0.0.1", 9), timeout=1.0),
}


class Cheat:
    """Reads the bars that are to come from their file, and buys what will rise."""

    window = 2

    def __init__(self, place: Path):
        self.place = place

    def decide(self, view: View) -> Orders:
        bars = pd.read_parquet(self.place / "bars.parquet")
        row = min(int(np.searchsorted(bars["time"], view.time)) + 1, len(bars) - 1)
        rise = bars["close"].iloc[row] - bars["open"].iloc[row]
        return rebalance(view, np.full(len(view.account.position), np.sign(rise)))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    history = panel(500, 1, seed=3, volatility=0.01, ragged=False)
    frame = pd.DataFrame(history.values[:, 0, :5], columns=["open", "high", "low", "close", "volume"])
    frame["time"] = history.time
    frame.to_parquet(tmp_path / "bars.parquet")
    frame.to_csv(tmp_path / "bars.csv")
    np.save(tmp_path / "bars.npy", history.values)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
def test_it_cannot_look_elsewhere(way: str, place: Path) -> None:
    with pytest.raises(Denied), denied():
        WAYS[way](place)
    if way != "network":
        WAYS[way](place)


def test_one_who_hides_the_refusal_is_found_out(place: Path) -> None:
    with pytest.raises(Denied, match=r"bars\.csv"), denied(), suppress(Denied):
        (place / "bars.csv").read_text()


def test_a_thread_that_it_begins_cannot_look_elsewhere(place: Path) -> None:
    def look() -> None:
        with suppress(Denied):
            (place / "bars.csv").read_text()

    with pytest.raises(Denied, match=r"bars\.csv"), denied():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()


def test_what_ran_before_goes_on_and_so_does_what_it_begins(place: Path) -> None:
    """Ray's threads connect whenever they want to, long after a test that began it."""
    inside, done = threading.Event(), threading.Event()
    read: list[str] = []

    def look() -> None:
        read.append((place / "bars.csv").read_text())

    def run() -> None:
        inside.wait(60)
        look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(60)
        done.set()

    before = threading.Thread(target=run)
    before.start()
    with denied():
        inside.set()
        assert done.wait(60)
    before.join()
    assert len(read) == 2


def test_a_cheat_grows_rich_unwatched_and_is_caught_by_the_contract(place: Path) -> None:
    history = panel(500, 1, seed=3, volatility=0.01, ragged=False)
    market = market_for(history)
    segment = Segment(len(history) // 2, len(history))
    assert backtest(market, Cheat(place), history, segment, 24).account.equity[-1] > 2 * market.cash
    with pytest.raises(Denied, match=r"bars\.parquet"):
        checks.trade(market, Cheat(place), history)
    with pytest.raises(Denied):
        checks.agent_is_deterministic(market, Cheat(place), history)
