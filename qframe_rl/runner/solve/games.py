"""Learners of all roles of a market whose equilibrium is known, trained against one another and held against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, cast

from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl import catalog
from qframe_rl.agent import Log, MarketSpec, State
from qframe_rl.arena.game import make_game
from qframe_rl.arena.seats import BatchPolicy, VectorSeatEnv, seats_of
from qframe_rl.arena.selfplay import check_forgets
from qframe_rl.arena.solved import GameSolution
from qframe_rl.config import Base, Ref, UserError, build
from qframe_rl.gym.problem import Act, Numbers
from qframe_rl.policy.apart import one_thread
from qframe_rl.policy.training import PpoTraining

_APART = 1 << 20
"""Between the seeds of two roles."""


class _Learner(Protocol):
    """What can be trained an update at a time."""

    def training(self, envs: Any, total_steps: int, n_steps: int, log: Log, start: State | None = None) -> PpoTraining:
        """A training that somebody else takes on; the learner acts by what it has come to."""

    def policy(self) -> BatchPolicy:
        """What it does now, without chance."""

    def state(self) -> State:
        """Weights as they are now."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take weights over."""


class GameLearners(NamedTuple):
    """A learner of each role that somebody has."""

    roles: Mapping[str, _Learner]

    def policies(self) -> dict[str, Act]:
        """By role, without chance."""
        return {role: one.policy() for role, one in self.roles.items()}

    def state(self) -> State:
        """Weights of all."""
        return {f"{role}/{name}": v for role, one in self.roles.items() for name, v in one.state().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take weights of all over."""
        for role, one in self.roles.items():
            head = f"{role}/"
            one.restore({name.removeprefix(head): v for name, v in state.items() if name.startswith(head)})


def solution_of(env: Ref) -> GameSolution:
    """The equilibrium of a market of many agents.

    Raises
    ------
    UserError
        If there is no such market, or its file knows none.
    """
    make_game(env.name, 1, env.params)
    module = catalog.load("envs", env.name)
    if not hasattr(module, "solution"):
        raise UserError(f"{env.name!r} has no known equilibrium: its file has no solution(config).")
    found: GameSolution = module.solution(build(module.Config, env.params, f"env {env.name}"))
    return found


def learners_of(env: Ref, name: str, config: Base, seed: int) -> GameLearners:
    """New learners.

    Parameters
    ----------
    env
        The market.
    name, config
        Of the agent that learns in each role.
    seed
        Root of all randomness.

    Raises
    ------
    UserError
        If the agent cannot be trained an update at a time, or remembers episodes.
    """
    check_forgets(name, config)
    game, module = make_game(env.name, 1, env.params), catalog.load("agents", name)
    found: dict[str, _Learner] = {}
    for k, role in enumerate(game.role_names):
        if (game.roles == k).any():
            numbers = Numbers(game.observation_space, game.action_space(int(seats_of(game, role)[0])))
            spec = MarketSpec((), (), 0, 1.0, True, 0.0, numbers, (seed + k * _APART) % (1 << 31))
            one = module.make(config, spec)
            if not hasattr(one, "training"):
                raise UserError(f"agent {name!r} cannot be trained among others; ppo can.")
            found[role] = cast(_Learner, one)
    return GameLearners(found)


def train_game(env: Ref, learners: GameLearners, config: Any, seed: int, log: Log) -> None:
    """Train all roles in turn, an update each, until every one had its steps.

    Who has the same role learns with it in the same markets. Others act as they are now and without chance, so that
    what one explores does not shift what is best for another.

    Parameters
    ----------
    env
        The market.
    learners
        Trained in place.
    config
        The agent's; ``total_steps`` are decisions of each role.
    seed
        Of the markets.
    log
        Told of each update.
    """
    sizes, trainings = config.plan(0).sizes, {}
    for role, one in learners.roles.items():
        others = {name: _now(theirs) for name, theirs in learners.roles.items() if name != role}
        game = make_game(env.name, sizes.n_envs, env.params)
        envs = VectorSeatEnv(game, role, others, None, AutoresetMode.SAME_STEP)
        part = _Part(log, role, len(learners.roles))
        trainings[role] = envs, one.training(envs, config.total_steps, sizes.n_steps, part)
    for k, (envs, _) in enumerate(trainings.values()):
        envs.reset(seed=seed + k * _APART)
    with one_thread():
        while any(training.update < training.n_updates for _, training in trainings.values()):
            for _, training in trainings.values():
                training([lambda _: False])


def _now(learner: _Learner) -> BatchPolicy:
    """A learner as it is whenever it is asked."""
    return lambda seen: learner.policy()(seen)


class _Part:
    """The log of one role, as a part of that of all."""

    def __init__(self, log: Log, role: str, n: int):
        self.log, self.role, self.n = log, role, n

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve of this role."""
        self.log.scalar(f"{self.role}/{name}", value, step)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """How far all are: they take turns."""
        self.log.progress(done * self.n, total * self.n, note)
