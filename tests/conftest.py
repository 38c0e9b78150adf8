"""What tests over the whole catalogue share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.rays import one_ray

# As many workers as cores: threads of OpenMP would wait for each other; tests of deep agents took four times as long.
# Read when PyTorch is imported, here and in every process that a test begins.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on the machine and on what was compiled before.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="module", autouse=True)
def own_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each file of tests counts its trials anew, and none of them in the user's ledger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def ray_where_it_is_needed(request: pytest.FixtureRequest) -> Any:
    """Trainings of the agent ``rllib`` share one Ray."""
    given = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    asked = any(isinstance(value, str) and value == "rllib" for value in given)
    return request.getfixturevalue("shared_ray") if asked else None


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[None]:
    with one_ray():
        yield
