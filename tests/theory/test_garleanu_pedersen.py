"""Quadratic costs, see docs/solvable.md."""

from __future__ import annotations

import pytest

from qframe_rl.theory.garleanu_pedersen import (
    GarleanuPedersenParams,
    Rule,
    markowitz,
    myopic,
    riccati,
    solve,
    steady,
    worth,
)


def test_the_printed_figures() -> None:
    terms = GarleanuPedersenParams()
    best = solve(terms)
    assert best.rate == pytest.approx(0.35433562, abs=5e-9)
    assert best.aim == pytest.approx(0.84949656, abs=5e-9)
    assert best.rule == pytest.approx((0.64566438, 0.30100689), abs=5e-9)
    assert best.xx == pytest.approx(1.77167808, abs=5e-9)
    assert best.xf == pytest.approx(1.50503443, abs=5e-9)
    assert best.ff == pytest.approx(3.54186139, abs=5e-9)
    assert best.rest == pytest.approx(2.08195040, abs=5e-9)
    assert best.value(0.0, terms.deviation**2) == pytest.approx(2.19263356, abs=5e-9)
    assert steady(terms, best.rule) == pytest.approx(0.0222099, abs=1e-7)
    assert worth(terms, best.rule, 200) == pytest.approx(1.895065, abs=5e-7)


@pytest.mark.parametrize(("decay", "aim", "value"), [(0.02, 0.965779, 2.83399), (0.5, 0.530268, 0.854346)])
def test_the_rate_does_not_depend_on_how_fast_the_signal_decays(decay: float, aim: float, value: float) -> None:
    terms = GarleanuPedersenParams(decay=decay)
    best = solve(terms)
    assert best.rate == pytest.approx(solve(GarleanuPedersenParams()).rate, abs=1e-15)
    assert best.aim == pytest.approx(aim, abs=5e-7)
    assert best.value(0.0, terms.deviation**2) == pytest.approx(value, abs=5e-6)


@pytest.mark.parametrize(
    "terms",
    [
        GarleanuPedersenParams(),
        GarleanuPedersenParams(decay=0.5),
        GarleanuPedersenParams(2.0, 0.7, 0.3, 0.1, 3.0, 1.5, 0.02),
        GarleanuPedersenParams(cost=0.1),
        GarleanuPedersenParams(rho=0.2),
    ],
)
def test_formula_riccati_and_moments_agree(terms: GarleanuPedersenParams) -> None:
    formula, fixed = solve(terms), riccati(terms)
    assert formula == pytest.approx(fixed, rel=1e-8)
    assert worth(terms, formula.rule) == pytest.approx(formula.value(0.0, terms.deviation**2), rel=1e-10)
    for keep, lean in ((0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03)):
        other = Rule(formula.rule.keep + keep, formula.rule.lean + lean)
        assert worth(terms, other) < worth(terms, formula.rule)


def test_reference_policies() -> None:
    terms = GarleanuPedersenParams()
    assert worth(terms, myopic(terms)) == pytest.approx(1.947398, abs=5e-7)
    assert worth(terms, markowitz(terms)) == pytest.approx(-0.156250, abs=5e-7)
    assert worth(terms, Rule(1.0, 0.0)) == 0.0
