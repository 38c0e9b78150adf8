"""Values of formulas: against their definitions, operator by operator, and the same bits however rows are cut."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.operators import LEAVES, OPERATORS
from qframe_rl.alpha.panel import Evaluator, FormulaRows
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.tree import CONSTANT, Formula
from qframe_rl.config import UserError
from qframe_rl.types import HOUR, Float
from tests.alpha.draws import COLUMNS, bars, formula
from tests.oracle import formulas as oracle

VOCABULARY, NONE = Vocabulary(COLUMNS, leads=True), np.zeros(0)
EXACT = {"abs", "sign", "neg", "add", "sub", "mul", "max", "min", "ref", "delta", "tmax", "tmin", "argmax", "argmin",
         "med", "tsrank", "rank", "leader", "open", "high", "low", "close", "volume", "money",
         "column:signal"}  # fmt: skip
BY_SIZE = {"mean", "sum", "wma", "ema", "mad", "slope"}
"""Those whose error is measured by the numbers that they are made of; of the rest by their own."""


def agrees(node: Formula, ours: Float, theirs: Float, operands: list[Float | float]) -> None:
    assert np.array_equal(np.isnan(ours), np.isnan(theirs)), (
        node.text,
        np.argwhere(np.isnan(ours) != np.isnan(theirs)),
    )
    seen = ~np.isnan(ours)
    if node.op in EXACT:
        assert np.array_equal(ours[seen], theirs[seen]), node.text
    elif node.op in BY_SIZE:
        size = np.nanmax(np.abs(operands[0]), axis=0, initial=0.0) * (node.window if node.op == "sum" else 1)
        assert (np.abs(ours - theirs)[seen] <= (1e-13 * np.broadcast_to(size, ours.shape))[seen]).all(), node.text
    else:
        tight = _tightness(node, operands)
        assert np.allclose(ours[seen], theirs[seen], rtol=tight, atol=tight), node.text


def _tightness(node: Formula, operands: list[Float | float]) -> float:
    """A spread's error grows with how small it is beside the mean; what was drawn is never closer than this."""
    return 1e-6 if node.op in ("std", "var", "tsz", "skew", "corr", "beta", "cov", "zscore") else 1e-12


def against_the_oracle(tree: Formula, values: Float, times: np.ndarray, members: np.ndarray) -> None:
    evaluator = Evaluator(values, times, HOUR, COLUMNS, members)
    for node in dict.fromkeys(tree.nodes()):
        if node.op == CONSTANT:
            continue
        ours = evaluator.value(node)
        if not node.parts:
            agrees(node, ours, oracle.leaf(node.op, values, COLUMNS), [])
            continue
        if node.op == "leader":
            agrees(node, ours, oracle.leader(evaluator.value(node.parts[0]), values, members), [])
            continue
        operands = [part.value if part.op == CONSTANT else evaluator.value(part) for part in node.parts]
        agrees(node, ours, oracle.apply(node.op, operands, node.window, members), operands)


@pytest.mark.parametrize("op", [*LEAVES, "column:signal", *OPERATORS])
def test_each_operator_is_its_definition(op: str) -> None:
    values, times = bars(260, 9, seed=len(op))
    members = universe(values)
    one = OPERATORS.get(op)
    if one is None:
        against_the_oracle(parse(op), values, times, members)
        return
    y = (
        ",low"
        if one.n_operands == 2 and one.gives not in ("product", "ratio")
        else ",volume"
        if one.n_operands == 2
        else ""
    )
    x = "money" if one.gives == "ratio" and y else "ret1" if one.gives == "square" else "close"
    for w in (max(3, one.least), 7, 20) if one.least else (0,):
        against_the_oracle(parse(f"{op}({x}{y}{f',{w}' if w else ''})"), values, times, members)
    if one.kind == "binary":
        against_the_oracle(parse(f"{op}(ret1,-0.5)"), values, times, members)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_random_formulas_are_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, times = bars(180, 8, seed)
    against_the_oracle(formula(VOCABULARY, rng), values, times, universe(values))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 150), later=st.integers(1, 60))
