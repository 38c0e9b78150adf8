"""The test of a promise, looked at after every bar: how often it is wrong, and how soon it is right.

``python -m tests.evaluate.test_sequential`` prints the table of docs/operations.md, "The promise".
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from qframe_rl.evaluate.inference.sequential import AGAINST, FEWEST, Promise, SequentialTest
from qframe_rl.types import DAY, HOUR, YEAR, Float

B = 1000
PROMISES = {
    "strong": Promise(3.0, 0.5, 5.5, 1.0), "narrow": Promise(5.0, 3.25, 6.75, 0.7), "weak": Promise(0.6, -2.7, 3.9, 1.3)
}  # fmt: skip


def normal(rng: np.random.Generator, bars: int) -> Float:
    return rng.standard_normal((bars, B))


def fat(rng: np.random.Generator, bars: int) -> Float:
    """Student's t with three degrees of freedom: no fourth moment."""
    return rng.standard_t(3, (bars, B)) / math.sqrt(3.0)


def carried_on(rng: np.random.Generator, bars: int) -> Float:
    """Autocorrelation 0.6, of fat-tailed shocks."""
    return _correlated(rng.standard_t(4, (bars + 100, B)) / math.sqrt(2.0), 0.6)


def reverting(rng: np.random.Generator, bars: int) -> Float:
    return _correlated(rng.standard_normal((bars + 100, B)), -0.3)


def clustered(rng: np.random.Generator, bars: int) -> Float:
    """GARCH(1, 1) of fat-tailed shocks, its variance carried on by 0.98."""
    shock, variance = rng.standard_t(5, (bars + 200, B)) / math.sqrt(5.0 / 3.0), np.ones(B)
    found = np.empty_like(shock)
    for t in range(bars + 200):
        found[t] = np.sqrt(variance) * shock[t]
        variance = 0.02 + 0.08 * found[t] ** 2 + 0.90 * variance
    return found[200:]


def crashing(rng: np.random.Generator, bars: int) -> Float:
    """Ten deviations down, once in two hundred bars."""
    found = rng.standard_normal((bars, B)) - 10.0 * (rng.random((bars, B)) < 0.005)
    return np.asarray((found - found.mean()) / found.std())


