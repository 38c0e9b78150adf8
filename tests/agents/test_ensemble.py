"""Ensembles: each way of weighting against its definition, and what must hold whatever the members do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import leaves_list, linkage

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.config import UserError
from qframe_rl.estimate import allocation
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.evaluate.splits import Fold
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import Record, Segment
from tests.agents.runs import FREE, made, market_of, trade, trained
from tests.contracts.checks import Quiet
from tests.markets import panel

DATA = os.environ.get("QFRAME_DATA")
SMOOTH = FREE | {"taker_fee_bps": 5.0, "half_spread_bps": 1.0}
"""Costs without impact: an ensemble's paper accounts know all of them."""
METHODS = [
    "fixed_share", "oamp", "equal", "inverse_volatility", "risk_parity", "hrp", "mean_variance", "best", "hedge", "eg",
    "stacking",
]  # fmt: skip
HISTORY = panel(1_500, 3, seed=8, volatility=0.01, ragged=False)
MARKET = market_of(HISTORY, **SMOOTH)
PARAMS = {"mean_reversion": {"regime_bars": 60}}


def covariances() -> st.SearchStrategy[np.ndarray]:
    def build(seed: int, n: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((4 * n, n)) @ rng.standard_normal((n, n)) * np.exp(rng.standard_normal(n))
        return np.atleast_2d(np.cov(rows.T))

    return st.builds(build, st.integers(0, 10_000), st.integers(2, 8))


@settings(max_examples=60)
@given(covariances())
def test_risk_parity_gives_equal_contributions(covariance: np.ndarray) -> None:
    weight = allocation.risk_parity(covariance)
    part = weight * (covariance @ weight)
    assert np.abs(part / part.sum() - 1.0 / len(weight)).max() < 1e-8
    assert (weight > 0.0).all()


@settings(max_examples=60)
@given(covariances())
def test_every_method_by_risk_sums_to_one_and_is_inverse_to_scale(covariance: np.ndarray) -> None:
    scale = np.diag(np.linspace(1.0, 3.0, len(covariance)))
    for method in (allocation.inverse_volatility, allocation.risk_parity, allocation.hierarchical_risk_parity):
        weight = method(covariance)
        assert weight.sum() == pytest.approx(1.0)
        assert method(9.0 * covariance) == pytest.approx(weight, rel=1e-6)
    one, other = allocation.risk_parity(covariance), allocation.risk_parity(scale @ covariance @ scale)
    assert other * np.diag(scale) / (other @ np.diag(scale)) == pytest.approx(one, rel=1e-6)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_the_tree_has_scipys_leaves(seed: int, n: int) -> None:
    points = np.random.default_rng(seed).standard_normal((n, 4))
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))
    order = allocation.single_linkage_order(distance)
    expected = leaves_list(linkage(points, "single"))
    tree, same = _nested(order, distance), _nested(expected.tolist(), distance)
    assert tree == same


def _nested(order: list[int], distance: np.ndarray) -> set[frozenset[int]]:
    """Clusters that single linkage forms, which must all be stretches of a proper order of leaves."""
    clusters = [frozenset([k]) for k in range(len(distance))]
    found: set[frozenset[int]] = set()
    while len(clusters) > 1:
        gap = min(
            (min(distance[i, j] for i in a for j in b), k, m)
            for k, a in enumerate(clusters)
            for m, b in enumerate(clusters)
            if k < m
        )
        joined = clusters[gap[1]] | clusters[gap[2]]
        clusters = [c for k, c in enumerate(clusters) if k not in gap[1:]] + [joined]
        spots = sorted(order.index(k) for k in joined)
        assert spots == list(range(spots[0], spots[-1] + 1))
        found.add(joined)
    return found


def test_hrp_divides_by_variance_where_nothing_is_correlated() -> None:
    weight = allocation.hierarchical_risk_parity(np.diag([1.0, 4.0]))
    assert weight == pytest.approx([0.8, 0.2])
    twins = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) + 1e-9 * np.eye(3)
    assert sorted(allocation.hierarchical_risk_parity(twins)) == pytest.approx([0.25, 0.25, 0.5], abs=0.01)


