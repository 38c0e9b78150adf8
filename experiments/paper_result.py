"""What a session on bars came to, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import called
from experiments.shadowing import said

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.live.paper import SessionResult


def said_of(
    result: SessionResult, out: Console, came: Sequence[str], shadows: Mapping[str, Any], *, as_json: bool
) -> dict[str, Any] | None:
    """Say how a session ended; give the JSON object where one is asked for.

    Parameters
    ----------
    result
        What it came to.
    out
        Where it is said.
    came
        The signals that stopped it.
    shadows
        How each of its shadows stands to it.
    as_json
        Whether the object is asked for.
    """
    from qframe_rl.live.capital import paid_in
    from qframe_rl.live.status import drift_said

    more = f" ({result.repeated} of them on record before)" if result.repeated else ""
    drift = drift_said(result.drift_bps, result.drift_fills)
    drift = f"{drift}\n" if drift else ""
    how = f"{result.state} by {came[0]}" if result.state == "stopped" and came else result.state
    if result.awaited:
        out.print(
            f"{how} during the warm-up: {result.awaited} bars were still needed before the first decision, so nothing "
            f"was traded; journal {result.journal}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    else:
        out.print(
            f"{how} after {result.bars} bars{more} with equity {result.final_equity:,.2f}{paid_in(result.paid)}; "
            f"journal {result.journal}\n{drift}"
            f"Run it again from its record: {called('replay', result.journal)}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if result.risk_state != "ACTIVE":
        out.print(f"It is {result.risk_state}{_why(result.journal)}.", highlight=False, soft_wrap=True)
    for one in result.dust:
        out.print(str(one), highlight=False)
    for name, stands in shadows.items():
        out.print(said(name, stands), highlight=False, soft_wrap=True)
    if not as_json:
        return None
    return {
        **({"shadows": shadows} if shadows else {}),
        "dust": [one._asdict() for one in result.dust],
        "final_equity": result.final_equity,
        "paid_in": result.paid / 1e8,
        "bars": result.bars,
        "journal": str(result.journal),
        "journal_hash": result.digest,
        "state": result.state,
        "risk_state": result.risk_state,
        "drift_bps": result.drift_bps,
        "drift_fills": result.drift_fills,
    }


def _why(journal: Path) -> str:
    """Since when a session is in its state, and by what."""
    from qframe_rl.journal.store import last_events
    from qframe_rl.types import iso

    for event in last_events(journal, "state", 2**62, 1):
        said = json.loads(event.payload)
        return f" since {iso(said['time'])}: {', '.join(said['reasons'])}"
    return ""
