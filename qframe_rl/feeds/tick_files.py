"""Files of runs of ticks that are being recorded, written so that a kill at any moment loses nothing that was there.

Rows are kept for a few seconds and then written as a part: trades first, then depth, each to another name and renamed.
A part counts once its depth is there. When a run ends its parts become one file of each kind, trades first again, and
the parts go; `tidied` does what a kill left undone.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds.parquet import replacing
from qframe_rl.feeds.tick_wire import BookPicture, DepthMessage, Levels, TradeMessage
from qframe_rl.feeds.ticks import beside, parts_of
from qframe_rl.types import iso

if TYPE_CHECKING:
    import pyarrow

KILLED = "the recorder was killed"
_STEM = "_depth.parquet"
_AT_ONCE = 500_000
"""Rows that are put together at once."""
_DEPTH = {
    "local_ts_ns": "int64", "event_ms": "int64", "transact_ms": "int64", "first_update_id": "int64",
    "final_update_id": "int64", "prev_final_update_id": "int64", "side": "int8", "price": "float64", "qty": "float64",
}  # fmt: skip
_TRADES = {
    "local_ts_ns": "int64", "event_ms": "int64", "trade_ms": "int64", "trade_id": "int64", "price": "float64",
    "qty": "float64", "buyer_is_maker": "bool", "exec_type": "string",
}  # fmt: skip
_SNAPSHOT = {
    "local_ts_ns": "int64", "last_update_id": "int64", "side": "int8", "price": "float64", "qty": "float64",
}  # fmt: skip


class RunFiles:
    """Files of one run.

    Parameters
    ----------
    folder
        Of the instrument.
    picture
        The book with which it begins.
    stated
        What its manifest says of it.
    """

    def __init__(self, folder: Path, picture: BookPicture, stated: Mapping[str, Any]):
        self.depth = folder / f"{_free_name(folder, picture.local_ns)}{_STEM}"
        self.rows = self.trades = self.nbytes = 0
        """That are written."""
        self.waiting = 0
        """Rows that are not."""
        self.last: DepthMessage | None = None
        self._picture = picture
        self._stated = dict(stated)
        self._depth: list[tuple[Any, ...]] = []
        self._trades: list[tuple[Any, ...]] = []
        self._n_parts = 0
        self._joined: tuple[int, int] | None = None

    def add(self, message: DepthMessage | TradeMessage) -> None:
        """Take a message; it is written with the next part."""
        if isinstance(message, TradeMessage):
            self._trades.append(tuple(message))
            self.waiting += 1
            return
        self.last = message
        first, previous = self._joined or (message.first, message.previous)
        rows = [*((1, *level) for level in message.bids), *((-1, *level) for level in message.asks)]
        # A message that changes nothing has no row: its ids are those of the next one, and the chain holds.
        self._joined = None if rows else (first, previous)
        head = (message.local_ns, message.event_ms, message.transact_ms, first, message.final, previous)
        self._depth += [(*head, *row) for row in rows]
        self.waiting += len(rows)

    def write(self, more: Mapping[str, Any]) -> None:
        """Write what waits, as a part.

        Parameters
        ----------
        more
            What the manifest says of the run by now.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        depth, trades = self._depth, self._trades
        if not depth and not (trades and self._n_parts):
            return
        nbytes = 0
        if not self._n_parts:
            self._tell(more, "")
            nbytes = _saved(beside(self.depth, "snapshot"), _SNAPSHOT, _whole(self._picture))
        self._depth, self._trades, self.waiting = [], [], 0
        part = self.depth.with_name(self.depth.name.replace(".parquet", f".{self._n_parts:05d}.parquet"))
        self.nbytes += nbytes + _saved(beside(part, "trades"), _TRADES, trades) + _saved(part, _DEPTH, depth)
        self._n_parts, self.rows, self.trades = self._n_parts + 1, self.rows + len(depth), self.trades + len(trades)
        self._tell(more, "")

    def end(self, why: str, more: Mapping[str, Any]) -> None:
        """Write what waits, say why the run ends, and make one file of its parts.

        Parameters
        ----------
        why
            It ends.
        more
            What the manifest says of the run.
        """
        self.write(more)
        if self._n_parts:
            self._tell(more, why)
            self.nbytes = _put_together(self.depth)

    def _tell(self, more: Mapping[str, Any], ends: str) -> None:
        counted = {"depth_rows": self.rows, "trades": self.trades}
        _state(_manifest(self.depth), self._stated | counted | dict(more) | {"ends": ends})


