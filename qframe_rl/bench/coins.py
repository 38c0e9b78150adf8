"""Many settings on many coins, each coin by itself: how fast, and whether memory stays what it was.

Measured in a process of its own (``python -m qframe_rl.bench.coins SETTINGS COINS BARS``), whose peak is not that of
what was measured before.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qframe_rl import catalog
from qframe_rl.agent import Planner
from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.batch import Lane, lane, sweep
from qframe_rl.runner.log import Screen
from qframe_rl.types import Segment

PLAIN = {"exit": 0.0, "max_age_days": 10_000.0, "quiet": 1.0, "wild": 1.0}
"""Mean reversion without its regimes, as peers have it."""
_ROOT = Path(__file__).resolve().parents[2]
_MEANS = 100
"""Windows of the rule; each goes with as many thresholds as it takes."""
_WARM_UP = 500


class SweptCoins(NamedTuple):
    """One sweep in a process of its own."""

    seconds: float
    """Without the start of the process."""
    peak: float
    """Greatest resident memory, MB."""


def coins_rows(small: bool, screen: Screen) -> list[BenchmarkRow]:
    """Account-bars a second of 10,000 settings x 40 coins x 5 years of hours, and the peak against a tenth of them."""
    settings, n_coins, n_bars = (400, 2, 2000) if small else (10_000, 40, 5 * 8760)
    title = "sweep.coins"
    screen.begin(title)
    few, all_ = (_apart(n, n_coins, n_bars, screen, title) for n in (settings // 10, settings))
    screen.end(title, f"{settings:,} settings of {n_coins} coins in {all_.seconds:.0f} s")
    rate = settings * n_coins * n_bars / all_.seconds
    return [
        BenchmarkRow(title, settings, rate, "account-bars/s", "", None),
        BenchmarkRow(f"{title}_seconds", settings, all_.seconds, "s", "a tenth of them", all_.seconds / few.seconds),
        BenchmarkRow(f"{title}_memory", settings, all_.peak, "MB", "a tenth of them", all_.peak / few.peak),
    ]


def _apart(settings: int, n_coins: int, n_bars: int, screen: Screen, title: str) -> SweptCoins:
    command = [sys.executable, "-m", __name__, str(settings), str(n_coins), str(n_bars)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            done, seconds, peak = line.split()
            screen.advance(title, int(done), n_coins, f"coins of {settings:,} settings")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return SweptCoins(float(seconds), float(peak))


def main() -> None:
    """Sweep; a line for each coin that is done: how many, seconds, and the peak in MB."""
    settings, n_coins, n_bars = (int(text) for text in sys.argv[1:])
    sweep_coin(0, _MEANS, 2 * _WARM_UP)  # compiles
    began, kept = time.perf_counter(), list[list[float]]()
    for coin in range(n_coins):
        kept.append(sweep_coin(coin, settings, n_bars))
        print(coin + 1, time.perf_counter() - began, peak(), flush=True)


def peak() -> float:
    """Greatest resident memory of this process, MB; what getrusage says of a child begins with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def sweep_coin(seed: int, settings: int, n_bars: int) -> list[float]:
    """Equity at the end of each setting on a coin that reverts to its mean.

    Parameters
    ----------
    seed
        Of the coin.
    settings
        How many; the settings of up to 100 windows.
    n_bars
        Hours.
    """
    history = synthetic("ou", n_bars, seed=seed)
    market = make_market(Ref(name="spot"), history.instruments, history.columns, history.bar_ns)
    module, spec = catalog.load("agents", "mean_reversion"), market.spec(history.columns, 0)
    whole, each = Segment(_WARM_UP, n_bars), -(-settings // _MEANS)

    def lanes() -> Iterator[Lane]:
        for k in range(settings):
            config = module.Config(mean_bars=20 + 4 * (k // each), entry=1.0 + 2.0 * (k % each) / each, **PLAIN)
            agent: Planner = module.make(config, spec)
            yield lane(agent, history, whole, _WARM_UP)

    return sweep(market, lanes(), lambda result: float(result.equity[-1]), curves=False)


if __name__ == "__main__":
    main()
