"""Funding of positions in order books: to the unit in the replay, the same in environments and on paper."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qframe_rl.book import accounts as a
from qframe_rl.book import walk as w
from qframe_rl.book.funding import NO_DUES, FundingDues, advance_paid
from qframe_rl.config import Ref, UserError
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.tick_dues import with_dues
from qframe_rl.feeds.tick_load import load_ticks
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.live.paper_quoting import replay_quoter
from qframe_rl.live.settled_rates import SettledRates
from qframe_rl.live.tapes import ReplayTape, TapePart
from qframe_rl.runner.books.replay import replay
from qframe_rl.runner.books.yardsticks import yardstick
from qframe_rl.types import HOUR, MINUTE, SECOND, iso
from tests.book.tapes import drawn_tape
from tests.book.test_walk import ANSWER, own_fills, script
from tests.live.books import COIN, Restless, book, session, terms, ticks
from tests.oracle.funded import funded


def drawn_dues(first: int, last: int, seed: int, n: int = 12, *, marked: bool = True) -> FundingDues:
    """Settlements at any moments, some with a mark price."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.choice(np.arange(first - 5, last + 5, (last - first) // 1000), n, replace=False)).astype(np.int64)
    terms = np.column_stack([rng.normal(0.0, 1e-3, n), np.full(n, np.nan)])
    if marked:
        terms[::3, 1] = rng.normal(1000.0, 5.0, len(terms[::3]))
    return FundingDues(at, terms)


