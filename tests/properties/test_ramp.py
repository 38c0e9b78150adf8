"""The ramp of a member's capital: up only after time inside the promise, back at once, whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.config import UserError
from qframe_rl.portfolio.ramp import CapitalRamp, RampBounds, RampDecision, RampFigures, RampState, steps_of, steps_text
from qframe_rl.times import DAY, HOUR

RAMP = CapitalRamp(steps_of("5%:14d,25%:30d,100%"))
GOOD = RampFigures(0, "ACTIVE", 0.01, 3.0, "too early", 0.2)
BAD = {
    "drift": GOOD._replace(drift_bps=20.1), "drawdown": GOOD._replace(drawdown=0.21),
    "below": GOOD._replace(answer="below"), "halted": GOOD._replace(state="HALTED"),
}  # fmt: skip
OLD = {
    "silent": GOOD._replace(mark="silent"), "no promise": GOOD._replace(answer=None),
    "money on its way": GOOD._replace(placed=False),
}  # fmt: skip


def lived(
    looks: list[tuple[int, RampFigures]], ramp: CapitalRamp = RAMP
) -> list[tuple[RampState, RampDecision | None]]:
    """States after looks, each so many hours after the one before."""
    state, time, found = RampState(), 1_000 * DAY, []
    for hours, figures in looks:
        time += hours * HOUR
        state, decision = ramp.look(state, figures._replace(time_ns=time))
        found.append((state, decision))
    return found


def test_it_goes_up_after_the_days_of_each_step_and_stays_at_the_last() -> None:
    found = lived([(1, GOOD)] * (24 * 60))
    raised = [(k, one) for k, (_, one) in enumerate(found) if one is not None]
    assert [k for k, _ in raised] == [14 * 24, 44 * 24]
    assert [(one.before, one.after) for _, one in raised] == [(0.05, 0.25), (0.25, 1.0)]
    assert raised[0][1].reasons == ("14 days inside its promise",)


@pytest.mark.parametrize("what", BAD)
def test_it_goes_back_at_once_and_once_more_each_day(what: str) -> None:
    found = lived([(1, GOOD)] * (24 * 45) + [(1, BAD[what])] * 60)
    back = [(k - 24 * 45, one) for k, (_, one) in enumerate(found) if one is not None and one.after < one.before]
    assert [k for k, _ in back] == [0, 24]
    assert [(one.before, one.after) for _, one in back] == [(1.0, 0.25), (0.25, 0.05)]
    assert back[0][1].reasons == RAMP.outside(BAD[what])
    assert len(back[0][1].reasons) == 1


@pytest.mark.parametrize("what", OLD)
def test_what_is_not_known_leads_nowhere(what: str) -> None:
    found = lived([(1, OLD[what])] * (24 * 60))
    assert found[-1][0].step == 0
    assert all(decision is None for _, decision in found)


def test_time_without_trading_does_not_count() -> None:
    assert lived([(1, GOOD), (24 * 400, GOOD)])[-1][0].served_ns == DAY
    assert lived([(1, GOOD)] + [(0, GOOD)] * 100)[-1][0] == lived([(1, GOOD)])[-1][0]


@pytest.mark.parametrize("what", BAD)
def test_the_days_of_a_step_begin_anew_after_each_look_outside(what: str) -> None:
    found = lived([(1, GOOD)] * (24 * 13) + [(1, BAD[what])] + [(1, GOOD)] * (24 * 14 - 1))
    assert found[-1][0].step == 0
    assert lived([(1, GOOD)] * (24 * 13) + [(1, BAD[what])] + [(1, GOOD)] * 24 * 14)[-1][0].step == 1


def test_bounds_that_are_given_hold() -> None:
    strict = CapitalRamp(RAMP.steps, RampBounds(drift_bps=1.0, drawdown=0.005))
    assert len(strict.outside(GOOD)) == 2
    assert strict.outside(GOOD._replace(drift_bps=None, drawdown=0.0, promised=None)) == ()


FIGURES = st.sampled_from([GOOD, GOOD, GOOD, GOOD, *BAD.values(), *OLD.values()])


@given(st.lists(st.tuples(st.integers(-5, 200), FIGURES), max_size=80))
def test_whatever_happens(looks: list[tuple[int, RampFigures]]) -> None:
    """One step at a time; up only inside the promise after its days there; back only outside; never beyond the ends."""
    time, state, inside_ns, last_back = 1_000 * DAY, RampState(), 0, -DAY
    latest = 0
    for hours, figures in looks:
        time += hours * HOUR
        now = figures._replace(time_ns=time)
        after, decision = RAMP.look(state, now)
        fresh = not now.mark and time > latest
        clean = fresh and not RAMP.outside(now) and now.answer is not None and now.placed
        inside_ns = 0 if fresh and RAMP.outside(now) else inside_ns
        inside_ns += min(time - latest, DAY) if clean and latest else 0
        assert 0 <= after.step < len(RAMP.steps)
        assert abs(after.step - state.step) <= 1
        assert (decision is None) == (after.step == state.step)
        if after.step > state.step:
            length = RAMP.steps[state.step].ns
            assert clean
            assert length is not None
            assert inside_ns >= length
            inside_ns = 0
        if after.step < state.step:
            assert fresh
            assert RAMP.outside(now)
            assert time - last_back >= DAY
            last_back = time
        if fresh and RAMP.outside(now) and state.step and time - last_back >= DAY:
            pytest.fail("it should have gone back")
        if decision is not None:
            assert (decision.before, decision.after) == (RAMP.share(state), RAMP.share(after))
            assert decision.reasons
        latest = max(latest, time) if not now.mark else latest
        state = after


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=20, unique=True),
    st.lists(st.integers(1, 9_999), min_size=20, max_size=20), st.sampled_from("hdw"),
)  # fmt: skip
def test_what_is_written_is_read(shares: list[int], lengths: list[int], unit: str) -> None:
    parts = [f"{share / 100}%:{length}{unit}" for share, length in zip(sorted(shares), lengths, strict=False)]
    parts[-1] = parts[-1].partition(":")[0]
    steps = steps_of(",".join(parts))
    assert steps_of(steps_text(steps)) == steps


@pytest.mark.parametrize(
    "text",
    ["", "5", "5%:14d", "5%,100%", "25%:1d,5%:1d,100%", "0%:1d,100%", "5%:0d,100%", "5%:1d,101%", "5%:1m,100%",
     "5%:1d,100%:3d", "-5%:1d,100%", "5%:1d,,100%", "1e1%:1d,100%", "5%:99999d,100%", "\u0665%:1d,100%"],
)  # fmt: skip
def test_what_is_no_ramp_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match="--ramp"):
        steps_of(text)
