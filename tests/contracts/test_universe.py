"""Every strategy of the catalogue trades a universe: what is outside is never enlarged, and it goes on to the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.feeds.universe import with_members
from qframe_rl.feeds.universe_rule import universe_rule
from qframe_rl.types import DAY, History
from tests.contracts import checks
from tests.contracts.test_agents import SEVERAL, bars, market_for
from tests.test_members import never_enlarged

AGENTS = [name for name in catalog.bar_agents() if name != "optimal"]


def universe(name: str) -> History:
    """Coins, or perpetuals, of which two thirds are in, others every twelve hours."""
    if name == "funding_arbitrage":
        history = replace(bars("mixed", 4), columns=("funding_rate",))
    else:
        history = bars("spot" if name == "cross_sectional" else "perpetual", 4 if name in SEVERAL else 3)
    if name == "external":
        history = replace(history, columns=("target",))
    return with_members(history, universe_rule(f"top:{len(history.symbols) * 2 // 3}:volume12h,renew:12h"))


@pytest.mark.parametrize("name", AGENTS)
def test_it_trades_a_universe_and_enlarges_nothing_that_is_outside(name: str) -> None:
    history = universe(name)
    assert history.time[-1] - history.time[0] > 30 * DAY
    market = checks.fitted(market_for(history), history)
    agent = checks.setup(name, market, history, {})
    record = checks.trade(market, agent, history)
    assert len(record) == len(history) - len(history) // 2 + 1
    assert np.isfinite(record.account.equity).all()
    never_enlarged(history, record)
