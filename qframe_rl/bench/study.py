"""How long a study takes: the strategies by rules of the board, on bars that need no download."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.bench.peers import Peers
from qframe_rl.config import build
from qframe_rl.runner.log import Screen, Silent
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import study as run

_BOARD: dict[str, Any] = {
    "agents": ("tsmom=momentum", "macd=momentum", "mean_reversion", "adaptive_mean_reversion", "random", "ensemble"),
    "agent": {"macd": {"rule": "macd", "lookback_bars": 168}, "ensemble": {"method": "risk_parity"}},
}


def study(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Seconds of a walk-forward study in eight windows over six years of hours, as the board's of one coin."""
    bars, windows, repeats = (3_000, 2, 1) if small else (52_560, 8, repeats)
    made = _BOARD | {"data": {"data": "synthetic:gbm", "bars": bars, "seed": 1}, "walk_forward": windows}
    config = build(Study, made, "benchmark")
    taken = []
    screen.begin("study")
    for turn in range(repeats + 1):
        screen.advance("study", turn, repeats + 1, "studies")
        with tempfile.TemporaryDirectory() as place:
            start = time.perf_counter()
            run(config, Path(place), Silent(), ledger=Path(place) / "ledger.sqlite")
            taken.append(time.perf_counter() - start)
    screen.end("study", f"median of {repeats}, after one that compiles")
    return [BenchmarkRow("study.board", windows, statistics.median(taken[1:]), "s", "", None)]
