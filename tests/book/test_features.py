"""Features of books: plain sums, hand-made books, one code for tapes and streams, and nothing of what comes later."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.book.arrived import arrived_quotes, markouts
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events, joined
from qframe_rl.book.features import BookFeature, BookWatch, book_features, known_book, sampled
from qframe_rl.book.measures import order_flow_imbalance
from qframe_rl.book.micro import MicroPrice
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.config import UserError
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.ticks import standing, tick_runs
from qframe_rl.types import Float, Int
from tests.book.tapes import MS, START, drawn_tape, events
from tests.oracle.signals import PlainSignals

STANDING = ("spread", "mid", "weighted", "imbalance:1", "imbalance:5")
WITHIN = (
    "ofi:100ms", "ofi:300ms:1", "ofi:300ms:3", "flow:100ms", "volume:200ms", "trades:100ms", "volatility:100ms",
    "move:100ms", "effective:200ms", "realised:50ms:200ms", "markout:50ms:200ms", "kyle:20ms:8",
)  # fmt: skip
CARRIED = ("hawkes_buy:30ms", "hawkes_sell:30ms", "vpin:37:6")
ALL = (*STANDING, "micro", *WITHIN, *CARRIED)
MICRO = MicroPrice(np.array([[-0.2, 0.0, 0.2], [-0.4, 0.0, 0.4]]))


def moments(tape: Tape, n: int = 80, first_ms: int = 900) -> Int:
    """Moments, some of them those of arrivals, others between."""
    end = int(tape.local_ns.max())
    grid = np.linspace(tape.local_ns.min() + first_ms * MS, end + 40 * MS, n).astype(np.int64)
    return np.sort(np.concatenate([grid, tape.local_ns[tape.arrivals[-n:]]]))


def rows_of(tape: Tape) -> Events:
    side = np.where(tape.kind == TRADE, 1 - tape.level_side[tape.level], tape.level_side[tape.level])
    return Events(tape.exchange_ns, tape.local_ns, tape.kind, side, tape.tick, tape.lots, tape.message)


def streamed(
    rows: Events, features: Sequence[BookFeature], at: Int, micro: MicroPrice | None = MICRO
) -> Float:  # fmt: skip
    """Rows told one by one in the order of arrival."""
    feed, k, out = BookWatch(features, micro), 0, []
    order = np.argsort(rows.local_ns, kind="stable")
    for moment in at.tolist():
        while k < len(order) and rows.local_ns[order[k]] <= moment:
            row = order[k]
            feed.tell(
                int(rows.local_ns[row]), int(rows.kind[row]), int(rows.side[row]), int(rows.tick[row]),
                int(rows.lots[row]), int(rows.message[row]),
            )  # fmt: skip
            k += 1
        out.append(feed.look(moment))
    return np.array(out)


@pytest.mark.parametrize("seed", range(3))
def test_every_feature_is_the_plain_sum(seed: int) -> None:
    tape = drawn_tape(seed, 900)
    specs = [spec for spec in ALL if spec != "micro"]
    at = moments(tape, 25)
    found, plain = sampled(tape, book_features(specs), at), PlainSignals(tape)
    expected = np.array([[plain.value(spec, int(moment)) for spec in specs] for moment in at])
    assert (~np.isnan(expected)).mean() > 0.9
    for k, spec in enumerate(specs):
        np.testing.assert_allclose(found[:, k], expected[:, k], rtol=1e-9, atol=1e-12, err_msg=spec)


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_has_the_bits_of_the_tape(seed: int) -> None:
    tape = drawn_tape(seed)
    features, at = book_features(ALL), moments(tape, first_ms=0)
    whole = sampled(tape, features, at, MICRO)
    np.testing.assert_array_equal(streamed(rows_of(tape), features, at), whole)
    assert (~np.isnan(whole[-1])).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_arrives_later_changes_nothing(seed: int) -> None:
    """C4: other rows arrive after t, some that happened before it by the exchange's clock."""
    tape, rng = drawn_tape(seed), np.random.default_rng(seed)
    features, rows = book_features(ALL), rows_of(tape)
    t = int(np.quantile(tape.local_ns, 0.6))
    at = moments(tape, first_ms=0)
    at = at[at <= t]
    late = rows.local_ns > t
    n = int(late.sum())
    other = Events(
        rng.integers(rows.exchange_ns[0], rows.exchange_ns[-1], n), rng.permutation(rows.local_ns[late]),
        rng.choice([DEPTH, SNAPSHOT, TRADE], n).astype(np.int8), rng.integers(2, size=n).astype(np.int8),
        rng.integers(950, 1050, n), rng.integers(0, 50, n), rng.integers(0, 3_000, n),
    )  # fmt: skip
    scrambled = tape_of(joined([rows.where(~late), other]))
    before, after = (sampled(one, features, at, MICRO) for one in (tape, scrambled))
    np.testing.assert_array_equal(before, after)
    one, two = (arrived_quotes(of, 3, t) for of in (tape, scrambled))
    np.testing.assert_array_equal(one.quotes, two.quotes)
    assert len(at) > 20 and len(one.at) > 300


