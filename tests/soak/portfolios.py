"""Kills of everything that moves a portfolio's money, at random: ``python -m tests.soak.portfolios --kills 100``.

A real server, a real supervisor and two real sessions on replayed bars, while a client asks for transfers and asks
again, with the same key, whenever it heard no answer. Session, supervisor and server are each killed (SIGKILL) so many
times. At the end the ledger must balance to the unit, every transfer be decided once by its session's journal and be
booked as that says, and both journals must run again to the same hash.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import read, verify
from qframe_rl.portfolio.ledger import balanced
from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.booking import units_in
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.store import ServiceStore

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ("a", "b")
E8 = 10**8
SPEC = {"checkpoint": "carry", "feed": "replay", "speed": "3600x"}


class Stage:
    """The processes, and what is asked of them."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        shutil.copytree(ROOT / "checkpoints" / "funding_arbitrage", folder / "checkpoints" / "carry")
        store = ServiceStore(folder / "state")
        for name in MEMBERS:
            Desired(store).add(name, SupervisedSpec(**SPEC))
        self.token = Doorkeeper(store).new_token("soak", ["read", "trade"])
        rows = Portfolios(store)
        from qframe_rl.service.booking import PortfolioSpec

        rows.make("main", PortfolioSpec())
        rows.contribute("main", "capital", 100_000 * E8, "soak")
        for name in MEMBERS:
            rows.change("main", PortfolioChanges(members={name: None}), "test")
        self.store, self.rows, self.desired = store, rows, Desired(store)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.url = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answered: dict[str, dict[str, Any]] = {}

    def start(self, name: str) -> None:
        """Start the server or the supervisor."""
        place = ["--state", str(self.folder / "state")]
        argv = [sys.executable, "-m"]
        if name == "server":
            argv += ["experiments.serve", "--root", str(self.folder), "--port", "0", "--allow", "trade", *place]
        else:
            argv += ["experiments.supervise", "--root", str(self.folder / "checkpoints"), *place]
            argv += ["--sessions", str(self.folder / "sessions")]
        process = subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if name == "supervisor" or line.startswith("routes"):
                self.url = line.split()[1].removesuffix("/docs;") if name == "server" else self.url
                break
        self.processes[name] = process

    def kill(self, name: str) -> bool:
        """Kill one of them, and have it started again; whether it ran."""
        if name in self.processes:
            self.processes[name].kill()
            self.processes[name].communicate()
            self.start(name)
            return True
        pid = writer_of(self.folder / "sessions" / name / "journal.db")
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        self.desired.want(name, "RUNNING")  # else five ends in ten minutes would be given up
        self.desired.note(name, starts="[]")
        return True

    def ask(self) -> None:
        """Ask for a transfer, or again for one that was not answered."""
        open_now = [one for one in self.asked if one[0] not in self.answered]
        if not open_now:
            units = self.random.choice([1, -1]) * self.random.randrange(1, 2_000 * E8)
            units = units if self.random.random() < 0.9 else -(10**6) * E8
            one = f"key{len(self.asked)}", {"member": self.random.choice(MEMBERS), "units": str(units)}
            self.asked.append(one)
            open_now = [one]
        key, body = open_now[0]
        headers = {"authorization": f"Bearer {self.token}", "idempotency-key": key}
        try:
            answer = httpx.post(
                f"{self.url}/api/v1/portfolios/main/transfers", json=body, headers=headers, timeout=5.0
            )  # fmt: skip
        except httpx.TransportError:
            return
        if answer.status_code in (202, 422):
            self.answered[key] = answer.json()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        until = time.monotonic() + 300.0
        while self.rows.pending("main") or any(key not in self.answered for key, _ in self.asked):
            if time.monotonic() > until:
                raise SystemExit(f"transfers stay: {self.rows.pending('main')}")
            if any(key not in self.answered for key, _ in self.asked):
                self.ask()
            time.sleep(0.2)

    def end(self) -> None:
        """Stop everything."""
        for name in MEMBERS:
            self.desired.want(name, "STOPPED")
        until = time.monotonic() + 90.0
        while any(writer_of(self.folder / "sessions" / name / "journal.db") for name in MEMBERS):
            if time.monotonic() > until:
                raise SystemExit("a session does not stop")
            time.sleep(0.1)
        for process in self.processes.values():
            process.terminate()
            process.communicate()


