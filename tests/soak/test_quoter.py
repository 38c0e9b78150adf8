"""A short version of the soak of quotes on an exchange: the whole one is ``python -m tests.soak.kill_quoter``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.kill_quoter import soak


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_session_loses_and_doubles_no_order(tmp_path: Path) -> None:
    said = soak(tmp_path, kills=2, faults="orders", seed=1)
    assert said["kills"] == 2 and said["starts"] >= 3 and said["orders"] > 0


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_thirty_kills(tmp_path: Path) -> None:
    said = soak(tmp_path, kills=30, faults="orders", seed=2)
    assert said["orders"] > 100 and said["fills"] > 50
