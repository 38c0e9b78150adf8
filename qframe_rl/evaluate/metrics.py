"""What a record earned, risked, traded and paid.

Everything is computed from a `Record` alone. Its row 0 is the state before the first bar, so N rows hold N - 1 bars.
Statistics of returns are those of simple returns per bar. Those of the excess are of what a bar returned above what
idle cash earned in it, which is the same where cash earns nothing. They become annual by the calendar: `per_year`
counts the bars that there were in the time from the first close to the last, for data have gaps and some markets close.

A ratio whose denominator is zero is 0, and so every number here is finite: a flat record has Sharpe, Sortino, Calmar
and tail ratio 0, and the moments of a normal distribution (skew 0, kurtosis 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qframe_rl.evaluate.fills import gained, traded, trades
from qframe_rl.types import DAY, YEAR, Float, Int, Record

ROUNDING = 1e-14
"""A per-bar volatility or a drawdown below this is the rounding of equity, and counts as zero."""
_LEFT = 1e-9
FASTEST = math.log(1e6)
"""Growth of log equity per year above which a compound return says only that the record is short."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one record, net of all costs; shares and rates are fractions, money is in the quote currency."""

    bars: int
    """Number of bars traded."""
    years: float
    """Time from the first close to the last in years of 365 days."""
    initial_equity: float
    """Equity before the first bar, quote currency."""
    final_equity: float
    """What the first equity has become after the last bar, quote currency: what was paid in or out is no part of it."""
    total_return: float
    """Final over initial equity, less 1."""
    annual_return: float
    """Compound return per year, at most 1e6; -1 once equity is gone, 0 without a bar."""
    volatility: float
    """Standard deviation (n - 1) of returns, annual."""
    sharpe: float
    """Mean over standard deviation of returns, annual."""
    excess_sharpe: float
    """The same of returns in excess of what idle cash earned."""
    cash_rate: float
    """What idle cash earned, compound, per year."""
    cash_equity: float
    """Final equity if all had been left in cash, quote currency."""
    sortino: float
    """Mean return over the root mean square of the negative ones (over all bars), annual."""
    calmar: float
    """Annual return over the size of the maximum drawdown."""
    max_drawdown: float
    """Deepest fall of equity below its highest value so far, fraction of that value; zero or negative."""
    max_drawdown_bars: int
    """Bars from the peak before the deepest fall until equity was back at it, or until the end."""
    max_drawdown_days: float
    """Time from the close of that peak until then, days."""
    tail_ratio: float
    """Size of the 95th over size of the 5th percentile of returns."""
    skew: float
    """Third standardised moment of returns."""
    kurtosis: float
    """Fourth standardised moment of returns; 3 for a normal distribution."""
    best_bar: float
    """Highest return of a bar."""
    worst_bar: float
    """Lowest return of a bar."""
    hit_rate: float
    """Bars with a gain as a share of the bars with a gain or a loss."""
    turnover: float
    """Notional traded per year over mean equity before each bar; a position opened and closed counts twice, a forced
    close once."""
    exposure: float
    """Mean over bars of gross exposure at the close: sum of the sizes of the positions over equity."""
    net_exposure: float
    """Mean over bars of net exposure at the close: signed sum of the positions over equity."""
    time_in_market: float
    """Share of bars that closed with a position."""
    filled: float
    """Share of what was asked for that filled, by value; 1 where nothing was asked. An order that repeats what the bar
    before left unfilled asks for no more."""
    trades: int
    """Number of fills: orders that were filled at least in part, counted per bar and instrument."""
    forced_closes: int
    """Positions closed by the venue: liquidation, or the last bar of an instrument."""
    fees: float
    """Fees paid to the exchange, liquidation fees included."""
    spread: float
    """Lost to the half-spread."""
    impact: float
    """Lost to market impact."""
    funding: float
    """Funding paid; negative = received."""
    interest: float
    """Earned by idle cash; no part of the costs."""
    costs: float
    """Fees, spread, impact and funding together."""
    absorbed: float
    """Loss beyond the account's equity that the venue bore."""


