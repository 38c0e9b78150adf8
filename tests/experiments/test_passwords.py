"""Passwords of servers: never among the arguments of a command, which others on the machine read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import download, paper, relay, serve, supervise, token, train, worker
from experiments.cli import door
from qframe_rl.journal.secrets import MASK, Redactor, secrets_of
from qframe_rl.servers import DATA_PASSWORD, address_of, has_password, locked

WORD = "s3cret-word"
STORE, TO = "QFRAME_STORE_PASSWORD", "QFRAME_RELAY_TO_PASSWORD"
URL = f"postgresql://guarded:{WORD}@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("main", "argv", "variable"),
    [
        (serve.main, ["--store", URL], STORE),
        (token.main, ["list", f"--store={URL}"], STORE),
        (supervise.main, ["list", "--store", f"postgresql://h/x?password={WORD}"], STORE),
        (supervise.main, ["add", "a", "--checkpoint", "c", "--with", f"data={URL}"], DATA_PASSWORD),
        (worker.main, ["--data", URL], DATA_PASSWORD),
        (train.main, ["--data", URL], DATA_PASSWORD),
        (train.main, ["--set", f"data.data={URL}"], DATA_PASSWORD),
        (train.main, ["--set", f"data.data='postgresql://guarded:{WORD} @x/y'"], DATA_PASSWORD),
        (paper.main, ["checkpoint", "--data", URL], DATA_PASSWORD),
        (download.main, ["--to", URL], DATA_PASSWORD),
        (relay.main, ["--to", URL], TO),
        (relay.main, ["--to", f"redis://:{WORD}@h"], TO),
        (relay.main, ["--to", f"rediss://h?password={WORD}"], TO),
        (relay.main, ["--from", f"redis://:{WORD}@h"], "QFRAME_RELAY_FROM_PASSWORD"),
        (relay.main, ["--to", f"influxdb://root:{WORD}@h/d"], TO),
        (relay.main, ["--to", f"influxdbs://h/d?org=o&token={WORD}"], "INFLUX_TOKEN"),
    ],
)
def test_a_password_on_the_command_line_is_refused_by_one_sentence_that_names_its_variable(
    main: Callable[..., dict[str, Any] | None], argv: list[str], variable: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert door(main, argv) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"give it as the variable {variable}." in said.err
    assert WORD not in said.err + said.out
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_a_variable_gives_an_address_the_password_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_PASSWORD", "p@ss/w:rd?#%")
    schemes = ["postgresql", "redis", "influxdb"]
    for bare in (
        "redis://127.0.0.1:1/0", "influxdb://root@h/d?org=o", "postgresql://guarded@h:1/x", "postgresql:///x?host=%2Ftmp",
    ):  # fmt: skip
        made = address_of(locked(bare, "X_PASSWORD"), schemes, "", hostless=True)
        assert made.parts.password is not None
        assert "p@ss/w:rd?#%" in made.secrets
        assert has_password(made.url)
        assert not has_password(made.place)
        assert made.told("no p@ss/w:rd?#% here") == "no *** here"
        assert locked(bare, "Y_PASSWORD") == bare
    assert locked(URL, "X_PASSWORD") == URL, "its own counts"


@pytest.mark.parametrize("name", [STORE, TO, "QFRAME_RELAY_FROM_PASSWORD", DATA_PASSWORD])
def test_no_journal_and_no_log_has_it(name: str) -> None:
    found = secrets_of({name: WORD}, {})
    assert json.loads(Redactor(found.values()).json(json.dumps({"why": f"no {WORD}"}))) == {"why": MASK}


def test_it_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with settings takes the variables of servers for none of them."""
    for name in (STORE, TO, DATA_PASSWORD):
        monkeypatch.setenv(name, WORD)
    from experiments.settings import settings
    from qframe_rl.runner.experiment import Experiment

    assert settings(Experiment, None, [], {}) == {}
