"""Seeded markets made by generators: the embedded default with a known optimum, and others for stress.

Every generator is a configuration and a function of it; the same seed gives the same bits. What they make is marked as
synthetic wherever it is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from qframe_rl.config import Base, UserError, build, nearest
from qframe_rl.types import HOUR, YEAR, Bool, Float, History, Instrument, Source

START = 1_577_836_800_000_000_000
"""Open of the first bar: 2020-01-01 UTC."""


class Ar1Config(Base):
    """``ar1``: the embedded default market, whose optimal policy is known (ALGORITHMS, E2 realised as prices).

    A published signal f follows ``f' = phi f + e`` with standard deviation 1; the log return of the next bar is
    ``edge f + noise z``. What a bar will bring is the better part of what moves it, so the optimum is worth reaching
    and a learner can see it: with the defaults it is 0.70 x 10 bp a bar (`qframe_rl.theory.ar1_flip`).
    """

    phi: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Autocorrelation of the signal from bar to bar."""
    edge_bps: float = Field(default=10.0, gt=0.0, le=1e9)
    """Expected log return of the next bar at a signal of one, basis points."""
    noise_bps: float = Field(default=20.0, gt=0.0, le=1e9)
    """Standard deviation of the unpredictable part of a bar's log return, basis points."""
    taker_fee_bps: float = Field(default=9.0, ge=0.0, le=1e9)
    """Fee on notional, basis points; with a half-spread of 1 the cost of one unit of turnover is 10 bp."""


class GbmConfig(Base):
    """``gbm``: geometric Brownian motion; nothing can be predicted, flat is optimal net of costs."""

    drift: float = 0.0
    """Expected log return a year."""
    volatility: float = Field(default=0.8, gt=0.0, le=1e6)
    """Standard deviation of the log return a year."""


class OuConfig(Base):
    """``ou``: the log price is pulled back to a constant (Ornstein-Uhlenbeck); mean reversion pays."""

    half_life_bars: float = Field(default=24.0, gt=0.0, le=1e6)
    """Bars in which half of a deviation is gone."""
    deviation: float = Field(default=0.02, gt=0.0, le=1e6)
    """Stationary standard deviation of the log price."""


class RegimesConfig(Base):
    """``regimes``: the stylised facts, and no known optimum: for stress, not for scores.

    Drift and volatility follow a hidden Markov chain, log variance an AR(1) around it with a leverage effect, jumps
    come at Poisson times, and the funding rate follows the moving premium that recent returns leave behind.
    """

    n_instruments: int = Field(default=1, ge=1, le=64)
    """Number of perpetuals; they share the regime, and their shocks are correlated."""
    correlation: float = Field(default=0.6, ge=0.0, lt=1.0)
    """Correlation of the instruments' shocks."""
    volatility: float = Field(default=0.6, gt=0.0, le=1e6)
    """Standard deviation of the log return a year in the calm regime."""
    stay: float = Field(default=0.998, gt=0.0, lt=1.0)
    """Probability of staying in a regime for another bar."""
    jumps_per_year: float = Field(default=12.0, ge=0.0, le=1e6)
    """Expected number of jumps."""
    jump_size: float = Field(default=0.06, ge=0.0, le=1e6)
    """Standard deviation of a jump's log return."""


class CorrelatedConfig(Base):
    """``correlated``: several spot coins with one common factor; what can be won is diversification."""

    n_instruments: int = Field(default=4, ge=2, le=64)
    """Number of coins."""
    correlation: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Correlation of their log returns."""
    volatility: float = Field(default=0.8, gt=0.0, le=1e6)
    """Standard deviation of each log return a year."""
    drift: float = 0.2
    """Expected log return of each a year."""


class CarryConfig(Base):
    """``carry``: coins beside their perpetuals; what can be won is the funding, at the risk of the short's margin.

    A perpetual is its coin times a premium that follows an AR(1). Every eight bars the premium P of the last eight, on
    average, falls due as Binance computes it: ``P + clip(1 bp - P, -5 bp, 5 bp)``, capped at 0.3 %.
    """

    n_coins: int = Field(default=1, ge=1, le=32)
    """Number of coins, each with its perpetual behind it."""
    correlation: float = Field(default=0.6, ge=0.0, lt=1.0)
    """Correlation of the coins' log returns."""
    volatility: float = Field(default=0.6, gt=0.0, le=1e6)
    """Standard deviation of each coin's log return a year."""
    premium_bps: float = 2.0
    """Mean premium of a perpetual over its coin, basis points."""
    deviation_bps: float = Field(default=7.0, gt=0.0, le=1e9)
    """Stationary standard deviation of the premium, basis points."""
    half_life_bars: float = Field(default=72.0, gt=0.0, le=1e6)
    """Bars in which half of a premium's deviation is gone."""


class _Paths(NamedTuple):
    returns: Float
    """(T, A) log returns."""
    instruments: tuple[Instrument, ...]
    columns: dict[str, Float]
    """(T,) or (T, A) published channels."""
    funding_rate: Float | None
    """(T, A) rate that falls due in each bar."""
    theory: dict[str, float] | None


