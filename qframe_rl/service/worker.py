"""Does jobs, one at a time: each in a process group of its own, with its time and its memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.secrets import is_secret
from qframe_rl.servers import DATA_PASSWORD
from qframe_rl.service.ending import ending, last_error
from qframe_rl.service.jobs import Job, Jobs, log_of
from qframe_rl.service.places import Places
from qframe_rl.service.reports import ADDRESSES
from qframe_rl.service.store import ServiceStore

_LOOK_S = 0.1
_RENEW_S = 1.0
_PR_SET_PDEATHSIG = 1
_GRACE_S = 20.0
"""Time to end in order after it was told to."""
_HELD_S, _BRIEF_S = 25.0, 5.0
"""For so long a job goes on while the store says nothing of it, and then has to end. To ask takes 27 s at most, so it
has ended before its lease has and another worker begins it."""


class Worker:
    """One that does jobs.

    Parameters
    ----------
    store
        Where they wait.
    places
        Where runs and checkpoints are found.
    root
        Folder below which ``runs`` and ``checkpoints`` are made.
    data
        Folder of a Parquet store, or address of a database; None = none.
    memory_gb
        Address space of a job, GB; None = no limit.
    told
        Told in one line of every change.
    on
        Where trainings, evaluations and searches are worked on, as the doors' ``--on``; None = in the job's process.

    Raises
    ------
    UserError
        On Windows, and for Ray under a limit of address space, which it maps many times over.
    """

    def __init__(
        self, store: ServiceStore, places: Places, root: Path, data: Path | str | None, memory_gb: float | None,
        told: Callable[[str], None], on: str | None = None,
    ):  # fmt: skip
        if on is not None and memory_gb is not None:
            raise UserError("Ray maps far more address space than it uses; leave --memory or --on out.")
        self._on = on
        if not hasattr(os, "killpg"):
            raise UserError("jobs need process groups, which Windows lacks; run the worker under Linux, macOS or WSL.")
        self.jobs, self.places, self.root, self.data, self.told = Jobs(store), places, root, data, told
        self.name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._state, self._memory = store.folder, memory_gb
        self._ill: str | None = None

    def step(self, stopped: Callable[[], bool]) -> bool:
        """Do the next job, if there is one; whether there was.

        Parameters
        ----------
        stopped
            Whether the worker is to stop: the job under way is then left to another one, to go on with.
        """
        asked = time.monotonic()
        try:
            job = self.jobs.claim(self.name)
        except Unavailable as error:
            self._hear(str(error))
            return False
        self._hear(None)
        if job is None:
            return False
        self.told(f"job {job.id}: {job.spec.kind} {' '.join(job.spec.names)} begins (try {job.tries})")
        state, why = self._done(job, asked, stopped)
        while not self._noted(job, state, why) and not stopped():
            time.sleep(_RENEW_S)
        self.told(f"job {job.id}: {state}{f' ({why})' if why else ''}")
        return True

    def _noted(self, job: Job, state: str, why: str) -> bool:
        """Note what became of a job; whether the store took it."""
        try:
            if state == "QUEUED":
                self.jobs.release(job.id, self.name)
            else:
                self.jobs.end(job.id, self.name, state, why)
        except Unavailable as error:
            self._hear(str(error))
            return False
        self._hear(None)
        return True

    def _hear(self, ill: str | None) -> None:
        """Tell once that the store does not answer, and once that it does."""
        if (ill is None) != (self._ill is None):
            self.told(f"{ill} It is tried again." if ill is not None else "the store answers again")
        self._ill = ill

    def _done(self, job: Job, asked: float, stopped: Callable[[], bool]) -> tuple[str, str]:
        if job.cancel:
            return "CANCELLED", ""
        try:
            argv = job.spec.argv(
                self.places, self.root / "runs", self.root / "checkpoints", self.data, again=job.tries > 1
            )
            if self._on is not None and job.spec.kind in ("train", "evaluate", "tune"):
                argv += ["--on", self._on]
        except UserError as error:
            return "FAILED", str(error)
        path = log_of(self._state, job.id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # Nobody's keys: no job needs them, and what a job says is shown.
        settings = {name: value for name, value in os.environ.items() if not is_secret(name) and name not in ADDRESSES}
        if self.data is not None:
            settings["QFRAME_DATA"] = str(self.data)
        if isinstance(self.data, str):  # of the database that its market data are in
            settings |= {name: os.environ[name] for name in ("PGPASSWORD", DATA_PASSWORD) if name in os.environ}
        with path.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", f"experiments.{job.spec.kind}", *argv], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, env=settings, preexec_fn=self._limited,
            )  # fmt: skip
            return self._watched(job, child, asked, stopped)

    def _watched(
        self, job: Job, child: subprocess.Popen[bytes], asked: float, stopped: Callable[[], bool]
    ) -> tuple[str, str]:  # fmt: skip
        renewed = asked
        until = time.monotonic() + job.spec.hours * 3600.0
        while child.poll() is None:
            now = time.monotonic()
            if stopped():
                _ended(child)
                return "QUEUED", "left to the next worker"
            if now > until:
                _ended(child)
                return "FAILED", f"it took more than {job.spec.hours:g} hours"
            if now - renewed >= _HELD_S:
                _ended(child, _BRIEF_S)
                return "QUEUED", f"the store did not answer for {_HELD_S:g} s, and another worker may take it soon"
            if now - asked >= _RENEW_S:
                asked = now
                try:
                    held = self.jobs.renew(job.id, self.name)
                except Unavailable as error:
                    self._hear(str(error))
                    continue
                self._hear(None)
                renewed = now
                if held is None:
                    _ended(child)
                    return "QUEUED", "another worker has it by now"
                if held.cancel:
                    _ended(child)
                    return "CANCELLED", ""
            time.sleep(_LOOK_S)
        if child.returncode == 0:
            return "DONE", ""
        return "FAILED", last_error(log_of(self._state, job.id)) or ending(child.returncode)

    def _limited(self) -> None:
        os.nice(5)
        if sys.platform == "linux":
            # A worker that is killed takes its job with it, so that the next one does not find two.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._memory is not None:
            import resource

            size = int(self._memory * 1e9)
            resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _ended(child: subprocess.Popen[bytes], grace_s: float = _GRACE_S) -> None:
    """End a job and all that it started: told first, killed where that is not heard."""
    for number, patience in ((signal.SIGINT, grace_s), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