def plain(dues: FundingDues) -> list[tuple[int, float, float | None]]:
    return [
        (int(at), float(rate), None if np.isnan(mark) else float(mark))
        for at, (rate, mark) in zip(dues.at, dues.terms, strict=True)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_paid_is_the_oracles_and_fills_are_as_without(seed: int) -> None:
    tape = drawn_tape(seed)
    said, start, until = script(tape, seed), int(tape.exchange_ns[0]) - 1, int(tape.exchange_ns[-1])
    dues = drawn_dues(start, until, seed)
    # Some at the very moment of a row, of an own message, and of two rows.
    dues = FundingDues(np.unique([*dues.at, tape.exchange_ns[40], said[200][0], until]).astype(np.int64), dues.terms)
    dues = dues._replace(terms=np.resize(drawn_dues(start, until, seed).terms, (len(dues.at), 2)))
    walks = [a.new_walk(1, 10_000) for _ in range(2)]
    for walk, owed in zip(walks, (dues, NO_DUES), strict=True):
        w.place(tape, walk, np.array([start]))
        for at, kind, side, tick, lots in said:
            advance_paid(tape, owed, walk, 0, at - 1, ANSWER, 1.0)
            if kind == w.QUOTE and a.is_free(walk, 0, side, at):
                a.send_quote(walk, 0, side, tick, lots, at)
            elif kind == w.WITHDRAW:
                a.send_cancel(walk, 0, side, at)
            elif kind == w.TAKE:
                a.send_take(walk, 0, side, lots, tick, at)
        advance_paid(tape, owed, walk, 0, until, ANSWER, 1.0)
    assert own_fills(walks[0]) == own_fills(walks[1]) and len(own_fills(walks[0])) > 20
    assert walks[1].funding[0] == 0.0
    expected = funded(tape, own_fills(walks[0]), plain(dues), start)
    assert expected != 0.0 and walks[0].funding[0] == pytest.approx(expected, rel=1e-12)


def due_runs(*, whole_hours: bool) -> list[TickRun]:
    """The made-up runs, with settlements in each."""
    runs = []
    for k, run in enumerate(ticks().runs):
        first, last = int(run.events.exchange_ns.min()), int(run.events.exchange_ns.max())
        if whole_hours:
            # Ticks in the middle of an hour are moved to lie over its end.
            shift = (first // HOUR + 1) * HOUR - (first + last) // 2
            events = run.events._replace(
                exchange_ns=run.events.exchange_ns + shift, local_ns=run.events.local_ns + shift
            )
            at = np.array([(first // HOUR + 1) * HOUR])
            dues = FundingDues(at, np.array([[0.003 - 0.005 * k, np.nan]]))
            runs.append(run._replace(events=events, ready_ns=run.ready_ns + shift, dues=dues))
        else:
            runs.append(run._replace(dues=drawn_dues(first, last, k, marked=False)))
    return runs


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
def test_over_a_recorded_midnight_too() -> None:
    data = DataConfig(data=os.environ["QFRAME_DATA"], exchange="binance", symbols=("BTC/USDT:USDT",))
    history = load_ticks(data)
    run = next(run for run in history.runs if len(run.dues.at))
    assert iso(int(run.dues.at[0])).endswith("00:00:00")
    spans = [whole_run(run)]
    market = make_book(Ref(name="book_making"), history.instrument).fit(spans)
    quoter, laid = yardstick("joining", market.spec(0)), market.pack(spans)
    (record,) = replay(market, quoter, [laid])
    (free,) = replay(market, quoter, [market.pack([spans[0]._replace(run=run._replace(dues=NO_DUES))])])
    fills = [tuple(map(int, row[:5])) for row in record.fills]
    expected = funded(laid.spans[0].tape, fills, plain(run.dues), int(record.at[0]))
    assert expected != 0.0 and free.worth[-1] - record.worth[-1] == pytest.approx(expected, rel=1e-9)


class Late(ReplayTape):
    """Funding that is told with the last part of a run, long after it fell due."""

    def parts(self, *what, **more):  # type: ignore[no-untyped-def]
        held: tuple = ()  # type: ignore[type-arg]
        for part in super().parts(*what, **more):
            held += part.dues if part is not None else ()
            if isinstance(part, TapePart):
                part = part._replace(dues=held if part.ends is not None else ())
                held = () if part.ends is not None else held
            yield part


@pytest.mark.parametrize("whole_hours", [True, False])
def test_environment_evaluation_and_paper_pay_the_same(whole_hours: bool, tmp_path: Path) -> None:
    market, runs = book(), due_runs(whole_hours=whole_hours)
    spans = [whole_run(run) for run in runs]
    one = ReplayTape(spans[:1], part_rows=300)
    without = ReplayTape([spans[0]._replace(run=runs[0]._replace(dues=NO_DUES))], part_rows=300)
    (record,) = replay(market, Restless(), [market.pack([spans[0]])])
    paid = session(tmp_path / "paid", one)
    free = session(tmp_path / "free", without)
    unit = COIN.tick * COIN.lot
    worth, plain_worth = ((done.final_equity - 10_000.0) / unit for done in (paid, free))
    assert paid.fills == free.fills > 50 and worth != plain_worth
    fills = [tuple(map(int, row[:5])) for row in record.fills]
    tape = market.pack([spans[0]]).spans[0].tape
    expected = funded(tape, fills, plain(runs[0].dues), int(record.at[0]))
    (unfunded,) = replay(market, Restless(), [market.pack([spans[0]._replace(run=runs[0]._replace(dues=NO_DUES))])])
    assert np.array_equal(record.fills, unfunded.fills)
    assert unfunded.worth[-1] - record.worth[-1] == pytest.approx(expected, rel=1e-9)
    assert plain_worth - worth == pytest.approx(expected, rel=1e-6, abs=1e-4)
    again = replay_quoter(market, Restless(), one, terms(), tmp_path / "paid" / "journal.db")
    assert again.digest == paid.digest and again.final_equity == paid.final_equity


def test_what_is_told_late_is_paid_on_what_was_held_at_that_hour(tmp_path: Path) -> None:
    spans = [whole_run(run) for run in due_runs(whole_hours=True)]
    soon, late = (
        session(tmp_path / kind.__name__, kind(spans, part_rows=300)) for kind in (ReplayTape, Late)
    )  # fmt: skip
    assert soon.fills == late.fills and soon.final_equity == late.final_equity
    again = replay_quoter(book(), Restless(), Late(spans, part_rows=300), terms(), tmp_path / "Late" / "journal.db")
    assert again.digest == late.digest


def test_a_position_that_is_carried_over_a_gap_pays_for_the_hours_in_it(tmp_path: Path) -> None:
    """The second run begins an hour later; what is told with it fell due between the two."""
    runs = list(ticks().runs)
    between = int(runs[0].events.exchange_ns[-1]) // HOUR * HOUR + HOUR
    owing = runs[1]._replace(dues=FundingDues(np.array([between]), np.array([[0.01, np.nan]])))
    tapes = [ReplayTape([whole_run(r) for r in (runs[0], second)], part_rows=300) for second in (owing, runs[1])]
    paid, free = (session(tmp_path / str(k), tape) for k, tape in enumerate(tapes))
    (held,) = replay(book(), Restless(), [book().pack([whole_run(runs[0])])])
    assert paid.fills == free.fills
    assert (paid.final_equity != free.final_equity) == bool(held.fills.any())


def store(root: Path, stamps: list[int], marks: list[int] | None = None) -> Path:
    folder = root / "funding" / "binance_um"
    folder.mkdir(parents=True, exist_ok=True)
    rate = [0.0001 * (k + 1) for k in range(len(stamps))]
    table = {"timestamp": pa.array(np.array(stamps) // 1_000_000, pa.timestamp("ms")), "rate": rate}
    pq.write_table(pa.table(table), folder / "BTC-USDT.parquet")
    if marks is not None:
        place = root / "mark" / "binance_um" / "BTC-USDT"
        place.mkdir(parents=True, exist_ok=True)
        n = len(marks)
        told = {"timestamp": pa.array(np.array(marks) // 1_000_000, pa.timestamp("ms"))}
        told |= {name: pa.array([100.0 + k for k in range(n)]) for name in ("open", "high", "low", "close")}
        pq.write_table(pa.table({**told, "volume": pa.array([0.0] * n)}), place / "1h.parquet")
    return root


def test_a_store_says_what_falls_due_and_at_which_mark_price(tmp_path: Path) -> None:
    (run, *_) = due_runs(whole_hours=True)
    run, of = run._replace(dues=NO_DUES), Listing("binance", "BTC/USDT:USDT")
    hour = int(run.events.exchange_ns.min()) // HOUR * HOUR + HOUR
    root = store(tmp_path / "near", [hour - 8 * HOUR, hour + 3_000_000, hour + 8 * HOUR])
    (found,) = with_dues(root, of, [run], "require")
    assert found.dues.at.tolist() == [hour], "stamps are some ms off the hour"
    assert found.dues.terms[0, 0] == pytest.approx(0.0002) and np.isnan(found.dues.terms[0, 1])
    marked = store(tmp_path / "near", [hour - 8 * HOUR, hour, hour + 8 * HOUR], [hour - HOUR, hour])
    (found,) = with_dues(marked, of, [run], "require")
    assert found.dues.terms[0, 1] == pytest.approx(101.0 / run.tick)
    other = store(tmp_path / "apart", [hour - 4 * HOUR, hour + 4 * HOUR])
    assert len(with_dues(other, of, [run], "require")[0].dues.at) == 0, "that contract settles at other hours"
    short = run._replace(events=run.events.where(run.events.exchange_ns < hour))
    assert with_dues(tmp_path / "none", of, [short], "require") == [short]


def test_rates_that_are_not_known_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    (run, *_) = due_runs(whole_hours=True)
    run, of = run._replace(dues=NO_DUES), Listing("binance", "BTC/USDT:USDT")
    hour = int(run.events.exchange_ns.min()) // HOUR * HOUR + HOUR
    with pytest.raises(UserError, match="no funding rates of BTC/USDT:USDT, and run"):
        with_dues(tmp_path, of, [run], "require")
    ended = store(tmp_path, [hour - 24 * HOUR, hour - 16 * HOUR])
    with pytest.raises(UserError, match="no funding rate near"):
        with_dues(ended, of, [run], "require")
    assert len(with_dues(ended, of, [run], "zero")[0].dues.at) == 0
    assert with_dues(tmp_path, Listing("binance", "BTC/USDT"), [run], "require") == [run]


def test_a_live_market_is_asked_after_each_whole_hour_until_it_tells() -> None:
    clock, asked = [100 * HOUR + 30 * MINUTE], list[int]()
    told_at = 101 * HOUR + 40 * SECOND

    def ask(since: int) -> list[tuple[int, float]]:
        """One is there as it begins, the other is told 40 s after its hour."""
        asked.append(clock[0])
        settled = [(96 * HOUR, 0.001), *([(101 * HOUR, -0.002)] if clock[0] >= told_at else [])]
        return [one for one in settled if one[0] >= since]

    rates = SettledRates(ask, lambda: clock[0], again_s=0.02)
    rates.start()
    for n, then in ((1, 101 * HOUR + 10 * SECOND), (2, told_at)):
        while len(asked) < n:
            rates.join(0.005)
        clock[0] = then
    while asked[-1] < told_at:
        rates.join(0.005)
    clock[0] += MINUTE
    rates.join(0.1)
    rates.stop()
    rates.join(5.0)
    assert asked[0] < 101 * HOUR + 5 * SECOND <= asked[1], "as it begins, and once the hour is over"
    assert rates.came() == [(96 * HOUR, 0.001, None), (101 * HOUR, -0.002, None)]
    assert max(asked) == told_at, "what was told is not asked for again"
