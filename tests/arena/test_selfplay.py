"""Learners among one another: who meets whom, the same bits again, and problems whose answer is plain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import make_game
from qframe_rl.arena.play import play
from qframe_rl.arena.reply import ReplyPlan, best_reply, gain_of, mean_interval
from qframe_rl.arena.rules import noise
from qframe_rl.arena.selfplay import RoleLearner, SelfPlay, SelfPlayPlan
from qframe_rl.config import build
from qframe_rl.runner.arena.seated import made_learner, seat_spec
from tests.arena.learners import IDLE, SMALL, Quiet, always, learner, markets, selfplay

ROLES = ("maker", "taker")


def weights(one: SelfPlay) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {f"{role}/{k}": v for role, own in one.learners.items() for k, v in own.state().items()}


def test_a_fifth_of_each_roles_samples_is_among_snapshots_of_all_that_learn() -> None:
    one = selfplay(SMALL, ROLES, 1, n=16)
    assert one.game.n_markets == 16 + 8 + 4
    for role, agents, alone in (("maker", (0, 1), 8), ("taker", (2,), 4)):
        lanes = one.lanes[role]
        own = lanes.markets >= 16
        assert own.sum() == alone and own.mean() == pytest.approx(0.2)
        assert set(lanes.agents[own]) == set(agents), "each seat of a role has its turn"
    seats = np.zeros((28, 3), np.int64)
    for lanes in one.lanes.values():
        np.add.at(seats, (lanes.markets, lanes.agents), 1)
    for past in one._past.values():
        np.add.at(seats, (past.markets, past.agents), 1)
    assert (seats == 1).all(), "every seat of every market has one who acts"
    assert selfplay(SMALL, ["taker"], 1, {"maker": IDLE["maker"]}).game.n_markets == 4, "alone there is nobody to meet"


def test_it_is_the_same_again_and_goes_on_after_an_interruption_to_the_same_bits() -> None:
    whole = selfplay(SMALL, ROLES, 6)
    whole()
    assert len(whole.league) == 3, "the beginning, and two at equal intervals"
    first = weights(whole)
    broken = selfplay(SMALL, ROLES, 6)
    broken([lambda one: one.update < 4])
    assert broken.update == 4
    on = selfplay(SMALL, ROLES, 6)
    on.restore({name: value.copy() for name, value in broken.state().items()})
    on()
    for name, value in weights(on).items():
        np.testing.assert_array_equal(value, first[name], name)
    assert on.steps == whole.steps and on.state().keys() == whole.state().keys()
    for name, value in on.state().items():
        np.testing.assert_array_equal(value, whole.state()[name], name)


def test_value_targets_of_roles_are_of_one_size() -> None:
    one = selfplay(CrowdConfig(**{**SMALL.model_dump(), "inventory_penalty": 100.0}), ROLES, 2)
    one()
    spread = {role: training.spread.value for role, training in one.trainings.items()}
    assert spread["maker"] > 10.0 * spread["taker"]
    for training in one.trainings.values():
        _, returns = training.judge(training.end())
        assert 0.05 < float(returns.std()) < 20.0


def test_what_snapshots_do_is_what_they_were() -> None:
    """Entries act by their own weights, and differ from one another once something was learned."""
    one = selfplay(SMALL, ROLES, 2)
    one([lambda one: False])
    acts, past = one._league_acts, one._past["maker"]
    seen = one.game.observe()[past.markets, past.agents]
    assert len(acts) == 2 and not np.array_equal(acts[0]["maker"](seen), acts[1]["maker"](seen))
    kept = one.league[0]["maker"]
    again = learner(SMALL, "maker")
    again.restore(kept)
    np.testing.assert_array_equal(again.policy()(seen), acts[0]["maker"](seen))
    one._drawn[past.markets[0]], one._drawn[past.markets[-1]] = 0, 1
    one._begin()
    one._step()
    for k, (market, agent) in enumerate(zip(past.markets, past.agents, strict=True)):
        wanted = acts[one._drawn[market]]["maker"](seen[k : k + 1])[0]
        np.testing.assert_allclose(one._actions[market, agent], wanted, atol=1e-6)


DEAR = CrowdConfig(
    makers=1, takers=1, executions=0, noise=8, quoters=2, informed=0, trend=0, messages=6, episode_steps=20,
    taker_fee=10_000, lots=1,
)  # fmt: skip
SPENDS = noise(Crowd(DEAR, 1).action_space(1))
"""Buys or sells a lot in every other step, and pays for it."""


@pytest.mark.slow
def test_a_taker_learns_not_to_trade_where_it_costs_ten_ticks_a_lot() -> None:
    rules = {"maker": IDLE["maker"]}
    one = selfplay(DEAR, ["taker"], 80, rules, n=16, n_steps=20, log_std=0.0)
    game = Crowd(DEAR, 64)
    before = play(game, {**rules, "taker": SPENDS}, 77)[:, 1].mean()
    returns = []

    def watch(training: SelfPlay) -> bool:
        returns.append(float(training.trainings["taker"].rewards.mean()))
        return True

    one([watch])
    after = play(game, {**rules, "taker": one.learners["taker"].policy()}, 77)[:, 1].mean()
    assert before < -50.0 and after > 0.1 * before
    assert np.mean(returns[-5:]) > 0.3 * np.mean(returns[:5]), "chance that trades is given up as well"


TOXIC = CrowdConfig(
    makers=1, takers=0, executions=0, noise=10, quoters=0, informed=8, trend=0, messages=10, episode_steps=40,
    position_limit=20, inventory_penalty=0.1,
)  # fmt: skip


@pytest.mark.slow
def test_a_maker_learns_to_widen_or_withdraw_among_the_informed() -> None:
    one = selfplay(TOXIC, ["maker"], 80, n=16, n_steps=20, gamma=0.99)
    game = Crowd(TOXIC, 64)
    near = play(game, {"maker": always(-1.0, -1.0, 1.0, 1.0)}, 77)[:, 0].mean()
    begun = one.learners["maker"].policy()(game.observe()[:, 0])
    one()
    act = one.learners["maker"].policy()
    after = play(game, {"maker": act}, 77)[:, 0].mean()
    ended = act(game.observe()[:, 0])
    assert near < -100.0 and after > 0.2 * near
    assert (ended[:, :2].mean() > begun[:, :2].mean() + 0.1) or (ended[:, 2:].mean() < begun[:, 2:].mean() - 0.1)


@pytest.mark.slow
def test_a_best_reply_gains_where_there_is_something_to_gain_and_not_where_nothing_is() -> None:
    plan = ReplyPlan(16, 20, 60, 64, 0.9, 500, 1)
    game = Crowd(DEAR, plan.episodes)
    gains = {}
    for name, frozen in (("spends", SPENDS), ("idle", always(0.0))):
        policies = {"maker": IDLE["maker"], "taker": frozen}
        reply = best_reply(markets(DEAR), learner(DEAR, "taker", gamma=0.99), "taker", policies, plan, Quiet())
        gains[name] = gain_of(game, "taker", policies, reply, plan)
    assert gains["spends"].low > 50.0 and gains["spends"].frozen < -50.0
    assert gains["idle"].frozen == 0.0 and gains["idle"].high < 0.1 * gains["spends"].gain


def test_a_reply_that_begins_with_a_policy_is_no_worse_than_it() -> None:
    """Others must be surely better: on the episodes that it is chosen on nothing is lost."""
    plan = ReplyPlan(2, 10, 2, 16, 0.9, 200, 1)
    own = learner(SMALL, "taker")
    own.training(selfplay(SMALL, ROLES, 1).lanes["taker"], 100, 10, Quiet())
    policies = {"maker": IDLE["maker"], "taker": own.policy()}
    reply = best_reply(markets(SMALL), learner(SMALL, "taker"), "taker", policies, plan, Quiet(), own.state())
    trial = Crowd(SMALL, 4)
    seed = plan.seed + (1 << 41)
    assert play(trial, {**policies, "taker": reply}, seed)[:, 2].mean() >= play(trial, policies, seed)[:, 2].mean()


def test_an_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    bounds = [mean_interval(rng.normal(1.0, 1.0, 60), 0.9, 300, k) for k in range(300)]
    share = np.mean([low <= 1.0 <= high for low, high in bounds])
    assert 0.84 < share < 0.94


def answering(updates: int, rounds: int = 2, n_steps: int = 3, n: int = 8, **params: Any) -> SelfPlay:
    """An insider and a maker who answers him."""
    plan = SelfPlayPlan(n, n_steps, updates, 0.2, 1, 0)
    own = build(catalog.load("agents", "ppo").Config, {"hidden": (16,)} | params, "ppo")
    one = make_game("kyle", 1, {"rounds": rounds})

    def new(role: str) -> RoleLearner:
        return made_learner("ppo", own, seat_spec(one, role, 5))

    logs = {role: Quiet() for role in ("insider", "maker")}
    return SelfPlay(lambda n: make_game("kyle", n, {"rounds": rounds}), new, ("insider", "maker"), {}, plan, logs)


def test_where_some_answer_others_each_learns_from_its_own_turns() -> None:
    training = answering(1)
    assert (training.n_steps, training.turns) == (4, {"insider": 2, "maker": 2})
    lived: dict[str, list[tuple[Any, ...]]] = {"insider": [], "maker": []}
    for role, one in training.trainings.items():
        taken = one.take
        one.take = lambda t, what, taken=taken, role=role: (  # type: ignore[method-assign, misc]
            lived[role].append((t, what[1].copy(), what[2].copy())), taken(t, what)
        )  # fmt: skip
    paid = np.zeros((training.game.n_markets, 2))
    stepped = training.game.step

    def step(*what: Any) -> Any:
        rewards, over = stepped(*what)
        np.add(paid, rewards, out=paid)
        return rewards, over

    training.game.step = step  # type: ignore[method-assign]
    training()
    for k, role in enumerate(("insider", "maker")):
        assert [t for t, _, _ in lived[role]] == [0, 1]
        assert [over.all() for _, _, over in lived[role]] == [False, True]
        lanes = training.lanes[role]
        earned = sum(rewards for _, rewards, _ in lived[role])
        np.testing.assert_allclose(earned, paid[lanes.markets, k], atol=1e-12)


def test_an_interrupted_training_where_some_answer_others_has_the_bits_of_one_that_was_not() -> None:
    whole = answering(4)
    whole()
    half, rest = answering(4), answering(4)
    half([lambda training: training.update < 2])
    rest.restore(half.state())
    rest()
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, rest.state()[name], err_msg=name)


def test_an_insider_and_a_maker_learn_to_answer_each_other() -> None:
    """Of one round the insider earns half a unit at the equilibrium (Kyle, 1985), and a maker who asks that price."""
    slow = {"learning_rate": 0.003, "learning_rate_end": 0.0, "log_std": -2.0, "ent_coef": 0.0, "gae_lambda": 1.0}
    training = answering(60, rounds=1, n_steps=2, n=512, batch_size=256, n_epochs=4, **slow)
    training()
    policies = {role: one.policy() for role, one in training.learners.items()}
    earned = play(make_game("kyle", 4000), policies, 77)
    assert abs(earned[:, 0].mean() - 0.5) < 0.15