def test_rows_cut_in_front_or_behind_change_no_bit(seed: int, cut: int, later: int) -> None:
    values, times = bars(420, 8, seed % 50)
    tree = formula(VOCABULARY, np.random.default_rng(seed))
    whole = Evaluator(values, times, HOUR, COLUMNS).value(tree)
    assert np.isnan(whole[: max(0, tree.lookback - 1)]).all()
    part = Evaluator(values[cut:-later], times[cut:-later], HOUR, COLUMNS).value(tree)
    sure = max(0, tree.lookback - 1)
    assert np.array_equal(part[sure:], whole[cut:-later][sure:], equal_nan=True), tree.text
    t = 419 - later
    if t >= sure:
        window = slice(t - sure, t + 1)
        out = np.empty((1, 8))
        rows = FormulaRows(tree, HOUR, COLUMNS)
        rows(values[window].copy(), times[window].copy(), sure, tree.lookback, NONE, out)
        assert np.array_equal(out[0], whole[t], equal_nan=True), tree.text


def test_without_an_absolute_anchor_cut_rows_would_change_bits() -> None:
    """The test above sees it: blocks that begin where the rows begin give other bits."""
    values, times = bars(420, 8, 1, clean=True)
    tree = parse("std(close, 20)")
    whole = Evaluator(values, times, HOUR).value(tree)[7:][60:]
    moved = Evaluator(values[7:], np.arange(413, dtype=np.int64) * HOUR, HOUR).value(tree)[60:]
    assert np.allclose(whole, moved, rtol=1e-9)
    assert np.mean(whole != moved) > 0.3


def test_a_long_history_is_walked_in_pieces_that_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    values, times = bars(900, 8, 3)
    tree = parse("mean(rank(std(ret1, 10)), 5) + tsrank(volume, 10)")
    whole, out = Evaluator(values, times, HOUR).value(tree), np.empty((900 - tree.lookback + 1, 8))
    monkeypatch.setattr("qframe_rl.alpha.panel._CELLS", 800)
    FormulaRows(tree, HOUR, ())(values, times, tree.lookback - 1, tree.lookback, NONE, out)
    assert np.array_equal(out, whole[tree.lookback - 1 :], equal_nan=True)


def test_the_universe_is_its_definition_and_no_later_row_enters() -> None:
    values, _ = bars(300, 9, 5)
    values[100:160:2, 4] = np.nan
    for n in (0, 3):
        members = universe(values, n)
        assert np.array_equal(members, oracle.universe(values, n or 9))
        assert not members[:89].any() and members[89:].any()
        assert (members.sum(axis=1) <= (n or 9)).all()
        later = values.copy()
        later[200:] *= 7.0
        assert np.array_equal(universe(later, n)[:200], members[:200])
        assert np.array_equal(universe(values[50:], n)[89:], members[139:])


def test_parts_are_computed_once_and_memory_is_bounded() -> None:
    values, times = bars(200, 8, 2)
    evaluator = Evaluator(values, times, HOUR, most_bytes=8 * 200 * 8 * 6)
    calls: list[str] = []
    computed = evaluator._computed
    evaluator._computed = lambda node: (calls.append(node.text), computed(node))[1]  # type: ignore[method-assign]
    one, two = parse("mean(ret1, 5) / std(ret1, 5)"), parse("mean(ret1, 5) - std(ret1, 5)")
    first = evaluator.value(one)
    evaluator.value(two)
    assert calls == ["ret1", "mean(ret1,5)", "std(ret1,5)", one.text, two.text]
    for w in range(3, 30):
        evaluator.value(parse(f"tsz(ret1, {w})"))
    assert evaluator.n_resident <= 6
    again = evaluator.value(one)
    assert np.array_equal(again, first, equal_nan=True), "memory that is used again holds the right numbers"
    assert calls.count("mean(ret1,5)") == 2
    evaluator.keep([one])
    assert evaluator.n_resident <= 4