def synthetic(name: str, n_bars: int = 30_000, seed: int = 0, bar_ns: int = HOUR, **params: Any) -> History:
    """Make a market.

    Parameters
    ----------
    name
        ``ar1``, ``gbm``, ``ou``, ``regimes``, ``correlated`` or ``carry``; parameters may follow, as in
        ``gbm,volatility=0.5``.
    n_bars
        Number of bars.
    seed
        Root of its randomness.
    bar_ns
        Length of a bar: it scales what is stated by the year; what is stated by the bar stays.
    **params
        Fields of the generator's configuration.

    Raises
    ------
    UserError
        For an unknown name or parameter.
    """
    name, *given = name.split(",")
    if name not in GENERATORS:
        raise UserError(f"unknown synthetic market {name!r}{nearest(name, GENERATORS)}")
    model, make = GENERATORS[name]
    written = dict(_assignment(text, name) for text in given)
    config = build(model, written | params, f"synthetic:{name}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *name.encode()])))
    return _history(make(config, n_bars, rng, YEAR / bar_ns), ",".join([name, *given]), n_bars, bar_ns, rng)


def _assignment(text: str, name: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"synthetic:{name}: {text!r} is not KEY=VALUE.")
    return key, value


def _history(paths: _Paths, origin: str, n_bars: int, bar_ns: int, rng: np.random.Generator) -> History:
    """Put plausible bars around closes: open at the last close, wicks of half a bar's move, log-normal volume."""
    n = len(paths.instruments)
    close = 100.0 * np.exp(np.cumsum(paths.returns, axis=0))
    opening = np.concatenate([np.full((1, n), 100.0), close[:-1]])
    size = paths.returns.std(axis=0)
    wicks = 0.5 * size * np.abs(rng.standard_normal((2, n_bars, n)))
    volume = 1e12 / close * np.exp(0.5 * rng.standard_normal((n_bars, n)) + np.abs(paths.returns) / size)
    channels = [
        opening,
        np.maximum(opening, close) * np.exp(wicks[0]),
        np.minimum(opening, close) * np.exp(-wicks[1]),
        close,
        volume,
        *(np.broadcast_to(c.reshape(n_bars, -1), (n_bars, n)) for c in paths.columns.values()),
    ]
    due = np.zeros((n_bars, n)) if paths.funding_rate is None else paths.funding_rate * opening
    return History(
        instruments=paths.instruments,
        bar_ns=bar_ns,
        time=START + bar_ns * np.arange(1, n_bars + 1, dtype=np.int64),
        values=np.ascontiguousarray(np.stack(channels, axis=-1)),
        funding=due,
        final=np.zeros((n_bars, n), dtype=np.bool_),
        source=Source("synthetic", "synthetic", f"synthetic:{origin}"),
        columns=tuple(paths.columns),
        theory=paths.theory,
    )


def _ar1(config: Ar1Config, n_bars: int, rng: np.random.Generator, per_year: float) -> _Paths:
    signal = _autoregression(config.phi, rng.standard_normal(n_bars + 1))
    noise = config.noise_bps * rng.standard_normal(n_bars)
    returns = (config.edge_bps * signal[:-1] + noise)[:, None] / 1e4
    fee = config.taker_fee_bps / 1e4
    coin = Instrument("AR1/USDT:USDT", "perpetual", maker_fee=fee, taker_fee=fee, maintenance=0.005)
    theory = {"phi": config.phi, "edge": config.edge_bps / 1e4}
    return _Paths(returns, (coin,), {"signal": signal[1:]}, None, theory)


def _autoregression(phi: float, shocks: Float) -> Float:
    """Stationary AR(1) with standard deviation 1 from (T, ...) standard normal shocks."""
    path = np.empty_like(shocks)
    path[0] = shocks[0]
    spread = math.sqrt(1.0 - phi * phi)
    for t in range(1, len(shocks)):
        path[t] = phi * path[t - 1] + spread * shocks[t]
    return path


def _gbm(config: GbmConfig, n_bars: int, rng: np.random.Generator, per_year: float) -> _Paths:
    sigma = config.volatility / math.sqrt(per_year)
    returns = config.drift / per_year + sigma * rng.standard_normal((n_bars, 1))
    return _Paths(returns, (_spot("GBM/USDT"),), {}, None, None)


def _ou(config: OuConfig, n_bars: int, rng: np.random.Generator, per_year: float) -> _Paths:
    phi = 0.5 ** (1.0 / config.half_life_bars)
    level = config.deviation * _autoregression(phi, rng.standard_normal(n_bars + 1))
    coin = Instrument("OU/USDT:USDT", "perpetual", maker_fee=2e-4, taker_fee=5e-4, maintenance=0.005)
    return _Paths(np.diff(level)[:, None], (coin,), {}, None, None)


def _correlated(config: CorrelatedConfig, n_bars: int, rng: np.random.Generator, per_year: float) -> _Paths:
    shocks = _common(config.correlation, config.n_instruments, n_bars, rng)
    sigma = config.volatility / math.sqrt(per_year)
    coins = tuple(_spot(f"COIN{a}/USDT") for a in range(config.n_instruments))
    return _Paths(config.drift / per_year + sigma * shocks, coins, {}, None, None)


def _common(correlation: float, n: int, n_bars: int, rng: np.random.Generator) -> Float:
    """(T, A) standard normal shocks with equal pairwise correlation."""
    factor, own = rng.standard_normal((n_bars, 1)), rng.standard_normal((n_bars, n))
    return math.sqrt(correlation) * factor + math.sqrt(1.0 - correlation) * own


def _carry(config: CarryConfig, n_bars: int, rng: np.random.Generator, per_year: float) -> _Paths:
    n = config.n_coins
    coins = config.volatility / math.sqrt(per_year) * _common(config.correlation, n, n_bars, rng)
    path = _autoregression(0.5 ** (1.0 / config.half_life_bars), rng.standard_normal((n_bars + 1, n)))
    premium = (config.premium_bps + config.deviation_bps * path) / 1e4
    # Each coin is followed by its perpetual; a coin pays no funding.
    returns, rate = np.empty((n_bars, 2 * n)), np.zeros((n_bars, 2 * n))
    returns[:, 0::2], returns[:, 1::2] = coins, coins + np.diff(np.log1p(premium), axis=0)
    rate[:, 1::2] = _premium_rate(premium[:-1])
    pairs = [f"COIN{a}/USDT" for a in range(n)]
    legs = tuple(leg for pair in pairs for leg in (_spot(pair), _perpetual(f"{pair}:USDT")))
    return _Paths(returns, legs, {"funding_rate": _last_seen(rate)}, rate, None)


def _premium_rate(premium: Float) -> Float:
    """(T, A) rates due every eight bars, by the premium at the opens of the eight bars before; 0 in the first eight."""
    total = np.cumsum(premium, axis=0)
    mean = np.zeros_like(premium)
    mean[8:] = (total[7:-1] - np.concatenate([np.zeros((1, premium.shape[1])), total[:-9]])) / 8.0
    rate = np.clip(mean + np.clip(1e-4 - mean, -5e-4, 5e-4), -3e-3, 3e-3)
    settled = np.arange(len(rate)) % 8 == 0
    settled[0] = False
    return np.where(settled[:, None], rate, 0.0)


# Drift a year and volatility multiplier of each regime: calm, bull, bear, turmoil.
_REGIMES = np.array([(0.1, 1.0), (1.0, 1.2), (-1.2, 1.6), (-0.5, 3.0)])


def _regimes(config: RegimesConfig, n_bars: int, rng: np.random.Generator, per_year: float) -> _Paths:
    n = config.n_instruments
    moves = rng.random(n_bars) > config.stay
    regime = np.cumsum(np.where(moves, rng.integers(1, len(_REGIMES), n_bars), 0)) % len(_REGIMES)
    shocks = _common(config.correlation, n, n_bars, rng)
    log_variance = _autoregression(0.98, rng.standard_normal((n_bars, n)) - 0.3 * shocks)
    sigma = config.volatility * _REGIMES[regime, 1:] * np.exp(0.35 * log_variance) / math.sqrt(per_year)
    jumping: Bool = rng.random((n_bars, n)) < config.jumps_per_year / per_year
    jumps = np.where(jumping, config.jump_size * rng.standard_normal((n_bars, n)), 0.0)
    returns = _REGIMES[regime, :1] / per_year + sigma * shocks + jumps
    rate = _funding(returns)
    coins = tuple(_perpetual(f"SYN{a}/USDT:USDT") for a in range(n))
    return _Paths(returns, coins, {"funding_rate": _last_seen(rate)}, rate, None)


def _funding(returns: Float) -> Float:
    """(T, A) rates due every eight bars: 1 bp plus a premium that follows the last day's returns, capped at ±0.3 %."""
    lagged = np.concatenate([np.zeros((1, returns.shape[1])), returns[:-1]])
    drift = np.cumsum(lagged, axis=0)
    day = drift - np.concatenate([np.zeros((24, returns.shape[1])), drift[:-24]])
    rate: Float = np.clip(1e-4 + 0.01 * day, -3e-3, 3e-3)
    return np.where(np.arange(len(rate))[:, None] % 8 == 0, rate, 0.0)


def _last_seen(rate: Float) -> Float:
    """(T, A) the rate that was settled last, every eighth row being a settlement."""
    return rate[np.arange(len(rate)) // 8 * 8]


def _spot(symbol: str) -> Instrument:
    return Instrument(symbol, "spot", lot=1e-6, tick=0.01, min_notional=5.0, maker_fee=1e-3, taker_fee=1e-3)


def _perpetual(symbol: str) -> Instrument:
    return Instrument(symbol, "perpetual", maker_fee=2e-4, taker_fee=5e-4, maintenance=0.01)


GENERATORS: dict[str, tuple[type[Base], Callable[..., _Paths]]] = {
    "ar1": (Ar1Config, _ar1),
    "gbm": (GbmConfig, _gbm),
    "ou": (OuConfig, _ou),
    "regimes": (RegimesConfig, _regimes),
    "correlated": (CorrelatedConfig, _correlated),
    "carry": (CarryConfig, _carry),
}
