"""Live sessions at full speed: decisions, journal, memory, and how long a restart takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Agent, View
from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.bench.peers import Peers
from qframe_rl.config import Ref
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.live.spec import SessionSpec
from qframe_rl.risk.engine import RiskDecision
from qframe_rl.runner.log import Screen
from qframe_rl.types import History, Orders, Segment

WARM_UP = 400
"""Bars before the first decision."""


class BenchWorld(NamedTuple):
    """A market, a strategy for it, and bars."""

    history: History
    market: Market
    agent: Agent
    terms: SessionSpec


def session(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Figures of one session of 100,000 bars, and of one of 5,000 that waits for the disk at each bar.

    It is long, so it is run once, whatever ``repeats`` says; a short one before it, which is not counted, compiles.
    """
    whole, durable = world(1_000 if small else 100_000), world(300 if small else 5_000)
    meter = Meter(screen, len(whole.history) - WARM_UP)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        screen.begin("paper")
        run(world(100), folder / "first", durable=True)
        begun = time.perf_counter()
        result = run(whole, folder / "whole", listeners=[meter], told=[meter])
        took = time.perf_counter() - begun
        size = result.journal.stat().st_size / result.bars
        begun = time.perf_counter()
        again = run(whole, folder / "whole")
        resumed = time.perf_counter() - begun
        assert again.digest == result.digest
        other = Meter(screen, len(durable.history) - WARM_UP)
        kept = run(durable, folder / "durable", listeners=[other], told=[other], durable=True)
        begun = time.perf_counter()
        replayed = replay(durable.market, durable.agent, durable.terms, kept.journal)
        rate = replayed.bars / (time.perf_counter() - begun)
        screen.end("paper", f"{result.bars:,} bars")
    return [
        BenchmarkRow("paper.bars", 1, result.bars / took, "bars/s", "", None),
        BenchmarkRow("paper.decision", 1, meter.latency_ms(50.0), "ms, median", "", None),
        BenchmarkRow("paper.decision_p99", 1, meter.latency_ms(99.0), "ms, 99th percentile", "", None),
        BenchmarkRow("paper.decision_on_disk", 1, other.latency_ms(50.0), "ms, median", "", None),
        BenchmarkRow("paper.decision_on_disk_p99", 1, other.latency_ms(99.0), "ms, 99th percentile", "", None),
        BenchmarkRow("paper.journal", 1, size, "bytes/bar", "", None),
        BenchmarkRow("paper.growth", 1, meter.growth_mib(), "MiB", "", None),
        BenchmarkRow("paper.resume", 1, resumed, "s", "", None),
        BenchmarkRow("paper.replay", 1, rate, "bars/s", "", None),
    ]


def world(n_bars: int, agent: str = "momentum") -> BenchWorld:
    """A market of one instrument, and a strategy that trades now and then."""
    history = synthetic("ar1", n_bars=n_bars + WARM_UP)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    market = market.fit([(history, (Segment(0, WARM_UP),))])
    made = make_agent(agent, catalog.load("agents", agent).Config(), market, history.columns, 0, None)
    window = window_of(market, made)
    return BenchWorld(
        history,
        market,
        made,
        SessionSpec("benchmark", "", {}, history.instruments, history.columns, history.bar_ns, window),
    )


def run(
    made: BenchWorld, folder: Path, *, listeners: Sequence[Any] = (), told: Sequence[Any] = (), durable: bool = False
) -> SessionResult:
    """Run a session to its end, or go on with it."""
    feed = ReplayFeed(made.history, Segment(WARM_UP, len(made.history)), made.terms.window)
    return paper(
        made.market, made.agent, feed, made.terms, folder, listeners=listeners, told=told, durable=durable
    )  # fmt: skip


class Meter:
    """Notes the latency of each decision, and memory every hundred bars."""

    def __init__(self, screen: Screen, n_bars: int):
        self._screen, self._n_bars = screen, n_bars
        self._seconds = np.full(n_bars, np.nan)
        self._memory = np.full(n_bars // 100 + 1, np.nan)
        self._n = 0

    def latency_ms(self, percentile: float) -> float:
        """From a bar's arrival to its decision in the journal."""
        return float(np.nanpercentile(self._seconds, percentile) * 1e3)

    def growth_mib(self) -> float:
        """Memory at the end over that after a twentieth of the bars."""
        return float(self._memory[self._n // 100] - self._memory[self._n_bars // 20 // 100])

    def started(self, view: View) -> None:
        """Note the memory before the first bar."""
        self._memory[0] = resident_mib()

    def settled(self, view: View, orders: Orders) -> None:
        """Note the memory now and then."""
        self._n += 1
        if self._n % 100 == 0:
            self._memory[self._n // 100] = resident_mib()
            self._screen.advance("paper", self._n, self._n_bars)

    def ended(self, view: View) -> None:
        """Nothing more."""

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """Note the latency."""
        if self._n < self._n_bars:
            self._seconds[self._n] = seconds

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """Not counted."""


def resident_mib() -> float:
    """Memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 2**20
