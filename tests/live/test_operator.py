"""What an operator says by several ways at once, and which word is the last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qframe_rl.journal.inbox import KILL_FILE, locking_word, order
from qframe_rl.journal.ledger import Input, Ledger
from qframe_rl.journal.store import Writer
from qframe_rl.listeners import Soft
from qframe_rl.live.operator import Operator
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from tests.markets import prices


def test_a_signal_that_is_heard_together_with_a_resume_halts_and_so_does_a_file(tmp_path: Path) -> None:
    """Which of them was sent first cannot be known."""
    path = tmp_path / "journal.db"
    writer = Writer(path, durable=False)
    engine = RiskEngine(Limits(), prices(np.ones(2)).instruments)
    operator = Operator(Ledger(path, writer), tmp_path, Limits(), Soft(lambda said: None))
    number = order(path, "resume")
    operator.signalled = "halt"
    (tmp_path / KILL_FILE).touch()
    said = [(one.payload["word"], one.payload["by"]) for one in operator.poll(engine, 0)]
    assert said == [("resume", "command"), ("halt", "signal"), ("halt", "file")]
    operator.noted(number)
    (tmp_path / KILL_FILE).unlink()
    assert operator.poll(engine, 0) == []
    writer.close()


def test_who_resumes_does_so_before_what_still_stands_against_it(tmp_path: Path) -> None:
    """A decision between the two would trade although the file lies there, or the model is too old."""
    path = tmp_path / "journal.db"
    writer = Writer(path, durable=False)
    engine = RiskEngine(Limits(), prices(np.ones(2)).instruments)
    operator = Operator(Ledger(path, writer), tmp_path, Limits(), Soft(lambda said: None))
    operator.expires = 100
    said: list[int] = []
    operator.expired = said.append
    assert operator.poll(engine, 99) == []
    assert not said
    assert [one.payload for one in operator.poll(engine, 100)] == [{"word": "reduce", "by": "expiry"}]
    assert said == [100]
    (tmp_path / KILL_FILE).touch()
    engine.command("halt")
    assert operator.poll(engine, 101) == []
    order(path, "resume")
    said = [(one.payload["word"], one.payload["by"]) for one in operator.poll(engine, 101)]
    assert said == [("resume", "command"), ("reduce", "expiry"), ("halt", "file")]
    writer.close()


def test_a_signal_that_comes_while_another_one_is_put_on_record_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path, durable=False)
    operator = Operator(Ledger(path, writer), tmp_path, Limits(), Soft(lambda said: None))
    engine = RiskEngine(Limits(), prices(np.ones(2)).instruments)

    def put(kind: str, payload: dict[str, object]) -> Input:
        operator.signalled = "flatten" if payload["word"] == "halt" else None  # as the handler of the signal does
        return Input(kind, payload)

    monkeypatch.setattr("qframe_rl.live.operator.Input", put)
    operator.signalled = "halt"
    words = [one.payload["word"] for _ in range(2) for one in operator.poll(engine, 0)]
    assert words == ["halt", "flatten"]
    writer.close()


def test_who_releases_one_instrument_resumes_nothing_that_is_said_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path, durable=False)
    engine = RiskEngine(Limits(), prices(np.ones(2)).instruments)
    operator = Operator(Ledger(path, writer), tmp_path, Limits(), Soft(lambda said: None))
    engine.command("halt")
    (tmp_path / KILL_FILE).touch()
    operator.expires = 100
    order(path, locking_word("resume", engine.instruments[0].symbol))
    assert [one.payload["word"] for one in operator.poll(engine, 101)] == ["resume"]
    writer.close()


def test_a_file_that_stood_there_before_ends_no_flatten_and_a_new_one_does(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path, durable=False)
    engine = RiskEngine(Limits(), prices(np.ones(2)).instruments)
    (tmp_path / KILL_FILE).touch()
    operators = [Operator(Ledger(path, writer), tmp_path, Limits(), Soft(lambda said: None)) for _ in range(3)]
    assert [one.payload["by"] for one in operators[0].poll(engine, 0)] == ["file"]
    number = order(path, "flatten")
    assert [one.payload["word"] for one in operators[1].poll(engine, 0)] == ["flatten"], "said while no process ran"
    engine.command("halt")
    assert [one.payload["word"] for one in operators[0].poll(engine, 0)] == ["flatten"]
    engine.command("flatten")
    for operator in operators:
        operator.noted(number)
        assert operator.poll(engine, 0) == [], "also by the process that goes on with it"
    (tmp_path / KILL_FILE).unlink()
    assert operators[0].poll(engine, 0) == []
    (tmp_path / KILL_FILE).touch()
    assert [one.payload["by"] for one in operators[0].poll(engine, 0)] == ["file"]
    engine.command("resume")
    assert [one.payload["by"] for one in operators[1].poll(engine, 0)] == ["file"]
    writer.close()
