"""Exits that rest on the rehearsal exchange, while the sessions that put them there are killed.

``python -m tests.soak.kill_slots --crashes 50``: a session opens positions, is killed at a random instant after that,
and the price falls by 20 %. The loss is at most the distance of the stop, what the book shows at the trigger, and fees.

``python -m tests.soak.kill_slots --kills 200``: one session after the other is killed, and the kill switch thrown at
it, dead or alive, in turn; at last it flattens. No position is closed twice, the exchange has the orders of the
journal and no other, and none is left; a replay comes to the same.
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
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from experiments import train
from experiments.cli import door
from qframe_rl.agent import Memoryless, View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.feeds.download import download
from qframe_rl.interface import protect
from qframe_rl.journal.store import read
from qframe_rl.live.open import opened_live, reopened
from qframe_rl.live.paper import paper, replay
from qframe_rl.live.permit import exchange_venue
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.book import SELL, BookInputs, levels
from qframe_rl.rehearsal.decimals import exact
from qframe_rl.rehearsal.faults import script_of
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.risk.limits import Limits
from qframe_rl.types import CLOSE, HIGH, HOUR, LOW, OPEN, VOLUME, Orders
from tests.markets import START, history_of, panel
from tests.soak.children import Child, Forked
from tests.soak.kill_live import WORDS, lives, truth_of, walked
from tests.soak.kill_paper import Thrower

N_BARS, CALM = 400, 100
KINDS = {"perpetual": ("usdm", ("C0/USDT:USDT", "C1/USDT:USDT")), "spot": ("spot", ("C0/USDT", "C1/USDT"))}
FIRST = (START + (N_BARS - 150) * HOUR) // 1_000_000
CRASH = N_BARS - 150 + CALM
"""Row of the bar in which everything falls by a fifth; before it a session has a hundred bars."""
CASH = 100_000.0
SPEED = "240x"
"""Bars of an hour last fifteen seconds, in half of which an order must have gone out, on a busy machine too."""
EXITS = ({"stop": 0.01}, {"stop": 0.03, "take": 0.4}, {"trail": 0.05}, {"stop": 0.08, "trail": 0.1, "take": 0.5})
"""What protects, by turns."""


def markets(kind: str, calm: bool) -> tuple[ListedMarket, ...]:
    """Two instruments; where it is calm they drift within a thousandth, and then fall by a fifth within a bar."""
    if not calm:
        return listed(panel(N_BARS, 2, seed=7, volatility=0.01, ragged=False, column=False, kind=kind))
    values = np.full((N_BARS, 2, 5), 100.0)
    rng = np.random.default_rng(1)
    values[:, :, OPEN : CLOSE + 1] *= np.round(1.0 + 1e-3 * rng.uniform(-1.0, 1.0, (N_BARS, 2, 1)), 4)
    values[CRASH, :, LOW] = values[CRASH, :, OPEN] * 0.79
    values[CRASH, :, CLOSE] = values[CRASH, :, OPEN] * 0.8
    values[CRASH + 1 :, :, OPEN : CLOSE + 1] *= 0.8
    values[:, :, HIGH] = values[:, :, OPEN : CLOSE + 1].max(axis=-1)
    values[:, :, VOLUME] = 1e5
    return listed(history_of(np.round(values, 2), kind=kind))


class Protected(Memoryless):
    """Holds a fifth of its equity in everything, with exits beside each position.

    Parameters
    ----------
    exits
        As `protect` takes them.
    """

    window = 2

    def __init__(self, exits: Mapping[str, Any]):
        self.exits = exits

    def decide(self, view: View) -> Orders:
        """Buy what it has none of."""
        size = np.floor(0.2 * float(view.account.equity) / view.account.mark * 1e3) / 1e3
        wanted = np.where(view.account.position < 0.5 * size, size, 0.0)
        return protect(view, Orders.market(wanted), **self.exits)


def made(folder: Path, kind: str) -> Path:
    """A market and a checkpoint for it, whose agent is not used."""
    with serve(markets(kind, calm=False), speed="max") as exchange:
        root, until = folder / "store", START + (N_BARS - 1) * HOUR
        download("binance", KINDS[kind][1], "1h", START - HOUR, until, root=root, url=exchange.url, pause_s=0.0)
    argv = ["--data", str(root), "--symbols", ",".join(KINDS[kind][1]), "--agents", "flat"]
    argv += ["--set", f"env.cash={CASH:g}", "--runs", str(folder / "runs"), "--checkpoints", str(folder / "c")]
    if door(train.main, argv) != 0:
        raise SystemExit("the training failed")
    return next((folder / "runs").glob("*/agents/flat-0-0"))


def trade(place: Path, url: str, out: Path, kind: str, speed: str, exits: Mapping[str, Any]) -> None:
    """Run a session whose orders go out until it is told to stop."""
    wanted, pace = {"exchange": "binance", "symbols": KINDS[kind][1]}, float(speed.removesuffix("x"))
    opened = opened_live(place, load_checkpoint(place), wanted, out, url, print, orders="testnet", speed=pace)
    signal.signal(signal.SIGTERM, lambda *given: opened.feed.stopped.set())
    venue = exchange_venue(opened.feed, opened.terms, url, print)
    paper(
        opened.market, Protected(exits), opened.feed, opened.terms, out, quotes=opened.quotes, venue=venue,
        process={"checkpoint": str(place)}, limits=Limits(filters=True), snapshot_bars=7, note=print,
    )  # fmt: skip


def begun(given: Sequence[Any], said: Path) -> Child:
    """Run `trade` in a process of its own."""
    return Forked(["tests.soak.preloaded"], said, trade, *given)


def own(exchange: Rehearsal, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    """What the exchange holds by coin, orders that rest, and the money it comes to."""
    account = exchange.truth()["accounts"]["rehearsal"]
    orders = [*account["orders"][KINDS[kind][0]], *account["algos"]]
    rests = [one for one in orders if one["status"] in ("NEW", "PARTIALLY_FILLED")]
    if kind == "perpetual":
        held = {name.removesuffix("USDT"): Decimal(q) for name, q in account["usdm"]["positions"].items()}
        money = float(account["usdm"]["wallet"]["USDT"])
    else:
        parts = [account["spot"][part] for part in ("free", "locked")]
        held = {
            name: sum((Decimal(p.get(name, 0)) for p in parts), Decimal(0))
            for name in {*parts[0], *parts[1]} - {"USDT"}
        }
        money = float(sum(Decimal(p.get("USDT", 0)) for p in parts))
    return {name: q for name, q in held.items() if q > Decimal("0.01")}, rests, money


def most_lost(exchange: Rehearsal, kind: str, config: RehearsalConfig, journal: Path, distance: float) -> float:
    """What the positions of now may lose: to their stops, in the book beyond them, and as fees."""
    lost, stops = 0.0, stops_of(journal)
    for name in own(exchange, kind)[0]:
        told = exchange.truth()["accounts"]["rehearsal"]["trades"][KINDS[kind][0]]
        trades = [t for t in told if t["symbol"] == f"{name}USDT"]
        bought = [t for t in trades if t["side"] == "BUY"]
        size = sum((Decimal(t["quantity"]) for t in bought), Decimal(0))
        paid = sum(Decimal(t["quantity"]) * Decimal(t["price"]) for t in bought)
        fees = float(sum(Decimal(t["fee"]) * (Decimal(t["price"]) if t["fee_asset"] == name else 1) for t in bought))
        stop = stops[name]
        # It is from the close before the entry, which lies within a few thousandths of what was paid.
        assert abs(stop / float(paid / size) - (1.0 - distance)) < 0.003, "the stop is not where it was asked for"
        left, brought = size, Decimal(0)
        market = next(m for m in markets(kind, calm=True) if m.id == f"{name}USDT")
        for level in levels(config.shape, BookInputs(stop, 1e5, exact(0.01), exact(0.001)), SELL):
            part = min(left, level.quantity)
            left, brought = left - part, brought + part * level.price
        assert left == 0, "the book is too thin for the position"
        lost += float(paid - brought) + fees + float(brought) * float(market.taker)
    return lost + 1e-6


def stops_of(journal: Path) -> dict[str, float]:
    """Where the stop of each coin was when it was bought last; it may have followed since."""
    sent: dict[str, float] = {}
    bought: dict[str, float] = {}
    for event in read(journal):
        if event.kind == "intent":
            said = json.loads(event.payload)
            name = said["symbol"].partition("/")[0]
            sent |= {name: said["stop"]} if said["stop"] else {}
            bought |= {name: sent[name]} if said["quantity"] > 0.0 else {}
    return bought


def crashed(place: Path, kind: str, exits: dict[str, float], seed: int, folder: Path) -> dict[str, float]:
    """One session that is killed, and then the fall; what was lost, and what may be."""
    rng = random.Random(seed)
    config = RehearsalConfig(prints=30, cash=CASH, seed=seed)
    with serve(markets(kind, calm=True), config, speed=SPEED, start_ms=FIRST + 5_000) as exchange:
        said = folder.with_name(f"{folder.name}.txt")
        child = begun([place, exchange.url, folder, kind, SPEED, exits], said)
        try:
            until = time.monotonic() + 240.0
            while len(own(exchange, kind)[0]) < 2:
                if child.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"nothing was opened: {said.read_text()[-2000:]}")
                time.sleep(0.01)
            time.sleep(0.0 if seed % 2 else rng.uniform(0.0, 8.0))
        finally:
            child.kill()
            child.wait()
        distance = exits.get("stop", exits.get("trail", 0.0))
        may = most_lost(exchange, kind, config, folder / "journal.db", distance)
        exchange.advance(to_ms=(START + (CRASH + 2) * HOUR) // 1_000_000)
        held, rests, money = own(exchange, kind)
    stops = sum("STOP" in one["type"] for one in rests)
    return {"lost": CASH - money, "may": may, "held": len(held), "stops": stops}


def crashes(folder: Path, kind: str, n: int, seed: int) -> None:
    """So many crashes, each with exits of its turn."""
    place, worst = made(folder / "made", kind), 0.0
    for k in range(n):
        said = crashed(place, kind, EXITS[k % len(EXITS)], seed + k, folder / f"session-{k}")
        assert not said["held"] and not said["stops"], f"crash {k}: something is still held, or rests: {said}"
        assert said["lost"] <= said["may"], f"crash {k}: {said}"
        worst = max(worst, said["lost"] / said["may"])
        print(f"crash {k}: lost {said['lost']:.2f} of {said['may']:.2f} that may be lost", flush=True)
    print(f"crashes={n} of {n} within the stop, the book and fees; at most {worst:.3f} of that")


def exchange_of(kind: str, speed: str, faults: str, seed: int) -> None:
    """Serve the exchange for ever; its address is the first line of stdout."""
    start = FIRST + 5_000
    config = RehearsalConfig(prints=4, seed=seed, cash=CASH)
    with serve(markets(kind, calm=False), config, speed=speed, start_ms=start, faults=script_of(faults)) as running:
        print(running.url, flush=True)
        signal.pause()


def checked(
    journal: Path, place: Path, truth: dict[str, Any], url: str, kind: str, exits: Mapping[str, Any]
) -> dict[str, int]:
    """Hold the orders of the journal against those of the exchange, and see that nothing is left or closed twice."""
    events, _, settled = walked(journal)
    account, wire = truth["accounts"]["rehearsal"], KINDS[kind][0]
    said = [p for k, p in events if k in ("outcome", "resolved") and p["status"] != "unknown"]
    accepted = {p["name"] for p in said if p["status"] == "accepted"}
    fired = {a["placed"] for a in account["algos"] if a["placed"] is not None}
    sent = [o for o in account["orders"][wire] if o["id"] not in fired] + account["algos"]
    names = [one["client"] for one in sent]
    assert sorted(names) == sorted(accepted), "the exchange has other orders than the journal"
    rests = [one for one in sent if one["status"] in ("NEW", "PARTIALLY_FILLED")]
    assert not rests, f"{len(rests)} orders are left"
    assert not [p for k, p in events if k == "state" and "exchange holds" in str(p)], "fills were not understood"
    market, _, terms = reopened(journal, place)
    assert replay(market, Protected(exits), terms, journal).digest == settled[-1]["hash"]
    log = logged(url)
    return {"bars": len(settled), "orders": len(sent), "fired": len(fired), "exits": never_short(log, kind)}


def logged(url: str) -> list[dict[str, Any]]:
    """Everything that happened on the exchange."""
    import urllib.request

    with urllib.request.urlopen(f"{url}/rehearsal/log") as answer:
        said: list[dict[str, Any]] = json.load(answer)
    return said


def never_short(log: list[dict[str, Any]], kind: str) -> int:
    """Number of exits; a position that was closed twice would have gone below nothing."""
    held: dict[str, Decimal] = {}
    exits = 0
    for one in (one for one in log if one["what"] == "TRADE"):
        size = Decimal(one["size"])
        held[one["symbol"]] = held.get(one["symbol"], Decimal(0)) + (size if one["side"] == "BUY" else -size)
        exits += one["side"] == "SELL"
        assert held[one["symbol"]] >= 0, f"{one['symbol']} was closed twice"
    return exits


def kills(folder: Path, kind: str, n: int, seed: int, speed: str, faults: str, longest: float, every: float) -> None:
    """One session under so many kills and switches."""
    place, exits = made(folder / "made", kind), {"stop": 0.01, "take": 0.01, "trail": 0.015, "bars": 4}
    code = f"from tests.soak.kill_slots import exchange_of; exchange_of({kind!r}, {speed!r}, {faults!r}, {seed})"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert server.stdout is not None
    url, journal = server.stdout.readline().decode().strip(), folder / "session" / "journal.db"
    throw = Thrower(journal, 10**9, random.Random(seed + 1), every, WORDS)
    try:
        given = [place, url, journal.parent, kind, speed, exits]
        done, starts, failed = lives(given, n, seed, journal, 10, longest, throw, begun)  # type: ignore[arg-type]
        truth = truth_of(url)
        said = checked(journal, place, truth, url, kind, exits)
    finally:
        server.kill()
        server.wait()
    commands = throw.check()
    print(f"kills={done} starts={starts} gave_up={failed} commands={commands}", *(f"{k}={v}" for k, v in said.items()))
    print("no position closed twice, no order left, the orders of the journal and no other")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--kind", default="perpetual", choices=sorted(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", default=SPEED, help="of the exchange, for --kills")
    parser.add_argument("--faults", default="none", help="of the exchange, for --kills")
    parser.add_argument("--longest", type=float, default=6.0, help="longest life of a process, seconds")
    parser.add_argument("--every", type=float, default=4.0, help="mean time between two commands, seconds")
    given = parser.parse_args()
    keys = RehearsalConfig()
    os.environ |= {"BINANCE_API_KEY": keys.api_key, "BINANCE_SECRET": keys.secret}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        if given.crashes:
            crashes(Path(text), given.kind, given.crashes, given.seed)
        if given.kills:
            kills(
                Path(text), given.kind, given.kills, given.seed, given.speed, given.faults, given.longest, given.every
            )
    print(f"seconds={time.monotonic() - begun:.0f}")


if __name__ == "__main__":
    main()
