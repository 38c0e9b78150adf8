"""How many messages an exchange takes, and how many may still be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_ENDLESS = 2**62


class MessageRates:
    """How many messages may still be sent.

    Parameters
    ----------
    limits
        Most messages, and in how many ns.
    """

    def __init__(self, limits: Sequence[tuple[int, int]]):
        self._limits = [(most, ns, deque[tuple[int, int]]()) for most, ns in limits]

    def room(self, now: int) -> int:
        """Messages that may be sent at a moment."""
        left = _ENDLESS
        for most, ns, sent in self._limits:
            while sent and sent[0][0] <= now - ns:
                sent.popleft()
            left = min(left, most - sum(n for _, n in sent))
        return left

    def note(self, now: int, n: int) -> None:
        """So many are sent."""
        if n:
            for _, _, sent in self._limits:
                sent.append((now, n))

    def carried(self) -> list[list[tuple[int, int]]]:
        """What was sent, limit by limit: when, and how many."""
        return [list(sent) for _, _, sent in self._limits]

    def carry(self, memory: Sequence[Sequence[Sequence[int]]]) -> None:
        """Take over what `carried` returned."""
        for (_, _, sent), was in zip(self._limits, memory, strict=True):
            sent.clear()
            sent.extend((int(at), int(n)) for at, n in was)