@pytest.mark.parametrize("seed", range(3))
def test_a_feature_looks_back_no_farther_than_it_says(seed: int) -> None:
    """A tape that begins later, with the book as it stood, gives the same bits once the lookback is over."""
    whole = drawn_tape(seed)
    rows = rows_of(whole)
    rows = rows.where(np.lexsort((rows.message, rows.local_ns)))
    cut = len(rows.tick) // 3
    while rows.message[cut] == rows.message[cut - 1]:
        cut += 1
    coming = rows.where(slice(cut, None))
    later = tape_of(joined([standing(rows.where(slice(0, cut)), coming), coming]))
    features = book_features([*STANDING, *WITHIN])
    at = moments(later, first_ms=0)
    one, two = sampled(tape_of(rows), features, at), sampled(later, features, at)
    for k, feature in enumerate(features):
        warm = at >= coming.local_ns[0] + feature.lookback_ns
        np.testing.assert_array_equal(one[warm, k], two[warm, k], err_msg=feature.name)
        assert np.isnan(two[~warm, k]).all() and warm.sum() > 20


def still(*rows: tuple[int, int, int, int, int]) -> Tape:
    """A tape of (ms, kind, side, tick, lots), each a message of its own, after 5 lots at 100 and 4 at 101."""
    whole = [(0, SNAPSHOT, 0, 100, 5, 0), (0, SNAPSHOT, 1, 101, 4, 0)]
    said = [*whole, *((*row, k + 1) for k, row in enumerate(rows))]
    return tape_of(events([(START + r[0] * MS, START + r[0] * MS, *r[1:]) for r in said]))


def test_order_flow_of_a_book_by_hand() -> None:
    """The test vector of the card, by the formula and by messages."""
    book = np.array([
        (100, 5, 101, 4), (100, 7, 101, 4), (101, 3, 102, 6), (101, 3, 102, 2), (100, 7, 101, 1), (100, 7, 101, 1),
    ])  # fmt: skip
    assert order_flow_imbalance(*book.T).tolist() == [2, 7, 4, -4, 0]
    made = []
    for k, (pb, qb, pa, qa) in enumerate(book[1:].tolist()):
        was_bid, _, was_ask, _ = book[k].tolist()
        told = [(0, pb, qb), (1, pa, qa)] + ([(0, was_bid, 0)] if was_bid > pb else [])
        told += [(1, was_ask, 0)] if was_ask < pa else []
        made += [(START + (k + 1) * MS, START + (k + 1) * MS, DEPTH, s, tick, lots, k + 1) for s, tick, lots in told]
    first = [(START, START, SNAPSHOT, 0, 100, 5, 0), (START, START, SNAPSHOT, 1, 101, 4, 0)]
    tape = tape_of(events([*first, *made]))
    at = START + np.arange(1, 6) * MS
    assert sampled(tape, book_features(["ofi:1ms"]), at)[:, 0].tolist() == [2, 7, 4, -4, 0]
    assert sampled(tape, book_features(["ofi:5ms"]), at[-1:])[:, 0].tolist() == [9]


def test_a_book_that_stands_still_has_no_flow() -> None:
    tape = still(*[(k, DEPTH, 0, 100, 5) for k in range(1, 9)])
    found = sampled(
        tape, book_features(["ofi:3ms", "ofi:3ms:1", "move:3ms", "volatility:3ms"]), START + MS * np.array([4, 8])
    )
    assert not found.any()


