"""Whether a dataset may be learned from: it is of the same environment, and ends before the bars that judge.

What a policy sees of a market is scaled by what its training bars were; a dataset was scaled by its own. So its
observations are put on the scale of the market that asks: what was clipped stays at the bound, and what was missing
stands where the dataset's mean did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Transitions
from qframe_rl.config import UserError, build
from qframe_rl.custom import in_params, remembered
from qframe_rl.digests import digest
from qframe_rl.gym.make import is_problem, prepared
from qframe_rl.gym.market import Market
from qframe_rl.gym.problem import Problem
from qframe_rl.gym.reward import Reward
from qframe_rl.interface import BOUND, MarketInterface, Parts
from qframe_rl.offline.dataset import HISTORY, KNOWN_UNTIL, OfflineDataset, flat, open_dataset, plain_kwargs
from qframe_rl.servers import check_named
from qframe_rl.types import Single, iso

_ENV_ONLY = ("render_mode", "info")
"""Arguments of an environment that change nothing of what is lived."""


def problem_transitions(name: str, problem: Problem) -> Transitions:
    """Steps of a dataset of a problem.

    Parameters
    ----------
    name
        Id or folder of the dataset.
    problem
        The one that is learned.

    Raises
    ------
    UserError
        If there is no such dataset, or it is of another environment or of other parameters. How rewards are paid may
        differ.
    """
    found = open_dataset(name)
    env, kwargs = _environment(found)
    _refuse(found, "environment", env, problem.name)
    module = catalog.load("envs", env)
    modes = ({**kwargs, "reward_mode": mode} for mode in ("expected", "sampled"))
    made = [_rules(module.make(build(module.Config, params, f"dataset {name}"))) for params in modes]
    if _rules(problem) not in made:
        said = ", ".join(f"{key} {value}" for key, value in kwargs.items()) or "defaults"
        raise UserError(
            f"dataset {name} was collected with other parameters of {env} ({said}) than what is learned here; collect "
            "it with the same."
        )
    _refuse_spaces(found, problem.observation_space, problem.action_space)
    return _plain(found.transitions)


def market_transitions(name: str, market: Market, until: int) -> Transitions:
    """Steps of a dataset of a market, scaled as the market's interface scales.

    Parameters
    ----------
    name
        Id or folder of the dataset.
    market
        The one that is learned, its scaler fitted.
    until
        Close of the last bar that may be known, ns UTC.

    Raises
    ------
    UserError
        If there is no such dataset, it is of another market, it names code of a user's own that was not handed over,
        or it reaches past ``until``.
    """
    found = open_dataset(name)
    env, kwargs = _environment(found)
    _refuse(found, "environment", env, market.name)
    history, risk = kwargs.pop("history", None), kwargs.pop("risk", None)
    if kwargs.pop("observation", "window") != "window":
        raise UserError(f"dataset {name} has observations in parts; collect it with observation=window.")
    try:
        kwargs = in_params(kwargs, remembered)
    except UserError as error:
        raise UserError(f"dataset {name}: {error}") from None
    place = history.get("data", "") if isinstance(history, Mapping) else history
    check_named(str(place), f"dataset {name}")
    own, parts = prepared(env, history, risk, kwargs)
    _refuse_late(found, parts, until)
    for what, ours, asked in _facts(own, market):
        _refuse(found, what, ours, asked)
    _refuse_spaces(found, market.interface.observation_space, market.interface.action_space)
    seen = _plain(found.transitions)
    return seen._replace(
        observations=rescaled(seen.observations, own.interface, market.interface),
        following=rescaled(seen.following, own.interface, market.interface),
    )


def rescaled(rows: Single, before: MarketInterface, after: MarketInterface) -> Single:
    """Observations as another scaler would have shown them.

    Parameters
    ----------
    rows
        (N, n) as ``before`` showed them.
    before, after
        Interfaces that differ in their scalers alone.

    Returns
    -------
    Single
        (N, n); exposures and flags of trade are as they were.
    """
    one, two = before.observer.scaler, after.observer.scaler
    if np.array_equal(one.mean, two.mean) and np.array_equal(one.scale, two.scale):
        return rows
    n_bars, width = before.market_shape
    shown = rows[:, : n_bars * width].reshape(len(rows), -1, len(one.mean)).astype(np.float64)
    out = rows.copy()
    out[:, : n_bars * width] = two(shown * one.scale + one.mean).reshape(len(rows), -1)
    at_bound = np.abs(rows[:, : n_bars * width]) >= BOUND
    out[:, : n_bars * width][at_bound] = rows[:, : n_bars * width][at_bound]
    return out


def _rules(problem: Problem) -> tuple[object, ...]:
    """What decides on what is best; where an episode's mean counts, its length does not."""
    steps = None if problem.score == "average" else problem.episode_steps
    acts = (problem.begin, problem.move, problem.show)
    return (*problem.params.tolist(), *acts, problem.score, problem.discount, steps)


