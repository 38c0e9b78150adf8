"""What ends a run of live ticks, and what a kill at any step leaves of its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qframe_rl.book.events import DEPTH
from qframe_rl.book.state import BUY, SELL
from qframe_rl.config import UserError
from qframe_rl.feeds import ticks
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.tick_chain import EARLY, LeastDelay, OldPicture, RunBegins, RunBroken, TickChain
from qframe_rl.feeds.tick_files import KILLED, RunFiles, tidied
from qframe_rl.feeds.tick_wire import BookPicture, BookWindow, DepthMessage, Levels, TradeMessage, number_of
from qframe_rl.feeds.ticks import run_of_file, tick_runs, ticks_folder

MS, SECOND = 1_000_000, 1_000_000_000
T0 = 1_700_000_000_000
PERP = Listing("binance", "BTC/USDT:USDT")
BOOK = BookPicture(T0 * MS, 100, [(99.9, 1.0)], [(100.0, 1.0)])


def depth(k: int, bids: Levels | None = None, asks: Levels | None = None, *, spot: bool = False) -> DepthMessage:
    """The k-th message after a book whose last update is 100; a millisecond each, 3 ms late."""
    first, final = 100 + 5 * k - 4, 100 + 5 * k
    stamps = ((T0 + k + 3) * MS, T0 + k, -1 if spot else T0 + k)
    return DepthMessage(*stamps, first, final, -1 if spot else final - 5, bids or [(99.0, 0.001 * (k + 1))], asks or [])


def trade(k: int, number: int = 7) -> TradeMessage:
    return TradeMessage((T0 + k + 3) * MS, T0 + k, T0 + k, number, 100.0, 0.5, False, "MARKET")


def chain(*, begun: bool = True) -> TickChain:
    made = TickChain(PERP.symbol, 0.1, 0.001)
    if begun:
        made.hear(BOOK)
        assert isinstance(made.hear(depth(1))[0], RunBegins)
    return made


def test_a_run_whose_last_rows_came_late_is_read_as_the_one_that_was_recorded(tmp_path: Path) -> None:
    """The clock is judged by whole minutes as it is recorded, and the last one is never whole."""
    folder = ticks_folder(tmp_path, PERP)
    folder.mkdir(parents=True)
    files, clock = RunFiles(folder, BOOK, {"tick": 0.1, "lot": 0.001}), LeastDelay()
    for k in range(1, 64):
        stamps = (T0 + 1000 * k + (3 if k < 61 else 40)) * MS, T0 + 1000 * k
        clock.check(stamps[0], stamps[1] * MS)
        files.add(depth(k)._replace(local_ns=stamps[0], event_ms=stamps[1], transact_ms=stamps[1]))
    files.end("it was made so long", {"clock_shift_ns": clock.shift_ns})
    assert len(run_of_file(files.depth, PERP.symbol).events.tick) == 2 + 63


@pytest.mark.parametrize(("spot", "last", "kept"), [(False, 105, 1), (False, 104, 1), (True, 105, 2), (True, 104, 1)])
def test_a_run_begins_with_the_message_that_goes_on_from_its_book(spot: bool, last: int, kept: int) -> None:
    """Perpetuals drop u < lastUpdateId, spot u <= lastUpdateId; the first kept has the update that follows."""
    made = chain(begun=False)
    for k in (1, 2, 3):
        assert made.hear(depth(k, spot=spot)) == []
    begins, *rows = made.hear(BOOK._replace(last=last))
    assert isinstance(begins, RunBegins) and len(rows) == 4 - kept
    assert begins.events.exchange_ns[0] == (T0 + kept) * MS


def test_a_book_that_is_older_than_the_stream_is_asked_for_anew_and_not_for_ever() -> None:
    made = chain(begun=False)
    made.hear(depth(3))
    for _ in range(4):
        with pytest.raises(OldPicture):
            made.hear(BOOK._replace(last=90))
    with pytest.raises(RunBroken, match="stays older"):
        made.hear(BOOK._replace(last=90))


def test_trades_of_before_a_run_are_none_of_it() -> None:
    made = chain(begun=False)
    made.hear(depth(2))
    made.hear(trade(1))
    made.hear(trade(2, 8))
    told = made.hear(BOOK._replace(last=110))
    assert len(told) == 3 and made.dropped[EARLY] == 1


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (depth(3), "update ids have a gap"),
        (depth(2)._replace(transact_ms=T0 - 1500), "the exchange's clock steps back"),
        (depth(2)._replace(local_ns=T0 * MS), "the recorder's clock steps back"),
    ],
)
def test_what_ends_a_run(message: DepthMessage, why: str) -> None:
    made = chain()
    with pytest.raises(RunBroken, match=why):
        made.hear(message)


def test_a_number_off_the_grid_says_field_and_row() -> None:
    with pytest.raises(UserError, match=r"USDT, update 110: price: row 0 has 99.05, which is no multiple of 0.1"):
        chain().hear(depth(2, [(99.05, 1.0)]))
    with pytest.raises(UserError, match=r"quantity: row 0 has 1e\+300, more than .* steps of 0.001"):
        chain().hear(depth(2, [(99.0, 1e300)]))


def test_the_older_side_of_a_crossed_book_goes_and_a_book_that_stays_crossed_is_none() -> None:
    made = chain()
    made.hear(depth(2, [(100.0, 2.0)]))
    assert made.uncrossed == 1 and (made.book.best(BUY), made.book.best(SELL)) == (1000, None)
    made = chain()
    with pytest.raises(RunBroken, match="crosses again and again"):
        for k in range(2, 40):
            crossing = [(100.0, 1.0)]
            made.hear(depth(k, crossing) if k % 2 else depth(k, [(99.0, 1.0)], crossing))
    assert made.uncrossed == 11
    made = chain()
    with pytest.raises(RunBroken, match="crosses again and again"):
        for k in (2, 3, 4):
            late = depth(k, *(([(100.0, 1.0)], None) if k % 2 else (None, [(99.0, 1.0), (99.9, 1.0)])))
            made.hear(late._replace(local_ns=late.local_ns + k * 600 * MS))


def test_the_clock_is_put_right_by_the_least_delay_and_a_drift_ends_the_run() -> None:
    clock = LeastDelay()
    for k, late in enumerate((-1500, -1510, -1502)):
        clock.check(T0 * MS + k * SECOND, T0 * MS + k * SECOND - late * MS)
    assert clock.shift_ns == 1511 * MS
    clock = LeastDelay()
    for k in range(130):
        clock.check(T0 * MS + k * SECOND, T0 * MS + k * SECOND - (3 + k // 60 * 4) * MS)
    with pytest.raises(RunBroken, match="drifts"):
        for k in range(130, 200):
            clock.check(T0 * MS + k * SECOND, T0 * MS + k * SECOND - 11 * MS)
    assert k == 180, "its minute was over"
    clock = LeastDelay()
    for k in range(70):
        clock.check(T0 * MS + k * SECOND, T0 * MS + k * SECOND - 20 * MS)
    with pytest.raises(RunBroken, match="drifts"):
        clock.check(T0 * MS + 70 * SECOND, T0 * MS + 70 * SECOND - 14 * MS)


def test_a_level_that_left_the_window_is_unknown_and_not_nothing() -> None:
    bids = BookWindow(descending=True)
    assert bids.changes([(10.0, 1.0), (9.0, 2.0), (8.0, 3.0)]) == [(10.0, 1.0), (9.0, 2.0), (8.0, 3.0)]
    assert bids.changes([(11.0, 5.0), (10.0, 1.0), (9.0, 2.0)]) == [(11.0, 5.0)], "8 is beyond what is told"
    assert bids.changes([(9.0, 2.0), (7.0, 1.0), (6.0, 1.0)]) == [
        (10.0, 0.0), (8.0, 0.0), (11.0, 0.0), (7.0, 1.0), (6.0, 1.0),
    ]  # fmt: skip
    asks = BookWindow(descending=False)
    asks.changes([(10.0, 1.0), (11.0, 1.0)])
    assert asks.changes([(11.0, 2.0), (12.0, 1.0)]) == [(10.0, 0.0), (11.0, 2.0), (12.0, 1.0)]


def test_ids_of_trades_are_numbers() -> None:
    assert number_of("123") == 123
    assert number_of("a-b") == number_of("a-b") != number_of("a-c")
    assert 0 <= number_of("9" * 30) < 2**63


class Killed(BaseException):
    """Stands for kill -9: nothing on disk changes any more."""


def test_a_kill_at_any_step_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, remove = Path.replace, Path.unlink
    left = [0]

    def counted(act: object) -> object:
        def step(*given: object, **more: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return act(*given, **more)  # type: ignore[operator]

        return step

    def until_killed(work: object, steps: int) -> bool:
        """Whether it was killed after so many steps."""
        left[0] = steps
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", counted(rename))
            patched.setattr(Path, "unlink", counted(remove))
            try:
                work()  # type: ignore[operator]
            except Killed:
                return True
        return False

    def lives(folder: Path) -> None:
        files = RunFiles(folder, BOOK, {"tick": 0.1, "lot": 0.001})
        for part in range(3):
            for k in range(4 * part + 1, 4 * part + 5):
                files.add(depth(k))
                files.add(trade(k, k))
            files.write({})
        files.end("it was over", {})

    def seen(root: Path) -> tuple[list[int], list[int]]:
        if not ticks._files(ticks_folder(root, PERP)):
            return [], []
        (run,) = tick_runs(root, PERP)
        kinds = run.events.kind
        return run.events.lots[kinds == DEPTH].tolist(), run.events.exchange_ns[kinds == ticks.TRADE].tolist()

    whole, steps, ends = list(range(2, 14)), 0, set()
    while True:
        root = tmp_path / str(steps)
        folder = ticks_folder(root, PERP)
        folder.mkdir(parents=True)
        killed = until_killed(lambda at=folder: lives(at), steps)
        before = seen(root)
        until_killed(lambda at=folder: tidied(at), steps % 7)
        assert seen(root) == before
        tidied(folder)
        assert seen(root) == before and tidied(folder) == 0
        n = len(before[0])
        assert before[0] == whole[:n] and len(before[1]) == n and n % 4 == 0
        if n:
            (run,) = tick_runs(root, PERP)
            ends.add((n, run.ends))
            assert len(list(folder.iterdir())) == 4
        else:
            assert not list(folder.iterdir())
        if not killed:
            break
        steps += 1
    assert steps > 25
    assert {(4, KILLED), (8, KILLED), (12, KILLED), (12, "it was over")} <= ends
    assert np.all(np.diff([n for n, _ in sorted(ends)]) >= 0)
