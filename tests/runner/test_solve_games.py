"""Learners of all roles against one another, held against equilibria that are known."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from experiments.solve import CASES
from qframe_rl import catalog
from qframe_rl.config import Ref, UserError, build
from qframe_rl.runner.solve.games import GameLearners, learners_of, solution_of, train_game
from qframe_rl.runner.solve.gates import Case, GateResult, Reached, SolveJob, Trained, verdict
from qframe_rl.theory.kyle import kyle_figures

KYLE = Ref(name="kyle")


class Silent:
    def __init__(self) -> None:
        self.curves: set[str] = set()

    def scalar(self, name: str, value: float, step: int) -> None:
        self.curves.add(name)

    def progress(self, done: int, total: int, note: str = "") -> None:
        assert 0 <= done <= total


def trained(case: str, seed: int, log: Silent | None = None, **other: object) -> tuple[Case, GameLearners]:
    one = build(Case, tomllib.loads(CASES.read_text(encoding="utf-8"))[case], case)
    params = {**one.contender("ppo").agent.params, "gamma": one.gamma, **other}
    config = build(catalog.load("agents", "ppo").Config, params, "ppo")
    learners = learners_of(one.env, "ppo", config, seed)
    train_game(one.env, learners, config, seed, log or Silent())
    return one, learners


@pytest.mark.long
def test_insider_and_maker_come_near_kyles_equilibrium() -> None:
    """G5 with half of its samples; five seeds and the whole of them are `experiments.solve kyle --seeds 5`."""
    log = Silent()
    case, learners = trained("kyle", 3, log, total_steps=400_000)
    figures, gains = solution_of(case.env).judge(learners.policies())
    assert max(gains.values()) < 0.02 and min(gains.values()) > -1e-3
    for name, (low, high) in solution_of(case.env).bands.items():
        assert 0.95 * low < figures[name] < 1.05 * high, name
    assert {name.partition("/")[0] for name in log.curves} == {"insider", "maker"}


@pytest.mark.long
def test_two_makers_stay_where_nobody_undercuts() -> None:
    """G7: at most two steps above no profit, and no gain in asking less."""
    case, learners = trained("makers_two", 1)
    figures, gains = solution_of(case.env).judge(learners.policies())
    assert 0.0 <= figures["steps above no profit"] <= 2.0 and gains["maker"] < 0.05


def test_the_same_seed_gives_the_same_weights_and_weights_can_be_taken_over() -> None:
    short = {"total_steps": 4_096, "n_envs": 64}
    (_, one), (_, two), (_, other) = (trained("kyle", seed, **short) for seed in (5, 5, 6))
    for name, value in one.state().items():
        np.testing.assert_array_equal(value, two.state()[name])
    assert any((value != other.state()[name]).any() for name, value in one.state().items())
    other.restore(one.state())
    rows = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    for role, act in one.policies().items():
        np.testing.assert_allclose(act(rows), other.policies()[role](rows), atol=1e-6)


def test_gains_and_figures_of_bent_rules() -> None:
    """Against a maker who moves the price too little the insider gains a fortieth by sending more, exactly."""
    found = kyle_figures(lambda value: value, lambda flow: 0.4 * flow)
    assert (found.impact, found.profit, found.variance) == pytest.approx((0.4, 0.6, 0.52), rel=1e-9)
    assert found.insider_gain == pytest.approx(0.025, abs=1e-5) and found.maker_gain == pytest.approx(0.02, abs=1e-9)
    bent = solution_of(Ref(name="glosten_milgrom", params={"rounds": 1, "informed": 0.2}))
    judged = bent.judge({"maker": lambda seen: np.full(len(seen), 10)})
    # Six steps too much, shared: three of sixteen; five by asking one less.
    assert judged.figures["steps above no profit"] == 6.0 and judged.gains["maker"] == pytest.approx(2.0 / 16.0)


@pytest.mark.parametrize(
    ("makers", "informed", "price"), [(1, 0.3, 1.0), (2, 0.2, 0.65), (2, 0.5, 0.8), (4, 0.3, 0.675)]
)
def test_equilibria_on_the_grid(makers: int, informed: float, price: float) -> None:
    """G7: the highest price that is Nash, and nobody gains there."""
    env = Ref(name="glosten_milgrom", params={"rounds": 1, "makers": makers, "informed": informed})
    solution = solution_of(env)
    judged = solution.judge(solution.policies())
    assert judged.gains["maker"] == pytest.approx(0.0, abs=1e-12)
    (curve,) = solution.portrait(solution.policies())
    assert curve.y.tolist() == pytest.approx([1.0 - price, price])
    low, high = solution.bands["steps above no profit"]
    assert low <= judged.figures["steps above no profit"] <= high


def test_a_gate_asks_for_the_figures_too() -> None:
    case = build(Case, {"env": "kyle", "gate": 0.98, "agents": {"ppo": {"agent": "ppo"}}}, "kyle")
    runs = [
        Trained(SolveJob("kyle", "ppo", k), Reached(0.99, -0.01, 0.0, 1.0, {"beta": 1.0 + 0.1 * k}, k == 0), ())
        for k in range(2)
    ]
    assert verdict(case, runs[:1]).passed and not verdict(case, runs).passed
    found: GateResult = verdict(case, runs)
    assert found.figures == {"beta": pytest.approx(1.05)} and found.share == pytest.approx(0.99)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match="'crowd' has no known equilibrium"):
        solution_of(Ref(name="crowd"))
    with pytest.raises(UserError, match="set rounds to 1"):
        solution_of(Ref(name="kyle", params={"rounds": 2}))
    with pytest.raises(UserError, match="set rounds to 1"):
        solution_of(Ref(name="glosten_milgrom"))
    with pytest.raises(UserError, match="agent 'sb3' cannot be trained among others; ppo can"):
        learners_of(KYLE, "sb3", catalog.load("agents", "sb3").Config(), 0)
    with pytest.raises(UserError, match=r"agent.ppo.memory: .*told where an episode ends"):
        learners_of(KYLE, "ppo", catalog.load("agents", "ppo").Config(network="gru", memory="episode"), 0)
