"""Market data in PostgreSQL: downloaded into it and loaded from it, to the fingerprint of the Parquet store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from experiments import download as door
from experiments import train
from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.copying import packed, unpacked
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.database import MarketDatabase, _without, download_into
from qframe_rl.feeds.download import download
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.load import data_place, load
from qframe_rl.feeds.parquet import Series
from qframe_rl.service.candles import candles
from qframe_rl.types import HOUR, iso, parse_time
from tests.loopback import Loopback, loopback
from tests.servers import TestServer
from tests.service.conftest import database, fresh_url

__all__ = ["database", "fresh_url"]
START = parse_time("2020-01-01")
BOTH = ("BTC/USDT", "BTC/USDT:USDT")


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback(START // 10**6) as state:
        yield state


@pytest.fixture
def url(fresh_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("QFRAME_DATA", raising=False)
    return fresh_url()


def until(hours: int) -> str:
    return iso(START + hours * HOUR)


def fetch(server: Loopback, place: str, hours: int, symbols: tuple[str, ...] = BOTH) -> dict[str, Any]:
    argv = ["--symbols", ",".join(symbols), "--since", "2020-01-01", "--until", until(hours), "--url", server.url]
    said = door.main([*argv, "--data", place, "--json"])
    assert said is not None
    return said


def config(place: str, symbol: str = "BTC/USDT", **more: Any) -> DataConfig:
    return DataConfig(data=place, symbols=(symbol,), **more)


def test_what_is_loaded_from_it_is_what_the_store_gives(server: Loopback, tmp_path: Path, url: str) -> None:
    told = [fetch(server, place, 2000) for place in (str(tmp_path / "store"), url)]
    assert [[f["rows"] for f in one["files"]] for one in told] == [[2000, 2000, 250, 2000]] * 2
    for symbol in BOTH:
        one, other = load(config(str(tmp_path / "store"), symbol)), load(config(url, symbol))
        assert one.fingerprint == other.fingerprint
        assert one.instruments == other.instruments
        assert other.source.origin == url.partition("?")[0]
        assert other.source.environment == one.source.environment
    # More of it, and another market, from another machine: its copy is made anew.
    shutil.rmtree(tmp_path / "cache")
    for place in (str(tmp_path / "store"), url):
        again = fetch(server, place, 3000, (*BOTH, "ETH/USDT"))
        assert [f["rows"] for f in again["files"]] == [3000, 3000, 375, 3000, 3000]
    for symbol in (*BOTH, "ETH/USDT"):
        assert load(config(str(tmp_path / "store"), symbol)).fingerprint == load(config(url, symbol)).fingerprint
    spans = {"since": "2020-01-20", "until": "2020-02-20"}
    assert load(config(url, **spans)).fingerprint == load(config(str(tmp_path / "store"), **spans)).fingerprint


def test_only_what_has_changed_is_brought(server: Loopback, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(server, url, 500, ("BTC/USDT",))
    first = load(config(url)).fingerprint
    from qframe_rl.feeds import database as module

    brought: list[Any] = []
    whole = module._fetch
    monkeypatch.setattr(module, "_fetch", lambda *asked: brought.append(asked) or whole(*asked))
    assert load(config(url)).fingerprint == first
    assert brought == []
    path = store.bars_path(MarketDatabase(url).root, listing("binance", "BTC/USDT"), "1h")
    path.unlink()
    assert load(config(url)).fingerprint == first
    assert len(brought) == 1
    fetch(server, url, 600, ("BTC/USDT",))
    assert len(load(config(url))) == 600


def test_an_interrupted_download_keeps_what_came_and_goes_on(server: Loopback, url: str) -> None:
    server.faults = dict.fromkeys(range(3, 30), "drop")
    with pytest.raises(Unavailable, match="binance failed 8 times"):
        download_into(
            url, "binance", ["BTC/USDT"], "1h", START, START + 5000 * HOUR, exchange_url=server.url, pause_s=0.01
        )
    assert len(load(config(url))) == 3000
    server.faults, before = {}, server.data_requests
    fetch(server, url, 5000, ("BTC/USDT",))
    assert server.data_requests - before == 2
    # Killed before it came into the tables: it lies beside, and goes along.
    database = MarketDatabase(url)
    left = store.bars_path(database.downloads, listing("binance", "BTC/USDT"), "1h")
    fetch(server, str(database.downloads), 6000, ("BTC/USDT",))
    assert left.is_file()
    before = server.data_requests
    fetch(server, url, 6000, ("BTC/USDT",))
    assert server.data_requests == before
    assert not left.exists()
    assert len(load(config(url))) == 6000


def test_it_is_trained_from_and_its_password_is_written_nowhere(
    server: Loopback, tmp_path: Path, url: str, database: TestServer, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("QFRAME_DATA_PASSWORD", "s3cret-word")
    secret = url.replace("postgres@", "postgres:s3cret-word@")
    fetch(server, url, 3000, ("BTC/USDT",))
    fetch(server, str(tmp_path / "store"), 3000, ("BTC/USDT",))
    out = tmp_path / "runs"
    places = ["--runs", str(out), "--checkpoints", str(out / "c")]
    assert train.main(["--agents", "momentum,flat", "--symbols", "BTC/USDT", *places, "--data", url, "--json"])
    for path in out.rglob("*"):
        assert not path.is_file() or b"s3cret-word" not in path.read_bytes(), path
    (facts,) = out.rglob("data.json")
    assert json.loads(facts.read_text())["fingerprint"] == load(config(str(tmp_path / "store"))).fingerprint
    shown = capsys.readouterr()
    assert "s3cret-word" not in shown.out + shown.err
    monkeypatch.setenv("QFRAME_DATA", secret)
    assert data_place() == url
    assert os.environ["PGPASSWORD"] == "s3cret-word"
    monkeypatch.setattr("qframe_rl.feeds.database.BoundedConnection.to", lambda address, _: pytest.fail(address.url))
    with pytest.raises(pytest.fail.Exception, match="postgres:s3cret-word@"):
        load(config(url))
    assert DataConfig(data=secret).data == url


def test_what_is_not_there_is_said_with_the_nearest(server: Loopback, url: str) -> None:
    with pytest.raises(UserError, match="has no market data; fill it"):
        load(config(url))
    fetch(server, url, 100, ("BTC/USDT",))
    for asked, expected in (
        (config(url, "BTC/USDC"), "no BTC/USDC.*did you mean 'BTC-USDT'"),
        (config(url, timeframe="4h"), "no 4h bars; it has 1h"),
        (config(url, exchange="binanc"), "did you mean 'binance'"),
        (config(url, "BTC/USDT:USDT"), "nothing of exchange 'binance_um'"),
        (config(url, since="2030-01-01"), "127.0.0.1"),
    ):
        with pytest.raises(UserError, match=expected) as said:
            load(asked)
        assert "cache" not in str(said.value)
    for command in (train.main, lambda argv: door.main([*argv, "--symbols", "BTC/USDT", "--since", "2020-01-01"])):
        with pytest.raises(UserError, match="as the variable QFRAME_DATA_PASSWORD") as said:
            command(["--data", "postgresql://a:s3cret-word@c@d/x"])
        assert "s3cret-word" not in str(said.value)
    with pytest.raises(Unavailable, match="does not let us in"):
        load(config("postgresql://postgres@127.0.0.1:1/x"))


def test_bars_for_a_chart_come_from_it_too(server: Loopback, url: str) -> None:
    fetch(server, url, 100, ("BTC/USDT",))
    assert len(candles(url, "binance", "BTC/USDT", "1h", 0, 2**62, 10)) == 10
    with pytest.raises(UserError, match="there are no bars of ETH/USDT"):
        candles(url, "binance", "ETH/USDT", "1h", 0, 2**62, 10)


def test_a_test_environment_does_not_mix_with_production(server: Loopback, url: str) -> None:
    fetch(server, url, 100, ("BTC/USDT",))
    with pytest.raises(UserError, match="holds data from unknown, these come from testnet"):
        download_into(url, "binance", ["ETH/USDT"], "1h", START, START + HOUR, exchange_url=server.url, sandbox=True)


@given(
    hnp.arrays(np.float64, (7, 5), elements=st.floats(allow_nan=False)),
    hnp.arrays(np.int64, 7, elements=st.integers(-(2**60), 2**60), unique=True),
)
def test_rows_come_back_to_the_bit(values: np.ndarray, time: np.ndarray) -> None:
    series = Series(np.sort(time), values)
    back = unpacked(packed(series), 5)
    np.testing.assert_array_equal(back.time, series.time)
    assert back.values.tobytes() == values.tobytes()
    assert len(_without(series, series).time) == 0
    others = np.where(values[:3] == 1.0, 2.0, 1.0)
    assert len(_without(series, Series(series.time[:3], others)).time) == 7
    assert parquet.PRICES == ("open", "high", "low", "close", "volume")


def test_the_store_is_still_downloaded_into_as_before(server: Loopback, tmp_path: Path) -> None:
    (saved,) = download("binance", ("BTC/USDT",), "1h", START, START + 10 * HOUR, root=tmp_path, url=server.url)
    assert saved.path.is_relative_to(tmp_path)