def _plain(seen: Transitions) -> Transitions:
    return seen._replace(observations=flat(seen.observations), following=flat(seen.following))


def _environment(found: OfflineDataset) -> tuple[str, dict[str, Any]]:
    """Name in the catalogue, and arguments."""
    spec = found.spec
    if spec is None:
        raise UserError(
            f"dataset {found.name} does not say what environment it came from; collect it with a recipe as history, "
            "see docs/environments.md."
        )
    if spec.additional_wrappers:
        names = ", ".join(wrapper.name for wrapper in spec.additional_wrappers)
        raise UserError(f"dataset {found.name} was collected behind {names}; collect it without wrappers.")
    kwargs = {key: value for key, value in plain_kwargs(spec).items() if key not in _ENV_ONLY}
    env = str(kwargs.pop("name", spec.id))
    if env not in catalog.names("envs"):
        raise UserError(f"dataset {found.name} is of {spec.id}, which is no environment of the catalogue.")
    if spec.max_episode_steps is not None and not is_problem(env):
        kwargs.setdefault("episode_bars", spec.max_episode_steps)
    return env, kwargs


def _facts(own: Market, market: Market) -> list[tuple[str, object, object]]:
    """What must be equal of the dataset's market and of that which asks; how long episodes are need not be."""
    ours, asked = own.interface.describe(), market.interface.describe()
    facts: list[tuple[str, object, object]] = [
        ("instruments", [i.symbol for i in own.instruments], [i.symbol for i in market.instruments]),
        ("length of a bar", own.bar_ns, market.bar_ns),
        *((f"observation's {key}", ours[key], asked[key]) for key in ("features", "n_rows", "columns")),
        ("sight of the account", own.interface.observer.panels, market.interface.observer.panels),
        ("actions", (ours["scheme"], _listed(ours["params"])), (asked["scheme"], _listed(asked["params"]))),
        ("reward", own.reward.params.tolist(), market.reward.params.tolist()),
        ("reward's rule", _rule(own.reward), _rule(market.reward)),
        ("leverage", (own.rules.leverage, own.rules.shorting), (market.rules.leverage, market.rules.shorting)),
        ("fees, costs and lots", own.rules.table.tolist(), market.rules.table.tolist()),
        ("length of finer bars", own.rules.detail_ns, market.rules.detail_ns),
        ("cash at the start", own.cash, market.cash),
        ("limits", own.limits, market.limits),
    ]
    return facts


def _rule(reward: Reward) -> object:
    """What it computes; of a user's own the digest, for an object that was made alike is another one."""
    return reward.kernel if reward.own is None else digest(reward.own)


def _listed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in params.items()}


def _refuse(found: OfflineDataset, what: str, ours: object, asked: object) -> None:
    if ours != asked:
        said = f" ({_short(ours)}, not {_short(asked)})"
        raise UserError(
            f"dataset {found.name} has another {what} than what is learned here{said}; collect it with the same."
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_spaces(found: OfflineDataset, seen: gymnasium.Space[Any], done: gymnasium.Space[Any]) -> None:
    for what, ours, asked in zip(("observations", "actions"), found.spaces, (seen, done), strict=True):
        _refuse(found, f"space of {what}", ours, asked)
    # One choice or several are whole numbers from 0 on; of others nobody learns here.
    sizes = getattr(done, "nvec", getattr(done, "n", np.inf))
    actions = found.transitions.actions
    if not np.isinf(sizes).any() and not ((actions >= 0) & (actions < sizes)).all():
        raise UserError(f"dataset {found.name} has actions that are not in {done}; collect it anew.")


def _refuse_late(found: OfflineDataset, parts: Parts, until: int) -> None:
    last = max(found.metadata.get(KNOWN_UNTIL, 0), *(int(history.time[-1]) for history, _ in parts))
    if last > until:
        raise UserError(
            f"dataset {found.name} knows bars up to {iso(last)}, but what learns from it may know none after "
            f"{iso(until)}: it would look ahead; collect it with --to {iso(until)}, by agents that were not trained on "
            "later ones."
        )
    stated = found.metadata.get(HISTORY)
    if stated is not None and stated != [history.fingerprint for history, _ in parts]:
        raise UserError(f"dataset {found.name}: the bars that it came from have changed since; collect it anew.")
