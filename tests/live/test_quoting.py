"""A session on an order book is what its tape says, whatever happens to the process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.book.accounts import F_CAUSE, F_LOTS, F_SIDE, F_TICK, F_TIME, begin
from qframe_rl.book.tape import tape_of
from qframe_rl.book.walk import TAKE
from qframe_rl.config import UserError
from qframe_rl.gym.replay.engine import HELD, MONEY, SENT, WORTH
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.journal.inbox import locking_word, order, transfer_word
from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.store import pulse, read
from qframe_rl.live import run_snapshots
from qframe_rl.live.paper_quoting import replay_quoter
from qframe_rl.live.quoting_terms import paper_terms
from qframe_rl.live.tapes import StatedRun, TapePart
from qframe_rl.quoter import BookView, Wishes, wishes
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.books.replay import view_of
from qframe_rl.venues.paper_book import PaperBook
from tests.live.books import COIN, Restless, Told, book, session, tape, terms, ticks

ONE = np.ones(1, np.bool_)


def events(journal: Path, *kinds: str) -> list[dict[str, Any]]:
    """Payloads of some kinds."""
    return [json.loads(e.payload) for e in read(journal) if e.kind in kinds]


def engine_says(market: Any, number: int) -> tuple[list[list[int]], np.ndarray]:
    """Fills and the last ledger of the environments' engine on the whole run."""
    market = market.__class__(**{**vars(market), "config": market.config.model_copy(update={"episode_steps": None})})
    packed = market.pack([whole_run(ticks().runs[number])])
    engine, quoter, over = market.engine(packed, 1, 100_000), Restless(), False
    engine.reset(ONE, np.array([0]))
    while not over:
        row = int(engine.row[0])
        if row == packed.n - 1:
            break
        window = packed.raw[max(row - 2, 0) : row + 1]
        view = view_of(engine.known.told[0], engine.known.queue[0], engine.task[0], window, row == 0)
        asked = quoter.quote(view)
        if row == packed.n - 2:  # its last step closes the position, which a session does not
            break
        engine.pursue(asked.quotes[None], asked.take[None], ONE)
    n = int(engine.walk.n_fills[0])
    columns = [F_TIME, F_SIDE, F_TICK, F_LOTS, F_CAUSE]
    return engine.walk.fills[:n, columns].tolist(), engine.ledger[0].copy()


def test_a_session_is_what_the_environment_says(tmp_path: Path) -> None:
    """The same wishes on the same rows: the same fills and money as where agents are trained, to the bit."""
    market = book()
    result = session(tmp_path)
    assert result.runs == 2 and result.late == 0
    said, last = engine_says(market, 0)
    lived = [one for one in events(result.journal, "lived") if one["time"] < ticks().runs[1].events.exchange_ns[0]]
    fills = [fill for one in lived for fill in one["fills"]]
    assert len(said) > 50
    assert fills[: len(said)] == said
    assert {fill[4] for fill in said} == {0, 1, 2, 3}
    assert last[SENT] > 100
    money = 0
    for _, side, tick, lots, _ in said:
        money -= (lots if side == 0 else -lots) * tick
    assert money == last[MONEY] and np.isfinite(last[[WORTH, HELD]]).all()


def test_it_is_the_same_wherever_the_parts_end(tmp_path: Path) -> None:
    whole = session(tmp_path / "a", tape(part_rows=10**6))
    parts = session(tmp_path / "b", tape(part_rows=37))
    assert whole.digest == parts.digest and whole.fills == parts.fills > 100
    fills = [[f for one in events(r.journal, "lived") for f in one["fills"]] for r in (whole, parts)]
    assert fills[0] == fills[1]
    wished = [[w for one in events(r.journal, "lived") for w in one["wished"]] for r in (whole, parts)]
    assert wished[0] == wished[1]


