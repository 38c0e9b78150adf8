"""Price paths that might have been: bars rebuilt from resampled moves, and from models in which nothing can be known.

What is resampled is what bars *did* (their moves against the last mark, all instruments together), never prices: a
price row put elsewhere makes a return that no market made. Everything that is rebuilt is marked as synthetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import block_length, blocks
from qframe_rl.jit import compiled
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Float, History, Int, Source

MakePath = Callable[[int], History]
"""Makes path number n; the same number gives the same bits."""
NULLS = {
    "gbm": "geometric Brownian motion with the measured volatility",
    "garch": "GARCH(1, 1) with the measured residuals",
    "sign_flip": "the measured bars, each turned round by a coin",
}
_TURNED = [OPEN, LOW, HIGH, CLOSE]
"""Columns of a bar that is turned round: its low becomes its high."""


@dataclass(frozen=True, eq=False)
class BarMoves:
    """What T bars of A instruments did, apart from where prices stood."""

    history: History
    """The bars themselves."""
    logs: Float
    """(T, A, 4) log of open, high, low and close over the last mark; NaN where not traded."""
    due: Float
    """(T, A) funding as a share of the last mark."""
    start: Float
    """(A,) first price of a rebuilt path."""

    @property
    def close(self) -> Float:
        """(T, A) log return of each bar; 0 where not traded."""
        return np.nan_to_num(self.logs[:, :, CLOSE], nan=0.0)


class GarchFit(NamedTuple):
    """A GARCH(1, 1) of one instrument's returns."""

    omega: float
    alpha: float
    beta: float
    residuals: Float
    """(N,) standardised."""


def moves_of(history: History) -> BarMoves:
    """Take bars apart; the first one's move is counted from its own open."""
    opening = history.values[:, :, OPEN]
    before = np.vstack([opening[:1], history.marks[:-1]])
    # An instrument that has not traded yet has no mark: its first bar moves from its own open.
    before = np.where(np.isnan(before), opening, before)
    with np.errstate(invalid="ignore"):
        logs = np.log(history.values[:, :, :4] / before[:, :, None])
    due = np.nan_to_num(history.funding / before, nan=0.0)
    traded = ~np.isnan(opening)
    first = np.argmax(traded, axis=0)
    return BarMoves(history, logs, due, opening[first, np.arange(opening.shape[1])])


def resampled(moves: BarMoves, size: int, block: float, seed: int, path: int) -> History:
    """Rebuild ``size`` bars from blocks of moves, drawn alike for all instruments.

    Parameters
    ----------
    moves
        Of the measured bars.
    size
        Bars of the path.
    block
        Expected length of a block, bars, at least 1.
    seed, path
        Root of the randomness and number of the path: both together fix the bits.

    Returns
    -------
    History
        (size, A, C) bars, marked as synthetic.
    """
    rows = blocks(len(moves.logs), size, block, seed, path)
    return rebuilt(moves, rows, moves.logs[rows], f"block bootstrap {path}")


def sign_flipped(moves: BarMoves, size: int, block: float, seed: int, path: int) -> History:
    """Rebuild bars from blocks of moves, each bar turned round with probability one half, alike for all instruments.

    Ranges, volumes and clusters of volatility stay; no past says anything about the direction of the next bar.

    Parameters
    ----------
    moves, size, block, seed, path
        As in `resampled`.

    Returns
    -------
    History
        (size, A, C) bars, marked as synthetic; the mean of their simple returns is zero.
    """
    rows = blocks(len(moves.logs), size, block, seed, path)
    rng = np.random.default_rng([seed, path, 1])
    turned = rng.random(size) < 0.5
    logs = moves.logs[rows]
    logs[turned] = -logs[turned][:, :, _TURNED]
    return rebuilt(moves, rows, _driftless(logs), f"sign flip {path}")


