"""The ledger of trials: every strategy that was ever scored on a market, so that luck can be counted.

The best of many tries looks good by chance alone; the deflated Sharpe ratio asks for more the more tries there were,
and is a lie where some of them are forgotten. So there is one file for all that a user does, which outlives the folders
of runs: each scoring adds a row, and rows are never changed or deleted. A strategy is known by its configuration and
its code, data by their closes (`qframe_rl.evaluate.closes`), so that nothing begins anew under another name. It is an
SQLite file: several processes may write, a row is there whole or not.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from platformdirs import user_state_path

from qframe_rl.config import UserError, fingerprint
from qframe_rl.evaluate.closes import Closes, closes_of, overlap
from qframe_rl.evaluate.inference.sharpe import deflated_benchmark, effective_trials
from qframe_rl.evaluate.metrics import excess, skew_and_kurtosis
from qframe_rl.types import Float, History, Record, iso

NAME = "trials.db"
"""The file's name; earlier versions kept one in each folder of runs."""
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
    skew REAL NOT NULL, kurtosis REAL NOT NULL, series BLOB NOT NULL, code TEXT NOT NULL DEFAULT '',
    packages TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS data (
    fingerprint TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, closes BLOB NOT NULL
);
CREATE TRIGGER IF NOT EXISTS no_change BEFORE UPDATE ON trials BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS data_no_change BEFORE UPDATE ON data BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS data_no_delete BEFORE DELETE ON data BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
"""
_LATER = ("code", "packages")
"""Columns that the first version of the file had not."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One strategy, scored on bars that it was not fitted to."""

    kind: str
    """``train``, ``tune`` or ``evaluate``."""
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
    """Of returns per bar in excess of cash, net of costs."""
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

    @classmethod
    def carried(cls, promotion: Mapping[str, Any]) -> Self:
        """What a checkpoint or a run has kept of the luck that was reckoned with when it was chosen."""
        trials = int(promotion.get("trials", 1))
        effective, spread = promotion.get("effective_trials"), float(promotion.get("spread", 1.0))
        return cls(trials, int(promotion.get("trainings", trials)), effective, spread)


def larger(*found: Luck) -> Luck:
    """The one that counts most trials, with the widest spread of all; of equal ones the first."""
    most = max(found, key=lambda one: one.trials)
    return most._replace(spread=max(one.spread for one in found))


