"""Kill a recorder of ticks at random instants while an exchange goes on, and hold its files to what was told.

``python -m tests.soak.ticks --kills 30``: nothing that could be read after a kill is gone or doubled later, every run
is a piece without a gap of what the exchange told, and no row is in two runs.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.tick_files import tidied
from qframe_rl.feeds.ticks import TickRun, tick_runs, ticks_folder
from tests.feeds.tick_exchange import MS, TickExchange
from tests.soak.kills import killed

MARKET = Listing("binance", "BTC/USDT:USDT")
_CHILD = """
import sys
from pathlib import Path
from qframe_rl.feeds.tick_record import FileSizes, record_ticks
sizes = FileSizes(part_s=0.15, part_rows=400, run_s=2.0)
record_ticks("binance", [sys.argv[1]], Path(sys.argv[2]), url=sys.argv[3], sizes=sizes)
"""
Row = tuple[int, int, int, int, int]


def rows(run: TickRun) -> list[Row]:
    """Stamp by the exchange, kind, side, tick and lots of each row but those of the whole book; in order of arrival."""
    told = run.events.where(run.events.kind != SNAPSHOT)
    columns = (told.exchange_ns, told.kind, told.side, told.tick, told.lots)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def recorded(root: Path) -> list[list[Row]]:
    """Rows of all runs that are there."""
    folder = ticks_folder(root, MARKET)
    if not any(path.name.endswith(("_depth.parquet", "_depth.00000.parquet")) for path in sorted(folder.glob("2*"))):
        return []
    return [rows(run) for run in tick_runs(root, MARKET)]


def held(exchange: TickExchange, runs: list[list[Row]]) -> int:
    """Messages in runs, each of which is a piece of what was told; fails if one is not."""
    at = {frame.at_ms * MS: k for k, frame in enumerate(exchange.frames[: exchange.position])}
    seen: set[tuple[int, int]] = set()
    for run in runs:
        for kind in (DEPTH, TRADE):
            got = [row for row in run if row[1] == kind]
            numbers = list(dict.fromkeys(at[row[0]] for row in got))
            if not numbers:
                continue
            piece = range(numbers[0], numbers[-1] + 1)
            assert numbers == [k for k in piece if exchange.frames[k].kind == kind], "a message is missing in a run"
            told = [
                (frame.at_ms * MS, kind, side, tick, lots)
                for frame in (exchange.frames[k] for k in numbers)
                for side, levels in enumerate(frame.levels) for tick, lots in levels
            ]  # fmt: skip
            assert got == told, "a row is another one"
            assert seen.isdisjoint((kind, k) for k in numbers), "a message is in two runs"
            seen |= {(kind, k) for k in numbers}
    return len(seen)


def soak(root: Path, kills: int, seed: int, pace: float = 300.0) -> dict[str, int]:
    """Kill so many times."""
    dice, exchange = random.Random(seed), TickExchange(MARKET, n=int(kills * 12 * pace), pace=pace)
    before: list[list[Row]] = []
    with exchange.running():
        for _ in range(kills):
            child = subprocess.Popen([sys.executable, "-c", _CHILD, MARKET.symbol, str(root), exchange.url])
            try:
                early, begun = dice.random() < 0.1, sum(map(len, before))
                until = time.monotonic() + 60.0
                while not early and sum(map(len, recorded(root))) <= begun:
                    assert child.poll() is None and time.monotonic() < until, "the recorder writes nothing"
                    time.sleep(0.05)
                time.sleep(dice.uniform(0.0, 2.0))
                alive = recorded(root)
            finally:
                child.kill()
                child.wait()
            now = recorded(root)
            _kept(before, alive, now)
            before = now
        assert not exchange.done, "the run of the exchange was too short"
        tidied(ticks_folder(root, MARKET))
        now = recorded(root)
        assert now == before, "putting the files in order changed them"
        return {"kills": kills, "files": len(now), "messages": held(exchange, now), "rows": sum(map(len, now))}


def _kept(before: list[list[Row]], alive: list[list[Row]], now: list[list[Row]]) -> None:
    """Fail if a row that was there is gone, before a kill or shortly before the next; what lives may grow."""
    assert len(now) >= len(alive) >= len(before)
    assert alive[: len(before)] == before, "what a kill had left is another now"
    for old, new in zip(alive, now, strict=False):
        assert new[: len(old)] == old, "what was written is another after a kill"


if __name__ == "__main__":
    killed(__doc__, soak, 30, "none lost, none doubled")
