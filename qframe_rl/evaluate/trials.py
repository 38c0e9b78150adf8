"""The ledger of trials: every strategy that was ever scored on a market, so that luck can be counted.

The best of many tries looks good by chance alone; the deflated Sharpe ratio asks for more the more tries there were,
and is a lie where some of them are forgotten. So there is one file for all that a user does, which outlives the folders
of runs: each scoring adds a row, and rows are never changed or deleted. A strategy is known by its configuration and
its code, data by their closes (`qframe_rl.evaluate.closes`), so that nothing begins anew under another name. It is an
SQLite file: several processes may write, a row is there whole or not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from qframe_rl.config import UserError
from qframe_rl.evaluate.closes import Closes, MarketData, closes_of, overlap
from qframe_rl.evaluate.luck import FARTHEST, PRIOR, Luck, larger, luck
from qframe_rl.evaluate.trial import KEPT, CodeIdentity, Trial, dataset_named, dataset_of, trial, trial_of
from qframe_rl.home import user_state

__all__ = [
    "FARTHEST",
    "KEPT",
    "NAME",
    "PRIOR",
    "CodeIdentity",
    "Luck",
    "Trial",
    "Trials",
    "dataset_named",
    "dataset_of",
    "larger",
    "luck",
    "trial",
    "trial_of",
    "user_ledger",
]

NAME = "trials.db"
"""The file's name; earlier versions kept one in each folder of runs."""
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
CREATE TABLE IF NOT EXISTS formulas (
    run TEXT NOT NULL, fingerprint TEXT NOT NULL, tried INTEGER NOT NULL, PRIMARY KEY (run, fingerprint)
);
CREATE TRIGGER IF NOT EXISTS no_change BEFORE UPDATE ON trials BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON trials BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS formulas_no_change BEFORE UPDATE ON formulas
    BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS formulas_no_delete BEFORE DELETE ON formulas
    BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS data_no_change BEFORE UPDATE ON data BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
CREATE TRIGGER IF NOT EXISTS data_no_delete BEFORE DELETE ON data BEGIN SELECT RAISE(ABORT, 'trials are kept'); END;
"""
_LATER = ("code", "packages")
"""Columns that the first version of the file had not."""


_COLUMNS = [field.name for field in fields(Trial)]


def user_ledger() -> Path:
    """The user's own ledger: below XDG_STATE_HOME, or else where the platform keeps what programs remember."""
    return user_state() / NAME


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

    def add(self, rows: Iterable[Trial], history: MarketData) -> None:
        """Add rows that were scored on a history, all or none of them.

        Raises
        ------
        UserError
            If the file is not a ledger, or is locked for a minute.
        """
        now, kept = datetime.now(UTC).isoformat(timespec="seconds"), closes_of(history)
        with self._open() as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.execute("INSERT OR IGNORE INTO data VALUES (?, ?, ?, ?)", _data(history.fingerprint, kept))
            _insert(base, [(now, *(getattr(row, name) for name in _COLUMNS)) for row in rows])

    def add_formulas(self, run: str, tried: int, history: MarketData) -> None:
        """Count the formulas that a run tried as features on its training rows; the same run counts once.

        They are no trials: they were not scored on the bars that judge, and what was trained on them is one.

        Parameters
        ----------
        run
            Identity of the run.
        tried
            How many.
        history
            The bars.

        Raises
        ------
        UserError
            As `add`.
        """
        kept = closes_of(history)
        with self._open() as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.execute("INSERT OR IGNORE INTO data VALUES (?, ?, ?, ?)", _data(history.fingerprint, kept))
            base.execute("INSERT OR IGNORE INTO formulas VALUES (?, ?, ?)", (run, history.fingerprint, tried))

    def formulas(self, history: MarketData) -> int:
        """Formulas that were ever tried as features on data that overlap with a history."""
        if not self.path.exists():
            return 0
        with self._open() as base:
            same = json.dumps([history.fingerprint, *_overlapping(base, history.fingerprint, closes_of(history))])
            asked = "SELECT COALESCE(SUM(tried), 0) FROM formulas WHERE fingerprint IN (SELECT value FROM json_each(?))"
            return int(base.execute(asked, (same,)).fetchone()[0])

    def on(self, history: MarketData) -> list[Trial]:
        """Every row that was scored on data that overlap with a history, in the order in which they came."""
        return self._rows(history.fingerprint, dataset_of(history), closes_of(history))

    def known(self, data: Mapping[str, Any]) -> list[Trial]:
        """Every row as of `on`, for data that are known by what `History.describe` returned; runs keep that."""
        return self._rows(data["fingerprint"], dataset_named(data), None)

    def every(self) -> list[Trial]:
        """Every row on any data, in the order in which they came."""
        if not self.path.exists():
            return []
        with self._open() as base:
            found = base.execute(f"SELECT {', '.join(_COLUMNS)} FROM trials ORDER BY rowid").fetchall()
        return [Trial(*row) for row in found]

    def luck(self, history: MarketData) -> Luck:
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
            formulas = base.execute("SELECT * FROM formulas").fetchall() if _columns(base, "formulas") else []
        with self._open() as base, base:
            base.execute("BEGIN IMMEDIATE")
            base.executemany("INSERT OR IGNORE INTO data VALUES (?, ?, ?, ?)", data)
            base.executemany("INSERT OR IGNORE INTO formulas VALUES (?, ?, ?)", formulas)
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


def _data(fingerprint: str, kept: Closes) -> tuple[str, int, int, bytes]:
    """Row of a data set: by what it is known, its first and last close, and all of them."""
    return fingerprint, int(kept.times[0]), int(kept.times[-1]), kept.packed()


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
