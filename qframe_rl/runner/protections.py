"""What each protection does to a strategy: the same bars with it and without, as pairs, each setting a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Agent, Planner
from qframe_rl.config import Base, Ref, UserError, build
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.evaluate.inference.bootstrap import Interval, bootstrap
from qframe_rl.evaluate.metrics import bars_per_year, beside, drawdown, per_year, years_between
from qframe_rl.evaluate.trials import Trial, Trials, trial
from qframe_rl.gym.market import Market
from qframe_rl.risk.guard import NAMES
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import lane, records
from qframe_rl.runner.identity import code_of
from qframe_rl.runner.log import Screen
from qframe_rl.types import Float, History, Int, Record, Segment

SETTINGS: dict[str, dict[str, Any]] = {
    "cooldown_bars": {"cooldown_bars": 24},
    "stop_guard": {"stop_guard": 3, "stop_guard_bars": 168, "stop_guard_lock_bars": 48},
    "low_profit": {"low_profit": 0.0, "low_profit_bars": 720, "low_profit_lock_bars": 168},
    "drawdown_pause": {"drawdown_pause": 0.1, "drawdown_pause_bars": 720, "drawdown_pause_lock_bars": 168},
    "max_entries_per_day": {"max_entries_per_day": 1},
    "volatility_halt": {"volatility_halt": 0.05, "volatility_halt_bars": 4, "volatility_halt_lock_bars": 24},
}
"""Each protection as it is switched on where nothing else is asked for; in bars of an hour."""


class Effect(NamedTuple):
    """One strategy with one protection, beside itself without."""

    agent: str
    protection: str
    symbols: str
    """What it traded in one account."""
    growth: Interval
    """Log growth a year with it less that without, from pairs of bars."""
    drawdown: float
    """Deepest drawdown with it, a fraction below zero."""
    drawdown_without: float
    turnover: float
    """Notional with it over that without; 1 where nothing was traded."""


class Pair(NamedTuple):
    """The bars of an effect."""

    effect: Effect
    time: Int
    """(n,) closes, ns UTC."""
    ratio: Float
    """(n,) growth with it over that without, less 1."""


class PooledEffect(NamedTuple):
    """One strategy with one protection, beside itself without, in accounts that each trade something else."""

    agent: str
    protection: str
    growth: Interval
    """Log growth a year with it less that without, of the mean over the accounts that there are at a bar."""
    n: int
    """Accounts."""
    better: int
    """Those whose own interval lies above zero."""
    worse: int
    """Those whose own interval lies below zero."""


def effects(
    agents: Mapping[str, Base], env: Ref, history: History, limits: Limits, *, level: float, screen: Screen,
    ledger: Trials,
) -> list[Pair]:  # fmt: skip
    """Walk every strategy over all bars, without protections and with each of them alone.

    Parameters
    ----------
    agents
        Configurations by names of the catalogue; strategies that need no training.
    env, history
        Market and bars.
    limits
        Limits of both sides of each pair; a number of a protection stands instead of that of `SETTINGS`.
    level
        Of the intervals: stationary bootstrap of the ratios of equity.
    screen
        Told of the progress.
    ledger
        Each run is a row of it.

    Raises
    ------
    UserError
        For a strategy that is to be trained.
    """
    made = make_market(env, history.instruments, history.columns, history.bar_ns).name
    plain, found, rows = Limits(**_others(limits)), list[Pair](), list[Trial]()
    for name, config in agents.items():
        title = f"protections of {name} on {', '.join(history.symbols)}"
        screen.begin(title)
        without = _walk(name, config, env, history, plain)
        rows.append(_trial(without, name, config, env, made, history, plain))
        for k, protection in enumerate(NAMES):
            held = Limits(**_others(limits), **_setting(protection, limits))
            record = _walk(name, config, env, history, held)
            rows.append(_trial(record, name, config, env, made, history, held))
            found.append(_pair(name, protection, record, without, level))
            screen.advance(title, k + 1, len(NAMES), protection)
        screen.end(title, f"{len(without) - 1} bars, {len(NAMES) + 1} trials")
    ledger.add(rows, history)
    return found


def _setting(protection: str, limits: Limits) -> dict[str, Any]:
    """One protection, switched on."""
    given = limits.model_dump(exclude_defaults=True)
    return {key: given.get(key, value) for key, value in SETTINGS[protection].items()}


def _others(limits: Limits) -> dict[str, Any]:
    """Limits that are no protections."""
    own = {key for setting in SETTINGS.values() for key in setting} | {"stop_guard_scope"}
    return {key: value for key, value in limits.model_dump(exclude_defaults=True).items() if key not in own}


def _walk(name: str, config: Base, env: Ref, history: History, limits: Limits) -> Record:
    """The journal of one run over all bars."""
    market = make_market(env, history.instruments, history.columns, history.bar_ns, limits)
    agent = make_agent(name, config, market, history.columns, 0, history.theory)
    if hasattr(agent, "fit"):
        raise UserError(f"agent {name} learns, and this looks at rules; take one that needs no training.")
    window = window_of(market, agent)
    segment = Segment(window, len(history))
    return _record(market, agent, history, segment, window)


def _record(market: Market, agent: Agent, history: History, segment: Segment, window: int) -> Record:
    if isinstance(agent, Planner):
        return records(market, [lane(agent, history, segment, window)])[0]
    return backtest(market, agent, history, segment, window)


def _trial(
    record: Record, name: str, config: Base, env: Ref, market: str, history: History, limits: Limits
) -> Trial:  # fmt: skip
    params = config.model_dump(mode="json")
    held = limits.model_dump(mode="json", exclude_defaults=True)
    asked = [name, params, env.model_dump(mode="json"), held]
    return trial(
        record, history, kind="evaluate", run="protections", agent=name, params=[params, held], config=asked, seed=0,
        fold=0, code=code_of(name, config, env, market).coded,
    )  # fmt: skip


def _pair(name: str, protection: str, record: Record, without: Record, level: float) -> Pair:
    ratio, longer = beside(record, without), max(record, without, key=len)
    traded, before = (np.abs(one.fills.quantity * one.fills.price).sum() for one in (record, without))
    effect = Effect(
        name, protection, ", ".join(i.symbol for i in record.instruments),
        bootstrap(ratio, bars_per_year(longer), level=level).growth,
        float(drawdown(record.account.equity).min()), float(drawdown(without.account.equity).min()),
        float(traded / before) if before > 0.0 else 1.0,
    )  # fmt: skip
    return Pair(effect, longer.time[1:], ratio)


def pooled(pairs: Sequence[Pair], *, level: float) -> list[PooledEffect]:
    """Put together what strategies and protections did in several accounts.

    A bar's effect is the mean over the accounts that there are at it, and bars are resampled together: that accounts
    move alike is in the interval.

    Parameters
    ----------
    pairs
        Of every account, from `effects`.
    level
        Of the intervals.
    """
    alike: dict[tuple[str, str], list[Pair]] = {}
    for one in pairs:
        alike.setdefault((one.effect.agent, one.effect.protection), []).append(one)
    return [_pooled(*name, found, level) for name, found in alike.items()]


def _pooled(agent: str, protection: str, found: Sequence[Pair], level: float) -> PooledEffect:
    time, at = np.unique(np.concatenate([one.time for one in found]), return_inverse=True)
    ratio = np.concatenate([one.ratio for one in found])
    mean = np.bincount(at, ratio, len(time)) / np.bincount(at, minlength=len(time))
    growth, density = [one.effect.growth for one in found], per_year(len(time) - 1, years_between(time[0], time[-1]))
    return PooledEffect(
        agent, protection, bootstrap(mean, density, level=level).growth, len(found),
        sum(one.low > 0.0 for one in growth), sum(one.high < 0.0 for one in growth),
    )  # fmt: skip


def configs_of(names: tuple[str, ...], given: Mapping[str, Mapping[str, Any]]) -> dict[str, Base]:
    """Configurations of strategies of the catalogue, by name.

    Parameters
    ----------
    names
        Of the catalogue.
    given
        Parameters by name.

    Raises
    ------
    UserError
        For an unknown strategy or parameter.
    """
    return {name: build(catalog.load("agents", name).Config, given.get(name, {}), f"agent {name}") for name in names}
