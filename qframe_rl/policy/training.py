"""A training by proximal policy optimisation: `collect`, `judge`, `improve`, again and again."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from qframe_rl.config import UserError
from qframe_rl.policy.backend import Graph, NetworkBackend
from qframe_rl.policy.bars import EncodedBars, Minibatch
from qframe_rl.policy.dense import Dense
from qframe_rl.policy.episode import EpisodeMemory
from qframe_rl.policy.loss import Loss
from qframe_rl.policy.net import Encoder, EpisodeEncoder, Net
from qframe_rl.policy.plan import Arrays, TrainingLog, TrainingPlan
from qframe_rl.policy.returns import RunningDeviation, discount, episodes, estimate
from qframe_rl.policy.shared import SharedNet
from qframe_rl.types import Bool, Float, Int, Single

Masks = Callable[[Single], Bool]
"""(B, n) observations to (B, options) which actions of a discrete space are allowed."""
Watcher = Callable[["PpoTraining"], bool]
"""Told of each update; False = the training ends with it."""
Cut = tuple[int, Int, Any, Tensor | None]
"""Step at which episodes were cut off, of which environments, what all saw last, and what those remembered."""
_KL = 3
"""Which part of the loss is the divergence, see `Loss`."""
_NET, _ENVS, _ADAM = "net/", "envs/", "adam/"


def lanes(plan: TrainingPlan, net: Net) -> list[NetworkBackend]:
    """The network on each thread of its own; there is one on a GPU, and of a network that instruments share."""
    loss = Loss(plan.clip_range, plan.ent_coef.start)
    if plan.device == "cuda" or isinstance(net, SharedNet):
        return [Graph(net, loss, plan.dtype)]
    first = Dense(net, loss)
    return [first, *(Dense(copy.deepcopy(net), loss, first) for _ in range(plan.threads - 1))]


def legal(actions: Tensor, space: Any) -> NDArray[Any]:
    """Sampled or best actions as the environments take them."""
    rows = actions.cpu().numpy()
    if isinstance(space, spaces.Discrete):
        return rows[:, 0]
    if isinstance(space, spaces.Box):
        rows = np.clip(rows.reshape(-1, *space.shape), space.low, space.high)
    return rows


class PpoTraining:
    """One training under way.

    Parameters
    ----------
    plan
        How much, in which pieces, how fast.
    net
        Trained in place.
    envs
        A batch in SAME_STEP mode, `qframe_rl.agent.Indexed` or with plain rows of numbers.
    seed
        Of actions and minibatches.
    log
        Told of each update.
    masks
        Which actions are allowed; None = all.
    """

    def __init__(
        self, plan: TrainingPlan, net: Net, envs: Any, seed: int, log: TrainingLog, masks: Masks | None = None
    ):
        self.plan, self.envs, self.log, self.masks = plan, envs, log, masks
        self.device = torch.device(plan.device)
        self.net = net.to(self.device).train()
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.lanes = lanes(plan, self.net)
        self.lane = self.lanes[0]
        self.pool: ThreadPoolExecutor | None = None
        self.update = 0
        self.curves: dict[str, float] = {}
        self.features = envs.features if net.shape.n_rows else None
        self.bars, self.memory = self._sight()
        self.spread = RunningDeviation()
        (b, n, *_), space = plan.sizes, envs.single_action_space
        kind = torch.float32 if isinstance(space, spaces.Box) else torch.int64
        self.cursor = np.zeros((n + 1, b), dtype=np.int64)
        self.account = torch.zeros(n + 1, b, net.shape.n_account, device=self.device)
        self.actions = torch.zeros(n, b, math.prod(space.shape), dtype=kind, device=self.device)
        self.out = torch.zeros(n, b, net.chance.n_outputs, device=self.device)
        self.barred = None if masks is None else torch.zeros(self.out.shape, dtype=torch.bool, device=self.device)
        self.values = torch.zeros(n + 1, b, device=self.device)
        self.rewards, self.over = np.zeros((n, b)), np.zeros((n, b), dtype=np.bool_)
        self.discounted, self.total = np.zeros(b), np.zeros(b)
        self.ended: deque[float] = deque(maxlen=100)
        self._cut: list[Cut] = []
        self._noise, self._after = torch.empty(0), cast(Tensor | None, None)

    def __call__(self, watchers: Sequence[Watcher] = ()) -> None:
        """Train to the end, or until a watcher has seen enough."""
        if not self.update:
            self.look(0, self.envs.reset()[0])
        with ThreadPoolExecutor(len(self.lanes)) as self.pool:
            while self.update < self.n_updates:
                self.learn(self.collect())
                told = [watcher(self) for watcher in watchers]
                if not all(told):
                    break

    @property
    def n_updates(self) -> int:
        """Updates of the whole training."""
        return -(-self.plan.total_steps // self.rewards.size)

    @property
    def done(self) -> int:
        """Environment steps so far."""
        return min(self.update * self.rewards.size, self.plan.total_steps)

    def collect(self) -> Float:
        """Act for n_steps; return (n_steps, B) values of the true last states of episodes that were cut off."""
        self.begin()
        for t in range(len(self.rewards)):
            self.take(t, self.envs.step(self.choose(t)))
        return self.end()

    @torch.no_grad()
    def begin(self) -> None:
        """Begin to collect. Whoever steps the environments himself calls this, each `choose` and `take`, and `end`."""
        self._cut.clear()
        if self.bars is not None:
            self.bars.refresh(self.rewards.size, self._encode, self._each)
        self._noise = self.net.chance.noise(self.out.shape, self.generator)

    @torch.no_grad()
    def choose(self, t: int) -> NDArray[Any]:
        """(B, ...) actions at step ``t`` of what was looked at."""
        self._after = self._see(self.cursor[t], self.account[t], self.out[t], self.values[t], t)
        self._bar(t)
        self.actions[t] = action = self.net.chance.sample(self.out[t], self._noise[t])
        return legal(action, self.envs.single_action_space)

    def take(self, t: int, lived: tuple[Any, Float, Bool, Bool, dict[str, Any]]) -> None:
        """Take what step ``t`` came to, as a batch in SAME_STEP mode returns it."""
        seen, self.rewards[t], terminated, truncated, infos = lived
        self.over[t] = terminated | truncated
        after = self._after
        if truncated.any():
            who = np.flatnonzero(truncated)
            self._cut.append((t, who, infos["final_obs"], None if after is None else after[who]))
        if self.memory is not None:
            self.memory.go_on(cast(Tensor, after), self.over[t])
        self.look(t + 1, seen)

    @torch.no_grad()
    def end(self) -> Float:
        """Value what comes after the last step; return as `collect`."""
        self._see(self.cursor[-1], self.account[-1], torch.empty_like(self.out[-1]), self.values[-1])
        return self._last_values(self._cut)

    def learn(self, last: Float) -> None:
        """Make an update of what was collected, with the values that `collect` returned, and tell of it."""
        advantages, returns = self.judge(last)
        means = self.improve(advantages, returns)
        self.cursor[0], self.account[0] = self.cursor[-1], self.account[-1]
        self.update += 1
        self._tell(means, returns)

    def judge(self, last: Float) -> tuple[Tensor, Tensor]:
        """(n_steps x B,) advantages and returns, in units of what rewards are scaled by."""
        plan = self.plan
        discounted = np.empty_like(self.rewards)
        discount(self.rewards, self.over, plan.gamma, self.discounted, discounted)
        self.spread.add(discounted)
        rewards = self.rewards / self.spread.value if plan.reward_scale is None else self.rewards * plan.reward_scale
        values = self.values.cpu().numpy().astype(np.float64)
        advantages = np.empty_like(self.rewards)
        estimate(rewards, self.over, values, last, plan.gamma, plan.gae_lambda, advantages)
        both = np.stack([advantages.ravel(), (advantages + values[:-1]).ravel()]).astype(np.float32)
        both[0] = (both[0] - both[0].mean()) / (both[0].std() + 1e-8)
        on_device = torch.from_numpy(both).to(self.device)
        return on_device[0], on_device[1]

    def improve(self, advantages: Tensor, returns: Tensor) -> Tensor:
        """Run n_epochs passes over the samples; return means of the losses, entropy, KL and share of clipped ratios."""
        share = self.update / self.n_updates
        rate, coefficient = self.plan.learning_rate.at(share), self.plan.ent_coef.at(share)
        for lane in self.lanes:
            lane.loss = lane.loss._replace(ent_coef=coefficient)
        samples, barred = self._samples(advantages, returns), None if self.barred is None else self.barred.flatten(0, 1)
        told = []
        for _ in range(self.plan.sizes.n_epochs):
            order, batch_of = self._shuffle()
            for pick in torch.split(order, self.plan.sizes.batch_size):

                def learn(lane: NetworkBackend, part: Tensor, n: int = len(pick), batch_of: Any = batch_of) -> Tensor:
                    batch = batch_of(part)
                    encodings = None if batch.units is None else self._encode(batch.units, lane)
                    return lane.learn(encodings, batch, samples, n, barred)

                parts = pick.chunk(len(self.lanes))
                told.append(sum(self._each(learn, self.lanes, parts)))
                self.lane.step(self.lanes[1 : len(parts)], rate)
            if self.plan.target_kl is not None and float(told[-1][_KL]) > self.plan.target_kl:
                break
        return torch.stack(told).mean(dim=0)

    def state(self) -> Arrays:
        """Everything that decides how the training goes on from here, between two updates."""
        moments = {f"{_ADAM}{k}": part.cpu().numpy() for k, part in enumerate(self.lane.moments())}
        spread = np.array([self.spread.count, self.spread.mean, self.spread.square])
        kept = {
            "update": np.array([self.update]),
            "generator": self.generator.get_state().numpy().copy(),
            "cursor": self.cursor[0].copy(),
            "account": self.account[0].cpu().numpy().copy(),
            "discounted": self.discounted.copy(),
            "total": self.total.copy(),
            "ended": np.array(self.ended),
            "spread": spread,
        }
        if self.memory is not None:
            kept["memory"] = self.memory.now.cpu().numpy().copy()
        return (
            kept
            | moments
            | {_ENVS + name: np.atleast_1d(value) for name, value in self.envs.snapshot().items()}
            | {_NET + name: value.numpy(force=True).copy() for name, value in self.net.state_dict().items()}
        )

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `state` was taken, to the bits of a training that was never interrupted."""

        def below(prefix: str) -> dict[str, NDArray[Any]]:
            return {k.removeprefix(prefix): np.array(v) for k, v in state.items() if k.startswith(prefix)}

        self.net.load_state_dict({name: torch.from_numpy(value) for name, value in below(_NET).items()})
        self.lane.take_over([torch.from_numpy(value) for _, value in sorted(below(_ADAM).items())])
        self.envs.restore(below(_ENVS))
        self.generator.set_state(torch.from_numpy(np.array(state["generator"])))
        self.update, self.cursor[0] = int(state["update"][0]), state["cursor"]
        self.account[0] = torch.from_numpy(np.array(state["account"]))
        self.discounted[:], self.total[:] = state["discounted"], state["total"]
        self.ended.extend(state["ended"].tolist())
        count, self.spread.mean, self.spread.square = state["spread"].tolist()
        self.spread.count = int(count)
        if self.memory is not None:
            self.memory.now = torch.from_numpy(np.array(state["memory"])).to(self.device)

    def _sight(self) -> tuple[EncodedBars | None, EpisodeMemory | None]:
        """What the encoder looks at, if there is one: bars that samples share, or whole episodes."""
        encoder, (n_envs, n_steps, *_), shape = self.net.encoder, self.plan.sizes, self.net.shape
        if self.features is not None and self.envs.growing:
            if isinstance(encoder, Encoder) and encoder.recurrent:
                raise UserError("paths bootstrap: memory window reads all bars at once; take memory episode.")
            if self.device.type != "cpu":
                raise UserError("paths bootstrap: bars are made as they are needed, on a CPU; take device cpu.")
        if isinstance(encoder, EpisodeEncoder):
            length = self.plan.memory_steps
            return None, EpisodeMemory(
                self.features, max(shape.n_rows, 1), n_steps, n_envs, length, encoder, self.device
            )
        if encoder is None:
            return None, None
        return EncodedBars(shape, encoder.recurrent, self.envs.features, self.device), None

    def look(self, t: int, seen: Any) -> None:
        """Remember what the environments show at step ``t``."""
        if self.features is not None:
            self.cursor[t], seen = seen["cursor"], seen["account"]
        self.account[t] = torch.from_numpy(seen)

    def _bar(self, t: int) -> None:
        """Take what is forbidden at step ``t`` out of the actor's outputs."""
        if self.masks is None or self.barred is None:
            return
        seen = self.account[t].cpu().numpy()
        if self.features is not None:
            rows = self.features[self.cursor[t][:, None] + np.arange(1 - self.net.shape.n_rows, 1)]
            seen = np.concatenate([rows.reshape(len(rows), -1), seen], axis=1)
        allowed = torch.from_numpy(self.masks(seen).reshape(len(seen), -1))
        self.barred[t] = ~allowed.to(self.device)
        self.out[t].masked_fill_(self.barred[t], -torch.inf)

    def _see(
        self, cursor: Int, account: Tensor, outs: Tensor, values: Tensor, t: int | None = None,
        before: Tensor | None = None,
    ) -> Tensor | None:  # fmt: skip
        """From what accounts see to the actor's outputs and (B,) values, while collecting; return what is remembered.

        Parameters
        ----------
        cursor, account
            (B,) and (B, n_account) what is seen.
        outs, values
            (B, n_outputs) and (B,), written.
        t
            Step of the rollout, if it is one.
        before
            (B, n_memory) what was remembered; None = by the accounts of the rollout, now.
        """
        cursors, n = torch.from_numpy(cursor).to(self.device), len(self.lanes)
        if self.memory is not None:
            if t is not None:
                self.memory.mark(t)
            remembered = self.memory.now if before is None else before
            encodings, after = self.memory.see(cursors, account, remembered, cast(EpisodeEncoder, self.net.encoder))
            self.lane.see(encodings, None, account, outs, values)
            return after
        rows = (cursors, account, outs, values)
        if n == 1:
            self._see_part(self.lane, *rows)
        else:
            self._each(self._see_part, self.lanes, *(x.chunk(n) for x in rows))
        return None

    @torch.no_grad()
    def _see_part(self, lane: NetworkBackend, cursor: Tensor, account: Tensor, outs: Tensor, values: Tensor) -> None:
        encodings, spot = (None, None) if self.bars is None else self.bars.at(cursor, self._encode)
        lane.see(encodings, spot, account, outs, values)

    def _encode(self, units: Tensor, lane: NetworkBackend | None = None) -> Tensor:
        """Encodings of units of bars, or of pieces of episodes."""
        dtype, encoder = self.plan.dtype, (lane or self.lane).net.encoder
        with torch.autocast(self.device.type, dtype, dtype is not torch.float32, cache_enabled=False):
            if self.memory is not None:
                return self.memory.encode(units, cast(EpisodeEncoder, encoder))
            return cast(EncodedBars, self.bars).encode(units, cast(Encoder, encoder))

    def _each(self, do: Callable[..., Any], *rows: Sequence[Any]) -> list[Any]:
        """Call ``do`` with the first of each, the second of each, ..., on as many threads as there are lanes."""
        if self.pool is None or min(len(self.lanes), *map(len, rows)) == 1:
            return list(map(do, *rows))
        return list(self.pool.map(do, *rows))

    def _last_values(self, cut: list[Cut]) -> Float:
        values, bars = np.zeros(self.rewards.shape), self.features is not None
        for t, b, seen, before in cut:
            cursor = seen["cursor"][b].astype(np.int64) if bars else b
            account = torch.from_numpy((seen["account"] if bars else seen)[b]).to(self.device)
            n, found = len(b), torch.empty(len(b), device=self.device)
            outs = torch.empty(n, self.net.chance.n_outputs, device=self.device)
            self._see(cursor, account, outs, found, before=before)
            values[t, b] = found.cpu().numpy()
        return values

    def _samples(self, advantages: Tensor, returns: Tensor) -> Tensor:
        """(n_steps x B, any): account, actions, advantage, return and log-probability, a row each."""
        actions = self.actions.flatten(0, 1)
        log_p = self.net.chance.judge(self.out.flatten(0, 1), actions)[0].detach()
        facts = torch.stack((advantages, returns, log_p), dim=1)
        return torch.cat([self.account[:-1].flatten(0, 1), actions, facts], dim=1)

    def _shuffle(self) -> tuple[Tensor, Callable[[Tensor], Minibatch]]:
        """All samples in a random order, and what makes a batch of a piece of it."""
        if self.memory is not None:
            return self.memory.shuffle(self.cursor[:-1], self.account[:-1], self.over, self.generator)
        if self.bars is not None:
            return self.bars.shuffle(self.cursor[:-1].ravel(), self.generator)
        return torch.randperm(self.rewards.size, generator=self.generator, device=self.device), Minibatch

    def _tell(self, means: Tensor, returns: Tensor) -> None:
        names = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")
        self.curves = dict(zip(names, means.tolist(), strict=True))
        residual = (returns - self.values[:-1].ravel()).var() / returns.var().clamp_min(1e-12)
        self.curves["explained_variance"] = 1.0 - float(residual)
        episodes(self.rewards, self.over, self.total, self.ended)
        note = ""
        if self.ended:
            self.curves["episode_return"] = float(np.mean(self.ended))
            note = f"return of an episode {np.mean(self.ended):.2f}"
        for name, value in self.curves.items():
            self.log.scalar(f"train/{name}", value, self.done)
        self.log.progress(self.done, self.plan.total_steps, note)
