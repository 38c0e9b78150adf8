"""A procedure on the live bars of the rehearsal exchange has the hash of the study on the bars that were downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import build
from qframe_rl.deploy import data_for
from qframe_rl.feeds.download import download
from qframe_rl.feeds.load import load
from qframe_rl.journal.store import NAME, read
from qframe_rl.live.paper import paper
from qframe_rl.live.refits import JournalledModels, procedure, stated
from qframe_rl.refit import recipe_of
from qframe_rl.rehearsal import RehearsalConfig, serve
from qframe_rl.runner.log import Silent
from qframe_rl.runner.refit_beside import keep_past
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import study
from qframe_rl.types import HOUR, iso
from tests.experiments.test_rehearsed_paper import MS, N_BARS, START, SYMBOLS, live, markets, moments, same_again
from tests.live.test_refits import NONE, InlineTrainer

BARS = 480


@pytest.mark.long
def test_a_live_session_of_a_procedure_is_its_study(tmp_path: Path) -> None:
    first, end = moments(BARS)
    root, folder = tmp_path / "store", tmp_path / "session"
    with serve(markets(), speed="max") as exchange:
        since, until = START - HOUR, START + (N_BARS - 1) * HOUR
        download("binance", SYMBOLS, "1h", since, until, root=root, url=exchange.url, pause_s=0.0)
    asked = {
        "data": {"data": str(root), "symbols": SYMBOLS, "until": iso(end * MS)}, "agents": ("mean_reversion",),
        "agent": {"mean_reversion": {"entry": "fitted", "mean_bars": 24, "regime_bars": 60}}, "refit": "10d",
        "train": 900, "resamples": 100,
    }  # fmt: skip
    done = study(build(Study, asked, "test"), tmp_path / "runs", Silent(), ledger=tmp_path / "ledger")
    place = done.folder / "models" / "mean_reversion" / "0000"
    checkpoint = load_checkpoint(place)
    terms = stated(recipe_of(checkpoint, "10d", NONE, None))
    past = load(data_for(checkpoint, {"until": iso(first * MS)}))
    with serve(markets(), RehearsalConfig(prints=4), start_ms=first + 5_000) as exchange:
        opened = live(place, exchange, folder, end + 10_000, refit=terms)
        keep_past(folder, past, data_for(checkpoint, {}))
        models = JournalledModels(folder, opened.terms, InlineTrainer(folder))
        agent = procedure(opened.agent, opened.terms, models)
        result = paper(
            opened.market, agent, opened.feed, opened.terms, folder, quotes=opened.quotes, durable=False,
            process={"checkpoint": str(place)},
        )  # fmt: skip
    assert result.bars == BARS
    assert result.digest == done.facts["procedure"]["hashes"]["mean_reversion"]
    said = [json.loads(event.payload) for event in read(folder / NAME) if event.kind == "refit"]
    assert [(one["number"], one["state"]) for one in said] == [(1, "taken"), (2, "taken")]
    same_again(folder, place, result.digest)
