"""The walk of docs/service.md as it stands: an exchange, three supervised sessions, one portfolio."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.journal.store import NAME, read
from tests.servers import free_port
from tests.service.places import ROOT, until

PAGE = ROOT / "docs" / "service.md"
SESSIONS = ("calm", "lively", "held")


def lines() -> list[str]:
    """The commands of the walk."""
    text = PAGE.read_text(encoding="utf-8").split("## A walk:")[1]
    found = re.search(r"```\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return [line for line in found[1].replace("\\\n", "").splitlines() if line.startswith("qframe ")]


class Terminal:
    """Runs lines in a folder; those that end in `&` go on beside."""

    def __init__(self, folder: Path):
        self.folder, self.beside = folder, list[subprocess.Popen[bytes]]()
        self.ports = {"8765": str(free_port())}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("QFRAME_")} | {"PYTHONPATH": str(ROOT)}

    def argv(self, line: str) -> list[str]:
        for port, free in self.ports.items():
            line = line.replace(f":{port}", f":{free}")
        words = shlex.split(line.removesuffix("&"))[1:]
        if words[0] == "rehearse":
            words += ["--port", self.ports["8765"]]
        if words[0] == "serve":
            words += ["--port", "0"]
        return [sys.executable, "-m", "experiments.command", *words]

    def run(self, line: str) -> str:
        with (self.folder / "said.txt").open("ab") as said:
            if line.endswith("&"):
                self.beside.append(
                    subprocess.Popen(self.argv(line), cwd=self.folder, env=self.env, stdout=said, stderr=said)
                )
                return ""
            done = subprocess.run(self.argv(line), cwd=self.folder, env=self.env, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            return done.stdout

    def asked(self, *words: str) -> Any:
        return json.loads(self.run(shlex.join(["qframe", *words, "--json"])))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(tmp_path)
    yield one
    for name in SESSIONS:
        subprocess.run(one.argv(f"qframe supervise stop {name}"), cwd=tmp_path, env=one.env, capture_output=True)
    until(lambda: not any(is_running(tmp_path, name) for name in SESSIONS), 60.0)
    for process in one.beside:
        process.send_signal(signal.SIGINT)
    for process in one.beside:
        process.wait(30.0)


def is_running(folder: Path, name: str) -> bool:
    from qframe_rl.journal.lock import writer_of

    journal = folder / "runs" / "supervised" / name / NAME
    return journal.exists() and writer_of(journal) is not None


def words_of(folder: Path, name: str) -> list[str]:
    return [
        json.loads(e.payload)["word"] for e in read(folder / "runs" / "supervised" / name / NAME) if e.kind == "command"
    ]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_line_of_the_walk_does_what_the_page_says(terminal: Terminal) -> None:
    folder = terminal.folder
    for line in lines():
        if line.startswith("qframe portfolio transfer"):
            until(lambda: all(is_running(folder, name) for name in SESSIONS), 120.0)
        if line.startswith("qframe portfolio show"):
            until(
                lambda: "settled" in {one["kind"] for one in terminal.asked("portfolio", "ledger", "main")["ledger"]},
                120.0,
            )
        terminal.run(line)
    stand = terminal.asked("portfolio", "show", "main")["portfolio"]
    assert int(stand["contributions"]) == 60_000 * 10**8 and int(stand["unallocated"]) == 20_000 * 10**8
    assert {member["name"] for member in stand["members"]} == set(SESSIONS)
    until(lambda: all("halt" in words_of(folder, name) for name in SESSIONS), 60.0)
    routes = re.search(r"routes (http://\S+)/docs", (folder / "said.txt").read_text())
    assert routes is not None
