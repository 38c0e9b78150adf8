"""Training on paths rebuilt from resampled moves: each is what the bootstrap says, and made of training bars alone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from agents import dmn, ppo
from qframe_rl.agent import State
from qframe_rl.catalog import load
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_agent, make_market
from qframe_rl.evaluate.montecarlo.prices import moves_of, resampled, usual_block
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.gym.market import Market, MarketConfig
from qframe_rl.gym.packed import tape_of
from qframe_rl.gym.paths import ResampledPaths, ResampledTape
from qframe_rl.runner.executors import Mute
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History, Segment
from tests.markets import panel

PARAMS: dict[str, Any] = {"features": ["log_return:1", "volatility:12"], "episode_bars": 30}
BOOTSTRAP: dict[str, Any] = {**PARAMS, "paths": {"name": "bootstrap", "params": {"paths": 40}}}
HISTORY = panel(600, 2)
FOLD = Fold((Segment(0, 400),), (Segment(430, 500),), (Segment(530, 600),))


def market(**params: Any) -> Market:
    ref = Ref(name="perp", params={**BOOTSTRAP, **params})
    made = make_market(ref, HISTORY.instruments, HISTORY.columns, HISTORY.bar_ns)
    return made.fit([(HISTORY, FOLD.train)])


def walk(vec: Any, n_steps: int, actions: np.ndarray | None = None) -> list[Any]:
    lived = []
    for t in range(n_steps):
        act = np.zeros(vec.action_space.shape, dtype=vec.action_space.dtype) if actions is None else actions[t]
        lived.append(vec.step(act))
    return lived


def test_a_path_is_the_bootstraps_and_lies_on_the_tape_as_any_history() -> None:
    made = market()
    paths = made.lessons([(HISTORY, FOLD.train)], 5)
    assert isinstance(paths, ResampledPaths)
    assert len(paths) == 40
    window = made.interface.window
    assert paths.n_bars == window + 30
    moves = moves_of(HISTORY.rows(0, 400))
    expected = resampled(moves, window + 30, usual_block(moves, window), 5, 7)
    got, (segment,) = paths[7]
    assert np.array_equal(got.values, expected.values, equal_nan=True)
    assert segment == Segment(0, window + 30)
    tape = made.tape(paths)
    assert isinstance(tape, ResampledTape)
    assert not tape.features.any()
    tape.ready(np.array([7 * paths.n_bars + window]))
    rows = slice(7 * paths.n_bars, 8 * paths.n_bars)
    alone = tape_of([paths[7]], made.interface.observer)
    assert np.array_equal(tape.bars[rows], alone.bars, equal_nan=True)
    assert np.array_equal(tape.features[rows], alone.features)
    assert np.array_equal(tape.time[rows], alone.time)
    assert tape.runs[7].tolist() == (alone.runs[0] + 7 * paths.n_bars).tolist()
    assert [k for k, written in enumerate(tape.written) if written] == [7]


def test_an_episode_walks_one_path_and_many_are_walked() -> None:
    env: Any = make_env("perp", HISTORY, **BOOTSTRAP)
    seen = set()
    for seed in range(200):
        env.reset(seed=seed)
        n_bars = env.engine.tape.paths.n_bars
        path, place = divmod(int(env.engine.row[0]), n_bars)
        assert place == env.engine.interface.window - 1
        assert int(env.engine.last[0]) == (path + 1) * n_bars - 1
        seen.add(path)
    assert len(seen) > 35


def test_what_an_environment_lives_through_does_not_depend_on_how_many_there_are() -> None:
    few: Any = make_vec("perp", 3, HISTORY, AutoresetMode.SAME_STEP, **BOOTSTRAP)
    many = make_vec("perp", 20, HISTORY, AutoresetMode.SAME_STEP, **BOOTSTRAP)
    assert np.array_equal(few.reset(seed=4)[0], many.reset(seed=4)[0][:3])
    rng = np.random.default_rng(0)
    actions = rng.integers(0, few.single_action_space.nvec[0], (100, 20, 2))
    one, other = walk(few, 100, actions[:, :3]), walk(many, 100, actions)
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a[0], b[0][:3])
        assert np.array_equal(a[1], b[1][:3])
    assert any(step[1].any() for step in one)


def test_a_snapshot_goes_on_in_another_batch() -> None:
    first, second = (make_vec("perp", 4, HISTORY, AutoresetMode.SAME_STEP, **BOOTSTRAP) for _ in range(2))
    first.reset(seed=1)
    walk(first, 50)
    second.restore(first.snapshot())
    for a, b in zip(walk(first, 50), walk(second, 50), strict=True):
        assert np.array_equal(a[0], b[0])
        assert np.array_equal(a[1], b[1])


def test_a_tape_can_be_sent_to_another_process() -> None:
    env: Any = make_env("perp", HISTORY, **BOOTSTRAP)
    env.reset(seed=3)
    again = pickle.loads(pickle.dumps(env.engine.tape))
    assert again.written == env.engine.tape.written
    again.ready(np.array([0]))
    assert again.written[0]


def test_paths_are_made_of_the_training_bars_alone() -> None:
    """Whatever happens in bars that stop or judge the training, and between, it walks the same paths."""
    values = HISTORY.values.copy()
    values[400:, :, :4] *= 3.0
    other = replace(HISTORY, values=values)
    tasks = [MarketTask(market(), history, FOLD, 9) for history in (HISTORY, other)]
    made = [task.train[3][0] for task in tasks]
    assert np.array_equal(made[0].values, made[1].values, equal_nan=True)
    assert len(tasks[0].train) == 40
    measured = MarketTask(market(paths="measured"), HISTORY, FOLD, 9).train
    drawn = {round(float(x), 9) for k in range(5) for x in moves_of(tasks[0].train[k][0]).close[1:, 0] if x}
    there = {round(float(x), 9) for x in moves_of(measured[0][0]).close[:, 0]}
    assert drawn <= there
    assert len(drawn) > 50


def test_several_pieces_give_one_pool_of_moves() -> None:
    whole = panel(400, 2, ragged=False)
    halves = [(whole.rows(0, 200), (Segment(20, 200),)), (whole.rows(200, 400), (Segment(0, 100),))]
    paths = market().lessons(halves, 0)
    there = {
        round(float(x), 9)
        for history, (segment,) in halves
        for x in moves_of(history).close[segment.start : segment.stop, 1]
    }
    drawn = {round(float(x), 9) for k in range(40) for x in moves_of(paths[k][0]).close[1:, 1] if x}
    assert drawn <= there
    early = {round(float(x), 9) for x in moves_of(whole.rows(0, 200)).close[20:, 1]}
    assert drawn & early
    assert drawn - early


def trained(agent: str, config: Any, **params: Any) -> State:
    made = market(**params)
    strategy: Any = make_agent(agent, config, made, HISTORY.columns, 2, None)
    strategy.fit(MarketTask(made, HISTORY, FOLD, 2), Mute())
    return dict(strategy.state())


@pytest.mark.parametrize("memory", [{}, {"network": "gru", "memory": "episode", "units": 8}])
def test_ppo_learns_from_paths_and_other_weights_than_from_bars(memory: dict[str, Any]) -> None:
    config = ppo.Config.model_validate(ppo.QUICK | memory)
    one, again = trained("ppo", config), trained("ppo", config)
    measured = trained("ppo", config, paths="measured")
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert any(not np.array_equal(one[name], measured[name]) for name in one)
    assert all(np.isfinite(value).all() for value in one.values())


def test_a_learner_of_bars_learns_from_paths_too() -> None:
    config = dmn.Config(**load("agents", "dmn").QUICK)
    one = trained("dmn", config, paths={"name": "bootstrap", "params": {"paths": 3}})
    measured = trained("dmn", config, paths="measured")
    assert any(not np.array_equal(one[name], measured[name]) for name in one)


@pytest.mark.parametrize("network", ["lstm", "gru"])
def test_a_network_that_reads_all_bars_at_once_is_refused(network: str) -> None:
    with pytest.raises(UserError, match="take memory episode"):
        trained("ppo", ppo.Config.model_validate(ppo.QUICK | {"network": network, "units": 8}), n_rows=8)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ("boostrap", "did you mean"),
        ({"name": "bootstrap", "params": {"paths": 0}}, "paths"),
        ({"name": "bootstrap", "params": {"block": 0.5}}, "block"),
        ({"name": "measured", "params": {"paths": 10}}, "paths"),
    ],
)
def test_what_there_is_not_is_refused(paths: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_env("perp", HISTORY, **PARAMS, paths=paths)


def test_what_is_too_short_is_refused() -> None:
    short: History = HISTORY.rows(0, 1)
    with pytest.raises(UserError, match="bars"):
        make_env("perp", short, **BOOTSTRAP)


def test_a_checkpoint_of_before_universes_of_instruments_has_its_paths() -> None:
    before = {"universe": {"name": "bootstrap", "params": {"paths": 3}}}
    made = MarketConfig.model_validate(before)
    assert made == MarketConfig(paths={"name": "bootstrap", "params": {"paths": 3}})
    assert made.paths.params == {"paths": 3}
