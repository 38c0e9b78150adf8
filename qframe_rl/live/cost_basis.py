"""Fills of a session with what they cost and earned, first in, first out, as rows of a CSV; from its journal alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import IO, Any

from qframe_rl.evaluate.lots import ZERO, Lots, LotsClosed, exact, share
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.peek import Peek
from qframe_rl.types import iso

_KINDS = ("session", "started", "settled", "transferred")
_CLOSE = Decimal("1e-9")
"""How far two counts of the same may lie apart, as a share: binary fractions are no decimals."""
_LARGEST = 320
"""Powers of ten that a number of a session may have."""
_UNIT = Decimal("1e-8")
"""Of a transfer, quote currency."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a text begins that a spreadsheet would compute."""


@dataclass(frozen=True)
class BasisRow:
    """One thing that moved money or holdings; of what does not apply to it, nothing is said."""

    time: str
    """Close of the bar, UTC."""
    seq: int
    """Event of the journal."""
    kind: str
    """``fill``; ``forced``: closed by the venue; ``opening``: held when the session began; ``funding``; ``interest``:
    of idle cash; ``absorbed``: debts that the venue bore; ``transfer``: paid in, or out; ``adopted``: coins that were,
    at the price that they were counted for."""
    symbol: str
    currency: str
    """Of all amounts."""
    quantity: Decimal | None = None
    """Base units, negative where sold."""
    price: Decimal | None = None
    fee: Decimal | None = None
    amount: Decimal | None = None
    """What came into the cash; negative where it was paid."""
    closed: Decimal | None = None
    """Base units of earlier lots that it closed."""
    acquired: str | None = None
    """When the oldest of them came in."""
    basis: Decimal | None = None
    """What was paid for them, fees included; of shorts what was received."""
    proceeds: Decimal | None = None
    """What was received for closing them, less the fee; of shorts what was paid."""
    realised: Decimal | None = None
    """Profit of closing them."""
    open_quantity: Decimal | None = None
    """Base units held after it."""
    open_basis: Decimal | None = None
    """What was paid for these; of shorts what was received."""


@dataclass(frozen=True)
class BasisSums:
    """What the rows of a session come to, and its account; quote currency."""

    fills: int
    realised: Decimal
    open: Decimal
    """What is held at its last marks, over its basis."""
    funding: Decimal
    """Paid; negative where received."""
    other: Decimal
    """Interest, and debts that the venue bore."""
    transfers: Decimal
    """Paid in; negative where paid out."""
    change: Decimal
    """Of the account's equity since the session began."""

    @property
    def unexplained(self) -> Decimal:
        """What the account says and the rows do not."""
        return self.change - (self.realised + self.open - self.funding + self.other + self.transfers)


