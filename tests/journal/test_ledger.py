"""Repeating and going on: the same calls on a record give the record, and then add to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qframe_rl.journal.codec import (
    account_in,
    account_out,
    array,
    bar_in,
    bar_out,
    fills_in,
    fills_out,
    numbers,
    orders_in,
    orders_out,
)
from qframe_rl.journal.ledger import Differs, Input, Ledger, RecordEnds
from qframe_rl.journal.store import Alert, Writer, read, waiting
from qframe_rl.types import Account, Bar, Fills, Orders

FLOATS = st.floats(min_value=-1e100, max_value=1e100) | st.just(float("nan"))


def steps(ledger: Ledger, n: int, commands: dict[int, str], outside: int = 0) -> list[str]:
    """A made-up session: takes a number, adds it up, listens to commands."""
    total, heard = 0, []
    for k in range(n):
        said = [Input("command", {"word": commands[k], "by": "test"})] if k in commands else []
        heard += [one.payload["word"] for one in ledger.inputs(frozenset({"command"}), lambda said=said: said)]
        total += ledger.take("bar", lambda k=k: {"x": k + outside})["x"]
        ledger.put("sum", {"time": k, "total": total, "heard": heard})
        ledger.commit()
    return heard


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_a_session_goes_on_where_its_record_ends(tmp_path: Path, cut: int) -> None:
    whole, parts = tmp_path / "whole.db", tmp_path / "parts.db"
    writer = Writer(whole)
    steps(Ledger(whole, writer), 10, {3: "halt", 5: "resume"})
    writer.close()
    for n in (cut, 10):
        writer = Writer(parts)
        heard = steps(Ledger(parts, writer), n, {3: "halt", 5: "resume"}, outside=0)
        writer.close()
    assert heard == ["halt", "resume"]
    assert [e[2:] for e in read(whole)] == [e[2:] for e in read(parts)]


def test_inputs_come_from_the_record_and_not_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    steps(Ledger(path, writer), 5, {2: "halt"})
    writer.close()
    again = Ledger(path, None)
    assert steps(again, 5, {4: "never asked"}, outside=99) == ["halt"]
    assert again.recorded is None
    with pytest.raises(RecordEnds):
        again.take("bar", dict)
    with pytest.raises(RecordEnds):
        again.put("sum", {})


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.tuples(st.integers()), min_size=2, max_size=5))
def test_a_session_acts_on_what_its_replay_will_read(tmp_path_factory: pytest.TempPathFactory, said: Any) -> None:
    """In its order too: ids were kept as an exchange listed them, and a replay went through them sorted."""
    path = tmp_path_factory.mktemp("journal") / "journal.db"

    def all_three(ledger: Ledger) -> list[Any]:
        taken = [ledger.take("bar", lambda: said), ledger.awaited("bar", lambda: said, lambda: None)]
        taken += [one.payload for one in ledger.inputs(frozenset({"bar"}), lambda: [Input("bar", said)])]
        ledger.commit()
        return [list(one.items()) for one in taken]

    writer = Writer(path)
    lived = all_three(Ledger(path, writer))
    writer.close()
    assert all_three(Ledger(path, None)) == lived


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    Ledger(path, writer).put("decision", {"time": 0, "orders": {"quantity": [0.0, 0.25]}})
    writer.commit()
    writer.close()
    with pytest.raises(
        Differs, match=r"event 1, the decision of 1970.* has decision.orders.quantity\[1\] = 0.25, .* at 0.5"
    ):
        Ledger(path, None).put("decision", {"time": 0, "orders": {"quantity": [0.0, 0.5]}})
    with pytest.raises(Differs, match="event 1 is a decision, but the session now arrives at a bar"):
        Ledger(path, None).take("bar", dict)


def snapped(path: Path, made: str = "one", state: int = 1, time: int = 7) -> Ledger:
    ledger = Ledger(path, None)
    ledger.snapshot(time, made, {"state": state}, {})
    return ledger


def test_a_snapshot_is_compared_with_one_of_the_same_code_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    ledger = Ledger(path, writer)
    ledger.snapshot(7, "one", {"state": 1}, {"watching": 2})
    ledger.commit()
    kept = ledger.last_snapshot()
    assert kept is not None
    assert (kept.seq, kept.made, kept.state, kept.watchers) == (1, "one", '{"state":1}', '{"watching":2}')
    assert ledger.genuine(kept)
    assert not ledger.genuine(kept._replace(state='{"state":2}'))
    assert not ledger.genuine(kept._replace(seq=2))
    writer.close()
    assert snapped(path).n_foreign == 0
    with pytest.raises(Differs, match=r"snapshot\.hash"):
        snapped(path, state=2)
    foreign = snapped(path, made="other", state=2)
    assert (foreign.n_foreign, foreign.recorded) == (1, None)
    with pytest.raises(Differs, match=r"snapshot\.time"):
        snapped(path, made="other", state=2, time=8)


def test_a_remark_cannot_stand_before_what_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    Ledger(path, writer).put("sum", {"total": 1})
    writer.commit()
    again = Ledger(path, writer)
    with pytest.raises(RuntimeError, match="before events that are recorded"):
        again.remark("note", {"says": "early"})
    again.alert(Alert("rule", "said already"))
    again.put("sum", {"total": 1})
    again.remark("note", {"says": "now"})
    again.alert(Alert("rule", "new"))
    again.commit()
    writer.close()
    assert [e.kind for e in read(path)] == ["sum", "note", "alert"]
    assert waiting(path) == 1


def test_who_asked_is_told_of_each_event_that_is_new(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    told: list[str] = []
    for _ in range(2):
        ledger = Ledger(path, writer)
        ledger.told = lambda kind, payload: told.append(kind)
        ledger.put("a", {})
        ledger.take("b", dict)
        ledger.inputs(frozenset({"c"}), lambda: [Input("c", {})])
        ledger.remark("note", {}) if ledger.writing else None
        ledger.commit()
    writer.close()
    assert told == ["a", "b", "c"]


def test_remarks_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    ledger = Ledger(path, writer)
    ledger.remark("process", {"says": "begins"})
    ledger.put("sum", {"total": 1})
    ledger.remark("note", {"says": "slow"})
    ledger.commit()
    writer.close()
    again = Ledger(path, None)
    again.put("sum", {"total": 1})
    again.remark("note", {"says": "dropped"})
    assert again.recorded is None


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=2), elements=FLOATS))
def test_numbers_keep_their_bits(x: np.ndarray) -> None:
    import json

    back = array(json.loads(json.dumps(numbers(x))))
    assert back.shape == x.shape
    assert np.array_equal(np.signbit(back[~np.isnan(x)]), np.signbit(x[~np.isnan(x)]))
    assert np.array_equal(back, x, equal_nan=True)


@given(hnp.arrays(np.float64, (9, 2), elements=FLOATS), hnp.arrays(np.float64, (2, 6), elements=FLOATS))
def test_records_keep_their_bits(x: np.ndarray, values: np.ndarray) -> None:
    bar = Bar(7, values, x[0], np.array([True, False]), 2.5e-5, x[:8].reshape(2, 2, 4))
    assert bar_in(bar_out(bar._replace(finer=None))).finer is None
    orders = Orders(np.nan_to_num(x[1]), x[2], x[3])
    fills = Fills(*(np.nan_to_num(row) for row in x), np.array(3.0), np.array(0.25))
    account = Account(np.array(5.0), np.nan_to_num(x[4]), x[5])
    for one, back in (
        (bar, bar_in(bar_out(bar))),
        (orders[:3], orders_in(orders_out(orders))[:3]),
        (fills[:-1], fills_in(fills_out(fills), 2)[:-1]),
        (account, account_in(account_out(account))),
    ):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, back, strict=True))
