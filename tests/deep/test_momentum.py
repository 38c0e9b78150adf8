"""Inputs of the deep momentum network: against pandas, and the same bits live as in training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.deep.momentum import CLIP, MomentumInputs
from tests.markets import history_of, panel

FULL = MomentumInputs((1, 21, 63, 126, 252), ((8, 24), (16, 48), (32, 96)), 63, 252, 60, 252, 5.0)
SMALL = MomentumInputs((1, 5, 20), ((4, 12),), 20, 40, 20, 60, 5.0)


def reference(close: pd.Series) -> tuple[list[float], float]:
    """The last row, as the reference code has it; exponential means begin at the first close."""
    x = close / close.iloc[0]
    mean = x.ewm(halflife=252).mean()
    spread = x.ewm(halflife=252).std(bias=True)
    price = x.clip(mean - 5 * spread, mean + 5 * spread).where(spread > 0, x)
    returns = price.pct_change()
    sigma = returns.ewm(span=60).std(bias=True).iloc[-1]
    out = [(price.iloc[-1] / price.iloc[-1 - k] - 1) / (sigma * np.sqrt(k)) for k in FULL.horizons]
    for short, long in FULL.pairs:
        q = price.ewm(alpha=1 / short).mean() - price.ewm(alpha=1 / long).mean()
        y = q / price.rolling(63, min_periods=1).std(ddof=0)
        out.append(y.iloc[-1] / y.iloc[-252:].std(ddof=0))
    return out, sigma


def test_rows_are_those_of_the_reference_definition() -> None:
    history = panel(FULL.lookback, 2, seed=4, ragged=False, column=False)
    inputs, sigma, valid = FULL.rows(history.values, FULL.lookback - 1)
    for a in range(2):
        expected, deviation = reference(pd.Series(history.values[:, a, 3]))
        assert np.allclose(inputs[0, a], np.clip(expected, -CLIP, CLIP), rtol=1e-6)
        assert np.isclose(sigma[0, a], deviation, rtol=1e-9)
        assert valid[0, a]


def test_a_bad_print_is_winsorised() -> None:
    values = panel(300, 1, seed=2, ragged=False, column=False).values.copy()
    values[-1, :, :4] *= 50.0
    wild = SMALL._replace(winsor_deviations=1e9).rows(values, 299)[1]
    assert SMALL.rows(values, 299)[1] < 0.7 * wild
    assert SMALL._replace(winsor_deviations=1.0).rows(values, 299)[1] < 0.2 * wild


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), cut=st.integers(SMALL.lookback, 249))
def test_a_live_window_gives_the_bits_of_the_matrix(seed: int, cut: int) -> None:
    bars = panel(250, 3, seed=seed).values
    whole = SMALL.rows(bars)
    live = SMALL.rows(bars[cut + 1 - SMALL.lookback : cut + 1], SMALL.lookback - 1)
    for one, two in zip(whole, live, strict=True):
        assert np.array_equal(one[cut], two[0])


def test_an_instrument_is_not_tradable_before_its_volatility_is_known() -> None:
    bars = panel(250, 3, seed=1).values
    inputs, sigma, valid = SMALL.rows(bars)
    listed = np.argmax(~np.isnan(bars[:, 1, 3]))
    assert not valid[: listed + SMALL.volatility_bars, 1].any()
    assert (inputs[: listed + SMALL.volatility_bars, 1] == 0.0).all()
    assert valid[listed + SMALL.volatility_bars + 1 : listed + 60, 1].mean() > 0.9
    assert not valid[210:, 2].any()
    assert np.isfinite(inputs).all()
    assert ((sigma > 0.0) | ~valid).all()


def test_a_price_that_stands_still_gives_zeros() -> None:
    inputs, sigma, valid = SMALL.rows(history_of(np.full((200, 1, 5), 7.0)).values)
    assert not inputs.any()
    assert not sigma.any()
    assert not valid.any()
