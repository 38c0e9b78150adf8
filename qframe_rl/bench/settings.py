"""Backtests: one setting, and a thousand in one call, of a z-score rule that is long or out."""

from __future__ import annotations

from collections.abc import Iterator

from qframe_rl import catalog
from qframe_rl.agent import Planner
from qframe_rl.bench.coins import PLAIN, coins_rows
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.reversion import BARS, ReversionByColumn, ReversionByWindow, scored
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market
from qframe_rl.runner.backtest import backtest as session
from qframe_rl.runner.batch import Lane, lane, sweep
from qframe_rl.runner.log import Screen
from qframe_rl.types import History, Segment


def backtest(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Bars a second of one setting: stated ahead and settled in one call, and decided bar by bar in Python.

    Bar by bar three strategies go: the rule with its scores at hand, which backtesting.py has as an indicator; the same
    with a score reckoned from the window in each bar, on both sides; and the catalogue's, which has sizes and regimes
    besides.
    """
    history, market = _world(2000 if small else 100_000)
    work: dict[str, Work] = {"backtest": _settings(market, history, 1), "session_agent": _agent(market, history, small)}
    work |= {"session": _rule(history, by_column=True), "session_window": _rule(history, by_column=False)}
    if peers is not None:
        work |= peers.work(history, 1, "vectorbt", "backtesting.py", "backtesting.py-window")
    found = rates(work, repeats, screen, "backtest")
    against = {"vectorbt": 1.0, "backtesting.py": 1.0}
    return [
        *rows("backtest", 1, found["backtest"], "bars/s", against, found),
        *rows("backtest.session", 1, found["session"], "bars/s", {"backtesting.py": 1.0}, found),
        *rows("backtest.session_window", 1, found["session_window"], "bars/s", {"backtesting.py-window": 1.0}, found),
        *rows("backtest.session_agent", 1, found["session_agent"], "bars/s", {"backtesting.py": 1.0}, found),
    ]


def sweep_settings(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Account-bars a second of 1,000 settings over 100,000 bars; a loop of sessions does one setting after another.

    Then 10,000 settings on 40 coins over five years of hours, once.
    """
    n = 20 if small else 1000
    history, market = _world(2000 if small else 100_000)
    work: dict[str, Work] = {"sweep": _settings(market, history, n), "session": _agent(market, history, small)}
    if peers is not None:
        work |= peers.work(history, n, "vectorbt") | peers.work(history, 1, "backtesting.py")
    found = rates(work, repeats, screen, "sweep")
    against = {"vectorbt": 1.0, "backtesting.py": 1.0, "session": 1.0}
    return [*rows("sweep", n, found["sweep"], "account-bars/s", against, found), *coins_rows(small, screen)]


def _world(n_bars: int) -> tuple[History, Market]:
    history = synthetic("ou", n_bars, seed=3)
    market = make_market(Ref(name="spot"), history.instruments, history.columns, history.bar_ns)
    return history, market


def _settings(market: Market, history: History, n: int) -> Work:
    """Ten windows, and as many thresholds as it takes; what is kept is the equity at the end."""
    module = catalog.load("agents", "mean_reversion")
    spec = market.spec(history.columns, 0)
    per = max(1, n // 10)
    grid = [(20 + 20 * w, 1.0 + 2.0 * k / max(per - 1, 1)) for w in range(min(n, 10)) for k in range(per)]
    window = 400
    whole = Segment(window, len(history))

    def lanes() -> Iterator[Lane]:
        for mean_bars, entry in grid:
            agent: Planner = module.make(module.Config(mean_bars=mean_bars, entry=entry, **PLAIN), spec)
            yield lane(agent, history, whole, window)

    def do() -> float:
        sweep(market, lanes(), lambda result: result.equity[-1], curves=False)
        return float(len(grid) * len(history))

    return do


def _agent(market: Market, history: History, small: bool) -> Work:
    module = catalog.load("agents", "mean_reversion")
    agent = module.make(module.Config(mean_bars=50, entry=2.0, **PLAIN), market.spec(history.columns, 0))
    n = 500 if small else 20_000

    def do() -> float:
        session(market, agent, history, Segment(400, 400 + n), 400)
        return float(n)

    return do


def _rule(history: History, *, by_column: bool) -> Work:
    history = scored(history)
    market = make_market(Ref(name="spot"), history.instruments, history.columns, history.bar_ns)
    agent = ReversionByColumn() if by_column else ReversionByWindow()

    def do() -> float:
        session(market, agent, history, Segment(BARS, len(history)), BARS)
        return float(len(history) - BARS)

    return do