def test_equal_wishes_send_nothing(tmp_path: Path) -> None:
    """C10: in a market whose prices stand still two quotes are two messages, however often they are wished."""

    class Still:
        window = 1

        def quote(self, view: BookView) -> Wishes:
            return wishes((900, 5), (1100, 5))

    result = session(tmp_path, quoter=Still())
    first = [one for part in events(result.journal, "lived") for one in part["sent"]]
    assert result.decisions > 100
    assert [one[1:4] for one in first[:2]] == [[0, 0, 900], [0, 1, 1100]]
    assert result.sent == len(first) == 2 * 2 * result.runs


def test_a_replay_is_the_session_and_another_tape_is_refused(tmp_path: Path) -> None:
    result = session(tmp_path)
    again = replay_quoter(book(), Restless(), tape(), terms(), result.journal)
    assert (again.digest, again.fills, again.decisions) == (result.digest, result.fills, result.decisions)
    other = ticks()
    run = other.runs[1]
    lots = run.events.lots.copy()
    lots[-40] += 1
    other = other._replace(runs=(other.runs[0], run._replace(events=run.events._replace(lots=lots))))
    with pytest.raises(UserError, match="are not those that the session traded on; give the tape that it had"):
        replay_quoter(book(), Restless(), tape(other), terms(), result.journal)


def all_events(journal: Path) -> list[tuple[str, str]]:
    """All that a session came to."""
    return [(e.kind, e.payload) for e in read(journal) if e.kind not in REMARKS]


def test_terms_that_hold_what_must_not_be_written_are_refused_before_anything_is(tmp_path: Path) -> None:
    """Masked, a replay could not read them."""
    with pytest.raises(UserError, match="the environment variable MY_KEY holds a word of the session's own terms"):
        session(tmp_path, hidden={"the environment variable MY_KEY": COIN.symbol})
    assert not (tmp_path / "journal.db").exists()


def test_what_comes_late_is_settled_late_wherever_the_parts_end(tmp_path: Path) -> None:
    """C12: with a hold-back that rows outlast, what is decided, sent, filled and paid hangs on the rows alone."""
    results = [
        session(tmp_path / str(rows), tape(part_rows=rows), hold_ns=2_300_000, rates=((40, 10**9),))
        for rows in (11, 997)
    ]
    assert results[0].late == results[1].late > 500
    assert results[0].held_back == results[1].held_back > 0
    assert results[0].digest == results[1].digest and results[0].fills > 50


def test_no_more_messages_are_sent_than_the_exchange_takes(tmp_path: Path) -> None:
    result = session(tmp_path, rates=((12, 10**9), (400, 60 * 10**9)))
    times = np.array([one[0] for part in events(result.journal, "lived") for one in part["sent"]])
    most = max(int(((times > at - 10**9) & (times <= at)).sum()) for at in times.tolist())
    assert result.held_back > 10 and 6 <= most <= 12
    assert session(tmp_path / "free").sent > 1.5 * result.sent


class Interrupted(Exception):
    """What a test throws into a session."""


class Dying(Told):
    """A tape that breaks off."""

    def part(self, n: int) -> None:
        """After so many parts."""
        if n == self.at:
            raise Interrupted


@pytest.mark.parametrize("at", [1, 7, 23, 31])
def test_a_session_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path, at: int) -> None:
    whole = session(tmp_path / "whole")
    for n in (at, 3):
        with pytest.raises(Interrupted):
            session(tmp_path / "cut", Dying(at=n))
    result = session(tmp_path / "cut")
    assert result.repeated == at + 3 - (ended if (ended := parts_of_run(whole.journal, 0)) <= at + 3 else 0)
    assert all_events(result.journal) == all_events(whole.journal) and result.digest == whole.digest


def parts_of_run(journal: Path, number: int) -> int:
    """Parts of the tape in a run."""
    names = [one["run"]["name"] for one in events(journal, "part")]
    return names.count(list(dict.fromkeys(names))[number])


def unnumbered(journal: Path) -> list[tuple[str, str]]:
    """All events, but for the numbers of commands, which are drawn."""
    found = [one for one in all_events(journal) if one[0] != "snapshot"]
    return [(kind, re.sub(r'"number":\d+', "", said)) for kind, said in found]


