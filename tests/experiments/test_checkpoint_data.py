"""What a checkpoint knows of its data: every door that takes one finds its bars, or says what is missing."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, paper, report
from experiments.checkpoints import SHIPPED
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import Unavailable, UserError
from qframe_rl.deploy import data_for
from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.servers import ServerAddress
from qframe_rl.types import HOUR, parse_time, timeframe_name
from tests.experiments.test_doors import run

PLACES = {shipped.name: Path(__file__).parents[2] / "checkpoints" / shipped.name for shipped in SHIPPED}
BEFORE, WITHIN = 700, 150
"""Bars before the test period and in it."""


def stored(root: Path, checkpoint: Checkpoint) -> Path:
    """A store with random walks of all that the checkpoint was trained on, around the start of its test period."""
    begin = parse_time(checkpoint.provenance["periods"]["test"][-1][0])
    opens = begin + checkpoint.bar_ns * np.arange(-BEFORE, WITHIN, dtype=np.int64)
    rng = np.random.default_rng(5)
    for instrument in checkpoint.instruments:
        close = 100.0 * np.exp(np.cumsum(0.005 * rng.standard_normal(len(opens))))
        opening = np.concatenate([[100.0], close[:-1]])
        high, low = 1.001 * np.maximum(opening, close), 0.999 * np.minimum(opening, close)
        market = listing("binance", instrument.symbol)
        series = Series(opens, np.column_stack([opening, high, low, close, np.full(len(opens), 1e6)]))
        parquet.write(store.bars_path(root, market, timeframe_name(checkpoint.bar_ns)), PRICES, series)
        if instrument.kind == "perpetual":
            due = np.arange(opens[0] // (8 * HOUR) * 8 * HOUR, opens[-1] + 9 * HOUR, 8 * HOUR, dtype=np.int64)
            parquet.write(store.rates_path(root, market), RATES, Series(due, np.full((len(due), 1), 1e-4)))
    return root


def said(err: str) -> str:
    """The sentence that a door ends with."""
    return " ".join(err.split("error: ")[1].split())


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QFRAME_DATA", raising=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name if name in ("ppo", "funding_arbitrage") else pytest.param(name, marks=pytest.mark.long) for name in PLACES],
)
def test_a_place_is_all_that_a_shipped_checkpoint_must_be_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(PLACES[name])
    data = ["--data", str(stored(tmp_path / "store", checkpoint))]
    code, out, err = run(evaluate.main, [str(PLACES[name]), *data, "--json"], capsys)
    assert code == 0, err
    own = json.loads(out.splitlines()[-1])["results"][0]
    assert own["bars"] == WITHIN, "of the test period alone: the bars before it were trained on"
    code, out, err = run(paper.main, [str(PLACES[name]), "--feed", "replay", *data, "--json"], capsys)
    assert code == 0, err
    traded = json.loads(out.splitlines()[-1])
    assert (traded["final_equity"], traded["journal_hash"]) == (own["final_equity"], own["journal_hash"])
    code, _, err = run(report.main, [str(PLACES[name]), *data], capsys)
    assert code == 0, err
    page = (tmp_path / "runs" / "evaluate" / name / "report.html").read_text()
    assert str(tmp_path / "store") in page
    assert "synthetic:" not in page


@pytest.mark.slow
def test_a_study_of_a_checkpoint_finds_its_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = PLACES["adaptive_mean_reversion"]
    data = ["--data", str(stored(tmp_path / "store", load_checkpoint(place)))]
    code, out, err = run(evaluate.main, [str(place), *data, "--walk-forward", "2", "--json"], capsys)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["data"]["symbols"] == ["BTC/USDT"]


def test_bars_that_stand_in_are_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(evaluate.main, [str(PLACES["adaptive_mean_reversion"]), "--json"], capsys)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["results"][0]["bars"] == 8760
    assert "stand in for those that the checkpoint was made with" in " ".join(err.split())
    assert "have changed since" not in err


def test_what_is_named_goes_before_what_the_checkpoint_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = PLACES["ppo"]
    root = stored(tmp_path / "store", load_checkpoint(place))
    shutil.copytree(root / "ohlcv" / "binance" / "BTC-USDT", root / "ohlcv" / "binance" / "ETH-USDT")
    code, out, err = run(evaluate.main, [str(place), "--data", str(root), "--symbols", "ETH/USDT", "--json"], capsys)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["results"][0]["bars"] > WITHIN, "all that there is of another coin"
    assert "ETH/USDT from" in err


def test_a_checkpoint_of_a_store_takes_a_synthetic_market(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = load_checkpoint(PLACES["ppo"])
    known = {**checkpoint.provenance["trained"], "data": str(tmp_path / "gone"), "since": "2017-08-17"}
    provenance = {key: value for key, value in checkpoint.provenance.items() if key != "trained"} | {"load": known}
    replace(checkpoint, provenance=provenance).save(tmp_path / "made")
    synthetic = ["--data", "synthetic:gbm", "--bars", "900", "--json"]
    code, out, err = run(evaluate.main, [str(tmp_path / "made"), *synthetic], capsys)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["results"][0]["bars"] > 700
    code, _, err = run(evaluate.main, [str(tmp_path / "made")], capsys)
    assert code == 2
    assert "gone" in said(err)


@pytest.mark.parametrize("door_main", [evaluate.main, paper.main, report.main])
def test_what_a_store_does_not_have_is_said_with_the_mend(
    door_main: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = PLACES["dmn"]
    checkpoint = load_checkpoint(place)
    root = stored(tmp_path / "store", checkpoint)
    lost = checkpoint.instruments[17].symbol
    shutil.rmtree(root / "ohlcv" / "binance" / lost.replace("/", "-"))
    code, _, err = run(door_main, [str(place), "--data", str(root)], capsys)
    assert code == 2
    assert f"binance has no {lost}" in said(err)
    assert "experiments.download" in said(err)
    for symbol in (i.symbol for i in checkpoint.instruments):
        file = store.bars_path(root, listing("binance", symbol), "1d")
        if file.exists():
            file.rename(file.with_name("4h.parquet"))
    code, _, err = run(door_main, [str(place), "--data", str(root)], capsys)
    assert code == 2
    assert "has no 1d bars" in said(err)
    assert "experiments.download" in said(err)


@pytest.mark.parametrize("door_main", [evaluate.main, paper.main, report.main])
def test_bars_of_another_time_are_refused_with_the_mend(
    door_main: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(PLACES["ppo"])
    earlier = {**checkpoint.provenance, "periods": {"test": [["2019-01-01 00:00:00", "2019-02-01 00:00:00"]]}}
    root = stored(tmp_path / "store", replace(checkpoint, provenance=earlier))
    code, _, err = run(door_main, [str(PLACES["ppo"]), "--data", str(root)], capsys)
    assert code == 2
    assert "there is no bar from 2023-12-30" in said(err)
    assert "--from" in said(err)


def test_a_file_of_one_coin_does_not_fit_an_agent_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = stored(tmp_path / "store", load_checkpoint(PLACES["dmn"]))
    file = store.bars_path(root, listing("binance", "BTC/USDT"), "1d")
    named = file.rename(tmp_path / "BTC-USDT.parquet")
    code, _, err = run(evaluate.main, [str(PLACES["dmn"]), "--data", str(named)], capsys)
    assert code == 2
    assert "instruments 1, trained with 43" in said(err)


def test_a_report_of_a_run_has_its_own_bars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "choice.json").write_text("{}")
    for more in ([], ["--board"]):
        code, _, err = run(report.main, [str(run_folder), "--data", "synthetic:gbm", *more], capsys)
        assert code == 2
        assert "is a run" in said(err) or "--board" in said(err)


def test_one_of_an_older_version_of_its_agent_is_refused_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(PLACES["adaptive_mean_reversion"])
    older = {**checkpoint.agent, "params": {"regime": "hmm", "ratio_bars": 150}}
    replace(checkpoint, agent=older).save(tmp_path / "older")
    for door_main, more in ((evaluate.main, []), (evaluate.main, ["--walk-forward", "2"]), (paper.main, [])):
        code, _, err = run(door_main, [str(tmp_path / "older"), *more], capsys)
        assert code == 2
        assert "made by another version of adaptive_mean_reversion; train it again" in said(err)
    code, _, err = run(report.main, [str(tmp_path / "older")], capsys)
    assert code == 2
    assert "made by another version" in said(err)


def test_a_database_that_a_checkpoint_names_is_sent_no_password_unless_the_user_names_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def to(address: ServerAddress, _: str) -> None:
        asked.append(address.url)
        raise Unavailable("nobody is asked here.")

    monkeypatch.setattr("qframe_rl.feeds.database.BoundedConnection.to", to)
    monkeypatch.setenv("QFRAME_DATA_PASSWORD", "s3cret-word")
    found, url, place = (
        load_checkpoint(PLACES["adaptive_mean_reversion"]),
        "postgresql://u@127.0.0.1:1/x",
        tmp_path / "theirs",
    )
    load = {**found.provenance["load"], "data": url, "symbols": [i.symbol for i in found.instruments]}
    replace(found, provenance={**found.provenance, "load": load}).save(place)
    doors = [(evaluate.main, []), (evaluate.main, ["--walk-forward", "2"]), (paper.main, []), (report.main, [])]
    for main, more in doors:
        code, _, err = run(main, [str(place), *more], capsys)
        assert code == 2
        assert f"names the database {url}" in said(err)
        assert f"give --data {url}, or set QFRAME_DATA={url}" in said(err)
    assert asked == []
    assert data_for(load_checkpoint(place), {}, live=True).data == url, "a live feed asks the exchange"
    for main, more in doors:
        assert run(main, [str(place), *more, "--data", url], capsys)[0] == 1
    monkeypatch.setenv("QFRAME_DATA", "postgresql://u:other@127.0.0.1:1/x")
    for main, more in doors:
        assert run(main, [str(place), *more], capsys)[0] == 1
    assert set(asked) == {"postgresql://u:s3cret-word@127.0.0.1:1/x"}
    assert len(asked) == 8


def test_a_checkpoint_sets_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "the user's own")
    found = load_checkpoint(PLACES["adaptive_mean_reversion"])
    for key in ("load", "trained"):
        data = {**found.provenance["load"], "data": "postgresql://u:theirs@127.0.0.1:1/x"}
        replace(found, provenance={**found.provenance, key: data}).save(tmp_path / key)
        with pytest.raises(UserError, match="has a password in it") as told:
            load_checkpoint(tmp_path / key)
        assert "theirs" not in str(told.value)
    assert os.environ["PGPASSWORD"] == "the user's own"
