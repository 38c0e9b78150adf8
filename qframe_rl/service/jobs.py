"""Jobs: work that a door does, as rows. One worker has a job at a time, for as long as it says that it lives."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from qframe_rl import catalog
from qframe_rl.config import Base, UserError, nearest
from qframe_rl.service.places import Places
from qframe_rl.service.store import ServiceStore

Kind = Literal["train", "evaluate", "tune", "report", "download"]
LEASE_S = 60.0
LOST = 3
"""Workers that may be gone while they have a job before it has failed."""
ENDED = ("DONE", "FAILED", "CANCELLED")
OPTIONS = {
    "train": ("preset", "timeframe", "from", "to", "seeds", "env", "exchange", "bars", "data", "seed"),
    "evaluate": ("timeframe", "from", "to", "walk-forward", "cpcv", "monte-carlo", "env", "exchange", "bars", "data"),
    "tune": ("timeframe", "from", "to", "walk-forward", "budget", "env", "exchange", "bars", "data", "seed"),
    "report": ("title",),
    "download": ("timeframe", "from", "to", "exchange"),
}
"""Options of each door that a job may give. Those that name folders, files or code are not among them."""
STUDIES = ("walk-forward", "cpcv", "monte-carlo")
"""Of evaluate, each of which makes a study of it."""
_NAMED = {"from": "--since", "to": "--until"}
"""How `download` calls them."""
_VALUE = re.compile(r"[0-9A-Za-z][0-9A-Za-z ,:.+-]{0,63}")
_DATA = re.compile(r"synthetic:[a-z0-9_]{1,32}")
_SYMBOLS = re.compile(r"[0-9A-Z][0-9A-Z/:,#_-]{0,499}")
_KEY = re.compile(r"(env|agent|split|risk)(\.[a-z0-9_]{1,40}){1,4}")
_SETTING = re.compile(r"[0-9a-z+-][0-9a-z_,.+-]{0,199}")
_CODE = re.compile(r"\w\.[a-z_]", re.IGNORECASE)
"""A dotted path of Python, as which a strategy of somewhere else is named, or a file of settings."""


class JobSpec(Base):
    """What is to be done: names of the catalogue, of checkpoints and runs of the list, and plain values."""

    kind: Kind
    names: tuple[Annotated[str, Field(pattern=r"^[0-9a-z_-]{1,64}$")], ...] = Field(default=(), max_length=20)
    """train: strategies; evaluate: strategies or checkpoints; tune: one strategy; report: runs or checkpoints."""
    symbols: Annotated[str | None, Field(max_length=500)] = None
    options: dict[Annotated[str, Field(max_length=32)], Annotated[str, Field(max_length=64)]] = Field(default={})
    """Others of the door, such as ``{"timeframe": "1h", "seeds": "3"}``."""
    settings: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=200)]] = Field(
        default={}, max_length=50
    )
    """Of ``--set``, such as ``{"agent.ppo.total_steps": "100000"}``."""
    hours: Annotated[float, Field(gt=0.0, le=24.0 * 31)] = 24.0
    """After which it is ended."""

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, symbols: str | None) -> str | None:
        if symbols is not None and not _SYMBOLS.fullmatch(symbols):
            raise ValueError("symbols such as BTC/USDT,ETH/USDT")
        return symbols

    @model_validator(mode="after")
    def _known(self) -> JobSpec:
        known = OPTIONS[self.kind]
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"{self.kind} takes no {name!r} from here{nearest(name, known)}")
            if name == "data" and not _DATA.fullmatch(value):
                raise ValueError("data such as synthetic:regimes; else symbols, of the worker's own store")
            if name != "data" and (not _VALUE.fullmatch(value) or _CODE.search(value)):
                raise ValueError(f"{name} is a plain value")
        for key, value in self.settings.items():
            if not _KEY.fullmatch(key):
                raise ValueError(f"{key[:40]!r} is no setting of env, agent, split or risk")
            if not _SETTING.fullmatch(value) or _CODE.search(value):
                raise ValueError(f"{key} is a plain value")
        if self.settings and self.kind in ("report", "download"):
            raise ValueError(f"{self.kind} takes no settings")
        return self

    def argv(self, places: Places, runs: Path, checkpoints: Path, data: Path | str | None, *, again: bool) -> list[str]:
        """Arguments of the door.

        Parameters
        ----------
        places
            Where checkpoints and runs are found.
        runs, checkpoints
            Folders in which it leaves what it makes.
        data
            Folder of the store, or address of a database; None = none.
        again
            Whether an earlier try was interrupted.

        Raises
        ------
        UserError
            For a name that is in no list, or one that is lacking.
        """
        found = [self._place(name, places) for name in self.names]
        options = [part for name, value in sorted(self.options.items()) for part in (self._option(name), value)]
        if self.symbols is not None:
            options += ["--symbols", self.symbols]
        options += [part for key, value in sorted(self.settings.items()) for part in ("--set", f"{key}={value}")]
        if self.kind == "download":
            if data is None:
                raise UserError("this worker has no store; start it with --data FOLDER.")
            return [*options, "--to", str(data)]
        places_of = ["--runs", str(runs)]
        if self.kind in ("train", "tune"):
            places_of += ["--checkpoints", str(checkpoints)]
        # Scores of checkpoints are made anew: there is nothing half done of them.
        if again and (self.kind in ("train", "tune") or any(name in self.options for name in STUDIES)):
            places_of.append("--resume")
        if self.kind == "train":
            named = ["--agents", ",".join(found)] if found else []
        elif self.kind == "tune":
            named = ["--agent", found[0]] if found else []
        else:
            named = found
        if not found and self.kind in ("evaluate", "report"):
            raise UserError(f"{self.kind} wants names.")
        return [*named, *options, *places_of]

    def _option(self, name: str) -> str:
        return _NAMED.get(name, f"--{name}") if self.kind == "download" else f"--{name}"

    def _place(self, name: str, places: Places) -> str:
        """What a name means: a strategy of the catalogue, or a folder of the lists."""
        if self.kind in ("train", "tune", "evaluate") and name in catalog.names("agents"):
            return name
        if self.kind == "evaluate" and name in places.checkpoints():
            return str(places.checkpoints()[name].folder)
        if self.kind == "report":
            for found in (places.runs(), places.checkpoints()):
                if name in found:
                    return str(found[name].folder)
        raise UserError(f"{self.kind}: there is no {name!r}{nearest(name, catalog.names('agents'))}")


class Job(NamedTuple):
    """A row."""

    id: str
    spec: JobSpec
    state: str
    """QUEUED, RUNNING, DONE, FAILED, CANCELLED."""
    asked_ns: int
    who: str
    worker: str | None
    lease_ns: int
    """Until when its worker has it."""
    tries: int
    cancel: bool
    ended_ns: int | None
    why: str
    lost: int
    """Workers that were gone while they had it."""

    def told(self) -> dict[str, Any]:
        """For others."""
        return {
            "id": self.id, "spec": self.spec.model_dump(mode="json"), "state": self.state, "who": self.who,
            "asked_ns": str(self.asked_ns), "ended_ns": None if self.ended_ns is None else str(self.ended_ns),
            "tries": self.tries, "cancel": self.cancel, "why": self.why,
        }  # fmt: skip


class Jobs:
    """The queue.

    Parameters
    ----------
    store
        Where it lies.
    clock
        ns UTC.
    """

    def __init__(self, store: ServiceStore, clock: Callable[[], int] = time.time_ns):
        self.store, self._clock = store, clock

    def newest(self, limit: int = 200) -> list[Job]:
        """The newest jobs, newest first."""
        return [_job(row) for row in self.store.rows("SELECT * FROM jobs ORDER BY asked_ns DESC LIMIT ?", (limit,))]

    def one(self, job: str) -> Job | None:
        """A job by its id; None if there is none."""
        rows = self.store.rows("SELECT * FROM jobs WHERE id = ?", (job,))
        return _job(rows[0]) if rows else None

    def ask(self, spec: JobSpec, who: str) -> Job:
        """Put a job at the end of the queue."""
        job, now = secrets.token_hex(8), self._clock()
        with self.store.writing() as database:
            # Later than all before, also by a clock that went back: the queue is in the order of asking.
            database.execute(
                "INSERT INTO jobs SELECT ?, ?, 'QUEUED', CASE WHEN max(asked_ns) >= ? THEN max(asked_ns) + 1 "
                "ELSE ? END, ?, NULL, 0, 0, 0, NULL, '', 0 FROM jobs",
                (job, spec.model_dump_json(), now, now, who),
            )
        found = self.one(job)
        assert found is not None
        return found

    def claim(self, worker: str) -> Job | None:
        """Take the oldest job that waits, or whose worker is gone; None if there is none."""
        now = self._clock()
        with self.store.writing(alone=False) as database:
            database.execute(
                "UPDATE jobs SET state = 'FAILED', ended_ns = ?, why = ? "
                "WHERE state = 'RUNNING' AND lease_ns < ? AND lost >= ?",
                (now, f"{LOST} workers were gone while they had it", now, LOST - 1),
            )
            rows = database.execute(
                "UPDATE jobs SET state = 'RUNNING', worker = ?, lease_ns = ?, tries = tries + 1, "
                "lost = lost + CASE WHEN state = 'RUNNING' THEN 1 ELSE 0 END WHERE id = ("
                "SELECT id FROM jobs WHERE state = 'QUEUED' OR (state = 'RUNNING' AND lease_ns < ?) "
                f"ORDER BY asked_ns LIMIT 1 {self.store.skip_locked}) RETURNING *",
                (worker, now + int(LEASE_S * 1e9), now),
            ).fetchall()
        return _job(rows[0]) if rows else None

    def renew(self, job: str, worker: str) -> Job | None:
        """Say that a worker still has a job; None if it is another's by now."""
        with self.store.writing() as database:
            rows = database.execute(
                "UPDATE jobs SET lease_ns = ? WHERE id = ? AND worker = ? AND state = 'RUNNING' RETURNING *",
                (self._clock() + int(LEASE_S * 1e9), job, worker),
            ).fetchall()
        return _job(rows[0]) if rows else None

    def end(self, job: str, worker: str, state: str, why: str = "") -> bool:
        """Note what became of a job; whether it was still this worker's."""
        with self.store.writing() as database:
            done = database.execute(
                "UPDATE jobs SET state = ?, why = ?, ended_ns = ?, lease_ns = 0 "
                "WHERE id = ? AND worker = ? AND state = 'RUNNING'",
                (state, why[:500], self._clock(), job, worker),
            ).rowcount
        return done > 0

    def release(self, job: str, worker: str) -> None:
        """Give a job back, unfinished: the next worker goes on with it."""
        with self.store.writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'QUEUED', worker = NULL, lease_ns = 0 "
                "WHERE id = ? AND worker = ? AND state = 'RUNNING'", (job, worker),
            )  # fmt: skip

    def cancel(self, job: str) -> Job | None:
        """Ask for a job's end: one that waits has ended, one that runs ends when its worker hears of it."""
        with self.store.writing() as database:
            database.execute(
                "UPDATE jobs SET cancel = 1, ended_ns = CASE WHEN state = 'QUEUED' THEN ? ELSE ended_ns END, "
                "state = CASE WHEN state = 'QUEUED' THEN 'CANCELLED' ELSE state END "
                "WHERE id = ? AND state IN ('QUEUED', 'RUNNING')",
                (self._clock(), job),
            )
        return self.one(job)


def log_of(state: Path, job: str) -> Path:
    """Where what a job says is kept."""
    return state / "jobs" / f"{job}.log"


def _job(row: tuple[Any, ...]) -> Job:
    job, spec, state, asked, who, worker, lease, tries, cancel, ended, why, lost = row
    made = JobSpec.model_validate(json.loads(spec))
    return Job(job, made, state, asked, who, worker, lease, tries, bool(cancel), ended, why, lost)
