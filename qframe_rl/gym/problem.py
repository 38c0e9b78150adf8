"""Problems: environments without bars, whose optimal policy is known.

A problem is a few compiled functions over arrays of B episodes; the mechanism around them (seeds, episodes, autoreset,
snapshots, the doors of Gymnasium) is here and the same for all. What an episode lives through depends on its seed, its
number and its actions, not on how many episodes run beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.agent import MarketSpec, View
from qframe_rl.config import Base
from qframe_rl.gym.chance import draw
from qframe_rl.gym.engine import check_snapshot, seeds_of
from qframe_rl.gym.render import steps_picture
from qframe_rl.gym.single import Bounded, SingleEnv
from qframe_rl.gym.vector import Seed, check_options, mask_of
from qframe_rl.interface.schemes import outside
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

    def one_episode(self, act: Act, steps: int, seed: int) -> tuple[Float, NDArray[Any]]:
        """Walk one episode for its picture.

        Parameters
        ----------
        act
            The policy; it must give one discrete action.
        steps
            How many, at most those of an episode.
        seed
            Of the episode: the same one for every policy.

        Returns
        -------
        tuple[Float, NDArray[Any]]
            (steps, n_state) the state before each step, and (steps,) the action taken in it.
        """
        episodes, everyone = self.episodes(1), np.ones(1, dtype=np.bool_)
        episodes.seed_with(seed)
        episodes.reset(everyone)
        states, actions = np.empty((steps, self.n_state)), np.empty(steps, dtype=np.int64)
        for t in range(steps):
            states[t] = episodes.state[0]
            action = np.asarray(act(episodes.observe()))
            actions[t] = int(action.ravel()[0])
            episodes.step(action, everyone)
        return states, actions

    def env(self, render_mode: str | None = None) -> ProblemEnv:
        """One environment."""
        return ProblemEnv(self, render_mode)

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
    idle: tuple[int, ...] = ()

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

    def seed_with(self, seed: int | Sequence[int], mask: Bool | None = None) -> None:
        """Give episode b the seed ``seed + b``, or each its own of (B,), and count anew; the masked ones alone."""
        which = np.ones(self.n_envs, dtype=np.bool_) if mask is None else mask
        self.seed[which], self.episode[which] = seeds_of(seed, self.n_envs)[which], 0

    def reset(self, mask: Bool) -> None:
        """Begin a new episode where the mask (B,) is set."""
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
            For actions of another shape than the space's, or one outside it that counts; nothing has moved then.
        """
        chosen = self._checked(actions, active)
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
        """Return to a snapshot; raises ValueError for one of another batch."""
        check_snapshot({name: getattr(self, name) for name in self._STATE}, state)
        for name in self._STATE:
            getattr(self, name)[...] = state[name]

    def _checked(self, actions: NDArray[Any], active: Bool) -> Float:
        """(B, K) actions as the problem takes them."""
        space = self.problem.action_space
        shape = (self.n_envs, *(space.shape or ()))
        if np.shape(actions) != shape:
            raise ValueError(f"actions have shape {np.shape(actions)}, but {space} of {self.n_envs} wants {shape}")
        chosen = np.ascontiguousarray(actions, dtype=np.float64).reshape(self.n_envs, -1)
        if isinstance(space, spaces.Box):
            inside = np.abs(chosen) <= 1.0
        else:
            inside = (chosen >= 0.0) & (chosen < int(space.n)) & (chosen == np.rint(chosen))
        wrong = np.flatnonzero(active & ~inside.all(axis=1))
        if len(wrong):
            raise ValueError(outside(actions, int(wrong[0]), space))
        return chosen


class VectorProblemEnv(Bounded, VectorEnv[Single, NDArray[Any], NDArray[Any]]):
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
        self.max_episode_steps = problem.episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space = problem.observation_space
        self.single_action_space = problem.action_space
        self.observation_space = batch_space(problem.observation_space, n_envs)
        self.action_space = batch_space(problem.action_space, n_envs)
        self._over = np.ones(n_envs, dtype=np.bool_)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[Single, dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            Episode b gets ``seed + b``; or (B,) one for each; None = go on with those of before.
        options
            ``reset_mask``, (B,) bool: in which environments.

        Raises
        ------
        UserError
            For another option.
        """
        check_options(options or {}, ("reset_mask",))
        mask = mask_of(options or {}, self.num_envs)
        if seed is None and self._np_random is None:
            super().reset()
            self.episodes.seed_with(int(self.np_random.integers(1 << 63)), mask)
        elif seed is not None:
            super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else int(seed[0]))
            self.episodes.seed_with(seed, mask)
        self.episodes.reset(mask)
        self._over = self._over & ~mask
        return self.episodes.observe(), {}

    def step(self, actions: NDArray[Any]) -> tuple[Single, Float, Bool, Bool, dict[str, Any]]:
        """Take every environment a step on."""
        waiting = self._over
        if self.autoreset_mode == AutoresetMode.DISABLED and waiting.any():
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        rewards, terminated, truncated = self.episodes.step(actions, ~waiting)
        if waiting.any():
            self.episodes.reset(waiting)
        over = terminated | truncated
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and over.any():
            infos = {"final_obs": self.episodes.observe(), "_final_obs": over, "final_info": {}, "_final_info": over}
            self.episodes.reset(over)
            over = np.zeros_like(over)
        self._over = over
        return self.episodes.observe(), rewards, terminated, truncated, infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment."""
        return self.episodes.snapshot() | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits; raises ValueError for another batch's."""
        check_snapshot({"over": self._over}, state)
        self.episodes.restore(state)
        self._over = state["over"].copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""


class ProblemEnv(SingleEnv):
    """A batch of one: the same functions, the same bits as `VectorProblemEnv`.

    Its picture has what was seen, done and paid, step by step.

    Parameters
    ----------
    problem
        What happens in an episode.
    render_mode
        As in `SingleEnv`.
    """

    def __init__(self, problem: Problem, render_mode: str | None = None):
        super().__init__(VectorProblemEnv(problem, 1, AutoresetMode.DISABLED), render_mode)
        self.problem = problem
        self._steps: list[tuple[Single, Float, float]] = []

    def _begun(self) -> None:
        self._steps.clear()

    def _lived(self, seen: Any, action: Any, paid: float) -> None:
        self._steps.append((seen, np.array(action, dtype=np.float64).ravel(), paid))

    def _picture(self, *, show: bool) -> NDArray[np.uint8]:
        return steps_picture(self._steps, show=show)
