"""Several histories on one tape, and what an environment costs beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_market
from qframe_rl.gym.engine import Recycler
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.gym.market import Market, whole
from qframe_rl.types import Segment
from tests.markets import panel

PARAMS = {"features": ["log_return:1", "volatility:12"], "episode_bars": 30}


def market(history: object) -> Market:
    h = panel(10, 1)
    return make_market(Ref(name="perp", params=PARAMS), h.instruments, h.columns, h.bar_ns)


def test_episodes_of_several_histories_stay_inside_one_and_reach_all() -> None:
    histories = [panel(n, 1, seed=n) for n in (60, 200, 500)]
    env = make_env("perp", histories, **PARAMS)
    bounds = np.cumsum([0, 60, 200, 500])
    seen = set()
    starts = set()
    for seed in range(300):
        env.reset(seed=seed)
        start, last = int(env.engine.row[0]), int(env.engine.last[0])
        which = int(np.searchsorted(bounds, start, side="right")) - 1
        assert bounds[which] + 12 <= start
        assert last < bounds[which + 1]
        assert last - start == 30
        seen.add(which)
        starts.add(start)
    assert seen == {0, 1, 2}
    assert len(starts) > 150


def test_whole_runs_start_at_their_first_bar() -> None:
    history = panel(200, 1)
    env = make_env("perp", history, **{**PARAMS, "episode_bars": None})
    env.reset(seed=5)
    assert int(env.engine.row[0]) == 12
    assert int(env.engine.last[0]) == 199


def test_segments_are_kept_apart() -> None:
    history = panel(400, 1)
    made = market(history)
    tape = made.tape([(history, (Segment(50, 100), Segment(300, 310), Segment(399, 400)))])
    assert tape.runs.tolist() == [[49, 99], [299, 309], [398, 399]]
    with pytest.raises(UserError, match="no segment is long enough"):
        made.tape([(history, (Segment(0, 13),))])


def test_a_recycled_array_is_nobodys() -> None:
    recycler = Recycler((300, 50), np.float32)
    first = recycler.take()
    view = first[3:]
    address = first.ctypes.data
    del first
    second = recycler.take()
    assert second.ctypes.data != address  # the view still reads it
    del view
    third = recycler.take()
    assert third.ctypes.data == address
    assert second.ctypes.data != third.ctypes.data


def test_an_environment_costs_half_a_kilobyte_beyond_the_tape() -> None:
    history = panel(2_000, 1)
    vec = make_vec("perp", 4096, history, **PARAMS)
    vec.reset(seed=0)
    arrays = [a for a in vars(vec.engine).values() if isinstance(a, np.ndarray)]
    per_env = sum(a.nbytes for a in arrays) / 4096
    assert per_env <= 512
    assert vec.engine.tape.n_bytes > 100_000


def test_the_scaler_is_fitted_on_the_segments_alone() -> None:
    history = panel(400, 1, ragged=False)
    made = market(history)
    one = made.fit([(history, (Segment(100, 200),))]).interface.observer.scaler
    rows = made.interface.observer.raw(history.values, history.time)[100:200].reshape(-1, 2)
    assert one.mean == pytest.approx(rows.mean(axis=0))
    assert one.scale == pytest.approx(rows.std(axis=0))
    assert whole(history) == (Segment(0, 400),)
