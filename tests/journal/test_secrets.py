"""No secret is written, and nothing else is changed by that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.config import canonical
from qframe_rl.journal.ledger import Differs, Input, Ledger
from qframe_rl.journal.secrets import MASK, SHORTEST, Redactor, agree, secrets_of
from qframe_rl.journal.store import Alert, Writer, pulse, read

SECRET = "hunter2-hunter2"
# A letter that stands in nothing else of a file, so that finding it means something.
SECRETS = st.text(min_size=SHORTEST - 1, max_size=20).map(lambda text: "§" + text)


def payloads(secrets: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    words = st.text(max_size=12) | st.sampled_from(secrets)
    held = st.tuples(words, words, words).map("".join)
    numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | words | held
    keys = st.sampled_from(["time", "text", "orders", "equity", "k"])
    values = st.recursive(leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=3))
    return st.dictionaries(keys, values, max_size=4)


def recorded(ledger: Ledger, found: list[dict[str, Any]]) -> list[Any]:
    """A session that puts, takes, hears and remarks all of it; return what it went on with."""
    went = []
    for k, payload in enumerate(found):
        ledger.put("put", payload)
        went.append(ledger.take("take", lambda payload=payload: payload))
        heard = ledger.inputs(frozenset({"input"}), lambda payload=payload: [Input("input", payload)])
        went += [one.payload for one in heard]
        ledger.snapshot(k, "made", payload, payload)
        ledger.alert(Alert("rule", str(payload.get("text"))))
        ledger.commit(payload)
    return went


@settings(max_examples=60)
@given(st.data())
def test_a_journal_of_anything_replays_and_holds_no_secret(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    secrets = data.draw(st.lists(SECRETS, min_size=1, max_size=3))
    found = data.draw(st.lists(payloads(secrets), min_size=1, max_size=4))
    path = tmp_path_factory.mktemp("secrets") / "journal.db"
    writer = Writer(path, durable=False, secrets=secrets)
    went = recorded(Ledger(path, writer), found)
    writer.close()
    for file in path.parent.iterdir():
        content = file.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content
            assert canonical(secret)[1:-1].encode() not in content
    assert recorded(Ledger(path, None), found) == went, "the session went on with what a replay reads"
    again = Writer(path, durable=False)
    ledger = Ledger(path, again)
    assert recorded(ledger, found) == went
    assert ledger.recorded is None
    again.close()


@given(st.lists(SECRETS, max_size=3), st.data())
def test_names_numbers_and_form_are_never_touched(secrets: list[str], data: st.DataObject) -> None:
    plain = data.draw(payloads(secrets or ["other"]))
    text = canonical(plain)
    cleaned = json.loads(Redactor(secrets).json(text))
    if not any(secret in value for secret in secrets for value in texts(plain)):
        assert canonical(cleaned) == text
    assert shape(cleaned) == shape(plain)
    assert agree(cleaned, json.loads(text))


def texts(plain: Any) -> list[str]:
    if isinstance(plain, str):
        return [plain]
    below = plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ()
    return [text for one in below for text in texts(one)]


def shape(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: shape(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return [shape(value) for value in plain]
    return str if isinstance(plain, str) else canonical(plain)


def test_a_word_that_is_a_name_or_a_number_of_the_record_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path, secrets=["equity", "position", "12345678", '":"'])
    payload = {"equity": 12345678.5, "position": [12345678], "says": "the position"}
    ledger = Ledger(path, writer)
    ledger.put("settled", payload)
    ledger.commit()
    writer.close()
    (event,) = read(path)
    assert json.loads(event.payload) == {"equity": 12345678.5, "position": [12345678], "says": MASK}
    Ledger(path, None).put("settled", payload)


def test_a_text_that_was_masked_is_any_text_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path, secrets=[SECRET])
    ledger = Ledger(path, writer)
    ledger.put("state", {"reasons": [f"key={SECRET} refused"], "x": 0.0})
    ledger.commit()
    writer.close()
    Ledger(path, None).put("state", {"reasons": ["other words"], "x": 0.0})
    for other in ({"reasons": ["words"], "x": -0.0}, {"reasons": [7], "x": 0.0}, {"reasons": [], "x": 0.0}):
        with pytest.raises(Differs):
            Ledger(path, None).put("state", other)


def test_messages_and_the_pulse_hold_none_either(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path, secrets=[SECRET, "short"])
    writer.alert(Alert("rule", f"{SECRET} is wrong"))
    writer.commit(canonical({"error": SECRET, "other": "short"}))
    writer.close()
    assert all(SECRET.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    said = pulse(path)
    assert said is not None
    assert json.loads(said[1]) == {"error": MASK, "other": "short"}


def test_what_counts_as_a_secret() -> None:
    environment = {"BINANCE_SECRET": "x" * 8, "my_token": "y" * 9, "SORT_KEY": "equity", "PATH": "z" * 20}
    urls = {
        "alert URL 1": "tgram://123456789:abcdefghij/-100200300",
        "alert URL 2": "json://user:passw0rd@api.host.com/",
    }
    found = secrets_of(environment, urls)
    assert found["the environment variable BINANCE_SECRET"] == "x" * 8
    assert found["the environment variable my_token"] == "y" * 9
    assert "equity" not in found.values()
    assert {"123456789", "abcdefghij", "passw0rd", *urls.values()} <= set(found.values())
    assert not any("host" in value for name, value in found.items() if "part" in name)
