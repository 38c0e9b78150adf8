"""What idle cash earns: by the calendar, at rates that were known, in every door to the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import make_agent, make_market
from qframe_rl.feeds.cash import published, with_cash
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import batch, lane, records
from qframe_rl.types import DAY, HOUR, YEAR, Account, Bar, Instrument, Orders, Segment
from tests.evaluate.made import market

NONE = Path()


def test_a_year_of_three_percent_is_three_percent() -> None:
    history = with_cash(market(8760, 1), "0.03", NONE)
    assert history.cash_rate.sum() == pytest.approx(0.03)
    assert history.cash_rate[0] == 0.03 / 8760


def test_an_outage_earns_for_its_whole_length() -> None:
    whole = market(100, 1)
    gone = whole.time[[*range(40), *range(90, 100)]]
    rows = np.searchsorted(whole.time, gone)
    from dataclasses import replace

    cut = replace(
        whole, time=gone, values=whole.values[rows], funding=whole.funding[rows], final=whole.final[rows],
        cash_rate=np.zeros(len(rows)),
    )  # fmt: skip
    assert with_cash(cut, "0.03", NONE).cash_rate[40] == pytest.approx(0.03 * 51 * HOUR / YEAR)


def test_a_rate_counts_from_the_bar_after_its_publication(tmp_path: Path) -> None:
    history = market(30, 1)
    at = "2020-01-01T05:30:00Z"
    (tmp_path / "bills.csv").write_text(f"timestamp,rate\n2019-12-01,0.01\n{at},0.05\n")
    rate = with_cash(history, "bills.csv", tmp_path).cash_rate * YEAR / HOUR
    # The bar of 05:00 to 06:00 began before the news.
    assert rate == pytest.approx(np.where(np.arange(30) < 6, 0.01, 0.05))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timestamp,rate\n2021-01-01,0.01\n", "no rate had been published by 2020-01-01"),
        ("timestamp,rate\n2019-01-01,4.5\n", "0.03 is 3 %"),
        ("timestamp,rate\n2019-02-01,0.01\n2019-01-01,0.02\n", "not sorted"),
        ("timestamp,yield\n2019-02-01,0.01\n", "no column 'rate'"),
        ("timestamp,rate\n", "there is no rate in it"),
    ],
)
def test_files_that_do_not_serve_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bills.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        with_cash(market(30, 1), "bills.csv", tmp_path)


def test_a_missing_file_and_a_rate_in_percent_are_refused() -> None:
    for rate in ("nowhere.csv", "3", "nan"):
        with pytest.raises(UserError):
            with_cash(market(30, 1), rate, NONE)


def test_the_shipped_series_covers_the_data_that_people_have() -> None:
    series = published("synthetic", NONE)
    assert series.time[0] < 1_000_000_000 * 1_000_000_000
    assert 0.0 < series.values.max() < 0.06


def test_a_configuration_may_write_the_rate_as_a_number() -> None:
    assert build(DataConfig, {"risk_free": 0.03}, "here").risk_free == "0.03"
    history = load(build(DataConfig, {"risk_free": 0.03, "bars": 200}, "here"))
    assert history.describe()["risk_free"] == pytest.approx(0.03)
    assert load(build(DataConfig, {"bars": 200}, "here")).fingerprint != history.fingerprint


def one_bar(cash: float, position: float, rules_: dict, *, rate: float = 0.01, mark: float = 100.0) -> tuple:
    kind = "perpetual" if rules_.get("shorting") else "spot"
    rules = rules_of((Instrument("A/B", kind),), **rules_)
    bar = Bar(0, np.array([[mark, mark, mark, mark, 1e6]]), np.zeros(1), np.zeros(1, dtype=bool), rate)
    account = Account(np.array(cash), np.array([position]), np.array([mark]))
    return settle(account, Orders.market(np.zeros(1)), bar, rules)


@pytest.mark.parametrize(
    ("cash", "position", "rules", "idle"),
    [
        (1000.0, 0.0, {}, 1000.0),
        (1000.0, 5.0, {}, 1000.0),
        # Long 5 at 100 on a perpetual: 1,500 of equity, of which 500 / 2 is margin.
        (1000.0, 5.0, {"shorting": True, "leverage": 2.0}, 1250.0),
        # Short 5: cash holds the 500 of the sale, which are not ours.
        (1500.0, -5.0, {"shorting": True, "leverage": 2.0}, 750.0),
        (1500.0, -5.0, {"shorting": True, "leverage": 2.0, "margin_earns": True}, 1000.0),
        # All of it is margin.
        (-900.0, 10.0, {"shorting": True, "leverage": 10.0}, 0.0),
        (-950.0, 10.0, {"shorting": True, "leverage": 10.0}, 0.0),
    ],
)
def test_only_idle_cash_earns(cash: float, position: float, rules: dict, idle: float) -> None:
    after, fills = one_bar(cash, position, rules)
    assert float(fills.interest) == pytest.approx(0.01 * idle)
    assert float(after.cash) == pytest.approx(cash + 0.01 * idle)


def test_an_order_spends_nothing_that_the_bar_has_still_to_earn() -> None:
    rules = rules_of((Instrument("A/B"),))
    bar = Bar(0, np.array([[1.0, 1.0, 1.0, 1.0, 1e6]]), np.zeros(1), np.zeros(1, dtype=bool), 0.5)
    account = Account(np.array(100.0), np.zeros(1), np.ones(1))
    after, fills = settle(account, Orders.market(np.array([150.0])), bar, rules)
    assert float(fills.quantity[0]) == pytest.approx(100.0)
    assert float(after.cash) == pytest.approx(50.0)


@pytest.mark.parametrize("perpetual", [False, True])
@pytest.mark.parametrize("rate", ["0.05", "-0.02"])
def test_all_doors_earn_the_same_bits(perpetual: bool, rate: str) -> None:
    history = with_cash(market(600, 3, n=2, perpetual=perpetual), rate, NONE)
    made = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    from qframe_rl import catalog

    module = catalog.load("agents", "momentum")
    agent = make_agent("momentum", module.Config(), made, history.columns, 0, None)
    window = max(made.interface.window, agent.window)
    segment = Segment(window, len(history))
    walked = backtest(made, agent, history, segment, window)
    assert walked.fills.interest.sum() * float(rate) > 0.0
    assert walked.account.equity[0] == made.cash
    lanes = [lane(agent, history, segment, window)]
    (record,), (result,) = records(made, lanes), batch(made, lanes)
    assert record.digest == walked.digest
    assert np.array_equal(result.equity, walked.account.equity)
    assert np.array_equal(record.fills.interest, walked.fills.interest)


def test_flat_earns_the_rate_in_a_batch_as_in_a_session() -> None:
    history = with_cash(market(400, 3, n=1), "0.04", NONE)
    made = make_market(Ref(name="spot"), history.instruments, history.columns, history.bar_ns)
    from qframe_rl import catalog

    module = catalog.load("agents", "flat")
    agent = make_agent("flat", module.Config(), made, history.columns, 0, None)
    window = made.interface.window
    segment = Segment(window, len(history))
    walked = backtest(made, agent, history, segment, window)
    (result,) = batch(made, [lane(agent, history, segment, window)])
    assert np.array_equal(result.equity, walked.account.equity)
    days = (history.time[-1] - history.time[window - 1]) / DAY
    assert walked.account.equity[-1] == pytest.approx(made.cash * (1.0 + 0.04 * days / 365.0), rel=1e-4)
