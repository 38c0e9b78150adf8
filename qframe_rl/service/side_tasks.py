"""The process aside of the service: ``python -m qframe_rl.service.side_tasks``; a line of JSON in, a line out.

Only checkpoints of the service's list are loaded, and those name nothing outside the catalogue: a dotted path would be
a stranger's code (`qframe_rl.manifest.check_names`).
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import Unavailable, UserError
from qframe_rl.evaluate.report.verdict import in_short, verdict
from qframe_rl.evaluate.trials import Luck, Trials, luck, user_ledger
from qframe_rl.journal.codec import bar_in, numbers
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.store import last_events, read
from qframe_rl.types import Bar, Instrument

_LONGEST = 200_000
"""Bars of a session that are gone through again."""


def sight(journal: str, checkpoint: str, seq: int, exposure: Sequence[float]) -> dict[str, Any]:
    """Features that a policy saw at a bar, by name: as they are, and as they were scaled for it.

    Parameters
    ----------
    journal
        Folder of the session.
    checkpoint
        Folder of its checkpoint.
    seq
        Event of the bar.
    exposure
        (A,) what it held, share of equity.
    """
    market, agent, terms = _reopened(journal, checkpoint)
    symbols = [i.symbol for i in terms.instruments]
    if terms.execute is not None or not hasattr(agent, "interface"):
        note = f"{terms.name} decides by a rule on the bars themselves; it has no features."
        if terms.execute is not None:
            note = f"{terms.name} decides on bars of its own, coarser than these, on which its orders are worked."
        return {"names": [], "symbols": symbols, "raw": [], "scaled": [], "exposure": list(exposure), "note": note}
    observer, path = market.interface.observer, Path(journal) / JOURNAL
    events = last_events(path, "bar", seq, observer.lookback)
    bars = [bar_in(parsed(path, e.seq, e.kind, e.payload)) for e in events]
    raw = observer.raw(np.stack([b.values for b in bars]), np.array([b.time for b in bars]), len(bars) - 1)[-1]
    names = [feature.name for feature in observer.features]
    scaled = observer.scaler(raw).astype(np.float64)
    return {
        "names": names, "symbols": symbols, "raw": numbers(raw), "scaled": numbers(scaled), "exposure": list(exposure),
        "note": None,
    }  # fmt: skip


class _Recorded:
    """The bars of a journal, as a feed."""

    def __init__(self, path: Path, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int):
        self.path, self.instruments, self.columns, self.bar_ns = path, instruments, columns, bar_ns

    def __iter__(self) -> Iterator[Bar]:
        for n, event in enumerate(e for e in read(self.path) if e.kind == "bar"):
            if n >= _LONGEST:
                raise UserError(f"the session has more than {_LONGEST:,} bars; qframe replay goes through all of them.")
            yield bar_in(parsed(self.path, event.seq, event.kind, event.payload))


def backtest(journal: str, checkpoint: str) -> dict[str, Any]:
    """Let a session's checkpoint trade its bars again by the rule for bars alone: nobody commands, nothing fails."""
    from qframe_rl.deploy import venue_of
    from qframe_rl.session import Session

    market, agent, terms = _reopened(journal, checkpoint)
    feed = _Recorded(Path(journal) / JOURNAL, terms.instruments, terms.columns, terms.bar_ns)
    session = Session(feed, venue_of(market), terms.window)
    view = session.start()
    times, equity, fills = [view.time], [float(view.account.equity)], 0
    while not view.over:
        view = session.step(agent.decide(view))
        times.append(view.time)
        equity.append(float(view.account.equity))
        fills += int(np.count_nonzero(view.fills.quantity))
    return {"time_ns": times, "equity": equity, "fills": fills}


def words(rows: Sequence[Any], facts: Any) -> dict[str, Any]:
    """The verdict on each row of a leaderboard in a few words, and that on a study with its reasons."""
    try:
        whole = None if not facts else verdict(facts)
        said = [in_short(row) for row in rows]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError("its leaderboard or its study is none that a run writes.") from None
    told = None if whole is None else {"headline": whole.headline, "tone": whole.colour, "reasons": list(whole.reasons)}
    return {"rows": said, "study": told}


def trials() -> list[dict[str, Any]]:
    """What the user's ledger has of each data set, and what luck alone would show there."""
    ledger = Trials(user_ledger())
    found = []
    for fingerprint, known in _datasets(ledger).items():
        lucky: Luck = luck(known)
        best = max(known, key=lambda one: one.mean / one.deviation if one.deviation > 0.0 else -np.inf)
        n_bars = int(np.median([one.bars for one in known]))
        found.append(
            {"dataset": known[-1].dataset, "fingerprint": fingerprint, "rows": len(known), "trials": lucky.trials,
             "effective": lucky.effective, "agents": sorted({one.agent for one in known}), "best": best.agent,
             "best_ratio": best.mean / best.deviation * best.bars**0.5 if best.deviation > 0.0 else None,
             "luck_ratio": lucky.benchmark(n_bars) * n_bars**0.5, "since": min(one.since for one in known),
             "until": max(one.until for one in known), "bars": n_bars}
        )  # fmt: skip
    return found


def _datasets(ledger: Trials) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in ledger.every():
        found.setdefault(row.fingerprint, []).append(row)
    return found


def _reopened(journal: str, checkpoint: str) -> tuple[Any, Any, Any]:
    from qframe_rl.live.open import reopened

    return reopened(Path(journal) / JOURNAL, Path(checkpoint))


TASKS: dict[str, Callable[..., Any]] = {"sight": sight, "backtest": backtest, "words": words, "trials": trials}


def answered(line: str) -> dict[str, Any]:
    """The answer to one line."""
    given = json.loads(line)
    try:
        return {"done": TASKS[given.pop("task")](**given)}
    except (UserError, Unavailable) as error:
        return {"refused": str(error)}


def main() -> None:
    """Answer until the input ends, or nobody asks for a while."""
    os.nice(5)
    idle = float(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    with os.fdopen(out, "w") as answers:
        while select.select([sys.stdin], [], [], idle)[0] and (line := sys.stdin.readline()):
            answers.write(json.dumps(answered(line)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
