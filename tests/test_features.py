"""Features see exactly their lookback, and a live window gives the bits of the whole history."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.features import Remembered, features, known
from tests.markets import panel

ALL = (
    "log_return:1", "log_return:24", "volatility:2", "volatility:30", "range:1", "range:12", "volume_z:20", "rsi:2",
    "rsi:14", "macd:3:9", "macd:8:24", "ma_distance:10", "zscore:25", "day_sin", "day_cos", "week_sin", "week_cos",
    "column:signal", "alpha:corr(close,volume,10)", "alpha:delta(close,5)/std(close,20)", "4h:alpha:tsrank(volume,10)",
)  # fmt: skip


def test_only_what_cannot_change_is_remembered() -> None:
    """Views of the same read-only numbers share a result; other views, other keys and live windows do not."""
    calls: list[str] = []

    def asked(key: str, array: np.ndarray, remembered: Remembered) -> int:
        return remembered(key, [array], lambda: calls.append(key) or len(calls))

    fixed, live, two = np.arange(10.0), np.arange(10.0), Remembered(2)
    fixed.flags.writeable = False
    assert [asked("a", fixed[2:], two) for _ in "123"] == [1, 1, 1]
    assert asked("b", fixed[2:], two) == 2
    assert asked("a", fixed[2:], two) == 1
    assert asked("a", fixed[3:], two) == 3
    assert asked("b", fixed[2:], two) == 4, "of two results, the one not asked for longest was forgotten"
    assert [asked("a", live, two) for _ in "12"] == [5, 6]


def test_every_feature_is_tried() -> None:
    assert {name.split(":")[0] for name in known()} - {"columns"} == {
        name.removeprefix("4h:").split(":")[0] for name in ALL
    }


@pytest.mark.parametrize("spec", ALL)
def test_the_last_row_of_a_live_window_is_the_row_of_the_history(spec: str) -> None:
    history = panel(300, 3, seed=2)
    (feature,) = features([spec], history.columns, history.bar_ns)
    whole = feature.rows(history.values, history.time)
    assert whole.shape == (300, 3)
    assert np.isnan(whole[: feature.lookback - 1]).all()
    for t in np.random.default_rng(0).integers(feature.lookback - 1, 300, 60):
        window = slice(t - feature.lookback + 1, t + 1)
        last = feature.rows(history.values[window].copy(), history.time[window].copy(), feature.lookback - 1)
        assert last.shape == (1, 3)
        assert np.array_equal(last[0], whole[t], equal_nan=True)
        part = feature.rows(history.values[: t + 1], history.time[: t + 1], max(0, t - 4))
        assert np.array_equal(part[-1], whole[t], equal_nan=True)


@pytest.mark.parametrize("spec", ALL)
def test_nothing_outside_the_lookback_matters(spec: str) -> None:
    history = panel(300, 2, seed=4, ragged=False)
    (feature,) = features([spec], history.columns, history.bar_ns)
    whole = feature.rows(history.values, history.time)
    t = 200
    scrambled = history.values.copy()
    scrambled[t + 1 :] *= 3.0
    scrambled[: t - feature.lookback + 1] *= 0.2
    assert np.array_equal(feature.rows(scrambled, history.time)[t], whole[t])
    changed = history.values.copy()
    changed[t, :, 3] *= 1.01
    changed[t, :, 1] *= 1.02
    changed[t, :, 4] *= 2.0
    changed[t, :, 5] += 1.0
    moved = not np.array_equal(feature.rows(changed, history.time)[t], whole[t])
    assert moved == (spec not in ("day_sin", "day_cos", "week_sin", "week_cos"))


def test_a_missing_bar_makes_a_feature_of_it_nan() -> None:
    history = panel(100, 1, seed=1, ragged=False)
    values = history.values.copy()
    values[60, 0, :5] = np.nan
    for spec in ("volatility:10", "range:10", "volume_z:10", "rsi:2", "macd:2:4", "ma_distance:10", "zscore:10"):
        (feature,) = features([spec], history.columns, history.bar_ns)
        rows = feature.rows(values, history.time)[:, 0]
        assert np.isnan(rows[60 : 60 + feature.lookback]).all(), spec
        assert np.isfinite(rows[60 + feature.lookback :]).all(), spec


def test_figures() -> None:
    close = np.array([100.0, 110.0, 99.0, 99.0])
    values = np.stack([close, close + 1, close - 1, close, np.ones(4)], axis=-1)[:, None]
    times = 3_600_000_000_000 * np.arange(1, 5)

    def last(spec: str) -> float:
        return float(features([spec], ())[0].rows(values, times)[-1, 0])

    assert last("log_return:3") == pytest.approx(math.log(0.99))
    r = np.diff(np.log(close))
    assert last("volatility:3") == pytest.approx(math.log(r.std() + 1e-6))
    assert last("ma_distance:4") == pytest.approx(math.log(99 / close.mean()))
    assert last("zscore:4") == pytest.approx((99 - close.mean()) / close.std())
    assert last("range:1") == pytest.approx(math.log(math.log(100 / 98) + 1e-6))
    assert last("day_sin") == pytest.approx(math.sin(2 * math.pi * 4 / 24))


def test_rsi_agrees_with_wilders_recursion_once_it_forgot_its_start() -> None:
    history = panel(400, 1, seed=7, ragged=False)
    close = history.values[:, 0, 3]
    change = np.diff(close)
    up = down = 0.0
    for d in change:
        up, down = up * 13 / 14 + max(d, 0) / 14, down * 13 / 14 + max(-d, 0) / 14
    (feature,) = features(["rsi:14"], ())
    ours = 50.0 * (1.0 + feature.rows(history.values, history.time)[-1, 0])
    assert ours == pytest.approx(100 * up / (up + down), abs=0.05)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("log_retrun:3", "did you mean 'log_return'"),
        ("log_return", "needs 1 whole number"),
        ("log_return:x", "needs 1 whole number"),
        ("volatility:1", "the least numbers are"),
        ("column:signla", "did you mean 'signal'"),
        ("macd:8", "needs 2 whole number"),
    ],
)
def test_mistakes_are_named(spec: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        features([spec], ("signal",))
