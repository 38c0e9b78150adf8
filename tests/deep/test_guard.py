"""The guard for strange states: how often it is alarmed without reason, how soon with one, and what it lets be done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.deep.guard import Guard
from qframe_rl.estimate.density import DECAY, ROWS, Familiar, averaged, mixture
from qframe_rl.gym.market import Market
from qframe_rl.types import Account, Fills, Float, History, Segment
from tests.agents.runs import FREE, made, market_of, trade, trained
from tests.contracts.checks import agent_can_be_carried
from tests.markets import panel

SEEDS = 20
STRETCH = 3000


def law(seed: int, n: int, phi: float) -> Float:
    """(n, 8) correlated, skewed features of standard deviation 1 that a bar changes a part of."""
    rng = np.random.default_rng(seed)
    shocks, x = rng.standard_normal((n, 8)), np.empty((n, 8))
    x[0] = shocks[0]
    for t in range(1, n):
        x[t] = phi * x[t - 1] + np.sqrt(1.0 - phi**2) * shocks[t]
    y = x @ (np.eye(8) + 0.3 * np.random.default_rng(0).standard_normal((8, 8)))
    y = np.where(y > 0.0, 1.5 * y, y)
    return np.asarray(y / y.std(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, pytest.param(0.9, marks=pytest.mark.long)])
def test_it_is_alarmed_on_a_twentieth_of_usual_rows_and_by_a_shift_within_a_hundred(phi: float) -> None:
    alarms, found = [], []
    for seed in range(SEEDS):
        rows = law(seed, 36_000, phi)
        guard = Familiar.fit(rows[:6_000], [rows[6_000:21_000, None]], seed)
        alarms.append(guard.strange(rows[21_000:, None]).mean())
        shifted = rows[30_000:30_300].copy()
        shifted[150:, :2] += 3.0
        found.append(guard.strange(shifted[:, None])[150 + 100 - ROWS, 0])
    print(f"phi {phi}: alarms on {np.mean(alarms):.3f}, {min(alarms):.3f} to {max(alarms):.3f}; found {np.mean(found)}")
    assert 0.03 <= np.mean(alarms) <= 0.08
    assert np.mean(found) >= 0.95
    if phi == 0.0:
        assert min(alarms) >= 0.03
        assert max(alarms) <= 0.08


def test_the_density_is_scipys_and_fits_as_well_as_the_law_itself() -> None:
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.normal(-2.0, 0.5, (600, 1)), rng.normal(1.0, 1.0, (400, 1))])
    found = mixture(rows, 0, 2)
    parts = np.log(found.weight) + norm(found.mean[:, 0], np.sqrt(found.variance[:, 0])).logpdf(rows)
    assert found.log_density(rows) == pytest.approx(logsumexp(parts, axis=1), rel=1e-9)
    truth = np.log(0.6 * norm(-2.0, 0.5).pdf(rows) + 0.4 * norm(1.0, 1.0).pdf(rows))
    assert found.log_density(rows).sum() >= truth.sum()
    assert sorted(found.weight) == pytest.approx([0.4, 0.6], abs=0.03)


def test_averages_are_over_the_last_rows_and_the_newest_weighs_most() -> None:
    values = np.random.default_rng(0).standard_normal((ROWS + 5, 2))
    weight = DECAY ** np.arange(ROWS)[::-1]
    wanted = [(weight[:, None] * values[k : k + ROWS]).sum(axis=0) / weight.sum() for k in range(6)]
    assert averaged(values) == pytest.approx(np.array(wanted), rel=1e-12)


def guarded(**params: Any) -> dict[str, Any]:
    return {"members": ("buy_and_hold",), **params}


def crash() -> tuple[Market, History]:
    """Quiet bars, then wild and falling ones from row 2,600 on."""
    calm = panel(STRETCH, 1, seed=8, volatility=0.002, ragged=False)
    values, start = calm.values.copy(), STRETCH - 400
    closes = values[start - 1, 0, 3] * np.exp(np.cumsum(np.random.default_rng(1).normal(-0.004, 0.02, 400)))
    opens = np.concatenate([values[start - 1 : start, 0, 3], closes[:-1]])
    values[start:, 0, 0], values[start:, 0, 3] = opens, closes
    values[start:, 0, 1], values[start:, 0, 2] = np.maximum(opens, closes), np.minimum(opens, closes)
    history = replace(calm, values=values)
    market = market_of(history, **FREE, features=("log_return:1", "volatility:12"))
    return market.fit([(history, (Segment(0, 2500),))]), history


def test_where_states_are_strange_nothing_is_traded_and_what_lost_is_closed() -> None:
    """The strategy itself goes on holding."""
    market, history = crash()
    records = {}
    for guard in (False, True):
        agent = trained(made("ensemble", market, history, **guarded(guard=guard)), market, history, 2500)
        records[guard] = trade(market, agent, history, 2500)
    held = {guard: record.account.position[:, 0] for guard, record in records.items()}
    assert np.array_equal(held[True][:101], held[False][:101])
    assert held[True][100] > 0.0
    assert held[True][-1] == 0.0
    assert held[False][-1] != 0.0
    assert records[True].account.equity[-1] > records[False].account.equity[-1]


def test_another_process_goes_on_with_its_entries_and_what_is_usual() -> None:
    market, history = crash()
    agent: Any = trained(made("ensemble", market, history, **guarded(guard=True)), market, history, 2500)

    def again() -> Any:
        twin: Any = made("ensemble", market, history, **guarded(guard=True))
        twin.restore(agent.state())
        return twin

    agent_can_be_carried(market, agent, again, history)


def test_an_entry_is_the_average_of_what_was_added() -> None:
    guard = Guard(market_of(panel(300, 1)).interface.observer, 0)
    steps = [(2.0, 100.0, 100.0), (5.0, 110.0, 106.0), (3.0, 90.0, 106.0), (-1.0, 80.0, 80.0), (0.0, 70.0, np.nan)]
    before = np.zeros(1)
    for k, (position, price, entry) in enumerate(steps):
        fills = Fills.none(1)._replace(price=np.array([price]), quantity=np.array([position]) - before)
        account = Account(np.array(1e4), np.array([position]), np.array([price]))
        view = View(k, np.arange(1), np.zeros((1, 1, 5)), account, fills, first=False)
        guard._enter(view, before)
        assert guard.entry == pytest.approx([entry], nan_ok=True)
        before = account.position


def test_too_few_bars_are_refused() -> None:
    history = panel(500, 1, seed=8, ragged=False)
    market = market_of(history)
    with pytest.raises(UserError, match=f"needs {ROWS} bars"):
        trained(made("ensemble", market, history, **guarded(guard=True)), market, history, 300)
