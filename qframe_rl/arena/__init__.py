"""Markets made by their traders: many agents in one order book, as batches, PettingZoo environments and single seats.

`qframe_rl.arena.game.Game` is the batch, `qframe_rl.arena.crowd.Crowd` the one of an order book. The doors of
PettingZoo need ``pip install 'qframe-rl[arena]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qframe_rl.arena.game import make_game
from qframe_rl.config import UserError

if TYPE_CHECKING:
    from pettingzoo import AECEnv

    from qframe_rl.arena.parallel import ParallelGame


def parallel_env(name: str, **settings: Any) -> ParallelGame:
    """A market as a ``ParallelEnv`` of PettingZoo, in which all agents act at once.

    Parameters
    ----------
    name
        Of a market of many agents in ``envs/``, such as ``crowd``.
    settings
        Fields of its ``Config``.

    Raises
    ------
    UserError
        For another name, a setting that there is not, or if PettingZoo is not installed.
    """
    game = make_game(name, 1, settings)
    try:
        from qframe_rl.arena.parallel import ParallelGame
    except ModuleNotFoundError as error:
        if error.name != "pettingzoo":
            raise
        raise UserError("PettingZoo is not installed; pip install 'qframe-rl[arena]'.") from None
    return ParallelGame(name, game)


def aec_env(name: str, **settings: Any) -> AECEnv[str, Any, Any]:
    """The same as an ``AECEnv`` of PettingZoo, in which agents act in turn and the market moves once all have.

    Parameters
    ----------
    name, settings
        As of `parallel_env`.

    Raises
    ------
    UserError
        As `parallel_env`.
    """
    env = parallel_env(name, **settings)
    from pettingzoo.utils.conversions import parallel_to_aec

    return parallel_to_aec(env)