@pytest.mark.parametrize(("n", "correlation", "sharpe"), [(5, 0.2, 1.6667), (10, 0.5, 1.3484)])
def test_the_sharpe_of_equal_parts_is_known(n: int, correlation: float, sharpe: float) -> None:
    """S sqrt(N / (1 + (N - 1) rho)), card 4.6, by the moments of simulated strategies."""
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((400_000, 1)), rng.standard_normal((400_000, n))
    rows = 1.0 + np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own
    for weight in (np.full(n, 1.0 / n), allocation.risk_parity(np.cov(rows.T))):
        total = rows @ weight
        assert total.mean() / total.std() == pytest.approx(sharpe, rel=0.01)


def of_moments(mean: np.ndarray, covariance: np.ndarray, n: int = 40_000) -> np.ndarray:
    """Returns with exactly these moments, so many that next to nothing is shrunk."""
    rows = np.random.default_rng(0).standard_normal((n, len(mean)))
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(rows.T @ rows / n)).T
    return np.asarray(mean + rows @ np.linalg.cholesky(covariance).T)


@pytest.mark.parametrize("aversion", [1.0, 5.0, 40.0])
def test_mean_variance_of_two_is_the_closed_form(aversion: float) -> None:
    """Share of the first: ((mean_1 - mean_2) / aversion + C_22 - C_12) / (C_11 + C_22 - 2 C_12), within [0, 1]."""
    c = np.array([[0.04, 0.006], [0.006, 0.09]]) / 250.0
    rows = of_moments(np.array([0.06, 0.09]) / 250.0, c)
    shrunk = allocation.ledoit_wolf(rows)
    mean = allocation.bayes_stein(rows, shrunk)
    assert shrunk == pytest.approx(c, rel=0.02)
    first = (mean[0] - mean[1]) / aversion + shrunk[1, 1] - shrunk[0, 1]
    first = np.clip(first / (shrunk[0, 0] + shrunk[1, 1] - 2.0 * shrunk[0, 1]), 0.0, 1.0)
    assert allocation.mean_variance(rows, aversion) == pytest.approx([first, 1.0 - first], abs=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.5, 50.0))
def test_mean_variance_beats_every_portfolio_of_a_grid(seed: int, aversion: float) -> None:
    rng = np.random.default_rng(seed)
    rows = (0.3 * rng.standard_normal(4) + rng.standard_normal((120, 4)) @ rng.standard_normal((4, 4))) / 100.0
    shrunk = allocation.ledoit_wolf(rows)
    mean = allocation.bayes_stein(rows, shrunk)
    weight = allocation.mean_variance(rows, aversion)
    cuts = np.arange(21) / 20.0
    grid = np.array([(a, b, c, 1.0 - a - b - c) for a in cuts for b in cuts for c in cuts if a + b + c <= 1.0 + 1e-9])
    worth = grid @ mean - 0.5 * aversion * ((grid @ shrunk) * grid).sum(axis=1)
    assert weight.sum() == pytest.approx(1.0)
    assert (weight >= 0.0).all()
    assert weight @ mean - 0.5 * aversion * weight @ shrunk @ weight >= worth.max() - 1e-12