class LastRunAlone(Dying):
    """A tape whose first run is not to be had any more."""

    def rows(self, run: str, first: int, n: int) -> Any:
        """Of the second run."""
        assert run == ticks().runs[1].name, "a run that ended is not lived through again"
        return super().rows(run, first, n)


def test_a_restart_goes_on_after_the_last_run_that_ended(tmp_path: Path) -> None:
    """Whatever is remembered: losses, funding, limits of messages, what was said and paid in."""
    own = {"rates": ((40, 10**9), (900, 60 * 10**9)), "hold_ns": 2_300_000}
    words = {3: "reduce", 5: "resume", 9: transfer_word("one", 2_500_000_000)}
    more = {"limits": Limits(max_position=20_000.0), **own}
    made = Commanded(words=words, journal=tmp_path / "whole" / "journal.db")
    whole, cut = session(tmp_path / "whole", made, **more), tmp_path / "cut"
    first = parts_of_run(whole.journal, 0)
    with pytest.raises(Interrupted):
        session(cut, CommandedDying(words=words, journal=cut / "journal.db", at=first + 3), **more)
    with pytest.raises(Interrupted):
        session(cut, LastRunAlone(at=2), **more)
    result = session(cut, LastRunAlone(at=-1), **more)
    assert result.repeated == 5
    assert unnumbered(result.journal) == unnumbered(whole.journal) and result.digest == whole.digest
    assert (result.final_equity, result.sent, result.held_back) == (whole.final_equity, whole.sent, whole.held_back)
    assert whole.held_back > 0 and result.paid == whole.paid
    again = replay_quoter(book(), Restless(), tape(), terms(**own), result.journal)
    assert (again.digest, again.fills) == (whole.digest, whole.fills), "a replay lives through all of it"


def test_a_snapshot_of_other_code_is_said_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, said = session(tmp_path / "whole"), list[str]()
    with pytest.raises(Interrupted):
        session(tmp_path / "cut", Dying(at=31))
    with monkeypatch.context() as other:
        other.setattr(run_snapshots, "made_by", lambda: "others")
        result = session(tmp_path / "cut", note=said.append)
    assert result.repeated == 31 and result.digest == whole.digest
    assert any("lived through from the beginning, because code or libraries have changed" in one for one in said)


class Commanded(Told):
    """A tape between whose parts commands are given."""

    def part(self, n: int) -> None:
        """Before a part."""
        if n in self.words:
            order(self.journal, self.words[n])


class CommandedDying(Commanded):
    """One of these that breaks off."""

    def part(self, n: int) -> None:
        """Before a part."""
        super().part(n)
        if n == self.at:
            raise Interrupted


class Loaded:
    """Buys something at the best price; then its quotes stand far away."""

    window = 1

    def quote(self, view: BookView) -> Wishes:
        """Nine lots a side."""
        return wishes((int(view.best[0, 0]) if view.position < 5 else 900, 9), (1100, 9))


def commanded(folder: Path, words: dict[int, str], quoter: Any) -> tuple[list[dict[str, Any]], Any]:
    """What became of a session that was told words before its parts."""
    made = Commanded(words=words, journal=folder / "journal.db")
    result = session(folder, made, quoter)
    said = [(e.kind, json.loads(e.payload)) for e in read(result.journal)]
    assert replay_quoter(book(), quoter, tape(), terms(), result.journal).digest == result.digest
    return [payload | {"of": kind} for kind, payload in said if kind in ("lived", "state", "command")], result


def test_halted_withdraws_both_quotes_and_resume_quotes_again(tmp_path: Path) -> None:
    said, _ = commanded(tmp_path, {7: "halt", 16: "resume"}, Loaded())
    states = [(k, one) for k, one in enumerate(said) if one["of"] == "state"]
    assert [(one["state"], one["reasons"]) for _, one in states] == [
        ("HALTED", ["halt by command"]), ("ACTIVE", ["resume by command"]),
    ]  # fmt: skip
    halted = [one for one in said[states[0][0] : states[1][0]] if one["of"] == "lived"]
    sent = [message for one in halted for message in one["sent"]]
    assert halted[0]["wished"][-1][1:] == [0] * 7
    assert sent and {message[1] for message in sent} == {2}, "nothing but withdrawals"
    assert not [fill for one in halted[2:] for fill in one["fills"]]
    after = [message[1] for one in said[states[1][0] :] if one["of"] == "lived" for message in one["sent"]]
    assert 0 in after


