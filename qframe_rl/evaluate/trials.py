"""The ledger of trials: every training that was ever scored on a data set, so that luck can be counted.

The best of many tries looks good by chance alone; the deflated Sharpe ratio asks for more the more tries there were,
and is a lie where some of them are forgotten. So the file outlives runs: it lies beside them, each training adds a row,
and rows are never changed or deleted. It is an SQLite file: several processes may write, a row is there whole or not.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError, fingerprint
from qframe_rl.evaluate.inference.sharpe import deflated_benchmark, effective_trials
from qframe_rl.evaluate.metrics import excess, skew_and_kurtosis
from qframe_rl.types import Float, History, Record, iso

NAME = "trials.db"
"""The file's name in the folder of runs."""
PRIOR = 10
"""Trials of pure luck, with a Sharpe ratio of variance 1 / bars, that the measured spread is mixed with: a handful of
trials says little about how far luck reaches."""
FARTHEST = 3.0
"""A Sharpe ratio of more standard errors than this counts as that many: it is skill or a fault, and the luck of the
others does not grow with it."""
KEPT = 500
"""Numbers that a trial's returns are summed up to, for the correlation between trials."""
_PATIENCE_S = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    at TEXT NOT NULL, kind TEXT NOT NULL, run TEXT NOT NULL, dataset TEXT NOT NULL, fingerprint TEXT NOT NULL,
    since TEXT NOT NULL, until TEXT NOT NULL, agent TEXT NOT NULL, params TEXT NOT NULL, config TEXT NOT NULL,
    seed INTEGER NOT NULL, fold INTEGER NOT NULL, bars INTEGER NOT NULL, mean REAL NOT NULL, deviation REAL NOT NULL,
    skew REAL NOT NULL, kurtosis REAL NOT NULL, series BLOB NOT NULL
);
CREATE TRIGGER IF NOT EXISTS no_change BEFORE UPDATE ON trials BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """One training, scored on validation bars that it was not fitted to."""

    kind: str
    """``train`` or ``tune``."""
    run: str
    """Identity of the run that it was part of."""
    dataset: str
    """What was traded, whatever the span: `dataset_of`."""
    fingerprint: str
    """Of the very bars."""
    since: str
    """Open of the first validation bar, UTC."""
    until: str
    """Close of the last."""
    agent: str
    params: str
    """Hash of its parameters."""
    config: str
    """Hash of agent, parameters, market, split and seed: the folds of one configuration are one trial."""
    seed: int
    fold: int
    bars: int
    mean: float
    """Of validation returns per bar in excess of cash, net of costs."""
    deviation: float
    """Standard deviation of them; the Sharpe ratio per bar is mean over deviation."""
    skew: float
    kurtosis: float
    series: bytes
    """Returns summed up to at most `KEPT` float32 numbers."""


_COLUMNS = [field.name for field in fields(Trial)]


class Luck(NamedTuple):
    """How far luck alone is expected to reach on a data set, given all that was tried."""

    trials: int = 1
    """Number of configurations ever scored."""
    trainings: int = 1
    """Number of rows: a configuration has one in each fold."""
    effective: float | None = None
    """How many independent trials they are worth, by the participation ratio of their correlations; None where a
    trial's returns were not kept."""
    spread: float = 1.0
    """Variance of the trials' Sharpe ratios in units of 1 / bars: 1 = as pure luck scatters them."""

    def benchmark(self, n_bars: float) -> float:
        """Sharpe ratio per bar that the best of all trials is expected to show over ``n_bars`` by luck alone."""
        return deflated_benchmark(max(1, self.trials), self.spread / max(n_bars, 1.0))


def dataset_of(history: History) -> str:
    """Name of a data set that does not change when bars are added to it.

    Generated bars are told apart by their fingerprint, since another seed is another market.
    """
    return dataset_named(history.describe())


def dataset_named(data: Mapping[str, Any]) -> str:
    """Name the data set of what `History.describe` returned, which runs keep."""
    symbols, environment = ",".join(sorted(data["symbols"])), data["environment"]
    name = f"{data['exchange']} {environment} {symbols} {data['timeframe']}"
    return f"{name} {data['fingerprint']}" if environment == "synthetic" else name


def trial(
    record: Record, history: History, *, kind: str, run: str, agent: str, params: object, config: object, seed: int,
    fold: int,
) -> Trial:  # fmt: skip
    """Make the row of one training from the record of its validation bars.

    Parameters
    ----------
    record
        What it did on the validation bars of one fold.
    history
        The bars.
    kind, run, agent, seed, fold
        As in `Trial`.
    params, config
        Plain data that is hashed: the agent's parameters; all that makes the configuration what it is.
    """
    span = iso(int(record.time[0])), iso(int(record.time[-1]))
    return trial_of(
        excess(record), span, history, kind=kind, run=run, agent=agent, params=params, config=config,
        seed=seed, fold=fold,
    )  # fmt: skip


