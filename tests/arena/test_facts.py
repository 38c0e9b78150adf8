"""Hawkes arrivals in the population, and what prices and trades of the crowd look like."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.excited import N_ARRIVAL, Excited, count
from qframe_rl.arena.facts import StylisedFacts, facts
from qframe_rl.config import UserError, build
from qframe_rl.gym.chance import draw
from qframe_rl.theory.hawkes import hawkes

G3 = Excited(base=1.0, own=0.4, cross=0.2, decay=1.0, most=40)


def arrivals(rates: Excited, n: int, steps: int) -> np.ndarray:
    """(steps, n, 2) of each step, buyers and sellers."""
    everyone, left = np.ones(n, np.bool_), np.zeros((n, 2))
    draws, found = np.zeros((n, N_ARRIVAL * rates.most)), np.zeros((steps, n, 2), np.int64)
    seeds = np.arange(n, dtype=np.uint64)
    for t in range(steps):
        draw(everyone, seeds, np.ones(n, np.uint64), np.full(n, t), draws)
        count(everyone, left, rates, draws, found[t])
    return found


def test_arrivals_are_as_many_and_as_uneven_as_the_theory_says() -> None:
    """G3: a rate of 2.5 within 1 %, a Fano factor of 6.25 within 5 %; buyers and sellers alike."""
    found = arrivals(G3, 1_000, 1_650)[50:].reshape(8, 200, 1_000, 2)
    theory = hawkes(np.full(2, 0.5), np.array([[0.4, 0.2], [0.2, 0.4]]))
    totals = found.sum(axis=(1, 3))
    assert totals.mean() / 200 == pytest.approx(2.5, rel=0.01) and theory.rates.sum() == pytest.approx(2.5)
    # A window of 200 steps is not endless: a hundredth is lost at its ends.
    assert totals.var() / totals.mean() == pytest.approx(theory.fano, rel=0.05)
    assert found[..., 0].mean() == pytest.approx(found[..., 1].mean(), rel=0.02)
    plain = arrivals(G3._replace(own=0.0, cross=0.0, base=2.5), 2_000, 50).sum(axis=(0, 2))
    assert plain.var() / plain.mean() == pytest.approx(1.0, rel=0.15)


def test_they_come_into_the_crowd_at_that_rate() -> None:
    """Each sends an order that takes, and buyers and sellers bring more of their own side."""
    asked = {"hawkes_rate": 1.0, "hawkes_own": 0.4, "hawkes_cross": 0.2, "position_limit": 10_000}
    config = CrowdConfig(makers=1, takers=0, executions=0, hawkes=3, episode_steps=300, **asked)
    crowd, everyone = Crowd(config, 256), np.ones(256, np.bool_)
    crowd.seed_with(5)
    crowd.reset(everyone)
    before = crowd.state.accounts[:, -3:, s.SENT].sum()
    nothing = np.zeros((256, 1, 4))
    nothing[..., 2:] = -1.0
    for _ in range(300):
        crowd.step(nothing, everyone)
    assert (crowd.state.accounts[:, -3:, s.SENT].sum() - before) / 256 / 300 == pytest.approx(2.5, rel=0.03)
    assert (crowd.state.accounts[:, -3:, s.TAKEN] > 0).all() and (crowd.state.accounts[:, -3:, s.MADE] == 0).all()


def test_what_would_explode_is_refused() -> None:
    with pytest.raises(UserError, match="arrivals would explode"):
        build(CrowdConfig, {"hawkes_own": 0.7, "hawkes_cross": 0.3}, "crowd")
    with pytest.raises(UserError, match="more than 16 Hawkes arrivals a step on average"):
        build(CrowdConfig, {"hawkes": 2, "hawkes_rate": 10.0}, "crowd")


def measured(**members: int) -> StylisedFacts:
    return facts(CrowdConfig(makers=1, takers=0, executions=0, episode_steps=1_000, **members), 64)


def test_stylised_facts_lie_in_their_bands() -> None:
    """Prices bounce from trade to trade and not from second to second; tails are fat in a step and not in ten seconds;
    impact is concave; signs are clustered where arrivals are excited, and only there."""
    calm, excited, default = measured(informed=0, trend=0), measured(informed=0, trend=0, hawkes=8), measured()
    for found in (calm, excited, default):
        assert found.bounce[0] < -0.25 and found.kurtosis[0] > 2.0 and found.kurtosis[1] < 1.0
        assert 0.05 < found.exponent < 0.5 and found.impact[-1] > found.impact[0] > 0.0
    assert abs(calm.bounce[1]) < 0.2 and abs(excited.bounce[1]) < 0.25
    assert abs(default.bounce[1]) < 0.2, "who knows and who follows make no momentum of seconds"
    assert abs(calm.signs[:10].mean()) < 0.03 and abs(default.signs[:10].mean()) < 0.03
    assert excited.signs[:10].mean() > 0.04
    assert excited.signs[0] > 0.08 and excited.signs[0] > 2.0 * excited.signs[9]


def test_who_follows_the_trend_holds_one_whole_order() -> None:
    """And takes no more, however long it lasts: it alone pushes no price on."""
    config = CrowdConfig(makers=1, takers=0, executions=0, trend=4, informed=4, jump_ticks=40, episode_steps=300)
    crowd, everyone = Crowd(config, 8), np.ones(8, np.bool_)
    crowd.seed_with(1)
    crowd.reset(everyone)
    first = crowd.n_agents + config.noise + config.unbound + config.informed
    held = []
    for _ in range(300):
        crowd.step(crowd.idle(), everyone)
        held.append(np.abs(crowd.state.accounts[:, first : first + config.trend, s.STOCK]).max())
    assert max(held) == config.lots