class Attribution(NamedTuple):
    """Where the change in equity of each bar came from; quote currency, (N - 1,) or a total.

    ``change = price - fees - slippage - funding + interest + absorbed + residual``.
    """

    change: Float
    """Equity after the bar less equity before it, and less what was paid in between."""
    price: Float
    """Price moves: of what was held, from mark to mark; of what was traded, from its price before slippage to the mark,
    or, for a forced close, to the price of the close."""
    fees: Float
    """Fees paid."""
    slippage: Float
    """Lost to half-spread and impact."""
    funding: Float
    """Funding paid; negative = received."""
    interest: Float
    """Earned by idle cash."""
    absorbed: Float
    """Loss beyond equity that the venue bore."""
    residual: Float
    """What the other terms leave unexplained; zero up to rounding."""

    def total(self) -> Attribution:
        """Sum of each term over the bars."""
        return Attribution(*(np.sum(term, axis=0) for term in self))


def per_year(n_bars: int, years: float) -> float:
    """Bars in a year of 365 days, of ``n_bars`` in ``years``: 8760 for hours without a gap; 1 where there is none."""
    return n_bars / years if n_bars else 1.0


def bars_per_year(record: Record) -> float:
    """Bars in a year at the density of a record."""
    return per_year(len(record) - 1, record.years)


def years_between(first: int, last: int) -> float:
    """Years of 365 days between two times, ns."""
    return (last - first) / YEAR


def returns(equity: Float) -> Float:
    """Take simple returns of a series of equities.

    Parameters
    ----------
    equity
        (N,) quote currency.

    Returns
    -------
    Float
        (N - 1,) change over the value before; 0 from where equity was gone.
    """
    before = equity[:-1]
    return np.divide(np.diff(equity), before, out=np.zeros(len(before)), where=before > 0.0)


def excess(record: Record) -> Float:
    """(N - 1,) returns less what idle cash earned in the same bars."""
    return returns(record.worth) - record.cash_rate[1:]


def beside(record: Record, other: Record) -> Float:
    """(n,) growth of an account over that of another on the same bars, less 1, as long as one of the two lives.

    A loss of everything counts as one of all but a billionth; what is gone stays as it is.
    """
    n = max(len(record), len(other))
    grown = np.ones((2, n - 1))
    for row, equity in zip(grown, (record.account.equity, other.account.equity), strict=True):
        row[: len(equity) - 1] = np.maximum(1.0 + returns(equity), _LEFT)
    against: Float = grown[0] / grown[1] - 1.0
    return against


def cash_of(record: Record) -> Float | None:
    """(N - 1,) what idle cash earned in each bar; None where it earned nothing."""
    return record.cash_rate[1:] if record.cash_rate[1:].any() else None


def by_day(rates: Float, time: Int) -> Float:
    """(D, N) sums of (T, N) returns over UTC days; ``time`` has the closes of the T bars, ns UTC."""
    day = (time - 1) // DAY
    starts = np.flatnonzero(np.concatenate([[True], np.diff(day) != 0]))
    return np.asarray(np.add.reduceat(rates, starts, axis=0))


def drawdown(equity: Float) -> Float:
    """(N,) equity below its highest value so far, fraction of that value; zero or negative."""
    peak = np.maximum.accumulate(equity)
    return np.divide(equity - peak, peak, out=np.zeros(len(equity)), where=peak > 0.0)


def volatility(rate: Float) -> float:
    """Return the standard deviation (n - 1) of (n,) returns: 0 for fewer than two, or where it is but rounding."""
    deviation = float(np.std(rate, ddof=1)) if len(rate) > 1 else 0.0
    return deviation if deviation > ROUNDING else 0.0


def sharpe(rate: Float, per_year: float) -> float:
    """Sharpe ratio.

    Parameters
    ----------
    rate
        (n,) returns per bar.
    per_year
        Bars in a year, as from `per_year`; 1 gives the ratio per bar.

    Returns
    -------
    float
        Mean over standard deviation (n - 1), times the root of ``per_year``; 0 where the deviation is zero.
    """
    deviation = volatility(rate)
    return float(np.mean(rate)) / deviation * math.sqrt(per_year) if deviation > 0.0 else 0.0