class SaidTwice(Told):
    """A tape between two parts of which somebody speaks twice."""

    def parts(self, run: StatedRun | None, n: int, *, ended: bool) -> Iterator[TapePart | None]:
        """All of them, and twice nothing."""
        for k, part in enumerate(super().parts(run, n, ended=ended)):
            for word in ("halt", "resume") if k == 7 and n == 0 else ():
                order(self.journal, word)
                yield None
            yield part


def test_what_is_said_twice_between_two_parts_is_lived_through_again(tmp_path: Path) -> None:
    result = session(tmp_path, SaidTwice(journal=tmp_path / "journal.db"), Loaded())
    assert [one["state"] for one in events(result.journal, "state")] == ["HALTED", "ACTIVE"]
    assert replay_quoter(book(), Loaded(), tape(), terms(), result.journal).digest == result.digest
    assert session(tmp_path, tape(part_rows=300), Loaded()).digest == result.digest


def test_where_there_is_no_room_only_withdrawals_go_out_and_what_closes() -> None:
    """Whatever the state: the rest waits, though it must."""
    account = PaperBook(paper_terms(book(), terms(rates=((2, 10**9),))), COIN, 10_000.0)
    begin(tape_of(ticks().runs[0].events, 0), account.walk, 0, 1)
    quotes, take = np.array([[990, 5], [0, 0]]), np.array([0, 0, 0])
    assert account.send(quotes, take, 10, 0, must=True) == []
    assert account.send(quotes, np.array([1, 2, 980]), 10, 0, must=True) == []
    closing = account.send(np.zeros((2, 2), np.int64), np.array([1, 2, 980]), 10, 0, must=True)
    assert [one.kind for one in closing] == [TAKE]
    assert account.send(np.zeros((2, 2), np.int64), np.array([1, 2, 980]), 10, 0, must=True, fresh=False) == []


def test_flatten_takes_the_position_and_then_nothing_goes_out(tmp_path: Path) -> None:
    said, result = commanded(tmp_path, {12: "flatten"}, Loaded())
    states = [one["state"] for one in said if one["of"] == "state"]
    assert states == ["FLATTEN", "HALTED"]
    lived = [one for one in said if one["of"] == "lived"]
    sent = [message for one in lived[12:] for message in one["sent"]]
    assert [message[1] for message in sent] == [2, 2, 1], "what stands is withdrawn, and then once taken"
    assert sent[2][0] > max(sent[0][0], sent[1][0]), "only once it is known that nothing stands"
    held = [one["truth"][1] for one in lived]
    assert any(held[:11]) and held[-1] == 0 and lived[-1]["account"]["position"] == [0.0]
    assert json.loads(pulse(result.journal)[1])["state"] == "HALTED"  # type: ignore[index]


def test_a_lock_closes_the_instrument_in_every_state_and_its_release_resumes_nothing_else(tmp_path: Path) -> None:
    closed, released = locking_word("flatten", COIN.symbol), locking_word("resume", COIN.symbol)
    said, result = commanded(tmp_path / "active", {7: closed, 12: "resume", 16: released}, Loaded())
    assert not [one for one in said if one["of"] == "state"], "a lock is no state of trading"
    assert [one["symbols"] for one in events(result.journal, "locked")] == [[COIN.symbol], []]
    lived = [one for one in said if one["of"] == "lived"]
    assert lived[6]["truth"][1] and not any(one["truth"][1] for one in lived[10:16]), "held flat, whoever resumes all"
    assert 0 in [message[1] for one in lived[16:] for message in one["sent"]], "released, it quotes again"
    said, result = commanded(tmp_path / "halted", {7: "halt", 9: closed, 16: released}, Loaded())
    lived = [one for one in said if one["of"] == "lived"]
    assert lived[8]["truth"][1] and not lived[-1]["truth"][1], "closed though it is halted"
    assert json.loads(pulse(result.journal)[1])["state"] == "HALTED"  # type: ignore[index]
    look = json.loads(pulse(commanded(tmp_path / "last", {9: closed}, Loaded())[1].journal)[1])  # type: ignore[index]
    assert look["locked"] == [COIN.symbol]


