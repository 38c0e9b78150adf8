"""The reference of the benchmark computes the same formulas: what is compared is the same work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qframe_rl.alpha.operators import OPERATORS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.pool import mutual
from qframe_rl.alpha.score import coefficients, labels, standing
from qframe_rl.bench.alpha import N_FORMULAS, formulas, panel
from qframe_rl.bench.unfolded import Unfolded, alike, scored
from qframe_rl.types import HOUR

BARS, TIMES = panel(300, 12, HOUR)
ALL = np.ones((300, 12), dtype=np.bool_)


@pytest.mark.parametrize("op", [name for name, one in OPERATORS.items() if one.kind != "market"])
def test_operators_agree_on_whole_panels(op: str) -> None:
    one = OPERATORS[op]
    y = ",low" if one.n_operands == 2 and one.gives not in ("product", "ratio") else ",volume" * (one.n_operands == 2)
    x = "money" if one.gives == "ratio" and y else "ret1" if one.gives == "square" else "close"
    tree = parse(f"{op}({x}{y}{',10' if one.least else ''})")
    ours = Evaluator(BARS, TIMES, HOUR, members=ALL).value(tree)
    theirs = Unfolded(BARS).value(tree).numpy()
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    "text",
    [
        "rank(corr(close, volume, 10))",
        "delta(close, 5) / std(close, 20)",
        "rank(std(ret1, 20)) * (tsrank(volume, 10) - rank(delta(close, 10)))",
        "skew(ret1, 20) - argmax(high, 20) * 0.01",
    ],
)
def test_scores_agree(text: str) -> None:
    label, tree = labels(BARS, 5), parse(text)
    values = Evaluator(BARS, TIMES, HOUR, members=ALL).value(tree)
    mine = np.nanmean(coefficients(values, ALL, label), axis=0)
    assert mine == pytest.approx(scored(Unfolded(BARS).value(tree), torch.from_numpy(label)), abs=1e-9)
    assert np.abs(mine).max() > 0.0


def test_correlations_agree() -> None:
    one, other = (parse(text) for text in ("ret(close, 5)", "ret(close, 10)"))
    evaluator, reference = Evaluator(BARS, TIMES, HOUR, members=ALL), Unfolded(BARS)
    mine = mutual(*(standing(evaluator.value(tree), ALL) for tree in (one, other)))
    assert mine == pytest.approx(alike(reference.value(one), reference.value(other)), abs=1e-9) and abs(mine) > 0.1


def test_what_is_measured_is_many_kinds_of_formulas() -> None:
    drawn = formulas(N_FORMULAS)
    assert len({tree.text for tree in drawn}) == N_FORMULAS
    assert {node.op for tree in drawn for node in tree.nodes()} >= {"corr", "rank", "med", "std"}
