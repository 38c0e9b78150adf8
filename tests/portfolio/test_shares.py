"""Shares sum to the whole, and moves bring members to them with the money that there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.estimate.allocation import hierarchical_risk_parity, ledoit_wolf
from qframe_rl.portfolio.shares import METHODS, moves, shares_of

E8 = 10**8
RETURNS = np.random.default_rng(4).normal(size=(200, 3)) * [0.01, 0.02, 0.04]


@pytest.mark.parametrize("method", [m for m in METHODS if m != "hand"])
def test_shares_are_the_whole_and_calmer_members_get_more(method: str) -> None:
    shares = shares_of(method, ["a", "b", "c"], {}, RETURNS)  # type: ignore[arg-type]
    assert sum(shares.values()) == pytest.approx(1.0)
    if method != "equal":
        assert shares["a"] > shares["b"] > shares["c"] > 0.0
        with pytest.raises(UserError, match="20 returns"):
            shares_of(method, ["a", "b", "c"], {}, RETURNS[:19])  # type: ignore[arg-type]
    if method == "hrp":
        assert list(shares.values()) == list(hierarchical_risk_parity(ledoit_wolf(RETURNS)))


def test_by_hand() -> None:
    assert shares_of("hand", ["a", "b"], {"a": 0.3, "b": 0.5}, RETURNS) == {"a": 0.3, "b": 0.5}
    assert shares_of("hand", ["a", "b", "c"], {"a": 0.1, "b": 0.2, "c": 0.7}, RETURNS)["c"] == 0.7
    assert shares_of("equal", [], {}, RETURNS) == {}
    for wrong, match in (({"a": 0.5}, "share of b"), ({"a": 0.6, "b": 0.5}, "1 at most"), ({"a": -0.1, "b": 0.1}, "0")):
        with pytest.raises(UserError, match=match):
            shares_of("hand", ["a", "b"], wrong, RETURNS)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**14), st.floats(0.0, 1.0)), min_size=1, max_size=6),
    st.integers(0, 10**14), st.floats(0.0, 0.3),
)  # fmt: skip
@example([(0, 0.25), (100_000_003, 0.25), (299_999_999, 0.5)], 0, 0.0)
def test_moves_never_give_more_than_there_is(rows: list[tuple[int, float]], free: int, band: float) -> None:
    names = [f"m{k}" for k in range(len(rows))]
    total = sum(share for _, share in rows) or 1.0
    shares = {name: share / max(total, 1.0) * (1.0 - 1e-12) for name, (_, share) in zip(names, rows, strict=True)}
    have = {name: equity for name, (equity, _) in zip(names, rows, strict=True)}
    whole = free + sum(have.values())
    found = moves(shares, have, whole, band)
    left = free
    for move in found:
        assert move.units != 0
        left -= move.units
        assert left >= 0, "what is taken comes first, and pays for what is given"
        have[move.member] += move.units
        assert have[move.member] >= 0
    if band == 0.0 and total <= 1.0:
        for name in names:
            # What others have too much of is less than a transfer each, and is what this one lacks.
            assert abs(have[name] - shares[name] * whole) <= len(names) * E8 + whole * 1e-9


def test_within_the_band_nothing_moves() -> None:
    assert moves({"a": 0.5, "b": 0.5}, {"a": 52 * E8, "b": 48 * E8}, 100 * E8, 0.05) == []
    found = moves({"a": 0.5, "b": 0.5}, {"a": 60 * E8, "b": 40 * E8}, 100 * E8, 0.05)
    assert found == [("a", -10 * E8), ("b", 10 * E8)]
