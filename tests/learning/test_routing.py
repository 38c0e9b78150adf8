"""Routers on the signal whose sign turns: against the filter that knows the market, and against never routing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qframe_rl.deep.fitted_q import greedy, walk
from qframe_rl.deep.router import LearnedRouter, Practice
from qframe_rl.estimate.routing import FixedShare, Oamp
from qframe_rl.theory.ar1 import ar1_flip
from tests.contracts.checks import Quiet
from tests.routed import MARKET, Path, filtered, path, reward, routed

N, SEEDS = 100_000, 10
RATES, SHARES = (0.08, 0.16, 0.3, 0.45), (0.001, 0.003, 0.01)
SHARE = 2.0 * MARKET.usual - 1.0
BLIND = SHARE * ar1_flip(0.9, MARKET.cost / SHARE).growth
"""What the best policy earns that does not look for the regime."""


def tuned(noise: float) -> tuple[float, float]:
    """Rate and share that earn most on a path of its own."""
    one = path(N, noise, 999)
    return max(((e, a) for e in RATES for a in SHARES), key=lambda pair: routed(one, FixedShare(2, *pair)))


@pytest.mark.long
def test_the_table_of_what_can_be_reached() -> None:
    """Told, filter and one member, on one long path each."""
    for noise, wanted in ((2.0, 0.587), (4.0, 0.518), (8.0, 0.391)):
        one = path(200_000, noise, 5)
        assert filtered(one, noise) == pytest.approx(wanted, abs=0.012)
    assert reward(one, one.regime * one.member) == pytest.approx(0.637, abs=0.01)
    assert reward(one, one.member) == pytest.approx(0.140, abs=0.03)
    assert pytest.approx(0.158, abs=5e-4) == BLIND


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("noise", [2.0, 4.0])
def test_fixed_share_comes_near_the_filter(noise: float) -> None:
    pair = tuned(noise)
    found = []
    for seed in range(SEEDS):
        one = path(N, noise, seed)
        found.append((routed(one, FixedShare(2, *pair)), filtered(one, noise)))
    shares = [router / known for router, known in found]
    print(f"noise {noise}, rate and share {pair}: {np.mean(found, axis=0)}, {np.round(shares, 3)}")  # pytest -s
    assert sum(router >= 0.85 * known and router > BLIND + 0.2 for router, known in found) >= 9


def as_lived(one: Path) -> Practice:
    """A path as strategies live through it."""
    cost = MARKET.cost * np.abs(np.diff(one.member, prepend=0.0))
    net = np.stack([one.member * one.returns - cost, -one.member * one.returns - cost], axis=1)
    ended = np.concatenate([np.zeros((1, 2)), net[:-1]])
    exposure = np.stack([one.member, -one.member], axis=1)[:, :, None]
    return Practice(one.signal[:, None], ended, exposure, one.returns[:, None])


def followed(one: Path, router: LearnedRouter) -> float:
    """Expected reward a step of following a learned router, all steps at once; a test holds it to `pick`."""
    with torch.inference_mode():
        best = greedy(router._net(torch.from_numpy(router.numbers(as_lived(one)))))  # type: ignore[misc]
    chosen = np.empty((len(best), 1), dtype=np.int64)
    walk(np.ascontiguousarray(best[:, None]), np.zeros(1, dtype=np.int64), chosen)
    return reward(one, np.where(chosen[:, 0] == 0, one.member, -one.member))


def learner(noise: float, seed: int, n: int, steps: int) -> LearnedRouter:
    """Trained on a path of its own, its weights chosen by another."""
    router = LearnedRouter((2, 1, 1), MARKET.cost, seed, steps)
    learn, stop = (as_lived(path(m, noise, seed + k)) for m, k in ((n, 100), (n // 2, 200)))
    router.fit([learn], [stop], None, Quiet())  # type: ignore[arg-type]
    return router


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("noise", "pair"), [(4.0, (0.3, 0.001)), (2.0, (0.3, 0.003))])
def test_the_learned_router_beats_fixed_share(noise: float, pair: tuple[float, float]) -> None:
    """Whose rate and share are those that `tuned` finds."""
    found = []
    for seed in range(SEEDS):
        one = path(N, noise, seed)
        found.append((followed(one, learner(noise, seed, N, 3000)), routed(one, FixedShare(2, *pair))))
        print(f"noise {noise}, seed {seed}: learned {found[-1][0]:.4f}, fixed share {found[-1][1]:.4f}", flush=True)
    assert sum(learned > fixed for learned, fixed in found) >= 8


def test_picks_are_those_of_all_steps_at_once() -> None:
    router, one = learner(2.0, 1, 2_000, 40), path(1_000, 2.0, 7)
    position, life = np.empty(len(one.signal)), as_lived(one)
    router.begin()
    for t, (seen, gains, exposure) in enumerate(zip(life.seen, life.gains, life.exposure, strict=True)):
        router.step(gains)
        position[t] = router.pick(seen, exposure) @ exposure[:, 0]
    assert reward(one, position) == pytest.approx(followed(one, router), rel=1e-12)


@pytest.mark.long
def test_where_nothing_turns_fixed_share_costs_little() -> None:
    shares = []
    for seed in range(3):
        one = path(N, 2.0, seed, turns=False)
        shares.append(routed(one, FixedShare(2, 0.3, 0.003)) / reward(one, one.member))
    print(f"share of the one good member: {np.round(shares, 3)}")
    assert min(shares) >= 0.95


@pytest.mark.long
def test_oamp_finds_the_one_good_member_and_does_not_follow_a_change() -> None:
    one = path(50_000, 2.0, 1, turns=False)
    assert routed(one, Oamp(2, 4.0)) >= 0.98 * reward(one, one.member)
    one = path(N, 2.0, 1)
    found = routed(one, Oamp(2, 4.0))
    print(f"oamp {found:.3f}, one member {reward(one, one.member):.3f}, filter {filtered(one, 2.0):.3f}")
    assert found < BLIND + 0.05
