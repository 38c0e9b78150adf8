"""The market of coins and perpetuals: what it takes, and what it charges."""

from __future__ import annotations

import pytest

from qframe_rl import catalog
from qframe_rl.config import UserError
from qframe_rl.types import HOUR, Instrument

SPOT = Instrument("BTC/USDT", "spot", taker_fee=1e-3)
PERP = Instrument("BTC/USDT:USDT", "perpetual", taker_fee=5e-4, maintenance=0.004)


def test_coins_alone_are_refused() -> None:
    module = catalog.load("envs", "funding")
    with pytest.raises(UserError, match="beside their perpetuals"):
        module.make(module.Config(), (SPOT,), (), HOUR)


def test_each_kind_has_its_fee() -> None:
    module = catalog.load("envs", "funding")
    config = module.Config(features=("log_return:1",), spot_fee_bps=5.0, perp_fee_bps=4.0)
    made = module.make(config, (SPOT, PERP), (), HOUR)
    assert [i.taker_fee for i in made.instruments] == [5e-4, 4e-4]
