"""A universe is a rule of what was known: nothing that comes later changes who is in, and nothing too old does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.universe import changes, chosen, member_column, memberships, with_members
from qframe_rl.feeds.universe_rule import renewal, universe_rule
from qframe_rl.members import MEMBER
from qframe_rl.types import CLOSE, DAY, HOUR, VOLUME, History, iso, parse_time, timeframe_name
from tests.contracts.checks import scrambled
from tests.markets import history_of, panel

EVERYTHING = (
    "top:3:volume5d,age:3d,price:50:300,volatility4d:0.01:5,spread:signal:0.9,notice:notice,traded:2d,"
    "deny:C1/USDT:USDT,renew:daily"
)
RULES = (EVERYTHING, "top:2:volume36h,renew:6h", "all,age:10d,renew:weekly", "top:3:volume20d")


def market(n_bars: int = 1500, seed: int = 4, kind: str = "perpetual") -> History:
    """Six coins, some of them listed late or delisted, volumes that change ranks, spreads, and notices."""
    history = panel(n_bars, 6, seed=seed, volatility=0.03, kind=kind)
    rng = np.random.default_rng(seed)
    values = history.values.copy()
    values[:, :, VOLUME] *= np.exp(np.cumsum(0.1 * rng.standard_normal(values.shape[:2]), axis=0))
    notice = np.zeros(values.shape[:2])
    notice[n_bars // 2 :, 4] = 1.0
    noticed = np.concatenate([values, notice[:, :, None]], axis=2)
    return replace(history, values=noticed, columns=("signal", "notice"))


def otherwise(history: History, after: int) -> History:
    """Every number after a row scrambled, and who trades at all by days."""
    made = scrambled(history, after)
    values, rng = made.values.copy(), np.random.default_rng(after)
    day = (made.time[after + 1 :] // DAY - made.time[0] // DAY).astype(int)
    gone = rng.random((day.max() + 1, values.shape[1]))[day] < 0.5
    values[after + 1 :][gone] = np.nan
    return replace(made, values=values)


@pytest.mark.parametrize("text", RULES)
def test_no_membership_changes_when_everything_after_it_is_scrambled(text: str) -> None:
    history, rule = market(), universe_rule(text)
    before = member_column(history, rule)
    assert len(np.unique(before[~np.isnan(before)])) == 2, "everybody is in, or nobody: nothing is shown"
    for after in (40, 700, 701, 1100, 1498):
        now = member_column(otherwise(history, after), rule)
        assert np.array_equal(now[: after + 1], before[: after + 1], equal_nan=True)
        if after < 1100:
            assert not np.array_equal(now, before, equal_nan=True), "scrambling changed nothing at all"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RULES), st.integers(0, 50), st.integers(1, 1499))
def test_bars_that_are_older_than_the_look_back_change_nothing(text: str, seed: int, row: int) -> None:
    history, rule = market(seed=seed), universe_rule(text)
    at = renewal(int(history.time[row]), rule)
    first = int(np.searchsorted(history.time, int(history.time[row]) - rule.lookback_ns(HOUR)))
    assert chosen(history.rows(first, row + 1), rule, at) == chosen(history, rule, at)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 50), st.sampled_from(["6h", "daily", "weekly"]))
def test_no_more_than_so_many_are_in_and_they_are_the_largest(n: int, seed: int, renew: str) -> None:
    history = market(seed=seed)
    rule = universe_rule(f"top:{n}:volume3d,renew:{renew}")
    for one in memberships(history, rule):
        assert len(one.members) <= n
        known = history.rows(0, int(np.searchsorted(history.time, one.time, side="right")))
        lately = known.time > one.time - 3 * DAY
        money = known.values[lately, :, CLOSE] * known.values[lately, :, VOLUME]
        volume = dict(zip(history.symbols, np.nansum(money, axis=0), strict=True))
        out = [volume[s] for a, s in enumerate(history.symbols) if s not in one.members and _trades(known, a, one.time)]
        assert min([volume[s] for s in one.members], default=np.inf) >= max(out, default=0.0)


def _trades(known: History, a: int, at: int) -> bool:
    return bool((~np.isnan(known.values[known.time > at - DAY, a, CLOSE])).any())


def test_instruments_in_another_order_are_the_same_members() -> None:
    history, rule = market(), universe_rule(EVERYTHING)
    order = [3, 1, 5, 0, 4, 2]
    turned = replace(
        history, instruments=tuple(history.instruments[a] for a in order), values=history.values[:, order],
        funding=history.funding[:, order], final=history.final[:, order],
    )  # fmt: skip
    assert memberships(turned, rule) == memberships(history, rule)


def flat(n_bars: int, n: int) -> History:
    """Coins that stand at 100, of which the first trades most."""
    values = np.full((n_bars, n, 5), 100.0)
    values[:, :, VOLUME] = np.arange(n, 0, -1)
    return history_of(values)


def test_every_filter_keeps_out_what_it_is_for() -> None:
    history = flat(24 * 40, 5)
    values = np.concatenate([history.values, np.zeros((*history.values.shape[:2], 2))], axis=2)
    values[: 24 * 30, 1, :5] = np.nan  # listed ten days ago
    values[24 * 38 :, 2, :5] = np.nan  # delisted two days ago
    values[:, 3, :4] *= 0.001
    values[::2, 4, :4] *= 1.3
    values[:, 0, 5] = 0.01
    history = replace(history, values=values, columns=("half", "notice"))
    at = renewal(int(history.time[-1]), universe_rule("all,renew:daily"))

    def members(text: str) -> list[int]:
        symbols = chosen(history, universe_rule(f"{text},renew:daily"), at).members
        return [history.symbols.index(symbol) for symbol in symbols]

    assert members("all") == [0, 1, 3, 4]
    assert members("all,traded:4d") == [0, 1, 2, 3, 4]
    assert members("all,age:9d") == [0, 1, 3, 4]
    assert members("all,age:10d") == [0, 3, 4]
    assert members("all,price:1") == [0, 1, 4]
    assert members("all,price:1:105") == [0, 1]
    assert members("all,volatility7d:0.1") == [4]
    assert members("all,volatility7d:0:0.1") == [0, 1, 3]
    assert members("all,spread:half:0.005") == [1, 3, 4]
    assert members("all,deny:C1/USDT:USDT") == [0, 3, 4]
    assert members("all,allow:C1/USDT:USDT+C4/USDT:USDT") == [1, 4]
    assert members("top:2:volume7d") == [0, 1]
    assert members("top:2:volume7d,deny:C0/USDT:USDT") == [1, 4]


def test_a_notice_acts_at_once_and_a_listing_with_the_next_renewal() -> None:
    history = flat(24 * 12, 3)
    values = np.concatenate([history.values, np.zeros((*history.values.shape[:2], 1))], axis=2)
    values[: 24 * 4 + 7, 1, :5] = np.nan
    values[24 * 6 + 5 :, 0, 5] = 1.0
    values[24 * 9 :, 2, :5] = np.nan
    made = with_members(replace(history, values=values, columns=("gone",)), universe_rule("all,notice:gone,renew:2d"))
    rule = universe_rule("all,notice:gone,renew:2d")
    told = {iso(one.time)[:13]: one[1:] for one in changes(made, rule)[2:]}
    listing = int(made.time[24 * 4 + 7])
    joined = renewal(listing, rule) + 2 * DAY
    first, second, third = history.symbols
    assert told == {
        iso(listing)[:13]: ((), (), (second,), ()),
        iso(joined)[:13]: ((second,), (), (), ()),
        iso(int(made.time[24 * 6 + 5]))[:13]: ((), (first,), (), ()),
        iso(int(made.time[24 * 9 - 1]) + DAY)[:13]: ((), (third,), (), (third,)),
    }


@pytest.mark.parametrize(
    ("text", "time", "at"),
    [
        ("all", "2024-03-31T23:00", "2024-03-01"),
        ("all", "2024-04-01", "2024-04-01"),
        ("all,renew:weekly", "2024-03-10T23:59", "2024-03-04"),
        ("all,renew:weekly", "2024-03-11", "2024-03-11"),
        ("all,renew:daily", "2024-03-11T13:00", "2024-03-11"),
        ("all,renew:12h", "2024-03-11T13:00", "2024-03-11T12:00"),
    ],
)
def test_memberships_are_renewed_at_stated_moments(text: str, time: str, at: str) -> None:
    assert renewal(parse_time(time), universe_rule(text)) == parse_time(at)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top:0:volume30d", "begins with 'top:0:volume30d'"),
        ("top:5:cap", "such as top:20:volume30d"),
        ("top:5:volume30", "volume30 needs a length in h, d or w"),
        ("all,pric:3", "did you mean 'price'"),
        ("all,age:1d,age:2d", "age stands twice"),
        ("all,price:3:1", "its first number is above the second"),
        ("all,spread:half", "needs a number of at least 0"),
        ("all,deny:", "deny:SYMBOL+SYMBOL"),
        ("all,renew:yearly", "renew:yearly needs a length"),
        ("all,renew:monthly,volatility3d:x", "needs a number"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        universe_rule(text)
    assert said in str(caught.value)


def test_what_a_rule_names_must_be_there() -> None:
    history = flat(48, 2)
    with pytest.raises(UserError, match="C7/USDT:USDT is no candidate"):
        with_members(history, universe_rule("all,deny:C7/USDT:USDT"))
    for text in ("all,deny:C0/USDT:USDT+C1/USDT:USDT", "all,allow:C1/USDT:USDT,deny:C1/USDT:USDT"):
        with pytest.raises(UserError, match="deny leaves no candidate"):
            with_members(history, universe_rule(text))
    with pytest.raises(UserError, match="no column 'half'; add it with --columns"):
        with_members(history, universe_rule("all,spread:half:0.1"))


def test_a_volatility_that_no_bars_make_is_refused_and_the_length_that_is_named_is_taken() -> None:
    history = flat(48, 2)
    with pytest.raises(UserError, match="of bars of 1h a volatility needs 3 at least; take volatility3h or"):
        with_members(history, universe_rule("all,volatility2h:0:0.1"))
    with_members(history, universe_rule("all,volatility3h:0:0.1"))


def stored(root: Path, history: History) -> None:
    """Write a store of coins, in bars of the history's length."""
    name = f"{timeframe_name(history.bar_ns)}.parquet"
    for a, symbol in enumerate(history.symbols):
        rows = ~np.isnan(history.values[:, a, CLOSE])
        path = root / "ohlcv" / "binance" / symbol.replace("/", "-") / name
        path.parent.mkdir(parents=True)
        parquet.write(path, PRICES, Series(history.time[rows] - history.bar_ns, history.values[rows, a, :5]))


