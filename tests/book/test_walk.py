"""The walk against the rules row by row, and what may never happen to an own order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.book import accounts as a
from qframe_rl.book import walk as w
from qframe_rl.book.accounts import Walk
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE
from qframe_rl.book.queue import QueueRule, exponent
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.feeds.synthetic_ticks import rows_of
from qframe_rl.types import Int
from tests.book.tapes import MS, START, bare, drawn_tape, events
from tests.oracle.replay import PlainReplay

ANSWER = 700_000


def script(tape: Tape, seed: int, n: int = 400) -> list[tuple[int, ...]]:
    """Quotes near the best prices, withdrawals and takes, between the rows' milliseconds."""
    rng = np.random.default_rng(seed)
    span = int(tape.exchange_ns[-1] - tape.exchange_ns[0]) // MS
    at = tape.exchange_ns[0] + np.sort(rng.choice(span, n, replace=False)) * MS + MS // 2
    made = []
    for when in at.tolist():
        row = int(np.searchsorted(tape.exchange_ns, when)) - 1
        side = int(rng.integers(2))
        kind = int(rng.choice([w.QUOTE, w.WITHDRAW, w.TAKE], p=[0.6, 0.3, 0.1]))
        best = int(tape.bid[row] if side == 0 else tape.ask[row])
        away = int(rng.integers(-2, 5))
        tick = best - away if side == 0 else best + away
        if kind == w.TAKE:
            tick = int(tape.ask[row] + 3 if side == 0 else tape.bid[row] - 3)
        made.append((when, kind, side, tick, int(rng.integers(1, 40))))
    return made


def walked(tape: Tape, said: list[tuple[int, ...]], rule: QueueRule = "share") -> a.Walk:
    walk = a.new_walk(1, 10_000)
    w.place(tape, walk, np.array([tape.exchange_ns[0] - 1]))
    until = int(tape.exchange_ns[-1])
    w.follow(tape, walk, np.array(said, np.int64).reshape(-1, 5), ANSWER, exponent(rule), until)
    return walk


def own_fills(walk: a.Walk) -> list[tuple[int, ...]]:
    return [tuple(map(int, row[:5])) for row in walk.fills[: walk.n_fills[0]]]


@pytest.mark.parametrize("rule", ["share", "trades", "power"])
@pytest.mark.parametrize("seed", range(12))
def test_every_fill_is_the_oracles(seed: int, rule: QueueRule) -> None:
    tape = drawn_tape(seed)
    said = script(tape, seed)
    plain = PlainReplay(tape, ANSWER, exponent(rule))
    plain.run(said, int(tape.exchange_ns[0]) - 1, int(tape.exchange_ns[-1]))
    walk = walked(tape, said, rule)
    assert own_fills(walk) == plain.fills
    assert (walk.account[0, a.CASH], walk.account[0, a.POSITION]) == (plain.cash, plain.position)
    assert walk.account[0, a.REFUSED] == plain.refused
    assert {fill[4] for fill in plain.fills} == {a.PRINT_AT, a.PRINT_THROUGH, a.CROSSING, a.TOOK} or seed


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
def test_on_a_real_market_too() -> None:
    from qframe_rl.feeds.listing import Listing
    from qframe_rl.feeds.ticks import tick_runs

    run = tick_runs(Path(os.environ["QFRAME_DATA"]), Listing("binance", "BTC/USDT:USDT"))[-1]
    near = np.abs(run.events.tick - 639_400) < 500
    some = run.events.where(near).where(slice(0, 60_000))
    tape = tape_of(some, run.clock_shift_ns)
    said = script(tape, 3, 800)
    plain = PlainReplay(tape, ANSWER, 1.0)
    plain.run(said, 0, int(tape.exchange_ns[-1]))
    walk = walked(tape, said)
    assert own_fills(walk) == plain.fills and len(plain.fills) > 50


@pytest.mark.parametrize("seed", range(4))
def test_no_lot_is_made_up(seed: int) -> None:
    """A resting quote fills no more at a time than was printed or displayed, and never at another price (C2, C3)."""
    tape = drawn_tape(seed, jumps=0.1)
    walk = walked(tape, script(tape, seed))
    for at, side, tick, lots, cause in own_fills(walk):
        rows = np.flatnonzero(tape.exchange_ns == at)
        if cause in (a.PRINT_AT, a.PRINT_THROUGH):
            printed = rows[(tape.kind[rows] == TRADE) & (tape.level_side[tape.level[rows]] == side)]
            through = tape.tick[printed] <= tick if side == 0 else tape.tick[printed] >= tick
            assert lots <= tape.lots[printed[through]].sum()
        elif cause == a.CROSSING:
            assert (tape.ask[rows] <= tick).any() if side == 0 else (tape.bid[rows] >= tick).any()


