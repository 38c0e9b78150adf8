"""Mined pools: what is found, what is paid for it, and what cannot be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from qframe_rl.alpha.ground import Ground
from qframe_rl.alpha.growing import GrowingPool, sharpes, steady
from qframe_rl.alpha.judged import on_ground
from qframe_rl.alpha.mine import Mined, Mining, MiningRules, mine, mined_formulas
from qframe_rl.alpha.net import held_book, net_book
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.pool import combined, correlations, ensemble_ic, weights
from qframe_rl.alpha.said import rows_needed, said, said_together
from qframe_rl.alpha.score import score, standing
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError
from qframe_rl.types import CLOSE, OPEN, Float
from tests.alpha.draws import bars
from tests.alpha.grounds import plain_moves, planted

TEXTS = ("corr(close,volume,10)", "ret(close,5)", "tsz(volume,20)", "std(ret1,10)", "slope(close,10)/close")


class Dictated:
    """A search that proposes what it was given, and remembers what it was told."""

    def __init__(self, *texts: str):
        self.trees, self.told = [parse(text) for text in texts], list[float]()

    def propose(self, n: int) -> Sequence[Formula]:
        return self.trees

    def learn(self, rewards: Float) -> None:
        self.told += rewards.tolist()


def paid(ground: Ground, *texts: str, rules: MiningRules = MiningRules(mode="ic")) -> tuple[Mining, list[float]]:  # noqa: B008
    """A mining after one batch of these formulas, and what each earned."""
    mining = Mining(ground, "random", 0, rules)
    mining.search = dictated = Dictated(*texts)
    mining.step()
    return mining, dictated.told


@pytest.mark.parametrize("mode", ["ic", pytest.param("net", marks=pytest.mark.long)])
def test_what_is_planted_is_found(mode: str) -> None:
    ground = planted("corr(close,volume,10)", strength=0.5)
    found = mine(ground, "genetic", 384, 3, mode)  # type: ignore[arg-type]
    truth = abs(on_ground(parse("corr(close,volume,10)"), ground, ground.evaluator()).ic)
    assert truth > 0.2 and found.ic > 0.9 * truth
    assert found.curve[-1].value == found.value > 0.0 and len(found.members) <= 10
    assert found.stopped == "count" and found.distinct >= 384 and found.calls == 128 * len(found.curve)
    assert sum(found.refused.values()) < found.calls and 1.0 < found.n_effective < 384.0


@pytest.mark.parametrize("search", [pytest.param("random", marks=pytest.mark.long), "genetic"])
def test_the_same_seed_gives_the_same_bits_and_leaves_other_generators_alone(search: str) -> None:
    ground, before = planted(n_rows=200), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, again = (plain(mine(ground, search, 200, 5, "ic")) for _ in range(2))
    assert one == again and one.members
    assert plain(mine(ground, search, 200, 6, "ic")).members != one.members
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    halves = Mining(ground, search, 5, MiningRules(mode="ic"))
    assert halves.until(100, lambda point: True, None).stopped == "told"
    assert plain(halves.until(200, None, None)) == one, "one that was stopped goes on as if it had not been"


def plain(found: Mined) -> Mined:
    """Without what depends on the machine."""
    return found._replace(curve=tuple(point._replace(minutes=0.0) for point in found.curve))


def test_nothing_is_known_of_rows_after_the_ground() -> None:
    """So nothing can be chosen by how it does on a test, nor rewarded for it."""
    ground = planted("ret(close,5)", stop=300)
    later = ground.bars.copy()
    later[300:] *= np.random.default_rng(0).uniform(0.5, 2.0, later[300:].shape)
    funding = np.zeros(later.shape[:2])
    funding[300:] = 0.1
    other = replace(ground, bars=later, funding=funding)
    assert plain(mine(ground, "genetic", 200, 1)) == plain(mine(other, "genetic", 200, 1))
    assert np.isnan(ground.followed.label[-2:]).all()


def test_what_was_found_names_the_data_it_was_found_on() -> None:
    """A result that is kept by its digest cannot be taken for that of other data."""
    ground = planted(n_rows=200)
    other = ground.bars.copy()
    other[100, 3, CLOSE] *= 1.0 + 1e-12
    assert ground.digest != replace(ground, bars=other).digest != replace(ground, cost=0.0).digest
    assert ground.digest == planted(n_rows=200).digest
    pools = [paid(g, *TEXTS)[0].found("") for g in (ground, replace(ground, bars=other))]
    assert pools[0].digest != pools[1].digest


def test_no_name_leads_to_what_followed() -> None:
    vocabulary = planted(n_rows=200).vocabulary
    assert set(vocabulary.units) == {"open", "high", "low", "close", "volume", "typical", "ret1", "money"}
    for text in ("label", "column:label", "ref(ret1,-1)", "delta(close,0)", "followed"):
        with pytest.raises(UserError):
            parse(text, ())


def test_a_formula_earns_what_the_pool_gains_less_the_price_of_its_tokens() -> None:
    ground = planted("corr(close,volume,10) + tsz(volume,20)")
    mining, told = paid(ground, *TEXTS)
    for k in range(len(TEXTS)):
        one, _ = paid(ground, *TEXTS[: k + 1])
        before = paid(ground, *TEXTS[:k])[0].pool.value if k else 0.0
        gain = one.pool.value - before
        assert told[k] == (pytest.approx(gain - 2e-4 * parse(TEXTS[k]).size, abs=1e-12) if gain > 0.0 else 0.0)
    assert mining.pool.value == pytest.approx(sum(told) + 2e-4 * sum(m.tree.size for m in mining.pool.members))
    assert max(told) > 0.05


def test_defect_8_what_is_not_taken_in_earns_nothing() -> None:
    ground = planted("corr(close,volume,10)")
    again = ("-30 * rank(corr(volume,close,10))".replace("-30 * ", "neg(") + ")", "exp".replace("exp", "abs(ret1) * 2"))
    texts = ("corr(close,volume,10)", *again, "abs(ret1)", "sign(ret1)", "ret1 - ret1", "corr(close,volume,10) * 1.001")
    mining, told = paid(ground, *texts)
    assert told[0] > 0.0 and told[1] == 0.0, "its opposite is the same"
    assert told[3:] == [0.0] * 4, "the same in other words, few values, always flat, the same again"
    assert mining.found("").refused == {"few values": 1, "flat": 1, "repeated": 3} | (
        {"no gain": 1} if told[2] == 0.0 else {}
    )


def test_twins_go_out_for_what_is_better() -> None:
    """What is planted takes the place of what is like it, and not the other way round."""
    truth, other = "corr(close,volume,10)", "corr(high + low,volume,10)"
    ground = planted(truth)
    for order in ((other, truth), (truth, other)):
        pool = paid(ground, *order)[0].pool
        assert [m.tree.text for m in pool.members] == [truth]


def test_too_many_lose_the_one_that_is_missed_least() -> None:
    ground = planted("corr(close,volume,10) + tsz(volume,20) + ret1 * 0.5")
    everything = (*TEXTS, "ret1", "skew(ret1,20)", "money / mean(money,5)")
    for mode in ("ic", "net"):
        rules = MiningRules(mode=mode, most_members=3)  # type: ignore[arg-type]
        few = paid(ground, *everything, rules=rules)[0].pool
        assert len(few.members) == 3
        assert judged([m.tree.text for m in few.members], ground, mode) == pytest.approx(few.value, abs=1e-12)
        assert "corr(close,volume,10)" in [m.tree.text for m in few.members]


def judged(texts: Sequence[str], ground: Ground, mode: str) -> float:
    """J from the words of its definition."""
    trees = [parse(text) for text in texts]
    values = [ground.evaluator().value(tree) for tree in trees]
    stands = [standing(v, ground.seen) for v in values]
    lookback = [tree.lookback for tree in trees]
    ics = [score(v, ground.seen, ground.followed.label, n, 1).ic for v, n in zip(values, lookback, strict=True)]
    edges = [ground.n_dates * k // 4 for k in range(5)]
    whole = correlations([s[: ground.n_dates] for s in stands])
    weight = weights(whole, np.array(ics))
    parts = []
    for a, b in pairwise(edges):
        if mode == "net":
            together = standing(combined(stands, weight), ground.seen)
            returns = net_book(together, ground.bars, ground.n_ahead, ground.cost).returns[a:b]
            parts.append(returns.mean() / returns.std(ddof=1))
        else:
            alike = correlations([s[a:b] for s in stands])
            label = np.full(ground.followed.label.shape, np.nan)
            label[a:b] = ground.followed.label[a:b]
            each = [score(v, ground.seen, label, n, 1).ic for v, n in zip(values, lookback, strict=True)]
            parts.append(ensemble_ic(alike, np.array(each), weight))
    return float(np.mean(parts) - 0.5 * np.std(parts, ddof=1))


@pytest.mark.parametrize("mode", ["ic", "net"])
def test_a_pool_is_worth_what_its_definition_says(mode: str) -> None:
    ground = planted("corr(close,volume,10) + tsz(volume,20)")
    pool = paid(ground, *TEXTS, rules=MiningRules(mode=mode))[0].pool  # type: ignore[arg-type]
    assert len(pool.members) >= 2
    assert judged([m.tree.text for m in pool.members], ground, mode) == pytest.approx(pool.value, abs=1e-12)


def test_defect_9_what_was_found_does_not_change_when_the_search_goes_on() -> None:
    ground = planted("corr(close,volume,10)")
    mining = Mining(ground, "genetic", 0, MiningRules(mode="ic"))
    early = mining.until(100, None, None)
    kept = [one.weight for one in early.members]
    late = mining.until(300, None, None)
    assert [one.weight for one in early.members] == kept != [one.weight for one in late.members]
    trees = mined_formulas(early.members)
    stands = [said(ground.evaluator().value(tree), ground.seen) for tree in trees]
    alike = correlations([s[: ground.n_dates] for s in stands])
    assert weights(alike, np.array([one.ic for one in early.members])) == pytest.approx(kept, abs=1e-12)


def test_defect_10_the_last_token_of_the_longest_formulas_counts() -> None:
    mining = Mining(planted(n_rows=200), "random", 0, MiningRules(mode="ic"))
    vocabulary = mining.ground.vocabulary
    longest = [tree for tree in mining.search.propose(200) if tree.size == 15]
    assert longest
    for tree in longest:
        tokens = vocabulary.encode(tree)
        assert len(tokens) == 16 and vocabulary.tokens[tokens[14]] == tree.op
        assert not vocabulary.writes([*tokens[:14], 0]) or vocabulary.decode([*tokens[:14], 0]) != tree


def test_a_search_that_repeats_itself_ends() -> None:
    mining = Mining(planted(n_rows=200), "random", 0, MiningRules(mode="ic", batch=5))
    mining.search = Dictated(*TEXTS)
    found = mining.until(100, None, None)
    assert found.stopped == "calls" and found.calls == 15 and found.distinct == 5
    assert mine(planted(n_rows=200), "random", 10_000, 0, "ic", minutes=0.0).stopped == "minutes"
    with pytest.raises(UserError, match="unknown search 'genetics'; did you mean 'genetic'"):
        mine(planted(n_rows=200), "genetics", 10, 0)
    with pytest.raises(UserError, match="unknown mode"):
        mine(planted(n_rows=200), "random", 10, 0, "gross")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs 40 bars"):
        planted(n_rows=40)


def test_funding_is_taken_off_what_followed() -> None:
    ground = planted("ret(close,5)", n_ahead=3, stop=300)
    rng = np.random.default_rng(0)
    funded = replace(ground, funding=np.where(rng.random(ground.bars.shape[:2]) < 0.2, 0.01, 0.0), start=50)
    for t in range(50, 296):
        for a in (0, 7):
            bought = ground.bars[t + 1, a, OPEN]
            assert funded.funding is not None
            due = sum(funded.funding[k, a] * ground.bars[k - 1, a, CLOSE] / bought for k in range(t + 2, t + 5))
            raw = ground.bars[t + 4, a, OPEN] / bought - 1.0
            assert funded.followed.label[t - 50, a] == pytest.approx(raw - due, abs=1e-12)
    assert funded.followed.moves[:-2] == pytest.approx(plain_moves(funded)[:-2], abs=1e-12)
    held = np.ones(funded.seen.shape)
    assert held_book(held, funded.followed.moves, 1, 0.0).returns[:-2] == pytest.approx(
        plain_moves(funded)[:-2].mean(axis=1), abs=1e-12
    )


def test_few_instruments_stand_to_their_own_past() -> None:
    values, _ = bars(400, 2, 0, clean=True)
    members = np.ones((400, 2), dtype=np.bool_)
    x = values[:, :, 3] / values[:, :, 0]
    ours = said(x, members)
    assert np.isnan(ours[:249]).all() and rows_needed(parse("ret1"), 2) == 2 + 249
    window = x[60:310, 1]
    rank = ((window < window[-1]).sum() + 0.5) / 250
    assert ours[309, 1] == pytest.approx((rank - 0.5) * np.sqrt(12.0))
    later = x.copy()
    later[350:] += 1.0
    assert np.array_equal(said(later, members)[:350], ours[:350], equal_nan=True)
    weight = np.array([2.0, -1.0])
    assert said_together([ours, ours], weight, members)[300:] == pytest.approx(ours[300:] / 3.0)
    book = held_book(ours, np.zeros(x.shape), 4, 0.0)
    assert book.weights[399] == pytest.approx(ours[396:].mean(axis=0) / np.sqrt(3.0) / 2.0)
    assert np.abs(book.weights).sum(axis=1).max() < 1.0


def test_a_pool_is_mined_on_two_instruments() -> None:
    ground = planted("tsz(volume,20)", n_rows=700, n=2, strength=0.5)
    found = mine(ground, "genetic", 250, 0)
    truth = on_ground(parse("tsz(volume,20)"), ground, ground.evaluator())
    stand, label = truth.stand[300:-2], ground.followed.label[300:-2]
    assert truth.ic == pytest.approx(np.mean([np.corrcoef(stand[:, a], label[:, a])[0, 1] for a in (0, 1)]), abs=0.02)
    assert found.members and found.value > 0.0 and abs(found.ic) > 0.5 * truth.ic
    assert not any(tree.crosses for tree in mined_formulas(found.members))
    pool = GrowingPool(ground)
    assert (
        pool.offer(parse("tsz(volume,20)"), truth) == pool.value == pytest.approx(steady(sharpes(truth.stand, ground)))
    )
