"""Makers of a crowd and makers of recorded books: a checkpoint of the one is a checkpoint of the other.

Both see the same features in the same order, each in the standard deviations of its own market, and both act by the
same distances and sizes. So a maker who learned in the crowd is kept as one of ``book_making``, whose features are
scaled as recorded training ticks have them; and one who learned on recorded ticks is shown the crowd in the crowd's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.agent import State
from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.game import Game
from qframe_rl.arena.recorded import book_params
from qframe_rl.arena.seats import BatchPolicy
from qframe_rl.arena.selfplay import RoleLearner, check_forgets
from qframe_rl.arena.sight import N_FEATURES
from qframe_rl.arena.state import MAKER_ROLE, ROLES
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Ref, UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.tick_load import TickHistory, load_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.policy.net import looking
from qframe_rl.runner.books.packing import deployed_book, made_agent, packed_book
from qframe_rl.runner.books.split import BookFold, book_fold
from qframe_rl.runner.identity import Code
from qframe_rl.runner.run_config import RunConfig

_WHY = {"promoted": False, "forced": False, "reason": "it learned in the crowd, and was judged on no ticks"}


def sees_books(game: Game, role: str) -> bool:
    """Whether agents of a role see books as makers of recorded ones do."""
    return isinstance(game, Crowd) and game.sight is not None and role == ROLES[MAKER_ROLE]


class MakersBook(NamedTuple):
    """The recorded book that makers of a crowd are kept for."""

    terms: RunConfig
    history: TickHistory
    fold: BookFold
    market: BookMarket
    """Fitted on the training ticks."""


def recorded_book(game: Crowd, data: DataConfig, seed: int) -> MakersBook:
    """Find the book, and measure its features on its training ticks.

    Parameters
    ----------
    game
        Where makers learn.
    data
        Which ticks.
    seed
        Of the run.

    Raises
    ------
    UserError
        If there are no such ticks.
    """
    env = Ref(name="book_making", params=book_params(game.config))
    terms, history = RunConfig(data=data, env=env, seed=seed), load_ticks(data)
    fold = book_fold(history.runs, Ref(name="holdout"))
    return MakersBook(terms, history, fold, make_book(env, history.instrument).fit(fold.train))


def packed_maker(
    learner: RoleLearner, named: Mapping[str, Any], config: Base, seed: int, book: MakersBook, identity: str,
    scores: list[dict[str, Any]], code: Code,
) -> Checkpoint:  # fmt: skip
    """The checkpoint of a maker who learned in the crowd: one of ``book_making``.

    Parameters
    ----------
    learner
        As it was trained on plain numbers.
    named, config, seed
        The agent's ``name`` and ``params``, its own ``Config``, and its seed.
    book
        That it is kept for.
    identity, scores
        Of the run.
    code
        That the agent consists of.

    Raises
    ------
    UserError
        If its network is none of the house's.
    """
    agent = made_agent(str(named["name"]), config, book.market, seed)
    agent.restore(_looking(str(named["name"]), learner.state()))
    return packed_book(
        agent, named, seed, book.market, book.history, book.fold, book.terms, identity, _WHY, scores, code
    )


def _looking(name: str, state: State) -> State:
    try:
        return looking(state, N_FEATURES)
    except KeyError:
        raise UserError(f"{name}: its network is none that can look at a book; take ppo, or maker_sees seat.") from None


def book_policy(checkpoint: Checkpoint, game: Game, role: str) -> BatchPolicy:
    """The policy of a checkpoint that quotes in recorded books, in the seats of makers.

    Parameters
    ----------
    checkpoint
        Of ``book_making``.
    game, role
        Where it is to sit.

    Raises
    ------
    UserError
        If nobody sees books there, or it quotes in another way than makers do there.
    """
    name = checkpoint.agent["name"]
    what = f"the checkpoint of {name!r} quotes in recorded books ({checkpoint.env['name']})"
    if not isinstance(game, Crowd) or not sees_books(game, role):
        raise UserError(f"{what}: it sits as maker of a crowd whose makers see them, --set env.maker_sees=book.")
    deployed = deployed_book(checkpoint)
    if checkpoint.env["name"] != "book_making":
        raise UserError(f"{what}, which is not what a seat of {role} is for.")
    own, wanted = deployed.market.config.model_dump(), _wanted(game)
    for key, value in wanted.items():
        if own[key] != value:
            raise UserError(
                f"{what} with {key} {own[key]}, and makers here with {value}; env.reach_ticks, env.lots and "
                "env.position_limit make them alike."
            )
    config = build(catalog.load("agents", name).Config, checkpoint.agent["params"], f"agent {name}")
    check_forgets(name, config)
    agent = made_agent(name, config, deployed.market, checkpoint.seed)
    if not hasattr(agent, "policy"):
        raise UserError(f"{what} by a rule: name it, as in --roles {role}={name}.")
    agent.restore(checkpoint.state)
    act: BatchPolicy = agent.policy()
    return act


def _wanted(game: Crowd) -> dict[str, Any]:
    """What a checkpoint's environment must agree in: what is seen, and what an action means."""
    own = book_params(game.config)
    own.pop("inventory_penalty")
    assert game.sight is not None
    module = catalog.load("envs", "book_making")
    return {key: module.Config(**own).model_dump()[key] for key in (*own, "features")}
