"""What `gymnasium.make` and `gymnasium.make_vec` call for every market of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import AutoresetMode

from qframe_rl import catalog
from qframe_rl.config import build
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import Market, whole
from qframe_rl.gym.tape import Tape
from qframe_rl.gym.vector import VectorTradingEnv
from qframe_rl.types import History

Histories = History | Sequence[History] | None


def make_env(name: str, history: Histories = None, render_mode: str | None = None, **params: Any) -> TradingEnv:
    """One environment of a market.

    Parameters
    ----------
    name
        Name in the catalogue.
    history
        Bars, or several histories of the same instruments, one of which each episode walks; the embedded default
        market without it. The scaler is fitted on all of them: hand over training bars only.
    render_mode
        ``rgb_array`` or ``human``.
    **params
        Fields of the market's ``Config``.
    """
    market, tape = _prepare(name, history, params)
    return market.env(tape, render_mode)


def make_vec(
    name: str,
    num_envs: int = 1,
    history: Histories = None,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    observation: str = "window",
    **params: Any,
) -> VectorTradingEnv:
    """A batch of environments of a market; parameters as in `make_env` and `VectorTradingEnv`."""
    market, tape = _prepare(name, history, params)
    return market.vec(tape, num_envs, autoreset_mode, observation)


def _prepare(name: str, history: Histories, params: dict[str, Any]) -> tuple[Market, Tape]:
    if history is None:
        history = synthetic("ar1")
    histories = [history] if isinstance(history, History) else list(history)
    first = histories[0]
    module = catalog.load("envs", name)
    config = build(module.Config, params, f"env {name}")
    market: Market = module.make(config, first.instruments, first.columns, first.bar_ns)
    parts = [(h, whole(h)) for h in histories]
    market = market.fit(parts)
    return market, market.tape(parts)
