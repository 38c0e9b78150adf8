"""The Parquet store: a folder of candles, funding rates and mark prices, one file per series.

``ohlcv/{exchange}/{BASE}-{QUOTE}/{timeframe}.parquet`` and ``mark/...`` hold ``timestamp`` (the bar's OPEN, UTC), open,
high, low, close and volume; ``funding/{exchange}/{BASE}-{QUOTE}.parquet`` holds ``timestamp`` (the settlement, UTC) and
rate. USD-margined perpetuals are under ``{exchange}_um``. ``ohlcv/{exchange}/instruments.json`` has the rules of the
markets as the exchange stated them, the time at which it was asked, and that volumes are base units.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from qframe_rl.config import UserError, nearest, shortened
from qframe_rl.exchanges import counts_coins
from qframe_rl.feeds import parquet
from qframe_rl.feeds.check import checked
from qframe_rl.feeds.listing import Listing, base_exchange, listings
from qframe_rl.feeds.panel import Leg, panel, settled
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.feeds.presets import preset
from qframe_rl.instruments import instrument_of
from qframe_rl.types import CLOSE, DAY, History, Instrument, Int, Source, iso, timeframe_name, timeframe_ns

Environment = Literal["production", "testnet", "unknown"]
# Contracts trade for up to two days before their first settlement.
_BEFORE_FIRST_RATE = 3 * DAY


class Gap(NamedTuple):
    """A run of bars that an instrument lacks between its first and its last."""

    symbol: str
    start: int
    """Open of the first missing bar, ns UTC."""
    n_bars: int


def bars_path(root: Path, listing: Listing, timeframe: str) -> Path:
    """File of an instrument's candles.

    Parameters
    ----------
    root
        Folder of the store.
    listing
        The instrument.
    timeframe
        Length of a bar, such as ``1h``.
    """
    return root / "ohlcv" / listing.folder / listing.pair / f"{timeframe}.parquet"


def marks_path(root: Path, listing: Listing, timeframe: str) -> Path:
    """File of a perpetual's mark-price candles.

    Parameters
    ----------
    root, listing, timeframe
        As in `bars_path`.
    """
    return root / "mark" / listing.folder / listing.pair / f"{timeframe}.parquet"


def rates_path(root: Path, listing: Listing) -> Path:
    """File of a perpetual's funding rates."""
    return root / "funding" / listing.folder / f"{listing.pair}.parquet"


def load_store(
    root: Path,
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
    since: int | None = None,
    until: int | None = None,
    funding: str = "require",
    *,
    sparse: bool = False,
) -> History:
    """Bars of one or several instruments, aligned, with their funding.

    Parameters
    ----------
    root
        The store's folder.
    exchange
        Exchange id as CCXT spells it; ``binance_um`` and ``binanceusdm`` mean Binance's perpetuals.
    symbols
        Symbols of that exchange.
    timeframe
        Length of a bar; it must be stored.
    since, until
        Only bars that open at or after ``since`` and close at or before ``until``, ns UTC; None = all there is.
    funding
        ``require`` refuses a perpetual whose funding rates do not cover its bars; ``zero`` charges what is known.
    sparse
        As in `qframe_rl.feeds.check.checked`.

    Returns
    -------
    History
        (T, A, 5), or (T, A, 6) with the column `funding_rate` if an instrument is a perpetual.

    Raises
    ------
    UserError
        For a symbol or timeframe that is not stored, a damaged file, prices that no exchange could print, an empty
        span, or missing funding.
    """
    bar_ns = timeframe_ns(timeframe)
    markets = listings(exchange, symbols)
    legs = [_leg(root, one, timeframe, bar_ns, funding) for one in markets]
    whole = panel(legs, bar_ns, Source(markets[0].exchange, _environment(root, markets), str(root)))
    history = checked(whole.rows(*whole.between(since, until)), sparse=sparse)
    if funding == "require":
        for a, leg in enumerate(legs):
            _require_rates(history, a, leg)
    return history


