"""A trial: one scoring of a strategy on the bars of a fold, as a row of the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import fingerprint
from qframe_rl.evaluate.closes import MarketData
from qframe_rl.evaluate.metrics import excess, skew_and_kurtosis
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.types import Float, History, Record, iso

KEPT = 500
"""Numbers that a trial's returns are summed up to, for the correlation between trials."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One strategy, scored on bars that it was not fitted to."""

    kind: str
    """``train``, ``tune``, ``evaluate`` or ``mine``."""
    run: str
    """Identity of the run that it was part of."""
    dataset: str
    """What was traded, whatever the span: `dataset_of`; it counts for rows of earlier versions, without closes."""
    fingerprint: str
    """Of the very bars."""
    since: str
    """Open of the first bar that it was scored on, UTC."""
    until: str
    """Close of the last."""
    agent: str
    params: str
    """Hash of its parameters."""
    config: str
    """Hash of agent, parameters, market, split and seed: of one code, the folds of one configuration are one trial."""
    seed: int
    fold: int
    bars: int
    mean: float
    """Of returns per bar in excess of cash, net of costs; of quoting, see `qframe_rl.evaluate.quoting.gains`."""
    deviation: float
    """Standard deviation of them; the Sharpe ratio per bar is mean over deviation."""
    skew: float
    kurtosis: float
    series: bytes
    """Returns summed up to at most `KEPT` float32 numbers."""
    code: str = ""
    """Hash of the code that the strategy consists of; empty where earlier versions did not ask."""
    packages: str = ""
    """Installed distributions that it imports and their versions, as JSON; for the record."""


class CodeIdentity(NamedTuple):
    """The code of a strategy, see `qframe_rl.runner.identity`."""

    digest: str
    packages: Mapping[str, str]


_UNCODED = CodeIdentity("", {})


def dataset_of(history: MarketData) -> str:
    """Name of a data set, as earlier versions knew it: it does not change when bars are added.

    Generated bars are told apart by their fingerprint, since another seed is another market.
    """
    if isinstance(history, TickHistory):
        source = history.source
        told = {"symbols": [history.instrument.symbol], "environment": source.environment, "exchange": source.exchange}
        return dataset_named({**told, "timeframe": "ticks", "fingerprint": history.fingerprint})
    return dataset_named(history.describe())


def dataset_named(data: Mapping[str, Any]) -> str:
    """Name the data set of what `History.describe` returned, which runs keep."""
    symbols, environment = ",".join(sorted(data["symbols"])), data["environment"]
    name = f"{data['exchange']} {environment} {symbols} {data['timeframe']}"
    return f"{name} {data['fingerprint']}" if environment == "synthetic" else name


def trial(
    record: Record, history: History, *, kind: str, run: str, agent: str, params: object, config: object, seed: int,
    fold: int, code: CodeIdentity = _UNCODED,
) -> Trial:  # fmt: skip
    """Make the row of one scoring from its record.

    Parameters
    ----------
    record
        What it did on the bars of one fold that it was scored on.
    history
        The bars.
    kind, run, agent, seed, fold
        As in `Trial`.
    params, config
        Plain data that is hashed: the agent's parameters; all that makes the configuration what it is, but for code.
    code
        Of the strategy.
    """
    span = iso(int(record.time[0])), iso(int(record.time[-1]))
    return trial_of(
        excess(record), span, history, kind=kind, run=run, agent=agent, params=params, config=config, seed=seed,
        fold=fold, code=code,
    )  # fmt: skip


def trial_of(
    rate: Float, span: tuple[str, str], history: MarketData, *, kind: str, run: str, agent: str, params: object,
    config: object, seed: int, fold: int, code: CodeIdentity = _UNCODED,
) -> Trial:  # fmt: skip
    """Make the row of one scoring from its returns.

    Parameters
    ----------
    rate
        (n,) returns per bar in excess of cash, net of costs; of quoting, gains.
    span
        First and last time that they cover, in ISO format.
    history, kind, run, agent, params, config, seed, fold, code
        As in `trial`.
    """
    skew, kurtosis = skew_and_kurtosis(rate)
    return Trial(
        kind=kind, run=run, dataset=dataset_of(history), fingerprint=history.fingerprint, since=span[0], until=span[1],
        agent=agent, params=fingerprint(params), config=fingerprint(config), seed=seed, fold=fold,
        bars=len(rate), code=code.digest, packages=json.dumps(dict(code.packages)),
        mean=float(rate.mean()) if len(rate) else 0.0, deviation=float(rate.std(ddof=1)) if len(rate) > 1 else 0.0,
        skew=skew, kurtosis=kurtosis, series=_summed(rate).tobytes(),
    )  # fmt: skip


def _summed(rate: Float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Sums of (n,) returns over at most `KEPT` stretches of equal length, up to one bar."""
    n = min(len(rate), KEPT)
    if n == 0:
        return np.empty(0, dtype=np.float32)
    edges = np.arange(n) * len(rate) // n
    summed: np.ndarray[tuple[int], np.dtype[np.float32]] = np.add.reduceat(rate, edges).astype(np.float32)
    return summed
