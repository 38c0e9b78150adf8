"""Answers of a chat about sessions, from their journals alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.trades import trades_of
from qframe_rl.live.standing import look, span, symbols_of
from qframe_rl.types import iso

_LOOKED = 200
"""Bars that are looked through for fills."""


def standing(folders: Sequence[Path]) -> str:
    """How sessions stand, a few lines each."""
    return "\n\n".join(_stands(folder) for folder in folders)


def _stands(folder: Path) -> str:
    said = look(folder)
    if "broken" in said:
        return f"{folder.name}: BROKEN, {said['broken']}"
    head = f"{folder.name}: {said['state']}{'' if said['process'] else ', no process runs'}"
    if "account" not in said:
        return head
    locked = ", ".join(said.get("locked", ()))
    ill = "" if said["ill"] is None else f"; {said['ill']}"
    return (
        f"{head}{f'; locked: {locked}' if locked else ''}{ill}\n{_money(said)}\n{_held(said)}\n"
        f"last bar {span(said['bar_age_s'])} ago"
    )


def _money(said: dict[str, Any]) -> str:
    equity = said["account"]["equity"]
    fall = 1.0 - equity / max(equity, said["peak"]) if max(equity, said["peak"]) > 0.0 else 0.0
    return f"equity {equity:,.2f}, {fall:.1%} under its highest"


def _held(said: dict[str, Any]) -> str:
    held = zip(said["symbols"], said["account"]["position"], strict=True)
    return ", ".join(f"{quantity:+g} {symbol}" for symbol, quantity in held if quantity) or "flat"


def trades(folders: Sequence[Path], n: int) -> str:
    """The last fills of sessions, the newest first, at most ``n`` of each."""
    return "\n\n".join(_traded(folder, n) for folder in folders)


def _traded(folder: Path, n: int) -> str:
    try:
        lines = _fills(folder / JOURNAL, n)
    except (UserError, Unavailable) as error:
        return f"{folder.name}: {error}"
    return "\n".join([f"{folder.name}:", *(lines or [f"nothing in the last {_LOOKED} bars"])])


def _fills(path: Path, n: int) -> list[str]:
    symbols = symbols_of(path)
    with Peek(path) as peek:
        rows = peek.rows("SELECT seq, payload FROM events WHERE kind = 'settled' ORDER BY seq DESC", n=_LOOKED)
    lines: list[str] = []
    for seq, payload in rows:
        try:
            plain = json.loads(payload)
            found = list(trades_of(plain, symbols))
            at = iso(int(plain["time"]))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise corrupt(path, f"event {seq} is not what a session writes") from None
        lines += [
            f"{at} {one.quantity:+g} {one.symbol} at {one.price:g}{' (closed by the venue)' if one.forced else ''}"
            for one in found
        ]
        if len(lines) >= n:
            break
    return lines[:n]
