"""Stable-Baselines3 behind the house's interface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from agents import sb3
from qframe_rl.agent import MarketSpec
from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import make_market
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.market import whole
from qframe_rl.runner.solve.solve import ProblemTask, scores
from qframe_rl.types import History
from tests.contracts import checks
from tests.markets import history_of, panel

ROLLOUT = {"n_steps": 32, "batch_size": 128, "n_epochs": 2}
REPLAY = {"learning_starts": 64, "batch_size": 32, "buffer_size": 2000}
OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": ROLLOUT, "recurrent_ppo": ROLLOUT, "maskable_ppo": ROLLOUT, "a2c": {"n_steps": 8},
    "dqn": REPLAY, "qr_dqn": REPLAY, "sac": REPLAY, "td3": REPLAY, "tqc": REPLAY,
}  # fmt: skip
CHOICE = ("ppo", "a2c", "recurrent_ppo", "maskable_ppo", "dqn", "qr_dqn")
STEERING = ("ppo", "a2c", "recurrent_ppo", "sac", "td3", "tqc")


def agent(spec: MarketSpec, algorithm: str = "ppo", **params: Any) -> sb3.Sb3:
    common = {"total_steps": 512, "n_envs": 4, "hidden": (16,), "algorithm": algorithm, "options": OPTIONS[algorithm]}
    return sb3.make(build(sb3.Config, {**common, **params}, "test"), spec)


def task(name: str = "regime", seed: int = 3, **params: Any) -> ProblemTask:
    return ProblemTask(make_problem(Ref(name=name, params=params)), seed)


@pytest.mark.parametrize(
    ("name", "algorithm"), [("regime", a) for a in CHOICE] + [("market_making", a) for a in STEERING]
)
def test_each_algorithm_trains_to_the_same_bits_and_is_restored(name: str, algorithm: str) -> None:
    work = task(name)
    one, two = agent(work.spec, algorithm), agent(work.spec, algorithm)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr] # noqa: NPY002
    one.fit(work, checks.Quiet())
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index] # noqa: NPY002
    two.fit(task(name), checks.Quiet())
    assert one.state().keys() == two.state().keys()
    for key, value in one.state().items():
        assert np.array_equal(value, two.state()[key]), key
    third = agent(work.spec, algorithm)
    third.restore(one.state())
    played = [scores(work.problem, each.policy(), 20) for each in (one, one, third)]
    assert np.array_equal(played[0], played[1])
    assert np.array_equal(played[0], played[2])


class OneBuffer(VectorEnv[Any, Any, Any]):
    """Counts its steps in a single observation array that it writes over and over; episodes are cut after five."""

    def __init__(self, n_envs: int):
        self.num_envs = n_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = spaces.Box(0.0, 1e6, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.buffer = np.zeros((n_envs, 1), dtype=np.float32)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self.buffer, {}

    def step(self, actions: Any) -> tuple[Any, ...]:
        self.buffer += 1.0
        over = np.full(self.num_envs, int(self.buffer[0, 0]) % 5 == 0)
        rewards, never = np.ones(self.num_envs), np.zeros(self.num_envs, dtype=np.bool_)
        return self.buffer, rewards, never, over, {"final_obs": self.buffer, "_final_obs": over}


def test_a_batch_that_reuses_its_buffer_is_stored_as_it_was_seen() -> None:
    """Stable-Baselines3 stores the observation of step t after step t + 1: uncopied, it would store the later one."""
    from stable_baselines3 import DQN, PPO

    from qframe_rl.sb3.batch import BatchVecEnv

    class Uncopied(BatchVecEnv):
        def step_wait(self) -> Any:
            _, *rest = super().step_wait()
            return self.envs.buffer, *rest  # type: ignore[attr-defined]

    def stored(batch: Any) -> Any:
        model = PPO("MlpPolicy", batch, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
        model.learn(32)
        # Updates flatten the buffer, environment by environment.
        return model.rollout_buffer.observations.reshape(2, 16)[0]

    assert np.array_equal(stored(BatchVecEnv(OneBuffer(2))), np.arange(16))
    with pytest.raises(AssertionError):
        assert np.array_equal(stored(Uncopied(OneBuffer(2))), np.arange(16))
    model = DQN("MlpPolicy", BatchVecEnv(OneBuffer(2)), learning_starts=100, buffer_size=100, seed=0, device="cpu")
    model.learn(40)
    buffer = model.replay_buffer
    assert buffer is not None
    assert np.array_equal(buffer.observations[:16, 0, 0], np.arange(16))
    assert np.array_equal(buffer.next_observations[:16, 0, 0], np.arange(1, 17))


def test_a_cut_episode_is_bootstrapped_and_rewards_are_scaled() -> None:
    from qframe_rl.deep.scale import return_scale
    from qframe_rl.sb3.batch import BatchVecEnv

    batch = BatchVecEnv(OneBuffer(3), scale=0.5)
    batch.reset()
    for k in range(1, 6):
        batch.step_async(np.zeros(3))
        _, rewards, over, infos = batch.step_wait()
        assert np.array_equal(rewards, np.full(3, 0.5, dtype=np.float32))
        assert over.all() == (k == 5)
    assert infos[0] == {"terminal_observation": np.array([5.0]), "TimeLimit.truncated": True,
                        "episode": {"r": 5.0, "l": 5}}  # fmt: skip
    envs = OneBuffer(2)
    envs.action_space = spaces.MultiDiscrete([2, 2])
    assert return_scale(envs, 1.0, 50, 0) == pytest.approx(1.0 / np.std([1, 2, 3, 4, 5]))


class Stops(checks.Quiet):
    """Presses Ctrl-C after so many steps."""

    def __init__(self, after: int):
        self.after = after

    def progress(self, done: int, total: int, note: str = "") -> None:
        if done >= self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "algorithm", "params"),
    [
        *(("regime", algorithm, {}) for algorithm in CHOICE),
        *(("market_making", algorithm, {}) for algorithm in STEERING[3:]),
        ("regime", "ppo", {"evaluations": 4}),
        ("market_making", "sac", {"evaluations": 4, "options": REPLAY | {"buffer_size": 200}}),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_bits(
    name: str, algorithm: str, params: dict[str, Any], tmp_path: Path
) -> None:
    """Rollouts, experience, episodes, memory and random numbers go on where they were when it was last kept."""
    whole = agent(task(name).spec, algorithm, **params)
    whole.fit(task(name), checks.Quiet())
    work = ProblemTask(make_problem(Ref(name=name)), 3, tmp_path / "snapshot")
    with pytest.raises(KeyboardInterrupt):
        agent(work.spec, algorithm, **params).fit(work, Stops(300))
    kept = work.recall()
    assert 128 <= kept["steps"][0] < 512
    heard: list[int] = []

    class Hears(checks.Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            heard.append(done)

    two = agent(work.spec, algorithm, **params)
    two.fit(work, Hears())
    assert min(heard) > kept["steps"][0]
    assert two.state().keys() == whole.state().keys()
    for key, value in whole.state().items():
        assert np.array_equal(value, two.state()[key]), key


def test_validation_keeps_the_best_policy_and_ends_the_training_early() -> None:
    work = task()
    seen: list[np.ndarray] = []
    given = iter([1.0, 3.0, 2.0, 2.5, 9.0])

    def validate(judged: Any) -> float:
        seen.append(scores(work.problem, judged.policy(), 10))
        return next(given)

    work.validate = validate  # type: ignore[method-assign]
    made = agent(work.spec, total_steps=2048, evaluations=16, patience=2, learning_rate=0.05)
    made.fit(work, checks.Quiet())
    assert len(seen) == 4
    assert np.array_equal(scores(work.problem, made.policy(), 10), seen[1])


def test_forbidden_actions_are_never_taken() -> None:
    allowed = np.array([True, False, True])
    problem = replace(make_problem(Ref(name="ar1_signal")), masks=lambda rows: np.tile(allowed, (len(rows), 1)))
    taken: list[np.ndarray] = []

    class Watched(ProblemTask):
        def envs(self, n_envs: int) -> Any:
            envs = super().envs(n_envs)
            step = envs.step
            envs.step = lambda actions: (taken.append(np.array(actions)), step(actions))[1]  # type: ignore[method-assign]
            return envs

    work = Watched(problem, 0)
    made = agent(work.spec, "maskable_ppo", scale_rewards=False)
    made.fit(work, checks.Quiet())
    assert 1 not in np.concatenate(taken)
    act = made.policy()
    envs = problem.vec(64)
    rows, _ = envs.reset(seed=1)
    for _ in range(20):
        actions = act(rows)
        assert 1 not in actions
        rows = envs.step(actions)[0]


def market(history: History, **params: Any) -> Any:
    ref = Ref(name="perp", params={"features": ["log_return:1", "volatility:12"], "episode_bars": 50, **params})
    made = make_market(ref, history.instruments, history.columns, history.bar_ns)
    return made.fit([(history.rows(0, 200), whole(history.rows(0, 200)))])


@pytest.mark.parametrize("params", [{"extractor": "cnn"}, {"extractor": "lstm"}, {"algorithm": "recurrent_ppo"}])
def test_windows_and_memory_in_a_market(params: dict[str, Any]) -> None:
    history = panel(400, 2, seed=3, kind="perpetual", volatility=0.01)
    rows = 6 if "extractor" in params else 1
    quick = {"options": ROLLOUT, "total_steps": 256, "n_envs": 4}

    def setup(bars: History) -> Any:
        place = market(bars, n_rows=rows)
        return place, checks.setup("sb3", place, bars, {**quick, **params})

    place, made = setup(history)
    checks.agent_is_deterministic(place, made, history)
    checks.agent_is_blind(setup, history)


def foretold(n_bars: int, n_shown: int) -> History:
    """A random walk whose next open-to-open returns are published as columns."""
    rng = np.random.default_rng(1)
    opening = 100.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(n_bars)))
    close = opening * np.exp(0.005 * rng.standard_normal(n_bars))
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    ahead = np.zeros((n_bars, n_shown))
    for k in range(n_shown):
        ahead[: -2 - k, k] = opening[2 + k :] / opening[1 + k : n_bars - 1] - 1.0
    channels = [opening, high, low, close, np.full(n_bars, 1e6), *ahead.T]
    values = np.stack(channels, axis=-1)[:, None]
    return history_of(values, columns=tuple(f"ahead_{k}" for k in range(n_shown)))


def agreement(n_shown: int, actions: str) -> float:
    history = foretold(6000, n_shown)
    ref = Ref(
        name="perp",
        params={"features": ["columns" if n_shown else "log_return:1"], "actions": {"name": actions, "low": -1.0}
                if actions == "exposure" else {"name": "levels", "levels": [-1.0, 0.0, 1.0]}},
    )  # fmt: skip
    made = make_market(ref, history.instruments, history.columns, history.bar_ns)
    made = made.fit([(history, whole(history))])
    heard: dict[str, float] = {}

    class Hears(checks.Quiet):
        def scalar(self, name: str, value: float, step: int) -> None:
            heard[name] = value

    class Work:
        spec = made.spec(history.columns, 0)
        train = ((history, whole(history)),)

        def envs(self, n_envs: int) -> Any:
            envs = made.vec(made.tape(self.train), n_envs, AutoresetMode.SAME_STEP)
            envs.reset(seed=0)
            return envs

        def recall(self) -> Any:
            return {}

        def remember(self, state: Any) -> None:
            pass

    taught = agent(Work.spec, clone_epochs=60, hidden=(64, 64), total_steps=128)
    taught.fit(Work(), Hears())  # type: ignore[arg-type]
    return heard["clone/agreement"]


@pytest.mark.parametrize("actions", ["levels", "exposure"])
def test_a_clone_that_is_shown_the_future_does_what_hindsight_does(actions: str) -> None:
    assert agreement(5, actions) > 0.99


def test_a_clone_that_is_not_shown_the_future_cannot() -> None:
    assert agreement(0, "levels") < 0.65


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("market_making", {"algorithm": "dqn"}, "'dqn' cannot take Box.*take one of ppo, a2c, sac, td3"),
        ("regime", {"algorithm": "sac"}, "take one of ppo, a2c, dqn, recurrent_ppo, qr_dqn, maskable_ppo"),
        ("market_making", {"algorithm": "maskable_ppo"}, "cannot take Box"),
        ("regime", {"extractor": "cnn"}, "set env.n_rows to 2 or more"),
        ("regime", {"algorithm": "dqn", "clone_epochs": 3}, "clone_epochs is for ppo"),
        ("regime", {"options": {"n_stepz": 3}}, "unknown key 'n_stepz'; did you mean 'n_steps'"),
    ],
)
def test_what_cannot_work_is_refused_before_training(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sb3.make(build(sb3.Config, params, "test"), task(name).spec)


def test_hindsight_teaches_nothing_where_there_are_no_bars() -> None:
    work = task()
    with pytest.raises(UserError, match="set it to 0"):
        agent(work.spec, clone_epochs=2).fit(work, checks.Quiet())


def test_weights_of_another_shape_are_refused() -> None:
    work = task()
    one = agent(work.spec)
    one.fit(work, checks.Quiet())
    with pytest.raises(ValueError, match="another shape"):
        agent(work.spec, hidden=(8,)).restore(one.state())
    with pytest.raises(RuntimeError, match="train or restore"):
        agent(work.spec).policy()
