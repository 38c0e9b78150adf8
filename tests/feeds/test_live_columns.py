"""Columns of a live session: the bits of the batch, blind to what had not come, and nothing wrong is hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.download import download
from qframe_rl.feeds.feed_record import add_texts
from qframe_rl.feeds.items import FeedItem
from qframe_rl.feeds.live_columns import LiveColumns
from qframe_rl.feeds.store import load_store
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.types import HOUR, MINUTE, Bar, History, parse_time
from tests.feeds.test_ccxt import FakeClock, unhurried
from tests.loopback import Loopback, loopback

START = parse_time("2024-01-01")
SAID = ("Bitcoin rallies", "Bitcoin crashes", "A conference was held", "Miners sell", "Inflows surge")


class Press(FakeClock):
    """A clock beside which a recorder of feeds writes down what has come by now."""

    def __init__(self, now: int, folder: Path):
        super().__init__(now)
        rng = np.random.default_rng(7)
        came = np.sort(START + rng.integers(80 * HOUR, 130 * HOUR, 200)).tolist()
        self.coming = [(t, f"{SAID[rng.integers(5)]} {rng.integers(60)}") for t in came]
        self.folder = folder
        folder.mkdir()
        self.write()

    def write(self) -> None:
        while self.coming and self.coming[0][0] <= self.time:
            received, said = self.coming.pop(0)
            add_texts(self.folder, [FeedItem(said, "", received - HOUR, "")], received)

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        self.write()


@pytest.fixture
def press(tmp_path: Path) -> Press:
    return Press(START + 100 * HOUR + 10 * MINUTE, tmp_path / "press")


@pytest.fixture
def server(press: Press) -> Iterator[Loopback]:
    with loopback(START // 10**6, lambda: press.time // 10**6) as state:
        yield state


def test_a_session_that_reads_while_the_recorder_writes_has_the_bits_of_the_batch(
    server: Loopback, press: Press, tmp_path: Path
) -> None:
    specs = [f"{s}=texts:press:{s}:6h" for s in ("count", "mean", "sum", "novelty")]
    notes: list[str] = []
    live = CcxtFeed(
        "binance", ("BTC/USDT",), "1h", 10, url=server.url, clock=press, columns=specs, root=tmp_path, note=notes.append
    )
    got: list[Bar] = list(islice(unhurried(live), 35))
    assert len(press.coming) > 0, "the recorder has not written all when the last bar comes"
    press.time += 100 * HOUR
    press.write()
    download("binance", ("BTC/USDT",), "1h", START, root=tmp_path, url=server.url)
    history = extend(load_store(tmp_path, "binance", ("BTC/USDT",), "1h"), specs, tmp_path)
    rows = np.searchsorted(history.time, [bar.time for bar in got])
    whole = history.values[rows]
    assert np.stack([bar.values for bar in got]).tobytes() == whole.tobytes()
    assert len(np.unique(whole[:, 0, 5])) > 5 and notes == []


def test_a_file_that_is_missing_at_the_beginning_is_refused_and_later_is_told(
    server: Loopback, press: Press, tmp_path: Path
) -> None:
    notes: list[str] = []
    mood = tmp_path / "mood.csv"

    def feed() -> CcxtFeed:
        return CcxtFeed(
            "binance", ("BTC/USDT",), "1h", 10, url=server.url, clock=press, columns=("mood=mood.csv:mood:0s",),
            root=tmp_path, note=notes.append,
        )  # fmt: skip

    with pytest.raises(UserError, match="no such file"):
        next(iter(feed()))
    mood.write_text("timestamp,mood\n2024-01-05T01:30,3\n")
    bars = iter(unhurried(feed()))
    got = list(islice(bars, 12))
    mood.unlink()
    got += islice(bars, 2)
    mood.write_text("timestamp,mood\n2024-01-05T01:30,3\n2024-01-05T09:30,4\n")
    got += islice(bars, 3)
    np.testing.assert_array_equal([bar.values[0, 5] for bar in got[-7:]], [3, 3, np.nan, np.nan, 3, 4, 4])
    assert notes[0].startswith("column mood has no value until this is mended: ") and "no such file" in notes[0]
    assert notes[1] == "column mood can be read again."


def few(n: int = 12) -> History:
    made = synthetic("gbm", n_bars=100, seed=0, bar_ns=HOUR).rows(0, n)
    return replace(made, time=START + HOUR * np.arange(1, n + 1, dtype=np.int64))


def test_a_value_that_came_late_is_told_and_not_slipped_in(tmp_path: Path) -> None:
    notes: list[str] = []
    mood, bars = tmp_path / "mood.csv", few()
    mood.write_text("timestamp,mood\n2024-01-01T00:30,3\n")
    columns = LiveColumns(("mood=mood.csv:mood:0s",), tmp_path, notes.append)
    first = columns.joined(bars.rows(0, 2), strict=True)
    assert columns.joined(bars.rows(2, 3), strict=False).values[0, 0, -1] == 3.0 and notes == []
    mood.write_text("timestamp,mood\n2024-01-01T00:30,3\n2024-01-01T02:30,4\n")
    later = columns.joined(bars.rows(3, 4), strict=False)
    assert notes == ["column mood: what was known at 2024-01-01 03:00 came late; the bar had 3, and would have 4 now."]
    assert (first.values[-1, 0, -1], later.values[0, 0, -1]) == (3.0, 4.0)
    columns.joined(bars.rows(4, 5), strict=False)
    assert len(notes) == 1


def test_silence_is_told_once_and_its_end(tmp_path: Path) -> None:
    notes: list[str] = []
    mood, bars = tmp_path / "mood.csv", few()
    mood.write_text("timestamp,mood\n2024-01-01T00:30,3\n")
    columns = LiveColumns(("mood=mood.csv:mood:0s:2h",), tmp_path, notes.append)
    for row in range(8):
        columns.joined(bars.rows(row, row + 1), strict=False)
    assert notes == ["column mood has no value, for 3 bars now."]
    mood.write_text("timestamp,mood\n2024-01-01T00:30,3\n2024-01-01T08:30,4\n")
    columns.joined(bars.rows(8, 9), strict=False)
    assert notes[1:] == ["column mood has values again."]


def test_without_columns_nothing_is_read(tmp_path: Path) -> None:
    bars = few(3)
    assert LiveColumns((), tmp_path, print).joined(bars, strict=True) is bars
