"""How fast stores give hourly bars back, and what they keep under kill -9: ``python -m tests.soak.stores``.

All coins of QFRAME_DATA that have hourly bars on Binance go into each store and come back as arrays: all of them, the
last year, the last 500 bars. Times are ratios to plain Parquet in the same run, the best of several. Then a new bar of
all coins is written, acknowledged, many times; servers are killed after 300 of these, and what is there is counted.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import httpx
import numpy as np

from qframe_rl.feeds import parquet
from qframe_rl.feeds.database import _HEADER, _packed, _row
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.store import load_store
from qframe_rl.types import DAY, HOUR
from tests.servers import TestServer, influxdb, postgres

KILLED_AFTER = 300
Panel = dict[str, Series]


class MeasuredStore(ABC):
    """A store with the bars of all coins in it."""

    name: str
    server: TestServer | None = None

    @abstractmethod
    def fill(self, panel: Panel) -> None:
        """Put all bars in."""

    @abstractmethod
    def read(self, since: int) -> Panel:
        """Bars that open at or after a time."""

    @abstractmethod
    def write(self, at: int, row: np.ndarray) -> None:
        """Add a bar of all coins (A, 5); when this returns it is kept."""

    @abstractmethod
    def size(self) -> int:
        """Bytes on disk."""

    def close(self) -> None:
        """Let go."""
        if self.server is not None:
            self.server.close()


class ParquetFiles(MeasuredStore):
    """One file a coin, read whole and cut."""

    name = "Parquet"

    def __init__(self, folder: Path):
        self.folder = folder

    def fill(self, panel: Panel) -> None:
        self.coins = list(panel)
        for coin, series in panel.items():
            parquet.write(self.folder / f"{coin}.parquet", PRICES, series)

    def read(self, since: int) -> Panel:
        found = {}
        for coin in self.coins:
            table = parquet.table(self.folder / f"{coin}.parquet")
            time_ns = table.column(0).to_numpy().astype("datetime64[ns]").astype(np.int64)
            start = int(np.searchsorted(time_ns, since))
            values = np.column_stack([table.column(name).to_numpy()[start:] for name in PRICES])
            found[coin] = Series(time_ns[start:], values)
        return found

    def write(self, at: int, row: np.ndarray) -> None:
        for k, coin in enumerate(self.coins):
            parquet.merge(self.folder / f"{coin}.parquet", PRICES, Series(np.array([at]), row[k : k + 1]))

    def size(self) -> int:
        return _bytes(self.folder)


class SqliteFile(MeasuredStore):
    """One table, coin and time its key."""

    name = "SQLite"

    def __init__(self, folder: Path):
        self.folder = folder
        self.database = sqlite3.connect(folder / "bars.db", isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        columns = ", ".join(f"{name} REAL" for name in PRICES)
        self.database.execute(
            f"CREATE TABLE bars (coin INTEGER, time INTEGER, {columns}, PRIMARY KEY (coin, time)) WITHOUT ROWID"
        )

    def fill(self, panel: Panel) -> None:
        self.coins = list(panel)
        self.database.execute("BEGIN")
        for k, series in enumerate(panel.values()):
            rows = zip([k] * len(series.time), series.time.tolist(), *series.values.T.tolist(), strict=True)
            self.database.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self.database.execute("COMMIT")

    def read(self, since: int) -> Panel:
        found = {}
        for k, coin in enumerate(self.coins):
            query = "SELECT time, open, high, low, close, volume FROM bars WHERE coin = ? AND time >= ? ORDER BY time"
            rows = self.database.execute(query, (k, since)).fetchall()
            found[coin] = Series(np.array([r[0] for r in rows]), np.array([r[1:] for r in rows]))
        return found

    def write(self, at: int, row: np.ndarray) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        rows = [(k, at, *values) for k, values in enumerate(row.tolist())]
        self.database.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self.database.execute("COMMIT")

    def size(self) -> int:
        return _bytes(self.folder)

    def close(self) -> None:
        self.database.close()


class PostgresTable(MeasuredStore):
    """The same table in PostgreSQL, filled and read by binary COPY."""

    def __init__(self) -> None:
        self.server = postgres("-c", "fsync=on")
        self._connect()
        version = self.connection.info.server_version // 10_000
        self.name = f"PostgreSQL {version}"
        columns = ", ".join(f"{name} FLOAT8" for name in PRICES)
        self.connection.execute(f"CREATE TABLE bars (coin INT, time BIGINT, {columns}, PRIMARY KEY (coin, time))")

    def _connect(self) -> None:
        import psycopg

        assert self.server is not None
        url = f"postgresql://postgres@127.0.0.1:{self.server.port}/postgres"
        self.connection = psycopg.connect(url, autocommit=True)

    def fill(self, panel: Panel) -> None:
        self.coins = list(panel)
        columns = ", ".join(("time", *PRICES))
        for k, series in enumerate(panel.values()):
            self.connection.execute(f"CREATE TEMP TABLE one AS SELECT {columns} FROM bars LIMIT 0")
            with self.connection.cursor() as cursor, cursor.copy("COPY one FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(_packed(series))
            self.connection.execute(f"INSERT INTO bars SELECT {k}, {columns} FROM one")
            self.connection.execute("DROP TABLE one")
        self.connection.execute("VACUUM ANALYZE bars")

    def read(self, since: int) -> Panel:
        found = {}
        for k, coin in enumerate(self.coins):
            query = f"SELECT time, {', '.join(PRICES)} FROM bars WHERE coin = {k} AND time >= {since} ORDER BY time"
            with self.connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)") as copy:
                plain = b"".join(bytes(part) for part in copy)
            rows = np.frombuffer(plain[len(_HEADER) : -2], _row(len(PRICES)))
            found[coin] = Series(rows["time"].astype(np.int64), rows["values"]["x"].astype(np.float64))
        return found

    def write(self, at: int, row: np.ndarray) -> None:
        with self.connection.transaction(), self.connection.cursor() as cursor:
            rows = [(k, at, *values) for k, values in enumerate(row.tolist())]
            cursor.executemany("INSERT INTO bars VALUES (%s, %s, %s, %s, %s, %s, %s)", rows)

    def size(self) -> int:
        ((n,),) = self.connection.execute("SELECT pg_total_relation_size('bars')").fetchall()
        return int(n)

    def killed(self, since: int) -> int:
        """Rows after a time, once it was killed and began again."""
        assert self.server is not None
        self.server.kill()
        self.server.start()
        self.connection.close()
        self._connect()
        return sum(len(series.time) for series in self.read(since).values())

    def close(self) -> None:
        self.connection.close()
        super().close()


class InfluxDatabase(MeasuredStore):
    """Points with the coin as their tag, written by line protocol and read as CSV."""

    def __init__(self) -> None:
        self.server = influxdb()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.server.port}", timeout=300.0)
        self.client.post("/query", params={"q": "CREATE DATABASE bars"})
        self.name = f"InfluxDB {self.client.get('/ping').headers['x-influxdb-version'].partition('~')[0]}"

    def fill(self, panel: Panel) -> None:
        self.coins = list(panel)
        for coin, series in panel.items():
            lines = [_line(coin, *row) for row in zip(series.time.tolist(), series.values.tolist(), strict=True)]
            for start in range(0, len(lines), 10_000):
                self._post(lines[start : start + 10_000])

    def read(self, since: int) -> Panel:
        import pandas as pd

        found = {}
        for coin in self.coins:
            query = f"SELECT {', '.join(PRICES)} FROM bars WHERE coin = '{coin}' AND time >= {since}"
            answer = self.client.get(
                "/query", params={"db": "bars", "epoch": "ns", "q": query}, headers={"accept": "application/csv"}
            )
            frame = pd.read_csv(StringIO(answer.text), usecols=["time", *PRICES]) if answer.text.strip() else None
            empty = Series.empty(len(PRICES))
            found[coin] = (
                empty if frame is None else Series(frame["time"].to_numpy(), frame[list(PRICES)].to_numpy(np.float64))
            )
        return found

    def write(self, at: int, row: np.ndarray) -> None:
        self._post([_line(coin, at, values) for coin, values in zip(self.coins, row.tolist(), strict=True)])

    def size(self) -> int:
        assert self.server is not None
        return _bytes(self.server.folder)

    def killed(self, since: int) -> int:
        """Rows after a time, once it was killed and began again."""
        assert self.server is not None
        self.server.kill()
        self.server.start()
        return sum(len(series.time) for series in self.read(since).values())

    def close(self) -> None:
        self.client.close()
        super().close()

    def _post(self, lines: list[str]) -> None:
        answer = self.client.post("/write", params={"db": "bars", "precision": "ns"}, content="\n".join(lines))
        assert answer.status_code == 204, answer.text


def _line(coin: str, at: int, values: list[float]) -> str:
    fields = ",".join(f"{name}={value!r}" for name, value in zip(PRICES, values, strict=True))
    return f"bars,coin={coin} {fields} {at}"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def best(work: Callable[[], object], tries: int) -> float:
    """Seconds of the fastest of several tries."""
    taken = []
    for _ in range(tries):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def measured(store: MeasuredStore, panel: Panel, starts: tuple[int, ...], tries: int) -> list[float]:
    """Seconds of each read and of a write, and megabytes; fails if what comes back is not what went in."""
    store.fill(panel)
    back = store.read(starts[0])
    for coin, series in panel.items():
        np.testing.assert_array_equal(back[coin].time, series.time)
        np.testing.assert_array_equal(back[coin].values, series.values)
    taken = [best(lambda since=since: store.read(since), tries) for since in starts]
    return [*taken, store.size() / 1e6]


def written(store: MeasuredStore, after: int, n_coins: int, n: int) -> float:
    """Seconds of a write, the median of so many."""
    row, taken = np.arange(5.0 * n_coins).reshape(n_coins, 5), []
    for k in range(1, n + 1):
        begun = time.perf_counter()
        store.write(after + k * HOUR, row)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


def kept(store: MeasuredStore, after: int, n_coins: int) -> str:
    """What is there of acknowledged writes after kill -9."""
    if not isinstance(store, PostgresTable | InfluxDatabase):
        return "-"
    missing = KILLED_AFTER * n_coins - store.killed(after + 1)
    return "none lost or doubled" if missing == 0 else f"{missing} rows of {KILLED_AFTER * n_coins} lost"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=3)
    given = parser.parse_args()
    root = Path(os.environ["QFRAME_DATA"])
    files = sorted((root / "ohlcv" / "binance").glob("*-USDT/1h.parquet"))
    panel = {file.parent.name: parquet.read(file, PRICES) for file in files}
    last = max(int(series.time[-1]) for series in panel.values())
    starts = (0, last - 365 * DAY, last - 499 * HOUR)
    print(f"{sum(len(series.time) for series in panel.values()):,} hourly bars of {len(panel)} coins\n")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a").mkdir(), (Path(folder) / "b").mkdir()
        makers: list[Callable[[], MeasuredStore]] = [
            lambda: ParquetFiles(Path(folder) / "a"), lambda: SqliteFile(Path(folder) / "b"), PostgresTable,
            InfluxDatabase,
        ]  # fmt: skip
        rows, base = [], []
        for make in makers:
            store = make()
            try:
                *reads, size = measured(store, panel, starts, given.tries)
                base = base or reads
                write = written(store, last, len(panel), 10 if isinstance(store, ParquetFiles) else KILLED_AFTER)
                rows.append((store.name, reads, write, size, kept(store, last, len(panel))))
            finally:
                store.close()
        symbols = [file.parent.name.replace("-", "/") for file in files]
        loaded = best(lambda: load_store(root, "binance", symbols, "1h"), given.tries)
    print("| | all | 1 year | 500 bars | 16-row write | MB | kill -9 after 300 acknowledged writes |")
    print("|---|---|---|---|---|---|---|")
    for name, reads, write, size, said in rows:
        ratios = " | ".join(f"{one / other:.2g}" for one, other in zip(reads, base, strict=True))
        print(f"| {name} | {ratios} | {1e3 * write:.2g} ms | {size:.0f} | {said} |")
    print(f"| our loader, checked and aligned | {loaded / base[0]:.2g} | - | - | - | - | - |")
    print(f"\nplain Parquet: {' s, '.join(f'{one:.3g}' for one in base)} s")


if __name__ == "__main__":
    main()
