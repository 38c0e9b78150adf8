"""An env runner of RLlib that steps a native batch: one call a step for all environments, one object an episode.

RLlib's own runner handles each environment of a batch by itself, in Python, at every step.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import ray
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from qframe_rl.rllib.act import within
from qframe_rl.types import Bool, Single

_KEPT = (Columns.ACTIONS, Columns.ACTION_DIST_INPUTS, Columns.ACTION_LOGP)


class NativeRunner(SingleAgentEnvRunner):
    """Steps the batch that a task makes.

    ``config.env_config`` has ``task``, a function without arguments that returns a `qframe_rl.agent.Task`, ``n_envs``,
    the environments of all runners together, and ``scale``, what rewards are multiplied by for the learner. Environment
    b of runner k (from 1) is seeded with the task's seed + (k - 1) x its environments + b: a batch that is divided
    among runners lives through what it does in one.
    """

    env: Any
    module: Any

    def make_env(self) -> None:
        """Make the batch, and begin its episodes."""
        given = self.config.env_config
        task, self.num_envs = given["task"](), self.config.num_envs_per_env_runner
        self.scale = given["scale"]
        self.env = task.envs(self.num_envs)
        earlier = (max(self.worker_index or 0, 1) - 1) * self.num_envs
        self._seen = np.array(self.env.reset(seed=task.spec.seed + earlier)[0])
        self._born = 0
        self._names = [self._name() for _ in range(self.num_envs)]
        self._ages = [0] * self.num_envs

    def _sample(  # type: ignore[override]
        self, *, num_timesteps: int, explore: bool, **_: Any
    ) -> list[SingleAgentEpisode]:
        """Take ``num_timesteps`` steps in all environments together; return what each lived through, cut at ends."""
        n_steps = -(-num_timesteps // self.num_envs)
        kept: dict[str, list[NDArray[Any]]] = {}
        seen, rewards, ends, last = [self._seen], [], [], {}
        for t in range(n_steps):
            made = self._act(self._seen, t * self.num_envs, explore)
            for name in _KEPT:
                if name in made:
                    kept.setdefault(name, []).append(made[name].numpy())
            observed, reward, terminated, truncated, infos = self.env.step(self._legal(kept[Columns.ACTIONS][-1]))
            rewards.append((self.scale * reward).astype(np.float32))
            ends.append((np.array(terminated), np.array(truncated)))
            for b in np.flatnonzero(terminated | truncated):
                last[t, int(b)] = np.array(infos["final_obs"][b])
            self._seen = np.array(observed)
            seen.append(self._seen)
        columns = {name: np.stack(rows) for name, rows in kept.items()} | {Columns.REWARDS: np.stack(rewards)}
        episodes = self._episodes(np.stack(seen), columns, np.array(ends), last)
        self._count(episodes, n_steps * self.num_envs)
        return episodes

    def _act(self, rows: Single, ahead: int, explore: bool) -> dict[str, Any]:
        """Actions as the module means them, and how they came about."""
        batch = {Columns.OBS: torch.from_numpy(rows)}
        with torch.inference_mode():
            if explore:
                runners = self.config.num_env_runners or 1
                step = (self.num_env_steps_sampled_lifetime // runners + ahead) * runners
                made: dict[str, Any] = self.module.forward_exploration(batch, t=step)
            else:
                made = self.module.forward_inference(batch)
            if Columns.ACTIONS not in made:
                inputs = made[Columns.ACTION_DIST_INPUTS]
                chance = self.module.get_exploration_action_dist_cls().from_logits(inputs)
                actions = (chance if explore else chance.to_deterministic()).sample()
                made = {Columns.ACTIONS: actions, Columns.ACTION_DIST_INPUTS: inputs}
                made[Columns.ACTION_LOGP] = chance.logp(actions)
        return made

    def _legal(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions as the environments take them: a module's range is [-1, 1]."""
        space = self.env.single_action_space
        return within(actions, space) if isinstance(space, spaces.Box) else actions

    def _episodes(
        self, seen: Single, columns: dict[str, NDArray[Any]], ends: Bool, last: dict[tuple[int, int], Single]
    ) -> list[SingleAgentEpisode]:
        """Cut (T + 1, B, n) observations and (T, B, ...) columns into episodes; ``ends`` is (T, 2, B)."""
        episodes, n_steps = [], len(ends)
        for b in range(self.num_envs):
            stops = [int(t) + 1 for t in np.flatnonzero(ends[:, :, b].any(axis=1))]
            for start, stop in pairwise(sorted({0, *stops, n_steps})):
                over = (stop - 1, b) in last
                final = last[stop - 1, b] if over else seen[stop, b]
                piece = {name: column[start:stop, b] for name, column in columns.items()}
                observations = np.concatenate([seen[start:stop, b], final[None]])
                terminated, truncated = ends[stop - 1, :, b]
                episodes.append(self._episode(b, observations, piece, bool(terminated), bool(truncated)))
        return episodes

    def _episode(
        self, b: int, observations: Single, piece: dict[str, NDArray[Any]], terminated: bool, truncated: bool
    ) -> SingleAgentEpisode:
        n_steps = len(observations) - 1
        space, actions = self.env.single_observation_space, self.env.single_action_space
        more = {name: InfiniteLookbackBuffer(piece[name]) for name in _KEPT[1:] if name in piece}
        more[WEIGHTS_SEQ_NO] = InfiniteLookbackBuffer(np.full(n_steps, self._weights_seq_no))
        episode = SingleAgentEpisode(
            id_=self._names[b],
            observations=InfiniteLookbackBuffer(observations, space=space),
            observation_space=space,
            infos=InfiniteLookbackBuffer([{} for _ in range(n_steps + 1)]),
            actions=InfiniteLookbackBuffer(piece[Columns.ACTIONS], space=actions),
            action_space=actions,
            rewards=InfiniteLookbackBuffer(piece[Columns.REWARDS]),
            terminated=terminated,
            truncated=truncated,
            extra_model_outputs=more,
            t_started=self._ages[b],
        )
        self._ages[b] += n_steps
        if episode.is_done:
            self._names[b], self._ages[b] = self._name(), 0
        return episode

    def _name(self) -> str:
        """A name that no other episode of the training has."""
        self._born += 1
        return f"{self.worker_index or 0}-{self._born}"

    def _count(self, episodes: list[SingleAgentEpisode], n_steps: int) -> None:
        for episode in episodes:
            if episode.is_done:
                self._done_episodes_for_metrics.append(episode)
            else:
                self._ongoing_episodes_for_metrics[episode.id_].append(episode)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=n_steps)
        self._increase_sampled_metrics(n_steps, sum(episode.is_done for episode in episodes))  # type: ignore[no-untyped-call]


def placed(task: Any) -> Any:
    """A function that returns ``task`` wherever it is called: it travels once to each machine, and is read there."""
    reference = ray.put(task)
    return lambda: ray.get(reference)
