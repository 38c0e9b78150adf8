"""Times and lengths of bars: int64 nanoseconds UTC inside, texts outside. `qframe_rl.types` has all of it as well."""

from __future__ import annotations

from datetime import UTC, datetime

from qframe_rl.config import UserError, whole_number

SECOND = 1_000_000_000
MINUTE, HOUR, DAY, WEEK = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND, 604_800 * SECOND
YEAR = 365 * DAY
FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Years of times that anybody states; int64 nanoseconds end in 2262."""
LAST_NS = 7_258_118_400 * SECOND
"""The end of them, ns UTC."""
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}


def timeframe_ns(text: str) -> int:
    """Length of a timeframe such as ``1h`` in ns.

    Raises
    ------
    UserError
        For anything but a whole number of s, m, h, d or w.
    """
    number, unit = whole_number(text[:-1]), text[-1:]
    if not number or unit not in _UNITS:
        raise UserError(f"timeframe {text!r} is not a number followed by s, m, h, d or w (such as 1h).")
    if number * _UNITS[unit] > LAST_NS:
        raise UserError(f"timeframe {text!r} is longer than from {FIRST_YEAR} to {LAST_YEAR}; take a shorter one.")
    return number * _UNITS[unit]


def delay_ns(text: str) -> int:
    """Length of a delay, which unlike a timeframe may be none, such as ``0s``, in ns.

    Raises
    ------
    UserError
        As in `timeframe_ns`.
    """
    return 0 if whole_number(text[:-1]) == 0 else timeframe_ns(text)


def timeframe_name(length_ns: int) -> str:
    """Shortest name of a bar length, such as ``1h`` or ``4h``."""
    for unit in "wdhms":
        if length_ns % _UNITS[unit] == 0:
            return f"{length_ns // _UNITS[unit]}{unit}"
    return f"{length_ns}ns"


def iso(time_ns: int) -> str:
    """``2024-01-31 08:00:00`` UTC for a time in ns."""
    return datetime.fromtimestamp(time_ns // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")


def parse_time(text: str) -> int:
    """Time in ns UTC, to the microsecond, from ISO text such as ``2024-01-31`` or ``2024-01-31T08:00``.

    Raises
    ------
    UserError
        If it is not ISO 8601, or not between 1970 and 2200.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"time {text!r} is not ISO 8601 (such as 2024-01-31 or 2024-01-31T08:00).") from None
    if not FIRST_YEAR <= moment.year < LAST_YEAR:
        raise UserError(f"time {text!r} is not between {FIRST_YEAR} and {LAST_YEAR}.")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000
