"""Short versions of the soak of exits: the whole ones are ``python -m tests.soak.kill_slots``."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.long
@pytest.mark.parametrize("what", ["--crashes", "--kills"])
def test_exits_hold_though_their_session_is_killed(what: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.soak.kill_slots", what, "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
