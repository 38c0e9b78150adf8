"""Where a market maker should quote.

Sources: Cartea, Jaimungal & Penalva, Algorithmic and High-Frequency Trading (2015), section 10.2 (quotes and value in
continuous time); Avellaneda & Stoikov, High-frequency trading in a limit order book, Quantitative Finance 8 (2008),
equations 29 and 30 (quotes by reservation price); Guéant, Lehalle & Fernandez-Tapia, Dealing with the inventory risk,
Mathematics and Financial Economics 7 (2013), theorem 1 and proposition 3 (exact and asymptotic quotes under exponential
utility). Market orders arrive on each side at a rate ``intensity``; one
reaches a quote at distance d from the mid price with probability exp(-k d).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float

FILL_MODELS = ("poisson", "linear")
"""``poisson``: a fill in dt has probability 1 - exp(-rate dt), which is exact for one fill a step; ``linear``: rate dt,
at most 1, as in the simulation of Avellaneda & Stoikov."""
_SWEEPS, _HALVINGS = 40, 80
_TERMS = 24
"""Of the exponential of a matrix of norm 1."""


class QuotingParams(NamedTuple):
    """The constants of the problem; the defaults are those of the tests."""

    intensity: float = 140.0
    """Market orders on each side per unit of time."""
    decay: float = 1.5
    """k: how fast fills thin out with the distance of the quote, per unit of price."""
    horizon: float = 1.0
    """Length of an episode in units of time."""
    n_steps: int = 200
    """Quotes are renewed so many times in an episode."""
    running: float = 0.2
    """phi: penalty on the square of the inventory, per unit of time."""
    terminal: float = 0.001
    """alpha: penalty on the square of the final inventory."""
    limit: int = 10
    """Largest inventory, units; a side that would exceed it is not quoted."""
    fill_model: str = "poisson"
    """One of `FILL_MODELS`."""

    @property
    def arrivals(self) -> float:
        """Market orders on each side in a step."""
        return self.intensity * self.horizon / self.n_steps


class Quotes(NamedTuple):
    """Optimal quotes of the discrete problem. Inventories run from -limit to limit along the last axis."""

    value: Float
    """(n_steps + 1, 2 limit + 1) expected reward still to come."""
    ask: Float
    """(n_steps, 2 limit + 1) distance of the ask above the mid price; infinite at -limit."""
    bid: Float
    """(n_steps, 2 limit + 1) distance of the bid below the mid price; infinite at limit."""


@inlined
def fill_probability(distance: float, arrivals: float, decay: float, linear: bool) -> float:
    """Probability that a quote is filled in a step in which ``arrivals`` orders come on average.

    Parameters
    ----------
    distance
        Of the quote from the mid price.
    arrivals
        Market orders that come to its side in a step, on average.
    decay
        k, per unit of price.
    linear
        The ``linear`` model of `FILL_MODELS`, else ``poisson``.
    """
    rate = arrivals * math.exp(-decay * distance)
    return min(rate, 1.0) if linear else -math.expm1(-rate)


@inlined
def _best(worth: float, arrivals: float, decay: float, linear: bool) -> float:
    """Distance that maximises ``p(d) (d + worth)``.

    The derivative vanishes where ``d + worth`` equals p / -p', which falls in d; for a linear fill model it is 1 / k as
    long as p < 1.
    """
    if linear:
        return max(1.0 / decay - worth, math.log(arrivals) / decay)
    low, high = -worth, -worth + 1.0 / decay
    while math.expm1(arrivals * math.exp(-decay * high)) / (decay * arrivals * math.exp(-decay * high)) > high + worth:
        high += 1.0 / decay
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        rate = arrivals * math.exp(-decay * middle)
        if math.expm1(min(rate, 500.0)) / (decay * rate) > middle + worth:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@compiled
def _backward(
    value: Float, ask: Float, bid: Float, arrivals: float, decay: float, linear: bool, running: float
) -> None:
    """Fill in values and quotes from the last step to the first.

    Both sides can fill in one step, so the best ask depends a little on the bid: each is chosen given the other until
    neither moves.
    """
    n_steps, n = ask.shape
    limit = n // 2
    for t in range(n_steps - 1, -1, -1):
        for i in range(n):
            here = value[t + 1, i]
            down = value[t + 1, i - 1] - here if i > 0 else 0.0
            up = value[t + 1, i + 1] - here if i < n - 1 else 0.0
            cross = -(down + up) if 0 < i < n - 1 else 0.0
            a, b, pa, pb = math.inf, math.inf, 0.0, 0.0
            for _ in range(_SWEEPS):
                was = pa + pb
                if i > 0:
                    a = _best(down + pb * cross, arrivals, decay, linear)
                    pa = fill_probability(a, arrivals, decay, linear)
                if i < n - 1:
                    b = _best(up + pa * cross, arrivals, decay, linear)
                    pb = fill_probability(b, arrivals, decay, linear)
                if abs(pa + pb - was) < 1e-15:
                    break
            ask[t, i], bid[t, i] = a, b
            gain = pa * pb * cross
            if i > 0:
                gain += pa * (a + down)
            if i < n - 1:
                gain += pb * (b + up)
            value[t, i] = here + gain - running * (i - limit) ** 2


def discrete(terms: QuotingParams) -> Quotes:
    """Solve the discrete problem by backward induction: at most one fill a side and step, quotes on a continuum.

    The inventory before the step's fills pays the running penalty.
    """
    t, n = terms, 2 * terms.limit + 1
    value, ask, bid = np.zeros((t.n_steps + 1, n)), np.zeros((t.n_steps, n)), np.zeros((t.n_steps, n))
    value[-1] = -t.terminal * np.arange(-t.limit, t.limit + 1) ** 2
    penalty = t.running * t.horizon / t.n_steps
    _backward(value, ask, bid, t.arrivals, t.decay, t.fill_model == "linear", penalty)
    return Quotes(value, ask, bid)


def continuous(terms: QuotingParams, left: float) -> Float:
    """(2 limit + 1,) expected reward h(q) still to come in continuous time (their equation 10.14).

    Parameters
    ----------
    terms
        The problem; ``n_steps`` and ``fill_model`` play no part.
    left
        Time left, in units of time.
    """
    t = terms
    q = np.arange(-t.limit, t.limit + 1)
    side = np.full(2 * t.limit, t.intensity * math.exp(-1.0))
    rate, vectors = np.linalg.eigh(np.diag(-t.running * t.decay * q**2) + np.diag(side, 1) + np.diag(side, -1))
    start = vectors.T @ np.exp(-t.terminal * t.decay * q**2)
    return np.asarray(np.log(vectors @ (np.exp(rate * left) * start)) / t.decay)


def continuous_quotes(terms: QuotingParams, left: float) -> tuple[Float, Float]:
    """(2 limit + 1,) distances of ask and bid in continuous time; infinite where the limit forbids a fill."""
    h = continuous(terms, left)
    ask, bid = np.full_like(h, np.inf), np.full_like(h, np.inf)
    ask[1:] = 1.0 / terms.decay - h[:-1] + h[1:]
    bid[:-1] = 1.0 / terms.decay - h[1:] + h[:-1]
    return ask, bid


def avellaneda_stoikov(
    inventory: Float, left: Float, aversion: float, volatility: float, decay: float
) -> tuple[Float, Float]:
    """Distances of ask and bid from the mid price for exponential utility.

    The quotes lie ``aversion volatility² left / 2 + log(1 + aversion / k) / aversion`` around the reservation price
    ``mid - inventory aversion volatility² left``.

    Parameters
    ----------
    inventory
        Units held; any shape that broadcasts with ``left``.
    left
        Time left.
    aversion
        Absolute risk aversion, above zero.
    volatility
        Of the mid price, per square root of time.
    decay
        k, per unit of price.

    Returns
    -------
    tuple
        Distance of the ask above the mid price, and of the bid below it, in units of price; a negative one crosses the
        mid.
    """
    risk = aversion * volatility**2 * np.asarray(left)
    half = 0.5 * risk + math.log1p(aversion / decay) / aversion
    return half - inventory * risk, half + inventory * risk


def average_spread(aversion: float, volatility: float, decay: float, horizon: float) -> float:
    """Mean over time of the spread of `avellaneda_stoikov`: what their symmetric benchmark quotes around the mid.

    Parameters
    ----------
    aversion, volatility, decay
        As in `avellaneda_stoikov`.
    horizon
        Length of the episode that the mean is taken over.
    """
    return 0.5 * aversion * volatility**2 * horizon + 2.0 * math.log1p(aversion / decay) / aversion


class InventoryParams(NamedTuple):
    """The constants of quoting under exponential utility; the defaults are those of the tests."""

    intensity: float = 140.0
    """Market orders on each side per unit of time that would reach a quote at the mid price."""
    decay: float = 1.5
    """k: how fast fills thin out with the distance of the quote, per unit of price."""
    aversion: float = 0.1
    """gamma: absolute risk aversion, above zero."""
    volatility: float = 2.0
    """Of the mid price, per square root of time."""
    limit: int = 30
    """Largest inventory, units; a side that would exceed it is not quoted."""

    @property
    def half_spread(self) -> float:
        """What a quote earns where inventory has no risk, units of price."""
        return math.log1p(self.aversion / self.decay) / self.aversion


def utility_quotes(terms: InventoryParams, left: float = math.inf) -> tuple[Float, Float]:
    """Exact quotes under exponential utility and limited inventory (their theorem 1).

    Parameters
    ----------
    terms
        The problem.
    left
        Time left, in units of time; infinite = so long that the end does not matter.

    Returns
    -------
    tuple
        (2 limit + 1,) distance of the ask above the mid price, and of the bid below it, for inventories from -limit to
        limit; infinite where the limit forbids a fill.
    """
    v = np.log(_left(terms, left)) / terms.decay
    ask, bid = np.full(len(v), np.inf), np.full(len(v), np.inf)
    ask[1:] = terms.half_spread + v[1:] - v[:-1]
    bid[:-1] = terms.half_spread + v[:-1] - v[1:]
    return ask, bid


def _left(terms: InventoryParams, left: float) -> Float:
    """(2 limit + 1,) exp(-M left) 1 but for a factor; M the matrix of their theorem 1.

    By powers of a matrix without a negative number, so that the least of the values, too, are right in all digits; of
    the eigenvectors they would be lost in the rounding of the largest. Squared without end, it becomes the eigenvector.
    """
    t = terms
    q = np.arange(-t.limit, t.limit + 1)
    lost = t.intensity * (1.0 + t.aversion / t.decay) ** -(1.0 + t.decay / t.aversion)
    risk = 0.5 * t.decay * t.aversion * t.volatility**2 * q**2
    side = np.full(2 * t.limit, lost)
    rates = np.diag(risk.max() - risk) + np.diag(side, 1) + np.diag(side, -1)
    most = float(rates.sum(axis=1).max())
    n_squares = 64 if math.isinf(left) else max(math.ceil(math.log2(max(most * left, 1.0))), 0)
    part = rates / most if math.isinf(left) else rates * (left / 2.0**n_squares)
    term = power = np.eye(len(q))
    for n in range(1, _TERMS):
        term = term @ part / n
        power = power + term
    for _ in range(n_squares):
        power = power @ power
        power = power / power.max()
    return np.asarray(power.sum(axis=1))


def asymptotic_quotes(terms: InventoryParams, inventory: Float) -> tuple[Float, Float]:
    """Quotes far from the end and from the limit, in closed form (their proposition 3).

    Parameters
    ----------
    terms
        The problem; ``limit`` plays no part.
    inventory
        Units held; any shape.

    Returns
    -------
    tuple
        Distance of the ask above the mid price, and of the bid below it.
    """
    t = terms
    growth = (1.0 + t.aversion / t.decay) ** (1.0 + t.decay / t.aversion)
    slope = math.sqrt(t.volatility**2 * t.aversion / (2.0 * t.decay * t.intensity) * growth)
    q = np.asarray(inventory, dtype=np.float64)
    return t.half_spread + 0.5 * (1.0 - 2.0 * q) * slope, t.half_spread + 0.5 * (1.0 + 2.0 * q) * slope
