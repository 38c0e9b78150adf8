"""Proximal policy optimisation (Schulman et al., 2017), compact and fast.

The environments hand out places on the tape instead of copied windows; the feature matrix lies on the device, and each
distinct bar is encoded once (`qframe_rl.policy`). Rewards are divided by the running standard deviation of the
discounted return (Engstrom et al., 2020), so that the defaults serve any scale; an episode that was cut off is
bootstrapped with the value of its true last observation (Pardo et al., 2018).

From top to bottom: `Config`, the agent, and a training: `collect`, `judge`, `improve`, again and again.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from qframe_rl.agent import Log, MarketSpec, Memoryless, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.policy import Dense, EncodedBars, Encoder, Graph, InputShape, Loss, Minibatch, Net, NetworkBackend, Torso
from qframe_rl.policy.returns import RunningDeviation, discount, episodes, estimate
from qframe_rl.types import Float, Int, Orders, Single


class Config(Base):
    """Hyper-parameters; the defaults learn the default market and are mild on real data."""

    total_steps: int = Field(default=800_000, ge=1, le=10**12)
    """Environment steps to train for. A bar of history is seen total_steps / (bars of training) times."""
    n_envs: int = Field(default=64, ge=1, le=1_000_000)
    """Environments stepped as one batch."""
    n_steps: int = Field(default=128, ge=2, le=1_000_000)
    """Steps of each environment between two updates."""
    batch_size: int = Field(default=2048, ge=2, le=10_000_000)
    """Samples of a minibatch."""
    n_epochs: int = Field(default=4, ge=1, le=1_000_000)
    """Passes over the samples of an update."""
    learning_rate: float = Field(
        default=1e-3, gt=0.0, le=100.0, json_schema_extra=search(low=1e-4, high=3e-3, log=True)
    )
    """Step size of Adam at the start; it falls linearly to a tenth."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0, json_schema_extra=search(low=0.8, high=0.999))
    """Discount per bar: 1 / (1 - gamma) bars are looked ahead."""
    gae_lambda: float = Field(default=0.9, ge=0.0, le=1.0)
    """Weight of longer returns in the advantage."""
    clip_range: float = Field(default=0.2, gt=0.0, le=1e6)
    """Largest change of an action's probability ratio that is rewarded."""
    ent_coef: float = Field(default=0.003, ge=0.0, le=1e6, json_schema_extra=search(low=1e-4, high=0.03, log=True))
    """Weight of the entropy bonus."""
    log_std: float = Field(default=-0.5, ge=-20.0, le=10.0)
    """Logarithm of the standard deviation that continuous actions begin with, on the scale of [-1, 1]."""
    network: Torso = "mlp"
    """What looks at the bars: mlp, cnn, lstm or gru. All but mlp want env.n_rows of 32 or so: it is their memory."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of a cnn, lstm or gru."""
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(64, 64), min_length=1, max_length=16)
    """Units of the hidden layers of actor and critic, tanh."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic in training of what looks at the bars, on a GPU of all. bfloat16 pays from a few thousand bars
    on, on hardware that has it."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads of the network's arithmetic in training on a CPU. Another number gives other last bits."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network is trained. It acts on the CPU."""


