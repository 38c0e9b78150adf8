"""One instrument that a human closes: sold off, held flat in every state, until it is released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import control
from experiments.cli import door
from qframe_rl.config import UserError
from qframe_rl.journal.inbox import left, locking_of, locking_word
from qframe_rl.journal.store import Writer
from qframe_rl.live.paper import SessionResult, replay
from qframe_rl.live.record import journal_record
from qframe_rl.live.standing import look
from qframe_rl.risk.engine import Conditions, RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Account, Instrument, Orders
from tests.live.test_transfers import BARS, Half, events, lived, setting

FIRST, SECOND = (i.symbol for i in setting()[0].instruments)


def positions(folder: Path) -> Any:
    """(T, 2) held after each bar."""
    return journal_record(folder / "journal.db").account.position


@pytest.mark.parametrize("leverage", [1.0, 3.0])
def test_one_instrument_is_closed_and_stays_flat_until_it_is_released(tmp_path: Path, leverage: float) -> None:
    first, second = (i.symbol for i in setting(leverage)[0].instruments)
    words = {
        20: [locking_word("flatten", first)], 40: ["resume"], 50: ["halt"], 55: ["resume"],
        70: [locking_word("resume", first)], 80: [locking_word("flatten", second), locking_word("flatten", "X/USDT")],
    }  # fmt: skip
    notes: list[str] = []
    result, _ = lived(tmp_path / "whole", words, leverage=leverage, note=notes.append)
    held = positions(tmp_path / "whole")
    assert (held[1:21, 0] != 0.0).all()
    assert (held[21:71, 0] == 0.0).all(), "a resume of all, or a halt, released it"
    assert (held[72:, 0] != 0.0).all(), "it is not released"
    assert (held[1:81, 1] != 0.0).all()
    assert (held[81:, 1] == 0.0).all()
    said = [(one["symbols"], one["reasons"]) for one in events(tmp_path / "whole", "locked")]
    assert said == [
        ([first], [f"flatten {first} by command"]), ([], [f"resume {first} by command"]),
        ([second], [f"flatten {second} by command"]),
    ]  # fmt: skip
    assert any("X/USDT" in note and f"trades {first}, {second}" in note for note in notes)
    assert look(tmp_path / "whole")["locked"] == [second]
    reasons = [one.get("reasons", []) for one in events(tmp_path / "whole", "decision")]
    assert [n for n, why in enumerate(reasons) if any("locked" in text for text in why)] == [
        *range(20, 70), *range(80, BARS + 1),
    ]  # fmt: skip
    _same_after_restarts(tmp_path, words, leverage, result)


def _same_after_restarts(folder: Path, words: dict[int, list[str]], leverage: float, whole: SessionResult) -> None:
    for stop in (20, 33, 71):
        lived(folder / f"{stop}", words, leverage=leverage, stop=stop)
        rest = {n: said for n, said in words.items() if n > stop}
        again, _ = lived(folder / f"{stop}", rest, leverage=leverage)
        assert again.digest == whole.digest, f"stopped after {stop} bars"
    _, one, terms = setting(leverage)
    assert replay(one, Half(), terms, folder / "33" / "journal.db").digest == whole.digest


def test_a_halted_session_closes_the_one_instrument_that_it_is_told_to(tmp_path: Path) -> None:
    lived(tmp_path, {30: ["halt"], 35: [locking_word("flatten", SECOND)]})
    held = positions(tmp_path)
    assert (held[30:, 0] == held[30, 0]).all(), "halted: what is held stays open"
    assert held[35, 1] > 0.0
    assert (held[36:, 1] == 0.0).all()


def test_no_limit_keeps_a_locked_instrument_open_and_its_room_goes_to_nobody() -> None:
    coins = tuple(Instrument(f"{name}/USDT", lot=0.001, tick=0.1, min_notional=5.0) for name in "AB")
    limits = Limits(filters=True, max_order=50.0, max_orders_per_hour=1, collar=0.01, stale_s=1.0)
    engine = RiskEngine(limits, coins)
    account = Account(np.array(1e4), np.array([3.0005, 7.0]), np.array([100.0, 100.0]))
    engine.begin(0, account)
    assert engine.lock("A/USDT")
    assert not engine.lock("A/USDT")
    wished = Orders(np.array([2.0, 0.0]), np.array([99.0, np.nan]), np.array([np.nan, np.nan]))
    for _ in range(3):
        verdict = engine.check(0, wished, account, Conditions(late_ns=10**12))
        assert verdict.orders.quantity.tolist() == [-3.0005, 0.0]
        assert np.isnan(verdict.orders.limit).all()
    dust = account._replace(position=np.array([0.0005, 7.0]))
    assert engine.check(0, wished, dust, Conditions()).orders.quantity.tolist() == [0.0, 0.0]
    other = RiskEngine(limits, coins)
    other.carry(engine.carried())
    assert other.locked == ["A/USDT"]
    with pytest.raises(UserError, match="C/USDT' is not traded here; these are: A/USDT, B/USDT"):
        engine.lock("C/USDT")


def test_the_door_tells_one_session_or_all_that_trade_it(tmp_path: Path, capsys: Any) -> None:
    for name in ("a", "b"):
        lived(tmp_path / name, {}, stop=3)
    assert door(control.main, ["flatten", str(tmp_path / "a"), "--symbol", FIRST]) == 0
    assert door(control.main, ["resume", "--all", str(tmp_path), "--symbol", FIRST]) == 0
    words = [[word for _, _, word in left(tmp_path / name / "journal.db")] for name in ("a", "b")]
    assert words == [[f"flatten {FIRST}", f"resume {FIRST}"], [f"resume {FIRST}"]]
    assert f"flatten {FIRST}: no process runs" in capsys.readouterr().err
    for argv, why in (
        (["flatten", str(tmp_path / "a"), "--symbol", "X/USDT"], f"it trades {FIRST}, {SECOND}"),
        (["halt", str(tmp_path / "a"), "--symbol", FIRST], "is for flatten and resume"),
        (["flatten", "--all", str(tmp_path), "--symbol", "X/USDT"], "no session below"),
    ):
        assert door(control.main, argv) != 0
        assert why in capsys.readouterr().err.replace("\n", " ")


def test_a_session_that_is_beginning_is_not_called_corrupt(tmp_path: Path, capsys: Any) -> None:
    Writer(tmp_path / "journal.db", durable=False).close()
    assert door(control.main, ["flatten", str(tmp_path), "--symbol", FIRST]) == 2
    assert "its session is beginning; try again" in " ".join(capsys.readouterr().err.split())


def test_all_are_told_but_shadows_and_one_that_cannot_be_keeps_no_other_waiting(tmp_path: Path, capsys: Any) -> None:
    shadow = tmp_path / "a" / "shadows" / "c"
    for folder in (tmp_path / "a", tmp_path / "b", shadow):
        lived(folder, {}, stop=2)
    (tmp_path / "a" / "inbox.db").write_bytes(b"x" * 4096)
    assert door(control.main, ["resume", "--all", str(tmp_path)]) != 0
    said = capsys.readouterr().err
    assert f"resume: {tmp_path / 'b'}  told by inbox" in said and "1 of 2 sessions could not be told" in said
    assert [word for _, _, word in left(tmp_path / "b" / "journal.db")] == ["resume"]
    assert door(control.main, ["halt", "--all", str(tmp_path)]) == 0
    assert [(tmp_path / name / "HALT").exists() for name in "ab"] == [True, True]
    assert not (shadow / "HALT").exists() and not left(shadow / "journal.db")
    assert door(control.main, ["halt", "--all", str(shadow.parent)]) == 0, "a shadow may still be told by itself"
    assert (shadow / "HALT").exists()


@pytest.mark.parametrize(
    "word, symbol", [("halt", "A/USDT"), ("flatten", ""), ("flatten", "A B"), ("resume", "x" * 65)]
)
def test_words_that_cannot_be_are_refused(word: str, symbol: str) -> None:
    with pytest.raises(UserError, match="one instrument can be told flatten or resume"):
        locking_word(word, symbol)
    assert locking_of(f"{word} {symbol}") is None
