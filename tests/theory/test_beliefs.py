"""Markets of a short list, see docs/solvable.md: the grids of beliefs against sums that know none."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.theory.ar1 import ar1_switching
from qframe_rl.theory.beliefs import BeliefPolicy, Candidates, Fineness, listed, solve_beliefs
from qframe_rl.theory.known_markets import KnownMarkets
from qframe_rl.theory.regime import hidden

POSITIONS = np.array([-1.0, 0.0, 1.0])
SIGNS = [[0.3, 0.5, 0.0, 1.0], [0.3, -0.5, 0.0, 1.0], [0.4, 0.0, 0.0, 1.0]]
DRIFTS = [[0.3, 0.0, 0.4, 1.0], [0.3, 0.0, -0.4, 1.0], [0.4, 0.0, 0.0, 1.0]]
REGIMES = [[0.6, 0.0, 0.8, 0.9], [0.4, 0.0, 0.0, 1.0]]
MIXED = [[0.5, 0.4, 0.0, 1.0], [0.5, 0.0, -0.3, 1.0]]


def models(points: list[list[float]], cost: float, risk: float = 0.0) -> Candidates:
    found = listed(np.array(points), cost, risk)
    assert found is not None
    return found


def enumerated(points: list[list[float]], cost: float, risk: float) -> float:
    """Worth of three decisions: a double sum over returns, with the probability of each whole sequence.

    A regime is followed through all of its paths. No belief is formed: what is expected after some returns is the mean
    of the next return, times the density of the sequence with it.
    """
    r = np.linspace(-9.0, 9.0, 601)
    h, paths = r[1] - r[0], []
    for share, rho, drift, stay in np.array(points) / [sum(p[0] for p in points), 1.0, 1.0, 1.0]:
        for s in np.array(np.meshgrid(*[[1.0, -1.0]] * 3)).reshape(3, -1).T if stay < 1.0 else [np.ones(3)]:
            chance = 0.5 * np.prod(np.where(s[1:] == s[:-1], stay, 1.0 - stay)) if stay < 1.0 else 1.0
            paths.append((share * chance, rho, drift * s))

    def density(mean: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * (seen - mean) ** 2) / np.sqrt(2.0 * np.pi))

    one, two = r[:, None], r[None, :]
    third, second, first = np.zeros((601, 601)), np.zeros(601), 0.0
    for chance, rho, m in paths:
        seen_one = chance * density(m[0], r)
        third += (seen_one[:, None] * density(m[1] + rho * one, two)) * (m[2] + rho * two)
        second += seen_one * (m[1] + rho * r)
        first += chance * m[0]
    whole = sum(c * density(m[0], r)[:, None] * density(m[1] + rho * one, two) for c, rho, m in paths)
    alone = sum(c * density(m[0], r) for c, rho, m in paths)

    def decided(expected: np.ndarray, weight: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        shape = [3, *[1] * expected.ndim]
        fee = cost * np.abs(POSITIONS[:, None] - POSITIONS).reshape(3, *shape) * weight
        held = POSITIONS.reshape(shape)
        return np.asarray((held * expected - risk * np.abs(held) * weight + ahead - fee).max(axis=1))

    at_three = decided(third, np.asarray(whole), np.zeros((3, 601, 601))).sum(axis=2) * h
    at_two = decided(second, np.asarray(alone), at_three).sum(axis=1) * h
    return float((POSITIONS * first + at_two - (cost + risk) * np.abs(POSITIONS)).max())


@pytest.mark.parametrize("points", [SIGNS, DRIFTS, REGIMES, MIXED], ids=["signs", "drifts", "regimes", "mixed"])
@pytest.mark.parametrize("cost", [0.0, 0.1, 0.4])
def test_three_decisions_against_a_sum_over_all_sequences(points: list[list[float]], cost: float) -> None:
    for risk in (0.0, 0.05):
        solved = solve_beliefs(models(points, cost, risk), 3, Fineness(returns=0.2))
        assert solved.total[0] == pytest.approx(enumerated(points, cost, risk), abs=8e-4)


@pytest.mark.parametrize("points", [SIGNS, DRIFTS, REGIMES, MIXED], ids=["signs", "drifts", "regimes", "mixed"])
def test_finer_grids_change_little(points: list[list[float]]) -> None:
    coarse, usual, fine = (
        solve_beliefs(models(points, 0.1), 32, fineness).total[0]
        for fineness in (Fineness(0.5, 0.8), Fineness(), Fineness(0.4, 0.3))
    )
    assert usual == pytest.approx(fine, rel=1.5e-3)
    assert abs(usual - fine) < abs(coarse - fine) + 2e-4 * fine


def test_what_is_known_is_worth_what_other_solutions_say() -> None:
    """By a chain on a fine grid, by exact masses between beliefs, and by a formula."""
    deviation = 0.4 / np.sqrt(1.0 - 0.16)
    _, chain = ar1_switching(0.4, 0.1 / deviation)
    regime = hidden(0.95, 0.5, 1.0, 0.3)
    rows = np.array(
        [[0.4, 0.0, 1.0, 1.0, 0.1], [0.0, 0.5, 0.95, 1.0, 0.3], [0.0, -0.2, 1.0, 1.0, 0.5], [0, 0, 1, 1, 0.1]]
    )
    known = KnownMarkets(rows, 0.0, 100, 400)
    assert known.growth == pytest.approx([chain.growth * deviation, regime.growth, 0.2, 0.0], abs=3e-4)
    assert known.total[2:] == pytest.approx([0.2 * 100 - 0.5, 0.0], abs=1e-5)
    scaled = rows * [1.0, 1.0, 1.0, 3.0, 3.0]
    assert KnownMarkets(scaled, 0.0, 100).total == pytest.approx(3.0 * known.total, rel=1e-6)


@pytest.mark.parametrize("points", [SIGNS, DRIFTS, REGIMES], ids=["signs", "drifts", "regimes"])
def test_the_unknown_is_worth_less_than_the_known_and_more_than_nothing(points: list[list[float]]) -> None:
    n, rows = 64, np.array(points)
    markets = np.column_stack([rows[:, 1:], np.ones(len(rows)), np.full(len(rows), 0.1)])
    full = rows[:, 0] @ KnownMarkets(markets, 0.0, n).total
    assert 0.3 * full < solve_beliefs(models(points, 0.1), n).total[0] < 0.99 * full
    assert solve_beliefs(models(points, 40.0), n).total[0] == 0.0


def test_beliefs_are_bayes_rule() -> None:
    """After any returns they are the weights times the density of all of them; regimes are summed over their paths."""
    seen = np.random.default_rng(0).standard_normal((6, 7))
    for points in (SIGNS, MIXED, REGIMES):
        solved = solve_beliefs(models(points, 0.1), 8, Fineness(1.0, 2.0))
        policy = BeliefPolicy(solved, np.zeros(6, dtype=np.int64))
        policy.act(np.zeros(6), np.zeros(6))
        for t in range(7):
            policy.act(seen[:, t], np.zeros(6))
        before = np.concatenate([np.zeros((6, 1)), seen[:, :-1]], axis=1)
        assert policy.belief == pytest.approx(direct(points, before, seen), abs=1e-12)


def direct(points: list[list[float]], before: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(B, 3) the same beliefs from the densities of whole sequences."""
    found = []
    n = seen.shape[1]
    for share, rho, drift, stay in points:
        if stay == 1.0:
            found.append(share * np.exp(-0.5 * ((seen - drift - rho * before) ** 2).sum(axis=1)))
            continue
        ends = np.zeros((2, len(seen)))
        for s in np.array(np.meshgrid(*[[1.0, -1.0]] * (n + 1))).reshape(n + 1, -1).T:
            chance = 0.5 * share * np.prod(np.where(s[1:] == s[:-1], stay, 1.0 - stay))
            ends[int(s[-1] < 0)] += chance * np.exp(-0.5 * ((seen - drift * s[:-1]) ** 2).sum(axis=1))
        found += list(ends)
    rows = np.stack([*found, *[np.zeros(len(seen))] * (3 - len(found))], axis=1)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def test_lists_that_are_too_long_are_not_solved() -> None:
    assert listed(np.array([*SIGNS, [0.1, 0.2, 0.0, 1.0]]), 0.1) is None
    assert listed(np.array([*REGIMES, [0.1, 0.2, 0.0, 1.0]]), 0.1) is None
    assert listed(np.array([REGIMES[0], REGIMES[0]]), 0.1) is None
    assert listed(np.zeros((0, 4)), 0.1) is None
