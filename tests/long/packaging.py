"""The wheel in an empty environment, used from an empty folder: ``python -m tests.long.packaging [--lowest]``.

It is built, installed with nothing but what it asks for, and the first steps of the README are taken with it; with
``--lowest`` every package that it names is the oldest that it allows.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    ["--version"],
    ["train", "--preset", "quick", "--json"],
    ["paper", "ppo", "--speed", "max", "--json"],
    ["new", "agent", "my_idea"],
    ["train", "--agents", "strategies.my_idea,flat", "--bars", "3000", "--json"],
    ["evaluate", "momentum", "--walk-forward", "2", "--bars", "3000", "--json"],
)


def main() -> int:
    """Build, install, try; the exit status of the first step that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowest", action="store_true", help="install the lowest versions that are allowed")
    lowest = parser.parse_args().lowest
    with tempfile.TemporaryDirectory() as place:
        wheels, home, empty = (Path(place) / name for name in ("wheels", "venv", "empty"))
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        if not done("documents", [sys.executable, "-m", "docs.generate"], ROOT):
            return 1
        if not done("build", [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], ROOT):
            return 1
        venv.create(home, with_pip=True)
        empty.mkdir()
        (wheel,) = wheels.glob("*.whl")
        pip[0] = str(home / "bin" / "python")
        install = [[*pip, "install", str(wheel)]]
        if lowest:
            uv = [pip[0], "-m", "uv", "pip", "install", "--quiet", "--resolution", "lowest-direct"]
            install = [[*pip, "install", "uv"], [*uv, "--python", pip[0], str(wheel)]]
        for command in install:
            if not done("install", command, empty):
                return 1
        for step in STEPS:
            if not done(f"qframe {' '.join(step)}", [str(home / "bin" / "qframe"), *step], empty):
                return 1
        if not read(home / "bin" / "qframe", empty):
            return 1
    return 0


def read(qframe: Path, where: Path) -> bool:
    """Whether the documents that the wheel carries are served."""
    command = [str(qframe), "docs", "--no-browser"]
    with subprocess.Popen(command, cwd=where, stderr=subprocess.PIPE, text=True) as running:
        said = running.stderr.readline() if running.stderr else ""
        url = re.search(r"http://\S+/", said)
        found = False
        if url is not None:
            with urllib.request.urlopen(url.group() + "reference/environments.html", timeout=10) as page:
                found = b"QFrame/Spot-v1" in page.read()
        running.send_signal(signal.SIGINT)
        running.wait(timeout=30)
    print(f"{'ok  ' if found else 'FAIL'}           qframe docs: {said.strip()}", flush=True)
    return found


def done(title: str, command: list[str], where: Path) -> bool:
    """Run a command and say how long it took, or what it printed where it failed."""
    began = time.monotonic()
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "QFRAME_DATA", "VIRTUAL_ENV")}
    env["XDG_STATE_HOME"] = str(where / ".state")
    ran = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True)
    print(f"{'ok  ' if ran.returncode == 0 else 'FAIL'} {time.monotonic() - began:6.1f} s  {title}", flush=True)
    if ran.returncode:
        print(ran.stdout[-2000:], ran.stderr[-4000:], sep="\n")
    return ran.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
