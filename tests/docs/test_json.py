"""Keys of the JSON that docs/cli.md lists are those that the commands print: no more, no fewer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import control, evaluate, export, paper, replay, report, status, train
from tests.docs.documents import ROOT


def documented(title: str) -> list[tuple[set[str], str]]:
    """Rows of the table below a title: keys, and what is said of them."""
    text = (ROOT / "docs" / "cli.md").read_text().partition("\n## JSON")[2]
    table = text.partition(f"\n{title}\n")[2].strip().partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, re.MULTILINE)
    return [(set(re.findall(r"`(\w+)`", keys)), said) for keys, said in rows]


def keys(title: str) -> set[str]:
    return set().union(*(names for names, _ in documented(title)))


def listed(title: str, key: str) -> set[str]:
    """Keys of the objects that a row speaks of: names in backticks, those in brackets behind one explain it."""
    (said,) = (said for names, said in documented(title) if key in names)
    before = None
    while before != said:
        before, said = said, re.sub(r"\([^()]*\)", "", said)
    return set(re.findall(r"`(\w+)`", said))


@pytest.mark.slow
def test_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    quick = ["--agents", "momentum,flat", "--bars", "2000", "--json"]
    trained = train.main(quick)
    assert trained is not None and set(trained) == keys("`train`")
    row = listed("`train`", "leaderboard")
    assert set(trained["leaderboard"][0]) == row
    for key in ("choice", "data"):
        assert set(trained[key]) == listed("`train`", key)
    checkpoint = trained["checkpoint"]

    scored = evaluate.main([checkpoint, "--json"])
    assert scored is not None and set(scored) == keys("`evaluate`")
    assert set(scored["results"][0]) == row | {"checkpoint", "dust", "bars", "journal", "journal_hash"}

    studied = evaluate.main(["momentum", "--walk-forward", "2", "--bars", "4000", "--json"])
    assert studied is not None and set(studied) == keys("`evaluate` with a study")
    assert set(studied["leaderboard"][0]) == row

    reported = report.main([checkpoint, "--out", "reported", "--json"])
    board = {"text", "picture", "boards"}
    assert reported is not None and set(reported) == keys("`report`") - board
    assert set(reported["reports"][0]) == listed("`report`", "reports")

    traded = paper.main([checkpoint, "--speed", "max", "--json"])
    assert traded is not None and set(traded) == keys("`paper`")
    session = str(Path(traded["journal"]).parent)
    again = replay.main([session, "--json"])
    assert again is not None and set(again) == keys("`replay`")
    verified = replay.main([session, "--verify", "--json"])
    assert verified is not None and set(verified) == {"events", "head"}
    shown = status.main([session, "--json"])
    assert shown is not None and set(shown) == keys("`status`")
    said: dict[str, Any] = shown["sessions"][0]
    assert set(said) == listed("`status`", "sessions") - {"broken", "locked", "paused", "shadows", "refit"}
    exported = export.main([session, "--fills", "fills.csv", "--json"])
    assert exported is not None and set(exported) == keys("`export`")
    told = control.main(["halt", session, "--json"])
    assert told is not None and set(told) == keys("`control`") - {"symbol", "id", "units", "state"}
    json.dumps([trained, scored, studied, reported, traded, again, shown, exported, told], allow_nan=False)
