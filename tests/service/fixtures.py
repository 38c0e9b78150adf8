"""A folder with one live session, and a service of it that allows everything: one of each for a module."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.places import Served, Session, served


@pytest.fixture(scope="session", autouse=True)
def ours() -> Iterator[None]:
    """The writer of these journals is this very process, which is signalled as a session is."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def bars() -> int:
    """That the session has lived through."""
    return 20


@pytest.fixture(scope="module")
def session(root: Path, bars: int) -> Iterator[Session]:
    """One whose bars come when a test says so."""
    one = Session(root / "alpha")
    one.bar(bars)
    yield one
    one.close()


@pytest.fixture(scope="module")
def service(root: Path, session: Session) -> Iterator[Served]:
    with served(root, "--allow", "operate,trade,jobs") as running:
        yield running
