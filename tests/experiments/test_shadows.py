"""Checkpoints in the shadow of a session: each comes to what its own session comes to, whatever happens to either."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import paper, shadowing, status, train
from experiments.cli import door
from qframe_rl.config import Unavailable
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import NAME, Writer, last_events, pulse, verify
from qframe_rl.live.followed import BEFORE, FOLDER, FollowedFeed, keep_before
from qframe_rl.live.shadows import Shadows
from qframe_rl.types import HOUR
from tests.soak.children import started

PERIOD = ("--from", "2020-04-10", "--to", "2020-04-25")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    assert door(train.main, ["--bars", "3000", "--agents", "momentum,mean_reversion", *places]) == 0
    return next((folder / "runs").glob("*/agents"))


@pytest.fixture(scope="module")
def own(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Hashes of sessions of their own, by name."""
    found = {}
    for name in ("momentum-0-0", "mean_reversion-0-0", "random-0-0"):
        out = tmp_path_factory.mktemp(name)
        assert door(paper.main, [str(trained / name), *PERIOD, "--out", str(out)]) == 0
        found[name] = hash_of(out)
    assert len(set(found.values())) == 3
    yield found


def hash_of(folder: Path) -> str:
    (last,) = last_events(folder / NAME, "settled", 2**62, 1)
    return str(json.loads(last.payload)["hash"])


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(paper.main, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    last = (out.splitlines() or [""])[-1]
    return code, json.loads(last) if last.startswith("{") else {}, " ".join(err.split())


@pytest.mark.parametrize("name", ["momentum-0-0", pytest.param("mean_reversion-0-0", marks=pytest.mark.long)])
def test_a_shadow_comes_to_what_its_own_session_comes_to(
    trained: Path, own: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    others = [other for other in own if other != name]
    shadows = [word for other in others for word in ("--shadow", trained / other)]
    code, said, err = run(capsys, trained / name, *PERIOD, "--out", tmp_path, *shadows)
    assert code == 0, err
    assert said["journal_hash"] == own[name]
    for other in others:
        assert hash_of(tmp_path / FOLDER / other) == own[other]
        assert said["shadows"][other]["bars"] == said["bars"] == 15 * 24
        assert said["shadows"][other]["at_once"] == 2
        assert f"shadow {other}, one of 2 " in err
    assert status.look(tmp_path)["shadows"] == said["shadows"], "as they ended, not as the session last saw them"
    # A window is longer than the other: what lay before the first bar is kept for the shorter.
    assert (tmp_path / BEFORE).exists() == (name == "momentum-0-0")


class Child:
    """A process that runs."""

    pid = 2**22 - 1

    def poll(self) -> None:
        """It runs still."""


def test_no_shadow_begins_beside_a_session_that_does_not(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would follow the one that does, and nobody would know of it."""
    argv = (trained / "momentum-0-0", "--from", "2020-04-10", "--to", "2020-04-12", "--out", tmp_path)
    assert run(capsys, *argv)[0] == 0
    begun: list[Any] = []
    monkeypatch.setattr(shadowing.subprocess, "Popen", lambda *given, **more: begun.append(given) or Child())
    held = Writer(tmp_path / NAME, durable=False)
    code, _, err = run(capsys, *argv, "--shadow", trained / "random-0-0")
    held.close()
    assert code == 2 and "is being written by another process" in err
    assert not begun


def test_what_fails_for_a_moment_ends_no_watch_over_shadows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / NAME, [("session", {"bar_ns": HOUR, "source": {}})])
    fails, begun, notes = [Unavailable("it is opened and closed all the time"), OSError(11, "no process")], Event(), []

    def failing(*given: Any, **more: Any) -> Any:
        if fails:
            raise fails.pop()
        begun.set()
        return Child()

    monkeypatch.setattr(shadowing, "_window", lambda opened, place: 1)
    monkeypatch.setattr("qframe_rl.live.spec.terms_of", lambda path: path)
    monkeypatch.setattr(shadowing.subprocess, "Popen", failing)
    made = shadowing.Shadowing(tmp_path, {"a": tmp_path}, notes.append)
    made.start(SimpleNamespace(terms=SimpleNamespace(execute=None)))  # type: ignore[arg-type]
    made.begin()
    assert begun.wait(30.0), "its thread has ended"
    made._ending.set()
    made._thread.join()
    assert len(notes) == 2 and "no process; the session goes on without, and it is tried again" in notes[0]


def test_who_follows_later_does_not_trade_the_past(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, trained / "momentum-0-0", *PERIOD, "--out", tmp_path)[0] == 0
    follow = (trained / "mean_reversion-0-0", "--feed", "journal", "--journal", tmp_path, "--out", tmp_path / "later")
    code, said, err = run(capsys, *follow)
    assert (code, said["bars"]) == (0, 0), err
    (first,) = last_events(tmp_path / "later" / NAME, "started", 2**62, 1)
    assert json.loads(first.payload)["time"] == pulse_time(tmp_path)


def pulse_time(folder: Path) -> int:
    said = pulse(folder / NAME)
    assert said is not None
    return int(json.loads(said[1])["time"])


def test_growth_is_compared_without_what_was_paid_in(tmp_path: Path) -> None:
    for folder, rate in ((tmp_path, 0.0), (tmp_path / FOLDER / "a", 0.01)):
        folder.mkdir(parents=True, exist_ok=True)
        equity, events = 100.0, [("session", {"bar_ns": HOUR, "source": {}})]
        events.append(("started", {"time": 0, "account": {"equity": equity}}))
        for bar in range(1, 201):
            if bar == 100:
                events.append(("transferred", {"units": 10**12, "state": "SETTLED", "id": "x"}))
                equity += 10_000.0
            equity *= 2.718281828459045 ** (rate * (1 if bar % 2 else 0.5))
            events.append(("settled", {"time": bar * HOUR, "account": {"equity": equity}}))
        write(folder / NAME, events)
    judged = Shadows(tmp_path, ["a", "b"], over=["b"])
    assert judged.look()["a"]["mean"] == pytest.approx(0.0075, rel=1e-9)
    assert judged.look()["a"]["answer"] == "ahead"
    assert judged.look()["a"]["bars"] == 200
    assert not judged._session.bars, "kept for one that nobody runs any more"


def write(path: Path, events: list[tuple[str, dict[str, Any]]]) -> None:
    from qframe_rl.config import canonical

    writer = Writer(path, durable=False)
    for kind, payload in events:
        writer.append(kind, canonical(payload))
    writer.commit()
    writer.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--feed", "journal"], "add --journal FOLDER"),
        (["--journal", "here"], "are of --feed journal"),
        (["--feed", "journal", "--journal", "nowhere"], "nowhere"),
        (["--feed", "journal", "--journal", "nowhere", "--from", "2020-01-01"], "are not of --feed journal"),
        (["--feed", "journal", "--journal", "nowhere", "--symbols", "A/B"], "leave the options of data out"),
        (["--shadow", "SAME", "--shadow", "SAME"], "is called momentum-0-0 already"),
        (["--shadow", "SAME"] * 9, "at most 8"),
        (["--shadow", "dmn"], "dmn"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    place = trained / "momentum-0-0"
    words = [str(place) if word == "SAME" else word for word in options]
    code, _, err = run(capsys, place, "--out", tmp_path / "session", *words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "session").exists()


def test_a_journal_that_was_changed_for_another_is_not_followed_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one"
    assert run(capsys, trained / "momentum-0-0", *PERIOD, "--out", one)[0] == 0
    follow = (
        trained / "random-0-0",
        "--feed",
        "journal",
        "--journal",
        one,
        "--begin",
        "start",
        "--out",
        tmp_path / "f",
    )
    assert run(capsys, *follow)[0] == 0
    for path in one.glob("*"):
        path.unlink()
    assert run(capsys, trained / "mean_reversion-0-0", *PERIOD, "--out", one)[0] == 0
    code, _, err = run(capsys, *follow)
    assert code == 2
    assert "is not the journal that was followed before" in err


def test_a_file_of_earlier_bars_that_is_spoiled_is_named(trained: Path, tmp_path: Path) -> None:
    assert door(paper.main, [str(trained / "momentum-0-0"), *PERIOD, "--out", str(tmp_path)]) == 0
    bars = list(FollowedFeed(tmp_path / NAME, 30, "start"))
    keep_before(tmp_path / NAME, bars[:1])
    for text in ("", "[]", '{"bars": [{}]}', '{"bars": [{"time": 1, "values": [[1]]}]}'):
        (tmp_path / BEFORE).write_text(text)
        with pytest.raises(ValueError, match=BEFORE):
            list(FollowedFeed(tmp_path / NAME, 10_000, "start"))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_kills_of_session_and_shadow_change_nothing(trained: Path, own: dict[str, str], tmp_path: Path) -> None:
    shadow, rng = tmp_path / FOLDER / "mean_reversion-0-0", random.Random(1)
    argv = [str(trained / "momentum-0-0"), *PERIOD, "--out", str(tmp_path), "--speed", "250000x"]
    argv += ["--shadow", str(trained / "mean_reversion-0-0")]
    for _ in range(2):
        child = started("experiments.paper", argv, tmp_path.with_suffix(".log"))
        deadline = time.monotonic() + 60.0
        while not (shadow / NAME).exists() or pulse(shadow / NAME) is None:
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 0.5))
        process = writer_of(shadow / NAME)
        if process is not None:
            os.kill(process, signal.SIGKILL)
        time.sleep(rng.uniform(0.0, 0.5))
        child.kill()
        child.wait()
    assert started("experiments.paper", argv, tmp_path.with_suffix(".log")).wait() == 0
    verify(tmp_path / NAME)
    assert hash_of(tmp_path) == own["momentum-0-0"]
    assert hash_of(shadow) == own["mean_reversion-0-0"]
    shown = status.look(tmp_path)
    assert shown["state"] == "ACTIVE"
