"""Problems: environments without bars, whose optimal policy is known.

A problem is a few compiled functions over arrays of B episodes; the mechanism around them (seeds, episodes, autoreset,
snapshots, the doors of Gymnasium) is here and the same for all. What an episode lives through depends on its seed, its
number and its actions, not on how many episodes run beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.agent import MarketSpec, View
from qframe_rl.config import Base
from qframe_rl.gym.chance import draw
from qframe_rl.types import Bool, Float, Orders, Single

Act = Callable[[Single], NDArray[Any]]
"""(B, n) observations of B episodes to their B actions. One with memory is called once a step from the first on."""
Begin = Callable[[Bool, Float, Float, Float], None]
"""``begin(active (B,), draws (B, D), params, state (B, S))`` starts the active episodes."""
Move = Callable[[Bool, Float, Float, Float, Float, Float, Bool], None]
"""``move(active, actions (B, K), draws, params, state, rewards (B,), ended (B,))`` takes the active ones a step on."""
Show = Callable[[Float, Float, Single], None]
"""``show(params, state, out (B, n))`` writes all observations."""
Score = Literal["total", "average", "discounted"]


class ProblemConfig(Base):
    """What every problem has. A file in ``envs/`` with a ``Config`` of this kind is a problem, not a market of bars."""

    reward_mode: Literal["expected", "sampled"] = "expected"
    """What a step pays: the expectation of its reward given state and action, or a draw of it. Optimal policy and value
    are the same; the expectation spares a learner the noise."""


class Theory(NamedTuple):
    """The optimum."""

    value: float
    """What the optimal policy is worth, in the unit of the problem's score: where episodes are cut off, without the cut
    and long after the start."""
    episode: float
    """Expected score of an episode under the same policy, from its start to its end or cut: what a simulation must
    find. Equal to ``value`` where an episode ends by itself."""
    policy: Callable[[], Act]
    """The optimal policy for episodes that begin together; what it remembers belongs to the one that was returned."""


class Curve(NamedTuple):
    """A part of a policy's portrait: what it does along a line through its observations."""

    panel: str
    """Title of the panel that it is drawn in."""
    label: str
    """What tells it from the other curves of the panel; may be empty."""
    x_label: str
    y_label: str
    x: Float
    y: Float
    given: bool = False
    """Whether it shows the circumstances, which are the same for every policy, and not what the policy does."""


@dataclass(frozen=True)
class Problem:
    """An environment whose optimum is known."""

    name: str
    """Its name in the catalogue."""
    observation_space: spaces.Box
    action_space: spaces.Box | spaces.Discrete[Any]
    """A Box is [-1, 1] in each direction; the problem says what that means."""
    params: Float
    """(P,) numbers that the functions below are handed."""
    n_state: int
    """S: numbers that an episode's state consists of."""
    n_draws: int
    """D: uniform random numbers that a step, or a beginning, may use."""
    begin: Begin
    move: Move
    show: Show
    episode_steps: int | None
    """An episode is cut off (truncated) after so many steps; None = it lasts until it ends by itself (terminated)."""
    score: Score
    """What an episode is worth: the sum of its rewards, their mean, or their sum discounted by ``discount``."""
    discount: float
    theory: Callable[[], Theory]
    """Solve it."""
    portrait: Callable[[Act], tuple[Curve, ...]]
    """Draw a policy so that it can be compared with the optimal one."""
    masks: Callable[[Single], Bool] | None = None
    """(B, n) observations to (B, actions) which of a discrete space are allowed; None = all."""

    def episodes(self, n_envs: int) -> Episodes:
        """A batch of episodes."""
        return Episodes(self, n_envs)

    def env(self) -> ProblemEnv:
        """One environment."""
        return ProblemEnv(self)

    def vec(self, n_envs: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> VectorProblemEnv:
        """A batch of environments."""
        return VectorProblemEnv(self, n_envs, mode)

    def spec(self, seed: int) -> MarketSpec:
        """What a strategy may know: spaces and a seed. There are no instruments and no bars."""
        numbers = Numbers(self.observation_space, self.action_space, self.masks)
        return MarketSpec((), (), 0, leverage=1.0, shorting=True, cost_rate=0.0, interface=numbers, seed=seed)


@dataclass
class Numbers:
    """The `Interface` of a problem: its observations and actions are numbers already."""

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    masks: Callable[[Single], Bool] | None = None
    market_shape: tuple[int, int] = (0, 0)
    window: int = 0

    def observe(self, view: View) -> Single:
        """Refuse: a problem has no views."""
        raise RuntimeError("a problem has no bars to look at; call the agent's act(observations)")

    def orders(self, action: Any, view: View) -> Orders:
        """Refuse: a problem has no orders."""
        raise RuntimeError("a problem has no instruments to trade; call the agent's act(observations)")


class Episodes:
    """B episodes of a problem, each with a seed of its own.

    Parameters
    ----------
    problem
        What happens in them.
    n_envs
        B.
    """

    _STATE = ("state", "seed", "episode", "clock")

    def __init__(self, problem: Problem, n_envs: int):
        self.problem, self.n_envs = problem, n_envs
        self.state = np.zeros((n_envs, problem.n_state))
        self.seed = np.zeros(n_envs, dtype=np.uint64)
        self.episode = np.zeros(n_envs, dtype=np.uint64)
        self.clock = np.zeros(n_envs, dtype=np.int64)
        self._draws = np.zeros((n_envs, problem.n_draws))

    def seed_with(self, seed: int) -> None:
        """Give episode b the seed ``seed + b`` and begin to count anew."""
        self.seed[:] = np.uint64(seed % (1 << 64)) + np.arange(self.n_envs, dtype=np.uint64)
        self.episode[:] = 0

    def reset(self, mask: Bool) -> None:
        """Begin a new episode where the mask is set."""
        self.episode[mask] += np.uint64(1)
        self.clock[mask] = 0
        draw(mask, self.seed, self.episode, self.clock, self._draws)
        self.problem.begin(mask, self._draws, self.problem.params, self.state)

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool, Bool]:
        """Take the active episodes a step on.

        Returns
        -------
        tuple[Float, Bool, Bool]
            (B,) rewards, terminated and truncated; 0 and False for the inactive.

        Raises
        ------
        ValueError
            For an action that is not finite, or not in a discrete space.
        """
        chosen = self._checked(actions)
        np.add(self.clock, 1, out=self.clock, where=active)
        draw(active, self.seed, self.episode, self.clock, self._draws)
        rewards, ended = np.zeros(self.n_envs), np.zeros(self.n_envs, dtype=np.bool_)
        self.problem.move(active, chosen, self._draws, self.problem.params, self.state, rewards, ended)
        limit = self.problem.episode_steps
        cut = active & ~ended & (self.clock >= limit) if limit is not None else np.zeros_like(ended)
        return rewards, ended, cut

    def observe(self) -> Single:
        """(B, n) observations in a fresh array."""
        out = np.empty((self.n_envs, *self.problem.observation_space.shape), dtype=np.float32)
        self.problem.show(self.problem.params, self.state, out)
        return out

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every episode."""
        return {name: getattr(self, name).copy() for name in self._STATE}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot."""
        for name in self._STATE:
            getattr(self, name)[...] = state[name]

    def _checked(self, actions: NDArray[Any]) -> Float:
        """(B, K) actions as the problem takes them; a Box is clipped to its bounds."""
        chosen = np.asarray(actions, dtype=np.float64).reshape(self.n_envs, -1)
        if not np.isfinite(chosen).all():
            raise ValueError("an action is not a finite number")
        space = self.problem.action_space
        if isinstance(space, spaces.Box):
            return np.clip(chosen, -1.0, 1.0)
        n = int(space.n)
        if ((chosen < 0) | (chosen >= n) | (chosen != np.rint(chosen))).any():
            raise ValueError(f"an action is none of 0 to {n - 1}")
        return chosen


