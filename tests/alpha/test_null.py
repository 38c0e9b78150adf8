"""Searches against luck: what a shuffle keeps, what it breaks, and what is said of a search then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qframe_rl.alpha.judged import on_ground
from qframe_rl.alpha.mine import MiningRules, mined_formula
from qframe_rl.alpha.null import MiningPlan, against_luck, appraise, shuffled
from qframe_rl.alpha.parser import parse
from tests.alpha.grounds import planted

TRUTH = "corr(close,volume,10)"


def test_labels_change_hands_within_the_universe_by_an_order_that_lasts() -> None:
    ground = planted(TRUTH, n=12, n_ahead=2, stop=300)
    members = ground.members.copy()
    members[:, 5] = False
    members[150:, 7] = False
    ground = replace(ground, members=members)
    made = shuffled(ground, "coins", 3)
    label, moves = ground.followed
    assert np.array_equal(made.followed.label[:, 5], label[:, 5], equal_nan=True)
    orders = set()
    for t in range(ground.n_dates):
        inside = np.flatnonzero(ground.seen[t])
        assert sorted(made.followed.label[t, inside]) == sorted(label[t, inside])
        whose = tuple(int(np.flatnonzero(label[t] == v)[0]) for v in made.followed.label[t, inside])
        assert made.followed.moves[t, inside].tolist() == moves[t, list(whose)].tolist()
        orders.add((t // 16, whose))
    assert len(orders) == len(range(0, ground.n_dates, 16)) + (150 % 16 > 0), "one order a block, but for who left"
    assert not np.array_equal(shuffled(ground, "coins", 4).followed.label[:16], made.followed.label[:16])


def test_blocks_of_rows_change_places() -> None:
    ground = planted(TRUTH, n_ahead=2, stop=300)
    made, label = shuffled(ground, "blocks", 1), ground.followed.label
    rows = [int(np.flatnonzero((label == row).all(axis=1))[0]) for row in made.followed.label[: ground.n_dates]]
    assert sorted(rows) == list(range(ground.n_dates)) != rows
    assert np.mean(np.diff(rows) == 1) > 0.9, "most rows still follow one another"
    assert np.array_equal(made.followed.moves[: ground.n_dates], ground.followed.moves[rows])
    assert np.array_equal(made.bars, ground.bars), "formulas are as they were"


@pytest.mark.parametrize("shuffle", ["coins", "blocks"])
def test_what_is_planted_is_gone_after_a_shuffle(shuffle: str) -> None:
    ground = planted(TRUTH, strength=0.5)
    made = shuffled(ground, shuffle, 0)  # type: ignore[arg-type]
    before, after = (on_ground(parse(TRUTH), g, g.evaluator()).ic for g in (ground, made))
    assert before > 0.3 and abs(after) < 0.08
    assert made.digest != ground.digest


def test_what_is_planted_is_told_from_luck_and_nothing_is_not() -> None:
    plan = MiningPlan("random", 100, 1, MiningRules(mode="ic"))
    ground = planted("ret(close,5)", n_rows=400, stop=250, strength=0.6)
    later = replace(ground, start=250, stop=400)
    found = plan.mined(ground)
    done: list[int] = []
    said = against_luck(found, plan, ground, "coins", 4, later, done.append)
    assert said.p_train == said.p_validation == said.p == 0.2 and done == [1, 2, 3, 4]
    assert said.deflated_ic == pytest.approx(found.ic - 0.12, abs=0.1) and len(said.train) == 4
    luck = plan.mined(shuffled(ground, "coins", 99))
    assert against_luck(luck, plan, shuffled(ground, "coins", 99), "coins", 4).p_validation == 1.0
    assert min(said.train) > 0.0, "the best of a hundred is above zero where there is nothing"


def test_a_pool_is_appraised_with_the_weights_it_has() -> None:
    ground = planted(TRUTH, stop=250, n_rows=400)
    later = replace(ground, start=250, stop=400)
    found = MiningPlan("genetic", 150, 0, MiningRules(mode="net")).mined(ground)
    scores = [appraise(found.members, g, "net") for g in (ground, later)]
    assert scores[0].value == pytest.approx(found.value, abs=1e-12)
    assert scores[1].ic > 0.05 and scores[1].t > 2.0 and 0.0 < scores[1].turnover < 2.0
    opposite = tuple(one._replace(weight=-one.weight) for one in found.members)
    assert appraise(opposite, later, "ic").ic == pytest.approx(-scores[1].ic, abs=1e-12)
    assert appraise((), later, "net") == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_rows_in_which_nobody_can_be_ranked_are_no_dates() -> None:
    """Of five coins nothing is said, so they make no formula the worse: half of these rows halved its IC."""
    ground, truth = planted(TRUTH), (mined_formula(parse(TRUTH), 1.0),)
    members = ground.members.copy()
    members[200:, 5:] = False
    thin, first = (
        appraise(truth, replace(ground, members=members), "ic"),
        appraise(truth, replace(ground, stop=202), "ic"),
    )
    assert thin.ic == pytest.approx(first.ic, abs=1e-12) and thin.t == pytest.approx(first.t, abs=1e-9)
