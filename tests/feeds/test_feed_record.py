"""Feeds written down, from a server on 127.0.0.1: each text once, with both stamps, through faults and restarts."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments.cli import door
from experiments.download import main as body
from qframe_rl.config import UserError
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.feed_record import RecordedFeed, _Feed, add_readings, record_feeds, slug
from qframe_rl.feeds.items import IndexReading
from qframe_rl.feeds.parquet import alone
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.types import DAY, HOUR, SECOND, parse_time

main = partial(door, body)
START = parse_time("2024-01-31T22:00")


class Site:
    """What the server says, answer by answer; the last one again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        self.seen: list[dict[str, str]] = []

    def says(self, *texts: str, code: int = 200, **headers: str) -> None:
        items = "".join(
            f"<item><title>{t}</title><pubDate>Wed, 31 Jan 2024 21:00:00 GMT</pubDate></item>" for t in texts
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((code, f"<rss><channel>{items}</channel></rss>".encode(), named))


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, said, headers = state.answers[min(len(state.seen), len(state.answers) - 1)]
            state.seen.append(dict(self.headers))
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def record(site: Site, root: Path, polls: int, notes: list[str] | None = None, start: int = START) -> RecordedFeed:
    """As many questions, an hour of the recorder's clock apart."""
    stop, told = threading.Event(), iter(range(10_000))

    def clock() -> int:
        return start + HOUR * next(told)

    threading.Thread(target=_stop_after, args=(site, len(site.seen) + polls, stop), daemon=True).start()
    said = [] if notes is None else notes
    (one,) = record_feeds([site.url], root, every_s=0.01, stop=stop, clock=clock, note=said.append)
    return one


def _stop_after(site: Site, polls: int, stop: threading.Event) -> None:
    while len(site.seen) < polls:
        time.sleep(0.002)
    stop.set()


def texts(root: Path, site: Site) -> list[dict[str, object]]:
    files = sorted((root / "texts" / slug(site.url)).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_each_text_is_written_once_with_both_stamps(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell", "Bitcoin rallies")
    site.says("Bitcoin  RALLIES", "An exchange is hacked", "Miners sell")
    site.says("Bitcoin rallies", "A new month")
    got = record(site, tmp_path, 3)
    rows = texts(tmp_path, site)
    assert [row["text"] for row in rows] == ["Miners sell", "Bitcoin rallies", "An exchange is hacked", "A new month"]
    assert [row["received"].value // HOUR * HOUR for row in rows] == [START, START, START + HOUR, START + 2 * HOUR]
    assert {row["published"].value for row in rows} == {parse_time("2024-01-31T21:00")}
    assert {file.name for file in Path(got.place).iterdir()} == {"2024-01.parquet", "2024-02.parquet"}
    assert (got.new, got.failures, got.last) == (4, 0, "")


def test_it_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell")
    site.says("Miners sell", "Bitcoin rallies")
    assert record(site, tmp_path, 1).new == 1
    assert record(site, tmp_path, 1).new == 1
    assert [row["text"] for row in texts(tmp_path, site)] == ["Miners sell", "Bitcoin rallies"]


def test_faults_are_told_once_and_waited_out(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell")
    for code in (500, 503):
        site.says(code=code)
    site.answers.append((200, b"<html>maintenance</html>", {}))
    for where in ("file:///etc/passwd", "http://127.0.0.1:99999/", "http://[::1/", f"http://{'a' * 70}.example/"):
        site.answers.append((302, b"", {"Location": where}))
    site.says("Bitcoin rallies")
    notes: list[str] = []
    got = record(site, tmp_path, 9, notes)
    assert (got.new, got.failures) == (2, 7)
    assert notes == [f"{site.url}: HTTP 500 Internal Server Error; it is asked again.", f"{site.url} answers again."]


def test_what_has_not_changed_is_not_sent_again(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell", ETag='"1"', Last_Modified="Wed, 31 Jan 2024 21:00:00 GMT")
    site.says(code=304)
    got = record(site, tmp_path, 3)
    assert (got.new, got.failures) == (1, 0)
    assert site.seen[1]["If-None-Match"] == site.seen[2]["If-None-Match"] == '"1"'
    assert site.seen[1]["If-Modified-Since"] == "Wed, 31 Jan 2024 21:00:00 GMT"


def test_recorded_texts_are_joined_by_their_reception(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell")
    site.says("Bitcoin rallies")
    record(site, tmp_path, 2)
    made = synthetic("gbm", n_bars=100, seed=0, bar_ns=HOUR).rows(0, 6)
    history = replace(made, time=START + HOUR * np.arange(6))
    got = extend(history, ("n=texts:texts:count:1h:1m",), tmp_path).values[:, 0, -1]
    np.testing.assert_array_equal(got, [np.nan, np.nan, 1, 0, 0, 0])


def test_an_index_keeps_what_it_said_and_what_it_changed(site: Site, tmp_path: Path) -> None:
    def readings(*rows: tuple[int, float]) -> None:
        data = [{"value": str(v), "timestamp": str(t // SECOND), "value_classification": "Fear"} for t, v in rows]
        site.answers.append((200, json.dumps({"data": data}).encode(), {}))

    day = START // DAY * DAY
    readings((day, 40), (day - DAY, 30), (day - 2 * DAY, 20))
    readings((day, 41), (day - DAY, 30))
    readings((day + DAY, 50), (day, 41))
    got = record(site, tmp_path, 3)
    rows = pq.read_table(got.place).to_pylist()
    assert [(row["timestamp"].value, row["published"].value, row["value"]) for row in rows] == [
        (day - 2 * DAY, day - DAY, 20.0),
        (day - DAY, day, 30.0),
        (day, START, 40.0),
        (day, START + HOUR, 41.0),
        (day + DAY, START + 2 * HOUR, 50.0),
    ]
    made = synthetic("gbm", n_bars=100, seed=0, bar_ns=HOUR).rows(0, 5)
    history = replace(made, time=START + HOUR * np.arange(-1, 4))
    where = Path(got.place).relative_to(tmp_path)
    shown = extend(history, (f"fng={where}:value:10s:2d",), tmp_path).values[:, 0, -1]
    np.testing.assert_array_equal(shown, [30, 30, 40, 41, 50])


def test_a_reading_of_the_future_is_known_then(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    assert add_readings(path, [IndexReading(START + HOUR, 1.0)], START) == 1
    assert add_readings(path, [IndexReading(START + HOUR, 1.0)], START + 1) == 0
    (row,) = pq.read_table(path).to_pylist()
    assert row["published"].value == START + HOUR


def test_two_values_of_one_stamp_are_one_reading(tmp_path: Path) -> None:
    """The last one counts; else each question would find both to have changed."""
    path, both = tmp_path / "x.parquet", [IndexReading(START, 5.0), IndexReading(START, 4.0)]
    assert [add_readings(path, both, START + HOUR * k) for k in range(3)] == [1, 0, 0]
    assert pq.read_table(path).column("value").to_pylist() == [4.0]


def test_an_answer_that_is_packed_unasked(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell")
    ((code, said, headers),) = site.answers
    site.answers = [(code, gzip.compress(part), headers) for part in (said, b" " * 9_000_000)]
    site.answers.insert(1, (code, gzip.compress(said)[:40], headers))
    got = record(site, tmp_path, 3)
    assert (got.new, got.failures, got.last) == (1, 2, "more than 8,000,000 bytes")


def test_an_answer_that_does_not_end_is_left(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then would hold up all other feeds, and the end of the recording."""
    monkeypatch.setattr("qframe_rl.feeds.feed_record._LONGEST_ANSWER_S", -1.0)
    site.says("Miners sell")
    got = record(site, tmp_path, 1)
    assert (got.new, got.failures) == (0, 1) and "not whole" in got.last


def test_who_is_silent_for_weeks_is_still_asked() -> None:
    feed = _Feed("https://example.org/a", Path())
    feed._failed = 5_000
    assert feed.wait_s(60.0) == 900.0 and feed.wait_s(3600.0) == 3600.0


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        ([], "no address"),
        (["file:///etc/passwd"], "begins with http:// or https://"),
        (["https://"], "begins with http:// or https://"),
        (["http://127.0.0.1:99999/"], "begins with http:// or https:// and a host that can be"),
        (["http://[::1/"], "begins with http:// or https:// and a host that can be"),
        (["https://example.org/a", "https://example.org/A/"], "written into the same files"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, urls: Sequence[str], why: str) -> None:
    with pytest.raises(UserError, match=why):
        record_feeds(urls, tmp_path, seconds=0.0)


def test_two_recorders_of_one_address(site: Site, tmp_path: Path) -> None:
    site.says("Miners sell")
    folder = tmp_path / ".feeds" / slug(site.url)
    folder.mkdir(parents=True)
    with alone(folder), pytest.raises(UserError, match="written by another process"):
        record_feeds([site.url], tmp_path, seconds=0.0)


def test_the_door(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.says("Miners sell")
    assert main(["--feeds", site.url, "--hours", "0", "--data", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    (one,) = json.loads(out)["feeds"]
    assert (one["url"], one["new"], one["polls"]) == (site.url, 1, 1)
    assert one["place"] in err and "1 new" in err
    for argv, why in (
        (["--feeds", site.url, "--ticks"], "start a command for each"),
        (["--feeds", site.url, "--since", "2024-01-01"], "--since is for candles"),
        (["--feeds", site.url, "--data", "postgresql://me@127.0.0.1/x"], "feeds are kept in a folder"),
        (["--every", "5", "--symbols", "BTC/USDT"], "--hours and --every are for --ticks and --feeds"),
    ):
        assert main(argv) != 0
        assert why in capsys.readouterr().err


@pytest.mark.slow
def test_a_kill_costs_nothing_that_was_written(site: Site, tmp_path: Path) -> None:
    for k in range(400):
        site.says(*(f"Text {j}" for j in range(k + 1)))
    command = [sys.executable, "-m", "experiments.download", "--feeds", site.url, "--every", "1", "--data"]
    for kill in (signal.SIGKILL, signal.SIGTERM):
        seen = len(site.seen)
        process = subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60.0
        while len(site.seen) < seen + 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(kill)
        assert process.wait(30) == (0 if kill == signal.SIGTERM else -kill)
    said = [row["text"] for row in texts(tmp_path, site)]
    assert len(said) == len(set(said)) and len(said) in (len(site.seen), len(site.seen) - 1)
