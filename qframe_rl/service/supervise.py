"""Starts, adopts, restarts and stops sessions that are wanted.

It owns nothing: what is wanted are rows, and what runs is known by the lock of each journal. Sessions are no children
that end with it; one that begins again finds them, and goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import is_writer, writer_of
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.store import pulse
from qframe_rl.live.accounts import others
from qframe_rl.service.desired import Desired, SupervisedSession, SupervisedSpec
from qframe_rl.service.ending import ending, last_error
from qframe_rl.service.places import Places
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.service.store import PASSWORD, VARIABLE, ServiceStore

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

EVERY_S = 0.25
LOG = "session.log"
_LOCK = ".supervise.lock"
_BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
STARTS, WITHIN_S = 5, 600.0
"""So many starts within that time, and it has failed."""
_STOP_S = 60.0
"""Time to end in order; then it is killed, which its journal bears."""
_LOG_BYTES = 10 << 20


class _Process(NamedTuple):
    """A process of a session that lives."""

    pid: int
    writes: bool
    """Whether it holds the journal's lock."""


class Supervisor:
    """One for each state folder, and for each folder of sessions.

    Parameters
    ----------
    store
        Rows of what is wanted.
    places
        Where checkpoints are found.
    root
        Folder in which each session has one of its name.
    told
        Told in one line of every change.
    own
        Options by which every session is handed what is the user's own; no row can say them.

    Raises
    ------
    UserError
        If another supervisor has one of them, or on Windows.
    """

    def __init__(
        self, store: ServiceStore, places: Places, root: Path, told: Callable[[str], None], own: Sequence[str] = ()
    ):  # fmt: skip
        if fcntl is None:
            raise UserError("sessions need flock, which Windows lacks; run the supervisor under Linux, macOS or WSL.")
        self.desired, self.places, self.root, self.told = Desired(store), places, root, told
        self._own = own
        self.portfolios = Portfolios(store)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._locks: list[int] = []
        self._ill: str | None = None
        root.mkdir(parents=True, exist_ok=True)
        for folder in (store.folder, root):
            self._locks.append(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            try:
                fcntl.flock(self._locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.close()
                raise UserError(f"another supervisor has {folder}; one is enough.") from None
        self._one()

    def close(self) -> None:
        """Let go; sessions go on."""
        while self._locks:
            os.close(self._locks.pop())

    def step(self) -> None:
        """Look at every row once, and do what lacks; raises UserError if another host's supervisor took over."""
        self._one()
        for row in self.desired.all():
            if row.folder != (folder := str((self.root / row.name).resolve())):
                self.desired.note(row.name, folder=folder)
            process = self._process(row)
            # One that is wanted again while it stops is started once it has stopped.
            stopping = row.state == "STOPPING" and process is not None
            if row.desired == "RUNNING" and not stopping:
                self._run(row, process)
            else:
                self._stop(row, process)

    def _one(self) -> None:
        """Be the only one of all hosts: two would run each session twice."""
        if not self.desired.store.hold("supervisor"):
            self.close()
            raise UserError(f"another supervisor has {self.desired.store.place}; one is enough, on one host.")

    def step_or_wait(self) -> None:
        """As `step`; while the store does not answer nothing is begun or ended, and that is told once."""
        try:
            self.step()
            ill = None
        except Unavailable as error:
            ill = str(error)
        if (ill is None) != (self._ill is None):
            self.told(f"{ill} It is tried again; sessions go on." if ill is not None else "the store answers again")
        self._ill = ill

    def _run(self, row: SupervisedSession, process: _Process | None) -> None:
        if process is not None:
            fresh = row.pid != process.pid
            since = row.since_ns if row.state in ("STARTING", "RUNNING") and not fresh else time.time_ns()
            state = "RUNNING" if self._decides(row, process, 0 if fresh else since) else "STARTING"
            if fresh or state != row.state:
                begun = _begun(process.pid)
                self._note(row, state, pid=process.pid, begun=begun, why="adopted" if fresh and row.pid else "")
        elif row.state in ("STARTING", "RUNNING"):
            self._ended(row)
        elif row.state == "BACKOFF" and 0 < row.due_ns - time.time_ns() <= _BACKOFF_S[-1] * 1e9:
            return  # due later than it ever waits: the clock stepped back
        elif row.state != "FAILED":
            self._start(row)

    def _stop(self, row: SupervisedSession, process: _Process | None) -> None:
        if process is None:
            self._children.pop(row.name, None)
            if row.state not in ("STOPPED", "FAILED"):
                self._note(row, "STOPPED", pid=None, begun=None, why="")
        elif row.state != "STOPPING":
            self._note(row, "STOPPING", pid=process.pid, begun=_begun(process.pid), why="")
            _signal(process.pid, signal.SIGTERM)
        elif abs(time.time_ns() - row.since_ns) > _STOP_S * 1e9:  # either way, as above
            _signal(process.pid, signal.SIGKILL)

    def _start(self, row: SupervisedSession) -> None:
        checkpoint = self.places.checkpoints().get(row.spec.checkpoint)
        if checkpoint is None:
            self._note(
                row, "FAILED", why=f"there is no checkpoint {row.spec.checkpoint}: no such folder below a --root"
            )
            return
        folder = self.root / row.name
        door = [sys.executable, "-m", "experiments.paper"]
        options = self._within_its_portfolio(row).options()
        argv = [*door, str(checkpoint.folder), *options, "--out", str(folder), *self._own]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _log(folder) as log:
                child = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                    close_fds=True, env=_settings(row.spec.account),
                )  # fmt: skip
        except OSError as error:
            self._back_off(row, f"cannot be started ({error.strerror})")
            return
        self._children[row.name] = child
        now = time.time()
        starts = [*(at for at in row.starts if now - at < WITHIN_S), now]
        self._note(row, "STARTING", pid=child.pid, begun=_begun(child.pid), starts=json.dumps(starts), why="")

    def _within_its_portfolio(self, row: SupervisedSession) -> SupervisedSpec:
        """What a session is, with limits of its own that are no wider than its portfolio's: a warden may be dead."""
        limits = self.portfolios.limits_of(row.name)
        tighter = {
            name: min(bound for bound in (getattr(row.spec, name), getattr(limits, name)) if bound is not None)
            for name in ("daily_loss", "max_drawdown") if limits is not None and getattr(limits, name) is not None
        }  # fmt: skip
        return row.spec.model_copy(update=tighter)

    def _ended(self, row: SupervisedSession) -> None:
        """Nothing runs, though it was started."""
        child = self._children.pop(row.name, None)
        code = child.returncode if child is not None else None
        if code == 0:
            self._note(row, "STOPPED", pid=None, begun=None, desired="STOPPED", why="it came to its end")
        elif code == 2:
            log = self.root / row.name / LOG
            why = last_error(log) or f"it refused to begin; see {LOG} in its folder"
            self._note(row, "FAILED", pid=None, begun=None, why=why)
        else:
            self._back_off(row, f"it ended ({'unseen' if code is None else ending(code)})")

    def _back_off(self, row: SupervisedSession, why: str) -> None:
        now = time.time()
        lately = [at for at in row.starts if now - at < WITHIN_S]
        if len(lately) >= STARTS:
            self._note(row, "FAILED", pid=None, begun=None, why=f"{why}; {len(lately)} starts in ten minutes")
            return
        wait = _BACKOFF_S[min(len(lately), len(_BACKOFF_S)) - 1] if lately else _BACKOFF_S[0]
        self._note(row, "BACKOFF", pid=None, begun=None, due_ns=time.time_ns() + int(wait * 1e9), why=why)

    def _process(self, row: SupervisedSession) -> _Process | None:
        journal = self.root / row.name / JOURNAL
        child = self._children.get(row.name)
        if child is not None:
            child.poll()  # so that it does not stay as a zombie, whose number lives
        # One that has just taken the lock has not noted its number yet: the one that stands there is of the dead.
        writer = writer_of(journal)
        if child is not None and child.returncode is None:
            return _Process(child.pid, writes=writer == child.pid)
        if writer is not None and is_writer(journal, writer) and _begun(writer) is not None:
            return _Process(writer, writes=True)
        if child is not None:
            return None
        if row.pid is not None and row.begun is not None and _begun(row.pid) == row.begun:
            return _Process(row.pid, writes=False)
        return None

    def _decides(self, row: SupervisedSession, process: _Process, since_ns: int) -> bool:
        """Whether its journal says that it has lived through a bar since it was started."""
        if not process.writes:
            return False
        if row.state == "RUNNING" and row.pid == process.pid:
            return True
        try:
            said = pulse(self.root / row.name / JOURNAL)
        except (UserError, Unavailable):
            return False
        return said is not None and said[0] >= since_ns

    def _note(self, row: SupervisedSession, state: str, **fields: Any) -> None:
        self.desired.note(row.name, state=state, since_ns=time.time_ns(), **fields)
        why = fields.get("why") or ""
        self.told(f"{row.name}: {state}{f' ({why})' if why else ''}")


def _settings(account: str | None) -> dict[str, str]:
    """The environment of a session: keys of its own account alone, and not where the service keeps its rows."""
    own = (VARIABLE, PASSWORD)
    return {name: value for name, value in others(dict(os.environ), account).items() if name not in own}


def _log(folder: Path) -> Any:
    """The session's log, begun anew once it is too long."""
    path = folder / LOG
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(f"{LOG}.1"))
    return path.open("ab")


def _begun(pid: int) -> str | None:
    """When the system began a process; None if it is gone."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.is_dir():
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            return None if fields[0] in "ZX" else fields[19]
        return None
    try:  # no /proc: macOS
        said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return said.stdout.strip() or None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
