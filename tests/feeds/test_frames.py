"""Tables of pandas as market data: the same bars as those of a file, and every way in which they may be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest

from qframe_rl.config import UserError
from qframe_rl.feeds.files import load_file
from qframe_rl.feeds.frames import from_frames
from qframe_rl.gym.given import histories_of
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.types import HOUR, History
from tests.markets import panel


def frame(n: int = 300, seed: int = 0) -> pd.DataFrame:
    history = panel(n, 1, seed=seed, kind="spot", ragged=False, column=False)
    table = pd.DataFrame(history.values[:, 0, :5], columns=["Open", "High", "Low", "Close", "Volume"])
    return table.set_index(pd.to_datetime(history.time - history.bar_ns, utc=True))


def test_a_table_is_the_same_bars_as_its_file(tmp_path: Path) -> None:
    table = frame()
    table.rename_axis("timestamp").to_csv(tmp_path / "BTC-USDT.csv")
    file = load_file(tmp_path / "BTC-USDT.csv", "binance", ("BTC/USDT",))
    made = from_frames({"BTC/USDT": table})
    assert made.instruments == file.instruments
    np.testing.assert_array_equal(made.time, file.time)
    np.testing.assert_array_equal(made.values, file.values)


@pytest.mark.parametrize(
    "shape",
    [
        lambda t: t.rename_axis("timestamp").reset_index(),
        lambda t: t.tz_localize(None),
        lambda t: t.tz_convert("Asia/Tokyo"),
        lambda t: t.reset_index(drop=True).assign(date=[x.isoformat() for x in t.index]),
        lambda t: t.reset_index(drop=True).assign(time=(t.index - pd.Timestamp(0, tz="UTC")) // pd.Timedelta("1ms")),
        lambda t: t.iloc[::-1],
        lambda t: t.tz_localize(None).to_period("h"),
        lambda t: t.set_axis([x.isoformat() for x in t.index]),
        lambda t: t.set_axis((t.index - pd.Timestamp(0, tz="UTC")) // pd.Timedelta("1ms")),
    ],
    ids=["column", "naive", "zone", "texts", "epochs", "newest first", "periods", "texts as index", "epochs as index"],
)
def test_spellings_of_time(shape: Any) -> None:
    made, plain = from_frames({"BTC/USDT": shape(frame())}), from_frames({"BTC/USDT": frame()})
    np.testing.assert_array_equal(made.time, plain.time)
    np.testing.assert_array_equal(made.values, plain.values)


def test_several_tables_are_one_panel_and_own_columns_are_series() -> None:
    one, two = frame(seed=1).assign(signal=np.arange(300.0)), frame(seed=2).iloc[50:250].assign(signal=1.0)
    made = from_frames({"BTC/USDT": one, "ETH/USDT": two})
    assert made.symbols == ("BTC/USDT", "ETH/USDT")
    assert made.columns == ("signal",)
    assert np.isnan(made.values[:50, 1]).all()
    assert made.final[249, 1]
    np.testing.assert_array_equal(made.values[:, 0, 5], np.arange(300.0))
    with pytest.raises(UserError, match="different series"):
        from_frames({"BTC/USDT": one, "ETH/USDT": frame()})


def test_a_row_without_values_of_an_aligned_table_is_no_bar() -> None:
    """What is delisted there is paid out, as where its table ends; truths are series too."""
    one, two = frame(seed=1).assign(flag=True), frame(seed=2).assign(flag=np.arange(300) % 2 == 0)
    cut = two.iloc[50:250].reindex(two.index, columns=two.columns)
    cut["flag"] = two["flag"]
    plain = from_frames({"BTC/USDT": one, "ETH/USDT": two.iloc[50:250]})
    made = from_frames({"BTC/USDT": one, "ETH/USDT": cut})
    assert plain.fingerprint == made.fingerprint
    assert np.argwhere(made.final).tolist() == [[249, 1]]
    assert made.values[50:54, :, 5].tolist() == [[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]
    assert from_frames({"BTC/USDT": cut}).fingerprint == from_frames({"BTC/USDT": two.iloc[50:250]}).fingerprint


@pytest.mark.parametrize("shape", ["newest first", "stamped by closes", "last moments"])
def test_own_columns_and_rates_stay_with_their_bars(shape: str) -> None:
    """However the table is stamped or sorted, a value stands in the bar of its row: not a bar later, nor reversed."""
    rates = np.where(np.arange(300) % 8 == 0, 0.0001 * np.arange(1, 301), np.nan)
    table = frame().assign(signal=np.arange(300.0), funding_rate=rates)
    plain = from_frames({"BTC/USDT:USDT": table})
    if shape == "newest first":
        table = table.iloc[::-1]
    else:
        late = pd.Timedelta(HOUR, "ns") - (pd.Timedelta(1, "ms") if shape == "last moments" else pd.Timedelta(0))
        table = table.reset_index(drop=True).assign(close_time=table.index + late)
    made = from_frames({"BTC/USDT:USDT": table})
    np.testing.assert_array_equal(made.time, plain.time)
    np.testing.assert_array_equal(made.values, plain.values)
    np.testing.assert_array_equal(made.funding, plain.funding)
    assert made.columns == ("funding_rate", "signal")


def test_tables_of_different_bars_are_refused() -> None:
    """A day's close stood an hour after its open, beside hours: every policy saw it 23 hours ahead."""
    days = frame().set_axis(pd.date_range("2023-01-01", periods=300, freq="D", tz="UTC"))
    for tables in ({"BTC/USDT": frame(), "ETH/USDT": days}, {"BTC/USDT": days.iloc[:30], "ETH/USDT": frame()}):
        with pytest.raises(UserError, match="rows are 1d apart, and bars of the tables together are of 1h; give all"):
            from_frames(tables)
    seldom = frame(seed=2).iloc[np.sort(np.random.default_rng(0).choice(300, 40, replace=False))]
    assert from_frames({"BTC/USDT": frame(), "ETH/USDT": seldom}).bar_ns == HOUR
    assert from_frames({"BTC/USDT": days.tz_convert("America/New_York")}).bar_ns == 24 * HOUR


