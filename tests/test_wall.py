"""The wall round strategies: what is not let in is shut out, a room that is new included."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINTER = Path(sys.executable).parent / "lint-imports"
ROUND = """
import builtins
import importlib.util
import sys
from importlib import import_module
from sys import modules

import tests.markets
from agents.hidden.kept import store


def late():
    return __import__("qframe_rl.journal.store"), eval("store"), sys.modules["qframe_rl.types"]
"""
ROUND_TOLD = {"builtins", "importlib.util", "importlib", "sys.modules", "tests.markets", "__import__", "eval"}


def test_a_planted_strategy_that_tries_every_room_is_told_of_each(tmp_path: Path) -> None:
    for package in ("qframe_rl", "envs", "agents", "experiments", "tests"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.toml", "data")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "qframe_rl" / "brand_new.py").write_text("")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (allowed,) = (set(contract["allowed"]) for contract in settings if contract["type"] == "allowed")
    places = sorted((tmp_path / "qframe_rl").iterdir())
    rooms = {f"qframe_rl.{p.stem}" for p in places if p.suffix == ".py" or (p / "__init__.py").is_file()}
    rooms -= {"qframe_rl.__init__"}
    tries = [f"from qframe_rl import {room.removeprefix('qframe_rl.')}" for room in sorted(rooms)]
    late = ("import envs.perp", "from agents.momentum import Momentum", "from experiments import cli")
    planted = "\n".join([*tries, "def late():", *(f"    {line}" for line in late)])
    (tmp_path / "agents" / "planted.py").write_text(planted)
    (tmp_path / "agents" / "round.py").write_text(ROUND)
    (tmp_path / "agents" / "hidden").mkdir()
    (tmp_path / "agents" / "hidden" / "kept.py").write_text("from qframe_rl.journal import store")
    done = subprocess.run([LINTER, "--no-logo", "--no-cache"], cwd=tmp_path, capture_output=True, text=True)
    told = set(re.findall(r"agents\.planted -> ([\w.]+): not among", done.stdout))
    assert done.returncode != 0
    assert told == (rooms - allowed) | {"envs.perp", "agents.momentum", "experiments.cli"}, done.stdout + done.stderr
    assert {"qframe_rl.brand_new", "qframe_rl.kernel", "qframe_rl.journal", "qframe_rl.rehearsal"} <= told
    assert set(re.findall(r"agents\.round -> ([\w.]+): not among", done.stdout)) == ROUND_TOLD
    assert "agents.hidden.kept -> nothing, for its folder has no __init__.py" in " ".join(done.stdout.split())
