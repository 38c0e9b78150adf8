"""Two years of replayed hours as a session that refits every 30 days: it has the hash of the study at that cadence.

``python -m tests.long.cadence``: needs ``QFRAME_DATA``; the study, the session with its training processes, its replay.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import evaluate, paper, replay
from experiments.cli import door

AGENT = "mean_reversion"
STUDY = (
    AGENT, "--symbols", "BTC/USDT", "--from", "2022-01-01", "--to", "2025-01-01", "--refit", "30d", "--refit-lag", "1d",
    "--train", "8760", "--set", f"agent.{AGENT}.entry=fitted",
)  # fmt: skip
NICE = ("--refit-nice", "0")
"""A busy machine gives the lowest priority next to nothing, and the session waits."""


def main() -> int:
    """Run them, and compare."""
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        said = run(evaluate.main, [*STUDY, "--runs", str(folder / "runs"), "--ledger", str(folder / "ledger")])
        judged, models = said["procedure"], Path(said["run"]) / "models" / AGENT
        studied = time.monotonic() - began
        out = str(folder / "session")
        told = run(paper.main, [str(models / "0000"), "--refit", "30d", "--from", judged["from"], *NICE, "--out", out])
        traded = time.monotonic() - began - studied
        again = run(replay.main, [out])
    hashes = {judged["hashes"][AGENT], told["journal_hash"], again["journal_hash"]}
    print(f"bars={told['bars']} study={studied:.0f}s session={traded:.0f}s hashes={', '.join(sorted(hashes))}")
    return int(len(hashes) > 1 or told["bars"] < 17_000)


def run(main: Any, argv: Sequence[str]) -> dict[str, Any]:
    """What a door says as JSON."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = door(main, [*argv, "--json"])
    if code:
        raise SystemExit(code)
    found: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