def test_a_row_that_comes_after_the_rest_of_its_message_counts_when_it_comes() -> None:
    first = [(START, START, SNAPSHOT, 0, 100, 5, 0), (START, START, SNAPSHOT, 1, 101, 4, 0)]
    late = [(START + MS, START + ms * MS, DEPTH, side, 100 + side, 9, 1) for ms, side in ((2, 0), (4, 1))]
    tape = tape_of(events([*first, *late]))
    features, at = book_features(["ofi:7ms"]), START + MS * np.array([8, 10, 12])
    assert sampled(tape, features, at)[:, 0].tolist() == [4 - 5, -5, 0]
    assert sampled(tape, features, at[1:])[:, 0].tolist() == [-5, 0]


def test_buckets_of_volume() -> None:
    """The card's vector, of trades that fill buckets of ten lots."""
    lots = [(0, 6), (1, 4), (0, 10), (0, 5), (1, 5), (0, 8), (1, 2)]
    tape = still(*[(k + 1, TRADE, side, 101 - side, n) for k, (side, n) in enumerate(lots)])
    found = sampled(tape, book_features(["vpin:10:4", "vpin:10:5"]), START + MS * np.array([6, 7]))
    assert np.isnan(found[0, 0]) and found[1, 0] == 0.45 and np.isnan(found[1, 1])


def test_spreads_and_markouts_by_hand() -> None:
    """A buyer takes at 101 with the mid at 100.5; after 5 ms the bid is at 101 and the ask at 103."""
    tape = still((2, TRADE, 0, 101, 1), (5, DEPTH, 1, 101, 0), (5, DEPTH, 1, 103, 2), (6, DEPTH, 0, 101, 2))
    specs = book_features(["effective:20ms", "realised:5ms:20ms", "markout:5ms:20ms"])
    early, late = sampled(tape, specs, START + MS * np.array([20, 25]))
    assert early[0] == pytest.approx(0.5 / 100.5, rel=1e-12) and np.isnan(early[1:]).all(), "they look back 25 ms"
    assert late[1:] == pytest.approx([(101 - 102) / 100.5, 1.0], rel=1e-12) and np.isnan(late[0])
    touching = sampled(tape, book_features(["markout:4ms:20ms"]), START + MS * np.array([24]))
    assert touching[0, 0] == 1.0, "what arrives at the very end of the horizon is known there"
    own = markouts(tape, START + MS * np.array([2, 2, 6]), np.array([0, 1, 0]), np.array([101, 101, 101]), [0, 4 * MS])
    np.testing.assert_array_equal(own, [[-0.5, 1.0], [0.5, -1.0], [1.0, np.nan]])


def test_a_realised_spread_is_known_at_the_end_of_its_horizon_and_not_before() -> None:
    rows = [(k, DEPTH, 0, 90, k) for k in range(1, 60)]
    tape = still(*rows[:29], (30, TRADE, 0, 101, 1), *rows[30:])
    at = START + MS * np.arange(20, 60)
    found = sampled(tape, book_features(["realised:10ms:5ms", "effective:5ms"]), at)
    assert np.flatnonzero(~np.isnan(found[:, 0])).tolist() == [20, 21, 22, 23, 24]
    assert np.flatnonzero(~np.isnan(found[:, 1])).tolist() == [10, 11, 12, 13, 14]


