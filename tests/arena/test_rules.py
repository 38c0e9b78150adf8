"""What sits in seats without learning: chance, nothing, and strategies for order books by what a seat sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from qframe_rl import catalog
from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import make_game
from qframe_rl.arena.play import play
from qframe_rl.arena.rules import QuoterSeat, book_spec, noise, plain_rule
from qframe_rl.book.state import BUY, SELL
from qframe_rl.config import UserError
from qframe_rl.quoter import BookSpec, BookView, Quoter, Wishes, around, towards_target, wishes

CONFIG = CrowdConfig(makers=1, takers=1, executions=1, episode_steps=30, target_lots=40, position_limit=40)
EVERYONE = np.ones(1, np.bool_)


class Seen:
    """Quotes what it is told, and keeps what it saw."""

    window = 1

    def __init__(self, spec: BookSpec, wished: Wishes | None = None):
        self.spec, self.wished, self.views = spec, wished, []  # type: ignore[var-annotated]

    def quote(self, view: BookView) -> Wishes:
        self.views.append(view)
        if view.target:
            return towards_target(view, self.spec, 0, 5)
        return around(view, self.spec, 3.0, 5.0) if self.wished is None else self.wished


def begun() -> Crowd:
    crowd = Crowd(CONFIG, 1)
    crowd.seed_with(4)
    crowd.reset(EVERYONE)
    return crowd


def test_noise_is_spread_evenly_and_depends_on_the_row_alone() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4000, 18)).astype(np.float32)
    act = noise(spaces.Box(-1.0, 1.0, (2,), np.float32))
    drawn = act(seen)
    assert drawn.shape == (4000, 2) and np.abs(drawn).max() <= 1.0 and np.abs(drawn).max() > 0.999
    assert np.abs(drawn.mean(axis=0)).max() < 0.04 and np.abs(drawn.std(axis=0) - 3**-0.5).max() < 0.02
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06
    np.testing.assert_array_equal(act(seen[7:9]), drawn[7:9])
    chosen = noise(spaces.Discrete(3))(seen)
    assert set(chosen) == {0, 1, 2} and np.bincount(chosen).min() > 1200


def test_idle_does_nothing_and_an_idle_execution_is_done_in_the_last_step() -> None:
    crowd = Crowd(CONFIG, 8)
    idle = {role: plain_rule("idle", crowd, role) for role in s.ROLES}
    found = play(crowd, idle, 3)
    assert (found[:, :2] == 0.0).all() and found[:, 2].any()
    assert (np.abs(crowd.state.accounts[:, 2, s.STOCK]) >= 20).all(), "as far as somebody trades with it"
    assert (crowd.state.accounts[:, :2, s.SENT] == 0).all()
    with pytest.raises(UserError, match="what doing nothing means is known of order books alone"):
        plain_rule("idle", make_game("kyle", 1), "maker")


def test_a_strategy_sees_the_book_that_its_seat_sees() -> None:
    crowd, made = begun(), []

    def make(spec: BookSpec) -> Quoter:
        made.append(Seen(spec))
        return made[-1]

    act = QuoterSeat("seen", make, CONFIG, "maker")
    for _ in range(12):
        chosen = np.zeros((1, 3, 4))
        chosen[0, 0] = act(crowd.observe()[:, 0])[0]
        view, best = made[-1].views[-1], crowd.state.seen[0]
        assert view.spread == best[SELL, 0] - best[BUY, 0]
        lean = (best[BUY, 1] - best[SELL, 1]) / (best[BUY, 1] + best[SELL, 1])
        told = (view.best[0, 1] - view.best[1, 1]) / (view.best[0, 1] + view.best[1, 1])
        assert told == pytest.approx(lean, abs=1e-3)
        assert view.position == crowd.state.accounts[0, 0, s.STOCK] and view.done == crowd.state.marks[0, s.CLOCK]
        before = crowd.state.marks[0, s.MID2] / 2
        crowd.step(chosen, EVERYONE)
        quotes = crowd.state.quotes[0, 0]
        for side, away in ((BUY, 3.0), (SELL, 5.0)):
            if quotes[side, s.LIVE] >= 0:
                assert abs(before - quotes[side, s.AT]) - away in (0.0, 0.5), "rounded away from the mid price"
                assert quotes[side, s.LEFT] <= CONFIG.lots


def test_wishes_become_the_actions_that_mean_them() -> None:
    seat = QuoterSeat("seen", Seen, CONFIG, "maker")
    row = np.zeros(18, np.float32)
    row[0] = 4 / CONFIG.reach_ticks
    view = seat.view(row)
    mid = view.mid
    for bid, ask, wanted in (
        ((int(mid) - 16, 10), (int(mid) + 1, 1), [1.0, -1.0 + 1.0 / 15.5, 1.0, -0.8]),
        ((0, 0), (int(mid) + 90, 25), [1.0, 1.0, -1.0, 1.0]),
        ((int(mid) + 2, 10), (int(mid) - 2, 10), [-1.0, -1.0, 1.0, 1.0]),
    ):
        np.testing.assert_allclose(seat._made(wishes(bid, ask), view), wanted, atol=1e-9)


@pytest.mark.parametrize("name", ["twap", "almgren_chriss"])
def test_a_schedule_is_done_by_the_end_on_either_side(name: str) -> None:
    module = catalog.load("agents", name)
    act = QuoterSeat(name, lambda spec: module.make(module.Config(), spec), CONFIG, "execution")
    crowd = Crowd(CONFIG, 6)
    others = {role: plain_rule("idle", crowd, role) for role in ("maker", "taker")}
    half: list[Any] = []

    def watched(seen: Any) -> Any:
        if seen[0, 8] == np.float32(0.5):
            half.extend(seen[:, 13].tolist())
        return act(seen)

    play(crowd, {**others, "execution": watched}, 5)
    targets, stock = crowd.state.targets[:, 2], crowd.state.accounts[:, 2, s.STOCK]
    assert set(np.abs(targets)) == {40} and len(set(targets)) == 2
    assert (stock == targets).all()
    assert half and max(map(abs, half)) < 0.75, "half-way at least a quarter is done"


def test_who_does_not_fit_a_seat_is_refused() -> None:
    for role, name, why in (
        ("maker", "twap", "works off a block"), ("execution", "glft", "quotes both sides"),
    ):  # fmt: skip
        module = catalog.load("agents", name)
        with pytest.raises(UserError, match=f"{role}={name}: {name} {why}"):
            QuoterSeat(name, lambda spec, m=module: m.make(m.Config(), spec), CONFIG, role)


def test_what_is_known_beforehand_is_of_this_market() -> None:
    calm = CONFIG.model_copy(update={"informed": 0, "trend": 0, "unbound": 0})
    wild = CONFIG.model_copy(update={"unbound": 30})
    first, second = book_spec(calm, "maker"), book_spec(wild, "maker")
    assert 0.0 < first.volatility < second.volatility and first.intensity > 0.0 and first.decay > 0.0
    assert book_spec(calm, "execution").horizon == 30 and first.horizon == 0


def test_a_crowd_that_others_excite_is_measured_too() -> None:
    """More come in a step than the mean: all of them have room in the log that volatility and reach are read from."""
    spec = book_spec(CrowdConfig(messages=2, hawkes=4, hawkes_rate=6.0), "execution")
    assert spec.volatility > 0.0
    assert spec.intensity > 0.0
