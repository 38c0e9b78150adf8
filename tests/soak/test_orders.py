"""A short version of the soak of orders: the whole one is ``python -m tests.soak.orders``."""

from __future__ import annotations

import subprocess
import sys


def test_orders_are_sent_exactly_once_through_kills_and_faults() -> None:
    command = [sys.executable, "-m", "tests.soak.orders", "--orders", "30", "--kills", "3", "--recv-window", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "orders=30 names=30 filled=30" in done.stdout
