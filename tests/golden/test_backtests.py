"""Golden summaries of backtests: a change in any of them must be meant, and told in the changelog.

``python -m tests.golden.test_backtests`` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qframe_rl import catalog
from qframe_rl.config import Ref
from qframe_rl.deploy import make_agent, make_market
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import Segment

PLACE = Path(__file__).with_name("backtests.json")
CASES = [
    (agent, market)
    for market in ("ar1", "correlated", "regimes,n_instruments=3")
    for agent in ("buy_and_hold", "random", "momentum", "mean_reversion", "optimal")
    if agent != "optimal" or market == "ar1"
]
KEYS = ("final_equity", "sharpe", "max_drawdown", "turnover", "fees", "spread", "impact", "funding", "trades")


def summary(agent: str, market: str) -> dict[str, float]:
    history = synthetic(market, 3_000, seed=11)
    made = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    config = catalog.load("agents", agent).Config()
    trader = make_agent(agent, config, made, history.columns, 5, history.theory)
    figures = metrics(backtest(made, trader, history, Segment(500, 3_000), 300))
    return {key: getattr(figures, key) for key in KEYS}


@pytest.mark.parametrize(("agent", "market"), CASES)
def test_golden(agent: str, market: str) -> None:
    golden = json.loads(PLACE.read_text())[f"{agent} on {market}"]
    assert summary(agent, market) == pytest.approx(golden, rel=1e-9, abs=1e-9)


if __name__ == "__main__":
    PLACE.write_text(json.dumps({f"{a} on {m}": summary(a, m) for a, m in CASES}, indent=1) + "\n")
