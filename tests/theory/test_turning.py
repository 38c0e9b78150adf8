"""The signal whose sign turns, see docs/solvable.md."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from qframe_rl.theory.ar1 import ar1_flip
from qframe_rl.theory.turning import Turning, hidden, next_belief, told

USUAL = Turning(phi=0.9, cost=1.0, noise=2.0, turn=1 / 600, back=1 / 300)


def test_told_the_regime_it_is_the_signal_itself_but_for_the_turns() -> None:
    assert told(USUAL).growth == pytest.approx(0.637, abs=5e-4)
    steady = USUAL._replace(turn=1e-6, back=1e-6)
    assert told(steady).growth == pytest.approx(ar1_flip(0.9, 1.0).growth, abs=5e-4)


@pytest.mark.parametrize(("noise", "growth"), [(2.0, 0.5935), (4.0, 0.5317), (8.0, 0.4141)])
def test_what_the_best_policy_makes_of_a_hidden_regime(noise: float, growth: float) -> None:
    """Beyond a filter that picks one of the two policies for a known regime (0.587, 0.518, 0.391), below the told."""
    found = hidden(USUAL._replace(noise=noise))
    assert found.growth == pytest.approx(growth, abs=2e-3)
    assert {2.0: 0.587, 4.0: 0.518, 8.0: 0.391}[noise] < found.growth < told(USUAL).growth
    blind = (2.0 * USUAL.usual - 1.0) * ar1_flip(0.9, 1.0 / (2.0 * USUAL.usual - 1.0)).growth
    assert blind == pytest.approx(0.158, abs=5e-4)


def test_a_finer_grid_changes_little() -> None:
    assert hidden(USUAL, 0.2, 64).growth == pytest.approx(hidden(USUAL).growth, abs=5e-4)
    assert hidden(USUAL, 0.25, 48).growth == pytest.approx(hidden(USUAL).growth, abs=5e-4)


def test_without_information_the_belief_is_the_usual_one_and_so_is_the_policy() -> None:
    noisy = USUAL._replace(noise=1e4, turn=0.01, back=0.02)
    share = 2.0 * noisy.usual - 1.0
    assert hidden(noisy).growth == pytest.approx(share * ar1_flip(0.9, 1.0 / share).growth, abs=2e-3)


def test_the_belief_is_bayes_rule_over_all_paths_of_the_regime() -> None:
    p = USUAL._replace(turn=0.1, back=0.2)
    rng = np.random.default_rng(0)
    signal, returns = rng.standard_normal(4), 2.0 * rng.standard_normal(4)
    belief = np.array(p.usual)
    for f, r in zip(signal, returns, strict=True):
        belief = next_belief(belief, f, r, p)
    weight = {-1: 0.0, 1: 0.0}
    for path in itertools.product((-1, 1), repeat=5):
        chance = p.usual if path[0] == 1 else 1.0 - p.usual
        for t, s in enumerate(path[:-1]):
            chance *= np.exp(-0.5 * ((returns[t] - s * signal[t]) / p.noise) ** 2)
            leaves = p.turn if s == 1 else p.back
            chance *= leaves if path[t + 1] != s else 1.0 - leaves
        weight[path[-1]] += chance
    assert belief == pytest.approx(weight[1] / (weight[1] + weight[-1]), rel=1e-12)
