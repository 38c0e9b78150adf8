"""Markets made by their traders: many agents in one order book, as batches, PettingZoo environments and single seats.

`qframe_rl.arena.crowd.Crowd` is the batch. The doors of PettingZoo need ``pip install 'qframe-rl[arena]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qframe_rl.config import UserError, build, nearest

if TYPE_CHECKING:
    from pettingzoo import AECEnv

    from qframe_rl.arena.parallel import ParallelCrowd

NAMES = ("crowd",)


def parallel_env(name: str, **settings: Any) -> ParallelCrowd:
    """A market as a ``ParallelEnv`` of PettingZoo, in which all agents act at once.

    Parameters
    ----------
    name
        ``crowd``.
    settings
        Fields of `qframe_rl.arena.crowd.CrowdConfig`.

    Raises
    ------
    UserError
        For another name, a setting that there is not, or if PettingZoo is not installed.
    """
    from qframe_rl.arena.crowd import CrowdConfig

    if name not in NAMES:
        raise UserError(f"no market of many agents {name!r}{nearest(name, NAMES)}")
    try:
        from qframe_rl.arena.parallel import ParallelCrowd
    except ModuleNotFoundError as error:
        if error.name != "pettingzoo":
            raise
        raise UserError("PettingZoo is not installed; pip install 'qframe-rl[arena]'.") from None
    return ParallelCrowd(build(CrowdConfig, settings, name))


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
