"""Kill paper trading on the rehearsal exchange, through the genuine CCXT clients and a storm of faults.

``python -m tests.soak.kill_live --kills 200 --faults storm``: no bar and no decision is lost or doubled, and the
session ends as the backtest on the same bars does, to the bit.

``python -m tests.soak.kill_live --orders testnet --kills 30 --faults orders --speed 720x``: with orders that go out,
the exchange has those that the journal calls accepted, each once, and no others; a replay comes to the same.
``--protocol bybit`` does the same on Bybit's wire.
With ``--commands`` the kill switch is thrown at random too, and at last: each command is obeyed once, in order, and the
session ends flat, halted, and with nothing resting.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments import train
from experiments.cli import door
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import build
from qframe_rl.deploy import data_for, deployed
from qframe_rl.feeds.download import download
from qframe_rl.feeds.load import load
from qframe_rl.journal.inbox import Inbox, order
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import read, verify
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.rehearsal import RehearsalConfig, serve
from qframe_rl.rehearsal.faults import script_of
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import HOUR, Segment
from tests.experiments.test_rehearsed_paper import N_BARS, START, SYMBOLS, markets
from tests.soak.children import Child, started
from tests.soak.kill_paper import Thrower, settled_bars

FIRST = 250
WORDS = ("halt", "flatten", "reduce", *["resume"] * 6)
"""Trading is free most of the time, so that there are orders."""


def made(folder: Path) -> Path:
    """A store downloaded from the exchange, and a strategy with its market."""
    with serve(markets(), speed="max") as exchange:
        root = folder / "store"
        end = START + (N_BARS - 1) * HOUR
        download("binance", SYMBOLS, "1h", START - HOUR, end, root=root, url=exchange.url, pause_s=0.0)
    argv = ["--data", str(root), "--symbols", ",".join(SYMBOLS), "--agents", "momentum", "--set", "env.cash=100000"]
    if door(train.main, [*argv, "--runs", str(folder / "runs"), "--checkpoints", str(folder / "c")]) != 0:
        raise SystemExit("the training failed")
    return next((folder / "runs").glob("*/agents/momentum-0-0"))


def exchange(speed: str, faults: str, seed: int, protocol: str = "binance") -> None:
    """Serve the exchange for ever; its address is the first line of stdout."""
    start = (START + FIRST * HOUR) // 1_000_000
    config = build(RehearsalConfig, {"prints": 4, "seed": seed, "cash": 100_000.0, "protocol": protocol}, "exchange")
    with serve(markets(), config, speed=speed, start_ms=start, faults=script_of(faults)) as running:
        print(running.url, flush=True)
        signal.pause()


def served(speed: str, faults: str, seed: int, protocol: str) -> tuple[Child, str]:
    """The exchange in a process of its own, and its address."""
    code = f"from tests.soak.kill_live import exchange; exchange({speed!r}, {faults!r}, {seed}, {protocol!r})"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    return child, child.stdout.readline().decode().strip()


_PAPER = partial(started, "experiments.paper")


def lives(
    argv: list[str], kills: int, seed: int, journal: Path, ended: int, longest_s: float, throw: Thrower | None,
    start: Callable[[Sequence[str], Path], Child] = _PAPER,
) -> tuple[int, int, int]:  # fmt: skip
    """Start and kill until there were ``kills``, then run to bar ``ended``; return kills, starts and failures."""
    rng = random.Random(seed)
    done = starts = failed = 0
    said = journal.parent.with_name("said.txt")
    while True:
        starts += 1
        last = verify(journal).seq if journal.exists() else 0
        child = start(argv, said)
        until = None
        while child.poll() is None and (done >= kills or until is None or time.monotonic() < until):
            if until is None and journal.exists() and writer_of(journal) == child.pid:
                until = time.monotonic() + rng.uniform(0.0, longest_s)
            time.sleep(0.005)
            if throw is not None and done < kills:
                throw()
            if done >= kills and journal.exists() and settled_bars(journal) >= ended:
                if throw is not None and not last_word(journal):
                    time.sleep(0.3)
                    continue
                child.terminate()
                child.wait()
                return done, starts, failed
        if child.poll() is None:
            child.kill()
            child.wait()
            done += 1
        else:
            failed += 1
            if child.returncode != 1:
                raise SystemExit(f"the command ended with {child.returncode}: {said.read_text().splitlines()[-3:]}")
        if journal.exists():
            head = verify(journal)
            assert head.seq >= last, f"events were lost: {head.seq} after {last}"


def last_word(journal: Path) -> bool:
    """Flatten at last, once; whether that was obeyed, and its bar settled."""
    events = [(e.kind, json.loads(e.payload)) for e in read(journal)]
    words = [p["word"] for k, p in events if k == "command"]
    inbox = [word for _, word in Inbox(journal).after(0)]
    if not inbox or inbox[-1] != "flatten" or (len(words) == len(inbox) and words[-1] != "flatten"):
        order(journal, "flatten")
        return False
    if words != inbox:
        return False
    at = max(n for n, (k, _) in enumerate(events) if k == "command")
    return sum(k == "settled" for k, _ in events[at:]) >= 2


def checked(journal: Path, place: Path) -> dict[str, object]:
    """Hold the journal against the backtest on the bars of the store, and against itself."""
    events, begun, settled = walked(journal)
    missing = sum(any(None in row for row in p["values"]) for k, p in events if k == "bar")
    if missing:
        raise SystemExit(f"{missing} bars lack a candle that came too late on this machine: take a slower --speed")
    history = load(data_for(load_checkpoint(place), {}))
    market2, agent2, terms = reopened(journal, place)
    # One exchange's fees are not those of the other that the store was downloaded from.
    history = replace(history, instruments=terms.instruments)
    market, agent = deployed(load_checkpoint(place), history.instruments, history.columns, history.bar_ns, "store")
    start, stop = (int(np.searchsorted(history.time, t, side="right")) for t in (begun, settled[-1]["time"]))
    record = backtest(market, agent, history, Segment(start, stop), terms.window)
    assert record.digest == settled[-1]["hash"], "the session is not the backtest"
    assert replay(market2, agent2, terms, journal).digest == record.digest
    snapshots = sum(kind == "snapshot" for kind, _ in events)
    return {"bars": len(settled), "snapshots": snapshots, "fills": int((record.fills.quantity != 0.0).sum())}


def checked_paper(journal: Path, place: Path, commanded: bool) -> dict[str, object]:
    """Hold the journal of a session without orders against the backtest, or, after commands, against its last one."""
    if not commanded:
        return checked(journal, place)
    events, _, settled = walked(journal)
    market, agent, terms = reopened(journal, place)
    assert replay(market, agent, terms, journal).digest == settled[-1]["hash"]
    assert not any(settled[-1]["account"]["position"]), "something is held though trading was to be flattened"
    assert [p["state"] for k, p in events if k == "state"][-1] in ("HALTED", "FLATTEN")
    return {"bars": len(settled)}


def checked_orders(journal: Path, place: Path, truth: dict[str, Any], commanded: bool) -> dict[str, object]:
    """Hold the orders of the journal against those that the exchange has."""
    events, _, settled = walked(journal)
    said = [p for k, p in events if k in ("outcome", "resolved") and p["status"] != "unknown"]
    assert {p["name"] for k, p in events if k == "intent"} == {p["name"] for p in said}, "an order is still unknown"
    accepted = {p["name"]: p["order"] for p in said if p["status"] == "accepted"}
    account = truth["accounts"]["rehearsal"]
    orders = account["orders"]["usdm"]
    assert {one["client"]: str(one["id"]) for one in orders} == accepted, "the exchange has other orders"
    assert len(orders) == len(accepted), "an order went out twice"
    assert commanded or not [p for k, p in events if k == "state"], "trading was halted"
    rests = [one for one in orders if one["status"] in ("NEW", "PARTIALLY_FILLED")]
    assert not commanded or not rests, "an order rests though trading was halted"
    if commanded and [p["word"] for k, p in events if k == "command"][-1] == "flatten":
        held = {name: q for name, q in account["usdm"]["positions"].items() if float(q)}
        assert not held, f"{held} is held though trading was to be flattened"
    market, agent, terms = reopened(journal, place)
    assert replay(market, agent, terms, journal).digest == settled[-1]["hash"]
    never = sum(p["status"] != "accepted" for p in said)
    aside = [p for k, p in events if k == "aside"]
    assert not aside or not (aside[-1]["cash"] or aside[-1]["coins"]), "money of the session's own is set aside"
    return {"bars": len(settled), "orders": len(orders), "not_sent_or_refused": never, "set_aside": len(aside)}


def walked(journal: Path) -> tuple[list[tuple[str, dict[str, Any]]], int, list[dict[str, Any]]]:
    """Events of a journal, the time of its first decision and its settled bars; each bar was decided on once."""
    events = [(e.kind, json.loads(e.payload)) for e in read(journal)]
    times = [p["time"] for k, p in events if k == "bar"]
    assert set(np.diff(times)) == {HOUR}, "a bar is missing or came twice"
    decided = [p["time"] for k, p in events if k == "decision"]
    assert decided == sorted(set(decided)), "a decision was made twice"
    begun: int = next(p["time"] for k, p in events if k == "started")
    assert decided == [t for t in times if t >= begun][: len(decided)], "a decision is missing"
    return events, begun, [p for k, p in events if k == "settled"]


def truth_of(url: str) -> dict[str, Any]:
    """The exchange's own books."""
    with urllib.request.urlopen(f"{url}/rehearsal/truth") as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, help="a checkpoint of `made`, beside its store (default: made anew)")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--faults", default="storm")
    parser.add_argument("--speed", default="7200x")
    parser.add_argument("--orders", default="paper", choices=("paper", "testnet"))
    parser.add_argument("--protocol", default="binance", choices=("binance", "bybit"))
    parser.add_argument("--bars", type=int, default=60, help="bars to settle at least")
    parser.add_argument("--longest", type=float, default=4.0, help="longest life of a process, seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", action="store_true", help="throw commands at random, dead or alive")
    parser.add_argument("--every", type=float, default=3.0, help="mean time between two commands, seconds")
    parser.add_argument("--snapshot-bars", default="7", help="bars between snapshots")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        place = given.place or made(folder)
        server, url = served(given.speed, given.faults, given.seed, given.protocol)
        journal = folder / "session" / "journal.db"
        argv = [str(place), "--feed", "ccxt", "--url", url, "--speed", given.speed, "--out", str(journal.parent)]
        argv += ["--snapshot-bars", given.snapshot_bars, "--orders", given.orders, "--exchange", given.protocol]
        keys = RehearsalConfig()
        name = given.protocol.upper()
        os.environ |= {f"{name}_API_KEY": keys.api_key, f"{name}_SECRET": keys.secret}
        throw = None
        if given.commands:
            throw = Thrower(journal, 10**9, random.Random(given.seed + 1), given.every, WORDS)
        try:
            kills, starts, failed = lives(argv, given.kills, given.seed, journal, given.bars, given.longest, throw)
            truth = truth_of(url)
        finally:
            server.kill()
            server.wait()
        paper = given.orders == "paper"
        said = checked_paper(journal, place, given.commands) if paper else {}
        if not paper:
            said = checked_orders(journal, place, truth, given.commands)
        if throw is not None:
            said["commands"] = throw.check()
    took = round(time.monotonic() - begun)
    print(f"kills={kills} starts={starts} gave_up={failed}", *(f"{k}={v}" for k, v in said.items()), f"seconds={took}")
    print(*how(given.orders == "paper", given.commands))


def how(paper: bool, commanded: bool) -> list[str]:
    """What was shown, in words."""
    orders = ["identical to the backtest,"] if paper and not commanded else ["exactly the orders of the journal,"]
    orders = [] if paper and commanded else orders
    return [*orders, *(["flat and halted,"] if commanded else []), "and its replay the same"]


if __name__ == "__main__":
    main()