def gbm(moves: BarMoves, size: int, seed: int, path: int) -> History:
    """Rebuild bars from independent normal moves with the measured covariance and no drift.

    Parameters
    ----------
    moves, size, seed, path
        As in `resampled`.

    Returns
    -------
    History
        (size, A, C) bars, marked as synthetic. Each opens where the last one closed; wicks, volumes and funding are
        those of measured bars drawn at random.
    """
    rng = np.random.default_rng([seed, path, 2])
    covariance = np.atleast_2d(np.cov(moves.close, rowvar=False))
    close = rng.multivariate_normal(np.zeros(len(covariance)), covariance, size, method="eigh")
    return _with_shapes(moves, close, rng, f"geometric Brownian motion {path}")


def garch(moves: BarMoves, fits: tuple[GarchFit, ...], size: int, seed: int, path: int) -> History:
    """Rebuild bars from a GARCH(1, 1) of each instrument with its own standardised residuals, and no drift.

    Residuals are drawn in whole rows, so that instruments move together.

    Parameters
    ----------
    moves, size, seed, path
        As in `resampled`.
    fits
        One of each instrument, from `fit_garch`.

    Returns
    -------
    History
        (size, A, C) bars, marked as synthetic. Each opens where the last one closed; wicks, volumes and funding are
        those of measured bars drawn at random.
    """
    rng = np.random.default_rng([seed, path, 3])
    rows = rng.integers(0, len(moves.logs), size)
    close = np.empty((size, len(fits)))
    for a, fit in enumerate(fits):
        _recursion(fit.omega, fit.alpha, fit.beta, np.ascontiguousarray(fit.residuals[rows]), close[:, a])
    return _with_shapes(moves, close, rng, f"GARCH {path}")


def fit_garch(moves: BarMoves) -> tuple[GarchFit, ...]:
    """Fit a GARCH(1, 1) to each instrument's returns by maximum likelihood (library ``arch``).

    Raises
    ------
    UserError
        If the fit of one of them does not converge.
    """
    from arch import arch_model

    fits = []
    for a, symbol in enumerate(moves.history.symbols):
        rate = moves.close[:, a]
        scale = float(rate.std()) or 1.0
        centred = (rate - rate.mean()) / scale
        model = arch_model(centred, mean="Zero", vol="GARCH", p=1, q=1, rescale=False)
        found = model.fit(disp="off", show_warning=False)
        if found.convergence_flag != 0:
            raise UserError(f"{moves.history.source.origin}: no GARCH fits {symbol}; leave this null model out.")
        omega, alpha, beta = (float(found.params[name]) for name in ("omega", "alpha[1]", "beta[1]"))
        residuals = np.asarray(found.std_resid, dtype=np.float64)
        fits.append(GarchFit(omega * scale**2, alpha, beta, residuals / residuals.std()))
    return tuple(fits)


def usual_block(moves: BarMoves, least: int = 1) -> float:
    """Choose an expected block length: the longest that the sizes of moves ask for, and ``least``.

    Sizes of moves cluster where their signs do not. A strategy sees its window across block ends; with blocks of twice
    its window or more, most of what it sees happened.
    """
    sizes = np.abs(moves.close)
    return max(float(least), *(block_length(column) for column in sizes.T))


def null_model(name: str, moves: BarMoves, size: int, block: float, seed: int) -> MakePath:
    """Look up a model in which no past says anything about the next bar's direction: one of `NULLS`.

    Parameters
    ----------
    name
        One of `NULLS`.
    moves, size, block, seed
        As in `resampled`; only ``sign_flip`` has blocks.

    Raises
    ------
    UserError
        If it does not fit the bars.
    """
    if name != "sign_flip" and not len(_shaped(moves)):
        raise UserError(
            f"{moves.history.source.origin}: in no bar did all of {', '.join(moves.history.symbols)} trade, so {name} "
            "has no shape of one; leave this null model out."
        )
    if name == "gbm":
        return partial(gbm, moves, size, seed)
    if name == "garch":
        return partial(garch, moves, fit_garch(moves), size, seed)
    return partial(sign_flipped, moves, size, block, seed)