def check(stage: Stage) -> dict[str, int]:
    """Hold what came of it against what must be true; what was counted."""
    rows, ledger = stage.rows, stage.rows.ledger("main")
    assert balanced(ledger), "the ledger does not balance"
    assert ledger.in_transit == 0
    transfers = {one.transfer.id: one.transfer for one in rows.transfers("main", n=10**6)}
    made = {said["id"] for said in stage.answered.values() if "id" in said}
    assert set(transfers) == made, "one row for each key that was answered"
    assert len(made) == sum("id" in said for said in stage.answered.values())
    decided: Counter[str] = Counter()
    given = dict.fromkeys(MEMBERS, 0)
    for name in MEMBERS:
        journal = stage.folder / "sessions" / name / "journal.db"
        verify(journal)
        for event in read(journal):
            if event.kind == "transferred":
                said = json.loads(event.payload)
                decided[said["id"]] += 1
                one = transfers[said["id"]]
                assert (str(one.state), one.units, one.member) == (said["state"], said["units"], name)
                given[name] += said["units"] if said["state"] == "SETTLED" else 0
    assert set(decided) == set(transfers), "each was decided"
    assert set(decided.values()) <= {1}, "each once"
    opening = {one.posting.target.removeprefix("member:"): one.posting.units
               for one in rows.entries("main") if one.posting.kind == "joins"}  # fmt: skip
    for name in MEMBERS:
        assert ledger.settled[name] == opening[name] + given[name], "the ledger has what the journals say"
    for member in rows.members("main"):
        last = [json.loads(e.payload) for e in read(stage.folder / "sessions" / member.name / "journal.db")
                if e.kind in ("settled", "transferred")][-1]  # fmt: skip
        assert units_in(member.value) == round(last["account"]["equity"] * E8) or member.value.time_ns <= last["time"]
    return {"transfers": len(transfers), "refused": sum(str(one.state) == "REFUSED" for one in transfers.values())}


def replayed(folder: Path) -> None:
    """Run both journals again."""
    for name in MEMBERS:
        argv = [sys.executable, "-m", "experiments.replay", str(folder / "sessions" / name), "--json"]
        argv += ["--checkpoint", str(folder / "checkpoints" / "carry")]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each process")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage, begun = Stage(Path(folder), given.seed), time.monotonic()
        kills = Counter[str]()
        try:
            for name in ("server", "supervisor"):
                stage.start(name)
            while any(one.joined != 1 for one in stage.rows.members("main")):
                time.sleep(0.2)
            kinds = ("server", "supervisor", "session")
            while any(kills[kind] < given.kills for kind in kinds):
                for _ in range(stage.random.randrange(4)):
                    stage.ask()
                time.sleep(stage.random.random() * 0.5)
                kind = stage.random.choice([kind for kind in kinds if kills[kind] < given.kills])
                name = stage.random.choice(MEMBERS) if kind == "session" else kind
                kills[kind] += stage.kill(name)
            stage.settle()
            stage.end()
        finally:
            for process in stage.processes.values():
                process.kill()
            for name in MEMBERS:
                if (pid := writer_of(Path(folder) / "sessions" / name / "journal.db")) is not None:
                    os.kill(pid, signal.SIGKILL)
        said = check(stage)
        replayed(Path(folder))
    took = time.monotonic() - begun
    print(
        f"kills={given.kills} of each, transfers={said['transfers']} ({said['refused']} refused), {took:.0f} s: exact"
    )


if __name__ == "__main__":
    main()
