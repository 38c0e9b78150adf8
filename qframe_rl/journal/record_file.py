"""A record as a file of Parquet: one row for each bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.journal.slots import slot_columns, slots_read
from qframe_rl.orders import PRICES
from qframe_rl.types import PER_INSTRUMENT, Account, Fills, Float, Instrument, Orders, Record

_SKIPPED = "qframe_rl.skipped"
"""Key of `Record.skipped` in a file; files of before there was one have gone without."""


def write_record(record: Record, path: Path) -> None:
    """Write a record as Parquet, one row per bar; the file appears whole or not at all.

    Columns are ``time`` (close, UTC), ``equity``, ``cash``, ``absorbed``, ``interest``, ``cash_rate``, and per
    instrument ``SYMBOL position`` and so on: what is held, its mark, the order that met the bar and what became of it;
    of several ``SYMBOL slot 1 quantity`` and so on.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {"time": pyarrow.array(record.time, pyarrow.timestamp("ns", "UTC"))}
    columns |= {"equity": record.account.equity, "cash": record.account.cash, "absorbed": record.fills.absorbed}
    columns |= {"flow": record.flow} if record.flow.any() else {}
    columns |= {"interest": record.fills.interest, "cash_rate": record.cash_rate}
    for a, instrument in enumerate(record.instruments):
        fields = {"position": record.account.position, "mark": record.account.mark}
        fields |= {f"order {name}": part for name, part in zip(PRICES, record.orders.terms, strict=True)}
        fields |= {f"fill {name}": part for name, part in zip(PER_INSTRUMENT, record.fills.sums, strict=False)}
        columns |= {f"{instrument.symbol} {name}": part[:, a] for name, part in fields.items()}
        columns |= {f"{instrument.symbol} {name}": part for name, part in slot_columns(record.slots, a)}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    table = pyarrow.table(columns).replace_schema_metadata({_SKIPPED: str(record.skipped)})
    pyarrow.parquet.write_table(table, fresh, compression="zstd")
    fresh.replace(path)


def read_record(path: Path, instruments: tuple[Instrument, ...], bar_ns: int) -> Record:
    """Read what `write_record` wrote; the digest, which covers more than a file tells, is left empty.

    Parameters
    ----------
    path
        The file.
    instruments
        Whose columns are read, in this order.
    bar_ns
        Length of a bar.

    Raises
    ------
    UserError
        If the file cannot be read, does not hold these instruments, or holds anything but numbers.
    """
    table = parquet.table(path)
    names = [*(f"order {name}" for name in PRICES), *(f"fill {name}" for name in PER_INSTRUMENT)]
    wanted = [f"{i.symbol} {name}" for i in instruments for name in ("position", "mark", *names)]
    wanted += ["time", "cash", "absorbed"]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise UserError(f"{path} is not the journal of these instruments: it has no column {missing[0]!r}.")

    def column(name: str) -> Float:
        # Files of before there were cash rates lack their columns.
        if name in ("interest", "cash_rate") and name not in table.column_names:
            return np.zeros(table.num_rows)
        return parquet.numbers(table.column(name), name, path)

    def panel(name: str) -> Float:
        return np.stack([column(f"{i.symbol} {name}") for i in instruments], axis=1)

    time = parquet.stamps(table.column("time"), path, "time")
    per = np.stack([panel(f"fill {name}") for name in PER_INSTRUMENT], axis=-1)
    fills = Fills.of(per, column("absorbed"), column("interest"))
    orders = Orders(*(panel(f"order {name}") for name in PRICES))
    account = Account(column("cash"), panel("position"), panel("mark"))
    try:
        skipped = int((table.schema.metadata or {}).get(_SKIPPED.encode(), 0))
    except ValueError:
        raise UserError(f"{path}: its note {_SKIPPED!r} is not a number; run it again.") from None
    flow = column("flow") if "flow" in table.column_names else np.zeros(0)
    slots = slots_read(table.column_names, instruments, column)
    return Record(instruments, bar_ns, time, account, orders, fills, column("cash_rate"), "", skipped, flow, slots)
