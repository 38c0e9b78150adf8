"""Markets made by their traders: money, stock and books add up, and one market is the same alone and among others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.arena import state as a
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.roles import SEEN
from qframe_rl.book import state as s
from qframe_rl.book.core import match, resting
from qframe_rl.book.state import empty_books
from qframe_rl.config import UserError
from qframe_rl.types import Float
from tests.book.test_core import rests, sound

QUIET = {"noise": 0, "unbound": 0, "informed": 1, "trend": 0, "quoters": 0, "jump_probability": 0.0}
"""A population that knows that the price is right, and so says nothing."""


def begun(n: int, n_log: int = 0, seed: int = 0, **given: Any) -> Crowd:
    crowd = Crowd(CrowdConfig(**given), n, n_log)
    crowd.seed_with(seed)
    crowd.reset(np.ones(n, np.bool_))
    return crowd


def drawn(crowd: Crowd, rng: np.random.Generator) -> Float:
    return rng.uniform(-1.0, 1.0, (crowd.n_markets, crowd.n_agents, 4))


def everyone(crowd: Crowd) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.ones(crowd.n_markets, np.bool_)


def idle(crowd: Crowd) -> Float:
    """Makers of size 0, takers of nothing, executions that neither quote nor take."""
    found = np.full((crowd.n_markets, crowd.n_agents, 4), -1.0)
    found[:, crowd.roles == a.TAKER_ROLE] = 0.0
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**63), n_steps=st.integers(1, 40), makers=st.integers(0, 3), takers=st.integers(0, 3),
    executions=st.integers(1, 3), noise=st.integers(1, 20), limit=st.sampled_from([1, 7, 100]),
    maker_fee=st.integers(-50, 50), reach=st.sampled_from([4, 16, 100]),
)  # fmt: skip
def test_everything_adds_up_after_any_actions(
    seed: int, n_steps: int, makers: int, takers: int, executions: int, noise: int, limit: int, maker_fee: int,
    reach: int,
) -> None:  # fmt: skip
    crowd = begun(
        2, 10_000, seed, makers=makers, takers=takers, executions=executions, noise=noise, position_limit=limit,
        maker_fee=maker_fee, reach_ticks=reach, target_lots=limit, episode_steps=n_steps, warmup_steps=3,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for _ in range(n_steps):
        rewards, over = crowd.step(drawn(crowd, rng), everyone(crowd))
        assert np.isfinite(rewards).all() and crowd.observation_space.contains(crowd.observe()[0, 0])
    assert over.all()
    accounts, n_traders = crowd.state.accounts, crowd.n_agents + len(crowd.kinds)
    assert (accounts[..., a.CASH].sum(1) + accounts[..., a.FEES].sum(1) == 0).all()
    assert (accounts[..., a.STOCK].sum(1) == 0).all()
    assert (accounts[..., a.MADE].sum(1) == accounts[..., a.TAKEN].sum(1)).all()
    assert np.abs(accounts[..., a.STOCK]).max() <= limit
    for b in range(2):
        sound(crowd.books, b)
        quotes = [
            (side, int(q[a.AT]), int(q[a.LEFT]), who, int(q[a.LIVE]))
            for who in range(n_traders) for side in range(2)
            for q in [crowd.state.quotes[b, who, side]] if q[a.LIVE] >= 0
        ]  # fmt: skip
        assert sorted(quotes) == sorted(rests(crowd.books, b)), "what traders have live is what rests"
        again = empty_books(1, 512, crowd.books.n_places)
        log = crowd.log(b)
        fills = match(again, log).fills
        assert rests(again) == rests(crowd.books, b), "the log makes the same book"
        fills = fills[fills[:, s.FILLED] > 0]
        stock, cash = np.zeros(n_traders, np.int64), np.zeros(n_traders, np.int64)
        for sign, owner, fee in ((1, s.TAKER_OWNER, 100), (-1, s.MAKER_OWNER, maker_fee)):
            bought = sign * np.where(fills[:, s.TAKER_SIDE] == s.BUY, 1, -1) * fills[:, s.FILLED]
            np.add.at(stock, fills[:, owner], bought)
            np.add.at(cash, fills[:, owner], -1000 * bought * fills[:, s.AT] - fee * fills[:, s.FILLED])
        np.testing.assert_array_equal(stock, accounts[b, :, a.STOCK])
        np.testing.assert_array_equal(cash, accounts[b, :, a.CASH])
        np.testing.assert_array_equal(
            np.bincount(log[:, s.OWNER], minlength=n_traders), accounts[b, :, a.SENT], "every message has its sender"
        )


def test_one_market_is_to_the_bit_what_it_is_among_64_however_often_the_others_move() -> None:
    many, rng = begun(64, seed=5, episode_steps=30), np.random.default_rng(1)
    lone = {b: begun(1, seed=5 + b, episode_steps=30) for b in (0, 17, 63)}
    for _ in range(60):
        active, actions = rng.random(64) < 0.8, drawn(many, rng)
        active &= many.state.marks[:, a.CLOCK] < 30
        rewards, over = many.step(actions, active)
        many.reset(over)
        seen = many.observe()
        for b, one in lone.items():
            if active[b]:
                alone, cut = one.step(actions[b : b + 1], everyone(one))
                one.reset(cut)
                np.testing.assert_array_equal(alone[0], rewards[b])
                assert cut[0] == over[b]
            else:
                assert not rewards[b].any() and not over[b]
            np.testing.assert_array_equal(one.observe()[0], seen[b])
    for b, one in lone.items():
        assert many.episode[b] > 1, "episodes went by"
        for name, field in one.snapshot().items():
            np.testing.assert_array_equal(field[0], many.snapshot()[name][b], name)


def test_a_snapshot_goes_on_to_the_same_bits_and_another_batch_refuses_it() -> None:
    crowd, rng = begun(3, 5_000), np.random.default_rng(2)
    plan = [drawn(crowd, rng) for _ in range(20)]
    for actions in plan[:10]:
        crowd.step(actions, everyone(crowd))
    kept = crowd.snapshot()
    first = [crowd.step(actions, everyone(crowd))[0] for actions in plan[10:]]
    end = crowd.snapshot()
    crowd.restore(kept)
    for actions, rewards in zip(plan[10:], first, strict=True):
        np.testing.assert_array_equal(crowd.step(actions, everyone(crowd))[0], rewards)
    for name, field in crowd.snapshot().items():
        np.testing.assert_array_equal(field, end[name], name)
    with pytest.raises(ValueError, match="a snapshot of another batch"):
        begun(2).restore(kept)
    begun(3, 5_000).restore(kept)
    for other in ({"jump_ticks": 9}, {"taker_fee": 101}, {"inventory_penalty": 0.002}, {"noise": 19, "quoters": 5}):
        with pytest.raises(UserError, match="of another market"):
            begun(3, 5_000, **other).restore(kept)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.5, -1.0001])
def test_a_number_that_no_action_has_is_refused_by_market_and_agent_and_nothing_moves(wrong: float) -> None:
    crowd = begun(3)
    before, actions = crowd.snapshot(), idle(crowd)
    actions[2, 1, 3] = wrong
    with pytest.raises(ValueError, match=r"environment 2: action .* of maker_1 is not within \[-1, 1\]"):
        crowd.step(actions, everyone(crowd))
    for name, field in crowd.snapshot().items():
        np.testing.assert_array_equal(field, before[name])
    crowd.step(actions, np.array([True, True, False]))
    actions[2, 1, 3], actions[:, crowd.roles == a.TAKER_ROLE, 1:] = 0.0, wrong
    crowd.step(actions, everyone(crowd))


def test_other_shapes_and_steps_after_the_end_are_refused() -> None:
    crowd = begun(2, episode_steps=1)
    with pytest.raises(ValueError, match=r"actions have shape \(2, 4, 3\), but these markets want \(2, 4, 4\)"):
        crowd.step(idle(crowd)[..., :3], everyone(crowd))
    with pytest.raises(ValueError, match=r"active is bool of shape \(2,\)"):
        crowd.step(idle(crowd), np.ones(3, np.bool_))
    crowd.step(idle(crowd), everyone(crowd))
    with pytest.raises(UserError, match="an episode is over"):
        crowd.step(idle(crowd), everyone(crowd))
    with pytest.raises(UserError, match="an episode is over, or was never begun"):
        Crowd(CrowdConfig(), 1).step(np.zeros((1, 4, 4)), np.ones(1, np.bool_))
    with pytest.raises(UserError, match="0 markets"):
        Crowd(CrowdConfig(), 0)
    with pytest.raises(UserError, match=r"messages, and room for 0"):
        crowd.log()
    for none in ({"makers": 0, "takers": 0, "executions": 0}, {**QUIET, "informed": 0}):
        with pytest.raises(ValueError, match=r"at least one agent|no member"):
            CrowdConfig(**none)


def test_who_does_nothing_earns_nothing() -> None:
    crowd = begun(8, makers=2, takers=2, executions=0, episode_steps=50)
    for _ in range(50):
        assert not crowd.step(idle(crowd), everyone(crowd))[0].any()
    assert not crowd.state.accounts[:, : crowd.n_agents].any()


def test_an_execution_has_traded_all_of_it_by_the_end_and_pays_what_it_lost_to_the_price_of_arrival() -> None:
    crowd = begun(32, makers=0, takers=0, executions=1, episode_steps=40, target_lots=50)
    assert set(crowd.state.targets.ravel().tolist()) == {50, -50}
    arrival, rng = crowd.state.marks[:, a.MID2].copy(), np.random.default_rng(3)
    total = np.zeros(32)
    for _ in range(40):
        total += crowd.step(drawn(crowd, rng), everyone(crowd))[0][:, 0]
    account = crowd.state.accounts[:, 0]
    np.testing.assert_array_equal(account[:, a.STOCK], crowd.state.targets[:, 0])
    lost = (account[:, a.CASH] + account[:, a.STOCK] * arrival * 500) / 1000 / 50
    np.testing.assert_allclose(total, lost, rtol=0, atol=1e-9)


def test_lots_that_an_execution_left_undone_cost_the_reach_each() -> None:
    crowd = begun(1, **QUIET, makers=0, takers=0, executions=1, episode_steps=3, target_lots=50, reach_ticks=16)
    paid = [crowd.step(np.full((1, 1, 4), 1.0), everyone(crowd))[0][0, 0] for _ in range(3)]
    assert paid == [0.0, 0.0, -16.0], "nobody to trade with"


def test_wishes_that_are_met_send_nothing_and_agents_come_in_an_order_that_is_drawn() -> None:
    first = []
    for seed in range(12):
        crowd = begun(1, seed=seed, **QUIET, makers=2, takers=0, executions=0)
        crowd.step(np.full((1, 2, 4), 0.5), everyone(crowd))
        first.append(int(resting(crowd.books).owner[0]))
        sent = crowd.state.accounts[0, :2, a.SENT].copy()
        assert sent.tolist() == [2, 2]
        crowd.step(np.full((1, 2, 4), 0.5), everyone(crowd))
        np.testing.assert_array_equal(crowd.state.accounts[0, :2, a.SENT], sent)
        smaller = np.full((1, 2, 4), 0.5)
        smaller[..., 2] = -0.5
        crowd.step(smaller, everyone(crowd))
        assert crowd.state.accounts[0, :2, a.SENT].tolist() == [4, 4], "too large: cancelled, and sent anew"
    assert set(first) == {0, 1}


def test_orders_follow_what_agents_saw_not_what_came_since() -> None:
    """A quote that would have rested when it was decided, and now would take, is refused: it is post-only."""
    crowd = begun(16, makers=4, takers=0, executions=0)
    for _ in range(100):
        near = np.full((16, 4, 4), 1.0)
        near[..., :2] = -1.0
        bid, ask = crowd.state.seen[:, 0, 0].copy(), crowd.state.seen[:, 1, 0].copy()
        crowd.step(near, everyone(crowd))
        quote = crowd.state.quotes[:, :4]
        live = quote[..., a.LIVE] >= 0
        assert (quote[..., 0, a.AT] < ask[:, None])[live[..., 0]].all()
        assert (quote[..., 1, a.AT] > bid[:, None])[live[..., 1]].all()
    refused = crowd.state.accounts[:, :4, a.REFUSED].sum()
    assert refused > 0 and not crowd.state.accounts[:, :4, a.TAKEN].any()


def test_trading_with_oneself_moves_no_mark_no_money_and_prints_nothing() -> None:
    """The fault of gym-continuousDoubleAuction: last prints as marks, which one trader alone can make."""
    crowd = begun(1, **QUIET, makers=1, takers=1, executions=0)
    quotes, take = crowd._quotes, crowd._take
    act = np.full((1, 2, 4), 1.0)
    act[0, 1, 0] = 0.0
    crowd.step(act, everyone(crowd))
    before, worth = crowd.state.marks[0, a.MID2], crowd.worth()
    quotes[0, 0, :, 1], take[0, 0] = 10, (s.BUY, 10, 10_016)
    crowd._move(everyone(crowd), True)
    assert crowd.state.accounts[0, 0, a.SENT] == 3, "it did send an order that takes"
    assert crowd.state.quotes[0, 0, s.SELL, a.LIVE] < 0, "its own ask expired"
    assert crowd.state.marks[0, a.MID2] == before and crowd.state.marks[0, a.VOLUME] == 0
    np.testing.assert_array_equal(crowd.worth(), worth)


def test_an_agent_sees_the_book_and_itself_and_neither_others_nor_the_hidden_value() -> None:
    crowd, rng = begun(2), np.random.default_rng(4)
    for _ in range(20):
        crowd.step(drawn(crowd, rng), everyone(crowd))
    seen = crowd.observe()
    assert seen.shape == (2, 4, len(SEEN)) and (seen[:, :, 9:12].sum(2) == 1).all()
    crowd.state.marks[:, a.VALUE] += 500
    crowd.state.accounts[:, 1:] += 77
    crowd.state.quotes[:, 1:, :, a.LEFT] += 3
    np.testing.assert_array_equal(crowd.observe()[:, 0], seen[:, 0])
    crowd.state.accounts[:, 0, a.STOCK] += 1
    assert (crowd.observe()[:, 0] != seen[:, 0]).any()


@pytest.mark.parametrize(("informed", "near"), [(0, False), (6, True)])
def test_who_is_informed_moves_the_price_to_the_hidden_value(informed: int, near: bool) -> None:
    crowd = begun(64, informed=informed, trend=0, jump_ticks=40, episode_steps=300)
    for _ in range(300):
        crowd.step(idle(crowd), everyone(crowd))
    value = crowd.state.marks[:, a.VALUE] - 10_000.0
    mid = crowd.state.marks[:, a.MID2] / 2 - 10_000.0
    assert (np.corrcoef(value, mid)[0, 1] > 0.8) == near
    assert len(np.unique(value)) > 30
