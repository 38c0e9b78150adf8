"""What was chained anew by somebody else is refused in one sentence, wherever a session or who looks on reads it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments.status import look
from qframe_rl.config import UserError
from qframe_rl.journal.lock import BEGINNING
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import link, verify
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.live.spec import terms_of

V0 = Path(__file__).parents[1] / "upgrade" / "v0"


def forged(folder: Path, kind: str, change: dict[str, Any] | str) -> Path:
    """The finished session with the first event of a kind changed, chained anew."""
    shutil.copytree(V0 / "finished", folder)
    path = folder / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for name in ("no_update", "no_delete"):
            database.execute(f"DROP TRIGGER {name}")
        seq, payload = database.execute(
            "SELECT seq, payload FROM events WHERE kind = ? ORDER BY seq", (kind,)
        ).fetchone()
        text = change if isinstance(change, str) else json.dumps(json.loads(payload) | change)
        database.execute("UPDATE events SET payload = ? WHERE seq = ?", (text, seq))
        digest, rows = BEGINNING.hash, database.execute("SELECT seq, time, kind, payload FROM events ORDER BY seq")
        for number, *rest in rows.fetchall():
            digest = link(digest, number, *rest)
            database.execute("UPDATE events SET hash = ? WHERE seq = ?", (digest, number))
            last = number
    path.with_name("journal.db.head").write_text(f"{last:020d} {digest.hex()} {1:010d}\n")
    assert verify(path).seq == last
    return path


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("session", {"instruments": [{"symbol": "A/B", "taker_fee": -0.5}]}), ("session", {"bar_ns": 0}),
        ("session", {"window": 10**18}), ("session", {"more": 1}), ("session", "[]"), ("session", "[" * 100_000),
        ("bar", {"values": [[1.0]]}), ("bar", {"time": 10**30}), ("bar", {"values": [[{}] * 5]}),
        ("bar", {"final": [1]}),
        ("decision", {"asked": {"quantity": [float("nan")]}}), ("session", {"source": {"feed": float("inf")}}),
        ("limits", {"max_drawdown": []}), ("limits", "3"), ("decision", {"time": 10**17 * 5}),
        ("snapshot", {"time": "now"}),
    ],
)  # fmt: skip
def test_a_forged_event_is_refused_in_one_sentence(tmp_path: Path, kind: str, change: dict[str, Any] | str) -> None:
    path = forged(tmp_path / "session", kind, change)
    with pytest.raises(UserError) as refused:
        replay(*reopened(path, V0 / "checkpoint"), path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"time": 1}', "[" * 100_000])
def test_status_says_which_session_is_broken_and_shows_the_others(tmp_path: Path, state: str) -> None:
    shutil.copytree(V0 / "finished", tmp_path / "good")
    shutil.copytree(V0 / "finished", tmp_path / "bad")
    with closing(sqlite3.connect(tmp_path / "bad" / "journal.db")) as database:
        database.execute("UPDATE pulse SET state = ?", (state,))
        database.commit()
    assert "what its writer said last is not readable" in look(tmp_path / "bad")["broken"]
    assert look(tmp_path / "good")["bars"] == 96


def test_an_event_of_each_kind_of_the_old_journal_is_what_a_session_writes(tmp_path: Path) -> None:
    path = V0 / "finished" / "journal.db"
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as database:
        for row in database.execute("SELECT seq, kind, payload FROM events"):
            assert parsed(path, *row)
    terms = terms_of(path)
    assert terms is not None
    assert terms.instruments[0].symbol == "AAA/USDT"
