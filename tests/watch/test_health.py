"""Well or not, by the clock on the wall: minutes after the bar that should have come, whatever its length."""

from __future__ import annotations

import math

import pytest

from qframe_rl.watch.health import Health

DAY_S = 86_400.0


class Wall:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("bar_s", [60.0, 3600.0, DAY_S])
def test_a_session_is_ill_three_minutes_after_the_bar_that_should_have_come(bar_s: float) -> None:
    wall = Wall()
    health = Health(bar_s, 180.0, math.inf, clock=wall)
    health.decided()
    wall.now += bar_s + 180.0
    assert health.ill() is None
    wall.now += 1.0
    assert health.ill() == f"no decision for {bar_s + 181:,.0f} s; the one that should have come is 181 s late"
    health.decided()
    assert health.ill() is None


def test_daily_bars_are_not_silent_for_three_days() -> None:
    wall = Wall()
    health = Health(DAY_S, 180.0, 60.0, clock=wall)
    health.decided()
    for _ in range(3 * 1440):
        wall.now += 60.0
        health.beat()
        if health.ill():
            break
    assert wall.now - 1e6 == DAY_S + 240.0, "the first look after a day and three minutes"


def test_a_feed_that_is_not_heard_from_is_ill_within_a_minute_of_any_bar() -> None:
    wall = Wall()
    health = Health(DAY_S, 180.0, 60.0, clock=wall)
    health.decided()
    wall.now += 60.0
    assert health.ill() is None
    wall.now += 1.0
    assert health.ill() == "the feed was not heard from for 61 s"
    health.beat()
    assert health.ill() is None
    assert (health.feed_age_s, health.decision_age_s) == (0.0, 61.0)


def test_a_bar_that_came_late_makes_the_next_one_due_no_later() -> None:
    wall = Wall()
    late = [50.0 * 1e9]
    health = Health(60.0, 180.0, math.inf, lambda: late[0], wall)
    health.decided()
    wall.now += 10.0 + 180.0
    assert health.ill() is None
    wall.now += 1.0
    assert health.ill() is not None
    late[0] = 1e15
    health.decided()
    wall.now += 180.0
    assert health.ill() is None, "of a catch-up the next bar is due at once, and not before"


def test_before_the_first_decision_a_bar_is_waited_for() -> None:
    wall = Wall()
    health = Health(60.0, 180.0, math.inf, clock=wall)
    wall.now += 240.0
    assert health.ill() is None
    wall.now += 1.0
    assert health.ill() is not None
