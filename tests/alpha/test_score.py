"""Scores of formulas: against plain definitions, golden numbers, and the mistakes that others make."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from qframe_rl.alpha.canonical import identity, order_hash
from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.net import net_book
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.score import coefficients, labels, newey_west, score, standing
from qframe_rl.config import UserError
from qframe_rl.types import DAY, HOUR, Float
from tests.alpha.draws import bars

N, ALL = 12, np.ones((200, 12), dtype=np.bool_)


def drawn(seed: int = 0, strength: float = 0.3) -> tuple[Float, Float]:
    """A formula's values and what followed, which it tells a little of."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((200, N))
    return values, 0.01 * (strength * values + rng.standard_normal((200, N)))


def plain_ic(values: Float, label: Float, members: Float) -> tuple[float, float]:
    """IC and rank IC of one row, from the words of the definition."""
    there = members & np.isfinite(values)
    n = there.sum()
    ranks = np.full(len(values), np.nan)
    if n:
        ranks[there] = rankdata(values[there]) - 0.5
    both = there & np.isfinite(label)
    if both.sum() < 8 or n < 8 or len(np.unique(ranks[both])) < 2 or len(np.unique(label[both])) < 2:
        return 0.0, 0.0
    z = (ranks - ranks[there].mean()) / ranks[there].std()
    return float(np.corrcoef(z[both], label[both])[0, 1]), float(spearmanr(values[both], label[both]).statistic)


def test_coefficients_are_their_definition_on_rows_with_everything_missing() -> None:
    rng = np.random.default_rng(1)
    values, label = drawn()
    values[rng.random(values.shape) < 0.15] = np.nan
    values[3, 2] = np.inf
    values = np.where(rng.random(values.shape) < 0.3, np.round(values), values)
    values[20:24] = 1.5
    values[30:33, 4:] = np.nan
    label[rng.random(label.shape) < 0.1] = np.nan
    label[50] = np.nan
    members = rng.random(values.shape) < 0.95
    found = coefficients(values, members, label)
    assert np.isnan(found[50]).all() and np.isfinite(np.delete(found, 50, axis=0)).all()
    for t in range(200):
        if t != 50:
            assert found[t] == pytest.approx(plain_ic(values[t], label[t], members[t]), abs=1e-12), t
    assert (found[20:24] == 0.0).all() and (found[30:33] == 0.0).all()


def test_golden_scores() -> None:
    found = score(*drawn(7)[:1], ALL, drawn(7)[1], 1, 5)
    assert found[:4] == pytest.approx(GOLDEN, rel=1e-12)
    assert (found.n_dates, found.coverage, found.telling, found.distinct, found.invalid) == (200, 1.0, 1.0, 1.0, "")


GOLDEN = (0.247896029850100, 0.235104895104895, 0.903468896059453, 11.773316637013666)
"""IC, rank IC, ICIR and t of these draws as numpy and scipy have them, by `plain_ic` and the sums below."""


def test_newey_west_is_its_definition() -> None:
    rng = np.random.default_rng(3)
    x = np.convolve(rng.standard_normal(305), np.ones(6), "valid") + 0.5
    n, mean = len(x), x.mean()
    variance = sum((v - mean) ** 2 for v in x) / n
    for lag in range(1, 6):
        variance += 2 * (1 - lag / 6) * sum((x[k] - mean) * (x[k - lag] - mean) for k in range(lag, n)) / n
    assert newey_west(x, 5) == pytest.approx(mean / math.sqrt(variance / n), rel=1e-12)
    assert newey_west(x, 0) == pytest.approx(mean / (x.std() / math.sqrt(n)), rel=1e-12)
    assert newey_west(x, 5) < 0.6 * newey_west(x, 0), "errors that hang together say less"
    assert newey_west(np.ones(50), 5) == newey_west(np.ones(1), 5) == 0.0


def test_labels_are_filled_at_the_next_open_and_purged_at_the_end_of_their_segment() -> None:
    values, _ = bars(60, 3, 4, clean=True)
    values[40:, 1] = np.nan
    label = labels(values, 5, 10, 50)
    assert np.isnan(label[:10]).all() and np.isnan(label[50 - 6 :]).all()
    assert label[20, 0] == values[26, 0, 0] / values[21, 0, 0] - 1.0
    assert label[37, 1] == values[39, 1, 3] / values[38, 1, 0] - 1.0, "what stops trading is sold at its last close"
    assert np.isnan(label[39, 1])
    later = values.copy()
    later[50:] *= 3.0
    assert np.array_equal(labels(later, 5, 10, 50), label, equal_nan=True), "no row after the segment is in a label"
    with pytest.raises(ValueError, match="at least 1 bar"):
        labels(values, 0)


