"""``python -m experiments.rehearse`` as a user starts it, and the control over HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import ccxt
import numpy as np
import pytest

from experiments.cli import door
from experiments.rehearse import main
from qframe_rl.config import UserError
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import Fault, Rehearsal, script_of, serve
from qframe_rl.rehearsal.clients import point
from qframe_rl.types import parse_time
from tests.rehearsal.conftest import HOUR, PERP, markets

DOOR = [sys.executable, "-m", "experiments.rehearse"]


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [*DOOR, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        yield process, process.stderr.readline().split(" ")[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def post(url: str, act: str, **tree: Any) -> Any:
    with urlopen(Request(f"{url}/rehearsal/{act}", json.dumps(tree).encode(), method="POST"), timeout=10) as answer:
        return json.load(answer)["result"]


def test_recorded_ticks_are_served_at_the_present() -> None:
    with started("--data", "synthetic:ticks", "--now") as (_, url):
        client = point(ccxt.binanceusdm({"options": {"fetchMarkets": {"types": ["linear"]}}}), url)
        client.load_markets()
        book = client.fetch_order_book("MADE/USDT:USDT")
        assert book["bids"][0][0] < book["asks"][0][0]
        assert abs(client.fetch_time() - time.time() * 1000) < 60_000
        client.session.close()


def test_ticks_that_are_not_there_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no run 'synthetic-7' of ticks of MADE/USDT:USDT"):
        main(["--data", "synthetic:ticks", "--ticks", "synthetic-7", "--port", "0"])


def test_a_client_of_another_process_trades_and_steers_it() -> None:
    with started("--data", "synthetic:regimes", "--bars", "500", "--speed", "step", "--json") as (process, url):
        client = point(ccxt.binanceusdm({"apiKey": "rehearsal", "secret": "rehearsal-secret"}), url)
        client.options["fetchMarkets"] = {"types": ["linear"]}
        client.load_markets()
        client.load_time_difference()
        before = client.fetch_time()
        assert post(url, "advance", by=HOUR) == before + HOUR == client.fetch_time()
        client.create_order(PERP, "market", "buy", 1.0)
        post(url, "faults", faults=[{"kind": "429", "at": "usdm.positionRisk"}])
        with pytest.raises(ccxt.DDoSProtection):
            client.fetch_positions([PERP])
        (position,) = client.fetch_positions([PERP])
        assert position["contracts"] == 1.0
        with urlopen(f"{url}/rehearsal/truth", timeout=10) as answer:
            assert json.load(answer)["accounts"]["rehearsal"]["usdm"]["positions"] == {"SYN0USDT": "1"}
        client.session.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    told = json.loads(out.splitlines()[-1])
    assert told["faults"] == [{"kind": "429", "at": "usdm.positionRisk", "count": 1}]
    assert "1  429 at usdm.positionRisk" in err


def test_the_tape_is_shifted_to_the_present() -> None:
    with started("--data", "synthetic:regimes", "--bars", "500", "--start", "2020-01-12", "--now", "--json") as (
        _,
        url,
    ):
        client = point(ccxt.binanceusdm(), url)
        client.options["fetchMarkets"] = {"types": ["linear"]}
        wall = time.time() * 1000
        assert abs(client.fetch_time() - wall) < 2_000
        rows = client.fetch_ohlcv(PERP, "1h", limit=200)
        client.session.close()
    assert rows[-1][0] == int(wall) // HOUR * HOUR
    # Less than a day beyond the start, and the recorded bars at the same hours of the day.
    recorded = synthetic("regimes", n_bars=500)
    back = int(wall) // HOUR * HOUR // HOUR % 24
    start = parse_time("2020-01-12") // 1_000_000 // HOUR + back
    first = int(np.searchsorted(recorded.time // 1_000_000, (start - 199 + 1) * HOUR))
    assert [row[4] for row in rows[:-1]] == recorded.values[first : first + 199, 0, 3].tolist()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "error: no market is named; give --symbols, or --data synthetic:regimes.\n"),
        (["--speed", "fast"], "speed 'fast' is neither step, max nor a number of times the clock"),
        (["--faults", "strom"], "did you mean 'storm'?"),
        (["--data", "synthetic:gbm", "--start", "2010-01-01"], "lies outside of the bars there are"),
        (["--data", "synthetic:gbm", "--prints", "1"], "options: prints: Input should be greater than or equal to 4"),
        (
            ["--data", "synthetic:gbm", "--now", "--speed", "60x"],
            "--now is the present at --speed 1x alone, not at 60x.",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(main, options) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.splitlines()) == 1


def test_a_port_out_of_bounds_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        door(main, ["--data", "synthetic:gbm", "--port", "70000"])
    assert ended.value.code == 2 and "--port: '70000' is not a whole number from 0 to 65535" in capsys.readouterr().err


def test_the_control_says_what_is_wrong(ex: Rehearsal) -> None:
    for act, tree, sentence in [
        ("advanse", {}, "did you mean 'advance'?"),
        ("advance", {}, "advance takes either by"),
        ("halt", {"symbol": "BTC/USDT"}, "does not list 'BTC/USDT'"),
        ("speed", {}, "speed needs the field 'speed'"),
        ("faults", {"faults": [{"kind": "storm"}]}, "unknown fault 'storm'"),
    ]:
        with pytest.raises(HTTPError) as error:
            post(ex.url, act, **tree)
        assert sentence in json.loads(error.value.read())["error"]
        error.value.close()


def test_scripts_are_read_from_files(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text('[[fault]]\nkind = "drop"\nat = "*.order.post"\ntimes = 3\n')
    assert script_of(str(path)) == (Fault(kind="drop", at="*.order.post", times=3),)
    path.write_text('[[fault]]\nkind = "drop"\nwhere = "x"\n')
    with pytest.raises(UserError, match=r"fault 1: unknown key 'where'"):
        script_of(str(path))
    path.write_text("fault = 1\n")
    with pytest.raises(UserError, match=r"tables \[\[fault\]\] and nothing else"):
        script_of(str(path))


def test_the_same_seed_draws_the_same_faults() -> None:
    def hits(seed: int) -> list[int]:
        from qframe_rl.rehearsal.faults import BEFORE, Script

        script = Script([Fault(kind="429", times=None, chance=0.3)], seed)
        return [n for n in range(200) if script.draw("spot.time", BEFORE)]

    assert hits(1) == hits(1) != hits(2)
    assert 40 < len(hits(1)) < 80


def test_time_runs_at_a_speed_and_ends_with_the_bars() -> None:
    with serve(markets(), speed="1000000x") as ex:
        while ex.state()["time"] < ex.state()["ends"]:
            pass
        assert ex.state()["behind"] == 0


def test_it_is_started_from_within_an_event_loop_too() -> None:
    """As every cell of a notebook is."""

    async def cell() -> int:
        with serve(markets()) as ex:
            return ex.now_ms

    assert asyncio.run(cell()) > 0