def test_the_covariance_is_shrunk_as_ledoit_and_wolf_say() -> None:
    """Their share written out row by row, and the well-known effect: better than the sample where rows are few."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((30, 6)) * np.linspace(1.0, 2.0, 6)
    x = rows - rows.mean(axis=0)
    sample = sum(np.outer(row, row) for row in x) / 30
    goal = np.trace(sample) / 6 * np.eye(6)
    error = sum(((np.outer(row, row) - sample) ** 2).sum() for row in x) / 30**2
    share = min(error, ((sample - goal) ** 2).sum()) / ((sample - goal) ** 2).sum()
    assert allocation.ledoit_wolf(rows) == pytest.approx(share * goal + (1.0 - share) * sample)
    many, truth = rng.standard_normal((200, 30, 6)) * np.linspace(1.0, 2.0, 6), np.diag(np.linspace(1.0, 2.0, 6) ** 2)
    off = np.mean([((allocation.ledoit_wolf(rows) - truth) ** 2).sum() for rows in many])
    assert off < 0.8 * np.mean([((np.cov(rows.T, bias=True) - truth) ** 2).sum() for rows in many])


@pytest.mark.parametrize("gap", [1e-6, 1e-3, 0.02])
def test_means_are_drawn_to_each_other_the_more_the_less_they_differ(gap: float) -> None:
    """By (M + 2) / (M + 2 + N gap² / (C_11 + C_22)), where two are not correlated."""
    rows = of_moments(np.array([1e-4, 1e-4 + gap]), np.diag([1e-4, 4e-4]), 500)
    mean = allocation.bayes_stein(rows, np.diag([1e-4, 4e-4]))
    drawn = 4.0 / (4.0 + 500.0 * gap**2 / 5e-4)
    assert mean[1] - mean[0] == pytest.approx((1.0 - drawn) * gap, rel=1e-6, abs=1e-14)
    assert 0.8 * mean[0] + 0.2 * mean[1] == pytest.approx(1e-4 + 0.2 * gap)
    assert allocation.bayes_stein(np.zeros((9, 2)), np.zeros((2, 2))).tolist() == [0.0, 0.0]


def test_what_never_moved_does_not_stop_a_method() -> None:
    rows = np.zeros((50, 3))
    assert allocation.mean_variance(rows, 5.0) == pytest.approx(np.full(3, 1 / 3))
    assert allocation.best(rows).tolist() == [1.0, 0.0, 0.0]
    rows[:, 1] = np.random.default_rng(0).standard_normal(50) / 100.0 + 0.005
    for weight in (allocation.mean_variance(rows, 5.0), allocation.best(rows)):
        assert weight.argmax() == 1
    assert allocation.mean_variance(np.full((50, 1), 0.01), 5.0).tolist() == [1.0]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(10, 400))
def test_hedge_keeps_its_promise(seed: int, n: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    losses = np.where(rng.random((steps, n)) < rng.random(n), rng.random((steps, n)), 1.0)
    weight, paid = np.full(n, 1.0 / n), 0.0
    for row in losses:
        paid += float(weight @ row)
        weight = allocation.hedge(weight, row, np.sqrt(8.0 * np.log(n) / steps))
    assert paid <= losses.sum(axis=0).min() + np.sqrt(0.5 * steps * np.log(n)) + 1e-9


@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
def test_exponentiated_gradient_on_nyse() -> None:
    """Helmbold et al.'s 27.09 on Cover's 36 stocks, beside 27.08 for uniform constant rebalancing (ALGORITHMS, U10)."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(Path(str(DATA)) / "olps" / "nyse_o.parquet")
    price = np.column_stack([column.to_numpy() for column in table.columns])
    relatives = np.concatenate([price[:1], price[1:] / price[:-1]])
    wealth, uniform, weight = 1.0, 1.0, np.full(relatives.shape[1], 1.0 / relatives.shape[1])
    for row in relatives:
        wealth *= float(weight @ row)
        uniform *= float(row.mean())
        weight = allocation.exponentiated_gradient(weight, row, 0.05)
    assert wealth == pytest.approx(27.09, abs=0.005)
    assert uniform == pytest.approx(27.08, abs=0.005)


def test_stacking_finds_who_knows() -> None:
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(5_000)
    forecasts = np.stack([truth + rng.standard_normal(5_000), rng.standard_normal(5_000), -truth], axis=1)
    weight = allocation.stacking(forecasts, truth + 3.0 * rng.standard_normal(5_000), 0.01)
    assert weight[0] > 0.9
    assert weight[2] == 0.0
    assert not allocation.stacking(-truth[:, None], truth, 0.01).any()


def run(agent: Agent) -> Record:
    return trade(MARKET, agent, HISTORY, 400)


def ensemble(**params: Any) -> Agent:
    return made("ensemble", MARKET, HISTORY, **{"member": PARAMS, **params})


@pytest.mark.parametrize("method", METHODS[:-1])  # stacking may say that a strategy is of no use at all
@pytest.mark.parametrize("name", ["momentum", "buy_and_hold", "mean_reversion"])
def test_a_strategy_with_itself_is_itself(name: str, method: str) -> None:
    alone = run(made(name, MARKET, HISTORY, **PARAMS.get(name, {})))
    twice = {"members": (f"one={name}", f"two={name}"), "band": 0.5}
    both = {"member": {"one": PARAMS[name], "two": PARAMS[name]}} if name in PARAMS else {"member": {}}
    together = run(made("ensemble", MARKET, HISTORY, **twice, **both, method=method, estimate_bars=60))
    assert together.account.equity == pytest.approx(alone.account.equity, rel=1e-9)


def test_what_members_want_against_each_other_is_not_traded() -> None:
    members = ("fast=momentum", "slow=momentum", "mean_reversion")
    params = {"fast": {"lookback_bars": 12}, "slow": {"lookback_bars": 96}, **PARAMS}
    turnovers = [
        metrics(run(made(label.rpartition("=")[2], MARKET, HISTORY, **params[label.partition("=")[0]]))).turnover
        for label in members
    ]
    netted = metrics(run(ensemble(members=members, member=params, band=0.2))).turnover
    assert 0.0 < netted <= np.mean(turnovers)
    both = ("one=tests.agents.loser", "two=tests.agents.loser")
    opposed = ensemble(members=both, member={"one": {"side": 1.0}, "two": {"side": -1.0}})
    assert metrics(run(opposed)).trades == 0


