"""What holds for sessions whose orders go out."""

from __future__ import annotations

import re

from experiments import paper
from qframe_rl.live.permit import SAFE, safe_limits
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Instrument

COIN = (Instrument("BTC/USDT"),)


def test_what_is_not_given_is_safe() -> None:
    assert safe_limits(Limits(), COIN) == SAFE.model_copy(update={"max_order": 10_000.0})


def test_what_is_given_holds() -> None:
    given = Limits(stale_s=7.0, max_order=5e9, max_rejects=3, collar=0.5, max_skew_s=0.5, filters=True)
    assert safe_limits(given, COIN) == given


def test_the_largest_order_is_counted_in_the_quote_currency() -> None:
    assert safe_limits(Limits(), (Instrument("ETH/BTC"),)).max_order == 1.0


def test_bars_are_late_by_the_clock_of_the_exchange() -> None:
    assert safe_limits(Limits(), COIN, 60.0).stale_s == 3600.0


def test_the_help_prints_them() -> None:
    said = re.sub(r"\s+", " ", paper.parser().format_help())
    for option, value in SAFE.model_dump(exclude_defaults=True).items():
        if value not in (None, False):
            text = "true" if value is True else f"{value:g}"
            assert f"--{option.replace('_', '-')} {text}" in said, option
