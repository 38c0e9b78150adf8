"""Downloads from a local server: complete, resumable, and never more than what the exchange has."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import door
from experiments.download import main as body
from experiments.screen import downloads
from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds import load as loading
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.download import Progress, Saved, bar_pages, download, inventory
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.runner.loading import bars_of
from qframe_rl.types import DAY, HOUR, SECOND, iso, parse_time
from tests.loopback import Loopback, candle, loopback, rate

main = partial(door, body)
ROOT = Path(__file__).resolve().parents[2]
START = parse_time("2020-01-01")
START_MS = START // 10**6
HOUR_MS = 3_600_000


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback(START_MS) as state:
        yield state


def fetch(
    server: Loopback, root: Path, hours: int, *, since: int = START, symbol: str = "BTC/USDT"
) -> tuple[Saved, ...]:
    return download("binance", (symbol,), "1h", since, START + hours * HOUR, root=root, url=server.url, pause_s=0.01)


def stored(root: Path, symbol: str = "BTC/USDT") -> np.ndarray:
    """[open time ms, open, high, low, close, volume] of every row."""
    series = parquet.read(store.bars_path(root, listing("binance", symbol), "1h"), PRICES)
    return np.column_stack([series.time // 10**6, series.values])


def there(*hours: int, name: str = "BTCUSDT") -> np.ndarray:
    return np.array([candle(name, "1h", START_MS + HOUR_MS * k) for k in hours])


def test_twenty_thousand_bars_through_every_interruption(server: Loopback, tmp_path: Path) -> None:
    server.faults = {4: "429", 7: "drop", 9: "cut", 12: "502", 15: "broken", 18: "nothing", 21: "object"}
    reports: list[Progress] = []
    (saved,) = download("binance", ("BTC/USDT",), "1h", START, START + 20_000 * HOUR, root=tmp_path, url=server.url,
                        report=reports.append, pause_s=0.01)  # fmt: skip
    assert (saved.rows, saved.added, saved.gaps) == (20_000, 20_000, ())
    np.testing.assert_array_equal(stored(tmp_path), there(*range(20_000)))
    assert any("429" in report.note for report in reports)
    done = [report.done for report in reports]
    assert done == sorted(done) and done[-1] == 1.0 and reports[-1].rows == 20_000


def test_a_failure_keeps_what_came_and_the_next_run_resumes(server: Loopback, tmp_path: Path) -> None:
    server.faults = dict.fromkeys(range(3, 30), "drop")
    with pytest.raises(Unavailable, match="binance failed 8 times"):
        fetch(server, tmp_path, 5_000)
    assert len(stored(tmp_path)) == 3_000
    server.faults, before = {}, server.data_requests
    (saved,) = fetch(server, tmp_path, 5_000)
    assert (saved.rows, saved.added, server.data_requests - before) == (5_000, 2_000, 2)
    np.testing.assert_array_equal(stored(tmp_path), there(*range(5_000)))


def test_only_what_is_missing_is_fetched(server: Loopback, tmp_path: Path) -> None:
    fetch(server, tmp_path, 100)
    before = server.data_requests
    assert fetch(server, tmp_path, 100)[0].added == 0 and server.data_requests == before
    assert fetch(server, tmp_path, 130)[0].added == 30
    np.testing.assert_array_equal(stored(tmp_path), there(*range(130)))
    # A later start leaves no hole behind the bars that are there.
    assert fetch(server, tmp_path, 300, since=START + 200 * HOUR)[0].gaps == ()
    np.testing.assert_array_equal(stored(tmp_path), there(*range(300)))


def test_an_earlier_start_is_filled_in_and_survives_interruption(server: Loopback, tmp_path: Path) -> None:
    fetch(server, tmp_path, 4_000, since=START + 3_500 * HOUR)
    server.faults = dict.fromkeys(range(server.data_requests + 2, 99), "drop")
    with pytest.raises(Unavailable):
        fetch(server, tmp_path, 4_000, since=START + 100 * HOUR)
    np.testing.assert_array_equal(stored(tmp_path), there(*range(3_500, 4_000)))
    server.faults, before = {}, server.data_requests
    (saved,) = fetch(server, tmp_path, 4_000, since=START + 100 * HOUR)
    assert server.data_requests - before == 2 and saved.gaps == ()
    np.testing.assert_array_equal(stored(tmp_path), there(*range(100, 4_000)))
    assert [p.name for p in saved.path.parent.iterdir()] == ["1h.parquet"]


def test_the_open_candle_is_never_stored(tmp_path: Path) -> None:
    now = START + 50 * HOUR
    with loopback(START_MS, lambda: now // 10**6) as server:
        for moment, n in ((50 * HOUR - SECOND, 49), (50 * HOUR + SECOND, 49), (50 * HOUR + 20 * SECOND, 50)):
            now = START + moment
            (saved,) = download("binance", ("BTC/USDT",), "1h", START, root=tmp_path, url=server.url)
            assert saved.rows == n
        np.testing.assert_array_equal(stored(tmp_path), there(*range(50)))


def test_gaps_are_reported_and_stay(server: Loopback, tmp_path: Path) -> None:
    absent = {10, 11, 500, 998, 999, 1_000, 1_001}
    server.missing = {("BTCUSDT", START_MS + HOUR_MS * k) for k in absent}
    (saved,) = fetch(server, tmp_path, 1_500)
    assert saved.gaps == ((START + 10 * HOUR, 2), (START + 500 * HOUR, 1), (START + 998 * HOUR, 4))
    np.testing.assert_array_equal(stored(tmp_path), there(*(k for k in range(1_500) if k not in absent)))
    assert inventory(tmp_path, "binance", ("BTC/USDT",), "1h")[0].gaps == saved.gaps


def test_odd_rows_are_skipped_listed_and_asked_for_no_more(server: Loopback, tmp_path: Path) -> None:
    odd = {0: [None] * 5, 10: ["1", "2", "1", "2.01", "1"], 11: ["1", "2", "1", "x", "1"], 1_400: ["0"] * 5}
    odd |= {k: [None] * 5 for k in range(1_000, 1_300)}
    server.spoiled = {("BTCUSDT", START_MS + HOUR_MS * k): row for k, row in odd.items()}
    (saved,) = fetch(server, tmp_path, 1_500)
    np.testing.assert_array_equal(stored(tmp_path), there(*(k for k in range(1_500) if k not in odd)))
    assert saved.rows == saved.added == 1_500 - len(odd)
    assert [at for at, _ in saved.odd] == [START + HOUR * k for k in sorted(odd)]
    why = dict(saved.odd)
    assert why[START] == why[START + 11 * HOUR] == "a missing value"
    assert why[START + 10 * HOUR] == "its open or close outside of low to high"
    assert why[START + 1_400 * HOUR] == "a price that is not above zero"
    assert saved.gaps == ((START + 10 * HOUR, 2), (START + 1_000 * HOUR, 300), (START + 1_400 * HOUR, 1))
    assert server.data_requests == 6


def test_what_an_exchange_does_not_give_is_said(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that keeps only its last candles, as Kraken does, leaves a hole between two runs, and says so."""
    server.hidden = lambda symbol, open_ms, now_ms: open_ms < START_MS + 70 * HOUR_MS
    (saved,) = fetch(server, tmp_path, 100)
    assert saved.short == ((START, START + 70 * HOUR),)
    server.hidden = lambda symbol, open_ms, now_ms: open_ms < START_MS + 150 * HOUR_MS
    (saved,) = fetch(server, tmp_path, 200, since=START + 70 * HOUR)
    assert saved.short == ((START + 100 * HOUR, START + 150 * HOUR),) and saved.gaps == ((START + 100 * HOUR, 50),)
    assert main(command(server, tmp_path, "--until", "2020-01-09", "--json")) == 0
    told = capsys.readouterr()
    assert "asked from 2020-01-01 00:00:00, the exchange gives from 2020-01-03 22:00:00" in told.err
    assert json.loads(told.out)["files"][0]["short"] == [["2020-01-01 00:00:00", "2020-01-03 22:00:00"]]
    monkeypatch.setenv("QFRAME_DATA", str(tmp_path))
    config = DataConfig(data=str(tmp_path), symbols=("BTC/USDT",), since="2020-01-01")
    assert list(loading.remarks(loading.load(config)))[:2] == [
        "BTC/USDT: asked from 2020-01-01 00:00, its bars begin at 2020-01-03 22:00",
        "BTC/USDT: 50 bars are missing between its first and its last, at most 50 in a row (from 2020-01-05 04:00)",
    ]


