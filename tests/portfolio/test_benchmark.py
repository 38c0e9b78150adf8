"""Instruments that are bought in equal parts and held."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.portfolio.benchmark import held_growth

NAN = float("nan")


def test_parts_grow_as_their_prices_do_from_the_first_moment_on() -> None:
    at = np.array([10, 20, 30, 40])
    early = (np.array([0, 10, 20, 30, 40]), np.array([1.0, 100.0, 110.0, NAN, 90.0]))
    late = (np.array([25, 35]), np.array([4.0, 8.0]))
    found = held_growth([early, late], at)
    # A missing close is the one before; what begins later is cash until then, and grows from its own first close.
    assert found.tolist() == pytest.approx([1.0, (1.1 + 1.0) / 2, (1.1 + 1.0) / 2, (0.9 + 2.0) / 2])
    assert held_growth([early, late], at[:0]).shape == (0,)
    assert held_growth([(early[0], np.full(5, NAN))], at).tolist() == [1.0] * 4
    assert held_growth([], at).tolist() == [1.0] * 4
    assert held_growth([early], np.array([5, 15])).tolist() == [1.0, 100.0], "bought at the close before the moment"
