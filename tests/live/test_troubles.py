"""What an exchange's account finds amiss halts trading, but never what is being closed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.store import Writer
from qframe_rl.live.router import OrderRouter
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.types import HOUR, Account, Bar, Fills, Float, Instrument, Orders
from tests.live.test_transfers import events

COIN = Instrument("A/USDT", lot=0.01)


class Held:
    """An account on an exchange that holds three coins, whatever is sent."""

    def __init__(self) -> None:
        self.account = Account(np.array(1e3), np.array([3.0]), np.array([100.0]))
        self.terminated, self.trouble, self.hear = False, tuple[str, ...](), lambda: None
        self.closed: list[list[float]] = []

    def submit(self, orders: Orders) -> None:
        """Nothing."""

    def advance(self, bar: Bar) -> Fills:
        return Fills.none(1)

    def cancel(self, markets: Mapping[str, bool]) -> None:
        """Nothing."""

    def held(self) -> Float:
        return self.account.position

    def close(self, orders: Orders, position: Float) -> None:
        self.closed.append(orders.quantity.tolist())

    def news(self) -> list[Any]:
        return []

    def learn(self, kind: str, payload: dict[str, Any]) -> bool:
        return False


@pytest.mark.parametrize(("word", "state"), [("resume", "HALTED"), ("flatten", "FLATTEN")])
def test_while_a_position_is_closed_closing_goes_on(tmp_path: Path, word: str, state: str) -> None:
    path, venue, nothing = tmp_path / "journal.db", Held(), Orders.market(np.zeros(1))
    writer = Writer(path, durable=False)
    router = OrderRouter(venue, RiskEngine(Limits(), (COIN,)), Ledger(path, writer), (COIN,))

    def view(hour: int) -> View:
        times, bars = np.array([hour * HOUR]), np.full((1, 1, 5), 100.0)
        return View(hour * HOUR, times, bars, venue.account, Fills.none(1), hour == 1)

    router.started(view(1))
    router.engine.command(word)
    for hour in (2, 3):
        router.submit(nothing)
        venue.trouble = ("A/USDT: the exchange holds 3, our trades say 0",) if hour == 2 else ()
        router.advance(Bar(hour * HOUR, np.full((1, 5), 100.0), np.zeros(1), np.zeros(1, dtype=np.bool_)))
        router.settled(view(hour), nothing)
    assert router.engine.state == state
    assert venue.closed == ([[-3.0], [-3.0]] if word == "flatten" else [])
    router.ended(view(3))
    assert [(one["state"], one["reasons"]) for one in events(tmp_path, "state")] == [
        (state, ["A/USDT: the exchange holds 3, our trades say 0"])
    ]
    writer.close()