def stored_symbols(root: Path, exchange: str, timeframe: str) -> tuple[str, ...]:
    """Symbols of an exchange of which a store has bars.

    Parameters
    ----------
    root, exchange, timeframe
        As in `load_store`.

    Returns
    -------
    tuple[str, ...]
        In the order of the alphabet.

    Raises
    ------
    UserError
        If there are none.
    """
    name, perpetuals = base_exchange(exchange)
    folder = Listing(name, "A/B:B" if perpetuals else "A/B").folder
    pairs = sorted(file.parent.name for file in (root / "ohlcv" / folder).glob(f"*/{timeframe}.parquet"))
    if not pairs:
        raise UserError(f"{root}: nothing of exchange {folder!r} in bars of {timeframe} to choose a universe from.")
    split = [pair.rpartition("-") for pair in pairs]
    return tuple(f"{base}/{quote}" + (f":{quote}" if perpetuals else "") for base, _, quote in split)


def gaps(history: History) -> tuple[Gap, ...]:
    """Missing bars of every instrument, between its own first and last; nothing is ever filled in."""
    found = []
    for a, instrument in enumerate(history.instruments):
        opens = history.time[~np.isnan(history.values[:, a, CLOSE])] - history.bar_ns
        found += [Gap(instrument.symbol, start, n) for start, n in holes(opens, history.bar_ns)]
    return tuple(found)


def holes(opens: Int, bar_ns: int) -> list[tuple[int, int]]:
    """First missing open (ns) and number of missing bars of every hole in ``opens`` (N,)."""
    missing = np.diff(opens) // bar_ns - 1
    return [(int(opens[row]) + bar_ns, int(missing[row])) for row in np.flatnonzero(missing > 0)]


def stored_instruments(root: Path, folder: str) -> tuple[dict[str, Instrument], Environment]:
    """Rules of an exchange's markets as a download stored them, and where they came from.

    Returns
    -------
    tuple
        Instruments by symbol, empty where none are stored; the environment, ``production`` where none is stated.

    Raises
    ------
    UserError
        If the file is damaged, or if volumes were stored beside it as the exchange counts them, which is not in base
        units.
    """
    path = root / "ohlcv" / folder / "instruments.json"
    if not path.exists():
        return {}, "production"
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Instrument)}
        rules = {
            symbol: instrument_of({key: value for key, value in entry.items() if key in known}, str(path))
            for symbol, entry in stated["instruments"].items()
        }
        environment: Environment = stated["environment"]
        if environment not in get_args(Environment):
            raise ValueError(f"its environment is {shortened(environment)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it and download again.") from None
    if stated.get("volume") != "base" and not counts_coins(*base_exchange(folder)):
        raise UserError(
            f"{path.parent}: its volumes are in what {base_exchange(folder)[0]} counts, and not in base units; "
            "download them into another folder, or delete this one first."
        )
    return rules, environment


def store_instruments(root: Path, folder: str, instruments: Sequence[Instrument], environment: Environment) -> None:
    """Write rules of markets beside their candles, with the present time as the time at which they were read.

    Parameters
    ----------
    root
        Folder of the store.
    folder
        The exchange's folder in it, see `qframe_rl.feeds.listing.Listing`.
    instruments
        Rules of some of its markets; those of others that are stored already stay.
    environment
        Where the rules, and the candles beside them, come from.

    Raises
    ------
    UserError
        If the folder holds data from another environment: the two must never mix.
    """
    path = root / "ohlcv" / folder / "instruments.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with parquet.alone(path.parent):
        _, before = stored_instruments(root, folder)
        if before != environment and any(path.parent.iterdir()):
            raise UserError(
                f"{path.parent} holds data from {before}, these come from {environment}; use another folder."
            )
        entries = json.loads(path.read_text(encoding="utf-8"))["instruments"] if path.exists() else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entries |= {one.symbol: {**asdict(one), "read": now} for one in instruments}
        stated = {"environment": environment, "volume": "base", "instruments": dict(sorted(entries.items()))}
        with parquet.replacing(path) as temporary:
            temporary.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")


