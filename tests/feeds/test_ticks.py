"""Recorded ticks become runs of whole numbers; gaps, clocks and wrong files are told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, grid_of
from qframe_rl.book.tape import NO_ASK, NO_BID, tape_of
from qframe_rl.config import UserError
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.synthetic_ticks import events_of
from qframe_rl.feeds.tick_load import load_ticks
from qframe_rl.feeds.ticks import TickRun, standing, tick_runs

SPOT, PERP = Listing("binance", "BTC/USDT"), Listing("binance", "BTC/USDT:USDT")
MS = 1_000_000
T0 = 1_700_000_000_000


class Recording:
    """Files of a recording that is made up: a message a millisecond, one level each."""

    def __init__(self, root: Path, listing: Listing = PERP, n: int = 60, late_ms: float = 3.0):
        self.root, self.listing = root, listing
        at = T0 + np.arange(n)
        step = np.arange(n)
        self.depth = pd.DataFrame({
            "local_ts_ns": at * MS + int(late_ms * MS), "event_ms": at, "transact_ms": at,
            "first_update_id": 10 * step + 1, "final_update_id": 10 * step + 10, "prev_final_update_id": 10 * step,
            "side": np.where(step % 2 == 0, 1, -1).astype(np.int8),
            "price": np.where(step % 2 == 0, 100.0 - 0.1 * (step % 25), 100.1 + 0.1 * (step % 25)),
            "qty": 0.001 * (1 + step),
        })  # fmt: skip
        if listing.kind == "spot":
            self.depth["prev_final_update_id"], self.depth["transact_ms"] = -1, -1
        self.trades = pd.DataFrame({
            "local_ts_ns": at[::4] * MS + int(late_ms * MS), "event_ms": at[::4], "trade_ms": at[::4],
            "trade_id": 7 + np.arange(len(at[::4])), "price": 100.1, "qty": 0.002, "buyer_is_maker": False,
            "exec_type": "MARKET",
        })  # fmt: skip
        self.snapshot: pd.DataFrame | None = None

    def whole(self, last: int) -> None:
        """A snapshot of two levels."""
        self.snapshot = pd.DataFrame({
            "local_ts_ns": T0 * MS, "last_update_id": last, "side": np.array([1, -1], np.int8), "price": [100.0, 100.1],
            "qty": [1.0, 2.0],
        })  # fmt: skip

    def runs(self, **more: float) -> list[TickRun]:
        folder = self.root / "ticks" / self.listing.folder / self.listing.pair
        folder.mkdir(parents=True, exist_ok=True)
        self.depth.to_parquet(folder / "run_depth.parquet")
        self.trades.to_parquet(folder / "run_trades.parquet")
        if self.snapshot is not None:
            self.snapshot.to_parquet(folder / "run_snapshot.parquet")
        return tick_runs(self.root, self.listing, **more)  # type: ignore[arg-type]


def test_numbers_are_ticks_and_lots_and_arrive_after_they_happened(tmp_path: Path) -> None:
    recording = Recording(tmp_path, late_ms=-1500.0)
    (run,) = recording.runs()
    assert (run.tick, run.lot, run.ends) == (0.1, 0.001, "the file ends")
    depth = run.events.where(run.events.kind == DEPTH)
    np.testing.assert_array_equal(depth.lots, 1 + np.arange(60))
    np.testing.assert_array_equal(depth.tick, np.rint(recording.depth["price"] / 0.1))
    assert run.clock_shift_ns == 1501 * MS
    tape = tape_of(run.events, run.clock_shift_ns)
    assert (tape.local_ns - tape.exchange_ns).min() == MS


def test_trades_of_a_millisecond_come_before_its_depth_and_take_from_the_other_side(tmp_path: Path) -> None:
    (run,) = Recording(tmp_path).runs()
    tape = tape_of(run.events, run.clock_shift_ns)
    for row in tape.trades:
        same = tape.exchange_ns == tape.exchange_ns[row]
        assert row == np.flatnonzero(same)[0]
        assert tape.level_side[tape.level[row]] == 1 and tape.level_tick[tape.level[row]] == tape.tick[row]


@pytest.mark.parametrize("listing", [SPOT, PERP])
def test_a_gap_of_ids_ends_a_run_and_the_next_book_must_be_told_anew(tmp_path: Path, listing: Listing) -> None:
    recording = Recording(tmp_path, listing, n=12_000)
    recording.depth = recording.depth.drop(index=[500]).reset_index(drop=True)
    first, second = recording.runs()
    assert first.ends == "update ids have a gap" and second.ends == "the file ends"
    start = (T0 + 501) * MS
    assert second.events.exchange_ns.min() == start and second.ready_ns == start + 5_000 * MS
    assert first.ready_ns == 2**63 - 1 or first.ready_ns > first.events.exchange_ns.max(), "it was never whole"


def test_a_clock_that_steps_back_ends_a_run(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    recording.depth.loc[30:, ["event_ms", "transact_ms"]] -= 1_500
    assert [run.ends for run in recording.runs()] == ["the exchange's clock steps back", "the file ends"]


@pytest.mark.parametrize(
    ("listing", "last", "kept"), [(PERP, 95, 51), (PERP, 90, 52), (PERP, 91, 51), (SPOT, 95, 51), (SPOT, 90, 51)]
)
def test_a_snapshot_goes_on_with_the_message_that_holds_its_id(
    tmp_path: Path, listing: Listing, last: int, kept: int
) -> None:
    """Perpetuals keep u >= lastUpdateId, spot u > lastUpdateId."""
    recording = Recording(tmp_path, listing)
    recording.whole(last)
    (run,) = recording.runs()
    assert (run.events.kind == SNAPSHOT).sum() == 2 and (run.events.kind == DEPTH).sum() == kept
    assert run.dropped["depth before the snapshot"] == 60 - kept
    assert run.ready_ns == run.events.exchange_ns[run.events.kind == DEPTH].min()
    tape = tape_of(run.events, run.clock_shift_ns)
    assert (tape.kind[0], tape.bid[0], tape.ask[0]) == (SNAPSHOT, 1000, 1001) or tape.kind[0] == TRADE


def test_a_snapshot_that_no_message_goes_on_from_is_refused(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    recording.whole(10_000)
    with pytest.raises(UserError, match=r"run_snapshot.parquet: no message of run_depth.parquet goes on"):
        recording.runs()


def test_a_drift_of_the_clock_cuts_a_run_and_the_book_is_carried_over(tmp_path: Path) -> None:
    recording = Recording(tmp_path, n=150)
    at = T0 + 1000 * np.arange(150)
    late = np.where(np.arange(150) < 90, 3, 40)
    recording.depth["event_ms"] = recording.depth["transact_ms"] = at
    recording.depth["local_ts_ns"] = (at + late) * MS
    recording.trades = recording.trades.iloc[:0]
    recording.whole(5)
    _first, second, *_ = runs = recording.runs()
    assert [run.ends for run in runs] == ["the recorder's clock drifts"] * (len(runs) - 1) + ["the file ends"]
    whole, part = tape_of(recording.runs(drift_ns=10**12)[0].events), tape_of(second.events)
    at_cut = int(np.searchsorted(whole.exchange_ns, part.exchange_ns[0]))
    assert (part.bid[part.kind == DEPTH][0], part.ask[part.kind == DEPTH][0]) == (whole.bid[at_cut], whole.ask[at_cut])
    assert second.ready_ns == part.exchange_ns[0]


def test_what_is_no_trade_of_the_book_is_dropped_and_counted_and_equal_prints_are_two(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    n = len(recording.trades)
    again = recording.trades.iloc[[3]]
    other = recording.trades.iloc[[3]].assign(trade_id=999)
    fund = recording.trades.iloc[[4]].assign(trade_id=1000, exec_type="INSURANCE_FUND")
    none = recording.trades.iloc[[5]].assign(trade_id=1001, qty=0.0)
    recording.trades = pd.concat([recording.trades, again, other, fund, none], ignore_index=True)
    (run,) = recording.runs()
    assert (run.events.kind == TRADE).sum() == n + 1
    assert {why: run.dropped[why] for why in ("repeated trades", "empty trades", "prints beside the book")} == {
        "repeated trades": 1, "empty trades": 1, "prints beside the book": 1,
    }  # fmt: skip


def test_wrong_files_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no ticks of binance_um/BTC-USDT"):
        tick_runs(tmp_path, PERP)
    recording = Recording(tmp_path)
    recording.runs()
    (there,) = tmp_path.glob("ticks/*/*/run_depth.parquet")
    (there.parent / "second_depth.parquet").write_bytes(there.read_bytes())
    with pytest.raises(UserError, match=r"has no ticks of okx/DOGE-USDT; known: binance_um/BTC-USDT\."):
        tick_runs(tmp_path, Listing("okx", "DOGE/USDT"))
    (there.parent / "second_depth.parquet").unlink()
    with pytest.raises(UserError, match=r"run_depth.parquet: price: row 1 has 100.2, which is no multiple of 0.5"):
        recording.runs(tick=0.5)
    with pytest.raises(UserError, match=r"run_trades.parquet: qty: row 0 has 0.002"):
        recording.depth["qty"] = 0.004
        recording.runs(lot=0.004)
    recording.depth = recording.depth.assign(price=np.nan)
    with pytest.raises(UserError, match=r"run_depth.parquet: price: row 0 has nan"):
        recording.runs()
    recording = Recording(tmp_path)
    recording.depth["side"] = 2
    with pytest.raises(UserError, match="side is 1 for bids"):
        recording.runs()
    recording = Recording(tmp_path)
    recording.trades = recording.trades.drop(columns=["trade_id"])
    with pytest.raises(UserError, match="no column 'trade_id'"):
        recording.runs()
    with pytest.raises(UserError, match="a tape needs events"):
        tape_of(Recording(tmp_path).runs()[0].events.where(slice(0, 0)))


def test_a_level_that_the_other_side_passed_is_not_carried_over() -> None:
    """The ask of 100 is gone as a bid of 101 comes, although no row says so."""
    said = [(1, 100, 3), (1, 103, 4), (0, 101, 2), (0, 101, 5)]
    rows = events_of([(k, k, DEPTH, side, tick, lots, k) for k, (side, tick, lots) in enumerate(said)])
    book = standing(rows.where(slice(0, 3)), rows.where(slice(3, 4)))
    assert list(zip(book.side, book.tick, book.lots, strict=True)) == [(0, 101, 2), (1, 103, 4)]


def test_grids() -> None:
    assert grid_of(np.array([0.3, 0.1 + 0.2, 28165.4])) == 0.1
    assert grid_of(np.array([2.5, 5.0, 0.0])) == 0.5
    assert grid_of(np.array([20.0, 40.0])) == 20.0
    with pytest.raises(UserError, match="twelve"):
        grid_of(np.array([np.pi]))


@pytest.mark.parametrize(("steps", "tick"), [((0.5, 0.2), 0.1), ((0.25, 0.75), 0.25), ((0.1, 0.01), 0.01)])
def test_files_in_steps_that_are_no_multiples_of_each_other_are_read_in_one_that_is_of_both(
    tmp_path: Path, steps: tuple[float, float], tick: float
) -> None:
    for k, step in enumerate(steps):
        recording = Recording(tmp_path, SPOT)
        recording.depth["price"] = step * (400 + np.where(recording.depth["side"] == 1, 0, 7))
        recording.trades["price"] = 407 * step
        recording.runs()
        for file in (tmp_path / "ticks/binance/BTC-USDT").glob("run_*"):
            stated = {"tick": step, "lot": 0.001, "ends": "the file ends"}
            file.rename(file.with_name(f"{k}_{file.name}"))
            file.with_name(f"{k}_run_recording.json").write_text(json.dumps(stated))
    first, second = load_ticks(DataConfig(data=str(tmp_path), symbols=("BTC/USDT",))).runs
    assert first.tick == second.tick == tick
    for run, step in zip((first, second), steps, strict=True):
        np.testing.assert_allclose(run.events.tick[run.events.kind == TRADE] * tick, 407 * step)


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
def test_a_real_tape_has_the_best_prices_that_the_exchange_told() -> None:
    """BTC, July 2024: an uncorrected clock was 1.52 s slow, and the exchange's own stream of best prices agrees."""
    root = Path(os.environ["QFRAME_DATA"])
    run = tick_runs(root, PERP)[-1]
    assert 1_520 < run.clock_shift_ns / MS < 1_530
    tape = tape_of(run.events, run.clock_shift_ns)
    last = np.flatnonzero(np.append(tape.message[1:] != tape.message[:-1], True) & (tape.kind == DEPTH))
    assert (tape.bid[last] < tape.ask[last]).all() and tape.uncrossed == 0
    assert tape.bid[last].min() > NO_BID and tape.ask[last].max() < NO_ASK
    told = pd.read_parquet(root / "ticks/binance_um/BTC-USDT/20240718T2357_bbo.parquet")
    at = np.searchsorted(told["event_ms"] * MS, tape.exchange_ns[last], side="right") - 1
    for price, ours in (("bid_price", tape.bid), ("ask_price", tape.ask)):
        theirs = np.rint(told[price].to_numpy()[at] / 0.1).astype(np.int64)
        assert (theirs == ours[last]).mean() > 0.995
