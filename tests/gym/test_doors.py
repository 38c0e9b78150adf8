"""What comes in through an environment's doors is looked at before anything moves: shapes, values, options."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from qframe_rl.agent import View
from qframe_rl.config import Ref, UserError
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.interface import rebalance
from qframe_rl.sb3.batch import BatchVecEnv
from qframe_rl.types import iso
from tests.markets import START, panel

PARAMS: dict[str, Any] = {"features": ["log_return:1"], "episode_bars": 30}
SCHEMES: dict[str, tuple[Any, list[Any]]] = {
    "levels": (1, [-1, 7, 1.7, np.nan]),
    "exposure": ([0.5], [[-1.01], [1.5], [np.nan]]),
    "simplex": ([0.5, 0.5], [[0.5, 1.01], [np.nan, 0.5], [-2.0, 0.0]]),
    "delta": ([0.5], [[-1.01], [np.nan]]),
    "limit": ([0.5, 0.5], [[0.5, 1.01], [-2.0, 0.0], [0.5, np.nan]]),
}
PROBLEMS: dict[str, tuple[Any, list[Any]]] = {
    "ar1_signal": (1, [-1, 7, 0.5, np.nan]),
    "kelly": ([0.5], [[1.5], [np.nan]]),
}


def batch(scheme: str, n: int) -> Any:
    vec = make_vec("spot", n, panel(200, 1, kind="spot"), actions=Ref(name=scheme), **PARAMS)
    vec.reset(seed=0)
    return vec


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n", [1, 4, 512])
def test_a_batch_takes_actions_of_its_own_shape_alone(scheme: str, n: int) -> None:
    """One action for 512 accounts read foreign memory before, and gave other rewards each time."""
    vec, good = batch(scheme, n), np.array(SCHEMES[scheme][0])
    right = np.broadcast_to(good, (n, *good.shape))
    before = vec.snapshot()
    for wrong in (
        right[:-1],
        np.concatenate([right, right[:1]]),
        right[..., None],
        good.ravel()[:0],
        right.ravel()[:1],
    ):
        if wrong.shape != right.shape:
            with pytest.raises(ValueError, match=r"actions have shape .* wants"):
                vec.step(wrong)
    for name, array in vec.snapshot().items():
        np.testing.assert_array_equal(array, before[name], name)
    vec.step(right)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_action_outside_the_space_is_named_and_moves_nothing(scheme: str) -> None:
    good, bad = SCHEMES[scheme]
    vec = batch(scheme, 4)
    env = make_env("spot", panel(200, 1, kind="spot"), actions=Ref(name=scheme), **PARAMS)
    env.reset(seed=0)
    before = vec.snapshot()
    for one in bad:
        rows = np.array([good, good, one, good])
        with pytest.raises(ValueError, match=r"environment 2: action .* is not in"):
            vec.step(rows)
        with pytest.raises(ValueError, match=r"^action .* is not in"):
            env.step(np.array(one))
    for one in ("x", {}, object(), None):
        none = np.full(np.shape(good), one, dtype=object)
        with pytest.raises(ValueError, match=r"actions are numbers; .* is none$|^action .* is not in"):
            env.step(none)
        with pytest.raises(ValueError, match=r"actions are numbers; .* is none$|environment 0: action .* is not in"):
            vec.step(np.array([none] * 4))
    for name, array in vec.snapshot().items():
        np.testing.assert_array_equal(array, before[name], name)


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_look_as_closely(name: str) -> None:
    good, bad = PROBLEMS[name]
    vec: Any = make_vec(name, 4)
    vec.reset(seed=0)
    for one in bad:
        with pytest.raises(ValueError, match=r"environment 2: action .* is not in"):
            vec.step(np.array([good, good, one, good]))
    with pytest.raises(ValueError, match="actions are numbers"):
        vec.step(np.full(np.shape([good] * 4), "1"))
    for wrong in (np.array([good] * 3), np.array([good] * 5), np.array([[good]] * 4)):
        with pytest.raises(ValueError, match=r"actions have shape"):
            vec.step(wrong)
    vec.step(np.array([good] * 4))


def test_the_action_of_one_who_waits_for_a_reset_is_not_looked_at() -> None:
    vec = batch("levels", 2)
    for _ in range(30):
        *_, truncated, _ = vec.step(np.array([0, 0]))
    assert truncated.all()
    vec.step(np.array([-1, 9]))
    with pytest.raises(ValueError, match="environment 0"):
        vec.step(np.array([-1, 0]))


def test_the_orders_of_one_action_are_as_strict() -> None:
    env = make_env("spot", panel(200, 1, kind="spot"), **PARAMS)
    interface, history = env.engine.interface, panel(200, 2, kind="spot")
    view = view_of(history)
    with pytest.raises(ValueError, match="not in"):
        interface.orders(7, view_of(panel(200, 1, kind="spot")))
    with pytest.raises(ValueError, match="shape"):
        rebalance(view, np.zeros(3))
    with pytest.raises(ValueError, match="shape"):
        rebalance(view, np.zeros(1))


def view_of(history: Any) -> View:
    from qframe_rl.types import Account, Fills

    n = len(history.instruments)
    account = Account(np.float64(1000.0), np.zeros(n), history.marks[-1])  # type: ignore[arg-type]
    return View(int(history.time[-1]), history.time, history.values, account, Fills.none(n), True, False, False, 0.0)


@pytest.mark.parametrize(
    "mask", [np.ones(3, dtype=bool), np.ones((4, 1), dtype=bool), np.ones(4), np.ones(5, dtype=bool)]
)
@pytest.mark.parametrize("name", ["spot", "kelly"])
def test_a_mask_of_another_shape_is_refused(name: str, mask: np.ndarray) -> None:
    vec: Any = make_vec(name, 4)
    vec.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask"):
        vec.reset(options={"reset_mask": mask})


def test_a_snapshot_of_another_batch_is_refused() -> None:
    one, other = batch("levels", 3), batch("levels", 4)
    with pytest.raises(ValueError, match="another batch"):
        other.restore(one.snapshot())
    state = one.snapshot()
    state["row"] = state["row"] + 10_000
    with pytest.raises(ValueError, match="other bars"):
        one.restore(state)
    kelly, more = make_vec("kelly", 3), make_vec("kelly", 2)
    with pytest.raises(ValueError, match="another batch"):
        more.restore(kelly.snapshot())


FEWER: dict[str, Any] = {"paths": {"name": "bootstrap", "params": {"paths": 5}}}


@pytest.mark.parametrize(
    ("name", "seed", "changed"),
    [
        ("spot", 1, {}),
        ("spot", 0, {"taker_fee_bps": 7.0}),
        ("spot", 0, {"cash": 77.0}),
        ("spot", 0, {"reward": {"name": "log_growth", "params": {"scale": 3.0}}}),
        ("spot", 0, {"features": ["log_return:2"]}),
        ("spot", 0, {"episode_bars": 31}),
        ("spot", 0, {"risk": {"max_leverage": 0.5}}),
        ("spot", 1, FEWER),
        ("kelly", None, {"p": 0.61}),
        ("kelly", None, {"reward_mode": "sampled"}),
    ],
)
def test_a_snapshot_of_another_market_is_refused_and_of_one_made_alike_is_taken(
    name: str, seed: int | None, changed: dict[str, Any]
) -> None:
    """As many episodes, arrays of the same shapes, and yet rows of other bars, or money of other rules."""
    base: dict[str, Any] = {} if seed is None else PARAMS | (changed if "paths" in changed else {})
    base |= {"risk": {"max_leverage": 0.4}} if "risk" in changed else {}

    def made(seed: int | None, **params: Any) -> Any:
        bars = {} if seed is None else {"history": panel(200, 1, seed=seed, kind="spot")}
        vec = make_vec(name, 3, **bars, **(base | params))
        vec.reset(seed=0)
        return vec

    one, like, other = made(None if seed is None else 0), made(None if seed is None else 0), made(seed, **changed)
    actions = np.broadcast_to(one.single_action_space.sample(), one.action_space.shape)
    kept, before = one.snapshot(), other.snapshot()
    with pytest.raises(UserError, match="of another market"):
        other.restore(kept)
    for key, array in other.snapshot().items():
        np.testing.assert_array_equal(array, before[key], key)
    like.step(actions)
    like.restore(kept)
    for ours, theirs in zip(one.step(actions)[:4], like.step(actions)[:4], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["spot", "kelly"])
def test_an_unknown_keyword_is_a_type_error_and_one_sentence(name: str) -> None:
    for make in (make_env, make_vec):
        with pytest.raises(TypeError, match="unexpected keyword argument 'speed'") as caught:
            make(name, speed=3)  # type: ignore[operator]
        assert isinstance(caught.value, UserError)
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        gymnasium.make(f"QFrame/{name.capitalize()}-v1" if name == "spot" else "QFrame/Kelly-v0", speed=3)


@pytest.mark.parametrize("name", ["QFrame/Spot-v1", "QFrame/Kelly-v0"])
def test_render_mode_is_taken_everywhere_and_checked(name: str) -> None:
    env = gymnasium.make(name, render_mode="rgb_array")
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    picture: Any = env.render()
    assert picture.shape == (640, 960, 3)
    assert picture.std() > 1.0
    bare: Any = env.unwrapped
    kept = bare.snapshot()
    bare.step(env.action_space.sample())
    bare.restore(kept)
    begun = bare.render()
    bare.step(env.action_space.sample())
    bare.restore(kept)
    np.testing.assert_array_equal(bare.render(), begun, "a picture begins where was returned to")
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before render"):
        gymnasium.make(name, render_mode="rgb_array").unwrapped.render()
    with pytest.raises(UserError, match="render_mode"):
        gymnasium.make(name, render_mode="ansi")
    with pytest.raises(UserError, match="a batch has no picture"):
        gymnasium.make_vec(name, render_mode="rgb_array")


@pytest.mark.parametrize("name", ["QFrame/Spot-v1", "QFrame/Kelly-v0"])
def test_a_step_before_the_reset_says_what_to_call(name: str) -> None:
    for env in (gymnasium.make(name), gymnasium.make_vec(name, num_envs=2)):
        with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
            env.step(env.action_space.sample())  # all of a batch walked one and the same episode


def test_a_step_after_the_end_says_what_to_call() -> None:
    env = make_env("spot", panel(200, 1, kind="spot"), **PARAMS)
    env.reset(seed=0)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    env.step(0)


def test_the_specification_says_how_long_an_episode_is() -> None:
    env = gymnasium.make("QFrame/Spot-v1", history="synthetic:ar1", episode_bars=77)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 77
    again = gymnasium.make(env.spec)
    one, two = env.reset(seed=3)[0], again.reset(seed=3)[0]
    assert np.array_equal(one, two)
    steps = 0
    while True:
        a, b = env.step(1), again.step(1)
        steps += 1
        assert np.array_equal(a[0], b[0])
        assert a[1:4] == b[1:4]
        if a[3]:
            break
    assert steps == 77
    vec = gymnasium.make_vec("QFrame/Spot-v1", num_envs=2, history="synthetic:ar1", episode_bars=77)
    assert vec.spec is not None
    assert vec.spec.max_episode_steps == 77
    assert gymnasium.make("QFrame/Spot-v1", episode_bars=None).spec.max_episode_steps is None  # type: ignore[union-attr]
    assert gymnasium.make("QFrame/GarleanuPedersen-v0").spec.max_episode_steps  # type: ignore[union-attr]


def test_a_start_can_be_asked_for_by_row_and_by_time() -> None:
    history = panel(200, 1, kind="spot")
    env = make_env("spot", history, **PARAMS)
    for start in (50, int(history.time[50]), iso(int(history.time[50])), int(history.time[50]) - 1):
        _, info = env.reset(seed=0, options={"start": start})
        assert info["time"] == history.time[50]
        assert int(env.engine.last[0]) == 80
    env.reset(seed=0, options={"start": 190})
    assert int(env.engine.last[0]) == 199
    vec: Any = make_vec("spot", 3, history, info=("time",), **PARAMS)
    _, infos = vec.reset(seed=0, options={"start": [20, 30, 40]})
    assert infos["time"].tolist() == history.time[[20, 30, 40]].tolist()
    mask = np.array([False, True, False])
    _, infos = vec.reset(options={"start": 60, "reset_mask": mask})
    assert infos["time"].tolist() == history.time[[20, 60, 40]].tolist()
    assert infos["_time"].tolist() == mask.tolist()


@pytest.mark.parametrize("scheme", ["levels", "exposure", "limit"])
def test_an_episode_from_a_start_is_the_same_whatever_the_seed(scheme: str) -> None:
    history = panel(200, 1, kind="spot")
    lived = []
    for seed in range(4):
        env = make_env("spot", history, **PARAMS | {"actions": scheme})
        env.action_space.seed(1)
        env.reset(seed=seed, options={"start": 50})
        actions = [env.action_space.sample() for _ in range(5)]
        lived.append([env.step(action)[1] for action in actions])
    assert any(lived[0])
    assert all(rewards == lived[0] for rewards in lived)


@pytest.mark.parametrize("start", [0, 199, 10_000, -1, START, "2019-01-01", "2031-01-01"])
def test_a_start_where_no_episode_can_begin_is_refused(start: object) -> None:
    env = make_env("spot", panel(200, 1, kind="spot"), **PARAMS)
    with pytest.raises(UserError, match="no episode can begin at"):
        env.reset(options={"start": start})


def test_an_engine_begins_on_no_row_that_cannot_be_seen() -> None:
    """A row before the tape, or too near its beginning, showed what no episode sees."""
    vec = make_vec("spot", 2, panel(200, 1, kind="spot"), n_rows=8, **PARAMS)
    vec.reset(seed=0)
    for rows in ([-1, 20], [20, 6], [200, 20]):
        with pytest.raises(ValueError, match="rows of the tape are wanted"):
            vec.engine.reset(np.ones(2, dtype=np.bool_), np.array(rows))  # type: ignore[union-attr]


def test_other_options_are_refused() -> None:
    for name in ("spot", "kelly"):
        for env in (make_env(name), make_vec(name)):
            with pytest.raises(UserError, match="no option 'begin'"):
                env.reset(options={"begin": 3})
    with pytest.raises(UserError, match="2 values for 3"):
        make_vec("spot", 3).reset(options={"start": [50, 60]})


def test_seeds_may_be_one_for_each() -> None:
    history = panel(200, 1, kind="spot")
    vec: Any = make_vec("spot", 3, history, **PARAMS)
    rows, _ = vec.reset(seed=[11, 4, 7])
    for row, seed in zip(rows, (11, 4, 7), strict=True):
        assert np.array_equal(row, make_env("spot", history, **PARAMS).reset(seed=seed)[0])
    with pytest.raises(ValueError, match="2 seeds for 3"):
        vec.reset(seed=[1, 2])
    with pytest.raises(TypeError, match="integer"):
        vec.reset(seed=[1, 2, 2.5])


@pytest.mark.parametrize("n", [0, -3, 2.5, "4"])
@pytest.mark.parametrize("name", ["spot", "kelly"])
def test_a_batch_has_one_environment_at_least(name: str, n: Any) -> None:
    with pytest.raises(UserError, match="num_envs must be a whole number, at least 1"):
        make_vec(name, n)


def test_stable_baselines3_is_told_which_mode_it_needs() -> None:
    with pytest.raises(UserError, match="SAME_STEP"):
        BatchVecEnv(make_vec("spot", 2))
    BatchVecEnv(make_vec("spot", 2, autoreset_mode=AutoresetMode.SAME_STEP))


def viewed(**params: Any) -> BatchVecEnv:
    made = make_vec(
        "spot", 3, panel(200, 1, kind="spot"), autoreset_mode=AutoresetMode.SAME_STEP, **(PARAMS | params)
    )  # fmt: skip
    return BatchVecEnv(made)


def test_stable_baselines3_has_episodes_of_the_seed_that_it_is_told() -> None:
    """`PPO(..., seed=0)` was another training each time."""
    one, two, three = (viewed() for _ in range(3))
    one.seed(5), two.seed(5), three.seed(6)
    rows, others = one.reset(), three.reset()
    assert np.array_equal(rows, two.reset())
    assert not np.array_equal(rows, others)
    assert np.array_equal(rows, make_vec("spot", 3, panel(200, 1, kind="spot"), **PARAMS).reset(seed=5)[0])
    assert not np.array_equal(rows, one.reset())  # a seed is for the next reset alone


def test_stable_baselines3_is_shown_dicts_and_told_what_was_asked_for() -> None:
    env = viewed(observation="dict", info=("equity", "costs"))
    env.seed(0)
    assert env.observation_space.contains({name: part[0] for name, part in env.reset().items()})
    for _ in range(30):
        seen, _, over, infos = env.step(np.full(3, 2))
    assert over.all()
    assert infos[0]["terminal_observation"]["market"].shape == seen["market"].shape[1:]
    assert infos[0]["equity"] != 10_000.0  # of the episode that ended
    assert infos[0]["costs"].keys() == {"fee", "spread", "impact", "funding"}
    env.step(np.full(3, 2))
    env.reset()
    for _ in range(30):
        *_, infos = env.step(np.full(3, 2))
    assert infos[0]["episode"]["l"] == 30  # what came before a reset does not count


def test_a_dict_of_observations_has_the_numbers_of_the_row() -> None:
    history = panel(200, 2, kind="spot")
    params: dict[str, Any] = {**PARAMS, "features": ["log_return:1", "4h:rsi:2", "day_sin"], "n_rows": 3}
    flat, env = make_env("spot", history, **params), make_env("spot", history, observation="dict", **params)
    vec: Any = make_vec("spot", 4, history, observation="dict", autoreset_mode=AutoresetMode.SAME_STEP, **params)
    row, parts = flat.reset(seed=2)[0], env.reset(seed=2)[0]
    many = vec.reset(seed=2)[0]
    env.action_space.seed(0)
    for _ in range(40):
        assert np.array_equal(row, np.concatenate([parts["market"].ravel(), parts["account"].ravel()]))
        assert env.observation_space.contains(parts)
        assert vec.observation_space.contains(many)
        assert np.array_equal(many["market"][0], parts["market"])
        action = env.action_space.sample()
        actions = np.stack([action] * 4)
        row, _, _, over, _ = flat.step(action)
        parts, many = env.step(action)[0], vec.step(actions)[0]
        if over:
            break
    assert parts["market"].shape == (3, 2, 3)
    assert parts["account"].shape == (2, 2)
    with pytest.raises(UserError, match="index is an observation of batches"):
        make_env("spot", history, observation="index", **params)


@pytest.mark.parametrize("name", ["spot", "ar1_signal"])
@pytest.mark.parametrize("n", [None, 3])
def test_after_a_restore_episodes_begin_as_those_of_the_one_that_was_kept(name: str, n: int | None) -> None:
    """A fresh environment drew a seed of its own for the next episode, which was then another one each time."""
    given = (panel(200, 1, kind="spot"),) if name == "spot" else ()
    params = PARAMS if name == "spot" else {}

    def made() -> Any:
        if n is None:
            return make_env(name, *given, **params)
        return make_vec(name, n, *given, autoreset_mode=AutoresetMode.DISABLED, **params)

    def lived(env: Any) -> list[Any]:
        rows: list[Any] = [env.step(action)[:2]]
        for _ in range(2):
            rows.append(env.reset(**options)[0])
            rows.append(env.step(action)[:2])
        return rows

    one, options = made(), {} if n is None else {"options": {"reset_mask": np.array([True, False, True])}}
    one.reset(seed=7)
    one.action_space.seed(1)
    action = one.action_space.sample()
    one.step(action)
    kept = one.snapshot()
    for _ in range(2):
        again = made()
        again.restore(kept)
        one.restore(kept)
        for ours, theirs in zip(lived(one), lived(again), strict=True):
            np.testing.assert_equal(ours, theirs)
    fresh = made()
    fresh.restore(made().snapshot())
    fresh.reset()
    assert fresh.snapshot()["seed"].all(), "where nothing has begun there is no seed to go on with"
