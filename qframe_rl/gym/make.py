"""What `gymnasium.make` and `gymnasium.make_vec` call for every market, book and problem of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from qframe_rl import catalog
from qframe_rl.config import Ref, UserError, build, nearest, shortened
from qframe_rl.custom import in_params
from qframe_rl.gym import beside
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.given import Given, histories_of
from qframe_rl.gym.market import Market, whole
from qframe_rl.gym.packed import PackedHistory
from qframe_rl.gym.problem import Problem, ProblemConfig, ProblemEnv, VectorProblemEnv
from qframe_rl.gym.replay.doors import BookEnv, VectorBookEnv
from qframe_rl.gym.replay.given import GivenTicks, spans_of
from qframe_rl.gym.replay.market import BookConfig, BookMarket
from qframe_rl.gym.replay.packed import PackedTicks
from qframe_rl.gym.vector import VectorTradingEnv
from qframe_rl.interface import Parts, SlotScheme
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Instrument

Risk = Limits | Mapping[str, Any] | None


class UnexpectedKeyword(UserError, TypeError):
    """A keyword that an environment does not take: a TypeError for libraries that probe by it, with one sentence."""


def make_env(
    name: str,
    history: Given | GivenTicks = None,
    render_mode: str | None = None,
    risk: Risk = None,
    info: Iterable[str] | None = None,
    observation: str = "window",
    **params: Any,
) -> TradingEnv | BookEnv | ProblemEnv:
    """One environment of a market, an order book or a problem.

    Parameters
    ----------
    name
        Name in the catalogue.
    history
        Bars, several histories of the same instruments, one of which each episode walks, a DataFrame or a dict of them
        by symbol, a file, or a recipe, as in `qframe_rl.gym.given.histories_of`; the embedded default market without
        it. The scaler is fitted on all of them: hand over training bars only. A problem takes none, and an order book
        ticks, as in `qframe_rl.gym.replay.given.spans_of`; made-up ones without it.
    render_mode
        ``rgb_array`` or ``human``.
    risk
        Limits of the risk engine that every account is held to, such as ``{"max_leverage": 1.0}``; problems and books
        have none.
    info
        What ``info`` holds, names of `qframe_rl.gym.info.NAMES`, of a book `qframe_rl.gym.replay.doors.NAMES`; a
        problem's holds nothing. None = equity (of a book: worth) and time.
    observation
        ``window`` or ``dict``, as in `qframe_rl.gym.vector.VectorTradingEnv`; problems and books have the first alone.
    **params
        Fields of the market's ``Config``. ``reward``, ``actions`` and each of ``features`` may be a function or class
        of your own, or its path ``MODULE:NAME``: see `qframe_rl.gym.reward.Lived`,
        `qframe_rl.interface.own_scheme.OwnScheme` and `qframe_rl.features.feature`.

    Raises
    ------
    UserError
        For what the market refuses; where it is a keyword that there is not, it is a TypeError as well.
    """
    if is_problem(name):
        _refuse(
            name, history=history, risk=risk, info=info, observation=None if observation == "window" else observation
        )
        return _problem(name, params).env(render_mode)
    if is_book(name):
        _refuse_of_book(name, risk, observation, ("window",))
        book, ticks = _packed_book(name, history, params)
        return BookEnv(book.engine(ticks, 1), render_mode, ("worth", "time") if info is None else info)
    market, tape = _prepare(name, history, risk, params)  # type: ignore[arg-type]
    return market.env(tape, render_mode, ("equity", "time") if info is None else info, observation)


def make_vec(
    name: str,
    num_envs: int = 1,
    history: Given | GivenTicks = None,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    observation: str = "window",
    risk: Risk = None,
    info: Iterable[str] = (),
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    **params: Any,
) -> VectorTradingEnv | VectorBookEnv | VectorProblemEnv:
    """A batch of environments of a market, an order book or a problem.

    A problem has no bars to point at, so it takes no other ``observation``; a book has ``window`` and ``index``.

    Parameters
    ----------
    name, history, risk, **params
        As in `make_env`.
    num_envs
        B, environments of the batch.
    autoreset_mode, observation, info
        As in `qframe_rl.gym.vector.VectorTradingEnv`.
    render_mode
        None: a batch has no picture.
    max_episode_steps
        As a specification has it: the market's ``episode_bars``.

    Raises
    ------
    UserError
        As in `make_env`, and for a render mode.
    """
    if not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise UserError(f"num_envs must be a whole number, at least 1 (got {shortened(num_envs)}).")
    if render_mode is not None:
        raise UserError(f"a batch has no picture; make one environment with render_mode={render_mode!r}, or none.")
    if is_problem(name):
        _refuse(
            name, history=history, observation=None if observation == "window" else observation, risk=risk,
            info=tuple(info) or None,
        )  # fmt: skip
        made = _problem(name, params)
        if max_episode_steps not in (None, made.episode_steps):
            raise UserError(f"{name!r} has episodes of {made.episode_steps} steps, not {max_episode_steps}.")
        return made.vec(num_envs, autoreset_mode)
    if is_book(name):
        _refuse_of_book(name, risk, observation, ("window", "index"))
        if max_episode_steps is not None:
            params = {"episode_steps": max_episode_steps} | params
        book, ticks = _packed_book(name, history, params)
        return VectorBookEnv(book.engine(ticks, num_envs), autoreset_mode, observation, info)
    if max_episode_steps is not None:
        params = {"episode_bars": max_episode_steps} | params
    market, tape = _prepare(name, history, risk, params)  # type: ignore[arg-type]
    return market.vec(tape, num_envs, autoreset_mode, observation, info)


def is_problem(name: str) -> bool:
    """Whether a name of the catalogue is a problem: its ``Config`` says so by its kind. See docs/decisions/0006."""
    return issubclass(catalog.load("envs", name).Config, ProblemConfig)


def is_book(name: str) -> bool:
    """Whether a name of the catalogue is an order book: its ``Config`` says so by its kind."""
    return issubclass(catalog.load("envs", name).Config, BookConfig)


def make_book(ref: Ref, instrument: Instrument) -> BookMarket:
    """Make the order book that a reference names, as one instrument has it.

    Raises
    ------
    UserError
        For an unknown name or parameter, or what is no order book.
    """
    module = catalog.load("envs", ref.name)
    if not is_book(ref.name):
        raise UserError(f"{ref.name!r} is no order book; those are {', '.join(catalog.order_books())}.")
    made: BookMarket = module.make(build(module.Config, ref.params, f"env {ref.name}"), instrument)
    return made


def _packed_book(name: str, history: Any, params: dict[str, Any]) -> tuple[BookMarket, PackedTicks]:
    _check_keywords(name, params)
    instrument, spans = spans_of(history)
    book = make_book(Ref(name=name, params=params), instrument).fit(spans)
    return book, book.pack(spans)


def _refuse_of_book(name: str, risk: Risk, observation: str, kinds: tuple[str, ...]) -> None:
    if risk:
        raise UserError(f"{name!r} is an order book, whose limits are its own (limit, loss_limit); it takes no risk.")
    if observation not in kinds:
        raise UserError(f"{name!r} has no observation {observation!r}{nearest(observation, kinds)}")


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
            f"{ref.name!r} is a market of bars, a book or a market of many agents, which python -m experiments.train "
            "takes."
        )
    problem: Problem = module.make(build(module.Config, ref.params, f"env {ref.name}"))
    return problem


def _problem(name: str, params: dict[str, Any]) -> Problem:
    _check_keywords(name, params)
    return make_problem(Ref(name=name, params=params))


def _check_keywords(name: str, params: Mapping[str, Any]) -> None:
    known = catalog.load("envs", name).Config.model_fields
    for key in params:
        if key not in known:
            raise UnexpectedKeyword(f"env {name}: unexpected keyword argument {key!r}{nearest(key, known)}")


def _refuse(name: str, **given: object) -> None:
    for what, value in given.items():
        if value is not None:
            raise UserError(f"{name!r} is a problem without bars; it takes no {what}.")


def _prepare(name: str, history: Given, risk: Risk, params: dict[str, Any]) -> tuple[Market, PackedHistory]:
    market, parts = prepared(name, history, risk, params)
    return market, market.tape(market.lessons(parts, 0))


def prepared(name: str, history: Given, risk: Risk, params: Mapping[str, Any]) -> tuple[Market, Parts]:
    """The market that an environment is one of, its scaler fitted on all of its bars, and these.

    Parameters
    ----------
    name, history, risk
        As in `make_env`.
    params
        Fields of the market's ``Config``.

    Returns
    -------
    tuple[Market, Parts]
        The market, and its histories with all of their rows.

    Raises
    ------
    UserError
        As in `make_env`.
    """
    module = catalog.load_bar_market(name)
    _check_keywords(name, params)
    params = in_params(params)
    config = build(module.Config, params, f"env {name}")
    histories = histories_of(history, config.detail)
    first = histories[0]
    made: Market = module.make(config, first.instruments, first.columns, first.bar_ns)
    limits = risk if isinstance(risk, Limits) else build(Limits, risk or {}, "risk")
    parts = [(h, whole(h)) for h in histories]
    if limits == Limits() and not config.detail and not isinstance(made.interface.scheme, SlotScheme):
        beside.begin()
    return replace(made, limits=limits).fit(parts), parts