def still(*rows: tuple[int, int, int, int, int]) -> Tape:
    """A tape of (ms, kind, side, tick, lots), each a message of its own, after a book of 10 lots at 100 and 101."""
    whole = [(0, SNAPSHOT, 0, 100, 10), (0, SNAPSHOT, 1, 101, 10), (0, SNAPSHOT, 0, 99, 5), (0, SNAPSHOT, 1, 102, 5)]
    said = [(k, row) for k, row in enumerate([*[(0, *row[1:]) for row in whole], *rows])]
    made = [
        (START + ms * MS, START + ms * MS, kind, side, tick, lots, max(k - 3, 0))
        for k, (ms, kind, side, tick, lots) in said
    ]
    return tape_of(events([*made, (START + 10_000 * MS, START + 10_000 * MS, DEPTH, 0, 1, 1, 10**6)]))


def at(ms: float) -> int:
    return START + int(ms * MS)


def test_a_print_fills_no_more_than_was_printed_behind_the_queue() -> None:
    """M1: 113 lots print at a price where 100 own ones wait behind 10."""
    tape = still((2, TRADE, 1, 100, 113))
    walk = walked(tape, [(at(1.5), w.QUOTE, 0, 100, 500)])
    assert own_fills(walk) == [(at(2), 0, 100, 103, a.PRINT_AT)]


def test_two_equal_prints_count_twice_and_a_partial_fill_reaches_the_position() -> None:
    """M2, M6."""
    tape = still((2, TRADE, 1, 100, 7), (2, TRADE, 1, 100, 7))
    walk = walked(tape, [(at(1.5), w.QUOTE, 0, 100, 50)])
    assert own_fills(walk) == [(at(2), 0, 100, 4, a.PRINT_AT)]
    assert (walk.account[0, a.POSITION], walk.account[0, a.CASH]) == (4, -400)


def test_a_strangers_cancel_does_not_empty_the_queue_and_a_fill_waits_for_it() -> None:
    """M5, C1: of 10 lots half are cancelled; by `trades` the queue is then 5 long, and 5 printed lots fill nothing."""
    tape = still((2, DEPTH, 0, 100, 5), (3, TRADE, 1, 100, 5), (4, TRADE, 1, 100, 1))
    walk = walked(tape, [(at(1.5), w.QUOTE, 0, 100, 3)], "trades")
    assert own_fills(walk) == [(at(4), 0, 100, 1, a.PRINT_AT)]


def test_a_snapshot_in_between_keeps_the_place() -> None:
    """M7: what is told again tells no new place."""
    tape = still((2, TRADE, 1, 100, 6), (2, DEPTH, 0, 100, 4), (3, SNAPSHOT, 0, 100, 4), (4, TRADE, 1, 100, 5))
    walk = walked(tape, [(at(1.5), w.QUOTE, 0, 100, 3)])
    assert own_fills(walk) == [(at(4), 0, 100, 1, a.PRINT_AT)]


def test_a_cancel_that_comes_after_the_print_is_too_late_and_one_before_is_not() -> None:
    """C8."""
    tape = still((2, TRADE, 1, 100, 20))
    quote = (at(1.5), w.QUOTE, 0, 100, 3)
    assert len(own_fills(walked(tape, [quote, (at(2.5), w.WITHDRAW, 0, 0, 0)]))) == 1
    assert not own_fills(walked(tape, [quote, (at(1.9), w.WITHDRAW, 0, 0, 0)]))


def test_what_takes_cannot_take_a_lot_twice_until_it_is_told_anew() -> None:
    """M10."""
    take = (w.TAKE, 0, 102, 12)
    tape = still((5, DEPTH, 1, 101, 10))
    walk = walked(tape, [(at(1.5), *take), (at(2.5), *take), (at(5.5), *take)])
    assert own_fills(walk) == [
        (at(1.5), 0, 101, 10, a.TOOK), (at(1.5), 0, 102, 2, a.TOOK), (at(2.5), 0, 102, 3, a.TOOK),
        (at(5.5), 0, 101, 10, a.TOOK),
    ]  # fmt: skip
    assert not own_fills(walked(tape, [(at(1.5), w.TAKE, 0, 100, 12)])), "beyond its bound it takes nothing"


def test_a_quote_that_would_take_is_refused_and_pays_nothing() -> None:
    """C7."""
    walk = walked(still(), [(at(1.5), w.QUOTE, 0, 101, 3)])
    assert not own_fills(walk) and walk.account[0, a.REFUSED] == 1


def test_a_crossed_quote_fills_once_for_each_lot_that_is_displayed() -> None:
    tape = still(
        (2, DEPTH, 0, 100, 0), (3, DEPTH, 1, 100, 4), (4, DEPTH, 1, 100, 4), (5, DEPTH, 1, 100, 9),
        (6, DEPTH, 1, 100, 0), (7, DEPTH, 1, 100, 2),
    )  # fmt: skip
    walk = walked(tape, [(at(1.5), w.QUOTE, 0, 100, 30)])
    assert [(row[0], row[3]) for row in own_fills(walk)] == [(at(3), 4), (at(5), 5), (at(7), 2)]
    assert {row[4] for row in own_fills(walk)} == {a.CROSSING} and {row[2] for row in own_fills(walk)} == {100}


