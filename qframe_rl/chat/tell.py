"""From a wish in a chat to words in inboxes, and back to what journals say became of them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qframe_rl.chat.words import ALL, ChatWish
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import KILL_FILE, locking_word, order
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.standing import symbols_of

_PATIENCE_S = 0.5
"""How long an inbox that somebody holds is waited for, seconds."""
_LOOK_S = 0.05
_RECENT = 50


class LeftWord(NamedTuple):
    """A command that was left in an inbox, or why it was not."""

    folder: Path
    word: str
    number: int | None
    why: str = ""


def chosen(wish: ChatWish, sessions: Sequence[Path]) -> list[Path] | str:
    """The sessions that a wish is about; a sentence where that is not clear.

    To halt is meant of all where none is named. To flatten or resume several, ``all`` has to be said, or a symbol.
    """
    if not sessions:
        return "There is no session."
    if wish.session is not None and wish.session.lower() != ALL:
        found = [one for one in sessions if one.name == wish.session]
        found = found or [one for one in sessions if one.name.lower().startswith(wish.session.lower())]
        if len(found) != 1:
            names = ", ".join(one.name for one in found or sessions)
            return f"{len(found) or 'No'} sessions begin with {wish.session[:64]}: {names}."
        return found
    plain = wish.session is None and wish.symbol is None
    if plain and wish.word in ("flatten", "resume") and len(sessions) > 1:
        return f"Say which, or all: {', '.join(one.name for one in sessions)}."
    return list(sessions)


def leave(wish: ChatWish, folders: Sequence[Path]) -> list[LeftWord]:
    """Leave a wish in the inboxes of sessions; of a symbol, of those that trade it."""
    left = []
    for folder in folders:
        try:
            here = wish
            if wish.symbol is not None:
                traded = {symbol.upper(): symbol for symbol in symbols_of(folder / JOURNAL)}
                if wish.symbol.upper() not in traded:
                    continue
                here = wish._replace(symbol=traded[wish.symbol.upper()])
            left.append(_left(here, folder))
        except (UserError, Unavailable) as error:
            left.append(LeftWord(folder, wish.word, None, str(error)))
    return left


def _left(wish: ChatWish, folder: Path) -> LeftWord:
    if wish.word == "resume" and wish.symbol is None and (folder / KILL_FILE).exists():
        return LeftWord(folder, wish.word, None, f"the file {KILL_FILE} in its folder would halt it again")
    word = wish.word if wish.symbol is None else locking_word(wish.word, wish.symbol)
    return LeftWord(folder, word, order(folder / JOURNAL, word, _PATIENCE_S))


def became(left: Sequence[LeftWord], patience_s: float) -> str:
    """What journals say of commands, a line each, once they say it or after so many seconds."""
    until, obeyed = time.monotonic() + patience_s, dict.fromkeys((one.number for one in left), False)
    waiting = [one for one in left if one.number is not None and writer_of(one.folder / JOURNAL)]
    while waiting and time.monotonic() < until:
        for one in list(waiting):
            if _obeyed(one):
                obeyed[one.number] = True
                waiting.remove(one)
        time.sleep(_LOOK_S if waiting else 0.0)
    return "\n".join(_line(one, obeyed[one.number], one in waiting) for one in left)


def _line(one: LeftWord, obeyed: bool, waits: bool) -> str:
    if one.number is None:
        return f"{one.folder.name}: NOT told to {one.word}: {one.why}"
    how = "told, the journal does not say obeyed yet" if waits else "no process runs; it holds from the next start on"
    return f"{one.folder.name}: {one.word}, {'obeyed' if obeyed else how}"


def _obeyed(one: LeftWord) -> bool:
    try:
        with Peek(one.folder / JOURNAL) as peek:
            rows = peek.rows("SELECT payload FROM events WHERE kind = 'command' ORDER BY seq DESC", n=_RECENT)
        return any(json.loads(payload).get("number") == one.number for (payload,) in rows)
    except (UserError, Unavailable, ValueError, AttributeError):
        return False
