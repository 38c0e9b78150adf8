"""Texts in columns: each once, never before it was known, and the same live as over a whole history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.text.score import score
from qframe_rl.types import DAY, HOUR, SECOND, History, iso, parse_time

START = parse_time("2024-01-01")
UP, DOWN, FLAT = "Bitcoin rallies", "Bitcoin crashes", "A conference was held"


def hours(n: int, names: tuple[str, ...] = ()) -> History:
    """Bars that close at 1:00, 2:00, ... of the first day."""
    made = synthetic("gbm", n_bars=max(n, 100), seed=0, bar_ns=HOUR).rows(0, n)
    return replace(made, time=START + HOUR * np.arange(1, n + 1, dtype=np.int64))


def write(path: Path, *rows: str, head: str = "timestamp,text") -> Path:
    path.write_text("\n".join([head, *rows]))
    return path


def joined(root: Path, *specs: str, n: int = 8) -> np.ndarray:
    """(T, S) of one instrument."""
    history = hours(n)
    return extend(history, specs, root).values[:, 0, 5 + len(history.columns) :]


def test_how_many_came_and_what_they_say(tmp_path: Path) -> None:
    write(tmp_path / "news.csv", f"2024-01-01T00:10,{FLAT}", f"2024-01-01T01:20,{UP}", f"2024-01-01T02:56,{DOWN}")
    got = joined(tmp_path, *(f"{s}=texts:news.csv:{s}:1h" for s in ("count", "mean", "novelty")), n=6)
    # What is stamped at 2:56 is known at 3:01, and so not at the close of the third hour. The first hour of a file
    # does not say what came before.
    np.testing.assert_array_equal(got[:, 0], [np.nan, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(got[:, 1], [np.nan, score(UP), np.nan, score(DOWN), np.nan, np.nan])
    np.testing.assert_array_equal(got[:, 2], [np.nan, 1, np.nan, 1, np.nan, np.nan])


def test_a_file_without_rows_says_nothing_yet(tmp_path: Path) -> None:
    write(tmp_path / "news.csv", "")
    assert np.isnan(joined(tmp_path, "n=texts:news.csv:count:1h", "m=texts:news.csv:mean:1h")).all()


def test_the_sum_decays(tmp_path: Path) -> None:
    write(tmp_path / "news.csv", f"2024-01-01T00:55,{UP}", f"2024-01-01T01:55,{UP} again")
    got = joined(tmp_path, "sum=texts:news.csv:sum:2h", n=20)[:, 0]
    first, second, e = score(UP), score(f"{UP} again"), np.exp
    np.testing.assert_allclose(got[2:4], [first * e(-1.0) + second * e(-0.5), first * e(-1.5) + second * e(-1.0)])
    # After 8 windows the last trace of the first is left out.
    np.testing.assert_allclose(got[16:18], [second * e(-7.5), 0.0], atol=1e-16)


def test_novelty_is_the_share_of_new_words(tmp_path: Path) -> None:
    rows = ("2024-01-01T00:10,miners sell coins", "2024-01-01T01:10,miners buy coins", "2024-01-01T05:10,miners buy")
    got = joined(tmp_path, "new=texts:" + write(tmp_path / "n.csv", *rows).name + ":novelty:2h", n=8)[:, 0]
    np.testing.assert_allclose(got, [np.nan, np.nan, 1 / 3, np.nan, np.nan, 1.0, 1.0, np.nan])


def test_a_day_is_known_at_its_end(tmp_path: Path) -> None:
    """No spelling shows a text that is stamped by its day before that day is over."""
    write(tmp_path / "days.csv", "2023-12-30,older", "2024-01-01,today")
    write(tmp_path / "told.csv", "2023-12-30,older", "2024-01-01,today", head="published,title")
    got = joined(tmp_path, "a=texts:days.csv:count:1d", "b=texts:told.csv:count:1d:5m", n=50)
    at = START + HOUR * np.arange(1, 51)
    for column in got.T:
        np.testing.assert_array_equal(
            column > 0, (at >= START + DAY + 300 * SECOND) & (at < START + 2 * DAY + 300 * SECOND)
        )


def test_what_comes_again_counts_once_and_by_its_first_stamp(tmp_path: Path) -> None:
    write(
        tmp_path / "news.csv",
        "2024-01-01T04:10,bitcoin   RALLIES",
        f"2024-01-01T00:10,{FLAT}",
        f"2024-01-01T02:10,{UP}",
    )
    got = joined(tmp_path, "n=texts:news.csv:count:1h")[:, 0]
    np.testing.assert_array_equal(got, [np.nan, 0, 1, 0, 0, 0, 0, 0])


def test_texts_that_were_received_are_known_from_then_on(tmp_path: Path) -> None:
    rows = (
        f"2024-01-01T00:01,2024-01-01T00:02,{FLAT}",
        f"2024-01-01T01:10,2024-01-01T03:30,{UP}",
        f"2024-01-01T05:30,2024-01-01T04:30,{DOWN}",
    )
    write(tmp_path / "feed.csv", *rows, head="published,received,text")
    got = joined(tmp_path, "n=texts:feed.csv:count:1h", "late=texts:feed.csv:count:1h:1h")
    np.testing.assert_array_equal(got[:, 0], [np.nan, 0, 0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(got[:, 1], [np.nan, np.nan, 0, 0, 1, 0, 1, 0])
    # Ten seconds are between a reception and the file.
    write(tmp_path / "edge.csv", f"2024-01-01T00:01,{FLAT}", f"2024-01-01T02:59:51,{UP}", head="received,text")
    np.testing.assert_array_equal(joined(tmp_path, "n=texts:edge.csv:count:1h")[:5, 0], [np.nan, 0, 0, 1, 0])


def test_silence_of_the_feed_is_no_silence_in_the_news(tmp_path: Path) -> None:
    write(tmp_path / "news.csv", f"2024-01-01T00:10,{FLAT}", f"2024-01-01T02:55,{UP}")
    got = joined(tmp_path, "n=texts:news.csv:count:1h:5m:2h", "all=texts:news.csv:count:1h")
    np.testing.assert_array_equal(got[:, 0], [np.nan, 0, 1, 0, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(got[:, 1], [np.nan, 0, 1, 0, 0, 0, 0, 0])


def test_every_instrument_its_own_texts(tmp_path: Path) -> None:
    two = synthetic("correlated", n_bars=100, seed=0, bar_ns=HOUR).rows(0, 6)
    two = replace(two, time=START + HOUR * np.arange(1, 7, dtype=np.int64))
    a, b = two.symbols[:2]
    rows = (f"2024-01-01T00:10,{a},{FLAT}", f"2024-01-01T01:10,{a},{UP}", f"2024-01-01T01:20,{b},{UP}")
    write(tmp_path / "news.csv", *rows, f"2024-01-01T01:30,{b},{DOWN}", head="timestamp,symbol,text")
    got = extend(two, ("n=texts:news.csv:count:1h",), tmp_path).values[:, :, -1]
    np.testing.assert_array_equal(got[:, :2], [[np.nan] * 2, [1, 2], [0, 0], [0, 0], [0, 0], [0, 0]])


def test_a_live_bar_has_the_bits_of_the_batch_and_a_later_text_changes_none(tmp_path: Path) -> None:
    """Bar by bar with a file that grows, as a session sees it, against one look at all of it."""
    rng = np.random.default_rng(5)
    received = np.sort(START + rng.integers(0, 60 * HOUR, 300))
    said = [f"{(UP, DOWN, FLAT)[rng.integers(3)]} {rng.integers(40)}" for _ in received]
    specs = [
        f"{s}=texts:feed:{s}:{w}:0s" for s, w in (("count", "6h"), ("mean", "6h"), ("sum", "3h"), ("novelty", "1d"))
    ]
    (tmp_path / "feed").mkdir()

    def keep(n: int) -> None:
        for k, part in enumerate((slice(0, min(n, 150)), slice(150, max(n, 150)))):
            stamps = pa.array(received[part], pa.timestamp("ns", "UTC"))
            pq.write_table(pa.table({"received": stamps, "text": said[part]}), tmp_path / "feed" / f"{k}.parquet")

    keep(len(received))
    whole = extend(hours(60), specs, tmp_path)
    for row in range(0, 60, 7):
        keep(int(np.searchsorted(received, whole.time[row], side="right")))
        one = extend(hours(60).rows(row, row + 1), specs, tmp_path)
        assert one.values.tobytes() == whole.values[row : row + 1].tobytes()


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            "n=texts:news.csv:count",
            r"is not NAME=texts:FILE:STATISTIC:WINDOW\[:DELAY\[:AGE\]\], .* count, mean, sum, novelty",
        ),
        ("n=texts:news.csv:means:1h", "texts have no 'means'; did you mean 'mean'"),
        ("n=texts:absent.csv:mean:1h", "no such file"),
        ("n=texts:news.csv:mean:1h:1m", "known 5m after their stamps or later; a delay of 1m shows them too early"),
        ("n=texts:news.csv:mean:1h:0s", "a delay of 0s shows them too early"),
        ("n=texts:bare.csv:mean:1h", "no column 'received', 'published' or 'timestamp' says when"),
        ("n=texts:numbers.csv:mean:1h", "no column 'text'; it has timestamp, value"),
        ("n=texts:hole.csv:mean:1h", "row 2 has no text; drop it"),
        ("n=texts:early.csv:mean:1h", "2024-01-01 03:00:00 was published at 2024-01-01 02:00:00, before it"),
        ("n=texts:folder:mean:1h", "no .parquet file in this folder"),
        ("n=texts:mixed:mean:1h", "mixed: the files of this folder do not go together .*timestamp"),
        ("n=texts:latin.csv:mean:1h", "latin.csv: the text of row 1 is not UTF-8; write the file anew in it"),
        ("n=texts:spoiled.parquet:mean:1h", "not a readable Parquet file .*UTF8"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, spec: str, text: str) -> None:
    write(tmp_path / "news.csv", f"2024-01-01T00:10,{UP}")
    write(tmp_path / "bare.csv", UP, head="text")
    write(tmp_path / "numbers.csv", "2024-01-01T00:10,1", head="timestamp,value")
    write(tmp_path / "hole.csv", f"2024-01-01T00:10,{UP}", "2024-01-01T00:20,")
    write(tmp_path / "early.csv", f"2024-01-01T03:00,2024-01-01T02:00,{UP}", head="timestamp,published,text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.csv").write_bytes("timestamp,text\n2024-01-01T00:10,Caf\xe9\n".encode("latin-1"))
    stamps = [pa.array([START], pa.timestamp("ns", "UTC")), pa.array(["2024-01-01"])]
    for k, stamp in enumerate(stamps):
        (tmp_path / "mixed").mkdir(exist_ok=True)
        pq.write_table(pa.table({"timestamp": stamp, "text": [UP]}), tmp_path / "mixed" / f"{k}.parquet")
    spoiled = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"timestamp": stamps[0], "text": spoiled}), tmp_path / "spoiled.parquet")
    with pytest.raises(UserError, match=text) as caught:
        joined(tmp_path, spec)
    assert "\n" not in str(caught.value)


def test_stamps_of_the_future_change_nothing_before_them(tmp_path: Path) -> None:
    """Scramble all texts that are known after a close: nothing up to it changes."""
    rng = np.random.default_rng(2)
    at = np.sort(START + rng.integers(0, 40 * HOUR, 200))
    lines = [f"{iso(int(t)).replace(' ', 'T')},{(UP, DOWN, FLAT)[rng.integers(3)]} {k}" for k, t in enumerate(at)]
    specs = [f"{s}=texts:news.csv:{s}:4h" for s in ("count", "mean", "sum", "novelty")]
    write(tmp_path / "news.csv", *lines)
    before = joined(tmp_path, *specs, n=40)
    cut = int(np.searchsorted(at, START + 20 * HOUR - 300 * SECOND, side="right"))
    write(
        tmp_path / "news.csv", *lines[:cut], *(f"{line.split(',')[0]},crash {k}" for k, line in enumerate(lines[cut:]))
    )
    after = joined(tmp_path, *specs, n=40)
    assert before[:20].tobytes() == after[:20].tobytes()
    assert before.tobytes() != after.tobytes()