def sortino(rate: Float, per_year: float) -> float:
    """Sortino ratio: mean over the root mean square of min(return, 0) over all (n,) bars; 0 where there is no loss."""
    downside = math.sqrt(float(np.mean(np.minimum(rate, 0.0) ** 2))) if len(rate) else 0.0
    return float(np.mean(rate)) / downside * math.sqrt(per_year) if downside > ROUNDING else 0.0


def tail_ratio(rate: Float) -> float:
    """Size of the 95th over size of the 5th percentile of (n,) returns; 0 where the latter is zero."""
    if len(rate) == 0:
        return 0.0
    high, low = np.abs(np.quantile(rate, [0.95, 0.05]))
    return float(high / low) if low > ROUNDING else 0.0


def skew_and_kurtosis(rate: Float) -> tuple[float, float]:
    """Third and fourth standardised (population) moments of (n,) returns; 0 and 3 where they do not vary."""
    if volatility(rate) == 0.0:
        return 0.0, 3.0
    z = (rate - rate.mean()) / rate.std()
    return float(np.mean(z**3)), float(np.mean(z**4))


def compound(log_growth: Float, years: float) -> Float:
    """Turn log growth over ``years`` into a compound return per year: from -1 to 1e6, and 0 for no years."""
    if years <= 0.0:
        return np.zeros_like(log_growth)
    yearly: Float = np.expm1(np.minimum(log_growth / years, FASTEST))
    return yearly


def ledger(record: Record) -> Attribution:
    """Take each bar's change in equity apart.

    Positions are followed through fills and forced closes and never read off cash, so the residual tests both the money
    and the books: a fill that did not reach the position, or cash that moved without a reason, shows in it.

    Returns
    -------
    Attribution
        Terms of (N - 1,).
    """
    fills = type(record.fills).made(field[1:] for field in record.fills.sums)
    held, before, mark = record.account.position[:-1], record.account.mark[:-1], record.account.mark[1:]
    moved = np.where(held != 0.0, held * (mark - before), 0.0)
    closed = np.where(fills.forced != 0.0, fills.forced * (mark - fills.forced_price), 0.0)
    change = np.diff(record.account.equity) - (record.flow[1:] if len(record.flow) else 0.0)
    price = (moved + gained(record, mark) + closed).sum(axis=1)
    fees, slippage, funding = (field.sum(axis=1) for field in (fills.fee, fills.slippage, fills.funding))
    residual = change - (price - fees - slippage - funding + fills.interest + fills.absorbed)
    return Attribution(change, price, fees, slippage, funding, fills.interest, fills.absorbed, residual)


def unexplained(record: Record) -> float:
    """Largest cumulative residual of the `ledger` as a share of the highest equity; rounding leaves some 1e-12."""
    equity = float(record.account.equity.max())
    drift = np.abs(np.cumsum(ledger(record).residual)).max(initial=0.0)
    return float(drift) / equity if equity > 0.0 else float(drift)


def notional(record: Record) -> Float:
    """(N - 1,) notional that each bar traded, forced closes included, quote currency."""
    fills = record.fills
    value: Float = traded(record) + np.abs(fills.forced) * fills.forced_price
    total: Float = value[1:].sum(axis=1)
    return total


