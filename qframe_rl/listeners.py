"""Those who are told what a session does. They read, can change nothing, and what they cannot do ends no session."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np

from qframe_rl.agent import View
from qframe_rl.journal.codec import packed, unpacked
from qframe_rl.journal.slots import slots_stacked
from qframe_rl.kernel.columns import (
    FILLS,
    MARKS,
    N_HEAD,
    N_PANELS,
    N_TAIL,
    ORDERS,
    POSITIONS,
    ROW_ABSORBED,
    ROW_CASH,
    ROW_CASH_RATE,
    ROW_INTEREST,
)
from qframe_rl.orders import merged, orders_of, slots_of, summed
from qframe_rl.types import PER_INSTRUMENT, Account, Fills, Float, Instrument, Int, Orders, Record, SlotRecord

P = ParamSpec("P")
T = TypeVar("T")
_HOUR_S = 3600.0
_AT_ONCE = 4096
"""Rows of a record that are laid out for their hash together."""


class Listener(Protocol):
    """Told of each bar of a session."""

    def started(self, view: View) -> None:
        """The first decision is about to be made."""

    def settled(self, view: View, orders: Orders) -> None:
        """``orders`` met a bar, and ``view`` is what is known after it."""

    def ended(self, view: View) -> None:
        """No further bar will come."""


@runtime_checkable
class Returning(Protocol):
    """A listener that need not be told of every bar again when its session is resumed."""

    def carried(self) -> dict[str, Any]:
        """What it remembers, as JSON."""

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Take over what `carried` returned after ``view``."""


class CashFlow(NamedTuple):
    """Money that came into an account, or left it, between two bars."""

    time: int
    """Close of the bar before it, ns UTC."""
    units: int
    """1e-8 of the quote currency; negative = out of the account."""
    before: float
    """Equity before it, quote currency."""
    after: float

    @property
    def scale(self) -> float:
        """What figures of equity, such as its highest, are multiplied by, so that it is no profit and no loss."""
        return self.after / self.before if self.before > 0.0 and self.after > 0.0 else 1.0


@runtime_checkable
class Paid(Protocol):
    """A listener whose figures depend on what is paid in and out."""

    def paid(self, flow: CashFlow) -> None:
        """Take it out of the figures."""


class Soft:
    """Calls what may fail. A failure is said in one sentence, again after an hour at the earliest, and so is its end.

    Parameters
    ----------
    say
        Takes the sentences; called from whatever thread the failure is in.
    clock
        Time, seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._say, self._clock = say, clock
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._failing: dict[str, int] = {}

    def run(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Result of a call; None if it failed, whatever the reason: the next call tries again.

        Parameters
        ----------
        name
            What the call does, for messages, which come once an hour at most.
        call, *args, **kwargs
            The call.
        """
        try:
            result = call(*args, **kwargs)
        except Exception as error:
            self.failed(name, f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}")
            return None
        self.worked(name)
        return result

    def failed(self, name: str, why: str) -> None:
        """Say that something failed, unless it was said within the hour."""
        now = self._clock()
        with self._lock:
            last = self._said.get(name)
            if last is not None and now - last < _HOUR_S:
                if name in self._failing:
                    self._failing[name] += 1
                return
            self._said[name] = now
            self._failing[name] = 1
        self._say(f"{name}: {' '.join(why.split()).rstrip('.')}; the session goes on without, and it is tried again.")

    def worked(self, name: str) -> None:
        """Say that it works again, if it was said that it did not."""
        if name not in self._failing:
            return
        with self._lock:
            failures = self._failing.pop(name, None)
        if failures is not None:
            self._say(f"{name}: works again, after {failures} failure{'s' if failures > 1 else ''}.")


