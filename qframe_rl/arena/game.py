"""What a batch of markets with many agents is, whichever file of ``envs/`` makes it.

Such a file has ``Config(GameConfig)`` and ``make(config, n_markets) -> Game``. The doors (PettingZoo's, one seat for
Gymnasium) and those that train many agents know no more of a market than `Game` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl import catalog
from qframe_rl.config import Base, UserError, build, nearest
from qframe_rl.interface.schemes import numbers_of
from qframe_rl.types import Bool, Float, Int, Single

ActionSpace = spaces.Box | spaces.Discrete[Any]


class GameConfig(Base):
    """A file in ``envs/`` with a ``Config`` of this kind is a market of many agents."""


class Game(Protocol):
    """B markets of N agents, each in an episode of its own; what a market lives through does not depend on B.

    All agents of a market begin and end an episode together. Actions of all agents are handed over at each step; those
    of agents who are not to act, see ``acting``, are not looked at.
    """

    n_markets: int
    """B."""
    n_agents: int
    """N."""
    names: tuple[str, ...]
    """N names, the role and a number: ``maker_0``."""
    roles: Int
    """(N,) role of each agent, an index of ``role_names``."""
    role_names: tuple[str, ...]
    """Roles that there can be, whether or not an agent has them."""
    mask: Bool
    """(N, K) directions of an action that count: the first ones. A discrete action counts as one."""
    choices: Int
    """(N,) of how many an agent chooses one, for a discrete action; 0 = it acts by numbers in [-1, 1]."""
    terminates: bool
    """Whether nothing comes after an episode (terminated), or it is cut off (truncated)."""
    observation_space: spaces.Box
    """Of one agent, (n,) float32, the same of all; what somebody does not see is 0 in his."""

    @property
    def acting(self) -> Bool:
        """(B, N) whose action the next step looks at; all, but in markets where some answer others."""
        ...

    def action_space(self, agent: int) -> ActionSpace:
        """A new space of an agent: a Box of [-1, 1], or Discrete, whose action is a whole number in direction 0."""
        ...

    def seed_with(self, seed: int | Sequence[int], mask: Bool | None = None) -> None:
        """Give market b the seed ``seed + b``, or each its own of (B,), and count episodes anew; the masked alone."""
        ...

    def reset(self, mask: Bool) -> None:
        """Begin a new episode in the masked (B,) markets."""
        ...

    def observe(self) -> Single:
        """(B, N, n) what agents see, in a fresh array."""
        ...

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool]:
        """Take the active (B,) markets a step on.

        Parameters
        ----------
        actions
            (B, N, K); what the mask lets not count may be anything.
        active
            (B,) which markets.

        Returns
        -------
        tuple[Float, Bool]
            (B, N) rewards, and (B,) which episodes are over; 0 and False for the inactive.

        Raises
        ------
        ValueError
            For another shape, or a number outside its space; nothing has moved then.
        UserError
            If an episode was over before.
        """
        ...

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every market, by which `restore` goes back to the same bits: names of its own choice."""
        ...

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot; raises ValueError for another batch's."""
        ...


def make_game(name: str, n_markets: int = 1, params: Mapping[str, Any] | None = None) -> Game:
    """Make a market of many agents of the catalogue.

    Parameters
    ----------
    name
        Name in ``envs/``, or the dotted path of a module of one's own.
    n_markets
        B.
    params
        Fields of its ``Config``.

    Raises
    ------
    UserError
        For a name that is none, or is of another kind, and for parameters that there are not.
    """
    known = catalog.games()
    if "." not in name and name not in known:
        raise UserError(f"no market of many agents {name!r}{nearest(name, known)}")
    module = catalog.load("envs", name)
    if not issubclass(module.Config, GameConfig):
        raise UserError(f"{name!r} is no market of many agents: its Config is no GameConfig.")
    made: Game = module.make(build(module.Config, params or {}, f"env {name}"), n_markets)
    return made


def check_markets(n_markets: int) -> None:
    """Refuse a batch of no market, for whoever makes one; raises UserError."""
    if n_markets < 1:
        raise UserError(f"{n_markets} markets: at least 1.")


def checked(game: Game, actions: NDArray[Any], active: Bool) -> Float:
    """(B, N, K) actions as compiled code takes them.

    Parameters
    ----------
    game
        Whose.
    actions, active
        As of `Game.step`.

    Raises
    ------
    ValueError
        As `Game.step`, with the market's number and the agent's name.
    """
    shape = (game.n_markets, *game.mask.shape)
    chosen = numbers_of(actions, shape, "these markets want")
    if np.shape(active) != (game.n_markets,) or np.asarray(active).dtype != np.bool_:
        raise ValueError(f"active is bool of shape ({game.n_markets},), not {np.shape(active)}")
    first, counts = chosen[:, :, 0], game.choices
    inside = np.abs(chosen) <= 1.0
    inside[:, :, 0] = np.where(
        counts > 0, (first >= 0.0) & (first < counts) & (first == np.rint(first)), inside[:, :, 0]
    )
    wrong = np.argwhere((active[:, None] & game.acting)[:, :, None] & game.mask & ~inside)
    if len(wrong):
        b, i, _ = wrong[0]
        told = chosen[b, i, game.mask[i]].tolist()
        where = f"one of {counts[i]} choices" if counts[i] else "within [-1, 1]"
        raise ValueError(f"environment {b}: action {told} of {game.names[i]} is not {where}")
    return chosen


def space_of(n_choices: int, n_numbers: int) -> ActionSpace:
    """A new space of an action.

    Parameters
    ----------
    n_choices
        As in `Game.choices`.
    n_numbers
        Directions of an action by numbers.
    """
    if n_choices:
        return spaces.Discrete(n_choices)
    return spaces.Box(-1.0, 1.0, (n_numbers,), np.float32)
