"""What is known of sessions is looked at again when something moved, and no sooner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qframe_rl.service import known
from qframe_rl.service.known import KnownSessions
from qframe_rl.service.places import Places
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.stream import EventHub
from tests.service.places import Session


@pytest.mark.parametrize("running", [True, False])
def test_one_at_rest_is_not_looked_at_again_until_it_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    one = Session(tmp_path / "a")
    one.bar(2)
    if not running:
        one.close()
    looks: list[Any] = []
    look, now = known.look, [100.0]
    monkeypatch.setattr(known, "look", lambda place: looks.append(place) or look(place))
    monkeypatch.setattr(known.time, "monotonic", lambda: now[0])
    store = ServiceStore(tmp_path / "state")
    hub = EventHub(Places([tmp_path]), store)
    sessions = KnownSessions(hub)
    (found,) = hub.places.sessions().values()
    assert sessions.kept(found.id) is None
    first = sessions.ready(found)
    assert sessions.kept(found.id) == first
    now[0] += 5.0
    sessions.ready(found)
    assert len(looks) == (2 if running else 1)
    now[0] += 40.0
    sessions.ready(found)
    assert len(looks) == (3 if running else 2)
    hub.moved[found.id] = 99
    assert sessions.kept(found.id) is None
    hub.broken[found.id] = "it is corrupt"
    assert sessions.summary(found)["state"] == "broken"
    store.close()
    if running:
        one.close()