@pytest.mark.parametrize("method", METHODS)
def test_weights_never_know_what_comes(method: str) -> None:
    whole = ensemble(method=method, estimate_bars=60, reweight_bars=5)
    orders = trade(MARKET, whole, HISTORY, 400).orders.quantity
    part = HISTORY.rows(0, 900)
    again = trade(MARKET, ensemble(method=method, estimate_bars=60, reweight_bars=5), part, 400).orders.quantity
    assert np.array_equal(orders[:500], again[:500])
    assert whole.weight.sum() == pytest.approx(1.0) or not whole.weight.any()  # type: ignore[attr-defined]


def test_what_earns_gets_more_with_hedge() -> None:
    agent: Any = ensemble(members=("flat", "against=tests.agents.loser"), member={}, method="hedge", rate=0.5)
    run(agent)
    assert agent.weight[0] > 0.9


def test_learners_among_members_are_trained_and_restored() -> None:
    members = ("momentum", "mean_reversion")
    quick = {"mean_reversion": {"entry": "fitted", "regime_bars": 60}}
    agent: Any = trained(ensemble(members=members, member=quick), MARKET, HISTORY, 600)
    again: Any = ensemble(members=members, member=quick)
    again.restore(agent.state())
    assert run(agent).digest == run(again).digest
    assert not hasattr(ensemble(members=("momentum", "flat"), member={}), "fit")


@pytest.mark.long
def test_an_interrupted_training_goes_on_with_the_member_that_it_had_come_to(tmp_path: Path) -> None:
    """And hands no member what another one kept."""
    ppo, dmn = catalog.load("agents", "ppo"), catalog.load("agents", "dmn")
    quick = {"ppo": {**ppo.QUICK, "evaluations": 0}, "dmn": {**dmn.QUICK, "epochs": 4}}

    def fresh() -> Any:
        return ensemble(members=("ppo", "dmn"), member=quick)

    whole: Any = trained(fresh(), MARKET, HISTORY, 900)
    fold = Fold((Segment(0, 900),), (), (Segment(900, len(HISTORY)),))

    class Stops(Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            if "dmn" in note and done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh().fit(MarketTask(MARKET, HISTORY, fold, 0, tmp_path / "kept"), Stops())
    heard: list[str] = []

    class Hears(Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            heard.append(f"{note.split()[0]} {done}")

    again = fresh()
    again.fit(MarketTask(MARKET, HISTORY, fold, 0, tmp_path / "kept"), Hears())
    assert heard == ["dmn 4"]
    assert all(np.array_equal(value, again.state()[key]) for key, value in whole.state().items())


def test_a_learned_router_is_trained_restored_and_follows_who_earns() -> None:
    """One member turns its account over at every bar and pays for it; the other holds nothing."""
    params = {"members": ("flat", "tests.agents.loser"), "member": {}, "method": "learned", "route_steps": 200}
    agent: Any = trained(made("ensemble", MARKET, HISTORY, **params), MARKET, HISTORY, 1_000)
    record = trade(MARKET, agent, HISTORY, 1_000)
    assert np.mean(np.abs(record.account.position).sum(axis=1) == 0.0) > 0.9
    other: Any = made("ensemble", MARKET, HISTORY, **params)
    other.restore(agent.state())
    assert trade(MARKET, other, HISTORY, 1_000).digest == record.digest
    with pytest.raises(RuntimeError, match="train or restore"):
        trade(MARKET, made("ensemble", MARKET, HISTORY, **params), HISTORY, 1_000)


def test_members_that_cannot_be_are_refused() -> None:
    for params, text in (
        ({"members": ("momentum", "momentum")}, "LABEL=NAME"),
        ({"members": ()}, "is empty"),
        ({"members": ("flat",), "member": {"momentum": {}}}, "not a member"),
        ({"members": ("momentun",), "member": {}}, "did you mean 'momentum'"),
        ({"members": ("momentum",), "member": {"momentum": {"lookback": 3}}}, "member momentum: unknown key"),
    ):
        with pytest.raises(UserError, match=text):
            ensemble(**params)  # type: ignore[arg-type]
