"""Learners of several roles in the same markets, against one another as they are now and as they were before.

Each role has one learner, which acts for all agents of the role (parameters are shared; an agent sees its role and its
own row). Of what a learner collects, ``snapshots`` is lived through among earlier selves: in markets of its own one
agent of its role learns, and all other seats of roles that learn are taken by a snapshot of the league, drawn anew for
each episode. In the other markets all of them learn at once (Heinrich & Silver, 2016; Vinyals et al., 2019, mix current
and past opponents likewise). Where some answer others, what a role did is paid by all that comes until its next turn,
and whole episodes are collected between two updates. A role's rewards are divided by the running deviation of its own
discounted return, so that value targets of all roles are of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import Log, State
from qframe_rl.arena.game import ActionSpace, Game
from qframe_rl.arena.seats import BatchPolicy, put, seats_of, sitting
from qframe_rl.arena.turns import rollout
from qframe_rl.config import UserError
from qframe_rl.policy.apart import one_thread
from qframe_rl.policy.training import PpoTraining
from qframe_rl.types import Int, Single


class RoleLearner(Protocol):
    """A learner that can be trained step by step among others, such as ``ppo``."""

    def training(
        self, envs: Any, total_steps: int, n_steps: int, log: Log, start: State | None = None
    ) -> PpoTraining:  # fmt: skip
        """A training that somebody else takes on; the learner acts by what it has come to."""

    def policy(self) -> BatchPolicy:
        """What it does now, without chance."""

    def state(self) -> State:
        """Weights as they are now."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take weights over."""


def check_forgets(name: str, config: Any) -> None:
    """Refuse a learner that remembers from one step to the next, since policies in seats are told of no episode's end.

    Parameters
    ----------
    name, config
        Of the learner.

    Raises
    ------
    UserError
        If its ``memory`` is that of an episode.
    """
    if getattr(config, "memory", None) == "episode":
        raise UserError(
            f"agent.{name}.memory: in seats nobody is told where an episode ends, so a memory of episodes would go on "
            "into the next one; leave it out."
        )


class SelfPlayPlan(NamedTuple):
    """How much, and against whom."""

    markets: int
    """Markets in which all roles learn at once."""
    n_steps: int
    """Steps of each market between two updates; where some answer others, in whole episodes that are as long."""
    n_updates: int
    """Of each role."""
    snapshots: float
    """Share of a role's samples that are lived through among snapshots."""
    league: int
    """Snapshots that are taken in a training, at equal intervals, beside that of its beginning."""
    seed: int
    """Of markets and of the league's draws."""


class RoleLanes:
    """What the training of a role knows of the markets that somebody else steps.

    Parameters
    ----------
    markets, agents
        (L,) where each lane is.
    space
        Of its actions.
    """

    features, growing = None, False

    def __init__(self, markets: Int, agents: Int, space: ActionSpace):
        self.markets, self.agents, self.single_action_space = markets, agents, space
        self.num_envs = len(markets)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Nothing: the markets are kept once for all roles."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Nothing to take over."""


class _Past(NamedTuple):
    """Seats of a role that snapshots take."""

    markets: Int
    agents: Int


Watch = Callable[["SelfPlay"], bool]
"""Told of each update; False = the training ends with it."""


