"""Keeps bars that whoever decides may have learned of out of verdicts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qframe_rl.config import Base, UserError
from qframe_rl.types import History, Segment, Segments, iso, parse_time


def knows_until(config: object) -> int | None:
    """Last moment that a strategy, or a member of it, may know of by its configuration, ns UTC; None = none is said."""
    plain = config.model_dump() if isinstance(config, Base) else config
    if not isinstance(plain, dict):
        return None
    ends = [knows_until(inner) for inner in plain.values()]
    if (said := plain.get("knows_until")) is not None:
        ends.append(parse_time(str(said)))
    return max((end for end in ends if end is not None), default=None)


def check_verdict(name: str, configs: Iterable[Base], history: History, parts: Iterable[Segments]) -> None:
    """Refuse to choose or judge on bars that are known.

    Parameters
    ----------
    name
        Of the strategy.
    configs
        Its settings.
    history
        The bars.
    parts
        Rows that it is chosen and judged on.

    Raises
    ------
    UserError
        If one of them closed before what it knows ends.
    """
    ends = [end for config in configs if (end := knows_until(config)) is not None]
    rows = [segment.start for part in parts for segment in part]
    if ends and rows and int(history.time[min(rows)]) - history.bar_ns < max(ends):
        raise UserError(
            f"agent {name} may know of what was until {iso(max(ends))}, and would be judged on bars from "
            f"{iso(int(history.time[min(rows)]))} on: begin later (--from, or --set data.since=...), or learn less."
        )


def unknown_rows(configs: Iterable[object], history: History, segment: Segment) -> Segment:
    """The rows of a segment whose bars opened after all that is known.

    Parameters
    ----------
    configs
        Of the strategies.
    history
        The bars.
    segment
        Its rows that were asked for.

    Raises
    ------
    UserError
        If there is none.
    """
    ends = [end for config in configs if (end := knows_until(config)) is not None]
    if not ends:
        return segment
    first = int(np.searchsorted(history.time - history.bar_ns, max(ends), side="left"))
    if first >= segment.stop:
        raise UserError(
            f"there is no bar after {iso(max(ends))}, until when the strategy may know what was: there is no verdict "
            "before that; take later bars."
        )
    return Segment(max(first, segment.start), segment.stop)
