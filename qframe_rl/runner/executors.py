"""Where the jobs of a run are worked on: one by one in this process, or side by side as tasks of a Ray cluster.

A job is a piece of work that depends on no other: a training, or some settings on some bars. Both executors are asked
the same way and give the same bits. What all jobs share, above all the bars, is placed once in Ray's object store and
read by every worker of a machine from the same memory; a task itself carries no more than its job. Files are written
by the caller alone, from what comes back, so that a worker may be anywhere.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Protocol, Self, TypeVar

from threadpoolctl import threadpool_limits

from qframe_rl.agent import Log
from qframe_rl.config import Unavailable, UserError
from qframe_rl.custom import adopt, everything
from qframe_rl.versions import code_fingerprint

S = TypeVar("S")
C = TypeVar("C")
R = TypeVar("R")

RETRIES = 3
"""Times that a job is begun anew after its worker or machine died."""
_AHEAD = 2
"""Tasks handed over for each core, so that none waits for the next one."""
_ASKED_MS, _ANSWERED_MS = 20_000, 10_000
"""How often a worker that says nothing is asked whether it is there, and how long an answer may take. By Ray's own
values a host whose cable is cut is waited for longer than six minutes (``python -m tests.soak.hosts``)."""


class Mute(Log):
    """A log that keeps nothing."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Drop it."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Drop it."""


class Notes(Mute):
    """A log that keeps the points of its curves, to be told elsewhere."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        """Keep it."""
        self.points.append((name, float(value), step))


class Executor(Protocol):
    """A place where jobs are worked on."""

    where: str
    """In words."""

    def run(
        self, work: Callable[[S, C, Log], R], shared: S, jobs: Sequence[C], log: Callable[[int], Log]
    ) -> Iterator[tuple[int, R]]:
        """Work on all jobs.

        Parameters
        ----------
        work
            A function of a module: it is found by its name where it runs.
        shared
            What all jobs need; read-only. Handing over the same object again costs nothing.
        jobs
            Small.
        log
            Makes the log of a job, by its number. A job that runs elsewhere is told to it when it is done.

        Yields
        ------
        tuple[int, R]
            Number of a job and its result, as they are done.
        """

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *what: object) -> None:
        """Give back what it holds."""


def one_thread() -> threadpool_limits:
    """A context in which numpy's linear algebra takes one thread: with another number it gives other last bits."""
    return threadpool_limits(1, user_api="blas")


class LocalExecutor(Executor):
    """One by one, in this process."""

    where = "in this process"

    def run(
        self, work: Callable[[S, C, Log], R], shared: S, jobs: Sequence[C], log: Callable[[int], Log]
    ) -> Iterator[tuple[int, R]]:
        """Work on all jobs, in their order."""
        for k, job in enumerate(jobs):
            with one_thread():
                result = work(shared, job, log(k))
            yield k, result

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *what: object) -> None:
        """Hold nothing."""


class RayExecutor(Executor):
    """Side by side, as tasks of a Ray cluster; each takes one core.

    Parameters
    ----------
    address
        Of a cluster that runs (``auto``: the one of this machine); None = begin one on this machine and end it after.
    cores
        Of a cluster that is begun here; None = all.

    Raises
    ------
    UserError
        If Ray is not installed.
    Unavailable
        If there is no cluster at the address.
    """

    def __init__(self, address: str | None = None, cores: int | None = None):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", str(_ASKED_MS))
        os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", str(_ANSWERED_MS))
        try:
            import ray
        except ImportError:
            raise UserError("--on ray: Ray is not installed; pip install 'qframe-rl[ray]'.") from None
        self._ray: Any = ray
        options: dict[str, Any] = {"address": address}
        if address is None:
            options = {"address": "local", "num_cpus": cores, "include_dashboard": False}
            options["_node_ip_address"] = "127.0.0.1"
        try:
            self._ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise Unavailable(f"--on ray: no cluster answers at {address or 'this machine'}: {error}") from None
        self.cores = int(self._ray.cluster_resources().get("CPU", 1))
        machines = sum(node["Alive"] for node in self._ray.nodes())
        self.where = f"on Ray, {self.cores} cores of {machines} machine{'s' * (machines > 1)}"
        self._placed: tuple[object, Any] | None = None
        self._task = self._ray.remote(max_retries=RETRIES, num_cpus=1)(_task)

    def run(
        self, work: Callable[[S, C, Log], R], shared: S, jobs: Sequence[C], log: Callable[[int], Log]
    ) -> Iterator[tuple[int, R]]:
        """Work on all jobs; results come as they are done.

        Parameters
        ----------
        work, shared, jobs, log
            As in `Executor.run`.

        Yields
        ------
        tuple[int, R]
            Number of a job and its result, as they are done.

        Raises
        ------
        UserError
            As the job raised it, or if a machine has other code.
        Unavailable
            If a job's worker died again and again.
        """
        ray, waiting, running = self._ray, deque(enumerate(jobs)), dict[Any, int]()
        place = self._place(shared)
        try:
            while waiting or running:
                while waiting and len(running) < _AHEAD * self.cores:
                    k, job = waiting.popleft()
                    running[self._task.remote(place, work, job, code_fingerprint(), everything())] = k
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                k = running.pop(done)
                result, points = self._result(done)
                told = log(k)
                for point in points:
                    told.scalar(*point)
                yield k, result
        finally:
            for task in running:
                ray.cancel(task, force=True)

    def _place(self, shared: object) -> Any:
        """Reference to what is shared in the object store."""
        if self._placed is None or self._placed[0] is not shared:
            self._placed = (shared, self._ray.put(shared))
        return self._placed[1]

    def _result(self, done: Any) -> Any:
        """Own copy of a result: arrays in the store are read-only, and hold its memory."""
        try:
            return deepcopy(self._ray.get(done))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise Unavailable(f"--on ray: a job was lost {RETRIES + 1} times: {text[0]}") from None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *what: object) -> None:
        """Leave the cluster; one that was begun here ends."""
        self._placed = None
        self._ray.shutdown()


def executor_of(on: str | None) -> LocalExecutor | RayExecutor:
    """Where to work: ``None`` = here, ``ray`` = a cluster begun on this machine, ``ray:ADDRESS`` = one that runs.

    Raises
    ------
    UserError
        For anything else.
    """
    if on is None:
        return LocalExecutor()
    name, colon, address = on.partition(":")
    if name != "ray" or (colon and not address):
        raise UserError(f"--on {on!r}: known are ray and ray:ADDRESS (such as ray:auto or ray:10.0.0.1:6379).")
    return RayExecutor(address or None)


def _task(
    shared: Any, work: Callable[[Any, Any, Log], Any], job: Any, code: str, own: dict[str, Any]
) -> tuple[Any, Any]:
    """Work on one job, elsewhere, with what was handed over here."""
    adopt(own)
    if code_fingerprint() != code:
        raise UserError("--on ray: a machine of the cluster has other code than this one; install the same on all.")
    notes = Notes()
    with one_thread():
        return work(shared, job, notes), notes.points