def test_a_store_is_read_from_before_the_span_so_that_its_first_row_knows_its_members(tmp_path: Path) -> None:
    stored(tmp_path, market(kind="spot"))
    config = DataConfig(data=str(tmp_path), timeframe="1h", universe="top:3:volume5d,age:3d,renew:daily")
    whole = load(config)
    assert len(whole.symbols) == 6
    for since, until in ((800, 1000), (1300, 1400)):
        times = {"since": iso(int(whole.time[since])), "until": iso(int(whole.time[until]))}
        part, rows = load(config.model_copy(update=times)), slice(since + 1, until + 1)
        assert part.columns == whole.columns == (MEMBER,)
        for a, symbol in enumerate(part.symbols):
            column = whole.values[rows, whole.symbols.index(symbol), -1]
            assert np.array_equal(part.values[:, a, -1], column, equal_nan=True)
        absent = np.asarray(np.isnan(whole.values[rows, :, CLOSE]).all(axis=0))
        assert set(part.symbols) == {s for s, gone in zip(whole.symbols, absent.tolist(), strict=True) if not gone}
    assert len(part.symbols) == 5, "the coin that was delisted before the span is still a candidate"


def test_symbols_that_are_named_stay_candidates_though_they_have_no_bar(tmp_path: Path) -> None:
    history = market(kind="spot")
    stored(tmp_path, history)
    made = load(
        DataConfig(data=str(tmp_path), symbols=history.symbols, universe="all", since=iso(int(history.time[1300])))
    )
    assert made.symbols == history.symbols
    assert np.isnan(made.values[:, 2]).all()


def test_a_universe_is_not_chosen_from_a_store_without_such_bars(tmp_path: Path) -> None:
    stored(tmp_path, market(200, kind="spot"))
    with pytest.raises(UserError, match="nothing of exchange 'binance' in bars of 4h to choose a universe from"):
        load(DataConfig(data=str(tmp_path), timeframe="4h", universe="all"))


def test_the_name_of_the_column_is_the_universes_own(tmp_path: Path) -> None:
    stored(tmp_path, market(200, kind="spot"))
    with pytest.raises(UserError, match=f"the name '{MEMBER}' is taken"):
        load(DataConfig(data=str(tmp_path), symbols=("C0/USDT",), columns=(f"{MEMBER}=x.csv:y:1d",)))
