"""How learned policies are measured by the optimum, and drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.config import Ref
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.problem import Curve
from qframe_rl.runner.solve.gates import Case, Reached, SolveJob, Trained, verdict
from qframe_rl.runner.solve.portrait import policy_figure
from qframe_rl.runner.solve.solve import ProblemTask, measure, scores


class Follows:
    """A solver that has learned a given policy."""

    def __init__(self, policy: Any):
        self.policy = policy


@pytest.mark.parametrize("name", ["garleanu_pedersen", "ar1_signal", "execution", "market_making", "kelly"])
def test_the_optimal_policy_reaches_the_whole_optimum(name: str) -> None:
    problem = make_problem(Ref(name=name))
    found = measure(problem, Follows(problem.theory().policy), 200)  # type: ignore[arg-type]
    assert found.share == 1.0
    assert found.learned == found.optimal


def test_a_dearer_schedule_reaches_less_of_the_optimum() -> None:
    """The linear schedule costs 1,558,000 where the best costs 1,087,855.56 (Almgren & Chriss, 2000)."""
    problem = make_problem(Ref(name="execution"))

    def linear(rows: np.ndarray) -> np.ndarray:
        return 2.0 / (5.0 * rows[:, 1:2]) - 1.0

    found = measure(problem, Follows(lambda: linear), 10)  # type: ignore[arg-type]
    assert found.learned == pytest.approx(-1_558_000.0, rel=1e-6)
    assert found.share == pytest.approx(1_087_855.558 / 1_558_000.0, rel=1e-6)


def test_wrong_policies_of_the_signal_earn_what_is_printed() -> None:
    """At a cost of 2 from flat: following the sign .216, trading when the signal exceeds the cost .231."""
    problem = make_problem(Ref(name="ar1_signal"))

    def sign(rows: np.ndarray) -> np.ndarray:
        return np.sign(rows[:, 1]) + 1

    def above_cost(rows: np.ndarray) -> np.ndarray:
        return np.where(np.abs(rows[:, 1]) > 2.0, np.sign(rows[:, 1]), rows[:, 0]) + 1

    for act, printed in ((sign, 0.216), (above_cost, 0.231)):
        played = scores(problem, act, 20_000)
        assert played.mean() == pytest.approx(printed, abs=0.004 + 3 * played.std() / len(played) ** 0.5)


def test_scores_meet_the_same_random_numbers_whatever_is_done() -> None:
    problem = make_problem(Ref(name="garleanu_pedersen"))
    act = problem.theory().policy
    assert np.array_equal(scores(problem, act(), 300)[:100], scores(problem, act(), 100))
    assert np.array_equal(scores(problem, act(), 5, seed=10)[3:], scores(problem, act(), 2, seed=13))


def test_validation_episodes_are_neither_trained_nor_measured_on() -> None:
    task = ProblemTask(make_problem(Ref(name="garleanu_pedersen")), 1)
    best = Follows(task.problem.theory().policy)
    assert task.validate(best) != measure(task.problem, best, 200).learned  # type: ignore[arg-type]
    assert task.validate(best) == task.validate(best)  # type: ignore[arg-type]
    assert not task.train
    assert not task.validation


def trained(*shares: float) -> list[Trained]:
    return [Trained(SolveJob("m", "sb3", k), Reached(share, share, 1.0, 1.0), ()) for k, share in enumerate(shares)]


def test_a_verdict_is_the_mean_over_seeds_against_the_gate() -> None:
    case = Case(env="regime", gate=0.98)  # type: ignore[arg-type]
    found = verdict(case, trained(0.99, 0.98, 1.0))
    assert found.share == pytest.approx(0.99)
    assert found.low < found.share < found.high
    assert found.passed
    assert not verdict(case, trained(0.99, 0.96)).passed
    assert verdict(Case(env="regime", gate=1.0), trained(1.0 - 1e-16)).passed  # type: ignore[arg-type]
    alone = verdict(case, trained(0.5))
    assert alone.low == alone.share == alone.high


def test_the_picture_has_a_panel_for_each_part_of_the_portrait() -> None:
    problem = make_problem(Ref(name="market_making"))
    optimal = problem.portrait(problem.theory().policy())
    figure = policy_figure("market_making", optimal, {"sb3": [optimal, optimal], "ppo": [optimal]}, "note")
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == list(dict.fromkeys(c.panel for c in optimal))
    assert all(len(ax.lines) == 8 for ax in shown)
    single = policy_figure("x", (Curve("p", "", "a", "b", np.arange(2.0), np.arange(2.0)),), {})
    assert len(single.axes) == 1
