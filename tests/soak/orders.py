"""Three hundred orders through kills and faults: the rehearsal exchange must have each of them exactly once.

``python -m tests.soak.orders --orders 300 --kills 30 --faults orders``
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from qframe_rl.config import Unavailable
from qframe_rl.feeds.client import client
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.store import Writer
from qframe_rl.rehearsal import RehearsalConfig, listed, serve
from qframe_rl.rehearsal.faults import script_of
from qframe_rl.venues.order_sender import Intent, OrderSender
from tests.venues.placing import placed

LOT = 0.01


def trade(path: Path, url: str, keys: dict[str, str], symbol: str, n: int, recv_window_ms: int) -> None:
    """Buy ``n`` times, or go on where a killed process was."""
    account = client("binance", "perpetual", url, keys=keys)
    account.timeout = 2000
    account.load_markets()
    account.load_time_difference()
    writer = Writer(path)
    ledger = Ledger(path, writer)
    gate = OrderSender(account, ledger, "soak", recv_window_ms=recv_window_ms, margin_ms=500)
    number = bought = 0
    while bought < n:
        outcome = placed(gate, ledger, number, Intent(symbol, LOT))
        if outcome["status"] == "refused":
            raise Unavailable(f"order {number}: {outcome}")
        number, bought = number + 1, bought + (outcome["status"] == "accepted")
    writer.close()


def forked(path: Path, *what: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        trade(path, *what)
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    os._exit(0)


def soak(n: int, kills: int, faults: str, seed: int, recv_window_ms: int, server: bool = True) -> dict[str, Any]:
    """Run it; return what the exchange and the journal have."""
    rng = random.Random(seed)
    history = synthetic("regimes", n_bars=2000)
    symbol = history.symbols[0]
    config = RehearsalConfig(cash=1e7, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        ready, told = os.pipe()
        exchange = os.fork()
        if not exchange:
            os.close(ready)
            with serve(listed(history), config, speed="1x", faults=script_of(faults)) as running:
                os.write(told, running.url.encode() + b"\n")
                signal.pause()
        try:
            url = os.read(ready, 200).decode().strip()
            keys = {"apiKey": config.api_key, "secret": config.secret}
            begun = time.monotonic()
            done = starts = 0
            while True:
                starts += 1
                pid = forked(path, url, keys, symbol, n, recv_window_ms)
                until = time.monotonic() + (rng.uniform(0.1, 1.5) if done < kills else 1e9)
                status: int | None = None
                while time.monotonic() < until and status is None:
                    ended, code = os.waitpid(pid, os.WNOHANG)
                    status = code if ended else None
                    time.sleep(0.002)
                if status is None:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    done += 1
                elif status != 0:
                    raise SystemExit(f"a trader ended with status {status}")
                else:
                    break
            return said(url, n, done, starts, time.monotonic() - begun)
        finally:
            os.kill(exchange, signal.SIGKILL)
            os.waitpid(exchange, 0)


def said(url: str, n: int, kills: int, starts: int, seconds: float) -> dict[str, Any]:
    import urllib.request

    with urllib.request.urlopen(f"{url}/rehearsal/truth") as answer:
        truth = json.load(answer)
    with urllib.request.urlopen(f"{url}/rehearsal/state") as answer:
        state = json.load(answer)
    account = truth["accounts"]["rehearsal"]
    orders = account["orders"]["usdm"]
    hits = sum(one["count"] for one in state["faults"])
    return {
        "wanted": n, "orders": len(orders), "names": len({order["client"] for order in orders}),
        "filled": sum(order["status"] == "FILLED" for order in orders),
        "position": account["usdm"]["positions"].get("SYN0USDT", "0"), "kills": kills, "starts": starts, "faults": hits,
        "seconds": round(seconds),
    }  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--faults", default="orders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recv-window", type=int, default=3000)
    given = parser.parse_args()
    result = soak(given.orders, given.kills, given.faults, given.seed, given.recv_window)
    print(" ".join(f"{key}={value}" for key, value in result.items()))
    if not result["orders"] == result["names"] == result["filled"] == given.orders:
        raise SystemExit("not exactly once")
    print("exactly once")


if __name__ == "__main__":
    main()
