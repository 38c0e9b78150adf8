"""The leaderboard: plain rows made from records, and the same rows as text for a screen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from qframe_rl.evaluate.inference.bootstrap import LEVEL, RESAMPLES, Bootstrap, bootstrap
from qframe_rl.evaluate.inference.prediction import Forecast, forecast
from qframe_rl.evaluate.inference.sharpe import Form, moments, probabilistic_sharpe
from qframe_rl.evaluate.metrics import bars_per_year, cash_of, excess, log_growth, metrics, returns
from qframe_rl.evaluate.trials import Luck
from qframe_rl.types import Record

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_HALF = 0.5
AHEAD = (
    "The interval is of the past's mean: where the true Sharpe ratio of these bars lies. What will be measured over "
    "the next window, as long as one of these, lies farther off: in the interval beside it, which adds the error of "
    "the next window's own figure and what windows have differed by."
)
"""The difference between the two intervals of a row."""
FORM: Form = "2012"
"""Form of the PSR and DSR in every output."""
OPTIMAL = "optimal"
"""Name of the record that followed the known optimal policy."""


class ScoreRow(TypedDict):
    """One agent on one part of the data; all numbers are finite."""

    agent: str
    split: str
    """Part of the data, such as ``test``."""
    initial_equity: float
    """Quote currency."""
    final_equity: float
    """Quote currency."""
    cash_equity: float
    """What the final equity would be if all had been left in cash."""
    sharpe: float
    """Annual, net of costs."""
    excess_sharpe: float
    """The same of returns in excess of what idle cash earned."""
    sharpe_low: float
    """Lower end of the bootstrap interval of ``sharpe``."""
    sharpe_high: float
    """Upper end of it."""
    next_low: float
    """Lower end of the interval in which ``sharpe``, measured over the next window, will lie: a forecast."""
    next_high: float
    """Upper end of it."""
    growth: float
    """Log growth of equity per year in excess of that of cash."""
    growth_low: float
    """Lower end of the bootstrap interval of ``growth``."""
    max_drawdown: float
    """Fraction of the highest equity so far; zero or negative."""
    turnover: float
    """Notional traded per year over mean equity."""
    exposure: float
    """Mean over bars of the sum of the sizes of the positions over equity."""
    filled: float
    """Share of what was asked for that filled, by value."""
    costs: float
    """Fees, slippage and funding paid, quote currency."""
    share_of_optimal: float | None
    """Log growth over that of the record named ``optimal``; None where there is none or it did not grow, and for an
    account that lost everything."""
    trades: int
    """Fills."""
    psr: float
    """Probability that the true excess Sharpe ratio is above zero, if this were the only trial (form `FORM`)."""
    dsr: float
    """Probability that it is above what the best of all trials on the data set shows by luck (form `FORM`)."""
    trials: int
    """Configurations that were ever scored on the data set."""
    effective_trials: float | None
    """How many independent trials they are worth; None where that is not known."""


def leaderboard(
    records: Mapping[str, Record],
    split: str,
    *,
    level: float = LEVEL,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    luck: Luck | None = None,
    windows: int = 1,
) -> list[ScoreRow]:
    """Compare agents on the same bars.

    Parameters
    ----------
    records
        What each agent did, by name; one named ``optimal`` is the measure of `ScoreRow.share_of_optimal`.
    split
        Part of the data that they traded on.
    level, n_resamples, seed
        Of the Sharpe interval, as in `qframe_rl.evaluate.inference.bootstrap.bootstrap`; the seed is the same for all,
        so that records of the same length are resampled alike.
    luck
        What all trials on the data set say about luck; None = these records are the first trial.
    windows
        How many windows of equal length the records are made of; the next one that is forecast is as long.

    Returns
    -------
    list[ScoreRow]
        Highest excess Sharpe ratio first, then by name.
    """
    best = log_growth(records[OPTIMAL].worth) if OPTIMAL in records else 0.0
    luck = luck or Luck()
    rows = []
    for agent, record in records.items():
        figures, equity = metrics(record), record.worth
        of = moments(excess(record))
        ahead = next_window(record, windows).interval(bars_per_year(record), level)
        drawn, above = intervals(record, level=level, n_resamples=n_resamples, seed=seed)
        rows.append(
            ScoreRow(
                agent=agent,
                split=split,
                initial_equity=figures.initial_equity,
                final_equity=figures.final_equity,
                cash_equity=figures.cash_equity,
                sharpe=figures.sharpe,
                excess_sharpe=figures.excess_sharpe,
                sharpe_low=drawn.sharpe.low,
                sharpe_high=drawn.sharpe.high,
                next_low=ahead.low,
                next_high=ahead.high,
                growth=above.growth.estimate,
                growth_low=above.growth.low,
                max_drawdown=figures.max_drawdown,
                turnover=figures.turnover,
                exposure=figures.exposure,
                filled=figures.filled,
                costs=figures.costs,
                share_of_optimal=log_growth(equity) / best if best > 0.0 and equity[-1] > 0.0 else None,
                trades=figures.trades,
                psr=probabilistic_sharpe(of, 0.0, FORM),
                dsr=probabilistic_sharpe(of, luck.benchmark(of.n_bars), FORM),
                trials=luck.trials,
                effective_trials=luck.effective,
            )
        )
    return sorted(rows, key=lambda row: (-row["excess_sharpe"], row["agent"]))


def next_window(record: Record, windows: int = 1) -> Forecast:
    """Forecast the Sharpe ratio of the next window from a record of some windows of equal length."""
    parts = [part for part in np.array_split(returns(record.worth), windows) if len(part)]
    return forecast(parts, max(len(part) for part in parts)) if parts else Forecast(0.0, 0.0, math.inf)


def intervals(
    record: Record, *, level: float = LEVEL, n_resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Bootstrap, Bootstrap]:
    """Intervals of a record's figures, and of those in excess of cash: the same where cash earned nothing.

    Parameters
    ----------
    record
        What was scored.
    level, n_resamples, seed
        As in `qframe_rl.evaluate.inference.bootstrap.bootstrap`.

    Returns
    -------
    tuple
        Intervals of the returns themselves, and of those beyond what idle cash earned; twice the same object where cash
        earned nothing.
    """
    rate, frequency, cash = returns(record.worth), bars_per_year(record), cash_of(record)
    drawn = bootstrap(rate, frequency, level=level, n_resamples=n_resamples, seed=seed)
    if cash is None:
        return drawn, drawn
    return drawn, bootstrap(rate, frequency, cash=cash, level=level, n_resamples=n_resamples, seed=seed)


def unfilled(rows: Iterable[ScoreRow]) -> list[str]:
    """Say in a sentence each who was filled less than half of what it asked for."""
    return [
        f"{row['agent']} ({row['split']}) was filled {row['filled']:.0%} of what it asked for: its figures are those "
        "of smaller positions than it wanted."
        for row in rows
        if row["filled"] < _HALF
    ]


def cash_line(record: Record) -> str:
    """Say what idle cash earned over a record, in one sentence."""
    rate = metrics(record).cash_rate
    if rate == 0.0:
        return "Idle cash earns nothing (rate 0, see --risk-free): excess Sharpe ratios are the Sharpe ratios."
    return f"Idle cash earned {rate:.2%} a year; excess Sharpe ratios are of what was earned above it."


def render(rows: Iterable[ScoreRow], title: str = "", level: float = LEVEL) -> Group:
    """Lay rows out for a screen of 100 columns, in their order: what they came to, and under it how they traded.

    The column of splits is left out where all rows share one: say it in the title.

    Parameters
    ----------
    rows
        The leaderboard.
    title
        Line above the tables.
    level
        Level of the rows' intervals, for the heading.
    """
    from rich.console import Group

    rows = list(rows)
    optimal = any(row["share_of_optimal"] is not None for row in rows)
    results = ["equity", "Sharpe", "excess", f"{level:.0%} interval", "next window", "DSR", *["of opt."] * optimal]
    trading = ["max DD", "exposure", "filled", "turn./y", "costs", "fills"]
    return Group(
        _laid(rows, title, results, lambda row: _result(row, optimal)), _laid(rows, "", trading, _trading)
    )  # fmt: skip


def _laid(
    rows: Sequence[ScoreRow], title: str, headings: Sequence[str], cells: Callable[[ScoreRow], list[str]]
) -> Table:
    from rich import box
    from rich.table import Table

    several = len({row["split"] for row in rows}) > 1
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        padding=0 if several else (0, 1, 0, 0),
    )  # fmt: skip
    # Names alone may be folded onto a second line; numbers never are.
    table.add_column("agent", overflow="fold")
    if several:
        table.add_column("split", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["agent"], *[row["split"]] * several, *cells(row))
    return table


def _result(row: ScoreRow, optimal: bool) -> list[str]:
    share = row["share_of_optimal"]
    return [
        _money(row["final_equity"]),
        f"{row['sharpe']:+.2f}",
        f"{row['excess_sharpe']:+.2f}",
        f"{_wide(row['sharpe_low'])} … {_wide(row['sharpe_high'])}",
        f"{_wide(row['next_low'])} … {_wide(row['next_high'])}",
        f"{row['dsr']:.3f}",
        *(["-" if share is None else f"{share:.1%}"] * optimal),
    ]


def _trading(row: ScoreRow) -> list[str]:
    return [
        f"{row['max_drawdown']:.1%}",
        f"{row['exposure']:.0%}",
        f"{row['filled']:.0%}",
        f"{row['turnover']:,.1f}" if row["turnover"] < 1000.0 else f"{row['turnover']:,.0f}",
        _money(row["costs"]),
        f"{row['trades']:,}",
    ]


def _wide(ratio: float) -> str:
    """Write five characters, so that both ends of an interval line up."""
    return f"{ratio:+5.2f}" if abs(ratio) < 10.0 else f"{ratio:+5.1f}" if abs(ratio) < 100.0 else f"{ratio:+5.0f}"


def _money(amount: float) -> str:
    return f"{amount:,.2f}" if abs(amount) < 1e5 else f"{amount:,.0f}" if abs(amount) < 1e9 else f"{amount:.4g}"
