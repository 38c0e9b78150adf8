"""From names to who sits in the seats of a market: learners, rules, and checkpoints of roles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast, get_type_hints

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import MarketSpec
from qframe_rl.arena.coin import CoinMarket
from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.game import Game, make_game
from qframe_rl.arena.rules import PLAIN, MakeQuoter, NoSeat, QuoterSeat, plain_rule
from qframe_rl.arena.seats import BatchPolicy, roles_of, seats_of
from qframe_rl.arena.selfplay import RoleLearner, check_forgets
from qframe_rl.arena.strategies import StrategySeat
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.gym.problem import Numbers
from qframe_rl.manifest import check_names
from qframe_rl.runner.arena.experiment import ROLES, ArenaExperiment, check_params
from qframe_rl.runner.arena.quoting import book_policy
from qframe_rl.runner.task import seed_for

_SEED = 1 << 20
"""Of strategies that draw."""


class Seated(NamedTuple):
    """Who sits in the seats of each role."""

    names: dict[str, str]
    """By role, all that somebody has."""
    learners: dict[str, Base]
    """Configurations of those who learn."""
    rules: dict[str, BatchPolicy]
    """All others."""


def seated(experiment: ArenaExperiment) -> Seated:
    """Find out who sits where.

    Parameters
    ----------
    experiment
        What was asked for.

    Raises
    ------
    UserError
        For a role that nobody has, or who cannot sit there.
    """
    game = game_of(experiment.env, 1)
    there = roles_of(game, np.arange(game.n_agents))
    for role in experiment.roles:
        if role not in there:
            raise UserError(f"roles: nobody in {experiment.env.name} is {role}{nearest(role, there)}")
    asked = {**ROLES, **experiment.roles}
    lacks = [role for role in there if role not in asked]
    if lacks:
        raise UserError(f"roles: who is {lacks[0]}? Say it, as in --roles {','.join(f'{r}=ppo' for r in there)}.")
    names = {role: asked[role] for role in there}
    learners, rules = {}, {}
    for role, name in names.items():
        params = experiment.params_of(role, name)
        if name in catalog.names("agents") and learns(name):
            learners[role] = _config(role, name, params)
        else:
            rules[role] = rule(game, role, name, params)
    check_params(experiment.agent, {*names, *names.values()})
    return Seated(names, learners, rules)


def market_root(seed: int) -> int:
    """Seed of the first market, in [0, 2³¹), so that neighbouring seeds do not share all markets but one.

    Parameters
    ----------
    seed
        Root of all randomness.
    """
    return seed_for(seed, "markets", 0, 0)


def game_of(env: Ref, n_markets: int) -> Game:
    """Markets of a configuration; raises UserError if it is none of many agents."""
    return make_game(env.name, n_markets, env.params)


def learns(name: str) -> bool:
    """Whether a strategy of the catalogue can be trained step by step among others."""
    return hasattr(get_type_hints(catalog.load("agents", name).make)["return"], "training")


def learners() -> tuple[str, ...]:
    """Names of all of them."""
    return tuple(name for name in catalog.bar_agents() if _states(name, "def training("))


def rule(game: Game, role: str, name: str, params: Mapping[str, Any]) -> BatchPolicy:
    """A policy that does not learn.

    Parameters
    ----------
    game, role
        The seats.
    name, params
        Of `qframe_rl.arena.rules.PLAIN`, a strategy for order books with its parameters, or a checkpoint's folder.

    Raises
    ------
    NoSeat
        If it does not sit there.
    UserError
        If there is none such, or it does not have these parameters.
    """
    if name in PLAIN:
        if params:
            raise UserError(f"agent.{name}: {name} has no parameters.")
        return plain_rule(name, game, role)
    if _is_folder(name):
        if params:
            raise UserError(
                f"agent: {', '.join(params)} is set for {name}, which sits as it was trained; leave it out."
            )
        return seat_policy(load_checkpoint(Path(name), seat=True), game, role)
    if name not in catalog.names("agents"):
        known = (*PLAIN, *catalog.quoters(), *learners())
        raise UserError(f"{role}={name}: there is no {name!r}, nor a folder of that name{nearest(name, known)}")
    if isinstance(game, CoinMarket) and not learns(name):
        return _trading(game, role, name, params)
    if name not in catalog.quoters():
        raise UserError(
            f"{role}={name}: {name} trades bars; take a learner that can be trained among others "
            f"({', '.join(learners())}), {', '.join((*catalog.quoters(), *PLAIN))}, or the folder of a role's."
        )
    config = _config(role, name, params)
    if not isinstance(game, Crowd):
        raise NoSeat(f"{role}={name}: {name} quotes in order books, and this market is none.")
    module = catalog.load("agents", name)
    return QuoterSeat(name, cast(MakeQuoter, lambda spec: module.make(config, spec)), game.config, role)


def _trading(game: CoinMarket, role: str, name: str, params: Mapping[str, Any]) -> StrategySeat:
    """A strategy that trades bars, in the seats of a coin's traders."""
    try:
        return StrategySeat(game, name, params, _SEED)
    except NoSeat as error:
        raise NoSeat(f"{role}={name}: {error}") from None