def test_a_formula_that_is_flat_on_nearly_all_dates_is_not_the_best() -> None:
    """Averaged over the dates on which it exists it would have an IC near one."""
    values, label = drawn()
    rare = np.zeros_like(values)
    rare[::20] = label[::20]
    surviving = coefficients(rare, ALL, label)[::20, 0].mean()
    assert surviving > 0.8
    assert coefficients(rare, ALL, label)[:, 0].mean() == pytest.approx(surviving / 20)
    found = score(rare, ALL, label, 1, 5)
    assert found[:4] == (0.0, 0.0, 0.0, 0.0) and "5% of the dates" in found.invalid


def test_rows_in_which_nobody_could_rank_are_no_dates_of_any_formula() -> None:
    """Few coins were listed in the first years: a formula that cannot rank them there is none the worse."""
    values, label = drawn()
    members = np.ones(values.shape, dtype=np.bool_)
    members[:120, 7:] = False
    found = score(np.where(members, values, np.nan), members, label, 1, 5)
    assert found.n_dates == 80 and not found.invalid
    assert found.ic == pytest.approx(coefficients(values[120:], members[120:], label[120:])[:, 0].mean())


def test_a_formula_for_half_of_the_instruments_or_of_few_values_is_not_valid() -> None:
    values, label = drawn()
    half = values.copy()
    half[:, ::2] = np.nan
    assert "50% of the universe's cells" in score(half, ALL, label, 1, 5).invalid
    assert "distinct values" in score(np.sign(values), ALL, label, 1, 5).invalid
    early = values.copy()
    early[:40] = np.nan
    assert score(early, ALL, label, 41, 5).invalid == "" and score(early, ALL, label, 1, 5).invalid
    with pytest.raises(UserError, match="no row has a label"):
        score(values, ALL, np.full_like(label, np.nan), 1, 5)


def test_one_instrument_is_scored_through_time() -> None:
    values, label = (x[:, :1] for x in drawn(2))
    found = score(values, ALL[:, :1], label, 1, 5)
    assert found.ic == pytest.approx(np.corrcoef(rankdata(values), label[:, 0])[0, 1], rel=1e-9)
    assert found.rank_ic == pytest.approx(spearmanr(values, label).statistic, rel=1e-9)
    assert found.invalid == "" and found.t > 2.0
    flat = score(np.ones_like(values), ALL[:, :1], label, 1, 5)
    assert flat.ic == 0.0 and flat.invalid == "it has the same value on every date"


@pytest.mark.parametrize("text", ["sign(ret1)", "argmax(close, 10)", "tsrank(close, 10)", "argmin(volume, 5)"])
def test_few_distinct_values_are_valid_on_one_instrument(text: str) -> None:
    values, times = bars(300, 1, 2, clean=True)
    tree, everywhere = parse(text), np.ones((300, 1), dtype=np.bool_)
    ours, label = Evaluator(values, times, HOUR).value(tree), labels(values, 5)
    found = score(ours, everywhere, label, tree.lookback, 5)
    assert found.invalid == "" and found.distinct < 0.5 and found.telling == 1.0
    there = np.isfinite(ours) & np.isfinite(label)
    assert found.rank_ic == pytest.approx(spearmanr(ours[there], label[there]).statistic, abs=1e-12) != 0.0


def evaluated(text: str, values: Float, times: Float) -> Float:
    return Evaluator(values, times, HOUR, members=np.ones(values.shape[:2], dtype=np.bool_)).value(parse(text))


def test_defect_1_the_rank_of_a_constant_row_is_all_equal() -> None:
    values, times = bars(30, 10, 3, clean=True)
    assert (evaluated("rank(sign(close))", values, times) == 0.5).all()


def test_defect_2_a_correlation_has_no_scale() -> None:
    values, times = bars(60, 3, 3, clean=True)
    small = values.copy()
    small[:, :, :4] *= 1e-5
    small[:, :, 4] *= 1e-9
    one, other = (evaluated("corr(close, volume, 10)", v, times) for v in (values, small))
    assert np.allclose(one, other, rtol=0, atol=1e-9, equal_nan=True) and np.nanmax(np.abs(one)) > 0.5


def test_defect_3_missing_is_not_zero() -> None:
    values, label = drawn(5, 1.0)
    values, label = values + 2.0, label + 0.05
    values[:, ::4] = np.nan
    found = coefficients(values, ALL, label)[:, 0].mean()
    filled = coefficients(np.nan_to_num(values), ALL, label)[:, 0].mean()
    kept = [k for k in range(N) if k % 4]
    assert found == pytest.approx(coefficients(values[:, kept], ALL[:, kept], label[:, kept])[:, 0].mean(), rel=1e-12)
    assert found > 1.2 * filled


