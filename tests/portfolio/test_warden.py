"""A portfolio's value leaves nobody out, and its warden only ever tightens."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.portfolio.valuation import MemberValue, PortfolioValue, equity, value
from qframe_rl.portfolio.warden import STATES, WORDS, Vigil, Warden, paid_in, resumed, tightened
from qframe_rl.times import DAY

NOON = 20_000 * DAY + DAY // 2
limits = st.builds(
    PortfolioLimits,
    max_drawdown=st.one_of(st.none(), st.floats(0.01, 0.9)), daily_loss=st.one_of(st.none(), st.floats(0.01, 0.9)),
    max_gross=st.one_of(st.none(), st.floats(1.0, 1e6)), max_leverage=st.one_of(st.none(), st.floats(0.1, 10.0)),
    max_net=st.one_of(st.none(), st.floats(1.0, 1e6)), on_loss=st.sampled_from(["REDUCE_ONLY", "FLATTEN", "HALTED"]),
)  # fmt: skip
values = st.builds(
    MemberValue,
    st.sampled_from("abcde"), st.floats(-1e4, 1e6), st.dictionaries(st.sampled_from(["BTC/USDT", "ETH/USDT"]),
    st.floats(-1e6, 1e6)), st.floats(0.0, 1e6), st.integers(NOON, NOON + 5 * DAY), st.sampled_from(["", *STATES]),
    st.sampled_from(["", "silent", "corrupt", "not begun"]),
)  # fmt: skip
many = st.lists(values, max_size=5, unique_by=lambda one: one.id)


def member(name: str, worth: float, state: str = "ACTIVE", mark: str = "", **positions: float) -> MemberValue:
    net = {pair.replace("_", "/"): worth for pair, worth in positions.items()}
    gross = math.fsum(map(abs, net.values()))
    return MemberValue(name, worth, net, gross, NOON, state, mark)  # type: ignore[arg-type]


def worth(total: float, time_ns: int = NOON, **more: object) -> PortfolioValue:
    return PortfolioValue(total, 0.0, {}, time_ns, ())._replace(**more)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**16), st.integers(0, 10**16), many)
def test_equity_is_cash_and_the_exact_sum_of_all_members(free: int, moving: int, members: list[MemberValue]) -> None:
    exact = sum((Fraction(one.equity) for one in members), Fraction(0))
    own = equity(free, moving, members)
    assert own == float(Fraction(free + moving, 10**8)) + float(exact)
    assert own == equity(free, moving, members[::-1]), "in whatever order they come"
    found = value(free, moving, members)
    assert found.equity == own
    for pair, net in found.net.items():
        assert net == float(sum(Fraction(one.positions.get(pair, 0.0)) for one in members))
    assert len(found.marked) == sum(one.mark in ("silent", "corrupt") for one in members)


@settings(max_examples=300, deadline=None)
@given(limits, st.lists(many, min_size=1, max_size=8))
def test_whatever_is_seen_it_only_ever_tightens(bound: PortfolioLimits, looks: list[list[MemberValue]]) -> None:
    warden, vigil = Warden(bound), Vigil()
    for members in looks:
        found = warden.look(vigil, value(0, 0, members), members)
        assert STATES.index(found.vigil.state) >= STATES.index(vigil.state)
        assert bool(found.reasons) == (found.vigil.state != vigil.state)
        assert all(word in WORDS.values() for _, word in found.orders), "never resume"
        freer = {one.id for one in members if one.state not in STATES[STATES.index(found.vigil.state) :]}
        assert {name for name, _ in found.orders} == (freer if found.vigil.state != "ACTIVE" else set())
        vigil = found.vigil


def test_losses_since_the_highest_and_since_midnight() -> None:
    warden = Warden(PortfolioLimits(max_drawdown=0.2, daily_loss=0.1, on_loss="HALTED"))
    vigil = warden.look(Vigil(), worth(100.0), []).vigil
    assert warden.look(vigil, worth(90.0, NOON + DAY), []).vigil.state == "ACTIVE", "yesterday's loss is not today's"
    assert warden.look(vigil, worth(90.0), []).reasons[0].startswith("daily_loss")
    vigil = warden.look(vigil, worth(90.1, NOON), []).vigil
    vigil = warden.look(vigil, worth(88.0, NOON + DAY), []).vigil
    found = warden.look(vigil, worth(80.0, NOON + DAY), [])
    assert found.vigil.state == "HALTED"
    assert "max_drawdown: equity 80.00 is 20.00% under 100.00" in found.reasons


@pytest.mark.parametrize(
    "bound, reason",
    [({"max_gross": 99.0}, "max_gross"), ({"max_leverage": 0.49}, "max_leverage"), ({"max_net": 59.0}, "max_net: BTC")],
)
def test_positions_over_all_members(bound: dict[str, float], reason: str) -> None:
    members = [member("a", 100.0, BTC_USDT=80.0), member("b", 100.0, "REDUCE_ONLY", BTC_USDT=-20.0)]
    found = Warden(PortfolioLimits(**bound)).look(Vigil(), value(0, 0, members), members)
    assert (found.vigil.state, found.orders) == ("REDUCE_ONLY", (("a", "reduce"),))
    assert found.reasons[0].startswith(reason)
    assert Warden(PortfolioLimits()).look(Vigil(), value(0, 0, members), members).vigil.state == "ACTIVE"


@pytest.mark.parametrize("mark", ["silent", "corrupt"])
def test_a_member_that_is_not_heard_keeps_its_last_value_and_only_closing_orders_go_out(mark: str) -> None:
    members = [member("a", 60.0, mark=mark), member("b", 40.0)]
    now = value(0, 0, members)
    assert now.equity == 100.0
    found = Warden(PortfolioLimits()).look(Vigil(), now, members)
    assert found.vigil.state == "REDUCE_ONLY"
    assert found.reasons == (f"a is {mark}",)
    again = Warden(PortfolioLimits()).look(found.vigil, value(0, 0, [member("a", 60.0), member("b", 40.0)]), [])
    assert again.vigil.state == "REDUCE_ONLY", "that it speaks again loosens nothing"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0.8, 1.25), st.floats(-0.5, 2.0)), min_size=1, max_size=20))
def test_money_in_and_out_is_no_profit_and_no_loss(steps: list[tuple[float, float]]) -> None:
    """Beside a portfolio that nobody pays into: both see the same loss since their highest."""
    warden, plain = Warden(PortfolioLimits()), Warden(PortfolioLimits())
    money, alone, vigil, other = 1_000.0, 1_000.0, Vigil(), Vigil()
    for ratio, paid in steps:
        money, alone = money * ratio, alone * ratio
        vigil = warden.look(vigil, worth(money), []).vigil
        other = plain.look(other, worth(alone), []).vigil
        vigil, money = paid_in(vigil, money, money * (1.0 + paid)), money * (1.0 + paid)
        assert math.isclose(money / vigil.peak, alone / other.peak, rel_tol=1e-9)
        assert math.isclose(money / vigil.day_start, alone / other.day_start, rel_tol=1e-9)
        assert math.isclose(money * vigil.scale, alone, rel_tol=1e-9)


def test_a_human_tightens_and_alone_loosens() -> None:
    vigil = tightened(Vigil(peak=100.0, day_start=100.0), "HALTED", "halt by anna")
    assert (vigil.state, vigil.why) == ("HALTED", ("halt by anna",))
    assert tightened(vigil, "REDUCE_ONLY", "reduce by anna") == vigil
    free = resumed(vigil, 50.0)
    assert (free.state, free.peak, free.day_start) == ("ACTIVE", 50.0, 50.0)
    nothing = paid_in(Vigil(peak=10.0, day_start=10.0), 10.0, 0.0)
    assert paid_in(nothing, 0.0, 500.0).peak == 500.0, "from nothing begins anew"
