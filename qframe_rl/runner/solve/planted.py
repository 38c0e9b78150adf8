"""Searches for formulas in worlds in which a known one is planted, held against it on rows that they did not see."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from qframe_rl.agent import Log, State
from qframe_rl.alpha.judged import on_ground
from qframe_rl.alpha.mine import MiningPoint, Pays, mine
from qframe_rl.alpha.null import appraise
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.search import SEARCHES
from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.gym.problem import Curve
from qframe_rl.theory.planted_alphas import planted_world
from qframe_rl.types import Float

PLANTED_ALPHAS = "planted_alphas"
"""What stands for these worlds where a case names its environment."""
FOUND = 0.9
"""Share of the planted formula's IC in training at which it counts as found."""


class PlantedConfig(Base):
    """A world."""

    world: Literal["p1", "p2", "p3"]
    """What is planted, see `qframe_rl.theory.planted_alphas.PLANTED`."""


class SearchConfig(Base):
    """A search in it."""

    n_formulas: int = Field(default=2000, ge=1)
    """Distinct formulas to look at, at most; it ends where the planted one counts as found."""
    pays: Pays = "own"
    """What a formula earns by, see `qframe_rl.alpha.mine.mine`."""
    held: Literal["best", "pool"] = "best"
    """What is held against the planted formula: the one with the largest IC of training, or the pool."""


class PlantedResult(NamedTuple):
    """What a search came to."""

    learned: float
    """IC of what was found, on the test."""
    truth: float
    """IC of the planted one there."""
    figures: dict[str, float]
    """``found``: 1 where it counts as found, else 0; ``distinct``: formulas until then, or all."""

    @property
    def share(self) -> float:
        """What was found over what is planted."""
        return self.learned / self.truth


def planted_config(env: Ref, search: Ref) -> tuple[PlantedConfig, SearchConfig]:
    """Configuration of a case.

    Raises
    ------
    UserError
        For an unknown world, search or parameter.
    """
    if search.name not in SEARCHES:
        raise UserError(f"unknown search {search.name!r}{nearest(search.name, SEARCHES)}")
    made = build(PlantedConfig, env.params, f"env {env.name}")
    return made, build(SearchConfig, search.params, f"search {search.name}")


def search_planted(env: Ref, search: Ref, seed: int, log: Log) -> tuple[State, PlantedResult]:
    """Search a world.

    Parameters
    ----------
    env
        Which world.
    search
        By which search, and for how long.
    seed
        Of the world and the search.
    log
        Told of the progress.

    Returns
    -------
    tuple
        How far it had come after each batch, as `planted_portrait` draws it, and what it came to.
    """
    where, how = planted_config(env, search)
    world = planted_world(where.world, seed)
    assert world.truth is not None
    truth = abs(on_ground(world.truth, world.train, world.train.evaluator()).ic)

    def told(point: MiningPoint) -> bool:
        log.scalar("alpha/share", point.best_ic / truth, point.distinct)
        return point.best_ic >= FOUND * truth

    made = mine(world.train, search.name, how.n_formulas, seed, "ic", told=told, pays=how.pays)
    evaluator = world.test.evaluator()
    planted = on_ground(world.truth, world.test, evaluator).ic
    found = appraise(made.members, world.test, "ic").ic
    if how.held == "best":
        best = made.best
        found = 0.0 if best is None else on_ground(parse(best.text), world.test, evaluator).ic * best.weight
    figures = {"found": float(made.curve[-1].best_ic >= FOUND * truth), "distinct": float(made.distinct)}
    state = {
        "distinct": np.array([p.distinct for p in made.curve], dtype=np.int64),
        "share": np.array([p.best_ic / truth for p in made.curve]),
    }
    return state, PlantedResult(found, planted, figures)


def planted_portrait(state: State | None) -> tuple[Curve, ...]:
    """The best formula's share of the planted one's IC in training, by formulas looked at; of None the planted one."""
    x: Float = np.array([0.0, 3000.0]) if state is None else state["distinct"].astype(np.float64)
    y: Float = np.ones(2) if state is None else np.asarray(state["share"])
    return (Curve("IC in training", "", "distinct formulas", "share of the planted formula's", x, y),)
