"""What tests over the whole catalogue share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from qframe_rl import custom
from qframe_rl.live import signals
from tests import rays
from tests.left_out import imports_what_is_missing, missing, named_by
from tests.turns import PARTS, has_turn

# As many workers as cores: threads of OpenMP would wait for each other; tests of deep agents took four times as long.
# Read when PyTorch is imported, here and in every process that a test begins.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on the machine and on what was compiled before.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave tests of a file of the catalogue out that was deleted."""
    return (collection_path.suffix == ".py" and imports_what_is_missing(collection_path)) or None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for long tests."""
    parser.addoption("--long", metavar="all|PART", help=f"run those marked long instead: all, or a part of {PARTS}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests to their turn, and skip those that name a file of the catalogue that was deleted."""
    asked, places = (
        config.getoption("--long"),
        [str(config.invocation_params.dir / p.split("::")[0]) for p in config.args],
    )
    turn = {
        item: has_turn(item.nodeid, long=item.get_closest_marker("long") is not None, asked=asked, places=places)
        for item in items
    }
    config.hook.pytest_deselected(items=[item for item in items if not turn[item]])
    items[:] = [item for item in items if turn[item]]
    if hasattr(config, "workerinput"):
        from tests.order import rank

        items.sort(key=lambda item: rank(item.nodeid))
    for item in items if missing() else ():
        params = item.callspec.params if hasattr(item, "callspec") else {}
        gone = named_by(item.path, getattr(item, "originalname", item.name), params)
        if gone is not None:
            item.add_marker(pytest.mark.skip(reason=f"{gone}.py is not there"))


@pytest.fixture(scope="module", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each file of tests counts its trials anew, none of them in the user's ledger.

    It leaves neither functions of its own nor a signal that nobody obeyed to the next one in its process.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setattr(custom, "_known", {name: dict(found) for name, found in custom._known.items()})
        patch.setattr(signals, "_early", [])
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share files among processes in an order of the house's own."""
    from tests.order import ByFile

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End Ray before a file that does not train on it."""
    if nextitem is None or file_of(nextitem) not in rays.TOGETHER:
        rays.end()


def file_of(item: pytest.Item) -> str:
    """Its file, as ids name it."""
    return item.nodeid.partition("::")[0]


@pytest.fixture(autouse=True)
def ray_where_it_is_needed(request: pytest.FixtureRequest) -> None:
    """Trainings of the agent ``rllib`` share one Ray."""
    given = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    if file_of(request.node) in rays.TOGETHER and any(isinstance(value, str) and value == "rllib" for value in given):
        rays.begin()


@pytest.fixture
def shared_ray() -> None:
    """The one of all trainings of this process."""
    rays.begin()
