"""What is recorded of live ticks is what was told, to the bit, however the recording was broken."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import download
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events, joined
from qframe_rl.book.tape import tape_of
from qframe_rl.config import UserError
from qframe_rl.feeds import tick_record, tick_wire
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.parquet import alone
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.feeds.tick_chain import RowsTold, RunBegins, RunEnds, Told
from qframe_rl.feeds.tick_files import RunFiles
from qframe_rl.feeds.tick_record import FileSizes, RecordedTicks, record_ticks
from qframe_rl.feeds.tick_stream import TickStream
from qframe_rl.feeds.ticks import BESIDE, EMPTY, REPEATED, TickRun, tick_runs, ticks_folder
from qframe_rl.rehearsal import serve
from qframe_rl.rehearsal.ticks import tick_market
from qframe_rl.types import Instrument
from tests.docs.test_json import listed
from tests.feeds.tick_exchange import TickExchange

SPOT, PERP = Listing("binance", "BTC/USDT"), Listing("binance", "BTC/USDT:USDT")
SMALL = FileSizes(part_s=0.2, part_rows=150)


def recorded(
    exchange: TickExchange, root: Path, sizes: FileSizes = SMALL, *,
    see: Callable[[RecordedTicks], None] = lambda so_far: None, clock: Callable[[], int] | None = None,
) -> RecordedTicks:  # fmt: skip
    """Record until the run is over."""
    stop = threading.Event()

    def report(so_far: Any) -> None:
        see(so_far[0])
        if exchange.done:
            stop.set()

    with exchange.running():
        (one,) = record_ticks(
            "binance", [exchange.listing.symbol], root, url=exchange.url, sizes=sizes, stop=stop, report=report,
            clock=clock or exchange.clock,
        )  # fmt: skip
    return one


def live(exchange: TickExchange) -> list[Told]:
    """What the stream tells until the run is over."""

    async def listen() -> list[Told]:
        heard = []
        stream = TickStream("binance", exchange.listing, url=exchange.url, clock=exchange.clock)
        async with aclosing(stream.told()) as everything:
            async for told in everything:
                heard.append(told)
                if isinstance(told, RowsTold) and told.message.local_ns == exchange.frames[-1].local_ns:
                    break
        return heard

    with exchange.running():
        return asyncio.run(listen())


def same(found: Events, wanted: Events) -> None:
    for name, one, other in zip(Events._fields, found, wanted, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def manifests(exchange: TickExchange, root: Path) -> list[dict[str, Any]]:
    folder = ticks_folder(root, exchange.listing)
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*_recording.json"))]


def first_of(exchange: TickExchange, kind: int, after: int) -> int:
    return next(k for k, frame in enumerate(exchange.frames) if frame.kind == kind and k >= after)


@pytest.mark.parametrize("listing", [SPOT, PERP])
def test_what_is_recorded_is_what_was_told_to_the_bit(tmp_path: Path, listing: Listing) -> None:
    exchange = TickExchange(listing, n=900)
    # The last message is a trade of after the last one of depth.
    del exchange.frames[first_of(exchange, TRADE, 800) + 1 :]
    exchange.frames[-1] = exchange.frames[-1]._replace(at_ms=exchange.frames[-1].at_ms + 1)
    so_far = recorded(exchange, tmp_path)
    (run,) = tick_runs(tmp_path, listing)
    (picture,) = exchange.pictures
    wanted = exchange.events(picture)
    same(run.events, wanted)
    assert (run.tick, run.lot, run.ends) == (0.1, 0.001, "the recording was stopped")
    assert so_far.rows == (wanted.kind == DEPTH).sum() and so_far.trades == (wanted.kind == TRADE).sum()
    for one, other in zip(tape_of(run.events, run.clock_shift_ns), tape_of(wanted, run.clock_shift_ns), strict=True):
        np.testing.assert_array_equal(one, other)
    (told,) = manifests(exchange, tmp_path)
    assert told["clock_shift_ns"] == run.clock_shift_ns and told["depth_rows"] == so_far.rows
    assert sorted(p.name.partition("_")[2] for p in ticks_folder(tmp_path, listing).iterdir()) == [
        "depth.parquet", "recording.json", "snapshot.parquet", "trades.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("listing", [SPOT, PERP])
def test_the_live_rows_are_those_of_the_file(listing: Listing) -> None:
    """C12: the one is what the other reads back, see above."""
    exchange = TickExchange(listing, n=300)
    begins, *rows = live(exchange)
    assert isinstance(begins, RunBegins) and all(isinstance(one, RowsTold) for one in rows)
    wanted = exchange.events(exchange.pictures[0])
    same(joined([one.events for one in (begins, *rows) if not isinstance(one, RunEnds)]), wanted)
    last = rows[-1]
    assert isinstance(last, RowsTold)
    stamped = wanted.kind != SNAPSHOT
    assert last.clock_shift_ns == max(0, -int((wanted.local_ns - wanted.exchange_ns)[stamped].min())) + 1_000_000


@pytest.mark.parametrize("listing", [SPOT, PERP])
def test_a_message_that_is_missing_ends_the_run_and_another_begins(tmp_path: Path, listing: Listing) -> None:
    exchange = TickExchange(listing, n=500)
    exchange.lead = 12
    lost = first_of(exchange, DEPTH, 200)
    told = first_of(exchange, DEPTH, lost + 1)
    exchange.dropped.add(lost)
    exchange.breaks.add(told)
    so_far = recorded(exchange, tmp_path)
    first, second = tick_runs(tmp_path, listing)
    assert (first.ends, second.ends) == ("update ids have a gap", "the recording was stopped")
    assert so_far.ends == {"update ids have a gap": 1} and so_far.runs == 2
    same(first.events, exchange.events(exchange.pictures[0], told, without={lost}))
    same(second.events, exchange.events(exchange.pictures[1]))


def test_a_connection_that_is_cut_ends_the_run_and_no_row_is_doubled(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=500)
    exchange.lead = 12
    exchange.cut |= {150, 300}
    recorded(exchange, tmp_path)
    runs = tick_runs(tmp_path, PERP)
    assert len(runs) == 3 and runs[0].ends == runs[1].ends == "NetworkError"
    for run, picture, stop in zip(runs, exchange.pictures, (150, 300, None), strict=True):
        same(run.events, exchange.events(picture, stop))


def test_what_is_no_trade_of_the_book_is_recorded_and_left_out_by_both(tmp_path: Path) -> None:
    def spoiled() -> tuple[TickExchange, set[int]]:
        made = TickExchange(PERP, n=300)
        again, none, fund = (first_of(made, TRADE, k) for k in (100, 150, 200))
        made.again.add(again)
        made.spoiled = {none: {"q": "0.000"}, fund: {"X": "INSURANCE_FUND"}}
        return made, {none, fund}

    exchange, left = spoiled()
    recorded(exchange, tmp_path)
    (run,) = tick_runs(tmp_path, PERP)
    wanted = exchange.events(exchange.pictures[0], without=left)
    same(run.events, wanted)
    assert {why: run.dropped[why] for why in (REPEATED, EMPTY, BESIDE)} == {REPEATED: 1, EMPTY: 1, BESIDE: 1}
    (told,) = manifests(exchange, tmp_path)
    assert {why: told["left_out"][why] for why in (REPEATED, EMPTY, BESIDE)} == {REPEATED: 1, EMPTY: 1, BESIDE: 1}
    exchange, left = spoiled()
    same(joined([one.events for one in live(exchange) if not isinstance(one, RunEnds)]), wanted)


def test_a_message_without_levels_breaks_no_chain(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=300)
    empty = first_of(exchange, DEPTH, 150)
    exchange.spoiled[empty] = {"b": [], "a": []}
    recorded(exchange, tmp_path)
    (run,) = tick_runs(tmp_path, PERP)
    same(run.events, exchange.events(exchange.pictures[0], without={empty}))


@pytest.mark.parametrize("listing", [SPOT, PERP])
def test_a_run_goes_on_in_another_file_with_the_book_as_it_stood(tmp_path: Path, listing: Listing) -> None:
    exchange = TickExchange(listing, n=900)
    # Trades travel slower than depth.
    exchange.frames = [f._replace(at_ms=f.at_ms - 4) if f.kind == TRADE else f for f in exchange.frames]
    so_far = recorded(exchange, tmp_path, FileSizes(part_s=0.1, run_rows=300))
    runs = tick_runs(tmp_path, listing)
    assert so_far.runs == len(runs) > 3 and so_far.ends == {}
    assert [run.ends for run in runs[:-1]] == ["the next file goes on"] * (len(runs) - 1)
    whole = exchange.events(exchange.pictures[0])
    rows = joined([run.events.where(run.events.kind != SNAPSHOT) for run in runs])
    rows = rows.where(np.argsort(rows.local_ns, kind="stable"))
    for name in ("exchange_ns", "local_ns", "kind", "side", "tick", "lots"):
        depth = whole.kind != SNAPSHOT
        np.testing.assert_array_equal(getattr(rows, name), getattr(whole, name)[depth], err_msg=name)
    best = dict(zip(*(getattr(tape_of(whole), name).tolist() for name in ("local_ns", "bid")), strict=True))
    for run in runs:
        tape = tape_of(run.events)
        told = tape.kind == DEPTH
        assert [best[at] for at in tape.local_ns[told].tolist()] == tape.bid[told].tolist()
        assert run.ready_ns == tape.exchange_ns[told].min()


def test_what_was_heard_before_a_stop_is_written_however_slow_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    write = RunFiles.write

    def slowly(files: RunFiles, more: Any) -> None:
        time.sleep(0.4)
        write(files, more)

    monkeypatch.setattr(RunFiles, "write", slowly)
    exchange = TickExchange(PERP, n=500)
    recorded(exchange, tmp_path)
    (run,) = tick_runs(tmp_path, PERP)
    same(run.events, exchange.events(exchange.pictures[0]))


def test_a_run_can_be_read_while_it_grows(tmp_path: Path) -> None:
    exchange, seen = TickExchange(PERP, n=900), list[TickRun]()

    def look(so_far: RecordedTicks) -> None:
        if so_far.nbytes:
            seen.append(tick_runs(tmp_path, PERP)[0])

    recorded(exchange, tmp_path, see=look)
    (run,) = tick_runs(tmp_path, PERP)
    growing = [one for one in seen if one.ends == "the file ends"]
    assert growing and len({len(one.events.tick) for one in seen}) > 1
    for one in growing:
        n = int((one.events.kind == DEPTH).sum())
        depth, whole = (x.events.where(x.events.kind == DEPTH) for x in (one, run))
        for name, part, all_ in zip(Events._fields, depth, whole, strict=True):
            np.testing.assert_array_equal(part, all_[:n], err_msg=name)


def test_a_number_off_the_grid_is_refused_and_ends_the_run(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=400)
    exchange.lead = 12
    bad = first_of(exchange, DEPTH, 200)
    exchange.spoiled[bad] = {"b": [["99.05", "1.000"]], "a": []}
    exchange.breaks.add(bad)
    so_far = recorded(exchange, tmp_path)
    assert so_far.ends == {"a number off the exchange's grid": 1}
    first, second = tick_runs(tmp_path, PERP)
    same(first.events, exchange.events(exchange.pictures[0], bad))
    same(second.events, exchange.events(exchange.pictures[1]))


def test_a_folder_is_written_by_one_process(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=10)
    folder = ticks_folder(tmp_path, PERP)
    folder.mkdir(parents=True)
    with exchange.running(), alone(folder), pytest.raises(UserError, match="is being written by another process"):
        record_ticks("binance", [PERP.symbol], tmp_path, url=exchange.url)
    exchange = TickExchange(PERP, n=10)
    with exchange.running(), pytest.raises(UserError, match="has no perpetual symbol 'BTC/USDC:USDC'; did you mean"):
        record_ticks("binance", ["BTC/USDC:USDC"], tmp_path, url=exchange.url)


def test_books_of_some_levels_are_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """As of an exchange that tells no ids: the best levels are those of its book at every message."""
    exchange = TickExchange(PERP, n=400, pace=200.0)
    for place in (tick_wire, tick_record):
        monkeypatch.setattr(place, "is_raw", lambda listing: False)
    monkeypatch.setattr(tick_wire, "LIMITED", 5)
    recorded(exchange, tmp_path, clock=time.time_ns)
    (run,) = tick_runs(tmp_path, PERP)
    assert "compared with each other" in manifests(exchange, tmp_path)[0]["how"]
    tape = tape_of(run.events)
    last = np.flatnonzero(np.append(tape.message[1:] != tape.message[:-1], True) & (tape.kind == DEPTH))
    # CCXT states the event's time, which is a millisecond after the transaction's here.
    at = {(frame.at_ms + 1) * 1_000_000: k for k, frame in enumerate(exchange.frames) if frame.kind == DEPTH}
    assert len(last) > 100
    for row in last:
        bids, asks = exchange.book(at[int(tape.exchange_ns[row])] + 1)
        assert (tape.bid[row], tape.ask[row]) == (bids[0][0], asks[0][0])
    assert (run.events.kind == TRADE).sum() > 50


def interrupted(exchange: TickExchange) -> None:
    """Press Ctrl-C once something was recorded."""
    while not exchange.pictures:
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_recording_ends_when_its_time_is_over(tmp_path: Path) -> None:
    with TickExchange(PERP, n=100, pace=20.0).running() as exchange:
        (one,) = record_ticks("binance", [PERP.symbol], tmp_path, url=exchange.url, seconds=0.3)
    assert one.seconds >= 0.3 and not one.connected


def test_the_door_records_and_says_what_a_day_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    exchange = TickExchange(PERP, n=4000, pace=400.0)
    argv = ["--ticks", "--symbols", PERP.symbol, "--data", str(tmp_path), "--hours", "1", "--json"]
    with exchange.running():
        threading.Thread(target=interrupted, args=(exchange,)).start()
        found = download.main([*argv, "--url", exchange.url])
    assert found is not None
    (one,) = found["ticks"]
    assert set(one) == listed("`download --ticks`", "ticks")
    (run,) = tick_runs(tmp_path, PERP)
    assert one["rows"] == (run.events.kind == DEPTH).sum() > 0
    size = sum(path.stat().st_size for path in Path(one["folder"]).iterdir())
    assert one["bytes"] == size and one["bytes_a_day"] == pytest.approx(size / one["seconds"] * 86_400, rel=0.05)
    said = capsys.readouterr().err
    assert "recording" in said and "MB a day" in said and "clock behind" in said and f"{one['rows']:,} changes" in said


def test_ctrl_c_ends_a_recording_with_a_sentence_and_everything_written(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=20_000, pace=400.0)
    argv = [sys.executable, "-m", "experiments.download", "--ticks", "--symbols", PERP.symbol, "--data", str(tmp_path)]
    with exchange.running():
        pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = subprocess.Popen([*argv, "--url", exchange.url], text=True, **pipes)
        while exchange.n_connections < 2 or not exchange.pictures:
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(1.0)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60.0)
    assert child.returncode == 0 and "Traceback" not in err
    assert err.endswith("stopped; everything that came is written, and the same command goes on.\n")
    (run,) = tick_runs(tmp_path, PERP)
    assert run.ends == "the recording was stopped" and f"{(run.events.kind == DEPTH).sum():,} changes" in out


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        ("--hours 2", "--hours and --every are for --ticks and --feeds"),
        ("--ticks --since 2024-01-01", "--since is for candles"),
        ("--ticks --timeframe 1h", "--timeframe is for candles"),
        ("--ticks --data postgresql://a@127.0.0.1/b", "ticks are kept in a folder"),
        ("--ticks --symbols BTC", "is not BASE/QUOTE"),
        ("--ticks", "no symbols; name them with --symbols"),
    ],
)
def test_wrong_arguments_get_a_sentence(argv: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        download.main(argv.split())


def test_a_rehearsed_tape_is_recorded_as_it_is(tmp_path: Path) -> None:
    """Another server than ours: the rehearsal exchange plays a run, and the recording is that run but for arrivals."""
    made = synthetic_ticks(seed=3, n_messages=20_000)
    market = tick_market(made, Instrument("MADE/USDT:USDT", "perpetual", lot=0.001, tick=0.1))
    stop = threading.Event()

    def report(so_far: Any) -> None:
        if so_far[0].rows > 1500:
            stop.set()

    with serve([market], speed="1x") as exchange:
        what = {"url": exchange.url, "sizes": SMALL, "stop": stop, "report": report}
        (one,) = record_ticks("binance", [market.symbol], tmp_path, **what)
    assert one.ends == {}
    (run,) = tick_runs(tmp_path, Listing("binance", market.symbol))
    first, last = run.ready_ns, int(run.events.exchange_ns.max())
    for kind in (DEPTH, TRADE):
        told, heard = (
            sorted(zip(*(x.tolist() for x in (of.exchange_ns, of.side, of.tick, of.lots)), strict=True))
            for of in (e.where((e.kind == kind) & (e.exchange_ns > first) & (e.exchange_ns < last))
                       for e in (made.events, run.events))
        )  # fmt: skip
        assert told == heard and len(told) > 100
