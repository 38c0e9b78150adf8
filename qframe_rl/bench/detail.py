"""Steps of environments whose bars consist of finer ones, beside steps of the same without them."""

from __future__ import annotations

from functools import cache

from gymnasium.vector import AutoresetMode

from qframe_rl.bench.measure import BenchmarkRow, Work, rows
from qframe_rl.bench.worlds import EIGHT, ROWS, bars
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.feeds.finer import with_made_up
from qframe_rl.gym.market import whole
from qframe_rl.types import MINUTE, History

ACTIONS: dict[str, object] = {
    "bracket": {"name": "bracket", "params": {}},
    "trailing": {"name": "bracket", "params": {"trailing": True}},
    "levels": "levels",
    "limit": "limit",
}
"""Action schemes: exits that rest, such whose stop trails, market orders alone, and limits near every bar."""
N_ENVS = 1024
_DRAWN = 64


def detail_work(small: bool) -> dict[str, Work]:
    """Steps of a batch at random actions, for each scheme with the minutes of hours and without."""
    n_bars, steps = (700, 4) if small else (20_000, 100)
    return {
        f"{name}.{way}": _steps(n_bars, steps, actions, way == "inside")
        for name, actions in ACTIONS.items()
        for way in ("whole", "inside")
    }


def detail_rows(found: dict[str, float]) -> list[BenchmarkRow]:
    """A line for each scheme."""
    return [
        row
        for name in ACTIONS
        for row in rows(f"detail.{name}", N_ENVS, found[f"{name}.inside"], "steps/s", {f"{name}.whole": 1.0}, found)
    ]


@cache
def _history(n_bars: int) -> History:
    return with_made_up(bars(n_bars), MINUTE, 3)


def _steps(n_bars: int, steps: int, actions: object, inside: bool) -> Work:
    history = _history(n_bars)
    params = {"features": EIGHT, "n_rows": ROWS, "actions": actions} | ({"detail": "1m"} if inside else {})
    market = make_market(Ref(name="perp", params=params), history.instruments, history.columns, history.bar_ns)
    parts = [(history, whole(history))]
    market = market.fit(parts)
    envs = market.vec(market.tape(parts), N_ENVS, AutoresetMode.SAME_STEP, "index")
    envs.action_space.seed(0)
    drawn = [envs.action_space.sample() for _ in range(_DRAWN)]

    def do() -> float:
        envs.reset(seed=1)
        for t in range(steps):
            envs.step(drawn[t % _DRAWN])
        return float(steps * N_ENVS)

    return do