def rebuilt(moves: BarMoves, rows: Int, logs: Float, name: str) -> History:
    """Put bars together from moves.

    Parameters
    ----------
    moves
        Where volumes, funding, cash rates and columns of the rows come from.
    rows
        (N,) rows of the moves.
    logs
        (N, A, 4) log open, high, low and close over the mark before.
    name
        What was done, for the data's origin.
    """
    history = moves.history
    values = history.values[rows]
    close = np.cumsum(np.nan_to_num(logs[:, :, CLOSE], nan=0.0), axis=0)
    before = moves.start * np.exp(np.vstack([np.zeros((1, close.shape[1])), close[:-1]]))
    values[:, :, :4] = before[:, :, None] * np.exp(logs)
    # Volume is in base units: what was traded is kept in money, as far as prices went elsewhere.
    marks = history.marks[rows]
    values[:, :, VOLUME] *= np.nan_to_num(marks / (before * np.exp(logs[:, :, CLOSE])), nan=1.0)
    return replace(
        history,
        time=history.time[0] + history.bar_ns * np.arange(len(rows), dtype=np.int64),
        values=values,
        funding=moves.due[rows] * before,
        final=np.zeros(before.shape, dtype=np.bool_),
        cash_rate=history.cash_rate[rows],
        source=Source(history.source.exchange, "synthetic", f"{name} of {history.source.origin}"),
        theory=None,
        finer=None,
        quarantine="not checked",
        suspects=(),
    )


def _with_shapes(moves: BarMoves, close: Float, rng: np.random.Generator, name: str) -> History:
    """Bars that open where the last one closed, with wicks, volumes and funding of bars drawn at random."""
    traded = _shaped(moves)
    rows = traded[rng.integers(0, len(traded), len(close))]
    drawn = moves.logs[rows]
    up = drawn[:, :, HIGH] - np.maximum(drawn[:, :, OPEN], drawn[:, :, CLOSE])
    down = np.minimum(drawn[:, :, OPEN], drawn[:, :, CLOSE]) - drawn[:, :, LOW]
    logs = np.zeros((*close.shape, 4))
    logs[:, :, CLOSE] = close
    logs = _driftless(logs)
    logs[:, :, HIGH] = np.maximum(logs[:, :, CLOSE], 0.0) + up
    logs[:, :, LOW] = np.minimum(logs[:, :, CLOSE], 0.0) - down
    return rebuilt(moves, rows, logs, name)


def _shaped(moves: BarMoves) -> Int:
    """Rows of the bars in which all instruments traded."""
    found: Int = np.flatnonzero(~np.isnan(moves.logs).any(axis=(1, 2)))
    return found


def _driftless(logs: Float) -> Float:
    """Shift log moves so that the mean of the simple returns is zero: holding earns nothing on average."""
    close = np.nan_to_num(logs[:, :, CLOSE], nan=0.0)
    shift = np.log(np.exp(close).mean(axis=0))
    # The open of a bar comes before most of its move; it stays where the last bar closed.
    logs[:, :, HIGH:] -= shift[:, None]
    top, bottom = (pick(logs[:, :, OPEN], logs[:, :, CLOSE]) for pick in (np.maximum, np.minimum))
    logs[:, :, HIGH] = np.maximum(logs[:, :, HIGH], top)
    logs[:, :, LOW] = np.minimum(logs[:, :, LOW], bottom)
    return logs


@compiled
def _recursion(omega: float, alpha: float, beta: float, residuals: Float, out: Float) -> None:
    persistence = alpha + beta
    variance = omega / (1.0 - persistence) if persistence < 1.0 else omega
    for t in range(len(residuals)):
        out[t] = math.sqrt(variance) * residuals[t]
        variance = omega + alpha * out[t] * out[t] + beta * variance