class CostBasis:
    """Goes through a journal once.

    Parameters
    ----------
    path
        The journal.
    """

    def __init__(self, path: Path):
        self.path = path
        self._symbols: list[str] = []
        self._steps: list[Decimal] = []
        self._lots: list[Lots] = []
        self._held: list[Decimal] = []
        self._marks: list[Decimal | None] = []
        self._first = self._last = ZERO
        self._fills = 0
        self._realised = self._funding = self._other = self._transfers = ZERO

    def rows(self) -> Iterator[BasisRow]:
        """All rows, in the order of the journal.

        Raises
        ------
        UserError
            If it is corrupt.
        """
        last, marks = 0, ", ".join("?" * len(_KINDS))
        query = f"SELECT seq, kind, payload FROM events WHERE kind IN ({marks}) AND seq > ? ORDER BY seq"
        with Peek(self.path) as peek:
            while found := peek.rows(query, (*_KINDS, last)):
                for seq, kind, payload in found:
                    try:
                        plain = json.loads(payload, parse_float=Decimal)
                        # All at once: a context of decimals does not outlive a `yield`.
                        with exact():
                            rows = list(self._taken(seq, kind, plain))
                    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
                        raise corrupt(self.path, f"event {seq} is not what a session writes") from None
                    yield from rows
                    last = seq

    def sums(self) -> BasisSums:
        """What the rows so far come to."""
        with exact():
            gained = ZERO
            for lots, mark in zip(self._lots, self._marks, strict=True):
                gained += sum((lot.worth(mark or ZERO) for lot in lots.open), ZERO)
            return BasisSums(
                self._fills, self._realised, gained, self._funding, self._other, self._transfers,
                self._last - self._first,
            )  # fmt: skip

    def _taken(self, seq: int, kind: str, plain: dict[str, Any]) -> Iterator[BasisRow]:
        if kind == "session":
            self._begin(plain["instruments"])
        elif kind == "started":
            yield from self._started(seq, plain)
        elif kind == "transferred":
            if plain["state"] == "SETTLED":
                self._look(plain["account"])
                yield from self._money("transfer", None, seq, plain["time"], Decimal(plain["units"]) * _UNIT)
                yield from self._adopted(seq, plain)
        else:
            yield from self._settled(seq, plain)

    def _adopted(self, seq: int, plain: dict[str, Any]) -> Iterator[BasisRow]:
        """Coins that came from outside, or left: a lot at its stated price, which is the transfer beside it."""
        coins = plain.get("adopted")
        if coins:
            a = self._symbols.index(coins["symbol"])
            quantity, price = Decimal(coins["quantity"]) * _UNIT, Decimal(coins["price"]) * _UNIT
            self._held[a] += quantity
            yield self._row("adopted", a, seq, plain["time"], quantity, price, ZERO, counts=False)

    def _begin(self, instruments: Sequence[dict[str, Any]]) -> None:
        if self._symbols:
            return
        self._symbols = [str(one["symbol"]) for one in instruments]
        self._steps = [Decimal(one.get("lot", 0)) for one in instruments]
        self._lots = [Lots() for _ in instruments]
        self._held, self._marks = [ZERO] * len(instruments), [None] * len(instruments)

    def _started(self, seq: int, plain: dict[str, Any]) -> Iterator[BasisRow]:
        self._first = _number(plain["account"]["equity"])
        self._look(plain["account"])
        for a, held in enumerate(_numbers(plain["account"]["position"])):
            self._held[a] = self._whole(a, held)
            if held:
                price = self._marks[a] or ZERO
                yield self._row("opening", a, seq, plain["time"], self._held[a], price, ZERO, counts=False)

    def _settled(self, seq: int, plain: dict[str, Any]) -> Iterator[BasisRow]:
        time, said, n = plain["time"], plain.get("fills") or {}, len(self._symbols)
        paid, filled, forced, fees = (
            _numbers(said.get(name) or [0] * n) for name in ("funding", "quantity", "forced", "fee")
        )
        prices, closed_at = (_numbers(said.get(name) or [0] * n) for name in ("price", "forced_price"))
        after = _numbers(plain["account"]["position"])
        self._look(plain["account"])
        for a in range(n):
            yield from self._money("funding", a, seq, time, -paid[a])
            quantity, out = self._counted(a, filled[a], forced[a], after[a])
            worth, rest = abs(quantity * prices[a]), abs(out * closed_at[a])
            fee = share(fees[a], worth, worth + rest)
            parts = self._parts(said, a)
            for size, at, paid_too in parts:
                yield self._row("fill", a, seq, time, size, at, paid_too)
            if parts:
                quantity, fees[a] = ZERO, fees[a] - sum((paid_too for *_, paid_too in parts), ZERO)
            if quantity:
                yield self._row("fill", a, seq, time, quantity, prices[a], fees[a] if not out else fee)
            if out:
                yield self._row("forced", a, seq, time, out, closed_at[a], fees[a] if not quantity else fees[a] - fee)
        yield from self._money("interest", None, seq, time, _number(said.get("interest", 0)))
        yield from self._money("absorbed", None, seq, time, _number(said.get("absorbed", 0)))

    def _parts(self, said: dict[str, Any], a: int) -> list[tuple[Decimal, Decimal, Decimal]]:
        """Quantity, price and fee of each of several orders of an instrument that filled."""
        slots = said.get("slots")
        if not slots or sum(1 for size in slots["quantity"][a] if size) < 2:
            return []
        rows = zip(*(_numbers(slots[name][a]) for name in ("quantity", "price", "fee")), strict=True)
        return [(self._whole(a, size), at, fee) for size, at, fee in rows if size]

    def _row(
        self, kind: str, a: int, seq: int, time: int, quantity: Decimal, price: Decimal, fee: Decimal, *,
        counts: bool = True,
    ) -> BasisRow:  # fmt: skip
        done: LotsClosed = self._lots[a].fill(time, quantity, price, fee)
        amount = -quantity * price - fee if counts else ZERO
        self._realised += done.realised
        self._fills += kind == "fill"
        closes = bool(done.quantity)
        return BasisRow(
            iso(time), seq, kind, self._symbols[a], _currency(self._symbols[a]), quantity, price, fee, amount,
            done.quantity if closes else None, iso(done.since) if done.since is not None else None,
            done.basis if closes else None, done.proceeds if closes else None, done.realised if closes else None,
            done.open_quantity, done.open_basis,
        )  # fmt: skip

    def _money(self, kind: str, a: int | None, seq: int, time: int, amount: Decimal) -> Iterator[BasisRow]:
        if not amount:
            return
        if kind == "funding":
            self._funding -= amount
        elif kind == "transfer":
            self._transfers += amount
        else:
            self._other += amount
        symbol = "" if a is None else self._symbols[a]
        yield BasisRow(iso(time), seq, kind, symbol, _currency(self._symbols[a or 0]), amount=amount)

    def _counted(self, a: int, filled: Decimal, forced: Decimal, after: Decimal) -> tuple[Decimal, Decimal]:
        """What was filled and forced as decimals that come to what the account holds, as far as it says the same."""
        after, quantity = self._whole(a, after), self._whole(a, filled)
        moved = after - self._held[a]
        room = _CLOSE * max(abs(filled), abs(forced), abs(after), abs(self._held[a]))
        self._held[a] = after
        if forced:
            out = moved - quantity
            return quantity, out if abs(out - forced) <= room else forced
        return (moved if abs(moved - filled) <= room else quantity), ZERO

    def _whole(self, a: int, quantity: Decimal) -> Decimal:
        """A quantity as whole lots, where it is some but for the binary fraction."""
        step = self._steps[a]
        if not step or not quantity:
            return quantity
        with localcontext(Context(prec=60)):
            count = (quantity / step).to_integral_value()
        near = count * step
        return near if abs(near - quantity) <= _CLOSE * step else quantity

    def _look(self, account: dict[str, Any]) -> None:
        self._last = _number(account["equity"])
        self._marks = [
            was if now is None else _number(now) for was, now in zip(self._marks, account["mark"], strict=True)
        ]


def write_csv(rows: Iterable[BasisRow], file: IO[str]) -> None:
    """Write rows as CSV with a head. Texts that a spreadsheet would compute get an apostrophe before them."""
    names = [field.name for field in fields(BasisRow)]
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in names])


def plain_text(value: Decimal) -> str:
    """A decimal with all its digits and no exponent, without zeros at its end."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return plain_text(value)
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _currency(symbol: str) -> str:
    """What a market's money is counted in: what it settles in, else what it is quoted in."""
    pair, _, settle = symbol.partition(":")
    return settle or pair.partition("/")[2]


def _numbers(plain: Sequence[Any]) -> list[Decimal]:
    return [_number(one) for one in plain]


def _number(plain: Any) -> Decimal:
    number = ZERO if plain is None else Decimal(plain)
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST:
        raise ValueError("no number of a session")
    return number