def test_nothing_is_known_before_the_book_is_whole() -> None:
    tape = still((5, DEPTH, 0, 100, 9), (8, DEPTH, 0, 100, 10))
    found = sampled(tape, book_features(["ofi:4ms", "spread"]), START + MS * np.arange(12), ready_ns=START + 6 * MS)
    np.testing.assert_array_equal(found[:, 1], [np.nan] * 6 + [1.0] * 6)
    np.testing.assert_array_equal(found[:, 0], [np.nan] * 10 + [1.0, 1.0])
    one_sided = still((5, DEPTH, 1, 101, 0))
    assert np.isnan(
        sampled(one_sided, book_features(["imbalance:1", "micro"]), np.array([START + 6 * MS]), MICRO)
    ).all()


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
def test_on_a_real_market_too() -> None:
    """Best prices are the tape's, a thousand levels and all trades are held, and a stream has the same bits."""
    run = tick_runs(Path(os.environ["QFRAME_DATA"]), Listing("binance", "BTC/USDT:USDT"))[-2]
    tape = tape_of(run.events.where(slice(0, 30_000)), run.clock_shift_ns)
    arrived = arrived_quotes(tape, 2)
    last = np.append(tape.message[1:] != tape.message[:-1], True) & (tape.kind != TRADE)
    np.testing.assert_array_equal(arrived.quotes[:, 0, 0, 0], tape.bid[last])
    np.testing.assert_array_equal(arrived.quotes[:, 0, 1, 0], tape.ask[last])
    features, at = book_features(ALL), moments(tape, 100)
    rows = rows_of(tape)._replace(local_ns=tape.local_ns)
    np.testing.assert_array_equal(streamed(rows, features, at), sampled(tape, features, at, MICRO))
    flow = np.append(0, np.cumsum(order_flow_imbalance(*arrived.quotes[:, 0].reshape(-1, 4).T)))
    ends, starts = (np.searchsorted(arrived.at, x, side="right") - 1 for x in (at, at - 100 * MS))
    np.testing.assert_array_equal(sampled(tape, book_features(["ofi:100ms"]), at)[:, 0], flow[ends] - flow[starts])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("offi:1s", "unknown feature of a book 'offi:1s'; did you mean 'ofi'?"),
        ("", "unknown feature of a book ''; known: "),
        ("ofi", "feature 'ofi' of a book is written ofi:1s or ofi:1s:5."),
        ("micro:3", "feature 'micro:3' of a book is written micro."),
        ("ofi:1", "feature 'ofi:1' of a book: '1' is not a length of time such as 1s, at most 24h."),
        ("ofi:0s", "'0s' is not a length of time"),
        ("flow:25h", "'25h' is not a length of time"),
        ("imbalance:0", "'0' is not levels such as 5, at most 50."),
        ("imbalance:²", "'²' is not levels"),
        ("vpin:10:x", "'x' is not a number such as 50, at most 10,000."),
        ("kyle:24h:10000", "looks back over more than 20 days."),
    ],
)
def test_a_wrong_name_is_told(spec: str, sentence: str) -> None:
    with pytest.raises(UserError) as told:
        book_features([spec])
    assert sentence in str(told.value)


def test_names_and_lookbacks() -> None:
    assert {name.split(":")[0] for name in known_book()} == {spec.split(":")[0] for spec in ALL}
    found = book_features(["ofi:1s", "imbalance:5", "realised:5s:1m", "kyle:1s:9", "ofi:1s"])
    assert [(f.name, f.lookback_ns // MS) for f in found] == [
        ("ofi:1s", 1_000), ("imbalance:5", 0), ("realised:5s:1m", 65_000), ("kyle:1s:9", 10_000),
    ]  # fmt: skip


def test_wrong_use_is_told() -> None:
    with pytest.raises(UserError, match="needs a micro-price that was fitted"):
        BookWatch(book_features(["micro"]))
    feed = BookWatch(book_features(["spread"]))
    feed.tell(10, SNAPSHOT, 0, 100, 5, 0)
    with pytest.raises(UserError, match="arrives after what was told"):
        feed.tell(9, DEPTH, 0, 100, 5, 1)
    with pytest.raises(UserError, match="in the order of time"):
        feed.look(9)
    feed.look(12)
    with pytest.raises(UserError, match="after the last look"):
        feed.tell(12, DEPTH, 0, 100, 5, 1)
    with pytest.raises(UserError, match="snapshots, depth or trades"):
        feed.tell(13, 7, 0, 100, 5, 1)
    with pytest.raises(UserError, match="at most"):
        feed.tell(13, DEPTH, 0, 2**50, 5, 1)
    with pytest.raises(UserError, match="rise"):
        sampled(still(), book_features(["spread"]), np.array([2, 1]))
    with pytest.raises(UserError, match="not below 0"):
        markouts(still(), np.array([0]), np.array([0]), np.array([0]), [-1])
