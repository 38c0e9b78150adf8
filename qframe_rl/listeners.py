"""Those who are told what a session does. They read, and can change nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.types import Account, Fills, Float, Instrument, Orders, Record, iso

FIELDS = Fills._fields[:-1]
"""Those of `Fills` that there are per instrument."""


class Listener(Protocol):
    """Told of each bar of a session."""

    def started(self, view: View) -> None:
        """The first decision is about to be made."""

    def settled(self, view: View, orders: Orders) -> None:
        """``orders`` met a bar, and ``view`` is what is known after it."""

    def ended(self, view: View) -> None:
        """No further bar will come."""


class Journal:
    """Keeps every number of a session; the only source of its reports.

    Parameters
    ----------
    instruments
        The A instruments.
    bar_ns
        Length of a bar.
    sink
        Where each bar is appended as a line of JSON, flushed at once; floats are written with all their digits.
    """

    def __init__(self, instruments: tuple[Instrument, ...], bar_ns: int, sink: TextIO | None = None):
        self.instruments = instruments
        self.bar_ns = bar_ns
        self._sink = sink
        self._times: list[int] = []
        self._rows: list[Float] = []
        self._chain = b""

    def started(self, view: View) -> None:
        """Write the state before the first bar."""
        n = len(self.instruments)
        nothing = Fills.of(np.zeros((n, len(FIELDS))), np.zeros(()))
        self._append(view, Orders.market(np.zeros(n)), nothing)

    def settled(self, view: View, orders: Orders) -> None:
        """Write one bar."""
        self._append(view, orders, view.fills)

    def ended(self, view: View) -> None:
        """Nothing to write: every bar is there already."""

    @property
    def digest(self) -> str:
        """SHA-256 over all rows so far, each chained to the one before."""
        return self._chain.hex()

    def record(self) -> Record:
        """The journal as columns."""
        n, a = len(self._rows), len(self.instruments)
        rows = np.stack(self._rows)
        per = rows[:, 2:].reshape(n, -1, a)
        account = Account(rows[:, 0], per[:, 0], per[:, 1])
        orders = Orders(per[:, 2], per[:, 3], per[:, 4])
        fills = Fills.of(np.moveaxis(per[:, 5:], 1, -1), rows[:, 1])
        return Record(self.instruments, self.bar_ns, np.array(self._times), account, orders, fills, self.digest)

    def _append(self, view: View, orders: Orders, fills: Fills) -> None:
        account = view.account
        fields = (account.position, account.mark, *orders, *fills[: len(FIELDS)])
        row = np.concatenate([[account.cash, fills.absorbed], *(np.asarray(f, dtype=np.float64) for f in fields)])
        self._times.append(view.time)
        self._rows.append(row)
        self._chain = hashlib.sha256(self._chain + view.time.to_bytes(8, "little") + row.tobytes()).digest()
        if self._sink is not None:
            self._sink.write(self._line(view, orders, fills))
            self._sink.flush()

    def _line(self, view: View, orders: Orders, fills: Fills) -> str:
        line: dict[str, object] = {"bar": len(self._rows) - 1, "time": iso(view.time)}
        line |= {"equity": float(view.account.equity), "cash": float(view.account.cash)}
        for a, instrument in enumerate(self.instruments):
            parts = (view.account.position, view.account.mark, *orders, *fills[: len(FIELDS)])
            names = ("position", "mark", *(f"order_{name}" for name in Orders._fields), *FIELDS)
            known = {name: float(part[a]) for name, part in zip(names, parts, strict=True) if np.isfinite(part[a])}
            line[instrument.symbol] = {k: v for k, v in known.items() if v != 0.0}
        return json.dumps(line | {"hash": self._chain.hex()}) + "\n"


def write_record(record: Record, path: Path) -> None:
    """Write a record as Parquet, one row per bar; the file appears whole or not at all.

    Columns are ``time`` (close, UTC), ``equity``, ``cash``, ``absorbed``, and per instrument ``SYMBOL position`` and so
    on: what is held, its mark, the order that met the bar and what became of it.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {"time": pyarrow.array(record.time, pyarrow.timestamp("ns", "UTC"))}
    columns |= {"equity": record.account.equity, "cash": record.account.cash, "absorbed": record.fills.absorbed}
    for a, instrument in enumerate(record.instruments):
        fields = {"position": record.account.position, "mark": record.account.mark}
        fields |= {f"order {name}": part for name, part in record.orders._asdict().items()}
        fields |= {f"fill {name}": part for name, part in zip(FIELDS, record.fills, strict=False)}
        columns |= {f"{instrument.symbol} {name}": part[:, a] for name, part in fields.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    pyarrow.parquet.write_table(pyarrow.table(columns), fresh, compression="zstd")
    fresh.replace(path)


def read_record(path: Path, instruments: tuple[Instrument, ...], bar_ns: int) -> Record:
    """Read what `write_record` wrote; the digest, which covers more than a file tells, is left empty.

    Raises
    ------
    UserError
        If the file does not hold these instruments.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    names = [*(f"order {name}" for name in Orders._fields), *(f"fill {name}" for name in FIELDS)]
    wanted = [f"{i.symbol} {name}" for i in instruments for name in ("position", "mark", *names)]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise UserError(f"{path} is not the journal of these instruments: it has no column {missing[0]!r}.")

    def column(name: str) -> Float:
        return np.asarray(table.column(name).to_numpy(), dtype=np.float64)

    def panel(name: str) -> Float:
        return np.stack([column(f"{i.symbol} {name}") for i in instruments], axis=1)

    time = table.column("time").to_numpy().astype("datetime64[ns]").astype(np.int64)
    fills = Fills.of(np.stack([panel(f"fill {name}") for name in FIELDS], axis=-1), column("absorbed"))
    orders = Orders(*(panel(f"order {name}") for name in Orders._fields))
    account = Account(column("cash"), panel("position"), panel("mark"))
    return Record(instruments, bar_ns, time, account, orders, fills, "")
