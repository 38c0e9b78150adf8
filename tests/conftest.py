"""What tests over the whole catalogue share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rays import one_ray


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