def test_a_loss_beyond_the_limit_closes_the_position(tmp_path: Path) -> None:
    result = session(tmp_path, limits=Limits(daily_loss=1e-7), cash=100.0)
    (first, last) = events(result.journal, "state")
    assert first["state"] == "FLATTEN" and first["reasons"][0].startswith("daily_loss: equity")
    assert last["state"] == "HALTED"
    assert events(result.journal, "lived")[-1]["truth"][1] == 0


def test_limits_of_orders_and_positions_hold(tmp_path: Path) -> None:
    one = 100.0 * 0.1 * 0.001 * 10  # what a lot is worth, about
    result = session(tmp_path, limits=Limits(max_order=5.5 * one, max_position=12.5 * one))
    lived = events(result.journal, "lived")
    quoted = [message[4] for part in lived for message in part["sent"] if message[1] == 0]
    held, position = [], 0
    for part in lived:
        for _, side, _, lots, _ in part["fills"]:
            position += lots if side == 0 else -lots
            held.append(abs(position))
    assert 0 < max(quoted) <= 6 and 0 < max(held) <= 13
    with pytest.raises(UserError, match=r"--collar 0\.1 means nothing where a strategy quotes; daily_loss"):
        session(tmp_path / "other", limits=Limits(collar=0.1))


def test_where_a_run_ends_quotes_are_withdrawn_and_the_position_is_carried(tmp_path: Path) -> None:
    """A gap in the tape cancels quotes, and another run begins without them."""
    result = session(tmp_path)
    lived = events(result.journal, "lived")
    parts = events(result.journal, "part")
    (end, _) = (k for k, part in enumerate(parts) if "ends" in part)
    last, run = lived[end], ticks().runs[0]
    withdrawn = [message for message in last["sent"] if message[0] == int(run.events.local_ns[-1])]
    assert {message[1] for message in withdrawn} == {2} and 1 <= len(withdrawn) <= 2
    assert last["truth"][1] != 0 and lived[end + 1]["truth"][1] == last["truth"][1]
    assert lived[end + 1]["truth"][0] == last["truth"][0]
    later = [fill[0] for part in lived[end + 1 :] for fill in part["fills"]]
    assert later and min(later) > ticks().runs[1].events.exchange_ns[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (wishes((1000, -1)), "wishes lots .-1, 0, 0. at ticks"),
        (Wishes(np.array([[1000.5, 1.0], [0, 0]]), np.zeros(3, np.int64)), "wishes quotes float64"),
        (Wishes(np.zeros((2, 2), np.int64), np.array([2, 1, 5])), "side 2: out of range"),
        (None, "wishes NoneType"),
    ],
)
def test_what_is_no_wish_is_refused_and_never_clipped(tmp_path: Path, asked: Any, said: str) -> None:
    class Odd:
        window = 1

        def quote(self, view: BookView) -> Any:
            return asked

    with pytest.raises(UserError, match=f"strategy restless.*{said}"):
        session(tmp_path, quoter=Odd())


def test_those_who_look_on_are_told_of_parts_as_of_bars(tmp_path: Path) -> None:
    from qframe_rl.live.status import Line

    shown: list[str] = []
    result = session(tmp_path, begun=lambda desk, ledger, operator: desk.listeners.append(Line(shown.append, "part")))
    assert shown[-1].startswith("2023-11-14 23:13") and f"equity {result.final_equity:,.2f}" in shown[-1]
    assert COIN.symbol in json.loads(pulse(result.journal)[1])["symbols"]  # type: ignore[index]
