"""A task and a log for one of several learners that are trained one after the other."""

from __future__ import annotations

from typing import Any

from qframe_rl.agent import Log, Resumable, State, Task


class MemberTask:
    """A member's task, which keeps an unfinished training beside what the members before it learned.

    Parameters
    ----------
    task
        Of all.
    prefix
        Of the names under which this member's training is kept.
    done
        What the members before it learned.
    kept
        What was kept before an interruption.
    """

    def __init__(self, task: Task, prefix: str, done: State, kept: State):
        self.task, self.prefix, self.done, self.kept = task, prefix, done, kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def remember(self, state: State) -> None:
        """Keep this member's training."""
        if isinstance(self.task, Resumable):
            self.task.remember(self.done | {self.prefix + key: value for key, value in state.items()})

    def recall(self) -> State:
        """What was kept of it."""
        start = self.prefix
        return {key.removeprefix(start): value for key, value in self.kept.items() if key.startswith(start)}


class MemberLog(Log):
    """A log that says which member speaks.

    Parameters
    ----------
    log
        Of all.
    name
        The member's.
    """

    def __init__(self, log: Log, name: str):
        self.log, self.name = log, name

    def scalar(self, name: str, value: float, step: int) -> None:
        """As `qframe_rl.agent.Log.scalar`."""
        self.log.scalar(f"{self.name}/{name}", value, step)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """As `qframe_rl.agent.Log.progress`."""
        self.log.progress(done, total, f"{self.name} {note}".strip())