def metrics(record: Record) -> Metrics:
    """Figures of a record.

    Parameters
    ----------
    record
        N rows of one account; a record of row 0 alone has no bar, and every figure of bars is 0.

    Returns
    -------
    Metrics
        All finite.
    """
    equity = record.worth
    rate = returns(equity)
    years, frequency = record.years, bars_per_year(record)
    annual = float(compound(np.array(log_growth(equity)), years))
    depth, peak, back = _deepest(drawdown(equity))
    cash = float(np.log1p(record.cash_rate[1:]).sum())
    skew, kurtosis = skew_and_kurtosis(rate)
    decided = int(np.count_nonzero(rate))
    exposure = record.account.exposure[1:]
    fees, slippage, funding, interest, absorbed = (float(term) for term in ledger(record).total()[2:7])
    return Metrics(
        bars=len(rate),
        years=years,
        initial_equity=float(equity[0]),
        final_equity=float(equity[-1]),
        total_return=float(equity[-1] / equity[0] - 1.0) if equity[0] > 0.0 else 0.0,
        annual_return=annual,
        volatility=volatility(rate) * math.sqrt(frequency),
        sharpe=sharpe(rate, frequency),
        excess_sharpe=sharpe(excess(record), frequency),
        cash_rate=float(compound(np.array(cash), years)),
        cash_equity=float(equity[0]) * math.exp(cash),
        sortino=sortino(rate, frequency),
        calmar=annual / -depth if depth < 0.0 else 0.0,
        max_drawdown=depth,
        max_drawdown_bars=back - peak,
        max_drawdown_days=float(record.time[back] - record.time[peak]) / DAY,
        tail_ratio=tail_ratio(rate),
        skew=skew,
        kurtosis=kurtosis,
        best_bar=float(rate.max()) if len(rate) else 0.0,
        worst_bar=float(rate.min()) if len(rate) else 0.0,
        hit_rate=int(np.count_nonzero(rate > 0.0)) / decided if decided else 0.0,
        turnover=_turnover(record, equity, years),
        exposure=_mean(np.abs(exposure).sum(axis=1)),
        net_exposure=_mean(exposure.sum(axis=1)),
        time_in_market=_mean((record.account.position[1:] != 0.0).any(axis=1).astype(np.float64)),
        filled=_filled(record),
        trades=trades(record),
        forced_closes=int(np.count_nonzero(record.fills.forced[1:])),
        fees=fees,
        spread=float(record.fills.spread.sum()),
        impact=float(record.fills.impact.sum()),
        funding=funding,
        interest=interest,
        costs=fees + slippage + funding,
        absorbed=absorbed,
    )


def log_growth(equity: Float) -> float:
    """Log of the last over the first of (N,) equities; minus infinity once equity is gone, 0 if there was none."""
    if equity[0] <= 0.0:
        return 0.0
    return math.log(equity[-1] / equity[0]) if equity[-1] > 0.0 else -math.inf


def _deepest(falls: Float) -> tuple[float, int, int]:
    """Deepest of (N,) falls, and the rows of its peak and of when equity was back there, or of the end."""
    trough = int(np.argmin(falls))
    if falls[trough] > -ROUNDING:
        return 0.0, 0, 0
    peak = int(np.flatnonzero(falls[: trough + 1] == 0.0)[-1])
    back = np.flatnonzero(falls[trough:] == 0.0)
    return float(falls[trough]), peak, trough + int(back[0]) if len(back) else len(falls) - 1


def _filled(record: Record) -> float:
    """Share of what was asked for that filled; each instrument's units are worth its mean mark."""
    asked, got, mark = record.orders.quantity[1:], record.fills.quantity[1:], record.account.mark
    known = np.isfinite(mark)
    worth = np.where(known, mark, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    size, left = np.abs(asked), asked - got
    open_before = np.zeros_like(asked)
    open_before[1:] = np.where(np.sign(left[:-1]) == np.sign(asked[1:]), np.abs(left[:-1]), 0.0)
    total = float(np.maximum(size - open_before, 0.0).sum(axis=0) @ worth)
    return min(float(np.abs(got).sum(axis=0) @ worth) / total, 1.0) if total > 0.0 else 1.0


def _turnover(record: Record, equity: Float, years: float) -> float:
    """Notional traded per year over mean equity before each bar."""
    capital = _mean(equity[:-1])
    return float(notional(record).sum()) / capital / years if capital > 0.0 else 0.0


def _mean(values: Float) -> float:
    return float(values.mean()) if len(values) else 0.0
