"""A folder with one live session, and a service of it that allows everything: one of each for a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.places import Served, Session, served

PASSWORD = "correct horse battery"


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
