"""A hundred thousand bars at full speed: memory, journal size, decision latency, time to resume.

``python -m tests.soak.endurance --bars 100000``
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import View
from qframe_rl.config import Ref
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.risk.engine import Verdict
from qframe_rl.runner.backtest import window_of
from qframe_rl.runner.deploy import make_agent, make_market
from qframe_rl.runner.paper import Terms, paper, replay
from qframe_rl.runner.recorded import ReplayFeed
from qframe_rl.types import Orders, Segment


def resident_mib() -> float:
    """Memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


class Meter:
    """Notes memory now and then, and the latency of each decision."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.memory: list[tuple[int, float]] = []

    def started(self, view: View) -> None:
        """Nothing yet."""

    def settled(self, view: View, orders: Orders) -> None:
        """Note the memory every thousand bars."""
        if len(self.seconds) % 1000 == 0:
            self.memory.append((len(self.seconds), resident_mib()))

    def ended(self, view: View) -> None:
        """Nothing more."""

    def decided(self, view: View, verdict: Verdict, seconds: float) -> None:
        """Note the latency."""
        self.seconds.append(seconds)

    def changed(self, *_: Any) -> None:
        """Not counted."""


def measure(n_bars: int, agent_name: str, durable: bool) -> dict[str, float]:
    """Run one session; return its figures."""
    history = synthetic("ar1", n_bars=n_bars + 400)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    segment = Segment(len(history) - n_bars, len(history))
    market = market.fit([(history, (Segment(0, len(history) - n_bars),))])
    agent = make_agent(agent_name, catalog.load("agents", agent_name).Config(), market, history.columns, 0, None)
    window = window_of(market, agent)
    terms = Terms("soak", "", {}, history.instruments, history.columns, history.bar_ns, window)
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        feed = ReplayFeed(history, segment, window)
        begun = time.monotonic()
        result = paper(
            market, agent, feed, terms, Path(folder), listeners=[meter], desks=[meter], durable=durable,
        )  # fmt: skip
        took = time.monotonic() - begun
        size = result.journal.stat().st_size
        begun = time.monotonic()
        again = replay(market, agent, terms, result.journal)
        assert again.digest == result.digest
        replayed = time.monotonic() - begun
    warm = next(mib for bar, mib in meter.memory if bar >= min(5000, n_bars // 4))
    late = np.array(meter.seconds) * 1e3
    return {
        "bars": result.bars,
        "growth_mib": meter.memory[-1][1] - warm,
        "journal_bytes_per_bar": size / result.bars,
        "decision_ms_median": float(np.median(late)),
        "decision_ms_p99": float(np.percentile(late, 99)),
        "bars_per_s": result.bars / took,
        "resume_bars_per_s": result.bars / replayed,
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=100_000)
    parser.add_argument("--agent", default="momentum")
    parser.add_argument("--durable", action="store_true", help="wait for the disk at each bar, as live sessions do")
    given = parser.parse_args()
    print(" ".join(f"{k}={v:,.3f}" for k, v in measure(given.bars, given.agent, given.durable).items()))


if __name__ == "__main__":
    main()
