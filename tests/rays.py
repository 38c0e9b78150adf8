"""A Ray of this machine that all trainings of a process share: beginning one takes seconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CORES = 4
TOGETHER = (
    "tests/contracts/test_agents.py", "tests/universal/test_universal.py", "tests/contracts/test_cheats.py",
    "tests/contracts/test_universe.py", "tests/contracts/test_protections.py", "tests/agents/test_rllib.py",
    "tests/arena/test_rllib.py", "tests/learning/test_problems.py", "tests/learning/test_learners_on_noise.py",
)  # fmt: skip
"""Files whose trainings need it: one process has them all, one after another. Other tests only name the agent."""
_begun = False


def begin() -> None:
    """Begin Ray where it is installed, unless this process has."""
    global _begun
    ray = pytest.importorskip("ray")
    if _begun:
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        address="local", num_cpus=CORES, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip
    _begun = True


def end() -> None:
    """End the Ray that was begun, if one was."""
    global _begun
    if _begun:
        import ray

        _begun = False
        ray.shutdown()


@contextmanager
def one_ray() -> Iterator[None]:
    """Begin Ray, and end it."""
    begin()
    try:
        yield
    finally:
        end()