def trial_of(
    rate: Float, span: tuple[str, str], history: History, *, kind: str, run: str, agent: str, params: object,
    config: object, seed: int, fold: int,
) -> Trial:  # fmt: skip
    """Make the row from (n,) returns per bar in excess of cash and the time that they cover; the rest as in `trial`."""
    skew, kurtosis = skew_and_kurtosis(rate)
    return Trial(
        kind=kind, run=run, dataset=dataset_of(history), fingerprint=history.fingerprint, since=span[0], until=span[1],
        agent=agent, params=fingerprint(params), config=fingerprint(config), seed=seed, fold=fold, bars=len(rate),
        mean=float(rate.mean()) if len(rate) else 0.0, deviation=float(rate.std(ddof=1)) if len(rate) > 1 else 0.0,
        skew=skew, kurtosis=kurtosis, series=_summed(rate).tobytes(),
    )  # fmt: skip


class Trials:
    """The ledger's file.

    Parameters
    ----------
    path
        Where it is; it is made when the first row is added.
    """

    def __init__(self, path: Path):
        self.path = path

    def add(self, rows: Iterable[Trial]) -> None:
        """Add rows, all or none of them.

        Raises
        ------
        UserError
            If the file is not a ledger, or is locked for a minute.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as base:
            base.executescript(_SCHEMA)
            marks = ", ".join("?" * (len(_COLUMNS) + 1))
            with base:
                base.executemany(
                    f"INSERT INTO trials (at, {', '.join(_COLUMNS)}) VALUES ({marks})",
                    [(now, *(getattr(row, name) for name in _COLUMNS)) for row in rows],
                )

    def of(self, dataset: str) -> list[Trial]:
        """Every row of a data set in the order in which they came; none where there is no file."""
        if not self.path.exists():
            return []
        with self._open() as base:
            found = base.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM trials WHERE dataset = ? ORDER BY rowid", (dataset,)
            ).fetchall()
        return [Trial(*row) for row in found]

    def luck(self, history: History) -> Luck:
        """What the trials on a history's data set say about luck."""
        return luck(self.of(dataset_of(history)))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        base = sqlite3.connect(self.path, timeout=_PATIENCE_S)
        try:
            yield base
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path}: the ledger of trials cannot be used ({error}); move it away.") from None
        finally:
            base.close()


def luck(rows: Sequence[Trial]) -> Luck:
    """Count trials and measure how far luck reaches among them.

    Repetitions of the same configuration on the same bars count once. Each Sharpe ratio is taken times the root of its
    bars, which has variance 1 where there is no skill, so that trials of different lengths can be compared. The spread
    is the mean square of the ratios above zero, none of them taken for more than `FARTHEST`, mixed with `PRIOR` trials
    of pure luck. Ratios below zero are left out: they tell what trading costs, not how far luck reaches upwards, and
    one strategy that ruins itself would otherwise make every other look lucky.

    Returns
    -------
    Luck
        As before any trial where there is none.
    """
    once = {(row.fingerprint, row.config, row.fold): row for row in reversed(rows)}
    if not once:
        return Luck()
    groups: dict[tuple[str, str], list[Trial]] = {}
    for (bars, config, _), row in sorted(once.items()):
        groups.setdefault((bars, config), []).append(row)
    scores = np.array([_score(folds) for folds in groups.values()])
    above = np.minimum(scores[scores > 0.0], FARTHEST)
    spread = float((PRIOR + np.sum(above**2)) / (PRIOR + len(above)))
    return Luck(len(groups), len(once), _effective(list(groups.values())), spread)


def _score(folds: Sequence[Trial]) -> float:
    """Sharpe ratio of a configuration over all its folds, times the root of their bars."""
    bars = np.array([row.bars for row in folds], dtype=np.float64)
    mean, square = (np.array([f(row) for row in folds]) for f in (_mean, _square))
    total = bars.sum()
    if total == 0.0:
        return 0.0
    average = float(bars @ mean / total)
    variance = float(bars @ square / total) - average**2
    return average / math.sqrt(variance) * math.sqrt(total) if variance > 1e-28 else 0.0


def _mean(row: Trial) -> float:
    return row.mean


def _square(row: Trial) -> float:
    return row.deviation**2 + row.mean**2


def _effective(groups: Sequence[Sequence[Trial]]) -> float | None:
    """Sum of the effective numbers of trials that were scored on the same bars."""
    same: dict[tuple[object, ...], list[Float]] = {}
    for folds in groups:
        series = [np.frombuffer(row.series, dtype=np.float32).astype(np.float64) for row in folds]
        if not all(len(part) for part in series):
            return None
        spans = tuple(
            (row.fingerprint, row.since, row.until, len(part)) for row, part in zip(folds, series, strict=True)
        )
        same.setdefault(spans, []).append(np.concatenate(series))
    return float(sum(effective_trials(np.stack(columns, axis=1)) for columns in same.values()))


def _summed(rate: Float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Sums of (n,) returns over at most `KEPT` stretches of equal length, up to one bar."""
    n = min(len(rate), KEPT)
    if n == 0:
        return np.empty(0, dtype=np.float32)
    edges = np.arange(n) * len(rate) // n
    summed: np.ndarray[tuple[int], np.dtype[np.float32]] = np.add.reduceat(rate, edges).astype(np.float32)
    return summed
