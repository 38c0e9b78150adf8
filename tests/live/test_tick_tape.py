"""C12: what a session on a live market lived through is what its files say."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.book.events import DEPTH
from qframe_rl.config import UserError
from qframe_rl.feeds.ticks import run_of_file, tick_runs, ticks_folder
from qframe_rl.gym.replay.packed import TickSpan
from qframe_rl.journal.store import read
from qframe_rl.live.paper_quoting import QuotingResult, replay_quoter
from qframe_rl.live.tapes import ReplayTape
from qframe_rl.live.tick_tape import AGAIN, StreamTape, _Listening
from tests.feeds.test_tick_record import PERP, first_of
from tests.feeds.tick_exchange import TickExchange
from tests.live.books import COIN, Restless, book, session, terms

HOLD, SETTLING = 50_000_000, 0.3


def live(exchange: TickExchange, folder: Path, **more: Any) -> QuotingResult:
    """Trade until the exchange's run is over."""
    with exchange.running():
        tape = streamed(folder, url=exchange.url, wall=exchange.clock)

        def watch() -> None:
            while not exchange.done:
                time.sleep(0.05)
            time.sleep(0.5)
            tape.stopped.set()

        threading.Thread(target=watch, daemon=True).start()
        return session(folder, tape, hold_ns=HOLD, **more)


def streamed(folder: Path, **more: Any) -> StreamTape:
    return StreamTape("binance", PERP, folder, COIN, part_s=0.2, settling_s=SETTLING, **more)


def events(journal: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(e.payload) for e in read(journal) if e.kind == kind]


def test_a_live_session_is_that_of_its_recorded_tape(tmp_path: Path) -> None:
    result = live(TickExchange(PERP, n=2500, seed=5), tmp_path / "live")
    assert result.fills > 20 and result.runs == 1 and result.sent > 30
    # Run again from the journal and the tape's files.
    again = replay_quoter(book(), Restless(), streamed(tmp_path / "live"), terms(hold_ns=HOLD), result.journal)
    assert (again.digest, again.fills, again.final_equity) == (result.digest, result.fills, result.final_equity)
    # And as any recorded run, cut otherwise.
    (run,) = tick_runs(tmp_path / "live", PERP)
    stated = events(result.journal, "part")[0]["run"]
    run = run._replace(clock_shift_ns=stated["clock_shift_ns"], ready_ns=stated["ready_ns"])
    span = TickSpan(run, stated["start_ns"], stated["stop_ns"])
    other = session(tmp_path / "file", ReplayTape([span], part_rows=450), hold_ns=HOLD)
    assert (other.digest, other.fills, other.sent) == (result.digest, result.fills, result.sent)
    fills = [[f for one in events(r.journal, "lived") for f in one["fills"]] for r in (result, other)]
    truth = [events(r.journal, "lived")[-1]["truth"] for r in (result, other)]
    assert fills[0] == fills[1] and truth[0] == truth[1] and other.final_equity == result.final_equity
    assert min(f[0] for f in fills[0]) > stated["start_ns"]


def test_a_gap_in_the_stream_withdraws_quotes_and_begins_another_run(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=2400, seed=2)
    exchange.lead = 12
    lost = first_of(exchange, DEPTH, 1100)
    exchange.dropped.add(lost)
    exchange.breaks.add(first_of(exchange, DEPTH, lost + 1))
    result = live(exchange, tmp_path)
    parts, lived = events(result.journal, "part"), events(result.journal, "lived")
    assert result.runs == 2 and len({part["run"]["name"] for part in parts}) == 2
    (end, last) = (k for k, part in enumerate(parts) if "ends" in part)
    assert (parts[end]["ends"], parts[last]["ends"]) == ("update ids have a gap", "the session was stopped")
    assert lived[end]["sent"][-1][1] == 2 and lived[end]["decisions"] < lived[last]["decisions"]
    gained = sum(lots if side == 0 else -lots for _, side, _, lots, _ in lived[end + 1]["fills"])
    assert lived[end + 1]["truth"][1] == lived[end]["truth"][1] + gained, "the position is carried"
    again = replay_quoter(book(), Restless(), streamed(tmp_path), terms(hold_ns=HOLD), result.journal)
    assert again.digest == result.digest


class Interrupted(Exception):
    """What a test throws into a session."""


def test_a_session_that_is_started_again_withdraws_first_and_goes_on_in_a_new_run(tmp_path: Path) -> None:
    first = TickExchange(PERP, n=1600, seed=3)
    with first.running():
        tape = streamed(tmp_path, url=first.url, wall=first.clock)
        parts = tape.parts

        def dying(*given: Any, **more: Any) -> Any:
            for k, part in enumerate(one for one in parts(*given, **more) if one is not None):
                if k == 3:
                    raise Interrupted
                yield part

        tape.parts = dying  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            session(tmp_path, tape, hold_ns=HOLD)
    before = events(tmp_path / "journal.db", "lived")
    result = live(TickExchange(PERP, n=1600, seed=4), tmp_path)
    parts_of, lived = events(result.journal, "part"), events(result.journal, "lived")
    assert lived[: len(before)] == before, "what was on record stays"
    again = parts_of[len(before)]
    assert again["rows"] == 0 and again["ends"] == AGAIN
    assert result.repeated == len(before) and result.runs == 2
    assert replay_quoter(book(), Restless(), streamed(tmp_path), terms(hold_ns=HOLD), result.journal).digest


def test_another_tape_is_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    result = live(TickExchange(PERP, n=1000, seed=6), tmp_path)
    name = events(result.journal, "part")[0]["run"]["name"]
    place = ticks_folder(tmp_path, PERP) / f"{name}_depth.parquet"
    table = pq.read_table(place)
    quantity = table["qty"].to_numpy().copy()
    quantity[-30] += 0.001
    pq.write_table(table.set_column(table.column_names.index("qty"), "qty", [quantity]), place)
    assert len(run_of_file(place, PERP.symbol).events.tick) > 100
    with pytest.raises(UserError, match="are not those that the session traded on"):
        replay_quoter(book(), Restless(), streamed(tmp_path), terms(hold_ns=HOLD), result.journal)
    place.unlink()
    with pytest.raises(UserError, match="restore the files of the tape"):
        replay_quoter(book(), Restless(), streamed(tmp_path), terms(hold_ns=HOLD), result.journal)


def test_a_market_in_other_steps_is_refused(tmp_path: Path) -> None:
    exchange = TickExchange(PERP, n=400)
    with exchange.running():
        coin = replace(COIN, tick=0.5)
        tape = StreamTape("binance", PERP, tmp_path, coin, url=exchange.url, wall=exchange.clock, part_s=0.1)
        with pytest.raises(UserError, match=r"moves in ticks of 0\.1 and lots of 0\.001 now"):
            next(part for part in tape.parts(None, 0, ended=True) if part is not None)


def test_a_stream_that_ends_by_itself_while_it_is_told_to_stop_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, joined = threading.Event(), threading.Event()

    class Silent:
        async def told(self) -> Any:
            for told in ():
                yield told

    class Listening(_Listening):
        def join(self, timeout: float | None = None) -> None:
            joined.set()
            super().join(timeout)

    made = Listening(Silent(), queue.SimpleQueue())  # type: ignore[arg-type]
    close = made._loop.close

    def closing() -> None:
        close()
        closed.set()
        joined.wait(5.0)

    monkeypatch.setattr(made._loop, "close", closing)
    made.start()
    assert closed.wait(30.0)
    made.stop()
    assert not made.is_alive()
