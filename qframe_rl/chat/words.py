"""What may be written to a chat, taken apart."""

from __future__ import annotations

import re
from typing import NamedTuple

READ = ("status", "trades", "help")
ACT = ("halt", "flatten", "resume")
ALL = "all"
HELP = (
    "status [SESSION]: how sessions stand\n"
    "trades [SESSION]: what was filled last\n"
    "halt [SESSION]: no order goes out; without a name, of every session\n"
    "flatten SESSION or all: close everything, then halt\n"
    "flatten [SESSION] BTC/USDT: close and lock one instrument\n"
    "resume SESSION or all [BTC/USDT] CODE: trade again, where that is allowed, with a one-time code\n"
    "The beginning of a session's name is enough."
)
_CODE = re.compile(r"[0-9]{6}")


class ChatWish(NamedTuple):
    """What a message asks for."""

    word: str
    session: str | None = None
    """The beginning of its name, or ``all``; None where none was named."""
    symbol: str | None = None
    code: str | None = None


def wish_of(text: str) -> ChatWish | None:
    """What a text asks for; None for anything but one of the words with what belongs to it."""
    parts = text.split()
    if not parts or len(text) > 256:
        return None
    word = parts[0].lower().removeprefix("/").partition("@")[0]
    word = "help" if word == "start" else word
    found: dict[str, str] = {}
    for part in parts[1:]:
        kind = "code" if _CODE.fullmatch(part) else "symbol" if "/" in part else "session"
        if kind in found:
            return None
        found[kind] = part
    taken = {"flatten": {"session", "symbol"}, "resume": {"session", "symbol", "code"}, "help": set()}
    if word not in (*READ, *ACT) or not set(found) <= taken.get(word, {"session"}):
        return None
    return ChatWish(word, **found)
