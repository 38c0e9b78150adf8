"""When a model is too old to trade on: from then on its session only reduces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import UserError
from qframe_rl.live.operator import Operator
from qframe_rl.times import delay_ns, iso, parse_time


def expiry_of(text: str, provenance: Mapping[str, Any]) -> int:
    """When a model expires.

    Parameters
    ----------
    text
        A time, ISO 8601 UTC, or a length such as ``30d`` after the last bar that it was trained on.
    provenance
        Of its checkpoint.

    Returns
    -------
    int
        Ns UTC.

    Raises
    ------
    UserError
        For neither, or a length where the checkpoint does not say what it was trained on.
    """
    try:
        length = None if not text[-1:].isalpha() or text[-1:] in "Zz" else delay_ns(text)
        if length is None:
            return parse_time(text)
    except UserError:
        raise UserError(
            f"--expires {text!r} is neither a time between 1970 and 2200, ISO 8601 UTC (such as 2026-12-31), nor a "
            "length (such as 30d)."
        ) from None
    trained = (provenance.get("periods") or {}).get("train") or ()
    if not trained:
        raise UserError(f"--expires {text}: the checkpoint does not say what it was trained on; give a time instead.")
    return max(parse_time(end) for _, end in trained) + length


def expired_said(text: str, at: int) -> str:
    """What is said when a model is too old: ``at``, ns UTC, is when that began."""
    return (
        f"--expires {text}: the model is too old since {iso(at)} UTC; the session only reduces. Begin it with a later "
        "date, or let it have a newer model, and then resume it."
    )


class ModelAges:
    """When the models of a session expire: where a length was said, each a length after its own last training bar.

    Parameters
    ----------
    said
        What was asked for, as of `expiry_of`; None = never.
    first
        The first model.
    note
        Told in one line when a model is too old.

    Raises
    ------
    UserError
        As of `expiry_of`.
    """

    def __init__(self, said: str | None, first: Checkpoint, note: Callable[[str], None]):
        self._note = note
        self._said, self._expires = said, None if said is None else expiry_of(said, first.provenance)
        self._operator: Operator | None = None

    def begin(self, operator: Operator) -> None:
        """Let the operator of the session know."""
        self._operator = operator
        operator.expires = self._expires
        operator.expired = lambda at: self._note(expired_said(self._said or "", at))

    def taken(self, model: Checkpoint) -> None:
        """A model decides from now on."""
        if self._said is not None and self._operator is not None:
            self._operator.expires = expiry_of(self._said, model.provenance)
