"""The logarithm that rewards take, against the one of the platform."""

from __future__ import annotations

import numpy as np

from qframe_rl.gym.reward import _log_growth, _small_log
from qframe_rl.kernel.columns import BEFORE, EQUITY, opened


def test_the_short_series_is_the_logarithm_to_its_last_bits() -> None:
    """Between a loss and a gain of 10 %, which is where it is used."""
    ratios = np.concatenate(
        [np.linspace(0.9, 1.1, 2001), 1.0 + np.logspace(-12, -1, 200), 1.0 - np.logspace(-12, -1, 200)]
    )
    found = np.array([_small_log(ratio) for ratio in ratios])
    exact = np.log1p(ratios - 1.0)
    assert (np.abs(found - exact) <= 8.0 * np.spacing(np.abs(exact))).all()


def test_large_moves_are_rewarded_by_the_logarithm_too() -> None:
    """The series is for small ones; an account that does not act gets nothing."""
    ratios = np.array([0.01, 0.5, 0.89, 1.0, 1.02, 1.11, 2.0, 3.0, 2.0])
    account, active = opened(100.0, len(ratios)), np.arange(len(ratios)) < len(ratios) - 1
    account[:, BEFORE], account[:, EQUITY] = 100.0, 100.0 * ratios
    out = np.full(len(ratios), np.nan)
    _log_growth(account, active, np.empty((len(ratios), 0)), np.array([3.0]), out)
    assert np.abs(out[:-1] - 3.0 * np.log(ratios[:-1])).max() < 1e-14
    assert out[-1] == 0.0