def test_milliseconds_beside_the_second_are_no_length_of_a_bar() -> None:
    beside = frame().index + pd.to_timedelta(np.arange(300) % 3, unit="ms")
    assert (
        from_frames({"BTC/USDT": frame().set_axis(beside)}).fingerprint
        == from_frames({"BTC/USDT": frame()}).fingerprint
    )


def test_series_of_several_tables_may_stand_in_another_order() -> None:
    one = frame(seed=1).assign(a=1.0, b=2.0)
    made = from_frames({"BTC/USDT": one, "ETH/USDT": frame(seed=2).assign(b=4.0, a=3.0)})
    assert made.values[0, :, 5:].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_perpetual_brings_its_funding() -> None:
    rates = np.full(300, np.nan)
    rates[::8] = 0.0001
    made = from_frames({"BTC/USDT:USDT": frame().assign(funding_rate=rates)})
    assert made.instruments[0].kind == "perpetual"
    paid = made.funding[:, 0] / made.values[:, 0, 0]
    assert paid[8::8] == pytest.approx(0.0001)
    assert (paid[1:8] == 0.0).all()
    with pytest.raises(UserError, match="needs a column funding_rate"):
        from_frames({"BTC/USDT:USDT": frame()})
    with pytest.raises(UserError, match="funding has a value that is not a number"):
        from_frames({"BTC/USDT:USDT": frame().assign(funding_rate=np.inf)})


def test_a_series_may_be_called_as_a_feature_is() -> None:
    env = make_env("spot", frame().assign(**{"rsi:14": np.arange(300.0)}), features=["columns"])
    assert env.reset(seed=0)[0].shape == (3,)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (frame().drop(columns="Close"), "no column for close"),
        (frame().reset_index(drop=True), "no column for time.*times of the opens as an index"),
        (frame().iloc[[0, 1, 1, 2]], "duplicated"),
        (frame().iloc[[0, 2, 1]], "not sorted"),
        (frame().assign(Low=-1.0), "not above zero"),
        (frame().iloc[:1], "two bars"),
        (frame().assign(Close="a"), "not a number"),
        (frame().assign(Close=None), "NaN|no bar"),
        (frame().assign(Volume=0.0), "all volumes are 0"),
        (pd.concat([frame(), frame()[["Close"]]], axis=1), "two columns are named 'Close'"),
        (frame().iloc[:0], "two bars"),
        (
            frame().assign(note=[object()] * 300),
            "USDT: Conversion failed for column note [^(]*; leave the column out",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(table: pd.DataFrame, said: str) -> None:
    with pytest.raises(UserError, match=said):
        from_frames({"BTC/USDT": table})


def test_environments_take_whatever_holds_bars(tmp_path: Path) -> None:
    table = frame()
    table.rename_axis("timestamp").to_csv(tmp_path / "BTC-USDT.csv")
    history = from_frames({"BTC/USDT": table})
    named = table.copy()
    named.attrs["symbol"] = "BTC/USDT"
    recipe = {"data": str(tmp_path / "BTC-USDT.csv"), "timeframe": "1h"}
    wanted = make_env("spot", history).reset(seed=1)[0]
    for given in (named, {"BTC/USDT": table}, recipe, tmp_path / "BTC-USDT.csv", str(tmp_path / "BTC-USDT.csv")):
        assert np.array_equal(make_env("spot", given).reset(seed=1)[0], wanted)
        assert np.array_equal(make_vec("spot", 1, given).reset(seed=1)[0][0], wanted)
    assert histories_of(table)[0].symbols == ("ASSET/USD",)
    assert histories_of([history, history]) == [history, history]


@pytest.mark.parametrize("what", ["instruments", "columns", "bars"])
def test_histories_of_a_list_trade_by_the_same_rules(what: str) -> None:
    one = from_frames({"BTC/USDT": frame()})
    other = {
        "instruments": replace(one, instruments=(replace(one.instruments[0], taker_fee=0.5),)),
        "columns": from_frames({"BTC/USDT": frame().assign(signal=1.0)}),
        "bars": from_frames({"BTC/USDT": frame().iloc[::2]}),
    }
    with pytest.raises(UserError, match=f"{what} of number 2 are .* make an environment for each"):
        make_env("spot", [one, other[what]])
    renamed = replace(one, instruments=(replace(one.instruments[0], symbol="ETH/USDT"),))
    assert histories_of([one, renamed]) == [one, renamed]


def test_a_recipe_travels_in_the_specification() -> None:
    """A specification as text, as Minari and Ray carry it, finds the same bars again."""
    env = gymnasium.make("QFrame/Spot-v1", history={"data": "synthetic:regimes", "bars": 5000, "seed": 3})
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert np.array_equal(env.reset(seed=2)[0], again.reset(seed=2)[0])


@pytest.mark.parametrize(
    "given",
    [3, [], {}, [3], {"BTC/USDT": 3}, {"daat": "x"}, "no/such/file", {"A/USD": frame(), "B/USD": 3}, {1: frame()}],
)
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(UserError):
        make_env("spot", given)


def test_the_usual_distance_of_rows_is_the_length_of_a_bar() -> None:
    made: History = from_frames({"BTC/USDT": frame().drop(frame().index[[5, 6, 100]])})
    assert made.bar_ns == HOUR
    assert len(made) == 297
