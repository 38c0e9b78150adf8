"""Who is told what the router does, and what is done at once where orders are real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qframe_rl.agent import View
from qframe_rl.journal.codec import Plain, account_out, numbers
from qframe_rl.journal.ledger import Ledger
from qframe_rl.risk.engine import Conditions, RiskDecision, RiskEngine
from qframe_rl.risk.pauses import in_words, plain_pause
from qframe_rl.types import Account, Float, Int, Orders
from qframe_rl.venues.venue import Outgoing, Slotted, Venue


class RouterListener(Protocol):
    """Told of what the router does; it can change nothing."""

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """A decision is written down, so many seconds after its bar arrived; its orders are about to go out."""

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """The state of trading changed."""


def kill(venue: Outgoing, engine: RiskEngine, time: int, sent: Orders, account: Account) -> None:
    """Take back what may not rest, and close what is to be closed, by the state of trading and what is locked.

    Parameters
    ----------
    venue
        Where the orders go.
    engine
        Its state is not ACTIVE, or something is locked.
    time
        Close of the last bar, ns UTC.
    sent, account
        The last orders, and the account as it was then.
    """
    state, locked = engine.state, engine.locked
    symbols = [i.symbol for i in engine.instruments]
    opening = dict.fromkeys(symbols if state != "ACTIVE" else (), state == "REDUCE_ONLY")
    venue.cancel(opening | dict.fromkeys(locked, False))
    if state != "FLATTEN" and not locked:
        return
    # What was ordered since the last bar may have filled: what is held now is closed.
    now = account._replace(position=venue.held())
    orders = engine.check(time, sent, now, Conditions()).orders if state == "FLATTEN" else engine.closing(now)
    venue.close(orders, now.position)


def held_in_words(symbols: Sequence[str], account: Account) -> str:
    """What an account of (A,) holds of the A instruments."""
    held = zip(symbols, account.position.tolist(), strict=True)
    return ", ".join(f"{quantity:+g} {symbol}" for symbol, quantity in held if quantity)


def standing_of(engine: RiskEngine, time: int, account: Account) -> Plain:
    """How an account and its trading stand, for those who watch: state, holdings, and what is locked.

    Parameters
    ----------
    engine
        Its risk engine.
    time
        Close of the last bar, ns UTC.
    account
        After it.
    """
    symbols = [i.symbol for i in engine.instruments]
    paused = in_words(engine.pauses.now, symbols)
    return {
        "time": time, "state": str(engine.state), "account": account_out(account),
        "exposure": numbers(account.exposure), "symbols": symbols, "peak": engine.peak, "day_start": engine.day_start,
        "rejects": engine.rejects, **({"locked": engine.locked} if engine.locked else {}),
        **({"paused": paused} if paused else {}),
    }  # fmt: skip


def put_lock(ledger: Ledger, engine: RiskEngine, time: int, said: Plain) -> tuple[str, ...]:
    """Lock one instrument, or release it, and put that on record; why, or nothing where it changes nothing.

    Parameters
    ----------
    ledger
        The journal.
    engine
        Whose locks.
    time
        Close of the last bar, ns UTC.
    said
        The command: ``word`` (``flatten`` locks), ``symbol`` and ``by``.
    """
    if not engine.lock(said["symbol"], locked=said["word"] == "flatten"):
        return ()
    reasons = (f"{said['word']} {said['symbol']} by {said['by']}",)
    ledger.put("locked", {"time": time, "symbols": engine.locked, "reasons": list(reasons)})
    return reasons


def put_pauses(ledger: Ledger, engine: RiskEngine, time: int) -> None:
    """Put locks that protections made at the last bar on record, each with its name and end.

    Parameters
    ----------
    ledger
        The journal.
    engine
        Whose protections.
    time
        Close of the bar, ns UTC.
    """
    symbols = [i.symbol for i in engine.instruments]
    if made := engine.pauses.made:
        ledger.put("paused", {"time": time, "locks": [plain_pause(one, symbols) for one in made]})


class VenueFront:
    """What an order router shows of the venue that it stands before."""

    _venue: Venue
    engine: RiskEngine

    @property
    def account(self) -> Account:
        """That of the venue."""
        return self._venue.account

    @property
    def terminated(self) -> bool:
        """Whether the account was liquidated or ruined."""
        return self._venue.terminated

    @property
    def locks(self) -> Int | None:
        """What the engine's protections lock now."""
        return self.engine.left

    @property
    def limit_use(self) -> Float:
        """How much of the engine's loss limits was used up after the last bar."""
        return self.engine.limit_use

    @property
    def resting(self) -> Orders | None:
        """What stands at the venue."""
        return self._venue.resting if isinstance(self._venue, Slotted) else None
