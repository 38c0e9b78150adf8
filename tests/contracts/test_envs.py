"""Every market of the catalogue keeps the contract."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from qframe_rl import catalog
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import whole
from qframe_rl.types import History
from tests.contracts import checks
from tests.markets import panel, prices

ENVS = catalog.bar_markets()
FEATURES = ("log_return:1", "log_return:4", "volatility:12", "rsi:3", "macd:3:6", "day_sin", "columns")


def kind(name: str) -> str:
    return {"perp": "perpetual", "funding": "mixed"}.get(name, "spot")


def maker(name: str, **params: object) -> checks.MakeEnv:
    """Makes the market over a history, its scaler fitted on the first rows only, as training does."""

    def make(history: History) -> TradingEnv:
        module = catalog.load("envs", name)
        config = module.Config(**{"features": FEATURES, "episode_bars": 150, **params})
        market = module.make(config, history.instruments, history.columns, history.bar_ns)
        seen, rest = history.rows(0, 60), history.rows(60, len(history))
        market = market.fit([(seen, whole(seen))])
        return market.env(market.tape([(rest, whole(rest))]))

    return make


@pytest.fixture(params=[1, 3])
def n_instruments(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("name", ENVS)
def test_gymnasiums_own_checker(name: str, n_instruments: int) -> None:
    history = panel(400, n_instruments, kind=kind(name))
    env = gymnasium.make(catalog.env_id(name), history=history, features=FEATURES, render_mode="rgb_array")
    check_env(env.unwrapped)


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize(
    "check",
    [
        checks.env_is_deterministic,
        checks.env_pickles,
        checks.env_snapshots,
        checks.env_conserves_money,
        checks.env_is_blind,
        checks.env_observations_do_not_alias,
    ],
)
def test_contract(name: str, check, n_instruments: int) -> None:  # type: ignore[no-untyped-def]
    history = panel(500, n_instruments, seed=11, kind=kind(name), volatility=0.01)
    check(maker(name), history)


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("reward", ["log_growth", "differential_sharpe", "drawdown"])
def test_rewards_are_finite_and_equal_for_equal_episodes(name: str, reward: str) -> None:
    history = panel(500, 2, seed=11, kind=kind(name))
    env = maker(name, reward=reward)(history)
    actions = checks.sampled(env, 100)
    one, two = checks.walk(env, actions, 5), checks.walk(env, actions, 5)
    checks.same(one, two)
    assert np.isfinite([step[1] for step in one]).all()


@pytest.mark.parametrize("name", ENVS)
def test_the_sum_of_log_rewards_is_the_log_of_what_became_of_equity(name: str) -> None:
    history = panel(500, 2, seed=12, kind=kind(name), volatility=0.005)
    env = maker(name)(history)
    log = checks.walk(env, checks.sampled(env, 200))
    total = sum(step[1] for step in log) / 100.0
    assert total == pytest.approx(np.log(log[-1][5] / log[0][5]), rel=1e-9)


def disaster(what: str, kind: str) -> History:
    n = 400
    if what == "flat":
        return prices(np.full(n, 100.0), kind=kind)
    if what == "crash":
        return prices(np.where(np.arange(n) < 200, 100.0, 10.0), kind=kind)
    if what == "surge":
        return prices(np.where(np.arange(n) < 200, 100.0, 1000.0), kind=kind)
    if what == "no volume":
        return prices(100.0 + np.sin(np.arange(n)), volume=0.0, kind=kind)
    return panel(n, 3, kind=kind)  # late listing, gaps, delisting


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("what", ["flat", "crash", "surge", "no volume", "gaps and delisting"])
def test_disasters_are_survived(name: str, what: str) -> None:
    history = disaster(what, kind(name))
    for seed in range(3):
        env = maker(name, episode_bars=None)(history)
        log = checks.walk(env, checks.sampled(env, 400, seed))
        for row, reward, *_, equity in log:
            assert env.observation_space.contains(row)
            assert np.isfinite(reward)
            assert equity >= 0.0
        assert log[-1][2] or log[-1][3]


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_batch_behaves_as_gymnasiums_own_vector_env(name: str, mode: AutoresetMode) -> None:
    history = panel(400, 2, kind=kind(name), seed=2)
    params = {"history": history, "features": FEATURES, "episode_bars": 23}
    checks.batch_is_as_gymnasiums_own(catalog.env_id(name), 4, mode, params, 120)


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_an_index_points_at_what_a_window_shows(name: str, mode: AutoresetMode) -> None:
    history = panel(400, 2, kind=kind(name), seed=2)
    params = {"history": history, "features": FEATURES, "episode_bars": 23, "n_rows": 3}
    checks.batch_points_at_what_it_shows(catalog.env_id(name), mode, params, 60)


@pytest.mark.parametrize("name", ENVS)
def test_disabled_autoreset_needs_a_reset_of_the_ended(name: str) -> None:
    history = panel(400, 1, kind=kind(name))
    vec = gymnasium.make_vec(
        catalog.env_id(name), num_envs=3, history=history, features=FEATURES, episode_bars=10,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    assert checks.batch_waits_for_a_reset(vec).all()


def test_time_limit_and_ruin_are_never_confused() -> None:
    history = prices(np.where(np.arange(300) < 150, 100.0, 500.0))
    module = catalog.load("envs", "perp")
    config = module.Config(
        features=("log_return:1",), episode_bars=None, actions={"name": "levels", "levels": [-1.0, 0.0]}
    )
    market = module.make(config, history.instruments, history.columns, history.bar_ns)
    for action, ruined in ((0, True), (1, False)):
        env = market.env(market.tape([(history, whole(history))]))
        log = checks.walk(env, [action] * 300)
        assert log[-1][2] == ruined
        assert log[-1][3] != ruined
        if ruined:
            assert log[-1][1] < -100.0  # bankruptcy is punished
            assert log[-1][5] == 0.0
