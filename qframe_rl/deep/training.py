"""The training loop of the deep agents: Adam, early stopping by a score, and going on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qframe_rl.agent import Log, Resumable, State, Task
from qframe_rl.policy.apart import one_thread

Losses = Callable[[int, np.random.Generator], Iterable[torch.Tensor]]
"""Given an epoch's number, from 1, and its generator: the loss of each of its minibatches, computed when asked for."""


class Schedule(NamedTuple):
    """How long and how fast."""

    epochs: int
    """Passes at most."""
    patience: int
    """Passes without a better score after which it stops."""
    learning_rate: float
    """Step size of Adam."""
    max_gradient: float
    """Norm that gradients are cut to."""
    seed: int
    """Root of all randomness."""
    first: int = 1
    """Pass from which a score counts."""


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed torch's generator for a while and use one thread; then give both back as they were."""
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        yield


class Loop:
    """A training under way.

    Parameters
    ----------
    net
        What is trained, in place.
    schedule
        How long and how fast.
    task
        Keeps how far the training came, if it is `Resumable`.
    log
        Told of loss and score of each pass.
    """

    def __init__(self, net: torch.nn.Module, schedule: Schedule, task: Task, log: Log):
        self.net, self.schedule, self.log = net, schedule, log
        self.keeper = task if isinstance(task, Resumable) else None
        self.adam = torch.optim.Adam(net.parameters(), lr=schedule.learning_rate)
        self.epoch = 0
        self.best = -math.inf
        self.best_epoch = 0
        self.kept = arrays(net)
        found = self.keeper.recall() if self.keeper else {}
        if found:
            self._take_over(found)

    def __call__(self, losses: Losses, score: Callable[[], float] | None, note: str = "") -> None:
        """Train until the schedule or the patience ends, and leave the best weights in the network.

        Parameters
        ----------
        losses
            What to lower.
        score
            What to stop by, higher being better, with the network in evaluation mode; None = by nothing: the last
            weights count as the best.
        note
            Shown beside the progress.
        """
        schedule = self.schedule
        while self.epoch < schedule.epochs and self.epoch - self.best_epoch < schedule.patience:
            self.epoch += 1
            loss = self._pass(losses)
            self.net.eval()
            with torch.inference_mode():
                found = float(self.epoch) if score is None else score()
            if self.epoch >= schedule.first and found > self.best:
                self.best, self.best_epoch, self.kept = found, self.epoch, arrays(self.net)
            self.log.scalar("train/loss", loss, self.epoch)
            said = f"loss {loss:.3g}"
            if score is not None:
                self.log.scalar("validation/score", found, self.epoch)
                said = f"validation {found:.2f}" + (f", best {self.best:.2f}" if self.best_epoch else "")
            if self.keeper:
                self.keeper.remember(self._state())
            self.log.progress(self.epoch, schedule.epochs, f"{said}{note}")
        load(self.net, self.kept)
        self.net.eval()

    def _pass(self, losses: Losses) -> float:
        """One epoch; its randomness depends on the seed and its number alone."""
        seeds = np.random.SeedSequence([self.schedule.seed, self.epoch])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        self.net.train()
        seen = []
        for loss in losses(self.epoch, np.random.Generator(np.random.PCG64(seeds))):
            self.adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.schedule.max_gradient)
            self.adam.step()
            seen.append(loss.item())
        return float(np.mean(seen))

    def _state(self) -> State:
        moments = {
            f"{moment}/{name}": self.adam.state[parameter][moment].numpy().copy()
            for name, parameter in self.net.named_parameters()
            for moment in ("step", "exp_avg", "exp_avg_sq")
        }
        weights = {f"now/{k}": v for k, v in arrays(self.net).items()} | {f"best/{k}": v for k, v in self.kept.items()}
        return moments | weights | {"progress": np.array([self.epoch, self.best_epoch, self.best])}

    def _take_over(self, state: State) -> None:
        self.epoch, self.best_epoch = (int(x) for x in state["progress"][:2])
        self.best = float(state["progress"][2])
        load(self.net, {k: state[f"now/{k}"] for k in self.kept})
        self.kept = {k: state[f"best/{k}"] for k in self.kept}
        for name, parameter in self.net.named_parameters():
            self.adam.state[parameter] = {
                moment: torch.from_numpy(np.array(state[f"{moment}/{name}"]))
                for moment in ("step", "exp_avg", "exp_avg_sq")
            }


def arrays(net: torch.nn.Module) -> State:
    """Copy of a network's weights by name."""
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def load(net: torch.nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
    """Write weights into a network.

    Raises
    ------
    ValueError
        If a name is missing or a shape differs.
    """
    _check_shapes(net, state)
    net.load_state_dict({name: torch.from_numpy(np.array(state[name])) for name in net.state_dict()})


def _check_shapes(net: torch.nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
    for name, value in net.state_dict().items():
        if name not in state or state[name].shape != tuple(value.shape):
            raise ValueError(f"weight {name!r} is missing or not of shape {tuple(value.shape)}")


def restored(make: Callable[[], torch.nn.Module], state: Mapping[str, NDArray[Any]]) -> Any:
    """Make a network and write weights into it, without touching anybody's random numbers; raises as `load` does.

    A network that other weights than these belong to takes no memory: its shapes are looked at first.
    """
    with own_randomness(0):
        with torch.device("meta"):
            _check_shapes(make(), state)
        net = make()
    load(net, state)
    return net.eval()