class Digest:
    """Chains every number of a session into one hash, and keeps nothing else."""

    def __init__(self) -> None:
        self._chain = b""
        self.n_rows = 0
        self.met: SlotRecord | None = None
        """(A, ...) what stood in slots in the last bar; None where there was one order per instrument."""
        self._resting: Orders | None = None

    def __str__(self) -> str:
        return self._chain.hex()

    def carried(self) -> dict[str, Any]:
        """The hash so far, as JSON."""
        rest = {} if self._resting is None else {"resting": packed(slots_of(self._resting))}
        return {"chain": str(self), "rows": self.n_rows} | rest

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned."""
        self._chain, self.n_rows = bytes.fromhex(memory["chain"]), memory["rows"]
        self._resting = orders_of(unpacked(memory["resting"])) if "resting" in memory else None

    def add(self, view: View, orders: Orders, fills: Fills) -> Float:
        """Add what one bar did.

        Parameters
        ----------
        view
            After the bar.
        orders, fills
            What had been asked for, and what became of it.

        Returns
        -------
        Float
            (N_HEAD + N_PANELS x A + N_TAIL,) all of it as a row of numbers, which `record_of` takes apart.
        """
        # The order of the columns of a row, see `qframe_rl.kernel.columns`.
        account, plain = view.account, summed(orders, fills)
        money, cash = np.array((account.cash, fills.absorbed)), np.array((fills.interest, view.cash_rate))
        fields: list[Float] = [
            money, account.position, account.mark, *plain.terms, *fills.sums[: len(PER_INSTRUMENT)], cash
        ]  # fmt: skip
        row = np.concatenate(fields, dtype=np.float64)
        self._chain = chained(self._chain, view.time, row)
        self.met = met_of(orders, self._resting, fills)
        if self.met is not None:
            self._chain = _with_slots(self._chain, self.met)
        self._resting = view.resting
        self.n_rows += 1
        return row

    def begin(self, view: View) -> Float:
        """Add the state before the first bar."""
        return self.add(view, *_nothing(len(view.account.position)))


def chained(chain: bytes, time: int, row: Float) -> bytes:
    """Hash of a row of a record and of all before it; a bar without a cash rate is hashed as if there were none.

    Parameters
    ----------
    chain
        Hash of all rows before; empty before the first.
    time
        Close of the bar, ns UTC.
    row
        (N_HEAD + N_PANELS x A + N_TAIL,) from `Digest.add`.
    """
    numbers = row if row[ROW_CASH_RATE] != 0.0 else row[:-N_TAIL]
    return hashlib.sha256(chain + time.to_bytes(8, "little") + numbers.tobytes()).digest()


def chain_of(time: Int, rows: Float, met: Mapping[int, SlotRecord]) -> str:
    """Hash of all rows of a record, as `Digest` chains them.

    Parameters
    ----------
    time
        (N,) closes, ns UTC.
    rows
        (N, N_HEAD + N_PANELS x A + N_TAIL).
    met
        What stood in slots, by row; rows in which nothing did are not there.
    """
    chain, sha256 = b"", hashlib.sha256
    for first in range(0, len(rows), _AT_ONCE):
        part = np.ascontiguousarray(rows[first : first + _AT_ONCE])
        laid = np.column_stack([time[first : first + len(part)].astype("<i8"), part.view("<i8")])
        numbers, starts = laid.tobytes(), np.arange(len(part)) * laid[0].nbytes
        stops = starts + np.where(part[:, ROW_CASH_RATE] != 0.0, laid[0].nbytes, laid[0, :-N_TAIL].nbytes)
        for k, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True), first):
            chain = sha256(chain + numbers[start:stop]).digest()
            if met:
                chain = _with_slots(chain, met[k]) if k in met else chain
    return chain.hex()


def _with_slots(chain: bytes, met: SlotRecord) -> bytes:
    return hashlib.sha256(chain + b"".join(part.tobytes() for part in met)).digest()


def record_of(instruments: tuple[Instrument, ...], bar_ns: int, time: Int, rows: Float, digest: str) -> Record:
    """Take rows that a `Digest` made apart: the journal as columns.

    Parameters
    ----------
    instruments
        The A instruments.
    bar_ns
        Length of a bar.
    time
        (N,) closes, ns UTC.
    rows
        (N, N_HEAD + N_PANELS x A + N_TAIL) from `Digest.add`.
    digest
        Hash of them all.
    """
    per = rows[:, N_HEAD:-N_TAIL].reshape(len(rows), N_PANELS, len(instruments))
    fills = Fills.of(np.moveaxis(per[:, FILLS:], 1, -1), rows[:, ROW_ABSORBED], rows[:, ROW_INTEREST])
    account = Account(rows[:, ROW_CASH], per[:, POSITIONS], per[:, MARKS])
    orders = Orders(*(per[:, k] for k in range(ORDERS, FILLS)))
    return Record(instruments, bar_ns, time, account, orders, fills, rows[:, ROW_CASH_RATE], digest)


def met_of(orders: Orders, resting: Orders | None, fills: Fills) -> SlotRecord | None:
    """What stood in slots in a bar.

    Parameters
    ----------
    orders
        What was asked for.
    resting
        What stood before; None = nothing.
    fills
        What the bar did to them.

    Returns
    -------
    SlotRecord | None
        Of (A, ...); None where there was one order per instrument.
    """
    if fills.slots is None:
        return None
    asked = slots_of(orders)
    met = merged(asked, asked[..., :0] if resting is None else slots_of(resting))
    return SlotRecord(met, np.stack(fills.slots, axis=1))


def _nothing(n: int) -> tuple[Orders, Fills]:
    return Orders.market(np.zeros(n)), Fills.none(n)


class Journal:
    """Keeps every number of a session; the only source of its reports.

    Parameters
    ----------
    instruments
        The A instruments.
    bar_ns
        Length of a bar.
    """

    def __init__(self, instruments: tuple[Instrument, ...], bar_ns: int):
        self.instruments = instruments
        self.bar_ns = bar_ns
        self._times: list[int] = []
        self._rows: list[Float] = []
        self._met: list[SlotRecord | None] = []
        self._chain = Digest()

    def started(self, view: View) -> None:
        """Write the state before the first bar."""
        self._append(view, *_nothing(len(self.instruments)))

    def settled(self, view: View, orders: Orders) -> None:
        """Write one bar."""
        self._append(view, orders, view.fills)

    def ended(self, view: View) -> None:
        """Nothing to write: every bar is there already."""

    @property
    def digest(self) -> str:
        """SHA-256 over all rows so far, each chained to the one before."""
        return str(self._chain)

    def record(self) -> Record:
        """The journal as columns."""
        record = record_of(self.instruments, self.bar_ns, np.array(self._times), np.stack(self._rows), self.digest)
        slots = slots_stacked(self._met, len(self.instruments))
        return record if slots is None else replace(record, slots=slots)

    def _append(self, view: View, orders: Orders, fills: Fills) -> None:
        self._rows.append(self._chain.add(view, orders, fills))
        self._times.append(view.time)
        self._met.append(self._chain.met)