def tidied(folder: Path) -> int:
    """Finish what a kill left: parts become files, and what never counted goes.

    Parameters
    ----------
    folder
        Of an instrument; nobody else may write into it.

    Returns
    -------
    int
        Runs that had been cut short.
    """
    from pyarrow import parquet

    n = 0
    for left in folder.glob(".*.partial"):
        left.unlink()
    for manifest in sorted(folder.glob("*_recording.json")):
        depth = manifest.with_name(manifest.name.replace("_recording.json", _STEM))
        if not parts_of(depth):
            # It was killed before its first rows were whole.
            for orphan in folder.glob(f"{depth.name.removesuffix(_STEM)}_[ts]*.parquet"):
                orphan.unlink()
            manifest.unlink()
            n += 1
            continue
        _put_together(depth)
        told = json.loads(manifest.read_text(encoding="utf-8"))
        if not told["ends"]:
            counted = [parquet.read_metadata(path).num_rows for path in (depth, beside(depth, "trades"))]
            _state(manifest, told | {"depth_rows": counted[0], "trades": counted[1], "ends": KILLED})
            n += 1
    return n


def _put_together(depth: Path) -> int:
    """Make one file of a run's parts, unless it is there; bytes of the run."""
    if not depth.exists():
        parts = parts_of(depth)
        _joined_into(beside(depth, "trades"), [beside(part, "trades") for part in parts])
        _joined_into(depth, parts)
    stem = depth.name.removesuffix(_STEM)
    for what in ("trades", "depth"):
        for part in depth.parent.glob(f"{stem}_{what}.[0-9]*.parquet"):
            part.unlink()
    return sum(path.stat().st_size for path in depth.parent.glob(f"{stem}_*"))


def _joined_into(whole: Path, parts: Sequence[Path]) -> None:
    """Write the rows of some files into one."""
    from pyarrow import parquet

    schema, held = parquet.read_schema(parts[0]), []
    with _written(whole) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for k, part in enumerate(parts):
            held.append(parquet.read_table(part))
            if k == len(parts) - 1 or sum(map(len, held)) >= _AT_ONCE:
                writer.write_table(_concatenated(held))
                held = []


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As `replacing`; what cannot be written is said."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); what came before is there.") from error


def _concatenated(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    import pyarrow

    return pyarrow.concat_tables(tables).combine_chunks()


def _free_name(folder: Path, at_ns: int) -> str:
    """Name of a run: when it began, and a number where another began in the same second."""
    name = re.sub("[-:]", "", iso(at_ns)).replace(" ", "T")
    taken = {path.name.partition("_")[0] for path in folder.glob(f"{name}*")}
    return next(one for k in itertools.count() if (one := f"{name}-{k:03d}") not in taken)


def _manifest(depth: Path) -> Path:
    return depth.with_name(depth.name.replace(_STEM, "_recording.json"))


def _state(path: Path, what: Mapping[str, Any]) -> None:
    with _written(path) as temporary:
        temporary.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")


def _whole(picture: BookPicture) -> list[tuple[Any, ...]]:
    def rows(side: int, levels: Levels) -> list[tuple[Any, ...]]:
        return [(picture.local_ns, picture.last, side, *level) for level in levels]

    return rows(1, picture.bids) + rows(-1, picture.asks)


def _saved(path: Path, columns: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> int:
    """Write rows as a file; its bytes."""
    import pyarrow
    from pyarrow import parquet

    told = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [
        pyarrow.array(told[k], pyarrow.string()) if kind == "string" else pyarrow.array(np.array(told[k], kind))
        for k, kind in enumerate(columns.values())
    ]
    with _written(path) as temporary:
        parquet.write_table(pyarrow.table(arrays, list(columns)), temporary, compression="zstd")
    return path.stat().st_size
