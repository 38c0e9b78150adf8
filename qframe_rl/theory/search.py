"""The largest value of a function of one number."""

from __future__ import annotations

from collections.abc import Callable

_GOLDEN = 0.6180339887498949


def maximum(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-12) -> float:
    """Where a function with a single peak in [low, high] is largest, by golden-section search.

    Around its peak a function is flat, so the answer is good to about the square root of the rounding error of the
    function's values whatever the tolerance.

    Parameters
    ----------
    function
        Rises to its peak and falls after it.
    low, high
        Ends of the interval.
    tolerance
        Width at which the search ends.
    """
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
    return 0.5 * (low + high)


def root(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-14) -> float:
    """Where a function that changes its sign once in [low, high] is zero, by bisection.

    Parameters
    ----------
    function
        Continuous.
    low, high
        Where to look.
    tolerance
        Width of the last bracket, relative to one plus its ends.

    Raises
    ------
    ValueError
        If it has the same sign at both ends.
    """
    at_low = function(low)
    if at_low * function(high) > 0.0:
        raise ValueError(f"no change of sign between {low} and {high}")
    while high - low > tolerance * max(1.0, abs(low) + abs(high)):
        middle = 0.5 * (low + high)
        if (function(middle) > 0.0) == (at_low > 0.0):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
