"""What `gymnasium.make` and `gymnasium.make_vec` call for every market and problem of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gymnasium.vector import AutoresetMode

from qframe_rl import catalog
from qframe_rl.config import Ref, UserError, build
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import Market, whole
from qframe_rl.gym.packed import PackedHistory
from qframe_rl.gym.problem import Problem, ProblemConfig, ProblemEnv, VectorProblemEnv
from qframe_rl.gym.vector import VectorTradingEnv
from qframe_rl.risk.limits import Limits
from qframe_rl.types import History

Histories = History | Sequence[History] | None
Risk = Limits | Mapping[str, Any] | None


def make_env(
    name: str,
    history: Histories = None,
    render_mode: str | None = None,
    risk: Risk = None,
    **params: Any,
) -> TradingEnv | ProblemEnv:
    """One environment of a market or a problem.

    Parameters
    ----------
    name
        Name in the catalogue.
    history
        Bars, or several histories of the same instruments, one of which each episode walks; the embedded default
        market without it. The scaler is fitted on all of them: hand over training bars only. A problem takes none.
    render_mode
        ``rgb_array`` or ``human``; a problem has no picture.
    risk
        Limits of the risk engine that every account is held to, such as ``{"max_leverage": 1.0}``; a problem has none.
    **params
        Fields of the market's ``Config``.
    """
    if is_problem(name):
        _refuse(name, history=history, render_mode=render_mode, risk=risk)
        return make_problem(Ref(name=name, params=params)).env()
    market, tape = _prepare(name, history, risk, params)
    return market.env(tape, render_mode)


def make_vec(
    name: str,
    num_envs: int = 1,
    history: Histories = None,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    observation: str = "window",
    risk: Risk = None,
    **params: Any,
) -> VectorTradingEnv | VectorProblemEnv:
    """A batch of environments of a market or a problem.

    A problem has no bars to point at, so it takes no other ``observation``.

    Parameters
    ----------
    name, history, risk, **params
        As in `make_env`.
    num_envs
        B, environments of the batch.
    autoreset_mode, observation
        As in `qframe_rl.gym.vector.VectorTradingEnv`.
    """
    if is_problem(name):
        _refuse(name, history=history, observation=None if observation == "window" else observation, risk=risk)
        return make_problem(Ref(name=name, params=params)).vec(num_envs, autoreset_mode)
    market, tape = _prepare(name, history, risk, params)
    return market.vec(tape, num_envs, autoreset_mode, observation)


def is_problem(name: str) -> bool:
    """Whether a name of the catalogue is a problem: its ``Config`` says so by its kind. See docs/decisions/0006."""
    return issubclass(catalog.load("envs", name).Config, ProblemConfig)


def make_problem(ref: Ref) -> Problem:
    """Make the problem that a reference names.

    Raises
    ------
    UserError
        For an unknown name or parameter, or a market of bars.
    """
    module = catalog.load("envs", ref.name)
    if not is_problem(ref.name):
        raise UserError(
            f"{ref.name!r} is a market of bars and has no known optimum; python -m experiments.train takes it."
        )
    problem: Problem = module.make(build(module.Config, ref.params, f"env {ref.name}"))
    return problem


def _refuse(name: str, **given: object) -> None:
    for what, value in given.items():
        if value is not None:
            raise UserError(f"{name!r} is a problem without bars; it takes no {what}.")


def _prepare(name: str, history: Histories, risk: Risk, params: dict[str, Any]) -> tuple[Market, PackedHistory]:
    if history is None:
        history = synthetic("ar1")
    histories = [history] if isinstance(history, History) else list(history)
    first = histories[0]
    module = catalog.load("envs", name)
    config = build(module.Config, params, f"env {name}")
    made: Market = module.make(config, first.instruments, first.columns, first.bar_ns)
    limits = risk if isinstance(risk, Limits) else build(Limits, risk or {}, "risk")
    parts = [(h, whole(h)) for h in histories]
    market = replace(made, limits=limits).fit(parts)
    return market, market.tape(parts)
