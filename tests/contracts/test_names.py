"""Below a checkpoint only names of the catalogue: no text of its parameters, at any depth, is imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qframe_rl import catalog
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.deploy import config_of, deployed

PAYLOAD = "planted_in_a_checkpoint.payload"
SHIPPED = Path("checkpoints/funding_arbitrage")


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that can be imported, and must not be."""
    package = tmp_path / "planted_in_a_checkpoint"
    package.mkdir()
    for name in ("__init__", "payload"):
        (package / f"{name}.py").write_text("from qframe_rl.baselines.flat import Config, make\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    assert not [name for name in sys.modules if name.startswith("planted_in_a_checkpoint")], "its code ran"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a text stands in plain data, or could: every text, every end of a list, a fresh key of every table."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        yield (*path, "planted")
        for key, below in value.items():
            yield from places(below, (*path, key))
    elif isinstance(value, list):
        yield (*path, len(value))
        for k, below in enumerate(value):
            yield from places(below, (*path, k))


def written(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    """The same plain data with a leaf in one place."""
    made = deepcopy(value)
    below = made
    for key in path[:-1]:
        below = below[key]
    if isinstance(below, list) and path[-1] == len(below):
        below.append(leaf)
    else:
        below[path[-1]] = leaf
    return made


def named(name: str, params: Any, path: tuple[Any, ...], leaf: Any) -> dict[str, Any]:
    """A reference with a leaf among its parameters, or a planted one."""
    return {"name": name, "params": written(params, path, leaf)} if path else {"name": PAYLOAD, "params": params}


def plain(kind: str, name: str) -> dict[str, Any]:
    config = catalog.load(kind, name).Config()  # type: ignore[arg-type]
    made: dict[str, Any] = json.loads(config.model_dump_json())
    return made


def refused(checkpoint: Checkpoint) -> None:
    for use in (config_of, lambda one: deployed(one, one.instruments, one.columns, one.bar_ns, "test")):
        with pytest.raises(UserError):
            use(checkpoint)


LEAVES = (
    PAYLOAD,
    f"label={PAYLOAD}",
    {"name": PAYLOAD},
    {"type": PAYLOAD, "params": {}},
    [PAYLOAD],
    [[{"a": PAYLOAD}]],
)


NO_MODULES = (("column",), ("dataset",))
"""What a column of the feed, or a folder, is called: it may have a dot, and nothing imports it."""


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("name", catalog.names("agents"))
def test_no_field_of_an_agent_imports_what_it_names(name: str) -> None:
    checkpoint = load_checkpoint(SHIPPED)
    params = plain("agents", name)
    for path in ((), *places(params)):
        for leaf in LEAVES:
            evil = replace(checkpoint, agent=named(name, params, path, leaf))
            if path in NO_MODULES and isinstance(leaf, str):
                with suppress(UserError):
                    deployed(evil, evil.instruments, evil.columns, evil.bar_ns, "test")
            else:
                refused(evil)


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("name", catalog.bar_markets())
def test_no_field_of_a_market_imports_what_it_names(name: str) -> None:
    checkpoint = load_checkpoint(SHIPPED)
    params = plain("envs", name)
    for path in ((), *places(params)):
        for leaf in LEAVES:
            evil = named(name, params, path, leaf)
            with pytest.raises(UserError):
                one = replace(checkpoint, env=evil)
                deployed(one, one.instruments, one.columns, one.bar_ns, "test")


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_member_of_an_ensemble_at_any_depth_does(depth: int) -> None:
    params: dict[str, Any] = {"members": ["flat", PAYLOAD]}
    for _ in range(depth - 1):
        params = {"members": ["flat", "ensemble"], "member": {"ensemble": params}}
    refused(replace(load_checkpoint(SHIPPED), agent={"name": "ensemble", "params": params}))


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("kind", ["agent", "env"])
def test_nor_does_a_study_of_a_checkpoint(kind: str, tmp_path: Path) -> None:
    from experiments.evaluate import _named

    evil = {"agent": {"name": "ensemble", "params": {"members": [PAYLOAD]}}, "env": {"name": PAYLOAD, "params": {}}}
    replace(load_checkpoint(SHIPPED), **{kind: evil[kind]}).save(tmp_path / "evil")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="outside the catalogue"):
        _named(f"{tmp_path}/evil", {"data": {}, "risk": {}})


def test_a_dotted_path_in_a_configuration_of_ones_own_is_imported() -> None:
    made = catalog.load("agents", "tests.agents.loser")
    assert made.make


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("env", {"features": ["column:a.b", "log_return:1"]}),
        ("env", {"fee_tiers": "1e6:4.5,2e7:3.5"}),
        ("env", {"actions": {"name": "levels", "levels": "-1,-0.5,0,.5,1."}}),
        ("env", {"latencies": "../delays.parquet"}),
        ("agent", {"formulas": ["sub(close, mul(0.5, open))"]}),
        ("agent", {"column": "news.score"}),
        ("agent", {"dataset": "/home/me/.minari/datasets/one-v0"}),
    ],
)
def test_a_dot_of_a_number_a_column_or_a_file_is_of_no_path(kind: str, params: dict[str, Any]) -> None:
    """Such settings could be trained with, and no command took the checkpoint."""
    replace(load_checkpoint(SHIPPED), **{kind: {"name": "flat", "params": params}}).check_names()


@pytest.mark.parametrize("text", ["1.payload", "checkpoints.1a2b.payload", "0.5 a.b", "x=a.b", "a..b", ".a.b", "a.5"])
def test_a_number_in_a_path_makes_it_none_of_numbers(text: str) -> None:
    with pytest.raises(UserError, match="outside the catalogue"):
        replace(load_checkpoint(SHIPPED), agent={"name": "flat", "params": {"x": text}}).check_names()
    with pytest.raises(UserError, match="nor a module path"):
        catalog.load("agents", "0.5")
