"""How to divide capital among strategies: weights from returns, each method by its definition."""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.types import Float


def inverse_volatility(covariance: Float) -> Float:
    """(M,) weights in proportion to one over each standard deviation; what never moved counts as the calmest."""
    return _whole(1.0 / _deviations(covariance))


def risk_parity(covariance: Float, tolerance: float = 1e-12) -> Float:
    """(M,) weights with equal risk contributions (Maillard, Roncalli & Teiletche, 2010).

    They are the minimum of ``w C w / 2 - sum(log w) / M``, found by damped Newton steps (Spinu, 2013), which do not
    mind strategies that are nearly each other's mirror image.
    """
    deviation = _deviations(covariance)
    scaled = covariance / np.outer(deviation, deviation)
    np.fill_diagonal(scaled, 1.0)
    n = len(scaled)
    weight = np.full(n, 1.0 / math.sqrt(n))
    for _ in range(1_000):
        step = np.linalg.solve(scaled + np.diag(1.0 / (n * weight**2)), scaled @ weight - 1.0 / (n * weight))
        far = float(np.abs(step / weight).max())
        weight = weight - (step if far < 0.3 else step / (1.0 + far))
        if far < tolerance:
            break
    return _whole(weight / deviation)


def hierarchical_risk_parity(covariance: Float) -> Float:
    """(M,) weights of López de Prado (2016): cluster by correlation, then divide by variance down the tree."""
    deviation = _deviations(covariance)
    correlation = covariance / np.outer(deviation, deviation)
    np.fill_diagonal(correlation, 1.0)
    distance = np.sqrt(np.maximum(0.5 * (1.0 - correlation), 0.0))
    # The paper clusters by the distance of the distances: strategies that relate alike to all others are near.
    apart = np.sqrt(((distance[:, None] - distance[None]) ** 2).sum(axis=-1))
    weight = np.ones(len(covariance))
    stretches = [single_linkage_order(apart)]
    while stretches:
        stretch = stretches.pop()
        if len(stretch) > 1:
            left, right = stretch[: len(stretch) // 2], stretch[len(stretch) // 2 :]
            one, two = (_cluster_variance(covariance, deviation, part) for part in (left, right))
            weight[left] *= two / (one + two)
            weight[right] *= one / (one + two)
            stretches += [left, right]
    return _whole(weight)


def single_linkage_order(distance: Float) -> list[int]:
    """Leaves of the single-linkage tree from left to right; of two clusters the one that is older stands left."""
    clusters = [[k] for k in range(len(distance))]
    while len(clusters) > 1:
        pairs = ((a, b) for a in range(len(clusters)) for b in range(a + 1, len(clusters)))
        a, b = min(pairs, key=lambda p: distance[np.ix_(clusters[p[0]], clusters[p[1]])].min())
        joined = clusters[a] + clusters[b]
        clusters = [c for k, c in enumerate(clusters) if k not in (a, b)] + [joined]
    return clusters[0]


def mean_variance(returns: Float, aversion: float) -> Float:
    """(M,) weights on the simplex of largest ``w mean - aversion / 2 w C w`` (Markowitz, 1952), both estimates shrunk.

    Parameters
    ----------
    returns
        (N, M) of a period each.
    aversion
        1 = largest expected log growth to second order; more holds less of what is risky.
    """
    covariance = ledoit_wolf(returns)
    mean = bayes_stein(returns, covariance)
    n = len(mean)
    weight = np.full(n, 1.0 / n)
    close = 1e-12 * (float(np.abs(mean).max()) + aversion * float(np.diag(covariance).max()))
    # From what gains least to what gains most until all that is held gains alike (sequential minimal optimisation).
    for _ in range(100_000):
        gain = mean - aversion * (covariance @ weight)
        to, source = int(gain.argmax()), int(np.where(weight > 0.0, gain, np.inf).argmin())
        apart = float(gain[to] - gain[source])
        if apart <= close:
            break
        curve = aversion * float(covariance[to, to] + covariance[source, source] - 2.0 * covariance[to, source])
        moved = float(weight[source])
        if apart < curve * moved:
            moved = apart / curve
        weight[to] += moved
        weight[source] = max(weight[source] - moved, 0.0)
    return _whole(weight)


def ledoit_wolf(returns: Float) -> Float:
    """(M, M) covariance of (N, M) returns, shrunk to a multiple of the identity by as much as the sample says.

    Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004).
    """
    x = returns - returns.mean(axis=0)
    n, m = x.shape
    sample: Float = x.T @ x / n
    goal: Float = float(np.trace(sample)) / m * np.eye(m)
    far = float(((sample - goal) ** 2).sum())
    # The sum over rows of the squared distance of x x' from the sample covariance.
    error = float((((x**2).sum(axis=1)) ** 2).sum()) / n**2 - float((sample**2).sum()) / n
    share = min(max(error, 0.0) / far, 1.0) if far > 0.0 else 0.0
    return share * goal + (1.0 - share) * sample


def bayes_stein(returns: Float, covariance: Float) -> Float:
    """(M,) means of (N, M) returns, drawn to that of the portfolio of least variance (Jorion, 1986)."""
    mean: Float = returns.mean(axis=0)
    n, m = returns.shape
    if m < 2 or not np.diag(covariance).min() > 0.0:
        return mean
    inverse = np.linalg.inv(covariance)
    common = float(inverse.sum(axis=0) @ mean) / float(inverse.sum())
    apart: Float = mean - common
    drawn = (m + 2.0) / (m + 2.0 + n * float(apart @ inverse @ apart))
    shrunk: Float = mean - drawn * apart
    return shrunk


def best(returns: Float) -> Float:
    """(M,) all on the strategy of the largest Sharpe ratio over (N, M) returns; the first of equals."""
    mean, deviation = returns.mean(axis=0), returns.std(axis=0)
    ratio = np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 1e-12)
    weight = np.zeros(len(mean))
    weight[int(ratio.argmax())] = 1.0
    return weight


