"""Dust: what `dust` lists is what the kernel would not sell, and nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.kernel.dust import dust
from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.types import Account, Bar, Instrument, Orders

PRICE = 20.0


def sold(instrument: Instrument, held: float) -> float:
    """What is left of a position after an order for all of it."""
    shorting = instrument.kind == "perpetual"
    rules = rules_of((instrument,), volume_share=1.0, shorting=shorting, leverage=10.0 if shorting else 1.0)
    account = Account(np.float64(1e6), np.array([held]), np.array([PRICE]))
    orders = Orders(np.array([-held]), np.array([np.nan]), np.array([np.nan]))
    bar = Bar(0, np.array([[PRICE, PRICE, PRICE, PRICE, 1e9]]), np.zeros(1), np.zeros(1, bool), 0.0)
    after, _ = settle(account, orders, bar, rules)
    return float(after.position[0])


@pytest.mark.parametrize(
    ("rules", "held", "units", "why"),
    [
        ({"lot": 0.01}, 1.234, 0.004, "lot of 0.01"),
        ({"lot": 0.01}, 0.004, 0.004, "lot of 0.01"),
        ({"lot": 0.01}, 3 * 0.1, 0.0, ""),
        ({"min_amount": 0.5}, 0.4, 0.4, "least amount"),
        ({"min_amount": 0.5}, 0.5, 0.0, ""),
        ({"min_notional": 10.0}, 0.4, 0.4, "least value"),
        ({"min_notional": 10.0}, 0.5, 0.0, ""),
        ({"min_notional": 10.0, "kind": "perpetual"}, -0.4, 0.0, ""),
        ({"min_amount": 0.5, "kind": "perpetual"}, -0.4, -0.4, "least amount"),
        ({}, 1e-9, 0.0, ""),
    ],
)
def test_each_rule_says_what_it_keeps(rules: dict[str, Any], held: float, units: float, why: str) -> None:
    instrument = Instrument("X/USDT", **rules)
    found = dust((instrument,), np.array([held]), np.array([PRICE]))
    if not units:
        assert found == ()
    else:
        (one,) = found
        assert one.units == pytest.approx(units, rel=1e-9) and one.value == pytest.approx(units * PRICE, rel=1e-9)
        assert why in str(one) and "X/USDT" in str(one)


@given(
    st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0]),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.sampled_from([0.0, 1.0, 10.0]),
    st.sampled_from(["spot", "perpetual"]),
    st.integers(1, 3000).map(lambda n: n / 1000.0),
)
def test_it_is_what_the_kernel_leaves(lot: float, least: float, value: float, kind: Any, held: float) -> None:
    instrument = Instrument("X/USDT", kind, lot=lot, min_amount=least, min_notional=value)
    found = dust((instrument,), np.array([held]), np.array([PRICE]))
    assert sold(instrument, held) == pytest.approx(sum(one.units for one in found), abs=1e-9)
