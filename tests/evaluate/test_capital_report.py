"""The report of a portfolio from figures alone: its curve, and what stands in its headline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.evaluate.report.capital import CapitalMaterial, capital_report
from qframe_rl.evaluate.report.page import page
from qframe_rl.evaluate.report.paper import pages
from qframe_rl.types import HOUR

RISK: dict[str, Any] = {"limits": [], "marked": [], "drawdown": 0.01, "leverage": 0.5, "net": {}}
ONE: dict[str, Any] = {
    "id": "main", "currency": "USDT", "revision": 1, "state": "ACTIVE", "why": [], "equity": 110.0,
    "contributions": str(100 * 10**8), "unallocated": str(10**9), "in_transit": "0", "members": [], "looked_ns": None,
}  # fmt: skip


def material(bars: int, portfolio: dict[str, Any] = ONE, risk: dict[str, Any] = RISK, **more: Any) -> CapitalMaterial:
    time = np.arange(bars, dtype=np.int64) * HOUR + 1_700_000_000 * 10**9
    worth = 100.0 + np.arange(bars)
    given: dict[str, Any] = {"positions": [], "ledger": [], "transfers": [], "records": {}, "environments": {}} | more
    return CapitalMaterial(portfolio, risk, time, worth, np.full(bars, 0.5), **given)


@pytest.mark.parametrize("bars", [0, 1, 2, 3, 30, 3000])
def test_any_length_is_laid_out(bars: int) -> None:
    made = capital_report(material(bars))
    assert made.headline == "main has 110 USDT, +10.00 on what was paid in."
    assert made.colour == "good"
    titles = [section.title for section in made.sections]
    assert titles[-3:] == ["Exposure", "Limits", "Ledger"]
    assert ("Equity and drawdown" in titles) == (bars >= 2)
    assert "Portfolio main" in page([made])
    assert len(list(pages([made]))) >= 1


def test_what_is_wrong_stands_first() -> None:
    limit = {"name": "max_drawdown", "bound": 0.2, "now": 0.19, "used": 0.95}
    risk = RISK | {"limits": [limit], "marked": ["a is silent"]}
    made = capital_report(material(3, ONE | {"state": "FLATTEN", "why": ["max_drawdown: too deep"]}, risk))
    assert made.colour == "bad"
    assert "is FLATTEN" in made.headline
    assert made.reasons[:3] == (
        "max_drawdown: too deep", "a is silent", "max_drawdown is used to 95%: 0.19 of 0.2.",
    )  # fmt: skip


def test_bars_that_are_no_exchange_s_own_are_marked() -> None:
    made = capital_report(material(3, environments={"a": "production", "b": "testnet"}))
    assert made.headline.startswith("TESTNET DATA, no record of performance.")
    assert capital_report(material(3, environments={"a": "production"})).headline.startswith("main has")