def _leg(root: Path, market: Listing, timeframe: str, bar_ns: int, funding: str) -> Leg:
    path = bars_path(root, market, timeframe)
    if not path.is_file():
        raise UserError(_absent(root, market, timeframe))
    bars = parquet.read(path, PRICES)
    near = np.diff(bars.time) < bar_ns
    if near.any():
        raise UserError(f"{path}: bars lie closer together than {timeframe} at {iso(int(bars.time[1:][near][0]))}.")
    rules, _ = stored_instruments(root, market.folder)
    instrument = rules.get(market.symbol) or preset(market)
    if market.kind == "spot":
        return Leg(instrument, bars)
    rates = rates_path(root, market)
    if not rates.is_file():
        if funding == "require":
            raise UserError(f"{rates}: no funding rates of {market.symbol}; download them, or set funding to zero.")
        return Leg(instrument, bars)
    marks, mark_ns = stored_marks(root, market)
    return Leg(instrument, bars, parquet.read(rates, RATES), marks, mark_ns)


def stored_marks(root: Path, market: Listing) -> tuple[Series | None, int]:
    """Mark-price candles of the shortest timeframe there is."""
    lengths = sorted(timeframe_ns(file.stem) for file in marks_path(root, market, "1h").parent.glob("*.parquet"))
    if not lengths:
        return None, 0
    return parquet.read(marks_path(root, market, timeframe_name(lengths[0])), PRICES), lengths[0]


def _absent(root: Path, market: Listing, timeframe: str) -> str:
    """Why a file that was asked for is not there, in one sentence."""
    if not root.is_dir():
        return f"{root}: no such folder."
    exchanges = sorted(folder.name for folder in (root / "ohlcv").glob("*") if folder.is_dir())
    if not exchanges:
        return f"{root}: not a store, for it has no folder ohlcv/EXCHANGE; fill one with experiments.download."
    if market.folder not in exchanges:
        return f"{root}: nothing of exchange {market.folder!r}{nearest(market.folder, exchanges)}"
    pairs = sorted(folder.name for folder in (root / "ohlcv" / market.folder).glob("*") if folder.is_dir())
    if market.pair not in pairs:
        known = nearest(market.pair, pairs)
        return f"{root}: {market.folder} has no {market.symbol} ({market.pair}): experiments.download fetches it{known}"
    lengths = sorted(file.stem for file in bars_path(root, market, timeframe).parent.glob("*.parquet"))
    there = ", ".join(lengths) or "none"
    return (
        f"{root}: {market.symbol} of {market.folder} has no {timeframe} bars; it has {there}, and experiments.download "
        "fetches others."
    )


def _environment(root: Path, markets: Sequence[Listing]) -> Environment:
    """Environment of a panel: production only if all of it is."""
    found = [stored_instruments(root, market.folder)[1] for market in markets]
    return next((environment for environment in found if environment != "production"), "production")


def _require_rates(history: History, a: int, leg: Leg) -> None:
    """Refuse a span of a perpetual in which more than a day passes without a settlement."""
    if leg.rates is None or np.isnan(history.values[:, a, CLOSE]).all():
        return
    close = history.time[~np.isnan(history.values[:, a, CLOSE])]
    begin, end = int(close[0]) - history.bar_ns, int(close[-1])
    stamps = settled(leg.rates)
    if len(stamps) and begin < stamps[0] <= begin + _BEFORE_FIRST_RATE:
        begin = int(stamps[0])
    edges = np.concatenate([[begin], stamps[(stamps >= begin) & (stamps < end)], [end]])
    row = int(np.argmax(np.diff(edges)))
    if edges[row + 1] - edges[row] > max(DAY, history.bar_ns):
        raise UserError(
            f"{history.source.origin}: {history.symbols[a]} has no funding rate from {iso(int(edges[row]))} to"
            f" {iso(int(edges[row + 1]))}; download the rest, take another span, or set funding to zero."
        )
