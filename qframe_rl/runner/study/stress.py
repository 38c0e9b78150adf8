"""What a result depends on: costs, a delay, bars that are missing, a strategy's own numbers, other histories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.agent import Agent
from qframe_rl.config import Base, UserError, build
from qframe_rl.evaluate.inference.bootstrap import block_length, blocks
from qframe_rl.evaluate.metrics import bars_per_year, drawdown, sharpe
from qframe_rl.evaluate.montecarlo.prices import NULLS, BarMoves, MakePath, moves_of, null_model, resampled, usual_block
from qframe_rl.evaluate.montecarlo.summary import Paths, curve_of
from qframe_rl.evaluate.montecarlo.trades import shuffled
from qframe_rl.feeds.quality import without
from qframe_rl.gym.market import Market
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, MAKER, TAKER, VOLUME_SHARE
from qframe_rl.runner.batch import BacktestResult, planner
from qframe_rl.runner.policies import AT_ONCE, chooser
from qframe_rl.runner.study.walks import frequency, rate_of, run_all
from qframe_rl.runner.study.windows import WindowRunner
from qframe_rl.types import Float, History, Record, Segment

MISSING = 0.01
"""Share of bars that are left out."""
DROPS = 10
"""Ways of leaving them out."""
JITTERS = (-0.2, -0.1, 0.1, 0.2)
SLOW_PATHS = 20
"""Rebuilt paths for an agent that must be walked bar by bar."""
_CHUNK = 32
_ROWS = 1_000_000
"""Bars of paths that lie in memory together where more than `_CHUNK` paths are walked at a time."""


class Stretch(NamedTuple):
    """One stretch of a walk-forward record: who traded which rows."""

    agent: Agent
    config: Base
    segment: Segment


Chain = Sequence[Stretch]
Make = Callable[[Base], Agent]


def walked(market: Market, chain: Chain, history: History, window: int, *, delay: int = 0) -> list[BacktestResult]:
    """What each stretch of a chain came to.

    Parameters
    ----------
    market
        Rules and cash.
    chain
        Who traded which rows.
    history
        The bars, perhaps others than the chain was chosen on.
    window
        Bars shown at each decision.
    delay
        Bars by which what the agents see of the market is late.
    """
    jobs = [(link.agent, history, link.segment) for link in chain]
    return run_all(market, jobs, window, delay=delay)


def stresses(runner: WindowRunner, chain: Chain, make: Make | None) -> list[dict[str, Any]]:
    """Replay a chain under worse conditions.

    Parameters
    ----------
    runner
        Bars and market.
    chain
        Who traded when.
    make
        Makes the agent of a changed configuration; None where it would have to be trained anew, and its numbers are
        not jittered.

    Returns
    -------
    list[dict[str, Any]]
        ``name``, ``group``, ``sharpe``, ``total_return``, ``max_drawdown``; the first is the chain as it was.
    """
    market, history, window = runner.market, runner.history, runner.window
    rows = [_row("as it was", "base", walked(market, chain, history, window))]
    for factor in (0.0, 2.0, 3.0):
        name = "no costs" if factor == 0.0 else f"costs x {factor:g}"
        rows.append(_row(name, "costs", walked(with_costs(market, factor), chain, history, window)))
    rows.append(_row("one bar late", "delay", walked(market, chain, history, window, delay=1)))
    others = [*_dropped(runner, chain), *(_jittered(runner, chain, make) if make is not None else ())]
    longest = max(window, *(link.agent.window for one in others for link in one.chain))
    jobs = [(link.agent, one.history, link.segment) for one in others for link in one.chain]
    results = iter(run_all(market, jobs, longest))
    return rows + [_row(one.name, one.group, [next(results) for _ in one.chain]) for one in others]


class _Other(NamedTuple):
    """A chain with something about it changed."""

    name: str
    group: str
    history: History
    chain: Chain


def _dropped(runner: WindowRunner, chain: Chain) -> Iterator[_Other]:
    n = DROPS if planner(chain[0].agent) is not None else 1
    for k in range(n):
        rng = np.random.default_rng([runner.seed, k, 7])
        thin = without(runner.history, rng.random(len(runner.history)) < MISSING)
        moved = [link._replace(segment=_moved(link.segment, runner.history, thin)) for link in chain]
        yield _Other(f"{MISSING:.0%} of bars missing, {k + 1}", "missing", thin, moved)


def _moved(segment: Segment, history: History, thin: History) -> Segment:
    """The same span of time among fewer bars."""
    start, stop = (int(np.searchsorted(thin.time, history.time[row])) for row in (segment.start, segment.stop - 1))
    return Segment(start, stop + int(thin.time[min(stop, len(thin) - 1)] == history.time[segment.stop - 1]))


def _jittered(runner: WindowRunner, chain: Chain, make: Make) -> Iterator[_Other]:
    for field, share, configs in _changes(chain):
        moved = [link._replace(agent=make(config)) for link, config in zip(chain, configs, strict=True)]
        yield _Other(f"{field} {share:+.0%}", "parameters", runner.history, moved)


def _changes(chain: Chain) -> Iterator[tuple[str, float, list[Base]]]:
    """Every numeric field a little lower and higher in all links; changes that a configuration refuses are left out."""
    model = type(chain[0].config)
    for field in model.model_fields:
        for share in JITTERS:
            configs = []
            for link in chain:
                value = getattr(link.config, field)
                if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
                    break
                new = value * (1.0 + share)
                whole = round(new) if isinstance(value, int) else new
                try:
                    configs.append(build(model, link.config.model_dump() | {field: whole}, "jitter"))
                except UserError:
                    break
            if len(configs) == len(chain) and configs != [link.config for link in chain]:
                yield field, share, configs


def _row(name: str, group: str, parts: Sequence[BacktestResult]) -> dict[str, Any]:
    rate = rate_of(parts)
    curve = curve_of(rate)
    return {
        "name": name,
        "group": group,
        "sharpe": sharpe(rate, frequency(parts)),
        "total_return": float(curve[-1] - 1.0),
        "max_drawdown": float(drawdown(curve).min()),
    }


def bootstrapped(record: Record, rate: Float, n_paths: int, seed: int) -> dict[str, Any]:
    """Resample a record's own returns in blocks: how much of its result is the order and choice of its bars.

    Parameters
    ----------
    record
        Of the strategy.
    rate
        (N,) returns per bar that are resampled.
    n_paths
        How many paths to draw.
    seed
        Of the draws.

    Returns
    -------
    dict
        Quantiles of the paths as `Paths.describe` has them, and ``block``, the expected block length, bars.
    """
    paths = Paths(bars_per_year(record), record.account.equity)
    block = block_length(rate)
    for path in range(n_paths):
        paths.add(curve_of(rate[blocks(len(rate), len(rate), block, seed, path)]))
    return paths.describe() | {"block": block}


def reordered(record: Record, n_paths: int, seed: int) -> dict[str, Any]:
    """Put a record's trades in other orders: what of its drawdown is chance.

    Parameters
    ----------
    record, n_paths, seed
        As in `bootstrapped`.

    Returns
    -------
    dict
        Quantiles of the paths as `Paths.describe` has them.
    """
    return Paths(bars_per_year(record), record.account.equity).add_all(shuffled(record, n_paths, seed)).describe()


class Elsewhere:
    """An agent on price paths that might have been.

    Parameters
    ----------
    runner
        Bars, market and seed.
    agent
        Who trades them.
    record
        The record that the paths are held against; paths are as long.
    """

    def __init__(self, runner: WindowRunner, agent: Agent, record: Record):
        self.runner, self.agent, self.record = runner, agent, record
        self.size = len(record) - 1 + runner.window
        self.moves: BarMoves = moves_of(runner.history)
        self.block = usual_block(self.moves, 2 * runner.window)

    def count(self, asked: int) -> int:
        """How many paths are walked: fewer where each bar takes a decision of its own."""
        return asked if self._batched else min(asked, SLOW_PATHS)

    @property
    def _batched(self) -> bool:
        return planner(self.agent) is not None or chooser(self.agent) is not None

    def rebuilt(self, n_paths: int) -> dict[str, Any]:
        """Paths of the measured moves in other orders."""
        runner = self.runner
        return self._walked(
            "rebuilt prices", lambda p: resampled(self.moves, self.size, self.block, runner.seed, p), n_paths
        )

    def null(self, name: str, n_paths: int) -> dict[str, Any]:
        """Paths of a null model, or why there are none."""
        try:
            make = null_model(name, self.moves, self.size, self.block, self.runner.seed)
        except UserError as error:
            return {"paths": 0, "why": str(error)}
        return self._walked(f"null model {name}", make, n_paths) | {"text": NULLS[name]}

    def _walked(self, title: str, make: MakePath, asked: int) -> dict[str, Any]:
        runner, n = self.runner, self.count(asked)
        paths = Paths(bars_per_year(self.record), self.record.account.equity)
        runner.screen.begin(title)
        chunk = _CHUNK if chooser(self.agent) is None else max(_CHUNK, min(AT_ONCE, _ROWS // self.size))
        for at in range(0, n, chunk):
            made = [make(p) for p in range(at, min(at + chunk, n))]
            jobs = [(self.agent, path, Segment(runner.window, len(path))) for path in made]
            paths.add_all(result.equity for result in run_all(runner.market, jobs, runner.window))
            runner.screen.advance(title, len(paths), n)
        runner.screen.end(title, f"{n} paths of {self.size - runner.window} bars")
        return paths.describe() | {"block": self.block, "asked": asked}


def with_costs(market: Market, factor: float) -> Market:
    """Return the market with fees, half-spread and impact times ``factor``.

    Raises
    ------
    ValueError
        If they could take a price to zero.
    """
    table = market.rules.table.copy()
    table[:, [MAKER, TAKER, HALF_SPREAD, IMPACT]] *= factor
    if (table[:, HALF_SPREAD] + table[:, IMPACT] * np.sqrt(table[:, VOLUME_SHARE]) >= 1.0).any():
        raise ValueError(f"{factor} times the costs would take a price to zero")
    return replace(market, rules=replace(market.rules, table=table))
