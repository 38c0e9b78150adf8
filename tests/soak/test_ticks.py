"""A short version of the soak of recorded ticks: the whole one is ``python -m tests.soak.ticks``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.ticks import soak


def test_a_recorder_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    said = soak(tmp_path, kills=2, seed=1)
    assert said["messages"] > 0


@pytest.mark.long
def test_thirty_kills(tmp_path: Path) -> None:
    said = soak(tmp_path, kills=30, seed=2)
    assert said["files"] > 20
