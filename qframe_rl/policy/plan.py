"""What a training is asked for: how many samples in which pieces, and how step size and entropy fall."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""What a training is kept as: named arrays."""

UPDATES = 100
"""Updates that a budget is made to last for, at the least."""
_FEW, _LARGEST = 4096, 262_144
"""Samples between two updates: up to so many are passed over ten times on a problem, and more than so many are too
many."""
_STEPS = 64
"""Steps of each environment between two updates."""


class Sizes(NamedTuple):
    """Samples between two updates, and how they are learned from."""

    n_envs: int
    """Environments stepped as one batch."""
    n_steps: int
    """Steps of each between two updates."""
    batch_size: int
    """Samples of a minibatch."""
    n_epochs: int
    """Passes over the samples of an update."""


class TrainingLog(Protocol):
    """Told of a training; a `qframe_rl.agent.Log` is one."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve.

        Parameters
        ----------
        name
            Of the curve.
        value
            Its height here.
        step
            Environment steps so far.
        """

    def progress(self, done: int, total: int, note: str = "") -> None:
        """How far the training is.

        Parameters
        ----------
        done, total
            Environment steps.
        note
            A few words to show beside it.
        """


class Given(NamedTuple):
    """`Sizes` as they were asked for; None = by budget."""

    n_envs: int | None = None
    n_steps: int | None = None
    batch_size: int | None = None
    n_epochs: int | None = None


class Ramp(NamedTuple):
    """A number that goes evenly from its start to its end."""

    start: float
    end: float

    def at(self, share: float) -> float:
        """What it is after that share of the way, in [0, 1]."""
        return self.start + (self.end - self.start) * share


class PartLog:
    """The log of one member's training, as a part of that of all.

    Parameters
    ----------
    log
        Of all.
    k, members
        Which one of how many.
    """

    def __init__(self, log: TrainingLog, k: int, members: int):
        self.log, self.k, self.members = log, k, members

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve of this member's own.

        Parameters
        ----------
        name, value, step
            As of all.
        """
        self.log.scalar(name if self.members == 1 else f"member_{self.k}/{name}", value, step)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """How far all are.

        Parameters
        ----------
        done, total, note
            Of this member.
        """
        self.log.progress(self.k * total + done, self.members * total, note)


class TrainingPlan(NamedTuple):
    """A training of `PpoTraining`."""

    total_steps: int
    """Environment steps; the last update may go beyond."""
    sizes: Sizes
    learning_rate: Ramp
    """Step size of Adam, along the training."""
    ent_coef: Ramp
    """Weight of the entropy bonus, along the training."""
    gamma: float
    """Discount a step."""
    gae_lambda: float
    """Weight of longer returns in the advantage."""
    clip_range: float
    """Largest change of an action's probability ratio that is rewarded."""
    reward_scale: float | None = None
    """What rewards are multiplied by; None = divided by the running standard deviation of the discounted return."""
    target_kl: float | None = None
    """Divergence from the policy that collected the samples after which no more passes are made; None = never."""
    memory_steps: int = 64
    """Steps that a gradient goes back through, at the most, where memory lasts an episode."""
    dtype: torch.dtype = torch.float32
    """Of the arithmetic of what looks at the bars."""
    threads: int = 1
    """Of the network's arithmetic on a CPU."""
    device: str = "cpu"
    """Where the network is trained."""


def sizes(total_steps: int, given: Given, *, market: bool, least: int = 0) -> Sizes:
    """Fill in what is None, so that the budget is spent in at least `UPDATES` updates where it can be.

    A problem has small rollouts and many passes, a market more samples and fewer passes, and of many frames either
    takes larger rollouts.

    Parameters
    ----------
    total_steps
        The budget.
    given
        What was asked for.
    market
        Whether there are bars.
    least
        Samples between two updates that are worth while, if the budget has them for all updates.
    """
    small, parts = (2048, 400) if market else (512, 2000)
    samples = min(max(total_steps // UPDATES, 16), max(small, least, total_steps // parts), _LARGEST)
    n_envs, n_steps = given.n_envs, given.n_steps
    if n_envs is None:
        n_steps = n_steps or max(2, min(_STEPS, samples // 8))
        n_envs = max(1, samples // n_steps)
    n_steps = n_steps or max(2, samples // n_envs)
    samples = n_envs * n_steps
    batch_size = given.batch_size or max(2, min(samples, max(128, samples // 4)))
    return Sizes(n_envs, n_steps, batch_size, given.n_epochs or (10 if not market and samples <= _FEW else 4))
