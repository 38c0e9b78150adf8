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
from typing import Any, Literal, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from qframe_rl.agent import Brief, Log, Memoryless, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.policy import Bars, Batch, Encoder, Head, Net, Shape, Torso
from qframe_rl.policy.returns import Spread, discount, episodes, estimate
from qframe_rl.types import Float, Int, Orders, Single


class Config(Base):
    """Hyper-parameters; the defaults learn the default market and are mild on real data."""

    total_steps: int = Field(default=800_000, ge=1)
    """Environment steps to train for. A bar of history is seen total_steps / (bars of training) times."""
    n_envs: int = Field(default=64, ge=1)
    """Environments stepped as one batch."""
    n_steps: int = Field(default=128, ge=2)
    """Steps of each environment between two updates."""
    batch_size: int = Field(default=2048, ge=2)
    """Samples of a minibatch."""
    n_epochs: int = Field(default=4, ge=1)
    """Passes over the samples of an update."""
    learning_rate: float = Field(default=1e-3, gt=0.0, json_schema_extra=search(low=1e-4, high=3e-3, log=True))
    """Step size of Adam at the start; it falls linearly to a tenth."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0, json_schema_extra=search(low=0.8, high=0.999))
    """Discount per bar: 1 / (1 - gamma) bars are looked ahead."""
    gae_lambda: float = Field(default=0.9, ge=0.0, le=1.0)
    """Weight of longer returns in the advantage."""
    clip_range: float = Field(default=0.2, gt=0.0)
    """Largest change of an action's probability ratio that is rewarded."""
    ent_coef: float = Field(default=0.003, ge=0.0, json_schema_extra=search(low=1e-4, high=0.03, log=True))
    """Weight of the entropy bonus."""
    log_std: float = -0.5
    """Logarithm of the standard deviation that continuous actions begin with, on the scale of [-1, 1]."""
    network: Torso = "mlp"
    """What looks at the bars: mlp, cnn, lstm or gru. All but mlp want env.n_rows of 32 or so: it is their memory."""
    units: int = Field(default=64, ge=1)
    """Channels of a cnn, lstm or gru."""
    hidden: tuple[int, ...] = Field(default=(64, 64), min_length=1)
    """Units of the hidden layers of actor and critic, tanh."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's arithmetic in training. bfloat16 pays from minibatches of a few thousand samples on, on hardware
    that has it."""
    threads: int = Field(default=1, ge=1)
    """Threads of the network's arithmetic in training on a CPU. Another number gives other last bits."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network is trained. It acts on the CPU."""


