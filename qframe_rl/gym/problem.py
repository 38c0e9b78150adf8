"""Problems: environments without bars, whose optimal policy is known.

A problem is a few compiled functions over arrays of B episodes; the mechanism around them (seeds, episodes, autoreset,
snapshots, the doors of Gymnasium) is here and the same for all. What an episode lives through depends on its seed, its
number and its actions, not on how many episodes run beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl.agent import MarketSpec, View
from qframe_rl.config import Base
from qframe_rl.gym.batch import BatchEnv, Moved
from qframe_rl.gym.chance import draw
from qframe_rl.gym.lanes import Lanes
from qframe_rl.gym.render import steps_picture
from qframe_rl.gym.single import SingleEnv
from qframe_rl.interface.schemes import numbers_of, outside
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


class Episodes(Lanes):
    """B episodes of a problem, each with a seed of its own.

    Parameters
    ----------
    problem
        What happens in them.
    n_envs
        B.
    """

    def __init__(self, problem: Problem, n_envs: int):
        self.problem, self.n_envs = problem, n_envs
        self.state = np.zeros((n_envs, problem.n_state))
        self.seed = np.zeros(n_envs, dtype=np.uint64)
        self.episode = np.zeros(n_envs, dtype=np.uint64)
        self.clock = np.zeros(n_envs, dtype=np.int64)
        self._draws = np.zeros((n_envs, problem.n_draws))

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

    def _kept(self) -> dict[str, NDArray[Any]]:
        return {"state": self.state, "seed": self.seed, "episode": self.episode, "clock": self.clock}

    def _market(self) -> tuple[object, ...]:
        p = self.problem
        return (
            p.name, p.params, p.n_state, p.n_draws, p.begin, p.move, p.show, p.episode_steps, p.observation_space,
            p.action_space,
        )  # fmt: skip

    def _checked(self, actions: NDArray[Any], active: Bool) -> Float:
        """(B, K) actions as the problem takes them."""
        space = self.problem.action_space
        shape = (self.n_envs, *(space.shape or ()))
        chosen = numbers_of(actions, shape, f"{space} of {self.n_envs} wants").reshape(self.n_envs, -1)
        if isinstance(space, spaces.Box):
            inside = np.abs(chosen) <= 1.0
        else:
            inside = (chosen >= 0.0) & (chosen < int(space.n)) & (chosen == np.rint(chosen))
        wrong = np.flatnonzero(active & ~inside.all(axis=1))
        if len(wrong):
            raise ValueError(outside(actions, int(wrong[0]), space))
        return chosen


class VectorProblemEnv(BatchEnv):
    """B episodes of a problem; seeds and autoreset as in `qframe_rl.gym.batch.BatchEnv`.

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
        self.problem, self.episodes = problem, problem.episodes(n_envs)
        seen, done, steps = problem.observation_space, problem.action_space, problem.episode_steps
        super().__init__(self.episodes, n_envs, seen, done, steps, autoreset_mode)

    def _moved(self, actions: NDArray[Any], active: Bool | None) -> Moved:
        everyone = np.ones(self.num_envs, np.bool_) if active is None else active
        rewards, terminated, truncated = self.episodes.step(actions, everyone)
        over = terminated | truncated
        return rewards, terminated, truncated, over, bool(over.any())

    def _observe(self, mask: Bool | None = None) -> Single:
        return self.episodes.observe()


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