def idle(rng: np.random.Generator, bars: int) -> Float:
    """Flat in seven stretches of twenty bars out of ten."""
    held = np.repeat(rng.random((bars // 20 + 1, B)) < 0.3, 20, axis=0)[:bars]
    return rng.standard_normal((bars, B)) * held / math.sqrt(0.3)


def _correlated(shock: Float, rho: float) -> Float:
    found = np.zeros_like(shock)
    for t in range(1, len(shock)):
        found[t] = rho * found[t - 1] + shock[t]
    return found[100:] * math.sqrt(1.0 - rho**2)


LAWS = (normal, fat, carried_on, reverting, clustered, crashing, idle)
LENGTHS = ((DAY, 2000), (HOUR, 3000))
"""Time of a bar, and bars."""


def looked(promise: Promise, bar_ns: int, rates: Float) -> tuple[Float, SequentialTest]:
    """The bar at which each session is below first, or their number."""
    test, first = SequentialTest(promise, bar_ns, B), np.full(B, len(rates))
    for t, rate in enumerate(rates):
        test.add(0.01 * rate)
        first = np.where(test.is_below & (first == len(rates)), t, first)
    return first, test


def called_below(law: Callable[[np.random.Generator, int], Float], name: str, bar_ns: int, bars: int) -> float:
    """Share of a thousand sessions, with ratios drawn from the forecast, that are ever below."""
    rng, promise = np.random.default_rng(7), PROMISES[name]
    noise = law(rng, bars)
    ratio = promise.centre + promise.spread * rng.standard_normal(B)
    first, _ = looked(promise, bar_ns, noise + ratio / math.sqrt(YEAR / bar_ns))
    return float(np.mean(first < bars))


def lost_edge(bar_ns: int, bars: int, sharpe: float = 0.0) -> tuple[Float, SequentialTest]:
    """As `looked`, of sessions with another Sharpe ratio than the 5 that was forecast."""
    edge = sharpe / math.sqrt(YEAR / bar_ns)
    return looked(PROMISES["narrow"], bar_ns, normal(np.random.default_rng(11), bars) + edge)


def lost_later(bars: int = 1500) -> Float:
    """The bar at which each session is below first that kept its promise for a year of days."""
    promise, noise = PROMISES["narrow"], normal(np.random.default_rng(13), bars)
    noise[:365] += promise.centre / math.sqrt(365.0)
    return looked(promise, DAY, noise)[0]


@pytest.mark.parametrize("name", PROMISES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("bar_ns", "bars"), LENGTHS)
def test_sessions_of_the_forecast_itself_are_rarely_called_below(
    law: Callable[[np.random.Generator, int], Float], name: str, bar_ns: int, bars: int
) -> None:
    """A thousand sessions with ratios drawn from the forecast, looked at after every bar: at most one in twenty."""
    assert called_below(law, name, bar_ns, bars) <= 1.0 / AGAINST


def test_a_lost_edge_is_noticed() -> None:
    """Sharpe 5 was forecast and nothing is earned, on days: half within 160 days, nineteen of twenty in 380."""
    first, test = lost_edge(DAY, 700)
    assert np.median(first) < 160
    assert np.mean(first < 380) > 0.95
    assert np.mean(test.is_below) > 0.99


def test_one_that_loses_its_edge_after_a_year_is_noticed_too() -> None:
    """Later, for the good year counts: half within 530 days of the loss."""
    assert np.median(lost_later()) < 365 + 530


def test_answers_go_from_too_early_to_inside_and_below_stays_until_nothing_speaks_for_it() -> None:
    promise, rng = PROMISES["narrow"], np.random.default_rng(3)
    test, seen = SequentialTest(promise, DAY), list[str]()
    for t in range(6000):
        edge = promise.centre if t < 500 or t > 700 else -20.0
        test.add(np.array([0.01 * (rng.standard_normal() + edge / math.sqrt(365.0))]))
        if not seen or seen[-1] != test.answer:
            seen.append(test.answer)
        if t < FEWEST - 1:
            assert test.answer == "too early"
    assert seen == ["too early", "inside", "below", "inside"]


def test_a_test_that_is_carried_on_is_the_same_to_the_bit() -> None:
    rng = np.random.default_rng(5)
    rates = 0.01 * rng.standard_normal((700, 1))
    whole, first = SequentialTest(PROMISES["weak"], HOUR), SequentialTest(PROMISES["weak"], HOUR)
    for rate in rates[:333]:
        first.add(rate)
    again = SequentialTest(PROMISES["weak"], HOUR)
    again.carry(json.loads(json.dumps(first.carried())))
    for rate in rates:
        whole.add(rate)
    for rate in rates[333:]:
        again.add(rate)
    assert again.plain() == whole.plain()


def test_the_sums_are_those_of_the_returns() -> None:
    """Against a plain count over blocks, with the same rule for the variance."""
    rates = 0.01 * np.random.default_rng(2).standard_t(4, 1000) + 0.0004
    test = SequentialTest(PROMISES["strong"], HOUR)
    for rate in rates:
        test.add(np.array([rate]))
    ratio, deviation = rates.mean() / rates.std(ddof=1), rates.std(ddof=1)
    assert test.ratio[0] == pytest.approx(ratio)
    z = (rates - rates.mean()) / deviation
    influence = z - ratio / 2.0 * (z**2 - 1.0)
    variances = []
    for level in range(5):
        length = 1 << level
        sums = influence[: len(rates) // length * length].reshape(-1, length).sum(axis=1)
        variances.append(float(sums.var(ddof=1)) / length)
    largest = max(*variances, *(2.0 * b - a for a, b in pairwise(variances)))
    scale = math.sqrt(YEAR / HOUR)
    promise = test.promise
    grid = np.linspace(-60.0, 60.0, 400_001) / scale

    def likelihood(centre: float, width: float, side: Float) -> float:
        weight = np.exp(-0.5 * ((grid - centre) / width) ** 2) / (width * math.sqrt(2.0 * math.pi)) * side
        return float(np.trapezoid(weight * np.exp(-0.5 * (ratio - grid) ** 2 * 1000 / largest), grid))

    centre = promise.centre / scale
    low = likelihood(centre, (promise.centre - promise.lost) / scale, np.where(grid < centre, 2.0, 0.0))
    same = likelihood(centre, promise.spread / scale, np.ones_like(grid))
    assert test.evidence[0] == pytest.approx(math.log(low / same), rel=1e-3, abs=1e-4)


def test_what_never_moved_is_too_early_for_ever() -> None:
    test = SequentialTest(PROMISES["strong"], HOUR)
    for _ in range(500):
        test.add(np.array([0.0]))
    assert (test.answer, test.plain()["sharpe"]) == ("too early", None)


ROW = {"max_drawdown": -0.3, "next_low": -2.0, "next_high": 4.0, "sharpe_low": -0.5, "sharpe_high": 2.5}


def test_a_promise_is_that_of_the_scores() -> None:
    """Without the error of a window's own figure, which is at most half of the forecast's variance."""
    for level, reach in ((0.95, 1.959964), (0.9, 1.644854)):
        found = Promise.of(ROW, level)
        assert found is not None
        total, own = (6.0 / 2.0 / reach) ** 2, (3.0 / 2.0 / reach) ** 2
        assert found[:3] == (1.0, -2.0, 4.0)
        assert found.drawdown == 0.3
        assert found.spread == pytest.approx(math.sqrt(total - own))
    wide = Promise.of(ROW | {"sharpe_low": -9.0}, 0.9)
    assert wide is not None
    assert wide.spread == pytest.approx(math.sqrt(total / 2.0))


@pytest.mark.parametrize("change", [{"next_low": None}, {"next_high": -2.0}, {"sharpe_low": None}])
def test_scores_without_a_forecast_promise_nothing(change: dict[str, float | None]) -> None:
    assert Promise.of(ROW | change, 0.9) is None
    assert Promise.of({name: value for name, value in ROW.items() if name not in change}, 0.9) is None or change == {
        "next_high": -2.0
    }


def noticed(first: Float, days: float, share: float) -> str:
    """Days until a share of sessions are below."""
    return f"{share:.0%} after {np.quantile(first + 1, share) * days:.0f} days"


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser("python -m tests.evaluate.test_sequential", description=main.__doc__).parse_args()
    print(f"ever below, of {B:,} sessions drawn from the forecast, looked at after every bar")
    heads = [f"{name}, {bars:,} x {ns // HOUR} h" for name in PROMISES for ns, bars in LENGTHS]
    print(" " * 12 + "".join(f"{head:>22}" for head in heads))
    everything = []
    for law in LAWS:
        shares = [called_below(law, name, *length) for name in PROMISES for length in LENGTHS]
        everything += shares
        print(f"{law.__name__:12}" + "".join(f"{share:22.1%}" for share in shares))
    print(f"from {min(everything):.1%} to {max(everything):.1%} over the {len(everything)}\n")
    print("noticed, where Sharpe 5 was forecast (deviation 0.7)")
    daily, hourly = lost_edge(DAY, 700)[0], lost_edge(HOUR, 10_000)[0]
    print(f"nothing earned, daily bars: {noticed(daily, 1.0, 0.5)}, {noticed(daily, 1.0, 0.95)}")
    print(f"nothing earned, hourly bars: {noticed(hourly, 1 / 24, 0.5)}, {noticed(hourly, 1 / 24, 0.9)}")
    print(f"Sharpe -20, hourly bars: {noticed(lost_edge(HOUR, 2000, -20.0)[0], 1 / 24, 0.5)}")
    print(f"5 for a year and then nothing, daily bars: {noticed(lost_later() - 365, 1.0, 0.5)}\n")
    print(f"one bar of one session costs {_cost_us():.1f} us")


def _cost_us(bars: int = 5000) -> float:
    """Of a test of one session, as a live one has it."""
    test, rates = SequentialTest(PROMISES["narrow"], HOUR), 0.01 * np.random.default_rng(1).standard_normal((bars, 1))
    test.add(rates[0])
    began = time.perf_counter()
    for rate in rates:
        test.add(rate)
    return (time.perf_counter() - began) / bars * 1e6


if __name__ == "__main__":
    main()
