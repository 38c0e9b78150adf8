"""Pictures: what they show, for all kinds of records, without global state."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from qframe_rl.evaluate.plot import PALETTE, equity_figure, leaderboard_figure
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.table import leaderboard
from qframe_rl.kernel.rules import rules_of
from qframe_rl.types import HOUR, Account, Fills, Orders, Record, Source

from .made import Trader, cash_record, market, random_target, returns_record, traded


def drawn(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def cut(record: Record, n: int) -> Record:
    """The first n rows."""
    return replace(
        record,
        time=record.time[:n],
        account=Account(*(field[:n] for field in record.account)),
        orders=Orders(*(field[:n] for field in record.orders[:3])),
        fills=Fills(*(field[:n] for field in record.fills[:-1])),
    )


def labels(figure: Figure, axes: int) -> list[str]:
    legend = figure.axes[axes].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_single_instrument_has_four_panels() -> None:
    record = traded(market(300, 0), random_target(0, every=10))
    flat = cash_record(np.full(299, 1e4), HOUR)
    figure = equity_figure({"ppo": record, "flat": flat}, "Test period", "Source: binance, BTC/USDT")
    assert drawn(figure).startswith(b"\x89PNG")
    assert [ax.get_ylabel() for ax in figure.axes] == ["Equity, USDT", "Drawdown", "Exposure", "BTC/USDT"]
    assert [text.split("  ")[0] for text in labels(figure, 0)] == ["ppo", "flat"]
    bought = int((record.fills.quantity > 0).sum())
    assert labels(figure, 3)[0] == f"buy  {bought}"
    assert figure.axes[0].get_title(loc="left") == "Test period"
    line = figure.axes[0].lines[0]
    assert np.array_equal(np.asarray(line.get_ydata()), record.account.equity)
    assert line.get_color() == PALETTE[0]


def test_several_instruments_have_no_price_panel() -> None:
    record = traded(market(200, 1, n=3, perpetual=True), random_target(0, every=10))
    figure = equity_figure({"portfolio": record})
    assert [ax.get_ylabel() for ax in figure.axes] == ["Equity, USDT", "Drawdown", "Exposure"]
    assert labels(figure, 2) == ["gross", "net"]
    assert drawn(figure)


@pytest.mark.parametrize(("span", "scale"), [(2.9, "linear"), (3.1, "log")])
def test_scale_is_logarithmic_beyond_a_factor_of_three(span: float, scale: str) -> None:
    figure = equity_figure({"a": cash_record(np.geomspace(100.0, 100.0 * span, 50))})
    assert figure.axes[0].get_yscale() == scale
    assert ("(log)" in figure.axes[0].get_ylabel()) == (scale == "log")
    assert drawn(figure)


@pytest.mark.parametrize(
    "record",
    [
        cash_record([1e4]),
        cash_record([1e4, 1e4]),
        cash_record(np.full(500, 1e4)),
        cash_record([1e4, 5e3, 0.0]),
        cash_record([0.0, 0.0]),
        returns_record(np.full(300, 0.2)),
        returns_record(np.full(300, -0.2)),
        cash_record([1e-8, 2e-8]),
    ],
)
def test_degenerate_records_are_drawn(record: Record) -> None:
    assert drawn(equity_figure({"a": record, "b": record}, "Degenerate"))


def test_short_spans_and_prices_that_are_not_known_yet() -> None:
    record = traded(market(6, 0), random_target(0))
    mark = record.account.mark.copy()
    mark[:2] = np.nan
    unknown = replace(record, account=record.account._replace(mark=mark, position=record.account.position * 0))
    for one in (cut(record, 1), cut(record, 2), record, unknown, cut(unknown, 1)):
        assert drawn(equity_figure({"a": one}))


def test_forced_closes_are_marked() -> None:
    history = market(300, 5, perpetual=True, volatility=0.05)
    rules = rules_of(history.instruments, leverage=20.0, shorting=True)
    record = traded(history, random_target(1, bound=20.0, every=5), rules)
    assert record.fills.forced.any()
    figure = equity_figure({"geared": record})
    assert labels(figure, 3)[2] == "forced  1"
    assert drawn(figure)


def test_ten_agents_and_a_busy_one() -> None:
    record = traded(market(3000, 2), random_target(0, short=False))
    figure = equity_figure({f"agent_{k}": record for k in range(10)})
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 10
    assert drawn(figure)


def test_legends_lie_outside_the_lines() -> None:
    record = traded(market(300, 0), random_target(0))
    figure = equity_figure({"a": record, "a_rather_long_name_of_an_agent": record}, "Title", "note")
    figure.draw_without_rendering()
    legends = [(ax, legend) for ax in figure.axes if (legend := ax.get_legend()) is not None]
    assert len(legends) == 3
    for ax, legend in legends:
        box = legend.get_window_extent()
        assert box.x0 >= ax.get_window_extent().x1
        assert box.x1 <= figure.bbox.x1


def test_footer_marks_what_is_no_record_of_performance() -> None:
    history = market(100, 0)
    note = source_note(history)
    assert note.startswith("SYNTHETIC DATA, no record of performance. Source: gbm, BTC/USDT, 1h bars, 2020-01-01 00:00")
    real = replace(history, source=Source("binance", "production", "x"))
    assert source_note(real).startswith("Source: binance")
    testnet = replace(history, source=Source("binance", "testnet", "x"))
    assert source_note(testnet).startswith("TESTNET DATA")
    many = market(100, 0, n=6)
    assert "and 2 more" in source_note(many)
    figure = equity_figure({"a": traded(many, random_target(0))}, note=source_note(many) * 3)
    figure.draw_without_rendering()
    assert figure._supxlabel is not None  # type: ignore[attr-defined]
    assert figure._supxlabel.get_window_extent().x1 <= figure.bbox.x1  # type: ignore[attr-defined]


def test_leaderboard_figure() -> None:
    rng = np.random.default_rng(0)
    records = {
        "lucky": returns_record(rng.normal(0.0, 0.01, 800)),
        "good": returns_record(rng.normal(4e-3, 0.01, 800)),
        "bad": returns_record(rng.normal(-4e-3, 0.01, 800)),
        "flat": cash_record([1e4] * 800),
    }
    rows = leaderboard(records, "test")
    figure = leaderboard_figure(rows, "Test period", "Source: x")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()][::-1] == [row["agent"] for row in rows]
    zero, *marks = ax.lines
    assert np.all(np.asarray(zero.get_xdata()) == 0.0)
    assert marks[0].get_color() == PALETTE[1], "the worst is below, and surely below zero"
    assert marks[-1].get_color() == PALETTE[0], "the best is on top, and surely above zero"
    assert drawn(figure)
    both = leaderboard_figure(rows[:2] + leaderboard(records, "validation"))
    assert "good (test)" in [label.get_text() for label in both.axes[0].get_yticklabels()]
    assert drawn(leaderboard_figure(leaderboard({"flat": records["flat"]}, "test")))


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        equity_figure({})
    with pytest.raises(ValueError, match="at least one row"):
        leaderboard_figure([])


def test_a_trader_that_never_trades() -> None:
    idle = Trader(lambda view: Orders.market(np.zeros(1)))
    assert drawn(equity_figure({"flat": traded(market(50, 0), idle)}))


def test_heavy_imports_are_lazy_and_pyplot_is_never_loaded() -> None:
    code = (
        "import sys, numpy as np\n"
        "from qframe_rl.evaluate import plot, table\n"
        "assert not {'matplotlib', 'rich', 'pandas', 'torch'} & set(sys.modules)\n"
        "row = dict(agent='a', split='t', sharpe=1.0, sharpe_low=0.0, sharpe_high=2.0)\n"
        "plot.leaderboard_figure([row])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
