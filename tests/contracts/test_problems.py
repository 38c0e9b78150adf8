"""Every problem of the catalogue keeps the contract of an environment, and its theory keeps its word."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from qframe_rl import catalog
from qframe_rl.config import Ref, UserError
from qframe_rl.gym.make import is_problem, make_problem
from qframe_rl.gym.problem import Problem, Theory
from qframe_rl.runner.solve.solve import scores
from tests.contracts import checks

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in catalog.problems()),
    ("regime", {"hidden": True}),
    ("kelly", {"game": "gbm"}),
    ("market_making", {"fill_model": "linear", "limit": 4}),
    ("execution", {"n_steps": 20, "aversion": 2e-6}),
    ("garleanu_pedersen", {"decay": 0.5, "max_position": 4.0}),
    ("ar1_signal", {"cost": 0.5}),
    ("turning_signal", {"shown": True}),
    ("turning_signal", {"noise": 8.0, "episode_steps": 100}),
    ("unknown_market", {"prior": "drifts", "episode_steps": 64}),
    ("unknown_market", {"prior": "regimes"}),
    ("unknown_market", {"prior": "signs", "shown": True}),
]
IDS = [" ".join([name, *(f"{k}={v}" for k, v in params.items())]) for name, params in CASES]
both = pytest.mark.parametrize("mode", ["expected", "sampled"])
every = pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)


def problem(name: str, params: dict[str, Any], mode: str = "expected") -> Problem:
    return make_problem(Ref(name=name, params={**params, "reward_mode": mode}))


@cache
def solved(name: str, mode: str = "expected", **params: Any) -> Theory:
    """Its theory, once for all tests here."""
    return problem(name, params, mode).theory()


def test_the_catalogue_knows_them_by_their_text_and_by_their_kind() -> None:
    assert set(catalog.problems()) == {name for name in catalog.names("envs") if is_problem(name)}
    assert {name for name, _ in CASES} == set(catalog.problems())


@every
@both
def test_gymnasiums_own_checker(name: str, params: dict[str, Any], mode: str) -> None:
    """Pictures know nothing of how rewards are told: they are drawn in one mode."""
    env = gymnasium.make(catalog.env_id(name), reward_mode=mode, **params).unwrapped
    check_env(env, skip_render_check=mode == "sampled")


@every
@both
@pytest.mark.parametrize("reset", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_batch_behaves_as_gymnasiums_own_vector_env(
    name: str, params: dict[str, Any], mode: str, reset: AutoresetMode
) -> None:
    params = {**params, "reward_mode": mode}
    assert checks.batch_is_as_gymnasiums_own(catalog.env_id(name), 3, reset, params, 270) >= 3


@every
@both
def test_observations_lie_in_their_space_and_are_never_written_again(
    name: str, params: dict[str, Any], mode: str
) -> None:
    checks.batch_observations_stay(problem(name, params, mode).vec(64, AutoresetMode.SAME_STEP), 120)


@every
@both
def test_what_is_plain_to_see_pays_numbers(name: str, params: dict[str, Any], mode: str) -> None:
    """A drift, a slope or an edge far beyond the noise: odds beyond the largest number were none, nor was a reward."""
    plain = {field: 1e3 for field in ("drift", "slope") if field in catalog.load("envs", name).Config.model_fields}
    if name == "unknown_market" or not plain:
        pytest.skip("none is a number by itself")
    env = problem(name, {**params, **plain}, mode).vec(8)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(20):
        assert np.isfinite(env.step(env.action_space.sample())[1]).all()


@every
def test_it_pickles_and_snapshots_to_the_same_bits(name: str, params: dict[str, Any]) -> None:
    checks.batch_goes_back(problem(name, params, "sampled").vec(5), 40)


@every
def test_disabled_autoreset_needs_a_reset_of_the_ended(name: str, params: dict[str, Any]) -> None:
    checks.batch_waits_for_a_reset(problem(name, params).vec(2, AutoresetMode.DISABLED))


@every
@both
def test_the_optimal_policy_earns_what_the_theory_says(name: str, params: dict[str, Any], mode: str) -> None:
    made = problem(name, params, mode)
    theory = solved(name, mode, **params)
    played = scores(made, theory.policy(), 4000, seed=17)
    error = played.std() / len(played) ** 0.5
    # 3 standard errors, and rounding where the score does not depend on chance.
    assert abs(played.mean() - theory.episode) < 3.0 * error + 1e-6 * abs(theory.episode)


@pytest.mark.parametrize(
    ("name", "params", "value", "episode"),
    [
        ("garleanu_pedersen", {}, 2.19263356, 1.895065),
        ("garleanu_pedersen", {"decay": 0.02}, 2.83399, None),
        ("ar1_signal", {}, 0.54699, None),
        ("execution", {}, -1_087_855.56, -1_087_855.56),
        ("regime", {}, 0.8, 0.782),
        ("regime", {"hidden": True}, 0.22951, None),
        ("market_making", {}, 59.10625, 59.10625),
        ("turning_signal", {}, 0.593247, 0.574701),
        ("turning_signal", {"shown": True}, 0.637414, 0.634359),
        ("unknown_market", {}, 0.142810, 0.1314044),
        ("unknown_market", {"prior": "drifts"}, 0.108, 0.08821265),
        ("unknown_market", {"prior": "regimes"}, 0.153472, 0.145988),
        ("kelly", {}, 0.0201355, 0.0201355),
        ("kelly", {"game": "gbm"}, 0.1249846, 0.1249846),
    ],
)
def test_the_defaults_are_worth_what_is_printed(
    name: str, params: dict[str, Any], value: float, episode: float | None
) -> None:
    theory = solved(name, **params)
    assert theory.value == pytest.approx(value, rel=1e-4)
    assert episode is None or theory.episode == pytest.approx(episode, rel=3e-6)


@every
def test_no_other_policy_earns_more(name: str, params: dict[str, Any]) -> None:
    """Bend the optimal policy a little, in several ways: on the same random numbers none of them is better."""
    made = problem(name, params)
    rng = np.random.default_rng(2)
    theory = solved(name, **params)
    best = scores(made, theory.policy(), 3000)

    def bent(amount: float) -> Any:
        act = theory.policy()
        discrete = isinstance(made.action_space, gymnasium.spaces.Discrete)

        def follow(rows: np.ndarray) -> np.ndarray:
            chosen = np.asarray(act(rows))
            if not discrete:
                return np.clip(chosen + amount, -1.0, 1.0)
            stray = rng.random(len(rows)) < abs(amount)
            return np.where(stray, rng.integers(0, 3, len(rows)), chosen)

        return follow

    for amount in (-0.2, -0.05, 0.05, 0.2):
        difference = scores(made, bent(amount), 3000) - best
        assert difference.mean() < 3.0 * difference.std() / len(best) ** 0.5
        assert difference.mean() < 0.0


@every
def test_portraits_of_equal_policies_are_equal(name: str, params: dict[str, Any]) -> None:
    made = problem(name, params)
    one, two = made.portrait(made.theory().policy()), made.portrait(made.theory().policy())
    assert len(one) > 0
    for a, b in zip(one, two, strict=True):
        assert a.panel == b.panel
        assert len(a.x) == len(a.y)
        assert np.array_equal(a.y, b.y)
        assert np.isfinite(a.y).all()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("kelly", {"game": "gbm", "max_fraction": 4.0}, "can lose everything"),
        ("kelly", {"p": 0.99, "max_fraction": 0.5}, "best fraction"),
        ("kelly", {"game": "gbm", "sigma": 0.1}, "no fraction that no step ruins is the best one .* raise sigma"),
        ("kelly", {"game": "gbm", "sigma": 0.001}, "no return of a step is a loss.* raise sigma"),
        ("market_making", {"farthest": -1.0}, "must be above nearest"),
        ("ar1_signal", {"cots": 0.9}, "unknown key 'cots'; did you mean 'cost'"),
        ("spot", {}, "market of bars"),
        ("ar2_signal", {}, "did you mean 'ar1_signal'"),
    ],
)
def test_mistakes_are_named(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_problem(Ref(name=name, params=params))


def test_a_problem_takes_no_bars() -> None:
    with pytest.raises(UserError, match="takes no history"):
        gymnasium.make(catalog.env_id("kelly"), history=[])


@pytest.mark.parametrize("action", [np.nan, 3, -1, 0.5])
def test_an_action_outside_of_the_space_is_refused(action: float) -> None:
    env = problem("ar1_signal", {}).env()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not in Discrete"):
        env.step(action)
