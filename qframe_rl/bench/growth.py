"""How the cost of a step grows with accounts, bars of a window, instruments and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qframe_rl.bench.measure import BenchmarkRow, Work, rates
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.steps import batch
from qframe_rl.bench.worlds import EIGHT, bars, world
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.plot import INK, PALETTE, panels
from qframe_rl.gym.market import Market, whole
from qframe_rl.gym.packed import PackedHistory
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.log import Screen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BATCHES = (16, 64, 256, 1024, 4096, 16384)
_WINDOWS = (1, 8, 32, 128)
_INSTRUMENTS = (1, 2, 4, 8, 16, 32)
_RULES = ("fee", "+ spread, impact, caps", "+ margin, funding", "+ risk limits")
_LIMITS = Limits(max_leverage=2.0, max_drawdown=0.5)
_AT = 1024
"""Accounts, where they do not grow."""


def growth(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Steps a second, with everything but one thing held still."""
    n_bars, n_steps = (2000, 20_000) if small else (100_000, 2_000_000)
    one, work = world(n_bars), dict[str, Work]()
    for n in _BATCHES:
        for observation in ("index", "window"):
            steps = max(n_steps // n, 4) if observation == "index" else max(n_steps // n // 3, 4)
            work[f"growth.batch.{observation}:{n}"] = batch(one, n, steps, observation)
    for n_rows in _WINDOWS:
        work[f"growth.window.{n_rows}:{_AT}"] = batch(world(n_bars, 1, n_rows), _AT, n_steps // _AT // 3, "window")
    for n in _INSTRUMENTS:
        work[f"growth.instruments.{n}:{_AT}"] = batch(world(n_bars // 10, n), _AT, n_steps // _AT // n + 4, "index")
    for name, ruled in zip(_RULES, _worlds(n_bars), strict=True):
        work[f"growth.rules.{name}:{_AT}"] = batch(ruled, _AT, n_steps // _AT, "index")
    found = rates(work, repeats, screen, "growth")
    return [
        BenchmarkRow(name, int(n), rate, "steps/s", "", None)
        for (name, n), rate in ((key.rsplit(":", 1), rate) for key, rate in found.items())
    ]


def _worlds(n_bars: int) -> list[tuple[Market, PackedHistory]]:
    """One instrument under more and more rules."""
    history = bars(n_bars)
    plain = {"features": EIGHT, "n_rows": 32, "actions": {"name": "levels", "params": {"levels": (0.0, 0.5, 1.0)}}}
    free = plain | {"half_spread_bps": 0.0, "impact": 0.0, "volume_share": 1.0}
    worlds = []
    for name, params, limits in (
        ("spot", free, Limits()), ("spot", plain, Limits()), ("perp", plain, Limits()), ("perp", plain, _LIMITS)
    ):  # fmt: skip
        env = Ref(name=name, params=params)
        market = make_market(env, history.instruments, history.columns, history.bar_ns, limits)
        market = market.fit([(history, whole(history))])
        worlds.append((market, market.tape([(history, whole(history))])))
    return worlds


def picture(found: Sequence[BenchmarkRow]) -> Figure:
    """Draw what `growth` found: nanoseconds of a step over each thing that grows."""
    cost = {(row.name, row.batch): 1e9 / row.value for row in found if row.name.startswith("growth.")}
    figure, (batches, windows, instruments, rules) = panels(
        4, "What a step costs, and how that grows", 4.6, 3.2, least=7.0, more=0.6
    )
    for k, observation in enumerate(("index", "window")):
        _line(batches, _BATCHES, [cost[f"growth.batch.{observation}", n] for n in _BATCHES], k, observation)
    batches.set_xlabel("Accounts side by side (windows of 32 bars x 8)")
    batches.legend(frameon=False, fontsize=9, labelcolor=INK)
    _line(windows, _WINDOWS, [cost[f"growth.window.{n}", _AT] for n in _WINDOWS], 1)
    windows.set_xlabel(f"Bars of a window, {_AT:,} accounts")
    _line(instruments, _INSTRUMENTS, [cost[f"growth.instruments.{n}", _AT] for n in _INSTRUMENTS], 0)
    instruments.set_xlabel(f"Instruments of an account, index, {_AT:,} accounts")
    for ax in (batches, windows, instruments):
        ax.set_ylabel("Nanoseconds a step of one account")
    of_rules = [cost[f"growth.rules.{name}", _AT] for name in _RULES]
    rules.barh(range(len(_RULES)), of_rules, color=PALETTE[0], alpha=0.5, height=0.6)
    rules.set_yticks(range(len(_RULES)), _RULES, color=INK)
    rules.invert_yaxis()
    rules.grid(axis="y", visible=False)
    rules.set_xlabel(f"Nanoseconds a step, index, {_AT:,} accounts")
    return figure


def _line(ax: Axes, x: Sequence[int], y: Sequence[float], k: int, label: str = "") -> None:
    ax.plot(x, y, "o-", color=PALETTE[k], linewidth=1.7, markersize=4.5, label=label)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(x, [f"{n:,}" for n in x])
    ax.set_yticks(_ticks(y), [f"{n:,}" for n in _ticks(y)])
    ax.minorticks_off()


def _ticks(y: Sequence[float]) -> list[int]:
    steps: Mapping[int, int] = {1: 2, 2: 5, 5: 10}
    ticks: list[int] = []
    size, lead = 1, 1
    while not ticks or ticks[-1] < max(y):
        if size * lead * 2 > min(y):
            ticks.append(size * lead)
        lead = steps[lead]
        if lead == 10:
            size, lead = size * 10, 1
    return ticks