def test_what_takes_does_not_meet_a_level_that_the_other_side_passed() -> None:
    """The asks of 101 are gone as a bid of 101 comes, although no row says so; an ask of 100 comes later."""
    tape = still((2, DEPTH, 0, 101, 4), (3, DEPTH, 1, 100, 1))
    assert tape.uncrossed == 3 and (tape.bid[-1], tape.ask[-1]) == (99, 100)
    walk = walked(tape, [(at(3.5), w.TAKE, 0, 102, 12)])
    assert own_fills(walk) == [(at(3.5), 0, 100, 1, a.TOOK), (at(3.5), 0, 102, 5, a.TOOK)]


@pytest.mark.parametrize("seed", range(4))
def test_what_the_other_side_passed_need_not_be_told(seed: int) -> None:
    """A stream that tells no ends of such levels is the one that does, for quotes and takes alike."""
    whole = events(rows_of(seed, 2_000, 0.1))
    told, untold = tape_of(whole), tape_of(bare(whole))
    assert (told.uncrossed, len(untold.tick)) == (0, len(told.tick)) and untold.uncrossed >= 10
    said = script(told, seed)
    one, other = walked(told, said), walked(untold, said)
    assert own_fills(one) == own_fills(other) and len(own_fills(one)) > 50
    np.testing.assert_array_equal(one.account, other.account)
    np.testing.assert_array_equal(one.queue, other.queue)


def test_the_order_of_rows_inside_a_message_means_nothing() -> None:
    """C9."""
    for seed in range(3):
        tape = drawn_tape(seed)
        said = script(tape, seed)
        rows = [
            list(map(int, row))
            for row in zip(
                tape.exchange_ns, tape.local_ns, tape.kind, tape.side, tape.tick, tape.lots, tape.message, strict=True
            )
        ]
        rng = np.random.default_rng(seed)
        rng.shuffle(rows)
        rows.sort(key=lambda row: row[6])
        other = tape_of(events([tuple(row) for row in rows]))  # type: ignore[misc]
        assert own_fills(walked(tape, said)) == own_fills(walked(other, said))


def test_what_comes_later_changes_no_fill_before(seed: int = 1) -> None:
    """C4: rows after a moment of the exchange's clock are other ones."""
    tape = drawn_tape(seed)
    said = script(tape, seed)
    half = int(tape.exchange_ns[len(tape.tick) // 2])
    other = drawn_tape(seed + 50)
    later = other.exchange_ns > half
    keep = tape.exchange_ns <= half
    rows: list[Int] = []
    for of, mask, more in ((tape, keep, 0), (other, later, 10**6)):
        rows.append(
            np.stack([of.exchange_ns, of.local_ns, of.kind, of.side, of.tick, of.lots, of.message + more], axis=1)[mask]
        )
    mixed = tape_of(events([tuple(map(int, row)) for row in np.concatenate(rows)]))  # type: ignore[misc]
    until = [fill for fill in own_fills(walked(tape, said)) if fill[0] <= half]
    assert until == [fill for fill in own_fills(walked(mixed, said)) if fill[0] <= half] and len(until) > 20


def test_answers_travel() -> None:
    walk = a.new_walk(1, 10)
    tape = still((2, TRADE, 1, 100, 20))
    w.place(tape, walk, np.array([START + 1]))
    w.follow(tape, walk, np.array([(at(1.5), w.QUOTE, 0, 100, 3)]), ANSWER, 1.0, at(2))
    assert walk.account[0, a.POSITION] == 3
    assert a.known_position(walk, 0, at(2) + ANSWER - 1) == 0 and a.known_position(walk, 0, at(2) + ANSWER) == 3
    assert not a.is_free(walk, 0, 0, at(2) + ANSWER - 1) and a.is_free(walk, 0, 0, at(2) + ANSWER)


@pytest.mark.parametrize("name", Walk._fields)
def test_accounts_whose_arrays_are_not_of_one_batch_are_refused(name: str) -> None:
    tape, walk = still(), a.new_walk(2, 4)
    field = getattr(walk, name)
    for wrong in (np.stack([field, field]), field.astype(np.int16)):
        with pytest.raises(ValueError, match=r"accounts: \w+ is "):
            w.place(tape, walk._replace(**{name: wrong}), np.zeros(2, np.int64))


def test_scripts_of_other_shapes_are_refused() -> None:
    tape, walk = still(), a.new_walk(1)
    for wrong in (np.zeros((1, 4), np.int64), np.zeros((1, 5)), np.array([[2, 0, 0, 1, 1], [1, 0, 0, 1, 1]])):
        with pytest.raises(ValueError, match="script"):
            w.follow(tape, walk, wrong, 0, 1.0, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="moments"):
        w.place(tape, walk, np.zeros(2, np.int64))
