"""Accounts by name: where their keys are, who sees them, and that a symbol of one is one session's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import train
from experiments.cli import door
from experiments.settings import settings
from qframe_rl.config import UserError
from qframe_rl.journal.claims import Claimed, Claims, claims_folder
from qframe_rl.live.accounts import account_name, claim, keys_of, others
from qframe_rl.live.spec import SessionSpec
from qframe_rl.runner.experiment import Experiment
from qframe_rl.service.desired import SupervisedSpec
from qframe_rl.types import HOUR, Instrument

KEY, SECRET = "a-key-of-the-first-account", "a-secret-of-the-first-account"
URL = "http://127.0.0.1:8765"
HOLDER = """
import sys, time
from qframe_rl.journal.claims import Claims
Claims(sys.argv[1:], {"session": "/somewhere", "account": "main"})
print("has", flush=True)
time.sleep(600)
"""


def terms(
    *symbols: str, account: str | None = "main", orders: str = "testnet", exchange: str = "binance"
) -> SessionSpec:
    source = {"feed": "ccxt", "exchange": exchange, "environment": "testnet"}
    return SessionSpec(
        "momentum", "0" * 64, source, tuple(Instrument(s) for s in symbols), (), HOUR, 10,
        orders=orders, account=account,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("QFRAME_ACCOUNT_MAIN_API_KEY", KEY)
    monkeypatch.setenv("QFRAME_ACCOUNT_MAIN_SECRET", SECRET)
    monkeypatch.setenv("QFRAME_ACCOUNT_SUB_1_API_KEY", "another-key")
    monkeypatch.setenv("QFRAME_ACCOUNT_SUB_1_SECRET", "another-secret")
    monkeypatch.setenv("BINANCE_API_KEY", "the-exchanges-own-key")
    monkeypatch.setenv("BINANCE_SECRET", "the-exchanges-own-secret")


def test_each_account_has_its_own_keys_and_no_print_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = keys_of("binance", "main")
    assert found.ccxt() == {"apiKey": KEY, "secret": SECRET}
    assert KEY not in f"{found} {found!r} {found.model_dump_json()}"
    assert SECRET not in f"{found} {found!r} {found.model_dump_json()}"
    assert keys_of("binance").ccxt()["apiKey"] == "the-exchanges-own-key"
    monkeypatch.setenv("QFRAME_ACCOUNT_MAIN_PASSWORD", "a password")
    assert keys_of("binance", "main").ccxt()["password"] == "a password"
    with pytest.raises(UserError, match="set QFRAME_ACCOUNT_OTHER_API_KEY and QFRAME_ACCOUNT_OTHER_SECRET"):
        keys_of("binance", "other")


@pytest.mark.parametrize("name", ["", "a-b", "a b", "../x", "é", "x" * 33, "a\nb", "a/b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an account"):
        account_name(name)
    with pytest.raises(ValueError, match="no name of an account"):
        SupervisedSpec(checkpoint="ppo", account=name)


def test_a_name_is_the_same_in_small_and_large_letters() -> None:
    assert account_name("Sub_1") == "sub_1"
    spec = SupervisedSpec(checkpoint="ppo", account="Sub_1", exchange="binance")
    assert spec.options()[-2:] == ["--account", "sub_1"] or "sub_1" in spec.options()


def test_a_supervised_session_sees_the_keys_of_no_other_account() -> None:
    seen = others(dict(os.environ), "main")
    assert (seen["QFRAME_ACCOUNT_MAIN_API_KEY"], "BINANCE_API_KEY" in seen) == (KEY, True)
    assert "QFRAME_ACCOUNT_SUB_1_SECRET" not in seen
    assert not [name for name in others(dict(os.environ), None) if name.startswith("QFRAME_ACCOUNT_")]


def test_a_record_of_no_account_is_as_it_was() -> None:
    assert "account" not in terms("BTC/USDT", account=None).plain()
    assert terms("BTC/USDT").plain()["account"] == "main"


def test_a_symbol_of_an_account_is_one_sessions(tmp_path: Path) -> None:
    first = claim(terms("BTC/USDT", "ETH/USDT"), tmp_path / "first", URL)
    for other, url in (
        (terms("ETH/USDT", "SOL/USDT"), URL), (terms("ETH/USDT"), "http://localhost:8765/"),
        (terms("BTC/USDT", exchange="binance_um"), URL),
    ):  # fmt: skip
        with pytest.raises(UserError, match="is traded by the session in") as said:
            claim(other, tmp_path / "second", url)
        assert str(tmp_path / "first") in str(said.value)
        assert f"process {os.getpid()}" in str(said.value)
        assert "--account" in str(said.value)
    apart = [
        claim(terms("SOL/USDT"), tmp_path, URL),  # all or none: what was refused above is free
        claim(terms("BTC/USDT", account="sub_1"), tmp_path, URL),
        claim(terms("BTC/USDT", account=None), tmp_path, URL),
        claim(terms("BTC/USDT"), tmp_path, "http://127.0.0.1:8766"),
        claim(terms("BTC/USDT"), tmp_path, None),
        claim(terms("BTC/USDT", orders="real"), tmp_path, None),
        claim(terms("BTC/USDT:USDT"), tmp_path, URL),
    ]
    first.close()
    claim(terms("ETH/USDT"), tmp_path, URL).close()
    for one in apart:
        one.close()


def test_one_account_under_two_names_is_one_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claim(terms("BTC/USDT"), tmp_path, None)
    monkeypatch.setenv("QFRAME_ACCOUNT_SUB_1_API_KEY", KEY)
    with pytest.raises(UserError, match="whose account main has the same key"):
        claim(terms("BTC/USDT", account="sub_1"), tmp_path, None)
    first.close()
    for path in claims_folder().iterdir():
        assert KEY not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0


def test_a_claim_ends_with_its_process_however_that_ends() -> None:
    things = ["BTC/USDT of somewhere", "ETH/USDT of somewhere"]
    argv = [sys.executable, "-c", HOLDER, *things]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "has\n"
    with pytest.raises(Claimed) as other:
        Claims(["AAA", things[1]], {})
    assert other.value.what == things[1]
    assert other.value.holder == {"session": "/somewhere", "account": "main", "process": process.pid}
    process.send_signal(signal.SIGKILL)
    process.communicate()
    Claims(["AAA", *things], {}).close()


def test_where_nobody_could_tell_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set XDG_STATE_HOME to a folder of yours"):
        claim(terms("BTC/USDT"), tmp_path, None)


def test_keys_of_accounts_are_no_settings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFRAME_SERVICE_TOKEN", "qfr_something")
    assert settings(Experiment, None, [], {}) == {}
    monkeypatch.setenv("QFRAME_ACOUNT_MAIN_API_KEY", KEY)
    assert door(train.main, ["--agents", "momentum"]) == 2
    assert KEY not in capsys.readouterr().err
    assert replace(terms("BTC/USDT"), account=None).plain() == terms("BTC/USDT", account=None).plain()