def hedge(weight: Float, losses: Float, rate: float) -> Float:
    """One step of Hedge (Freund & Schapire, 1997): weights times exp(-rate x loss), losses in [0, 1].

    With ``rate = sqrt(8 ln M / T)`` the loss after T steps is at most ``sqrt(T ln M / 2)`` above the best strategy's.

    Parameters
    ----------
    weight
        (M,) non-negative, of sum 1.
    losses
        (M,) of the last period.
    rate
        How fast weight moves; 0 = never.

    Returns
    -------
    Float
        (M,) non-negative, of sum 1.
    """
    new = weight * np.exp(-rate * (losses - losses.min()))
    return _whole(new)


def exponentiated_gradient(weight: Float, relatives: Float, rate: float) -> Float:
    """One step of Helmbold et al. (1998).

    Parameters
    ----------
    weight
        (M,) non-negative, of sum 1.
    relatives
        (M,) value of each strategy after the last period over that before, above zero.
    rate
        How fast weight moves; 0 = never.

    Returns
    -------
    Float
        (M,) non-negative, of sum 1.
    """
    gain = relatives / float(weight @ relatives)
    new = weight * np.exp(rate * (gain - gain.max()))
    return _whole(new)


def stacking(forecasts: Float, outcomes: Float, ridge: float) -> Float:
    """(M,) non-negative weights whose sum of forecasts comes nearest to the outcomes (Breiman, 1996).

    Parameters
    ----------
    forecasts
        (N, M) made before the outcomes were known.
    outcomes
        (N,).
    ridge
        Penalty on squared weights, in units of the forecasts' mean square.

    Returns
    -------
    Float
        Summing to one; all zero if no forecast is of use.
    """
    n = forecasts.shape[1]
    gram = forecasts.T @ forecasts
    gram += ridge * max(float(np.trace(gram)) / n, 1e-300) * np.eye(n)
    goal = forecasts.T @ outcomes
    weight = np.zeros(n)
    for _ in range(1_000):
        before = weight.copy()
        for k in range(n):
            rest = float(gram[k] @ weight) - gram[k, k] * weight[k]
            weight[k] = max(0.0, (goal[k] - rest) / gram[k, k])
        if np.abs(weight - before).max() <= 1e-12 * max(float(weight.max()), 1e-300):
            break
    total = weight.sum()
    return weight / total if total > 0.0 else weight


def _whole(weight: Float) -> Float:
    """Weights that sum to one."""
    return weight / float(weight.sum())


def _deviations(covariance: Float) -> Float:
    """(M,) standard deviations; that of a strategy that never moved is the least of the others."""
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    moved = deviation > 1e-12
    least = float(deviation[moved].min()) if moved.any() else 1.0
    return np.where(moved, deviation, least)


def _cluster_variance(covariance: Float, deviation: Float, part: list[int]) -> float:
    """Variance of a cluster that is weighted by inverse variance."""
    weight = deviation[part] ** -2.0
    weight = weight / weight.sum()
    return max(float(weight @ covariance[np.ix_(part, part)] @ weight), 1e-300)