def test_a_market_that_began_later_starts_there(server: Loopback, tmp_path: Path) -> None:
    (saved,) = fetch(server, tmp_path, 48, since=START - 4_000 * DAY)
    assert (saved.first, saved.rows) == (START, 48)
    before = server.data_requests
    fetch(server, tmp_path, 48, since=START - 4_000 * DAY)
    assert server.data_requests - before == 1


def test_a_perpetual_brings_funding_and_marks(server: Loopback, tmp_path: Path) -> None:
    saved = fetch(server, tmp_path, 200, since=START + 72 * HOUR, symbol="ETH/USDT:USDT")
    assert [file.path.relative_to(tmp_path).parts[:2] for file in saved] == [
        ("ohlcv", "binance_um"), ("funding", "binance_um"), ("mark", "binance_um")
    ]  # fmt: skip
    rates = parquet.read(saved[1].path, RATES)
    stamps = START_MS + np.arange(48, 200, 8) * HOUR_MS
    assert (rates.time == stamps * 10**6).all() and rates.values[:, 0].tolist() == [rate(int(t)) for t in stamps]
    history = store.load_store(tmp_path, "binance_um", ("ETH/USDT",), "1h")
    due = [rate(int(t)) * candle("ETHUSDT", "1h", int(t))[1] for t in stamps[3:]]
    assert history.funding[history.funding != 0.0].tolist() == due
    assert not np.isnan(history.values).any() and history.instruments[0].min_notional == 100.0
    assert history.instruments[0].min_amount == 0.001
    assert fetch(server, tmp_path, 200, since=START + 72 * HOUR, symbol="ETH/USDT:USDT")[2].added == 0


