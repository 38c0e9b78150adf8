"""A page over a session whose orders go to an exchange: what it shows is what the exchange did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from qframe_rl.journal.lock import writer_of
from tests.cockpit.places import PASSWORD, Visitor
from tests.servers import free_port
from tests.service.places import ROOT, Served, served, until

DATA = ("--data", "synthetic:regimes")
SYMBOL = "SYN0USDT"


@contextmanager
def door(name: str, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process of its own."""
    keys = {"BINANCE_API_KEY": "rehearsal", "BINANCE_SECRET": "rehearsal-secret"}
    env = {k: v for k, v in os.environ.items() if k != "QFRAME_DATA"} | {"PYTHONPATH": str(ROOT)} | keys
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", f"experiments.{name}", *argv], env=env, **quiet)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def exchange() -> Iterator[httpx.Client]:
    """An exchange on which an hour is a second."""
    port = free_port()
    with (
        door("rehearse", *DATA, "--start", "2020-03-01", "--speed", "3600x", "--port", str(port)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as one,
    ):
        until(lambda: answers(one), 60.0)
        yield one


def answers(exchange: httpx.Client) -> bool:
    try:
        return exchange.get("/rehearsal/state").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def trader(root: Path, exchange: httpx.Client) -> Iterator[subprocess.Popen[bytes]]:
    """A session that buys at once and holds, by orders at the exchange."""
    train = ["--agents", "buy_and_hold", "--bars", "1000", "--runs", str(root / "runs")]
    with door("train", *DATA, *train, "--checkpoints", str(root / "checkpoints")) as training:
        assert training.wait(120.0) == 0
    (checkpoint,) = (root / "runs").glob("*/agents/buy_and_hold-0-0")
    options = ["--feed", "ccxt", "--exchange", "binance", "--url", str(exchange.base_url), "--speed", "3600x"]
    with door("paper", str(checkpoint), *options, "--orders", "testnet", "--out", str(root / "holder")) as process:
        until(lambda: writer_of(root / "holder" / "journal.db") is not None, 60.0)
        until(lambda: at_the_exchange(exchange)["position"] > 0, 60.0)
        yield process


@pytest.fixture(scope="module")
def service(root: Path, trader: subprocess.Popen[bytes]) -> Iterator[Served]:
    with served(root, "--allow", "operate,trade") as running:
        yield running


def at_the_exchange(exchange: httpx.Client) -> dict[str, Any]:
    """What it holds of the account, and the orders that it has filled."""
    account = exchange.get("/rehearsal/truth").json()["accounts"]["rehearsal"]
    filled = [order for order in account["orders"]["usdm"] if order["status"] == "FILLED"]
    return {"position": float(account["usdm"]["positions"].get(SYMBOL, 0)), "filled": filled}


@pytest.mark.long
def test_orders_fills_and_a_flatten_are_those_of_the_exchange_and_its_death_is_seen(
    anna: Visitor, exchange: httpx.Client, trader: subprocess.Popen[bytes]
) -> None:
    page = anna.go()
    page.get_by_role("link", name="holder", exact=True).click()
    head, record, dialog = page.locator(".head"), page.get_by_role("region", name="Record"), page.get_by_role("dialog")
    expect(head).to_contain_text("buy_and_hold · testnet")
    bought = at_the_exchange(exchange)
    expect(page.locator(".holds")).to_contain_text(f"{bought['position']} SYN0/USDT:USDT")
    record.get_by_role("tab", name="Fills").click()
    expect(record).to_contain_text("▲ bought")
    record.get_by_role("tab", name="Orders").click()
    expect(record).to_contain_text(str(bought["filled"][0]["id"]))
    page.get_by_role("button", name="Flatten").click()
    dialog.get_by_label("Type FLATTEN").fill("FLATTEN")
    dialog.get_by_role("button", name="Flatten").click()
    expect(page.locator(".holds")).to_contain_text("nothing")
    assert at_the_exchange(exchange)["position"] == 0.0
    record.get_by_role("tab", name="Fills").click()
    expect(record).to_contain_text("▼ sold")
    page.get_by_role("button", name="Resume").click()
    dialog.get_by_label("Password of anna").fill(PASSWORD)
    dialog.get_by_role("button", name="Resume").click()
    expect(head.locator(".mark")).to_contain_text("active")
    trader.send_signal(signal.SIGKILL)
    expect(head.locator(".mark")).to_contain_text("stopped, was active")
    assert anna.complaints == []
