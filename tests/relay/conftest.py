"""One Redis and one PostgreSQL for all tests of the relay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from qframe_rl.service.store import ServiceStore
from tests.servers import TestServer, redis_server
from tests.service.conftest import database, fresh_url

__all__ = ["database", "fresh_url"]
_NUMBERS = count()


@pytest.fixture(scope="session")
def own_redis() -> Iterator[TestServer]:
    """The one Redis; tests kill it."""
    one = redis_server()
    yield one
    one.close()


@pytest.fixture
def queue(own_redis: TestServer) -> str:
    """Address of an empty Redis."""
    import redis

    url = f"redis://127.0.0.1:{own_redis.port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return url


@pytest.fixture
def kept(tmp_path: Path, fresh_url: Callable[[], str]) -> Iterator[ServiceStore]:
    """An empty store in PostgreSQL."""
    store = ServiceStore(tmp_path / "state", fresh_url())
    yield store
    store.close()
