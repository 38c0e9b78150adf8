"""The comparison itself: nothing is found where nothing differs, and each planted fault is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qframe_rl.types import Account, Bar, Fills, Orders
from tests.oracle.doors import OracleDoor
from tests.oracle.draws import Scene
from tests.oracle.walks import compared

Fault = Callable[[Account, Fills], tuple[Account, Fills]]


@pytest.mark.parametrize("free", [False, True])
def test_the_oracle_in_doubles_agrees_with_itself(free: bool) -> None:
    walks = [compared(seed, free, OracleDoor) for seed in range(100)]
    assert [walk.found for walk in walks if walk.found] == []
    assert sum(walk.bars for walk in walks) > 1000


def cash(account: Account, fills: Fills) -> tuple[Account, Fills]:
    """A hundred-millionth of the cash too much."""
    return account._replace(cash=account.cash * (1.0 + 1e-8)), fills


def last_bit(account: Account, fills: Fills) -> tuple[Account, Fills]:
    """Positions that are a last bit beside the grid."""
    return account._replace(position=np.nextafter(account.position, np.inf)), fills


def quantity(account: Account, fills: Fills) -> tuple[Account, Fills]:
    """Fills that are reported a little too large."""
    return account, fills._replace(quantity=fills.quantity * (1.0 + 1e-7))


def price(account: Account, fills: Fills) -> tuple[Account, Fills]:
    """Fills that are reported at a price a little too high."""
    return account, fills._replace(price=fills.price * (1.0 + 1e-8))


def forced(account: Account, fills: Fills) -> tuple[Account, Fills]:
    """Forced closes that are not reported."""
    return account, fills._replace(forced=np.zeros_like(fills.forced))


def forgotten(name: str) -> Fault:
    """A field of the fills that is left at nothing."""

    def forget(account: Account, fills: Fills) -> tuple[Account, Fills]:
        return account, fills._replace(**{name: np.zeros_like(getattr(fills, name))})

    return forget


def mark(account: Account, fills: Fills) -> tuple[Account, Fills]:
    """Marks that are a last bit too high."""
    return account._replace(mark=np.nextafter(account.mark, np.inf)), fills


FIELDS = ("fee", "spread", "impact", "funding", "cancelled", "forced_price", "absorbed", "interest")
FAULTS: list[Fault] = [cash, last_bit, quantity, price, forced, mark, *map(forgotten, FIELDS)]


@pytest.mark.parametrize("fault", FAULTS, ids=["cash", "last bit", "quantity", "price", "forced", "mark", *FIELDS])
def test_a_planted_fault_is_found(fault: Fault) -> None:
    class Faulty(OracleDoor):
        def step(self, orders: Orders, bar: Bar) -> Fills:
            self.account, fills = fault(self.account, super().step(orders, bar))
            return fills

    assert any(compared(seed, opened=Faulty).found for seed in range(40))


def test_an_account_that_should_be_over_is_found() -> None:
    class Immortal(OracleDoor):
        def __init__(self, scene: Scene):
            super().__init__(scene)

        def over(self, expected: bool) -> bool:
            return False

    found = [walk.found for walk in (compared(seed, opened=Immortal) for seed in range(40))]
    assert any("terminated: kernel False, oracle True" in text for text in found)
