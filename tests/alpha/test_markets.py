"""Formulas as features: in every market of bars, in observations of a batch and of one view, and in checkpoints."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from experiments.settings import settings
from qframe_rl import catalog
from qframe_rl.config import UserError, canonical, listed
from qframe_rl.features import features
from qframe_rl.gym.make import make_env
from qframe_rl.gym.market import whole
from qframe_rl.interface import interface_from
from qframe_rl.manifest import InterfaceEntry
from qframe_rl.runner.experiment import Experiment
from qframe_rl.types import HOUR, History
from tests.contracts import checks
from tests.contracts.test_envs import kind, maker
from tests.markets import panel

ALONE = (
    "alpha:corr(close, volume, 10)",
    "alpha:delta(close,5)/std(close,20)",
    "alpha:med(ret1, 5) - column:signal * 0.5",
    "4h:alpha:tsrank(volume, 3)",
)
AMONG = ("alpha:rank(std(ret1, 20)) * (tsrank(volume, 10) - rank(delta(close, 10)))", "alpha:zscore(ret(close,5))")


def made(specs: tuple[str, ...], history: History, name: str = "spot") -> tuple[object, History, History]:
    env = maker(name, features=specs, n_rows=2)(history)
    return env, history, history.rows(60, len(history))


@pytest.mark.parametrize("name", catalog.bar_markets())
def test_every_market_of_bars_shows_formulas_and_forgets_none(name: str) -> None:
    history = panel(420, 1 if name == "execution" else 2, seed=5, kind=kind(name), volatility=0.005)
    for check in (
        (checks.env_is_blind, checks.env_pickles) if name in ("spot", "perp") else (checks.env_is_deterministic,)
    ):
        check(maker(name, features=ALONE[:3], episode_bars=100), history)


@pytest.mark.parametrize(("specs", "n"), [(ALONE, 2), (AMONG, 9)])
def test_what_a_session_sees_is_what_it_was_trained_on_to_the_bit(specs: tuple[str, ...], n: int) -> None:
    history = panel(500, n, seed=7, kind="spot")
    market = catalog.load("envs", "spot").make(
        catalog.load("envs", "spot").Config(features=specs, n_rows=3), history.instruments, history.columns, HOUR
    )
    part = history.rows(0, 300)
    observer = market.fit([(part, whole(part))]).interface.observer
    matrix = observer.matrix(history)
    assert np.any(matrix[300:400] != 0.0, axis=0).all()
    for t in (observer.window - 1, 250, 499):
        window = slice(t - observer.window + 1, t + 1)
        raw = observer.raw(history.values[window].copy(), history.time[window].copy(), observer.window - 3)
        assert np.array_equal(observer.scaler(raw).reshape(3, -1), matrix[t - 2 : t + 1])
    later = observer.fit([(part, whole(part))])
    assert np.array_equal(later.scaler.mean, observer.scaler.mean)


def test_a_checkpoint_keeps_the_text_and_the_length_of_a_bar() -> None:
    history = panel(400, 9, seed=7, kind="spot")
    interface = make_env("spot", history, features=[*ALONE, *AMONG], n_rows=2).engine.interface
    plain = interface.describe()
    assert plain["features"] == [*ALONE, *AMONG] and plain["bar_ns"] == HOUR
    InterfaceEntry.model_validate_json(canonical(plain))
    again = interface_from(plain)
    assert again.window == interface.window
    assert np.array_equal(again.observer.matrix(history), interface.observer.matrix(history))
    assert pickle.loads(pickle.dumps(interface.observer.features[0])).name == ALONE[0]


def test_one_operator_changed_changes_what_is_seen() -> None:
    """The text is not decoration."""
    history = panel(300, 2, seed=7)
    one, other = features(["alpha:mean(ret1, 10)", "alpha:med(ret1, 10)"], (), HOUR)
    ours, theirs = (f.rows(history.values, history.time) for f in (one, other))
    assert np.nanmean(ours != theirs) > 0.9


@pytest.mark.parametrize("n", [1, 7])
def test_ranks_among_too_few_instruments_are_refused_in_a_sentence(n: int) -> None:
    with pytest.raises(UserError, match=rf"compares instruments.*needs 8 or more, but this market has {n};"):
        make_env("spot", panel(400, n, kind="spot"), features=["alpha:rank(ret1)"])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("alpha:close", "is a price; make a number of it"),
        ("alpha:ref(close,-1)/close", "character 11: .*later bar"),
        ("alpha:corr(close, volum, 5)", "did you mean 'volume'"),
        ("alpha:column:signla", "no column 'signla'; did you mean 'signal'"),
        ("alpha:", "there is nothing"),
        ("3h:alpha:ret1 +", "the formula ends"),
    ],
)
def test_mistakes_are_named(spec: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        features([spec], ("signal",), HOUR)


def test_a_list_of_features_is_not_cut_inside_a_formula() -> None:
    assert listed("rsi:14, alpha:corr(close, volume, 10),,x") == ["rsi:14", "alpha:corr(close, volume, 10)", "x"]
    text = "env.features=alpha:corr(close, volume, 10),rsi:14"
    tree = settings(Experiment, None, [text], {})
    assert tree["env"]["features"] in (["alpha:corr(close, volume, 10)", "rsi:14"], text.partition("=")[2])
    spot = catalog.load("envs", "spot")
    assert spot.Config(features=tree["env"]["features"]).features == ("alpha:corr(close, volume, 10)", "rsi:14")
