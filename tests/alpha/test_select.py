"""Features found by themselves: what is tried, how it is judged, what was planted, and that nothing later enters."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control, kstest

from qframe_rl.alpha import select
from qframe_rl.alpha.alone import Courses, likeness, z_ranks
from qframe_rl.alpha.canonical import identity
from qframe_rl.alpha.ideas import MOST_DRAWN, candidates, ideas
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import number, parse
from qframe_rl.alpha.score import coefficients, labels, score
from qframe_rl.alpha.select import FormulaTrials, SelectionRules, bars_ahead, found_features
from qframe_rl.alpha.significance import block_means, bootstrap_p, discovery_rates
from qframe_rl.config import UserError
from qframe_rl.features import features
from qframe_rl.runner.auto_features import trials_of
from qframe_rl.types import DAY, HOUR, MINUTE, Segment
from tests.agents.planted import bars_of
from tests.alpha.draws import bars
from tests.alpha.planted import COLUMNS, LOOKBACK, PLANTED, found_in, judged, world

SMALL = {"n_rows": 1200, "n": 16, "strength": 0.08, "n_noise": 120}


def test_ideas_are_features_none_like_another_but_in_name() -> None:
    made = ideas(("signal",))
    assert len(made) > 150 and {tree.unit for tree in made} == {"number"}
    assert len({identity(tree).text for tree in made}) == len(made)
    assert not any(tree.crosses for tree in ideas(crosses=False))
    assert len(features([f"alpha:{tree.text}" for tree in made], ("signal",), HOUR)) == len(made)


def test_candidates_are_ideas_then_draws_the_same_for_a_seed() -> None:
    first, again, other = (
        [tree.text for tree in candidates((), crosses=False, most_lookback=100, seed=seed, most=200)]
        for seed in (4, 4, 5)
    )
    n_ideas = sum(tree.lookback <= 100 for tree in ideas(crosses=False))
    assert first == again and first[:n_ideas] == other[:n_ideas] and first != other
    assert len({identity(parse(text)).text for text in first}) == len(first) == 200
    for text in first[n_ideas:]:
        tree = number(text)
        assert tree.size <= MOST_DRAWN and tree.lookback <= 100 and not tree.crosses


def test_where_nothing_may_be_drawn_it_ends() -> None:
    assert list(candidates((), crosses=False, most_lookback=0, seed=0)) == []


def test_p_is_uniform_where_nothing_is_there_though_dates_hang_together() -> None:
    """Moving sums of four: the errors of their means are twice those of independent dates."""
    rng = np.random.default_rng(0)
    series = [np.convolve(rng.standard_normal(1003), np.ones(4), "valid") for _ in range(300)]
    p = bootstrap_p(np.stack([block_means(one, 20) for one in series]), 2000, 1)
    assert kstest(p, "uniform").pvalue > 0.01
    assert p.min() >= 1 / 2001
    assert (bootstrap_p(np.stack([block_means(one + 1.0, 20) for one in series[:3]]), 2000, 1) == 1 / 2001).all()
    assert (bootstrap_p(np.ones((2, 30)), 100, 0) == 1.0).all()  # without any spread nothing can be said


def test_resamples_of_many_blocks_are_drawn_piece_by_piece() -> None:
    """Two years of minutes are 5,000 blocks: 40,000 resamples of them at once were 3 GB of counts."""
    blocks = np.random.default_rng(0).standard_normal((3, 3000)) + 0.02
    tracemalloc.start()
    p = bootstrap_p(blocks, 2000, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    counts = np.random.default_rng(1).multinomial(3000, np.full(3000, 1.0 / 3000), 2000)
    apart = blocks - blocks.mean(axis=1, keepdims=True)
    mean, square = apart @ counts.T / 3000, apart**2 @ counts.T / 3000
    asked = blocks.mean(axis=1) / (blocks.std(axis=1) / np.sqrt(2999))
    drawn = mean / np.sqrt((square - mean**2) / 2999)
    assert p == pytest.approx((1 + (np.abs(drawn) >= np.abs(asked)[:, None]).sum(axis=1)) / 2001)


def test_funding_is_taken_off_what_followed() -> None:
    """Prices stand still, and each perpetual pays what a column announces, which only its funding shows."""
    rng = np.random.default_rng(2)
    pays = 1e-3 * rng.standard_normal((900, 12))
    values = np.ones((900, 12, 6))
    values[:, :, :4] *= np.exp(1e-6 * rng.standard_normal((900, 12, 1)))
    values[:-2, :, 5] = pays[2:]
    times = (DAY * (18_000 + np.arange(900))).astype(np.int64)
    history = replace(bars_of(values[:, :, 3]), values=values, columns=("due",), time=times, bar_ns=DAY, funding=pays)
    (test,) = found_features(
        trials_of(history, (Segment(0, 900),), 0), [parse("column:due", ("due",))]
    ).tests  # fmt: skip
    assert test.verdict == "found" and test.ic < -0.3


def test_blocks_are_as_equal_as_can_be() -> None:
    assert block_means(np.arange(7.0), 3).tolist() == [1.0, 4.5]
    assert block_means(np.arange(6.0), 2).tolist() == [0.5, 2.5, 4.5]


def test_discovery_rates_are_those_of_benjamini_and_hochberg() -> None:
    p = np.random.default_rng(2).random(50) ** 3
    assert discovery_rates(p) == pytest.approx(false_discovery_control(p))


def test_one_coin_is_scored_through_time_as_elsewhere() -> None:
    values, times = bars(900, 1, 3, clean=True)
    everyone, label = np.ones((900, 1), dtype=np.bool_), labels(values, 5)
    for text in ("ret(close, 5)", "tsrank(volume, 10)"):
        tree = parse(text)
        shown = Evaluator(values, times, HOUR, ("signal",), everyone).value(tree)
        dates = ~np.isnan(label[:, 0]) & (np.arange(900) >= tree.lookback - 1)
        found = Courses(label[dates], 5).score(shown[dates])
        known = score(shown, everyone, np.where(dates[:, None], label, np.nan), tree.lookback, 5)
        assert found.score[:4] == pytest.approx(known[:4], abs=1e-12)
        series = coefficients(shown[dates], everyone[dates], label[dates])[:, 0]
        assert found.series == pytest.approx(series, abs=1e-12)
    flat = Courses(label[dates], 5).score(np.ones((dates.sum(), 1)))
    assert flat.score.invalid == "it has the same value on every date" and flat.score.ic == 0.0
    holes = np.where(np.arange(dates.sum())[:, None] % 10 == 0, np.nan, shown[dates])
    assert Courses(label[dates], 5).score(holes).score.invalid.startswith("it has a value on 90% of the dates")


def test_likeness_is_the_mean_correlation_of_ranks() -> None:
    rng = np.random.default_rng(0)
    one = z_ranks(rng.standard_normal((300, 3)), np.ones((300, 3), dtype=np.bool_))
    assert likeness(one, one) == pytest.approx(1.0) and likeness(one, -one) == pytest.approx(-1.0)
    assert abs(likeness(one, one[::-1])) < 0.2


def test_labels_look_days_ahead_or_a_day() -> None:
    assert [bars_ahead(ns) for ns in (7 * DAY, DAY, 4 * HOUR, HOUR, MINUTE)] == [5, 5, 6, 24, 24]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_planted_is_found_among_noise(seed: int) -> None:
    right, wrong = judged(found_in(world(seed, **SMALL), seed))  # type: ignore[arg-type]
    assert right >= 4 and wrong <= 0.3


def test_on_one_coin_too() -> None:
    right, wrong = judged(found_in(world(0, 5000, 1, 0.1, 60), 0))
    assert right >= 4 and wrong <= 0.3


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("n_rows", "n", "strength"), [(1600, 32, 0.05), (8000, 1, 0.07)])
def test_gate_of_recall_and_false_discoveries_over_twenty_worlds(n_rows: int, n: int, strength: float) -> None:
    found = [judged(found_in(world(seed, n_rows, n, strength), seed)) for seed in range(20)]
    print([right for right, _ in found], [round(wrong, 2) for _, wrong in found])
    assert min(right for right, _ in found) >= 4
    assert np.mean([wrong for _, wrong in found]) <= 0.1


@pytest.mark.parametrize("n", [1, 3, 16])
def test_later_rows_change_nothing(n: int) -> None:
    made = world(3, 1000, n, 0.15, 40)
    rng = np.random.default_rng(0)
    spoiled = made.bars.copy()
    spoiled[700:] = rng.permutation(spoiled[700:]) * rng.random((300, n, 1))
    assert found_in(made, 0, 700).tests == found_in(made._replace(bars=spoiled), 0, 700).tests
    assert found_in(made, 0, 700).texts
    spoiled[600:] = np.nan
    assert found_in(made._replace(bars=spoiled), 0, 700).tests != found_in(made, 0, 700).tests


def test_each_verdict_is_said() -> None:
    made, rules = world(5, **SMALL), SelectionRules(1, most=2)  # type: ignore[arg-type]
    turned = made.bars.copy()
    turned[600:, :, 5] = -turned[600:, :, 5]  # what drove up drives down
    trials = FormulaTrials(turned, made.times, DAY, COLUMNS, (Segment(0, 1200),), rules, LOOKBACK, 0)
    texts = ("delta(column:d1,5)/std(column:d1,20)", "tsz(column:d1,20)", "skew(column:d5,20)", "tsrank(column:d4,40)",
             "skew(column:d5,20)*(-2)", "sign(column:n0*0)", "tsz(column:d0,20)")  # fmt: skip
    found = found_features(trials, [parse(text, COLUMNS) for text in texts])
    said = [test.verdict.partition(" ")[0] for test in found.tests]
    assert sorted(said) == ["chance", "found", "found", "invalid:", "repeated", "resembles", "surplus"]
    assert said[:2] == ["found", "found"] and len(found.texts) == 2
    assert found.counts == {"tried": 7, "valid": 5, "significant": 4, "clusters": 3, "steady": 3, "found": 2}
    steady = SelectionRules(1, most_alike=2.0, agreeing=6)
    trials = FormulaTrials(turned, made.times, DAY, COLUMNS, (Segment(0, 1200),), steady, LOOKBACK, 0)
    assert {test.verdict for test in found_features(trials, PLANTED).tests} <= {"unsteady", "chance"}


def test_clusters_are_the_same_however_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(5, **SMALL)  # type: ignore[arg-type]
    rules = SelectionRules(1, false_share=1.0, most_alike=0.1)
    trials = FormulaTrials(made.bars, made.times, DAY, COLUMNS, (Segment(0, 1200),), rules, LOOKBACK, 0)
    for text in ("tsz(column:d0,20)", "tsz(column:d0,25)", "tsz(column:d1,20)", "tsz(column:n0,20)", "column:n0",
                 "tsz(column:d1,25)", "column:n1", "tsz(column:n1,20)"):  # fmt: skip
        trials.test(parse(text, COLUMNS))
    whole = trials.outcome()
    assert 2 < len({test.cluster for test in whole.tests}) < 8
    monkeypatch.setattr(select, "_KEPT", 1)
    assert trials.outcome() == whole


def test_too_few_dates_are_refused_in_a_sentence() -> None:
    values, times = bars(400, 1, 0)
    with pytest.raises(UserError, match=r"^\d+ training dates are too few to find features on: 20 blocks of 120 are"):
        FormulaTrials(values, times, HOUR, ("signal",), (Segment(0, 400),), SelectionRules(24), 120, 0)


def test_planted_formulas_are_those_of_their_texts() -> None:
    assert all(tree.lookback <= LOOKBACK and tree.unit == "number" for tree in PLANTED)
