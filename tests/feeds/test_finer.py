"""Finer bars within bars: they add up, what is missing is counted, and what cannot be true is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.finer import check_finer, with_finer, with_made_up
from qframe_rl.feeds.load import load
from qframe_rl.types import MINUTE, Bool, History
from tests.markets import panel

TEN = 10 * MINUTE


def summed(finer: History, n: int) -> History:
    """Bars that consist of ``n`` finer ones each."""
    t = len(finer) // n
    parts = finer.values[: t * n].reshape(t, n, *finer.values.shape[1:])
    high, low, last = parts[..., 1].max(1), parts[..., 2].min(1), parts[:, -1, :, 3]
    values = np.stack([parts[:, 0, :, 0], high, low, last, parts[..., 4].sum(1)], axis=-1)
    rest = {name: np.zeros((t, values.shape[1]), dtype=kind) for name, kind in (("funding", float), ("final", bool))}
    time, nothing = finer.time[n - 1 :: n][:t].copy(), np.zeros(t)
    return replace(finer, bar_ns=n * finer.bar_ns, time=time, values=values, cash_rate=nothing, **rest)


def hours_of(finer: History) -> History:
    return summed(finer, 6)


@pytest.fixture
def tens() -> History:
    made = panel(600, 2, ragged=False, column=False)
    return replace(made, bar_ns=TEN, time=made.time[0] + TEN * np.arange(600))


def without(history: History, rows: Bool) -> History:
    names = ("time", "values", "funding", "final", "cash_rate")
    return replace(history, **{name: getattr(history, name)[~rows] for name in names})


def test_finer_bars_are_laid_into_their_bars(tens: History) -> None:
    made = with_finer(hours_of(tens), tens)
    assert made.finer is not None and made.notes == ()
    assert np.array_equal(made.finer.start, 6 * np.arange(101)) and made.finer.ns == TEN
    assert np.array_equal(made.bar(7).finer, tens.values[42:48, :, :4])
    part = made.rows(7, 20)
    assert np.array_equal(part.bar(0).finer, made.bar(7).finer)
    assert part.fingerprint == with_finer(hours_of(tens).rows(7, 20), tens).fingerprint != hours_of(tens).fingerprint


def test_bars_that_lack_finer_ones_are_looked_at_as_a_whole_and_counted(tens: History) -> None:
    rows = np.isin(np.arange(600), [*range(60, 66), 91])
    made = with_finer(hours_of(tens), without(tens, rows))
    assert made.bar(10).finer is None
    inside = made.bar(15).finer  # one of six is missing, and with it some of the volume
    assert inside is not None and len(inside) == 5
    assert np.array_equal(inside[0], made.values[15, :, :4]) and np.isnan(inside[1:]).all()
    assert all("2 of 100 bars have not all of their finer ones" in note for note in made.notes) and len(made.notes) == 2


def test_what_was_taken_out_of_the_bars_has_no_finer_ones(tens: History) -> None:
    hours = hours_of(tens)
    values = hours.values.copy()
    values[4, 0] = np.nan
    inside = with_finer(replace(hours, values=values), tens).bar(4).finer
    assert inside is not None
    assert np.isnan(inside[:, 0]).all() and np.array_equal(inside[:, 1], tens.values[24:30, 1, :4])


@pytest.mark.parametrize(("field", "name"), [(0, "open"), (1, "high"), (2, "low"), (3, "close"), (4, "volume")])
def test_finer_bars_that_do_not_add_up_are_refused(tens: History, field: int, name: str) -> None:
    hours = hours_of(tens)
    values = hours.values.copy()
    values[50, 1, field] *= 1.001
    with pytest.raises(UserError, match=f"{hours.symbols[1]} do not add up to its bar of .*, of which the {name} is"):
        with_finer(replace(hours, values=values), tens)


def test_finer_bars_of_a_part_of_the_time_are_refused(tens: History) -> None:
    with pytest.raises(UserError, match=r"the finer bars of .* cover .* but its bars .*; download the rest"):
        with_finer(hours_of(tens), without(tens, np.arange(600) < 60))


def test_lengths_that_do_not_divide_and_instruments_that_lack_are_refused(tens: History) -> None:
    hours = hours_of(tens)
    with pytest.raises(UserError, match="detail 7m must be shorter than a bar, and bars of 1h whole multiples"):
        with_made_up(hours, 7 * MINUTE, 0)
    other = replace(tens.instruments[1], symbol="X/USDT")
    with pytest.raises(UserError, match="there are no finer bars of"):
        with_finer(hours, replace(tens, instruments=(tens.instruments[0], other)))
    with pytest.raises(UserError, match=r"env.detail is 1m, but the bars of test come without finer ones of 1m"):
        check_finer(with_finer(hours, tens), MINUTE)


def test_made_up_bars_add_up(tens: History) -> None:
    made = with_made_up(panel(300, 3), 5 * MINUTE, 1)
    assert made.finer is not None
    inside = made.finer.bars.reshape(300, 12, 3, 4)
    for got, field in ((inside[:, 0, :, 0], 0), (inside[..., 1].max(1), 1), (inside[..., 2].min(1), 2)):
        assert np.array_equal(got, made.values[:, :, field], equal_nan=True)
    assert np.array_equal(inside[:, -1, :, 3], made.values[:, :, 3], equal_nan=True)
    assert (inside[..., 1] >= inside[..., [0, 3]].max(-1))[~np.isnan(inside[..., 0])].all()


def test_a_store_gives_both(tmp_path, tens: History) -> None:
    folder = tmp_path / "ohlcv" / "binance" / "BTC-USDT"
    folder.mkdir(parents=True)
    for history, name in ((hours_of(tens), "1h"), (tens, "10m")):
        stamps = pd.to_datetime(history.time - history.bar_ns)
        frame = pd.DataFrame(history.values[:, 0, :5], columns=["open", "high", "low", "close", "volume"])
        frame.insert(0, "timestamp", stamps.astype("datetime64[ms]"))
        frame.to_parquet(folder / f"{name}.parquet")
    found = load(DataConfig(data=str(tmp_path), symbols=("BTC/USDT",), detail="10m"))
    assert found.finer is not None and np.array_equal(found.finer.bars[:, 0], tens.values[:, 0, :4])
    with pytest.raises(UserError, match="5m"):
        load(DataConfig(data=str(tmp_path), symbols=("BTC/USDT",), detail="5m"))
    with pytest.raises(UserError, match="has bars of one length; take a store or an exchange"):
        load(DataConfig(data=str(folder / "1h.parquet"), detail="10m"))