QUICK = {"total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "hidden": (16,)}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Ppo(Memoryless):
    """A policy behind the market's interface."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config = config
        self.seed = spec.seed
        self.interface = spec.interface
        self.window = spec.interface.window
        self._net: Net | None = None

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch."""
        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("agent ppo: device cuda was asked for, but torch sees none; take device cpu.")
        envs = task.envs(self.config.n_envs, indexed=True)
        with _threads():
            self._net = self._new()
            PpoTraining(self.config, self._net, envs, self.seed, log)()
        self._net.cpu().eval()

    def decide(self, view: View) -> Orders:
        """Act greedily."""
        return self.interface.orders(self.act(self.interface.observe(view)[None])[0], view)

    def act(self, observations: Single) -> NDArray[Any]:
        """(B, n) observations to B greedy actions.

        Raises
        ------
        RuntimeError
            Before training.
        """
        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        with torch.inference_mode():
            out, _ = self._net.see(torch.from_numpy(observations))
            return _legal(self._net.chance.best(out), self.interface.action_space)

    def policy(self) -> Callable[[Single], NDArray[Any]]:
        """`act`: it has no memory beyond the window."""
        return self.act

    def state(self) -> State:
        """Weights of actor and critic as they are at that moment; nothing before training."""
        return {} if self._net is None else {k: v.numpy(force=True).copy() for k, v in self._net.state_dict().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over.

        Raises
        ------
        ValueError
            If they are not those of this network.
        """
        with torch.device("meta"):  # a network that other weights belong to takes no memory
            shapes = {name: tuple(value.shape) for name, value in self._new().state_dict().items()}
        for name in sorted(shapes.keys() | state.keys()):
            if name not in shapes or name not in state or shapes[name] != state[name].shape:
                raise ValueError(f"{name} is not of this network, or has another shape")
        net = self._new()
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        self._net = net.eval()

    def _new(self) -> Net:
        """A network with the weights that the seed begins with."""
        config, interface = self.config, self.interface
        n_rows, width = interface.market_shape
        n_account = math.prod(interface.observation_space.shape or ()) - n_rows * width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            shape = InputShape(n_rows, width, n_account)
            return Net(shape, interface.action_space, config.network, config.units, config.hidden, config.log_std)


@contextmanager
def _threads() -> Iterator[None]:
    """One thread for each product: those of the configuration take a part of every minibatch each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _legal(actions: Tensor, space: Any) -> NDArray[Any]:
    """Sampled or best actions as the environments take them."""
    rows = actions.cpu().numpy()
    if isinstance(space, spaces.Discrete):
        return rows[:, 0]
    if isinstance(space, spaces.Box):
        rows = np.clip(rows.reshape(-1, *space.shape), space.low, space.high)
    return rows


def _lanes(config: Config, net: Net, dtype: torch.dtype) -> list[NetworkBackend]:
    """The network on each thread of its own; on a GPU there is one."""
    loss = Loss(config.clip_range, config.ent_coef)
    if config.device == "cuda":
        return [Graph(net, loss, dtype)]
    first = Dense(net, loss)
    return [first, *(Dense(copy.deepcopy(net), loss, first) for _ in range(config.threads - 1))]


class PpoTraining:
    """One training under way.

    Parameters
    ----------
    config
        Hyper-parameters.
    net
        Trained in place.
    envs
        A batch in SAME_STEP mode, `qframe_rl.agent.Indexed` or with plain rows of numbers.
    seed
        Of actions and minibatches.
    log
        Told of each update.
    """

    def __init__(self, config: Config, net: Net, envs: Any, seed: int, log: Log):
        self.config, self.envs, self.log = config, envs, log
        self.device = torch.device(config.device)
        self.net = net.to(self.device).train()
        self.dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.lanes = _lanes(config, self.net, self.dtype)
        self.lane = self.lanes[0]
        self.pool: ThreadPoolExecutor | None = None
        self.bars = (
            None
            if net.encoder is None
            else EncodedBars(net.encoder.shape, net.encoder.recurrent, envs.features, self.device)
        )
        self.spread = RunningDeviation()
        n, b, space = config.n_steps, config.n_envs, envs.single_action_space
        box = isinstance(space, spaces.Box)
        self.cursor = np.zeros((n + 1, b), dtype=np.int64)
        self.account = torch.zeros(n + 1, b, net.shape.n_account, device=self.device)
        self.actions = torch.zeros(n, b, math.prod(space.shape), dtype=torch.float32 if box else torch.int64)
        self.actions = self.actions.to(self.device)
        self.out = torch.zeros(n, b, net.chance.n_outputs, device=self.device)
        self.values = torch.zeros(n + 1, b, device=self.device)
        self.rewards, self.over = np.zeros((n, b)), np.zeros((n, b), dtype=np.bool_)
        self.discounted, self.total = np.zeros(b), np.zeros(b)
        self.ended: deque[float] = deque(maxlen=100)

    def __call__(self) -> None:
        """Train to the end."""
        config = self.config
        per_update = config.n_envs * config.n_steps
        n_updates = -(-config.total_steps // per_update)
        self._look(0, self.envs.reset()[0])
        with ThreadPoolExecutor(len(self.lanes)) as self.pool:
            for update in range(n_updates):
                last = self.collect()
                advantages, returns = self.judge(last)
                rate = config.learning_rate * (1.0 - 0.9 * update / n_updates)
                done = min((update + 1) * per_update, config.total_steps)
                self._tell(self.improve(advantages, returns, rate), returns, done)
                self.cursor[0] = self.cursor[-1]
                self.account[0] = self.account[-1]

    @torch.no_grad()
    def collect(self) -> Float:
        """Act for n_steps bars; return (n_steps, B) values of the true last states of episodes that were cut off."""
        cut: list[tuple[int, Int, Any]] = []
        if self.bars is not None:
            self.bars.refresh(self.rewards.size, self._encode, self._each)
        noise = self.net.chance.noise(self.out.shape, self.generator)
        for t in range(self.config.n_steps):
            self._see(self.cursor[t], self.account[t], self.out[t], self.values[t])
            self.actions[t] = action = self.net.chance.sample(self.out[t], noise[t])
            seen, self.rewards[t], terminated, truncated, infos = self.envs.step(
                _legal(action, self.envs.single_action_space)
            )
            self.over[t] = terminated | truncated
            if truncated.any():
                cut.append((t, np.flatnonzero(truncated), infos["final_obs"]))
            self._look(t + 1, seen)
        self._see(self.cursor[-1], self.account[-1], torch.empty_like(self.out[-1]), self.values[-1])
        return self._last_values(cut)

    def judge(self, last: Float) -> tuple[Tensor, Tensor]:
        """(n_steps x B,) advantages and returns, in units of the running spread of the discounted return."""
        config = self.config
        discounted = np.empty_like(self.rewards)
        discount(self.rewards, self.over, config.gamma, self.discounted, discounted)
        self.spread.add(discounted)
        values = self.values.cpu().numpy().astype(np.float64)
        advantages = np.empty_like(self.rewards)
        estimate(self.rewards / self.spread.value, self.over, values, last, config.gamma, config.gae_lambda, advantages)
        both = np.stack([advantages.ravel(), (advantages + values[:-1]).ravel()]).astype(np.float32)
        both[0] = (both[0] - both[0].mean()) / (both[0].std() + 1e-8)
        on_device = torch.from_numpy(both).to(self.device)
        return on_device[0], on_device[1]

    def improve(self, advantages: Tensor, returns: Tensor, rate: float) -> Tensor:
        """Run n_epochs passes over the samples; return means of the losses, entropy, KL and share of clipped ratios."""
        actions = self.actions.flatten(0, 1)
        log_p = self.net.chance.judge(self.out.flatten(0, 1), actions)[0].detach()
        facts = (advantages, returns, log_p)
        samples = torch.cat([self.account[:-1].flatten(0, 1), actions, torch.stack(facts, dim=1)], dim=1)
        told = []
        for _ in range(self.config.n_epochs):
            order, batch_of = self._shuffle()
            for pick in torch.split(order, self.config.batch_size):

                def learn(lane: NetworkBackend, part: Tensor, n: int = len(pick), batch_of: Any = batch_of) -> Tensor:
                    batch = batch_of(part)
                    encodings = None if batch.units is None else self._encode(batch.units, lane)
                    return lane.learn(encodings, batch, samples, n)

                parts = pick.chunk(len(self.lanes))
                told.append(sum(self._each(learn, self.lanes, parts)))
                self.lane.step(self.lanes[1 : len(parts)], rate)
        return torch.stack(told).mean(dim=0)

    def _look(self, t: int, seen: Any) -> None:
        """Remember what the environments show at step ``t``."""
        if self.bars is not None:
            self.cursor[t], seen = seen["cursor"], seen["account"]
        self.account[t] = torch.from_numpy(seen)

    def _see(self, cursor: Int, *rows: Tensor) -> None:
        """From what accounts see to the actor's outputs and (B,) values, while collecting."""
        cursors, n = torch.from_numpy(cursor).to(self.device), len(self.lanes)
        if n == 1:
            self._see_part(self.lane, cursors, *rows)
        else:
            self._each(self._see_part, self.lanes, *(x.chunk(n) for x in (cursors, *rows)))

    @torch.no_grad()
    def _see_part(self, lane: NetworkBackend, cursor: Tensor, account: Tensor, outs: Tensor, values: Tensor) -> None:
        encodings, spot = (None, None) if self.bars is None else self.bars.at(cursor, self._encode)
        lane.see(encodings, spot, account, outs, values)

    def _encode(self, units: Tensor, lane: NetworkBackend | None = None) -> Tensor:
        """Encodings of units of bars."""
        enabled = self.dtype is not torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled, cache_enabled=False):
            return cast(EncodedBars, self.bars).encode(units, cast(Encoder, (lane or self.lane).net.encoder))

    def _each(self, do: Callable[..., Any], *rows: Sequence[Any]) -> list[Any]:
        """Call ``do`` with the first of each, the second of each, ..., on as many threads as there are lanes."""
        if self.pool is None or min(len(self.lanes), *map(len, rows)) == 1:
            return list(map(do, *rows))
        return list(self.pool.map(do, *rows))

    def _last_values(self, cut: list[tuple[int, Int, Any]]) -> Float:
        values = np.zeros(self.rewards.shape)
        for t, b, seen in cut:
            cursor = seen["cursor"][b].astype(np.int64) if self.bars is not None else b
            account = torch.from_numpy((seen["account"] if self.bars is not None else seen)[b]).to(self.device)
            n, found = len(b), torch.empty(len(b), device=self.device)
            self._see(cursor, account, torch.empty(n, self.net.chance.n_outputs, device=self.device), found)
            values[t, b] = found.cpu().numpy()
        return values

    def _shuffle(self) -> tuple[Tensor, Callable[[Tensor], Minibatch]]:
        """All samples in a random order, and what makes a batch of a piece of it."""
        if self.bars is not None:
            return self.bars.shuffle(self.cursor[:-1].ravel(), self.generator)
        return torch.randperm(self.rewards.size, generator=self.generator, device=self.device), Minibatch

    def _tell(self, means: Tensor, returns: Tensor, done: int) -> None:
        names = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")
        for name, value in zip(names, means.tolist(), strict=True):
            self.log.scalar(f"train/{name}", value, done)
        residual = (returns - self.values[:-1].ravel()).var() / returns.var().clamp_min(1e-12)
        self.log.scalar("train/explained_variance", 1.0 - float(residual), done)
        episodes(self.rewards, self.over, self.total, self.ended)
        note = ""
        if self.ended:
            self.log.scalar("train/episode_return", float(np.mean(self.ended)), done)
            note = f"return of an episode {np.mean(self.ended):.2f}"
        self.log.progress(done, self.config.total_steps, note)


def make(config: Config, spec: MarketSpec) -> Ppo:
    """Make the agent."""
    return Ppo(config, spec)