def seat_spec(game: Game, role: str, seed: int) -> MarketSpec:
    """What a learner may know of its seat: spaces and a seed.

    Parameters
    ----------
    game, role
        Where it sits.
    seed
        Root of its randomness.
    """
    seat = int(seats_of(game, role)[0])
    numbers = Numbers(game.observation_space, game.action_space(seat))
    return MarketSpec((), (), 0, leverage=1.0, shorting=True, cost_rate=0.0, interface=numbers, seed=seed)


def made_learner(name: str, config: Base, spec: MarketSpec) -> RoleLearner:
    """A new learner for the seats of a role.

    Parameters
    ----------
    name, config
        In the catalogue, and its own ``Config``.
    spec
        From `seat_spec`.
    """
    made: RoleLearner = catalog.load("agents", name).make(config, spec)
    return made


def interface_of(game: Game, role: str) -> dict[str, Any]:
    """What a checkpoint says of the seat that it was trained in."""
    seat = int(seats_of(game, role)[0])
    return {
        "kind": "seat", "role": role, "n_seen": int(np.prod(game.observation_space.shape)),
        "n_numbers": 0 if game.choices[seat] else int(game.mask[seat].sum()), "n_choices": int(game.choices[seat]),
    }  # fmt: skip


def seat_policy(checkpoint: Checkpoint, game: Game, role: str) -> BatchPolicy:
    """The policy of a checkpoint, for all agents of a role; no code is run but that of the catalogue.

    Parameters
    ----------
    checkpoint
        As a training among many agents leaves one for each role, or of a maker of recorded books.
    game, role
        Where it is to sit.

    Raises
    ------
    UserError
        If it was trained for something else or remembers episodes, or its weights are not those of its agent.
    """
    if checkpoint.of_book:
        return book_policy(checkpoint, game, role)
    name = checkpoint.agent["name"]
    check_names(checkpoint.agent, checkpoint.env)
    trained, wanted = dict(checkpoint.interface), interface_of(game, role)
    if trained != wanted:
        raise UserError(
            f"the checkpoint of {name!r} was trained as {trained['role']} of {checkpoint.env['name']}, which sees "
            f"{trained['n_seen']} numbers, and does not fit the seats of {role}, which see {wanted['n_seen']}."
        )
    config = build(catalog.load("agents", name).Config, checkpoint.agent["params"], f"agent {name}")
    check_forgets(name, config)
    agent = made_learner(name, config, seat_spec(game, role, checkpoint.seed))
    try:
        agent.restore(checkpoint.state)
    except ValueError as error:
        raise UserError(f"the checkpoint's weights are not those of {name}: {error}.") from None
    return agent.policy()


def mark(name: str) -> str:
    """What tells one agent from another of its name: a checkpoint's content."""
    return load_checkpoint(Path(name), seat=True).digest if _is_folder(name) else name


def _is_folder(name: str) -> bool:
    """Whether a folder is meant: a name of the house's own means no folder that happens to have it."""
    return name not in (*PLAIN, *catalog.names("agents")) and Path(name).is_dir()


_AT_ONCE = "among many agents all learn at once; set steps, markets and n_steps."
_NEVER = "among many agents no part is left to be scored on, and the last weights are kept; leave it out."
_OWN = {
    "total_steps": _AT_ONCE, "n_envs": _AT_ONCE, "n_steps": _AT_ONCE, "evaluations": _NEVER, "patience": _NEVER,
    "margin": _NEVER,
    "members": "one network is trained for all agents of a role; leave it out.",
}  # fmt: skip
"""Parameters of learners that say nothing here, and why."""


def _config(role: str, name: str, params: Mapping[str, Any]) -> Base:
    """Configuration of who sits in a role's seats."""
    for key, why in _OWN.items():
        if key in params and name not in catalog.quoters():
            raise UserError(f"agent.{name}.{key}: {why}")
    config: Base = build(catalog.load("agents", name).Config, dict(params), f"agent {role}")
    check_forgets(name, config)
    return config


def _states(name: str, text: str) -> bool:
    place = Path(str(catalog.__file__)).resolve().parent.parent / "agents" / f"{name}.py"
    return place.is_file() and text in place.read_text(encoding="utf-8")
