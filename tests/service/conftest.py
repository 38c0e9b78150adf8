"""A folder with one live session, and a service of it that allows everything: one of each for a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from qframe_rl.service.store import VARIABLE
from tests.servers import TestServer, postgres
from tests.service.places import Served, Session, served

PASSWORD = "correct horse battery"
STORES = ("sqlite", "postgres")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def session(root: Path) -> Iterator[Session]:
    one = Session(root / "alpha")
    one.bar(20)
    yield one
    one.close()


@pytest.fixture(scope="module")
def service(root: Path, session: Session) -> Iterator[Served]:
    with served(root, "--allow", "operate,trade,jobs") as running:
        yield running


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
