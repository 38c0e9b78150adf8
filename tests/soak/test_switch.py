"""A slice of the matrix of faults and commands; ``python -m tests.soak.switch`` runs all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from qframe_rl.journal.store import read
from tests.soak.switch import cell, trained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield trained(tmp_path_factory.mktemp("switch"))


SLICE = [
    pytest.param("black-hole", "order", marks=pytest.mark.long),
    pytest.param("500", "account", marks=pytest.mark.long),
    pytest.param("black-hole", "market", marks=pytest.mark.long),
    ("stalled", "stream"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "where"), SLICE)
def test_commands_are_obeyed_within_two_seconds_while_a_fault_stays(
    place: Path, tmp_path: Path, kind: str, where: str
) -> None:
    took = cell(place, tmp_path, kind, where, ["flatten", "halt", "reduce"])
    assert max(took.values()) < 2.0, took


@pytest.mark.long
def test_an_order_that_stays_unknown_holds_up_no_command(place: Path, tmp_path: Path) -> None:
    """The case that found it: the answer to a post is lost, then every query fails, then `control flatten`."""
    took = cell(place, tmp_path, "drop-after", "order", ["flatten"])
    assert took["flatten"] < 2.0
    events = [(event.kind, json.loads(event.payload)) for event in read(tmp_path / "journal.db")]
    unknown = {p["name"] for kind, p in events if kind == "outcome" and p["status"] == "unknown"}
    assert unknown
    obeyed = next(k for k, (kind, payload) in enumerate(events) if kind == "state" and "FLATTEN" in str(payload))
    assert not {p["name"] for kind, p in events[:obeyed] if kind == "resolved"}