QUICK = {"total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "hidden": (16,)}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Ppo(Memoryless):
    """A policy behind the market's interface."""

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.seed = brief.seed
        self.interface = brief.interface
        self.window = brief.interface.window
        self._net: Net | None = None

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch."""
        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("agent ppo: device cuda was asked for, but torch sees none; take device cpu.")
        envs = task.envs(self.config.n_envs, indexed=True)
        with _threads():
            self._net = self._new()
            Training(self.config, self._net, envs, self.seed, log)()
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
        net = self._new()
        shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        for name in sorted(shapes.keys() | state.keys()):
            if name not in shapes or name not in state or shapes[name] != state[name].shape:
                raise ValueError(f"{name} is not of this network, or has another shape")
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        self._net = net.eval()

    def _new(self) -> Net:
        """A network with the weights that the seed begins with."""
        config, interface = self.config, self.interface
        n_rows, width = interface.market_shape
        n_account = math.prod(interface.observation_space.shape or ()) - n_rows * width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            shape = Shape(n_rows, width, n_account)
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


_PART = 4096
"""Samples that go through the head at a time on a CPU: their activations stay in the second cache."""


class Training:
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
        self.head = Head(self.net, self.dtype)
        n_others = config.threads - 1 if config.device == "cpu" else 0
        self.heads = [self.head, *(Head(copy.deepcopy(self.net), self.dtype, self.head) for _ in range(n_others))]
        self.pool: ThreadPoolExecutor | None = None
        self.adam = torch.optim.Adam([self.head.flat], lr=config.learning_rate, eps=1e-5, fused=True)
        self.bars = (
            None if net.encoder is None else Bars(net.encoder.shape, net.encoder.recurrent, envs.features, self.device)
        )
        self.spread = Spread()
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
        with ThreadPoolExecutor(len(self.heads)) as self.pool:
            for update in range(n_updates):
                last = self.collect()
                advantages, returns = self.judge(last)
                for group in self.adam.param_groups:
                    group["lr"] = config.learning_rate * (1.0 - 0.9 * update / n_updates)
                done = min((update + 1) * per_update, config.total_steps)
                self._tell(self.improve(advantages, returns), returns, done)
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
            self.out[t], self.values[t] = self._see(self.cursor[t], self.account[t])
            self.actions[t] = action = self.net.chance.sample(self.out[t], noise[t])
            seen, self.rewards[t], terminated, truncated, infos = self.envs.step(
                _legal(action, self.envs.single_action_space)
            )
            self.over[t] = terminated | truncated
            if truncated.any():
                cut.append((t, np.flatnonzero(truncated), infos["final_obs"]))
            self._look(t + 1, seen)
        self.values[-1] = self._see(self.cursor[-1], self.account[-1])[1]
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

    def improve(self, advantages: Tensor, returns: Tensor) -> Tensor:
        """Run n_epochs passes over the samples; return means of the losses, entropy, KL and share of clipped ratios."""
        actions = self.actions.flatten(0, 1)
        log_p = self.net.chance.judge(self.out.flatten(0, 1), actions)[0].detach()
        facts = (advantages, returns, log_p)
        samples = torch.cat([self.account[:-1].flatten(0, 1), actions, torch.stack(facts, dim=1)], dim=1)
        told = []
        for parts in (parts for _ in range(self.config.n_epochs) for parts in self._minibatches()):
            n = sum(len(part.pick) for part in parts)
            of_parts = self._each(lambda head, part, n=n: self._slopes(head, part, samples, n), self.heads, parts)
            told.append(sum(of_parts))
            gradient = self.head.gather(self.heads[1 : len(parts)])
            size = torch.linalg.vector_norm(gradient)
            gradient.mul_((0.5 / (size + 1e-6)).clamp_(max=1.0))
            self.adam.step()
            self.head.refresh()
        return torch.stack(told).mean(dim=0)

    def _slopes(self, head: Head, batch: Batch, samples: Tensor, n: int) -> Tensor:
        """Write the gradient of the loss of a part of a minibatch of ``n`` samples; return the parts of the loss."""
        head.grad.zero_()
        encodings = None if batch.units is None else self._encode(batch.units, head)
        slope = torch.empty(len(batch.pick), self.net.account.out_features, dtype=self.dtype, device=self.device)
        told = torch.zeros(5, device=self.device)
        n_account, at_once = self.net.shape.n_account, _PART if self.device.type == "cpu" else n
        for first in range(0, len(slope), at_once):
            span = slice(first, first + at_once)
            rows = samples.index_select(0, batch.pick[span])
            shared = None if encodings is None else batch.share(encodings.detach(), span)
            out, value, kept = head.forward(shared, rows[:, :n_account])
            of_out, of_value, seen = self._loss(head, out, value, rows[:, n_account:], n)
            head.backward(kept, of_out, of_value, slope[span])
            told += seen
        if encodings is not None:
            torch.autograd.backward(encodings, batch.gather(slope).mul_(head.encoding_weight))
        return told

    def _loss(self, head: Head, out: Tensor, value: Tensor, facts: Tensor, n: int) -> tuple[Tensor, ...]:
        """Slopes of the loss, of which these samples are a part of ``n``, along outputs and values; and its parts."""
        config = self.config
        gain, target, old = facts[:, -3:].t().contiguous()
        actions = facts[:, :-3].to(self.actions.dtype)
        new, entropy, back = head.net.chance.weigh(out, actions)
        change = new - old
        ratio = change.exp()
        clipped = ratio.clamp(1.0 - config.clip_range, 1.0 + config.clip_range)
        free, bound, away = gain * ratio, gain * clipped, value - target
        of_log_p = torch.where(free <= bound, free, 0.0).mul_(-1.0 / n)
        parts = [-torch.minimum(free, bound), away.square(), entropy, ratio - 1.0 - change, (ratio != clipped).float()]
        return back(of_log_p, -config.ent_coef / n), away.mul_(1.0 / n), torch.stack(parts).sum(1).mul_(1.0 / n)

    def _look(self, t: int, seen: Any) -> None:
        """Remember what the environments show at step ``t``."""
        if self.bars is not None:
            self.cursor[t], seen = seen["cursor"], seen["account"]
        self.account[t] = torch.from_numpy(seen)

    def _see(self, cursor: Int, account: Tensor) -> tuple[Tensor, Tensor]:
        """The actor's outputs and (B,) values, while collecting."""
        n, cursors = len(self.heads), torch.from_numpy(cursor).to(self.device)
        parts = self._each(self._see_part, cursors.chunk(n), account.chunk(n))
        outs, values = zip(*parts, strict=True)
        return torch.cat(outs), torch.cat(values)

    @torch.no_grad()
    def _see_part(self, cursor: Tensor, account: Tensor) -> tuple[Tensor, Tensor]:
        encoding = None if self.bars is None else self.bars.at(cursor, self._encode)
        return self.head.forward(encoding, account)[:2]

    def _encode(self, units: Tensor, head: Head | None = None) -> Tensor:
        """Encodings of units of bars."""
        enabled = self.dtype is not torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled, cache_enabled=False):
            return cast(Bars, self.bars).encode(units, cast(Encoder, (head or self.head).net.encoder))

    def _each(self, do: Callable[..., Any], *rows: Sequence[Any]) -> list[Any]:
        """Call ``do`` with the first of each, the second of each, ..., on as many threads as there are heads."""
        if self.pool is None or min(len(self.heads), *map(len, rows)) == 1:
            return list(map(do, *rows))
        return list(self.pool.map(do, *rows))

    def _last_values(self, cut: list[tuple[int, Int, Any]]) -> Float:
        values = np.zeros(self.rewards.shape)
        for t, b, seen in cut:
            cursor = seen["cursor"][b].astype(np.int64) if self.bars is not None else b
            account = torch.from_numpy((seen["account"] if self.bars is not None else seen)[b]).to(self.device)
            values[t, b] = self._see(cursor, account)[1].cpu().numpy()
        return values

    def _minibatches(self) -> Iterator[list[Batch]]:
        """Minibatches in parts, one for each thread."""
        size, n = self.config.batch_size, len(self.heads)
        if self.bars is not None:
            return self.bars.minibatches(self.cursor[:-1].ravel(), size, self.generator, n)
        picks = torch.randperm(self.rewards.size, generator=self.generator, device=self.device)
        return ([Batch(part) for part in pick.chunk(n)] for pick in torch.split(picks, size))

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


def make(config: Config, brief: Brief) -> Ppo:
    """Make the agent."""
    return Ppo(config, brief)
