"""Where the service's rows lie: with SQLite, and with the one PostgreSQL of all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from qframe_rl.service.store import VARIABLE
from tests.servers import TestServer, postgres
from tests.service.fixtures import bars, ours, root, service, session

__all__ = ["bars", "ours", "root", "service", "session"]
PASSWORD = "correct horse battery"
STORES = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def database() -> Iterator[TestServer]:
    """The one PostgreSQL of all tests."""
    one = postgres()
    yield one
    one.close()


@pytest.fixture(scope="session")
def fresh_url(database: TestServer) -> Callable[[], str]:
    """Makes addresses of empty schemas."""
    import psycopg

    numbers = count()

    def make() -> str:
        name, base = f"s{next(numbers)}", f"postgresql://postgres@127.0.0.1:{database.port}/postgres"
        with psycopg.connect(base, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{base}?options=-csearch_path%3D{name}"

    return make


@pytest.fixture(params=STORES)
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A test runs once with ``service.db`` and once with PostgreSQL, both empty."""
    if request.param == "postgres":
        monkeypatch.setenv(VARIABLE, request.getfixturevalue("fresh_url")())
    return str(request.param)


@pytest.fixture(scope="module", params=STORES)
def stores(request: pytest.FixtureRequest) -> str | None:
    """A module's service runs once with each: address of an empty database, or None."""
    return request.getfixturevalue("fresh_url")() if request.param == "postgres" else None
