"""Where figures come from, in words: no output stands without it.

Only an exchange's production data may stand in a performance report unmarked. Everything that shows a figure takes its
mark from here, so that testnet, synthetic and unknown data cannot slip through one of the doors.
"""

from __future__ import annotations

from qframe_rl.types import History, Source, iso, timeframe_name

MARK = "DATA, no record of performance"
"""Ends the mark of all data that are not an exchange's production data."""


def mark_of(environment: str) -> str:
    """Return ``TESTNET DATA, no record of performance`` and the like; nothing for production."""
    return "" if environment == "production" else f"{environment.upper()} {MARK}"


def marked(data: History | Source) -> str:
    """Mark of some data as a prefix, ``TESTNET DATA, no record of performance. ``; nothing for production."""
    source = data.source if isinstance(data, History) else data
    mark = mark_of(source.environment)
    return f"{mark}. " if mark else ""


def source_note(history: History) -> str:
    """Write where data are from, for a footer: mark, exchange, symbols, bar length, span, and what was taken out."""
    shown = ", ".join(history.symbols[:4])
    more = f" and {len(history.symbols) - 4} more" if len(history.symbols) > 4 else ""
    first, last = iso(int(history.time[0]) - history.bar_ns)[:16], iso(int(history.time[-1]))[:16]
    return (
        f"{marked(history)}Source: {history.source.exchange}, {shown}{more}, {timeframe_name(history.bar_ns)} bars, "
        f"{first} to {last} UTC.{quarantine_note(history)}"
    )


def quarantine_note(history: History) -> str:
    """Say what became of bad prints, with a space before; nothing where none was found."""
    if history.quarantine == "off":
        return f" Data checks are off; {len(history.suspects)} bars look wrong." if history.suspects else ""
    out = sum(suspect.quarantined for suspect in history.suspects)
    return f" Bad prints taken out: {out}." if out else ""