class VectorProblemEnv(VectorEnv[Single, NDArray[Any], NDArray[Any]]):
    """B episodes in one batch, without Python per environment.

    Environment b of a batch seeded with s lives through what a single one seeded with s + b does, in every autoreset
    mode of Gymnasium, as in `qframe_rl.gym.vector.VectorTradingEnv`. Observation arrays are never written again.

    Parameters
    ----------
    problem
        What happens in an episode.
    n_envs
        B.
    autoreset_mode
        What happens when an episode ends.
    """

    def __init__(self, problem: Problem, n_envs: int, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP):
        self.problem = problem
        self.episodes = problem.episodes(n_envs)
        self.num_envs = n_envs
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = problem.observation_space
        self.single_action_space = problem.action_space
        self.observation_space = batch_space(problem.observation_space, n_envs)
        self.action_space = batch_space(problem.action_space, n_envs)
        self._over = np.ones(n_envs, dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Single, dict[str, Any]]:
        """Begin new episodes, in all environments or in those of ``options["reset_mask"]`` (B,)."""
        super().reset(seed=seed)
        if seed is not None:
            self.episodes.seed_with(seed)
        elif self._np_random is None:
            self.episodes.seed_with(int(self.np_random.integers(1 << 63)))
        mask = np.ones(self.num_envs, dtype=np.bool_)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"], dtype=np.bool_)
        self.episodes.reset(mask)
        self._over = self._over & ~mask
        return self.episodes.observe(), {}

    def step(self, actions: NDArray[Any]) -> tuple[Single, Float, Bool, Bool, dict[str, Any]]:
        """Take every environment a step on."""
        waiting = self._over
        if self.mode == AutoresetMode.DISABLED and waiting.any():
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        rewards, terminated, truncated = self.episodes.step(actions, ~waiting)
        if waiting.any():
            self.episodes.reset(waiting)
        over = terminated | truncated
        infos: dict[str, Any] = {}
        if self.mode == AutoresetMode.SAME_STEP and over.any():
            infos = {"final_obs": self.episodes.observe(), "_final_obs": over}
            self.episodes.reset(over)
            over = np.zeros_like(over)
        self._over = over
        return self.episodes.observe(), rewards, terminated, truncated, infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment."""
        return self.episodes.snapshot() | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits."""
        self.episodes.restore(state)
        self._over = state["over"].copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""


class ProblemEnv(gymnasium.Env[Single, Any]):
    """A batch of one: the same functions, the same bits as `VectorProblemEnv`."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, problem: Problem):
        self.problem = problem
        self._batch = VectorProblemEnv(problem, 1, AutoresetMode.DISABLED)
        self.observation_space = problem.observation_space
        self.action_space = problem.action_space
        self.render_mode = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Single, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        if seed is None and self._batch._np_random is None:
            seed = int(self.np_random.integers(1 << 62))
        rows, _ = self._batch.reset(seed=seed)
        return rows[0], {}

    def step(self, action: Any) -> tuple[Single, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step."""
        rows, rewards, terminated, truncated, _ = self._batch.step(np.asarray(action)[None])
        return rows[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state."""
        return self._batch.snapshot()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot."""
        self._batch.restore(state)
