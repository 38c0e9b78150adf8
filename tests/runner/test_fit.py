"""A training by one line of Python is the training of the commands."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.make import make_env
from qframe_rl.runner.fit import fit
from qframe_rl.types import History

QUICK = {"total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "hidden": (16,)}


@pytest.fixture(scope="module")
def bars() -> History:
    return synthetic("ar1", n_bars=3_000)


def test_a_learner_is_trained_on_what_it_was_given_and_trades_what_follows(bars: History) -> None:
    done = fit("ppo", bars.rows(0, 2_000), "spot", QUICK, seed=3, n_rows=2)
    record = done.backtest(bars)
    assert record.time[0] == bars.time[1_999]
    assert record.time[-1] == bars.time[-1]
    again = fit("ppo", bars.rows(0, 2_000), "spot", QUICK, seed=3, n_rows=2).backtest(bars)
    assert again.digest == record.digest
    env = make_env("spot", bars, n_rows=2)
    assert done.agent.interface.observation_space == env.observation_space  # type: ignore[attr-defined]


def test_a_rule_is_made_and_trades(bars: History) -> None:
    done = fit("buy_and_hold", bars.rows(0, 1_000))
    assert done.market.name == "perp"
    assert np.isfinite(done.backtest(bars).account.equity).all()


def test_it_trades_at_costs_of_ones_own(bars: History) -> None:
    paid = [fit("buy_and_hold", bars.rows(0, 1_000), taker_fee_bps=fee).backtest(bars) for fee in (0.0, 50.0)]
    assert float(paid[1].fills.fee.sum()) > float(paid[0].fills.fee.sum()) == 0.0


def test_what_does_not_fit_is_one_sentence(bars: History) -> None:
    done = fit("flat", bars)
    with pytest.raises(UserError, match="no bar closes after"):
        done.backtest(bars)
    with pytest.raises(UserError, match="other instruments"):
        done.backtest("synthetic:correlated")
    with pytest.raises(UserError, match="one is needed here, not 2"):
        fit("flat", [bars, bars])
    with pytest.raises(UserError, match="unknown key 'stepps'"):
        fit("ppo", bars, params={"stepps": 3})