class SelfPlay:
    """One training of several roles under way.

    Parameters
    ----------
    make
        Makes so many markets.
    learner
        Makes a new learner of a role.
    roles
        That learn.
    rules
        Policies of all other roles.
    plan
        How much, and against whom.
    logs
        By role, told of each update.

    Raises
    ------
    UserError
        If a role is nobody's, or its agents do not act all at once.
    """

    def __init__(
        self, make: Callable[[int], Game], learner: Callable[[str], RoleLearner], roles: Sequence[str],
        rules: Mapping[str, BatchPolicy], plan: SelfPlayPlan, logs: Mapping[str, Log],
    ):  # fmt: skip
        self.plan, self.roles, self._new = plan, tuple(roles), learner
        one = make(1)
        seats = {role: seats_of(one, role) for role in self.roles}
        self.n_steps, self.turns = rollout(one, seats, plan.n_steps)
        own = _own_markets(plan.markets, plan.snapshots, plan.league, seats)
        self.game = game = make(plan.markets + sum(own.values()))
        self.lanes, self._past = _laid_out(game, plan.markets, own, seats)
        ruled = [(seats_of(game, name), act) for name, act in rules.items()]
        self._rules = [(agents, sitting(act, game, agents)) for agents, act in ruled]
        self.learners = {role: learner(role) for role in self.roles}
        total = {role: lanes.num_envs * self.turns[role] * plan.n_updates for role, lanes in self.lanes.items()}
        self.trainings = {
            role: self.learners[role].training(self.lanes[role], total[role], self.turns[role], logs[role])
            for role in self.roles
        }
        self._turn = dict.fromkeys(self.roles, 0)
        self._pending: set[str] = set()
        self._owed = {role: np.zeros(lanes.num_envs) for role, lanes in self.lanes.items()}
        self.league: list[dict[str, State]] = []
        self._league_acts: list[dict[str, BatchPolicy]] = []
        self.update = 0
        self._drawn, self._episodes = np.zeros(game.n_markets, np.int64), np.zeros(game.n_markets, np.int64)
        self._actions = np.zeros((game.n_markets, *game.mask.shape))

    @staticmethod
    def n_markets(one: Game, markets: int, snapshots: float, league: int, roles: Sequence[str]) -> int:
        """Markets of a training, those in which snapshots sit included.

        Parameters
        ----------
        one
            A market.
        markets, snapshots, league
            As of `SelfPlayPlan`.
        roles
            That learn.
        """
        seats = {role: seats_of(one, role) for role in roles}
        return markets + sum(_own_markets(markets, snapshots, league, seats).values())

    @property
    def steps(self) -> int:
        """Market steps so far."""
        return self.update * self.n_steps * self.game.n_markets

    def __call__(self, watchers: Sequence[Watch] = ()) -> None:
        """Train to the end, or until a watcher has seen enough."""
        with one_thread():
            if not self.league:
                self._join({role: learner.state() for role, learner in self.learners.items()})
                self.game.seed_with(self.plan.seed)
                everyone = np.ones(self.game.n_markets, np.bool_)
                self.game.reset(everyone)
                self._draw(everyone)
            while self.update < self.plan.n_updates:
                self._improve()
                told = [watcher(self) for watcher in watchers]
                if not all(told):
                    break

    def state(self) -> State:
        """Everything that decides how the training goes on from here, between two updates."""
        kept = {f"game/{name}": np.atleast_1d(value) for name, value in self.game.snapshot().items()}
        for role, training in self.trainings.items():
            kept |= {f"role/{role}/{name}": value for name, value in training.state().items()}
        for k, entry in enumerate(self.league):
            kept |= {f"league/{k}/{role}/{name}": v for role, own in entry.items() for name, v in own.items()}
        return kept | {
            "update": np.array([self.update]), "drawn": self._drawn.copy(), "episodes": self._episodes.copy(),
            "n_league": np.array([len(self.league)]),
        }  # fmt: skip

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `state` was taken, to the bits of a training that was never interrupted."""
        self.game.restore(_below(state, "game/"))
        for role, training in self.trainings.items():
            training.restore(_below(state, f"role/{role}/"))
        self.league, self._league_acts = [], []
        for k in range(int(state["n_league"][0])):
            self._join({role: _below(state, f"league/{k}/{role}/") for role in self.roles})
        self.update, self._drawn[:], self._episodes[:] = int(state["update"][0]), state["drawn"], state["episodes"]

    def _improve(self) -> None:
        """Collect, and make an update of each role."""
        self._begin()
        for _ in range(self.n_steps):
            self._step()
        for training in self.trainings.values():
            training.learn(training.end())
        self.update += 1
        due, of = self.update * self.plan.league, self.plan.n_updates
        if due // of > (due - self.plan.league) // of:
            self._join({role: learner.state() for role, learner in self.learners.items()})

    def _begin(self) -> None:
        """Begin to collect."""
        for role, training in self.trainings.items():
            training.begin()
            self._turn[role] = 0

    def _step(self) -> None:
        """Take all markets a step on."""
        seen, turn = self.game.observe(), self._acting()
        for role in turn:
            lanes, t = self.lanes[role], self._turn[role]
            self.trainings[role].look(t, self._rows(seen, role))
            _write(self._actions, lanes.markets, lanes.agents, self.trainings[role].choose(t))
            self._turn[role], self._owed[role][:] = t + 1, 0.0
        self._pending.update(turn)
        self._act_others(seen)
        rewards, over = self.game.step(self._actions, np.ones(self.game.n_markets, np.bool_))
        last = seen = self.game.observe()
        if over.any():
            self.game.reset(over)
            self._draw(over)
            seen = self.game.observe()
        again = self._acting()
        for role, lanes in self.lanes.items():
            self._owed[role] += rewards[lanes.markets, lanes.agents]
            if role in self._pending and (role in again or over.any()):
                self._pending.remove(role)
                self._take(role, over[lanes.markets], seen, last)

    def _acting(self) -> list[str]:
        """Roles that are to act now; raises UserError if not in all markets."""
        acting = self.game.acting
        if (acting != acting[:1]).any():
            raise UserError("self-play: turns are to come at the same step in all markets; here they do not.")
        return [role for role, lanes in self.lanes.items() if acting[0, lanes.agents[0]]]

    def _act_others(self, seen: Single) -> None:
        """Let rules and snapshots act."""
        for seats, act in self._rules:
            rows = np.ascontiguousarray(seen[:, seats]).reshape(-1, seen.shape[-1])
            put(self._actions, slice(None), seats, act(rows))
        for role, past in self._past.items():
            for k in np.unique(self._drawn[past.markets]):
                who = self._drawn[past.markets] == k
                markets, agents = past.markets[who], past.agents[who]
                _write(self._actions, markets, agents, self._league_acts[k][role](seen[markets, agents]))

    def _take(self, role: str, ended: NDArray[np.bool_], seen: Single, last: Single) -> None:
        """Hand a role what its last turn came to."""
        never, infos = np.zeros_like(ended), {"final_obs": self._rows(last, role)}
        terminated, truncated = (ended, never) if self.game.terminates else (never, ended)
        lived = (self._rows(seen, role), self._owed[role], terminated, truncated, infos)
        self.trainings[role].take(self._turn[role] - 1, lived)

    def _rows(self, seen: Single, role: str) -> Single:
        lanes = self.lanes[role]
        rows: Single = seen[lanes.markets, lanes.agents]
        return rows

    def _draw(self, begun: NDArray[np.bool_]) -> None:
        """Draw the snapshot that sits in each market whose episode begins."""
        for m in np.flatnonzero(begun):
            draw = np.random.default_rng([self.plan.seed, int(m), int(self._episodes[m])])
            self._drawn[m] = draw.integers(len(self.league))
        self._episodes[begun] += 1

    def _join(self, entry: dict[str, State]) -> None:
        """Take a snapshot into the league."""
        acts = {}
        for role, own in entry.items():
            one = self._new(role)
            one.restore(own)
            acts[role] = one.policy()
        self.league.append(entry)
        self._league_acts.append(acts)


def _own_markets(markets: int, snapshots: float, league: int, seats: Mapping[str, Int]) -> dict[str, int]:
    """Markets of each role in which it meets snapshots: so many that they are its share of samples."""
    alone = sum(map(len, seats.values())) == 1
    share = 0.0 if alone or league < 1 else snapshots / (1.0 - snapshots)
    return {role: round(markets * len(agents) * share) for role, agents in seats.items()}


def _laid_out(
    game: Game, shared: int, own: Mapping[str, int], seats: Mapping[str, Int]
) -> tuple[dict[str, RoleLanes], dict[str, _Past]]:
    """Where each role learns, and where snapshots of it sit."""
    lanes, past, first = {}, {role: ([], []) for role in seats}, shared  # type: ignore[var-annotated]
    for role, agents in seats.items():
        alone = np.arange(first, first + own[role])
        learns = agents[np.arange(own[role]) % len(agents)]
        markets = np.concatenate([np.repeat(np.arange(shared), len(agents)), alone])
        lanes[role] = RoleLanes(
            markets, np.concatenate([np.tile(agents, shared), learns]), game.action_space(int(agents[0]))
        )
        for other, theirs in seats.items():
            for market, learner in zip(alone, learns, strict=True):
                for agent in theirs[theirs != learner]:
                    past[other][0].append(market)
                    past[other][1].append(agent)
        first += own[role]
    return lanes, {
        role: _Past(np.array(markets, np.int64), np.array(agents, np.int64)) for role, (markets, agents) in past.items()
    }


def _write(actions: NDArray[Any], markets: Int, agents: Int, given: NDArray[Any]) -> None:
    rows = np.asarray(given, np.float64).reshape(len(given), -1)
    actions[markets, agents, : rows.shape[1]] = rows


def _below(state: Mapping[str, NDArray[Any]], prefix: str) -> State:
    return {k.removeprefix(prefix): np.array(v) for k, v in state.items() if k.startswith(prefix)}
