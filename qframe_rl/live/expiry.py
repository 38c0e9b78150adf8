"""When a model is too old to trade on: from then on its session only reduces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qframe_rl.config import UserError
from qframe_rl.times import delay_ns, parse_time


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
    if not text[-1:].isalpha() or text[-1:] in "Zz":
        return parse_time(text)
    length = delay_ns(text)
    trained = (provenance.get("periods") or {}).get("train") or ()
    if not trained:
        raise UserError(f"--expires {text}: the checkpoint does not say what it was trained on; give a time instead.")
    return max(parse_time(end) for _, end in trained) + length
