"""What comes from outside into a paper account: taken in at a stated price, to the unit, and no profit."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import control
from experiments.cli import door
from qframe_rl.agent import Memoryless, View
from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import metrics, unexplained
from qframe_rl.journal.inbox import Adoption, adopt_word, adoption_of, left, transfer_word
from qframe_rl.journal.store import pulse
from qframe_rl.live.cost_basis import CostBasis
from qframe_rl.live.paper import replay
from qframe_rl.live.record import journal_record
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Orders
from tests.live import test_transfers
from tests.live.test_transfers import E8, Half, events, lived, setting
from tests.service.places import Session, until

FIRST, SECOND = (i.symbol for i in setting()[0].instruments)


def coins(name: str, quantity: int, price: int, symbol: str = FIRST) -> str:
    return adopt_word(Adoption(name, quantity, symbol, price))


WORDS = {
    10: [coins("a", 1_234_567_891, 99_00000001)],
    11: [coins("a", 1_234_567_891, 99_00000001), adopt_word(Adoption("b", 500 * E8 + 7))],
    30: [coins("c", -100_000_000, 101 * E8), coins("greedy", -(10**15), E8), coins("x", 1, E8, "X/USDT")],
    60: [adopt_word(Adoption("d", -3)), "adopt e 5 ", "adopt f 0"],
}
A, C = Fraction(1_234_567_891 * 99_00000001, E8), Fraction(-100_000_000 * 101 * E8, E8)
NET = round(A) + 500 * E8 + 7 + round(C) - 3


class Nothing(Memoryless):
    """Buys once, and then nothing."""

    window = test_transfers.WINDOW

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        return Orders.market(np.full(n, 1.0 if not view.account.position.any() else 0.0))


def test_each_is_taken_in_once_to_the_unit_and_is_no_profit(tmp_path: Path) -> None:
    result, teller = lived(tmp_path, WORDS, limits=Limits(max_drawdown=0.9))
    said = events(tmp_path, "transferred")
    assert [(one["id"], one["state"]) for one in said] == [
        ("a", "SETTLED"), ("b", "SETTLED"), ("c", "SETTLED"), ("greedy", "REFUSED"), ("x", "REFUSED"), ("d", "SETTLED"),
    ]  # fmt: skip
    assert said[0]["adopted"] == {"symbol": FIRST, "quantity": 1_234_567_891, "price": 99_00000001}
    assert said[0]["units"] == round(A)
    assert "are held" in said[3]["why"]
    assert result.paid == NET
    assert len(teller.flows) == 4
    settled = {one["time"]: one["account"] for one in events(tmp_path, "settled")}
    before = settled[said[0]["time"]]
    assert Fraction(said[0]["account"]["position"][0]) == Fraction(
        float(Fraction(before["position"][0]) + Fraction(1_234_567_891, E8))
    )
    assert said[0]["account"]["cash"] == before["cash"]
    record = journal_record(tmp_path / "journal.db")
    assert unexplained(record) < 1e-9
    basis = CostBasis(tmp_path / "journal.db")
    rows = list(basis.rows())
    assert [(row.kind, row.quantity) for row in rows if row.kind == "adopted"] == [
        ("adopted", Decimal("12.34567891")), ("adopted", Decimal(-1)),
    ]  # fmt: skip
    assert abs(basis.sums().unexplained) < Decimal("1e-6")
    assert basis.sums().transfers == Decimal(NET) / E8


def test_coins_at_their_mark_are_no_return_and_above_it_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is the session that got nothing: a bar's growth is that of what was held before."""
    monkeypatch.setattr(test_transfers, "Half", Nothing)
    lived(tmp_path / "plain", {})
    mark = journal_record(tmp_path / "plain" / "journal.db").account.mark[20, 0]
    units = round(Fraction(float(mark)) * E8)
    for name, price in (("fair", units), ("dear", 2 * units)):
        lived(tmp_path / name, {20: [coins("a", 100 * E8, price)]}, limits=Limits(max_drawdown=0.3))
    plain, fair, dear = (journal_record(tmp_path / name / "journal.db") for name in ("plain", "fair", "dear"))
    growth = fair.worth[1:] / fair.worth[:-1] - 1.0
    assert np.array_equal(growth[:20], plain.worth[1:21] / plain.worth[:20] - 1.0)
    held = fair.account.position[21:, 0] * np.diff(fair.account.mark[20:, 0])
    assert abs(growth[20]) < 0.05
    assert (
        abs(float(fair.account.equity[21] - plain.account.equity[21]) - 100.0 * float(mark)) < 2.0 * abs(held[0]) + 1.0
    )
    assert metrics(fair).max_drawdown == pytest.approx(metrics(plain).max_drawdown, abs=0.1)
    assert not events(tmp_path / "fair", "state")
    lost = 1.0 - float(dear.worth[21] / dear.worth[20])
    wanted = 100.0 * float(mark) / (float(plain.account.equity[20]) + 200.0 * float(mark))
    assert lost == pytest.approx(wanted, abs=0.02), "what was counted above its mark is no loss"


def test_replay_and_resumption_come_to_the_same_hash(tmp_path: Path) -> None:
    whole, _ = lived(tmp_path / "whole", WORDS)
    for stop in (10, 11, 45):
        lived(tmp_path / f"{stop}", WORDS, stop=stop)
        second, _ = lived(tmp_path / f"{stop}", {n: words for n, words in WORDS.items() if n > stop})
        assert (second.digest, second.paid) == (whole.digest, NET)
    _, one, terms = setting()
    assert replay(one, Half(), terms, tmp_path / "45" / "journal.db").digest == whole.digest


