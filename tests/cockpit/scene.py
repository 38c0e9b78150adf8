"""A day of somebody's: sessions that run, one that has ended, a run, a portfolio with members and transfers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from qframe_rl.journal.lock import writer_of
from tests.service.places import ROOT, Served, served, until

ENV = {name: value for name, value in os.environ.items() if name != "QFRAME_DATA"} | {"PYTHONPATH": str(ROOT)}
E8 = 10**8
SPEC = {"checkpoint": "carry", "feed": "replay", "speed": "36000x"}
MEMBERS = ("carry-a", "carry-b")


def door(name: str, *argv: str) -> subprocess.Popen[bytes]:
    """A command in a process of its own."""
    line = [sys.executable, "-m", f"experiments.{name}", *argv]
    return subprocess.Popen(line, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def scene(root: Path, *, whole: bool = False) -> Iterator[Served]:
    """A service with a supervisor and a worker beside it, and a portfolio of two supervised sessions.

    Parameters
    ----------
    root
        An empty folder.
    whole
        With a session of a policy that has ended, and a run, as pictures want them.
    """
    shutil.copytree(ROOT / "checkpoints" / "funding_arbitrage", root / "checkpoints" / "carry")
    if whole:
        shutil.copytree(ROOT / "checkpoints" / "ppo", root / "checkpoints" / "ppo")
        options = ["--feed", "replay", "--from", "2024-06-01"]
        paper = door("paper", str(root / "checkpoints" / "ppo"), *options, "--out", str(root / "paper" / "ppo"))
        train = door(
            "train", "--agents", "momentum,ppo", "--set", "agent.ppo.total_steps=60000", "--data", "synthetic:regimes",
            "--bars", "8000", "--runs", str(root / "runs"), "--checkpoints", str(root / "checkpoints"),
        )  # fmt: skip
        assert (paper.wait(300.0), train.wait(300.0)) == (0, 0)
    with served(root, "--allow", "operate,trade,jobs") as service:
        state = ["--state", str(service.state)]
        beside = [
            door("supervise", "--root", str(root), "--sessions", str(root / "supervised"), *state),
            door("worker", "--root", str(root), *state),
        ]
        try:
            with service.client("read", "trade") as api:
                invested(api)
            yield service
        finally:
            for one in beside:
                one.send_signal(signal.SIGTERM)
                one.wait(30.0)
            for journal in (root / "supervised").glob("*/journal.db"):
                if (pid := writer_of(journal)) is not None:
                    os.kill(pid, signal.SIGKILL)


def invested(api: httpx.Client) -> None:
    """Start the members, make the portfolio, let them in."""
    until(lambda: any(one["id"] == "carry" for one in api.get("/checkpoints").json()))
    for name in MEMBERS:
        assert api.post("/sessions", json={"name": name, "spec": SPEC}).status_code == 201
    limits = {"max_drawdown": 0.2, "daily_loss": 0.05, "max_leverage": 1.5, "max_net": 30_000.0}
    made = api.post("/portfolios", json={"id": "main", "capital": str(25_000 * E8), "limits": limits})
    assert made.status_code == 201, made.text
    until(lambda: all(one["state"] == "RUNNING" for one in api.get("/supervised").json()), 120.0)
    tag = api.get("/portfolios/main").headers["etag"]
    joined = api.patch("/portfolios/main", json={"members": dict.fromkeys(MEMBERS)}, headers={"if-match": tag})
    assert joined.status_code == 200, joined.text
    until(lambda: all(one["joined"] for one in api.get("/portfolios/main").json()["members"]), 120.0)
