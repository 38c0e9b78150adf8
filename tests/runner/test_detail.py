"""Where finer bars are asked for: of market and data at once, and as a checkpoint was made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qframe_rl.config import UserError, build
from qframe_rl.deploy import data_for
from qframe_rl.feeds.live_finer import refuse_venues
from qframe_rl.gym.make import make_env
from qframe_rl.gym.market import MarketConfig, market
from qframe_rl.runner.run_config import RunConfig
from tests.markets import panel


def test_either_of_market_and_data_asks_for_both() -> None:
    for given in ({"env": {"name": "perp", "detail": "1m"}}, {"env": {"name": "perp"}, "data": {"detail": "1m"}}):
        made = build(RunConfig, given, "here")
        assert made.data.detail == "1m" and made.env.params == {"detail": "1m"}
    plain = build(RunConfig, {"env": {"name": "perp", "impact": 0.0}}, "here")
    assert plain.data.detail is None and plain.env.params == {"impact": 0.0}
    with pytest.raises(UserError, match=r"env.detail is 1m, but data.detail 5m; leave one of them out"):
        build(RunConfig, {"env": {"name": "perp", "detail": "1m"}, "data": {"detail": "5m"}}, "here")


def test_a_checkpoint_is_resolved_as_it_was_made() -> None:
    def made(**params: Any) -> Any:
        load = {"load": {"data": "synthetic:ar1"}}
        return SimpleNamespace(agent={"name": "hold"}, env={"name": "perp", "params": params}, provenance=load)

    assert data_for(made(detail="5m"), {}).detail == "5m"
    assert data_for(made(detail="5m"), {"detail": "5m"}).detail == "5m"
    with pytest.raises(UserError, match="--detail 1m: the checkpoint was made with none"):
        data_for(made(), {"detail": "1m"})
    assert data_for(made(detail="5m"), {"timeframe": "15m"}).timeframe == "15m"
    with pytest.raises(UserError, match=r"--timeframe 5m: .* resolved on bars of 5m \(env.detail\)"):
        data_for(made(detail="5m"), {"timeframe": "5m"})


def test_an_environment_of_a_recipe_has_its_finer_bars() -> None:
    env = make_env("spot", {"data": "synthetic:ar1", "bars": 400}, features=("log_return:1",), detail="10m")
    tape = env.engine.tape
    assert len(tape.finer.bars) == 6 * 400 and np.array_equal(tape.finer.start, 6 * np.arange(401))
    with pytest.raises(UserError, match=r"env.detail is 10m, but the bars of test come without finer ones"):
        make_env("perp", panel(300), features=("log_return:1",), detail="10m")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"detail": "7m"}, "detail 7m must be shorter than a bar, and bars of 1h whole multiples"),
        ({"detail": "1h"}, "detail 1h must be shorter than a bar"),
        ({"detail": "5m", "paths": "bootstrap"}, "paths bootstrap have no finer bars"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], why: str) -> None:
    history = panel(100)
    config = build(MarketConfig, {"features": ["log_return:1"], **given}, "env perp")
    with pytest.raises(UserError, match=why):
        market("perp", config, history.instruments, history.columns, history.bar_ns)


@pytest.mark.parametrize(("orders", "fills"), [("real", "bar"), ("testnet", "bar"), ("paper", "book")])
def test_who_is_filled_by_others_is_refused(orders: str, fills: str) -> None:
    refuse_venues("paper", "bar")
    with pytest.raises(UserError, match=r"env.detail resolves orders that fill by the rule for bars"):
        refuse_venues(orders, fills)