class Sells(Memoryless):
    """Sells what there is."""

    window = test_transfers.WINDOW

    def decide(self, view: View) -> Orders:
        return Orders.market(-view.account.position)


def test_protections_count_what_is_adopted_as_no_entry_and_its_sale_as_an_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_transfers, "Half", Sells)
    words = {10: [coins("a", 2 * E8, 10**6 * E8)], 40: [coins("b", E8, E8, SECOND), coins("c", -E8, E8, SECOND)]}
    lived(tmp_path, words, limits=Limits(max_entries_per_day=1, cooldown_bars=3, stop_guard=1))
    made = [lock for one in events(tmp_path, "paused") for lock in one["locks"]]
    assert {rule for lock in made for rule in lock["rules"]} == {"cooldown_bars", "stop_guard"}, "at a loss"
    assert {lock["symbol"] for lock in made if "cooldown_bars" in lock["rules"]} == {FIRST}
    _, one, terms = setting()
    assert replay(one, Sells(), terms, tmp_path / "journal.db").bars > 40


def test_contracts_are_not_adopted(tmp_path: Path) -> None:
    symbol = setting(3.0)[0].instruments[0].symbol
    lived(tmp_path, {10: [coins("a", E8, E8, symbol), adopt_word(Adoption("b", 5))]}, leverage=3.0)
    said = events(tmp_path, "transferred")
    assert [one["state"] for one in said] == ["REFUSED", "SETTLED"]
    assert "only an order brings them" in said[0]["why"]


def test_cash_that_is_adopted_on_paper_is_a_transfer(tmp_path: Path) -> None:
    one, _ = lived(tmp_path / "a", {10: [adopt_word(Adoption("a", 777))]})
    two, _ = lived(tmp_path / "b", {10: [transfer_word("a", 777)]})
    assert one.digest == two.digest


def test_the_door_takes_amounts_to_eight_decimals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lived(tmp_path, {}, stop=3)
    folder = str(tmp_path)
    assert (
        door(control.main, ["adopt", folder, "--symbol", FIRST, "--quantity", "-0.00000001", "--price", "60000"]) == 0
    )
    assert door(control.main, ["adopt", folder, "--cash", "500.5"]) == 0
    words = [adoption_of(word) for _, _, word in left(tmp_path / "journal.db")]
    assert [(one.units, one.symbol, one.price) for one in words if one] == [
        (-1, FIRST, 60_000 * E8), (50_050_000_000, None, 0),
    ]  # fmt: skip
    capsys.readouterr()
    for argv, why in (
        (["--symbol", FIRST, "--quantity", "1"], "adopt wants --cash AMOUNT, or --symbol, --quantity and --price"),
        (["--symbol", "X", "--quantity", "1", "--price", "1"], f"it trades {FIRST}, {SECOND}"),
        (["--symbol", FIRST, "--quantity", "1", "--price", "-1"], "counts for more than nothing"),
        (["--cash", "5", "--all", folder], "adopt wants the FOLDER of one session"),
    ):
        assert door(control.main, ["adopt", folder, *argv]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        door(control.main, ["adopt", folder, "--cash", "0.000000001"])
    assert door(control.main, ["halt", folder, "--cash", "5"]) == 2


def test_the_door_says_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = Session(tmp_path)
    one.bar(1)
    for n, (more, code, words) in enumerate((
        ({"state": "REFUSED", "why": "too much"}, 2, "the session refuses it: too much"),
        ({"state": "SETTLED"}, 0, "it is adopted"),
    )):  # fmt: skip
        codes: list[int] = []
        asked = threading.Thread(
            target=lambda codes=codes: codes.append(door(control.main, ["adopt", str(tmp_path), "--cash", "5"]))
        )
        asked.start()
        until(lambda n=n: len(left(tmp_path / "journal.db")) > n)
        said = adoption_of(left(tmp_path / "journal.db")[-1][2])
        assert said is not None
        one.put("transferred", id=said.id, units=said.units, **more)
        one.writer.commit()
        asked.join()
        assert codes == [code]
        assert words in " ".join(capsys.readouterr().err.split())
    one.close()


@pytest.mark.parametrize("text", ["1e999999", "1e-999999", "nan", "inf", "0.12345678" + 20 * "0" + "1", "1e10", "x"])
def test_amounts_that_cannot_be_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        control.main(["adopt", str(tmp_path), "--cash", text])
    assert "is no amount other than 0 of up to 8 decimals" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "one", [Adoption("A", 1), Adoption("a", 0), Adoption("a", 1, "B/C", 0), Adoption("a", 1, "B C", 1),
            Adoption("a", 10**17, "B/C", 10**17), Adoption("a", 10**18)],
)  # fmt: skip
def test_words_that_cannot_be_are_refused(one: Adoption) -> None:
    with pytest.raises(UserError, match="what is adopted has an amount"):
        adopt_word(one)


def test_limits_see_no_loss_in_what_leaves(tmp_path: Path) -> None:
    said: Any = {30: [adopt_word(Adoption("out", -4_000 * E8))], 40: [coins("more", 100 * E8, 100 * E8)]}
    lived(tmp_path, said, limits=Limits(max_drawdown=0.2, daily_loss=0.2))
    assert not events(tmp_path, "state")
    told = pulse(tmp_path / "journal.db")
    assert told is not None
    assert json.loads(told[1])["paid"] == -4_000 * E8 + 10_000 * E8