def _balanced(terms: list[str]) -> str:
    half = len(terms) // 2
    return f"({_balanced(terms[:half])} + {_balanced(terms[half:])})" if half else terms[0]


@pytest.mark.parametrize("shape", ["balanced", "comb"])
def test_one_formula_of_a_hundred_parts_is_computed_in_the_memory_that_is_given(shape: str) -> None:
    n_rows, n = 4000, 10
    values, times = bars(n_rows, n, 2, clean=True)
    terms = [f"tsz(ret1, {w})" for w in range(3, 53 if shape == "balanced" else 48)]
    tree = parse(_balanced(terms) if shape == "balanced" else " + (".join(terms) + ")" * (len(terms) - 1))
    assert len(set(tree.nodes())) >= (100 if shape == "balanced" else 90)
    assert tree.width == (7 if shape == "balanced" else 3)
    expected = Evaluator(values, times, HOUR).value(tree)
    one = 8 * n_rows * n
    for n_given in (1, tree.width, 20):
        evaluator = Evaluator(values, times, HOUR, most_bytes=n_given * one)
        tracemalloc.start()
        found = evaluator.shown(tree)
        held, peak = (size / one for size in tracemalloc.get_traced_memory())
        tracemalloc.stop()
        assert np.array_equal(found, expected, equal_nan=True)
        assert n_given - 0.5 < held < n_given + 0.5, "no more stays than was given"
        assert peak < max(n_given, tree.width) + 1.0, "beside the formula's width, only room for a window"
    evaluator.keep([parse("ret1")])
    evaluator.value(parse("std(close, 5) + std(open, 5)"))
    assert evaluator.n_arrays <= 20, "what is let go is used again"


def test_pieces_of_a_long_lookback_are_no_larger_than_the_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    values, times = bars(4000, 8, 3, clean=True)
    tree, rows = parse("ret(close, 300) - ret(open, 200)"), []
    made = Evaluator.__init__
    monkeypatch.setattr(
        Evaluator, "__init__", lambda self, bars, *rest: (rows.append(len(bars)), made(self, bars, *rest))[1]
    )
    whole, out = Evaluator(values, times, HOUR).value(tree), np.empty((4000 - 300, 8))
    monkeypatch.setattr("qframe_rl.alpha.panel._CELLS", 1)
    for n_given, most in ((10_000, 1500), (700, 700), (1, 600)):
        monkeypatch.setattr("qframe_rl.alpha.panel._BYTES", 8 * 8 * n_given * tree.width)
        rows.clear()
        FormulaRows(tree, HOUR, ())(values, times, tree.lookback - 1, tree.lookback, NONE, out)
        assert max(rows) == most
        assert np.array_equal(out, whole[tree.lookback - 1 :], equal_nan=True)


def test_bars_closer_than_a_bar_are_refused() -> None:
    values, times = bars(50, 2, 2, clean=True)
    times[20] = times[19] + HOUR // 2 - 1
    with pytest.raises(UserError, match="closer than a bar's length"):
        Evaluator(values, times, HOUR)
    with pytest.raises(UserError, match="do not have"):
        Evaluator(values, bars(50, 2, 2)[1], HOUR).value(parse("column:other"))


def test_the_error_is_that_of_the_numbers_and_not_of_their_sums() -> None:
    """Sums of squares would lose ten digits here."""
    rng = np.random.default_rng(4)
    x = 1e6 + rng.standard_normal((500, 3))
    values = np.stack([x, x, x, x, np.abs(x)], axis=2)
    times = (1000 + np.arange(500, dtype=np.int64)) * HOUR
    ours = Evaluator(values, times, HOUR).value(parse("std(close, 20)"))[19:]
    exact = np.array([[np.std(np.longdouble(x[t - 19 : t + 1, a]), ddof=1) for a in range(3)] for t in range(19, 500)])
    assert np.max(np.abs(ours / exact - 1.0)) < 1e-9
