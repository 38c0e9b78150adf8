"""The kernel that is compiled beside is the one that environments call, and they call one alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qframe_rl.gym.beside import _known

_ENDS = """
import gymnasium, qframe_rl
from qframe_rl.gym import beside, engine
from qframe_rl.kernel.rows import advance_rows
beside.compile_kernel()
many = gymnasium.make_vec("QFrame/Perp-v1", num_envs=2, episode_bars=2)
one = gymnasium.make("QFrame/Perp-v1", episode_bars=2)
for envs in (many, one):
    for _ in range(2):
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())
        envs.step(envs.action_space.sample())
many.step(many.action_space.sample())
print(len(advance_rows.signatures), len(engine._end.signatures))
"""
_COLD = """
import gymnasium, qframe_rl
from qframe_rl.kernel.rows import advance_rows
envs = gymnasium.make_vec("QFrame/Perp-v1", num_envs=2)
envs.reset(seed=0)
envs.step(envs.action_space.sample())
print(sum(advance_rows.stats.cache_hits.values()))
"""


def _run(code: str, **env: str) -> str:
    own = os.environ | env
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own
    ).stdout.strip()


def test_environments_and_their_ends_call_what_was_compiled_ahead() -> None:
    assert _run(_ENDS) == "1 1"


@pytest.mark.long
def test_a_process_without_machine_code_takes_the_kernel_from_the_one_beside(tmp_path: Path) -> None:
    assert _run(_COLD, NUMBA_CACHE_DIR=str(tmp_path)) == "1"


def test_one_process_alone_is_asked_and_none_where_the_kernel_is_on_disk(tmp_path: Path) -> None:
    there = tmp_path / "there" / "kernel_0"
    there.mkdir(parents=True)
    (there / "rows.advance_rows-1.py311.nbi").touch()
    assert _known(there.parent)
    assert not _known(tmp_path / "empty")
    assert _known(tmp_path / "empty")
