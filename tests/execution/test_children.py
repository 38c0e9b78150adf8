"""Children sum to their parent in whole lots, whatever the bars, the rules and the way; the kernel settles them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.execution import ExecutionPlan, Parent, child, plan_of
from qframe_rl.types import MINUTE, Instrument
from tests.execution.walks import Asks, minutes, ruled, traded, walked, working

WAYS = ("now", "twap:15m", "twap:7m", "pov:5%", "pov:0.5%", "passive", "passive:4m")
RULES = st.fixed_dictionaries(
    {
        "lot": st.sampled_from([0.0, 1e-3, 0.25, 7.0]),
        "tick": st.sampled_from([0.0, 1e-2, 0.5]),
        "min_notional": st.sampled_from([0.0, 5.0, 900.0]),
        "min_amount": st.sampled_from([0.0, 0.01, 9.0]),
    }
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, dict[str, float], str, int, float]:
    sizes = st.floats(-300.0, 300.0, width=32) | st.sampled_from([0.0, 1e-3, -0.5])
    rows = draw(st.lists(st.lists(sizes, min_size=2, max_size=2), min_size=1, max_size=4))
    return (
        rows,
        draw(RULES),
        draw(st.sampled_from(WAYS)),
        draw(st.integers(0, 5)),
        draw(st.sampled_from([1e-2, 1.0, 100.0])),
    )


@settings(max_examples=40, deadline=None)
@given(cases())
def test_children_are_whole_lots_of_the_parents_side_and_never_more_than_it(
    case: tuple[Any, dict[str, float], str, int, float],
) -> None:
    rows, rules, way, seed, volume = case
    history = ruled(minutes(121, 2, seed, volume=volume, ragged=True), **rules)
    agent, told = working(Asks(rows), way, history)
    record = walked(agent, history, traded(history))
    whole = {(p.time, p.instrument): p.quantity for p in told}
    begun = sorted({time for time, _ in whole})
    for t, time in enumerate(record.time.tolist()):
        at = next((b for b in reversed(begun) if b < time), None)
        for a in range(2):
            asked, lot = float(record.orders.quantity[t, a]), history.instruments[a].lot
            parent = whole.get((at, a), 0.0) if at is not None and time <= begun[-1] else None
            if parent is not None and asked:
                assert asked * parent > 0.0, "a child on the other side"
                assert abs(asked) <= abs(parent)
            if lot:
                assert abs(asked / lot - round(asked / lot)) < 1e-6, "no whole lots"
            if rules["min_amount"] and asked:
                assert abs(asked) >= rules["min_amount"] * (1.0 - 1e-9)
    for p in told:
        assert p.filled * p.quantity >= 0.0
        assert abs(p.filled) <= abs(p.quantity) * (1.0 + 1e-12), "more than the parent"


@settings(max_examples=30, deadline=None)
@given(cases())
def test_with_enough_volume_and_money_the_parent_fills_to_the_last_lot(
    case: tuple[Any, dict[str, float], str, int, float],
) -> None:
    rows, rules, way, seed, _ = case
    history = ruled(minutes(121, 2, seed, volume=1e6), **rules)
    agent, told = working(Asks(rows), way.replace("pov:0.5%", "pov:100%"), history)
    walked(agent, history, traded(history, half_spread_bps=0.0))
    for p in told:
        least = history.instruments[p.instrument]
        sendable = abs(p.quantity) >= least.min_amount and abs(p.quantity) * 60.0 >= least.min_notional
        if sendable:
            assert p.filled == pytest.approx(p.quantity, rel=1e-12), (way, p)
            if least.lot:
                assert round(p.filled / least.lot) == round(p.quantity / least.lot)


def _sent(plan: ExecutionPlan, slices: int, total: int, instrument: Instrument, volumes: list[float]) -> list[int]:
    """Children of a parent that fills at once."""
    left, sent, known = total, list[int](), 0.0
    for k, volume in enumerate(volumes, start=1):
        known += volume
        lots = child(plan, slices, Parent(k, total, left, 0.5, known, 10.0, 0), instrument) if left else 0
        left -= lots
        sent.append(lots)
    return sent


def test_slices_are_equal_and_the_remainder_is_spread() -> None:
    plain = Instrument("C0/USDT", lot=0.5)
    assert _sent(plan_of("twap:4m"), 4, 10, plain, [1.0] * 6) == [2, 3, 2, 3, 0, 0]
    assert _sent(plan_of("now"), 1, 10, plain, [1.0] * 3) == [10, 0, 0]
    assert _sent(plan_of("pov:50%"), 15, 10, plain, [4.0, 1.0, 0.0, 9.0]) == [4, 1, 0, 5]


def test_what_is_too_little_waits_and_no_tail_is_left_that_nobody_takes() -> None:
    dear = Instrument("C0/USDT", lot=0.5, min_notional=20.0)  # four lots
    assert _sent(plan_of("twap:4m"), 4, 13, dear, [1.0] * 5) == [0, 6, 0, 7, 0]
    assert _sent(plan_of("twap:4m"), 4, 3, dear, [1.0] * 5) == [0] * 5
    assert _sent(plan_of("twap:3m"), 3, 6, dear, [1.0] * 4) == [0, 6, 0, 0]
    closing = replace(dear, symbol="C0/USDT:USDT", kind="perpetual")
    assert child(plan_of("now"), 1, Parent(1, 3, 3, 0.5, 0.0, 10.0, 3), closing) == 3, (
        "what closes a contract may be small"
    )
    assert child(plan_of("now"), 1, Parent(1, 3, 3, 0.5, 0.0, 10.0, 2), closing) == 0


@pytest.mark.parametrize(
    "text", ["", "later", "twap", "twap:", "twap:0m", "pov:0%", "pov:101%", "pov:5", "now:5m", "x" * 500]
)
def test_what_is_no_way_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="twap:LENGTH"):
        plan_of(text)


@pytest.mark.parametrize("text", ["twap:90s", "twap:16m", "passive:1h"])
def test_a_length_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no longer than the 15m"):
        plan_of(text).slices(15 * MINUTE, MINUTE)