def test_defect_4_minus_x_is_a_duplicate() -> None:
    values, label = drawn()
    assert identity(parse("neg(corr(close,volume,10))")) == identity(parse("corr(volume,close,10) * 30"))
    ours = order_hash(standing(values, ALL), ALL)
    assert order_hash(standing(-values, ALL), ALL) == ours == order_hash(standing(np.exp(3 * values), ALL), ALL)
    assert order_hash(standing(label, ALL), ALL) != ours
    assert coefficients(-values, ALL, label)[:, 0].mean() == pytest.approx(
        -coefficients(values, ALL, label)[:, 0].mean()
    )


def test_defect_5_an_infinity_costs_its_cell_and_not_its_date() -> None:
    values, times = bars(60, 10, 3, clean=True)
    values[40, 4, 5] = np.inf
    found = Evaluator(values, times, HOUR, ("signal",), np.ones((60, 10), dtype=np.bool_)).value(
        parse("rank(column:signal)")
    )
    assert np.isnan(found[40, 4]) and np.isnan(found).sum() == 1
    formula, label = drawn()
    formula[10, 3] = -np.inf
    assert coefficients(formula, ALL, label)[10, 0] != 0.0


def test_defect_6_the_largest_of_a_window_is_the_top() -> None:
    values, times = bars(40, 2, 3, clean=True)
    values[30, 0, 3] = 1e9
    found = evaluated("tsrank(close, 10)", values, times)
    assert found[30, 0] == np.nanmax(found) == 0.95


def test_defect_12_a_quotient_by_zero_is_missing() -> None:
    values, times = bars(30, 9, 3, clean=True)
    values[10, 2, 4] = 0.0
    found = evaluated("money / volume / close", values, times)
    assert np.isnan(found[10, 2]) and np.isfinite(found).sum() == 30 * 9 - 1
    assert np.isnan(evaluated("ret1 / 0", values, times)).all()


def test_the_net_book_is_what_an_account_would_have() -> None:
    """By units and cash: bought at the next open, costs of what is traded, drift between."""
    values, _ = bars(80, 9, 6)
    rng, h, cost = np.random.default_rng(0), 3, 0.001
    stand = standing(rng.standard_normal((80, 9)), universe_of(values))
    book = net_book(stand, values, h, cost)
    price = values[:, :, 0].copy()
    for t in range(80):
        for a in range(9):
            if math.isnan(price[t, a]) and t:
                price[t, a] = values[t - 1, a, 3] if not math.isnan(values[t - 1, a, 3]) else price[t - 1, a]
    share = np.zeros(9)
    for t in range(78):
        decisions = [np.nan_to_num(stand[k]) for k in range(max(0, t - h + 1), t + 1)]
        wanted = sum((d / np.abs(d).sum() for d in decisions if np.abs(d).sum() > 0), np.zeros(9)) / h
        equity, traded = 1.0, np.abs(wanted - share).sum()
        moved = np.nan_to_num(price[t + 2] / price[t + 1], nan=1.0)
        equity += float((wanted * (moved - 1.0)).sum())
        assert book.turnover[t] == pytest.approx(traded, abs=1e-12)
        assert book.returns[t] == pytest.approx(equity - 1.0 - cost * traded, abs=1e-12)
        share = wanted * moved / equity
    assert (np.abs(book.weights).sum(axis=1) <= 1.0 + 1e-12).all() and not book.weights[-2:].any()
    assert net_book(stand, values, h, 0.0).returns.sum() > book.returns.sum() > -80 * 2 * cost - 1
    later = values.copy()
    later[50:] *= 2.0
    assert np.array_equal(net_book(stand, later, h, cost).returns[:48], book.returns[:48])


def universe_of(values: Float) -> np.ndarray:
    return np.isfinite(values[:, :, 3])


def test_a_sharpe_ratio_and_what_makes_no_book() -> None:
    values, _ = bars(80, 9, 6)
    book = net_book(standing(np.ones((80, 9)), universe_of(values)), values, 5, 0.001)
    assert not book.returns.any() and book.sharpe(DAY) == 0.0
    with pytest.raises(UserError, match="needs 8 instruments"):
        net_book(np.ones((80, 7)), values[:, :7], 5, 0.001)


def test_nothing_of_a_score_knows_a_later_row() -> None:
    values, times = bars(300, 9, 8)
    tree = parse("tsz(close, 20) - tsz(volume, 20)")

    def scored(rows: Float) -> tuple[float, ...]:
        ours = Evaluator(rows, times, HOUR).value(tree)
        return tuple(score(ours[:200], universe(rows)[:200], labels(rows, 5, 0, 200)[:200], tree.lookback, 5)[:4])

    later = values.copy()
    later[200:] *= np.random.default_rng(0).uniform(0.5, 2.0, later[200:].shape)
    assert scored(values) == scored(later)
