"""Fills with cost basis: they come to the account of any session that the kernel can live, and are safe to open."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import export
from experiments.cli import door
from qframe_rl.config import UserError, canonical
from qframe_rl.evaluate.lots import exact
from qframe_rl.journal.codec import account_out, fills_out
from qframe_rl.journal.store import Writer
from qframe_rl.kernel.rules import rules_of
from qframe_rl.live.cost_basis import BasisRow, CostBasis, write_csv
from qframe_rl.types import HOUR, Account, Bar, Fills, Instrument, Orders
from qframe_rl.venues.simulated import SimulatedVenue

START = 1_700_000_000_000_000_000 // HOUR * HOUR
CENT = Decimal("0.005")


class Book:
    """A journal that is written as a session writes it."""

    def __init__(self, path: Path, *symbols: str, lot: float = 0.0):
        self.path, self._writer, self._bars = path, Writer(path, durable=False), 0
        self._closed = False
        self.put("session", instruments=[{"symbol": s, "lot": lot} for s in symbols], bar_ns=HOUR, source={})

    def put(self, kind: str, **payload: Any) -> None:
        self._writer.append(kind, canonical(payload))

    def started(self, account: Account) -> None:
        self.put("started", time=START, account=account_out(account), hash="0")

    def settled(self, account: Account, fills: Fills | dict[str, Any]) -> None:
        self._bars += 1
        said = fills_out(fills) if isinstance(fills, Fills) else fills
        self.put("settled", time=START + self._bars * HOUR, account=account_out(account), fills=said, hash="0")

    def rows(self) -> list[BasisRow]:
        self._writer.commit()
        return list(CostBasis(self.path).rows())

    def close(self) -> Path:
        if not self._closed:
            self._writer.commit()
            self._writer.close()
        self._closed = True
        return self.path


def account(cash: float, *position: float, mark: float = 100.0) -> Account:
    return Account(np.array(cash), np.array(position), np.full(len(position), mark))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path / "journal.db", "BTC/USDT", "ETH/USDT:USDT", lot=0.1)
    yield made
    made.close()


def lived(path: Path, seed: int) -> Decimal:
    """A random account of the kernel, written down; how its cash changed."""
    rng = np.random.default_rng(seed)
    n, spot = int(rng.integers(1, 4)), bool(rng.integers(0, 2))
    lot = float(rng.choice([0.0, 1e-5, 1e-3, 0.1]))
    coins = tuple(
        Instrument(f"C{a}/USDT", "spot" if spot else "perpetual", lot=lot, taker_fee=0.001, maker_fee=0.0002,
                   maintenance=0.0 if spot else 0.02) for a in range(n)
    )  # fmt: skip
    rules = rules_of(
        coins, half_spread=5e-4, impact=0.01, volume_share=0.5, liquidation_fee=0.0 if spot else 0.01,
        leverage=1.0 if spot else 10.0, shorting=not spot,
    )  # fmt: skip
    venue, book = SimulatedVenue(rules, 10_000.0), Book(path, *(c.symbol for c in coins), lot=lot)
    price = rng.uniform(0.01, 50_000.0, n)
    for k in range(40):
        close = price * np.exp(rng.normal(0.0, 0.03, n))
        low, high = np.minimum(price, close) * 0.99, np.maximum(price, close) * 1.01
        values = np.stack([price, high, low, close, np.full(n, 1e6)], axis=1)
        funding = np.zeros(n) if spot else price * rng.normal(0.0, 1e-4, n) * (rng.random(n) < 0.3)
        final = np.full(n, k == 39) if rng.random() < 0.3 else np.zeros(n, dtype=np.bool_)
        fills = venue.advance(Bar(START + k * HOUR, values, funding, final, 1e-5))
        price = close
        if k == 0:
            cash = float(venue.account.cash)
            book.started(venue.account)
        else:
            book.settled(venue.account, fills)
        size = rng.normal(0.0, 0.5, n) * max(float(venue.account.equity), 0.0) / price
        flat = rng.random(n) < 0.3
        venue.submit(Orders.market(np.where(flat, -venue.account.position, size)))
    book.close()
    return Decimal(float(venue.account.cash)) - Decimal(cash)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_the_rows_come_to_the_account_to_the_cent(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """What was realised, what is open, funding and interest: over longs, shorts, liquidations and last bars."""
    path = tmp_path_factory.mktemp("lived") / "journal.db"
    change = lived(path, seed)
    basis = CostBasis(path)
    rows = list(basis.rows())
    sums = basis.sums()
    assert abs(sums.unexplained) < CENT, seed
    with exact():
        moved = sum((row.amount for row in rows if row.amount is not None), Decimal(0))
        assert abs(moved - change) < CENT
        assert sums.realised == sum((row.realised for row in rows if row.realised is not None), Decimal(0))
        assert sums.funding == -sum((row.amount or 0 for row in rows if row.kind == "funding"), Decimal(0))
    last = json.loads(events(path)[-1])["account"]["position"]
    for a, held in enumerate(last):
        of = [row for row in rows if row.symbol == f"C{a}/USDT" and row.open_quantity is not None]
        assert float(of[-1].open_quantity or 0 if of else 0) == pytest.approx(held, rel=1e-9), "none is left over"
        assert bool(of and of[-1].open_quantity) == bool(held)


def events(path: Path) -> list[str]:
    from qframe_rl.journal.store import read

    return [event.payload for event in read(path)]


def test_fees_funding_and_interest_each_in_their_place(book: Book) -> None:
    book.started(account(1000.0, 0.0, 0.0))
    book.settled(account(0.0, 0.1 + 0.2, -2.0), {
        "quantity": [0.1 + 0.2, -2.0], "price": [100.0, 50.0], "fee": [0.3, 0.1], "funding": [0.0, 0.25],
        "interest": 0.125,
    })  # fmt: skip
    book.settled(account(0.0, 0.1, -1.0), {"quantity": [-0.2, 1.0], "price": [110.0, 40.0], "fee": [0.22, 0.04]})
    long, funding, short, interest, sold, bought = book.rows()
    assert [row.kind for row in (long, funding, short, interest)] == ["fill", "funding", "fill", "interest"]
    assert (long.quantity, long.open_basis) == (Decimal("0.3"), Decimal("30.3")), (
        "a lot is a lot, not 0.30000000000000004"
    )
    assert (funding.amount, funding.realised, funding.symbol) == (Decimal("-0.25"), None, "ETH/USDT:USDT")
    assert (short.open_basis, short.currency) == (Decimal("99.9"), "USDT")
    assert interest.amount == Decimal("0.125")
    assert sold.acquired == long.time
    assert sold.realised == Decimal("0.2") * 110 - Decimal("0.22") - Decimal("20.2")
    assert bought.realised == Decimal("49.95") - Decimal("40.04")
    assert (bought.basis, bought.proceeds) == (Decimal("49.95"), Decimal("40.04"))


def test_what_is_paid_in_is_no_profit(book: Book) -> None:
    book.started(account(1000.0, 0.0, 0.0))
    for units, state, cash in ((5_000_000_001, "SETTLED", 1050.00000001), (-7, "REFUSED", 1050.00000001)):
        held = account_out(account(cash, 0.0, 0.0))
        book.put("transferred", time=START, id=f"t{units}", units=units, state=state, account=held)
    (paid,) = book.rows()
    assert (paid.kind, paid.amount, paid.realised) == ("transfer", Decimal("50.00000001"), None)
    basis = CostBasis(book.path)
    list(basis.rows())
    assert (basis.sums().transfers, basis.sums().unexplained) == (Decimal("50.00000001"), 0)


def test_what_was_held_before_the_session_has_the_value_that_it_had_then(book: Book) -> None:
    book.started(account(0.0, 1.0, 0.0))
    book.settled(account(150.0, 0.0, 0.0), {"quantity": [-1.0, 0.0], "price": [150.0, 0.0]})
    opening, sold = book.rows()
    assert (opening.kind, opening.amount, opening.open_basis) == ("opening", Decimal(0), Decimal(100))
    assert sold.realised == Decimal(50)
    basis = CostBasis(book.path)
    list(basis.rows())
    assert basis.sums().unexplained == 0


@pytest.mark.parametrize("symbol", ["=1+1", "+A/B", "-A/B", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_no_symbol_becomes_a_formula(tmp_path: Path, symbol: str) -> None:
    book = Book(tmp_path / "journal.db", symbol)
    book.started(account(1000.0, 0.0))
    book.settled(account(900.0, -1.0), {"quantity": [-1.0], "price": [100.0]})
    out = io.StringIO()
    write_csv(CostBasis(book.close()).rows(), out)
    (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
    assert row["symbol"] == f"'{symbol}"
    assert row["quantity"] == "-1", "a number stays one"
    assert all(not cell or cell[0] in "'-0123456789" or name in ("kind", "currency") for name, cell in row.items())


def test_the_door_writes_the_file_and_says_what_it_comes_to(
    book: Book, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book.started(account(1000.0, 0.0, 0.0))
    book.settled(account(950.0, 1.0, 0.0), {"quantity": [1.0, 0.0], "price": [100.0, 0.0], "fee": [0.5, 0.0]})
    path = book.close()
    file = tmp_path / "fills.csv"
    assert door(export.main, [str(path.parent), "--fills", str(file), "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["fills"], told["open"], told["change"], told["unexplained"]) == (1, "-0.5", "50", "50.5")
    assert "+50.50 of that no row explains" in said.err
    assert file.read_bytes().count(b"\r\n") == 2
    for wrong in (path, tmp_path, path.with_name("journal.db-wal")):
        assert door(export.main, [str(path), "--fills", str(wrong)]) == 2
    assert door(export.main, [str(tmp_path / "none"), "--fills", str(file)]) == 2
    assert "name the folder of a session" in capsys.readouterr().err
    assert list(tmp_path.glob(".*part")) == []


@pytest.mark.parametrize("account", ["9", None, {"equity": "NaN", "mark": [], "position": []}])
def test_what_no_session_writes_is_no_row(tmp_path: Path, account: Any) -> None:
    book = Book(tmp_path / "journal.db", "BTC/USDT")
    book.put("started", time=START, account=account)
    path = book.close()
    with pytest.raises(UserError, match="event 2 is not what a session writes"):
        list(CostBasis(path).rows())