def user_ledger() -> Path:
    """The user's own ledger: below XDG_STATE_HOME, or else where the platform keeps what programs remember."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given / "qframe-rl" if given.is_absolute() else user_state_path("qframe-rl", appauthor=False)) / NAME


def dataset_of(history: History) -> str:
    """Name of a data set, as earlier versions knew it: it does not change when bars are added.

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
    rate: Float, span: tuple[str, str], history: History, *, kind: str, run: str, agent: str, params: object,
    config: object, seed: int, fold: int, code: CodeIdentity = _UNCODED,
) -> Trial:  # fmt: skip
    """Make the row of one scoring from its returns.

    Parameters
    ----------
    rate
        (n,) returns per bar in excess of cash, net of costs.
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


class Trials:
    """The ledger's file.

    Parameters
    ----------
    path
        Where it is; it is made when the first row is added.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def opened(cls, place: Path | None, runs: Path) -> Self:
        """Open the user's ledger, or another one, with all that earlier versions kept in a folder of runs read in."""
        ledger = cls(place or user_ledger())
        ledger.read_in(runs / NAME)
        return ledger

    def add(self, rows: Iterable[Trial], history: History) -> None:
        """Add rows that were scored on a history, all or none of them.

        Raises
        ------
        UserError
            If the file is not a ledger, or is locked for a minute.
        """
        now, kept = datetime.now(UTC).isoformat(timespec="seconds"), closes_of(history)
        data = (history.fingerprint, int(kept.times[0]), int(kept.times[-1]), kept.packed())
        with self._open() as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.execute("INSERT OR IGNORE INTO data VALUES (?, ?, ?, ?)", data)
            _insert(base, [(now, *(getattr(row, name) for name in _COLUMNS)) for row in rows])

    def on(self, history: History) -> list[Trial]:
        """Every row that was scored on data that overlap with a history, in the order in which they came."""
        return self._rows(history.fingerprint, dataset_of(history), closes_of(history))

    def known(self, data: Mapping[str, Any]) -> list[Trial]:
        """Every row as of `on`, for data that are known by what `History.describe` returned; runs keep that."""
        return self._rows(data["fingerprint"], dataset_named(data), None)

    def luck(self, history: History) -> Luck:
        """What the trials on data that overlap with a history say about luck."""
        return luck(self.on(history))

    def read_in(self, other: Path) -> None:
        """Take over what another ledger has and this one has not; the other stays as it is.

        Raises
        ------
        UserError
            If one of the two is not a ledger, or is locked for a minute.
        """
        if not other.is_file() or (self.path.exists() and other.samefile(self.path)):
            return
        with _connected(other) as base:
            present = _columns(base)
            chosen = ["at", *(name if name in present else f"'' AS {name}" for name in _COLUMNS)]
            rows = base.execute(f"SELECT {', '.join(chosen)} FROM trials ORDER BY rowid").fetchall()
            data = base.execute("SELECT * FROM data").fetchall() if _columns(base, "data") else []
        with self._open() as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.executemany("INSERT OR IGNORE INTO data VALUES (?, ?, ?, ?)", data)
            known = {_key(row) for row in base.execute(f"SELECT at, {', '.join(_COLUMNS)} FROM trials")}
            _insert(base, [row for row in rows if _key(row) not in known])

    def _rows(self, fingerprint: str, dataset: str, kept: Closes | None) -> list[Trial]:
        if not self.path.exists():
            return []
        with self._open() as base:
            same = json.dumps([fingerprint, *_overlapping(base, fingerprint, kept)])
            found = base.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM trials WHERE fingerprint IN (SELECT value FROM json_each(?)) "
                "OR (dataset = ? AND fingerprint NOT IN (SELECT fingerprint FROM data)) ORDER BY rowid",
                (same, dataset),
            ).fetchall()
        return [Trial(*row) for row in found]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Connect to the file, made or brought to this version where it must be."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _connected(self.path) as base:
            base.executescript(_SCHEMA)
            if not _columns(base).issuperset(_LATER):
                base.execute("BEGIN IMMEDIATE")
                for name in sorted(set(_LATER) - _columns(base)):
                    base.execute(f"ALTER TABLE trials ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
                base.commit()
            yield base


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as base:
            yield base
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: the ledger of trials cannot be used ({error}); move it away.") from None


def _columns(base: sqlite3.Connection, table: str = "trials") -> set[str]:
    return {row[1] for row in base.execute(f"PRAGMA table_info({table})")}


def _insert(base: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * (len(_COLUMNS) + 1))
    base.executemany(f"INSERT INTO trials (at, {', '.join(_COLUMNS)}) VALUES ({marks})", rows)


def _key(row: Sequence[Any]) -> tuple[Any, ...]:
    """What tells two rows apart: all but the returns, which say no more than their moments."""
    return tuple(row[: 1 + _COLUMNS.index("series")])


def _overlapping(base: sqlite3.Connection, fingerprint: str, kept: Closes | None) -> list[str]:
    """Fingerprints of the data sets that overlap with one, whose closes are given, or in the ledger if anywhere."""
    if kept is None:
        found = base.execute("SELECT closes FROM data WHERE fingerprint = ?", (fingerprint,)).fetchone()
        if found is None:
            return []
        kept = Closes.unpacked(found[0])
    span = int(kept.times[-1]), int(kept.times[0])
    others = base.execute("SELECT fingerprint, closes FROM data WHERE first <= ? AND last >= ?", span)
    return [name for name, packed in others if overlap(kept, Closes.unpacked(packed))]


def luck(rows: Sequence[Trial]) -> Luck:
    """Count trials and measure how far luck reaches among them.

    Repetitions of the same configuration and code on the same bars count once; where the code is not known, it is taken
    for one that is. Each Sharpe ratio is taken times the root of its
    bars, which has variance 1 where there is no skill, so that trials of different lengths can be compared. The spread
    is the mean square of the ratios above zero, none of them taken for more than `FARTHEST`, mixed with `PRIOR` trials
    of pure luck. Ratios below zero are left out: they tell what trading costs, not how far luck reaches upwards, and
    one strategy that ruins itself would otherwise make every other look lucky.

    Returns
    -------
    Luck
        As before any trial where there is none.
    """
    codes = {(row.fingerprint, row.config): row.code for row in reversed(rows) if row.code}
    keys = [(row.fingerprint, row.config, row.code or codes.get((row.fingerprint, row.config), "")) for row in rows]
    once = {(*key, row.fold): row for key, row in zip(reversed(keys), reversed(rows), strict=True)}
    if not once:
        return Luck()
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for (*key, _), row in sorted(once.items()):
        groups.setdefault((key[0], key[1], key[2]), []).append(row)
    scores = np.array([_score(folds) for folds in groups.values()])
    above = np.minimum(scores[scores > 0.0], FARTHEST)
    spread = float((PRIOR + np.sum(above**2)) / (PRIOR + len(above)))
    return Luck(len(groups), len(once), _effective(list(groups.values())), spread)


def _score(folds: Sequence[Trial]) -> float:
    """Sharpe ratio of a configuration over all its folds, times the root of their bars."""
    bars = np.array([row.bars for row in folds], dtype=np.float64)
    mean = np.array([row.mean for row in folds])
    square = np.array([row.deviation**2 + row.mean**2 for row in folds])
    total = bars.sum()
    if total == 0.0:
        return 0.0
    average = float(bars @ mean / total)
    variance = float(bars @ square / total) - average**2
    return average / math.sqrt(variance) * math.sqrt(total) if variance > 1e-28 else 0.0


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
