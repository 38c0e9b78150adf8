"""Which rows of a long table are which instrument's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qframe_rl.config import UserError
from qframe_rl.feeds import fields
from qframe_rl.types import Int

if TYPE_CHECKING:
    import pyarrow

SYMBOL = "symbol"
"""Column that says whose a row is."""
_SHOWN = 5


def own_rows(table: pyarrow.Table, symbols: Sequence[str], path: Path) -> list[Int]:
    """Rows of each instrument, in the order of the file.

    Parameters
    ----------
    table
        With a column ``symbol``: an instrument's symbol (``BTC/USDT``), the same without its marks (``BTCUSDT``,
        ``btc-usdt``), or the coin alone (``BTC``). Of a perpetual that has rows of its own (``BTC/USDT:USDT``) those of
        its pair are the spot market's.
    symbols
        Of the A instruments.
    path
        Of the file, for the message.

    Returns
    -------
    list[Int]
        A arrays of row numbers.

    Raises
    ------
    UserError
        If the file has rows, and no instrument has one of them; or if a row has no symbol.
    """
    said = table.column(fields.column_of(table.column_names, SYMBOL, path)).to_pylist()
    bare = [_bare("" if one is None else str(one)) for one in said]
    if "" in bare:
        raise UserError(f"{path}: column {SYMBOL!r} has no value in row {bare.index('') + 1}.")
    named, codes = np.unique(np.array(bare, dtype=str), return_inverse=True)
    own = [np.flatnonzero(np.isin(codes, np.flatnonzero(np.isin(named, _spellings(one, named))))) for one in symbols]
    if said and not any(map(len, own)):
        there = ", ".join(sorted(set(map(str, said)))[:_SHOWN])
        raise UserError(f"{path}: none of its symbols ({there}) is one of {', '.join(symbols[:_SHOWN])}.")
    return own


def _spellings(symbol: str, named: NDArray[np.str_]) -> list[str]:
    pair = symbol.partition(":")[0]
    whole, coin = _bare(symbol), _bare(pair.partition("/")[0])
    return [whole, coin] if whole in named else [whole, _bare(pair), coin]


def _bare(text: str) -> str:
    """Letters and digits alone, in capitals."""
    return "".join(c for c in text.upper() if c.isalnum())
