"""The unknown market: what is drawn and seen, and what the best policy is worth beside others and a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from envs.unknown_market import Config, conduct, full_information, make
from qframe_rl.config import Ref, UserError
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.problem import Act
from qframe_rl.runner.solve.solve import scores

LISTS = ["signs", "drifts", "regimes"]
SHORT: dict[str, Any] = {"episode_steps": 64}


def flat(rows: np.ndarray) -> np.ndarray:
    return np.ones(len(rows), dtype=np.int64)


def trend(rows: np.ndarray) -> np.ndarray:
    return np.sign(rows[:, 1]).astype(np.int64) + 1


def at_random() -> Act:
    rng = np.random.default_rng(4)
    return lambda rows: rng.integers(0, 3, len(rows))


def mean_so_far() -> Act:
    """Long once all returns seen are positive enough for their number, short once they are negative enough."""
    seen: list[np.ndarray] = []

    def act(rows: np.ndarray) -> np.ndarray:
        seen.append(rows[:, 1].astype(np.float64))
        score = np.sum(seen, axis=0) / np.sqrt(len(seen))
        return np.where(np.abs(score) > 1.5, np.sign(score), rows[:, 0]).astype(np.int64) + 1

    return act


def drawn(config: Config, n: int, seed: int = 1) -> np.ndarray:
    """(n, 5) parameters of the markets of n episodes."""
    return conduct(config.model_copy(update={"episode_steps": 2}), flat, n, seed).market


@pytest.mark.parametrize("prior", LISTS)
def test_a_list_is_drawn_by_its_weights(prior: str) -> None:
    config = Config(prior=prior)  # type: ignore[arg-type]
    market = drawn(config, 20_000)
    for point in config.listed:
        share = (market[:, :3] == [point.rho, point.drift, point.stay]).all(axis=1).mean()
        assert share == pytest.approx(point.weight, abs=0.012)
    assert (market[:, 3:] == [1.0, 0.1]).all()
    assert sum(point.weight for point in config.listed if not point.rho and not point.drift) == pytest.approx(0.4)


def test_the_wide_prior_is_drawn_by_its_shares_and_ranges() -> None:
    config = Config(prior="wide", volatility=(0.5, 2.0), cost=(0.05, 0.2))
    rho, drift, stay, volatility, cost = drawn(config, 20_000).T
    kinds = [(rho == 0) & (drift == 0), rho != 0, (drift != 0) & (stay == 1), (drift != 0) & (stay < 1)]
    assert [kind.mean() for kind in kinds] == pytest.approx([0.4, 0.3, 0.15, 0.15], abs=0.012)
    assert sum(kind.mean() for kind in kinds) == pytest.approx(1.0)
    for values, (low, high) in (
        (np.abs(rho[kinds[1]]), config.rho), (np.abs(drift[kinds[2]]), config.drift), (drift[kinds[3]], config.drift),
        (stay[kinds[3]], config.stay), (volatility, config.volatilities), (cost, config.costs),
    ):  # fmt: skip
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx(0.5 * (low + high), abs=0.02 * (high - low))
    for signed in (rho[kinds[1]], drift[kinds[2]]):
        assert (signed > 0).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "params", [{"prior": "wide"}, {"prior": "regimes"}, {"prior": "wide", "kinds": (0.0, 1.0, 0.0, 0.0)}]
)
def test_returns_are_those_of_the_parameters(params: dict[str, Any]) -> None:
    """Less what the hidden state lets expect, they are noise of the stated volatility, without autocorrelation."""
    episodes = make(Config(**params)).episodes(2_000)
    everyone = np.ones(2_000, dtype=np.bool_)
    episodes.seed_with(3)
    episodes.reset(everyone)
    noise, stayed = [], []
    for _ in range(40):
        before = episodes.state.copy()
        episodes.step(flat(before), everyone)
        expected = before[:, 3] * before[:, 5] * before[:, 7] + before[:, 4] * before[:, 1]
        noise.append((episodes.state[:, 1] - expected) / before[:, 7])
        stayed.append(
            (episodes.state[:, 3] == before[:, 3])[before[:, 6] < 1.0].mean() if (before[:, 6] < 1).any() else 1
        )
    z = np.array(noise)
    assert z.mean() == pytest.approx(0.0, abs=4.0 / z.size**0.5)
    assert z.std() == pytest.approx(1.0, abs=0.01)
    assert (z[1:] * z[:-1]).mean() == pytest.approx(0.0, abs=4.0 / z.size**0.5)
    stay = episodes.state[:, 6]
    assert np.mean(stayed) == pytest.approx(stay[stay < 1.0].mean() if (stay < 1.0).any() else 1.0, abs=0.005)


def test_what_is_seen_is_what_was_seen_and_done() -> None:
    """Position, return and result, and nothing else: episodes that differ in all that is hidden look alike."""
    problem = make(Config(prior="wide"))
    episodes = problem.episodes(500)
    everyone = np.ones(500, dtype=np.bool_)
    episodes.seed_with(3)
    episodes.reset(everyone)
    assert (episodes.observe() == 0.0).all()
    rng, held = np.random.default_rng(0), np.zeros(500)
    for _ in range(30):
        actions = rng.integers(0, 3, 500)
        episodes.step(actions, everyone)
        state, rows = episodes.state, episodes.observe()
        paid = state[:, 8] * np.abs(actions - 1 - held)
        held = actions - 1.0
        shown = np.stack([held, state[:, 1], held * state[:, 1] - paid], axis=1)
        assert rows == pytest.approx(np.clip(shown, -20.0, 20.0), abs=1e-5)
    hidden = episodes.state.copy()
    episodes.state[:, 3:] = np.roll(hidden[:, 3:], 1, axis=0)
    assert np.array_equal(episodes.observe(), rows)


@pytest.mark.parametrize("prior", [*LISTS, "wide"])
def test_an_expected_reward_is_the_mean_of_the_sampled(prior: str) -> None:
    kept = []
    for mode in ("expected", "sampled"):
        problem = make(Config(prior=prior, reward_mode=mode, **SHORT))  # type: ignore[arg-type]
        kept.append(scores(problem, mean_so_far(), 20_000, 9))
    difference = kept[1] - kept[0]
    assert abs(difference.mean()) < 3.0 * difference.std() / len(difference) ** 0.5
    assert kept[0].std() < kept[1].std()


@pytest.mark.parametrize("prior", LISTS)
def test_no_simpler_policy_earns_as_much(prior: str) -> None:
    problem = make(Config(prior=prior, **SHORT))  # type: ignore[arg-type]
    best = scores(problem, problem.theory().policy(), 4_000)
    simpler: list[Callable[[], Act]] = [
        lambda: flat,
        lambda: trend,
        lambda: lambda o: 2 - trend(o),
        at_random,
        mean_so_far,
    ]
    for policy in simpler:
        difference = best - scores(problem, policy(), 4_000)
        assert difference.mean() > 4.0 * difference.std() / len(best) ** 0.5


@pytest.mark.parametrize("prior", LISTS)
def test_one_who_is_told_earns_more_and_the_bound_says_how_much(prior: str) -> None:
    config = Config(prior=prior, **SHORT)  # type: ignore[arg-type]
    told = make(config.model_copy(update={"shown": True}))
    theory, bound = make(config).theory(), full_information(config)
    assert theory.episode < bound.episode == told.theory().episode
    assert theory.value == bound.value
    difference = scores(told, told.theory().policy(), 4_000) - scores(make(config), theory.policy(), 4_000)
    expected = bound.episode - theory.episode
    assert abs(difference.mean() - expected) < 3.0 * difference.std() / 4_000**0.5


@pytest.mark.long
def test_the_bound_of_a_wide_prior_is_what_one_who_is_told_earns() -> None:
    config = Config(prior="wide", kinds=(0.4, 0.3, 0.3, 0.0), shown=True, episode_steps=32)
    problem = make(config)
    theory = problem.theory()
    played = scores(problem, theory.policy(), 1_500)
    assert abs(played.mean() - theory.episode) < 3.0 * played.std() / len(played) ** 0.5


def test_a_prior_that_is_not_solved_has_a_bound_and_no_policy() -> None:
    points = [{"rho": 0.3}, {"rho": -0.3}, {"drift": 0.2}, {"drift": -0.2}, {}]
    config = Config(prior="points", points=points, **SHORT)  # type: ignore[arg-type]
    theory = make(config).theory()
    assert theory.episode == full_information(config).episode
    with pytest.raises(UserError, match="with shown=true it is"):
        theory.policy()(np.zeros((1, 3), dtype=np.float32))
    told = make(config.model_copy(update={"shown": True}))
    played = scores(told, told.theory().policy(), 3_000)
    assert abs(played.mean() - theory.episode) < 3.0 * played.std() / len(played) ** 0.5


def test_a_list_of_points_is_the_named_list() -> None:
    points = [{"weight": 3.0, "rho": 0.4}, {"weight": 3.0, "rho": -0.4}, {"weight": 4.0}]
    named, own = Config(**SHORT), Config(prior="points", points=points, **SHORT)  # type: ignore[arg-type]
    assert np.array_equal(drawn(named, 500), drawn(own, 500))


def test_conduct_is_what_happened() -> None:
    config = Config(prior="wide", episode_steps=50)
    found = conduct(config, at_random(), 400, 7)
    bars = np.array([13, 12, 13, 12])
    assert (found.quarters @ bars) / 50 == pytest.approx(scores(make(config), at_random(), 400, 7), abs=1e-12)
    assert found.exposure.mean() == pytest.approx(2 / 3, abs=0.02)
    turnover = found.costs / found.market[:, 4]
    assert turnover.mean() == pytest.approx(8 / 9, abs=0.02)
    idle = conduct(config, flat, 400, 7)
    assert not idle.exposure.any()
    assert not idle.costs.any()
    assert np.array_equal(idle.market, found.market)
    # Without an edge nothing is earned but costs and the charge for risk, which is stated in volatilities.
    none = ~found.edge
    charge = config.risk * found.exposure * found.market[:, 3]
    assert ((found.quarters @ bars) / 50 + found.costs + charge)[none] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.long
def test_the_best_policy_leaves_markets_without_an_edge_and_does_not_tire() -> None:
    config = Config()
    found = conduct(config, make(config).theory().policy(), 2_000, 11)
    assert found.exposure[~found.edge].mean() < 0.15 < 0.8 < found.exposure[found.edge].mean()
    assert found.quarters[~found.edge][:, 3].mean() > -0.002
    second, last = found.quarters[:, 1].mean(), found.quarters[:, 3].mean()
    assert last > 0.98 * second
    for sign in (-1.0, 1.0):
        assert found.quarters[found.market[:, 0] * sign > 0.0][:, 1:].mean() > 0.15


def test_the_portrait_shows_what_was_learned_from_the_bars() -> None:
    for prior, line in (("signs", 3), ("drifts", 4)):
        problem = make(Config(prior=prior))  # type: ignore[arg-type]
        curves = problem.portrait(problem.theory().policy())
        assert len(curves) == 5
        assert (np.diff(curves[line].y) >= 0.0).all()
        assert {-1.0, 1.0} <= set(curves[line].y)
        assert 0.0 in curves[line].y
    after = {c.label: c.y for c in make(Config()).portrait(make(Config()).theory().policy()) if c.label}
    assert np.array_equal(after["+0.4"][[0, -1]], [-1.0, 1.0])
    assert np.array_equal(after["-0.4"][[0, -1]], [1.0, -1.0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prior": "points"}, "if, and only if"),
        ({"points": [{"rho": 0.1}]}, "if, and only if"),
        ({"kinds": (0.5, -0.1, 0.3, 0.3)}, "greater than or equal to 0"),
        ({"kinds": (0.0, 0.0, 0.0, 0.0)}, "kinds: their sum"),
        ({"rho": (0.2, 0.1)}, "rho: the second must not be below the first"),
        ({"volatility": (0.0, 1.0)}, "volatility"),
        ({"prior": "points", "points": [{"rho": 1.0}]}, "less than or equal to 0.95"),
    ],
)
def test_priors_that_are_none_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_problem(Ref(name="unknown_market", params=params))


def test_episodes_may_be_long() -> None:
    envs = make(Config(prior="wide", episode_steps=4_096)).vec(8)
    envs.reset(seed=0)
    for step in range(1, 4_097):
        *_, truncated, _ = envs.step(np.zeros(8, dtype=np.int64))
        assert truncated.all() == (step == 4_096)