def test_sources_never_mix(server: Loopback, tmp_path: Path) -> None:
    path = store.bars_path(tmp_path, listing("binance", "ETH/USDT"), "1h")
    parquet.write(path, PRICES, Series(np.array([START]), np.ones((1, 5))))
    with pytest.raises(UserError, match="holds data from production, these come from unknown"):
        fetch(server, tmp_path, 10)


def test_the_door_downloads_and_loads(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFRAME_DATA", str(tmp_path))
    monkeypatch.setattr(loading, "download", partial(download, url=server.url))
    config = DataConfig(data="ccxt:binance", symbols=("BTC/USDT", "ETH/USDT"), since="2020-01-01", until="2020-01-05")
    history = loading.load(config)
    assert history.symbols == ("BTC/USDT", "ETH/USDT") and len(history) == 96
    np.testing.assert_array_equal(history.values[:, 1], there(*range(96), name="ETHUSDT")[:, 1:])


class Heard:
    """A screen that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def begin(self, task: str) -> None:
        self.told.append(("begin", task))

    def advance(self, task: str, done: int, total: int, note: str = "") -> None:
        self.told.append(("advance", task, done / total))

    def end(self, task: str, note: str = "") -> None:
        self.told.append(("end", task, note))

    def say(self, text: str) -> None:
        self.told.append(("say", text))


def test_a_run_shows_how_far_its_download_is(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFRAME_DATA", str(tmp_path))
    monkeypatch.setattr(loading, "download", partial(download, url=server.url))
    config = DataConfig(data="ccxt:binance", symbols=("BTC/USDT",), since="2020-01-01", until="2020-01-05")
    screen = Heard()
    bars_of(config, screen)
    assert screen.told[0] == ("begin", "BTC/USDT candles")
    assert ("advance", "BTC/USDT candles", 1.0) in screen.told
    assert screen.told[-1] == ("end", "BTC/USDT candles", "96 rows")


def test_a_file_that_is_fetched_has_a_bar_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    stopped: list[int] = []
    with downloads(lambda: stopped.append(1)) as report:
        report(Progress("BTC/USDT", "candles", 0.5, 48, note="it waits"))
        report(Progress("BTC/USDT", "candles", 1.0, 96))
    said = capsys.readouterr().err
    assert "it waits" in said and "BTC/USDT candles" in said and "96 rows" in said
    assert stopped == [1]


class Served:
    """An exchange that gives the candles among a page's length from the asked time, and nothing if there are none."""

    def __init__(self, opens: list[int], flaky: bool = False):
        self.opens, self.flaky, self.asked = opens, flaky, 0

    def page(self, since: int) -> Series:
        self.asked += 1
        inside = [] if self.flaky and self.asked % 2 else [t for t in self.opens if since <= t < since + 100]
        return Series(np.array(inside, dtype=np.int64), np.ones((len(inside), 5)))

    def all(self, since: int, until: int, listed: int | None = None) -> list[int]:
        return [int(t) for page in bar_pages(self.page, since, until, 1, lambda: listed) for t in page.time]


def test_pages_pass_over_long_silence() -> None:
    opens = [*range(5_000, 5_200), *range(9_000, 9_100)]
    assert Served(opens).all(0, 10_000) == opens
    served = Served(opens)
    assert served.all(0, 10_000, listed=4_995) == opens
    assert served.asked < 110
    assert Served([]).all(0, 1_000) == []


def test_an_empty_page_is_asked_for_twice() -> None:
    assert Served(list(range(1_000)), flaky=True).all(0, 1_000) == list(range(1_000))


def command(server: Loopback, root: Path, *more: str) -> list[str]:
    given = ["--since", "2020-01-01", "--to", str(root), "--url", server.url, *more]
    return given if "--symbols" in more else ["--symbols", "BTC/USDT", *given]


def test_the_command_prints_files_and_gaps(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.missing = {("BTCUSDT", START_MS + HOUR_MS * k) for k in (3, 7, 8, 20, 30, 40, 50)}
    assert main(command(server, tmp_path, "--until", "2020-01-05")) == 0
    out = capsys.readouterr().out
    assert "1h.parquet: 89 rows, 2020-01-01 00:00:00 to 2020-01-04 23:00:00, 89 new" in out
    assert "gap: 2 missing from 2020-01-01 07:00:00" in out and "6 gaps with 7 missing bars in all" in out
    assert main(command(server, tmp_path, "--until", "2020-01-05", "--json")) == 0
    text = capsys.readouterr()
    answer = json.loads(text.out)
    assert set(answer) == {"files", "seconds"} and "new" in text.err
    (file,) = answer["files"]
    assert file["rows"] == 89 and file["gaps"][1] == ["2020-01-01 07:00:00", 2]
    assert (file["first"], file["last"]) == ("2020-01-01 00:00:00", "2020-01-04 23:00:00")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--exchange", "binanec"), "unknown exchange 'binanec'; did you mean 'binance'"),
        (("--symbols", "BTC/USDX"), "did you mean 'BTC/USDT'"),
        (("--symbols", ""), "no symbols"),
        (("--timeframe", "7h"), "no timeframe '7h'"),
        (("--timeframe", "hour"), "timeframe 'hour' is not a number"),
        (("--since", "yesterday"), "'yesterday' is not ISO 8601"),
        (("--since", "2199-01-01"), "is not before now"),
        (("--until", "2019-01-01"), "is not before 2019-01-01"),
        (("--symbols", "BTC/USD:BTC"), "settled in BTC"),
        (("--exchange", "kraken"), "--url works for binance"),
    ],
)
def test_mistakes_are_one_sentence(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], text: str
) -> None:
    assert main(command(server, tmp_path, *more)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and text in captured.err and captured.err.count("\n") == 1


def test_a_missing_since_and_an_unknown_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--symbols", "BTC/USDT"]) == 2
    assert "--since is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["--sinse", "2020-01-01"])
    assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_an_exchange_that_fails_is_exit_code_one(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults, server.retry_after = {0: "429"}, "5000"
    assert main(command(server, tmp_path)) == 1
    assert "the same command resumes" in capsys.readouterr().err


def test_lists(server: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert {"binance", "kraken"} <= set(capsys.readouterr().out.split())
    assert main(["--list", "symbols", "--url", server.url]) == 0
    assert capsys.readouterr().out.split() == ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"]


def run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.download", *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_help_is_quick_and_complete() -> None:
    process = run("--help")
    out, _ = process.communicate()
    assert process.returncode == 0
    options = re.findall(r"^  (--\w+)", out, re.MULTILINE)
    assert len(options) == 15 and out.count("(default") + out.count("(required)") == len(options)


def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(server: Loopback, tmp_path: Path) -> None:
    server.delay_s = 0.1
    arguments = command(server, tmp_path, "--until", "2022-01-01", "--json")
    process = run(*arguments)
    while server.data_requests < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    assert "what came is stored, and the same command resumes" in err
    (file,) = json.loads(out)["files"]
    assert 3_000 <= file["rows"] < 17_544 and len(stored(tmp_path)) == file["rows"]
    server.delay_s = 0.0
    process = run(*arguments)
    out, _ = process.communicate()
    (file,) = json.loads(out)["files"]
    assert process.returncode == 0 and (file["rows"], file["gaps"]) == (17_544, [])
    np.testing.assert_array_equal(stored(tmp_path), there(*range(17_544)))
    assert file["last"] == iso(START + 17_543 * HOUR)
