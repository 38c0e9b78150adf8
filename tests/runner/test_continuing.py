"""A study whose strategy is trained anew at a cadence: one account, and models exchanged at stated bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.deploy import deployed
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.feeds.load import load
from qframe_rl.journal.record_file import read_record
from qframe_rl.listeners import Journal
from qframe_rl.refit import PROCEDURE, Recipe
from qframe_rl.runner.backtest import part
from qframe_rl.runner.log import Silent
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import Studied, study
from qframe_rl.session import Session
from qframe_rl.types import Record, Segment, iso
from qframe_rl.venues.simulated import SimulatedVenue

DAYS, EVERY, LAG, BARS = 10, 240, 24, 1500
SMALL: dict[str, Any] = {
    "data": {"data": "synthetic:ar1", "bars": BARS, "seed": 3},
    "agents": ("direct_rl", "mean_reversion"),
    "agent": {
        "direct_rl": {"sequence_bars": 16, "epochs": 2},
        "mean_reversion": {"entry": "fitted", "mean_bars": 24, "regime_bars": 60},
    },
    "refit": f"{DAYS}d",
    "train": 700,
    "resamples": 100,
}

ALONE: dict[str, Any] = {"agents": ("direct_rl",), "agent": {"direct_rl": SMALL["agent"]["direct_rl"]}}


def studied(place: Path, **more: Any) -> Studied:
    return study(build(Study, {**SMALL, **more}, "test"), place, Silent())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    return studied(tmp_path_factory.mktemp("study"))


def models(done: Studied, name: str = "direct_rl") -> list[Checkpoint]:
    return [load_checkpoint(place) for place in sorted((done.folder / "models" / name).iterdir())]


def by_hand(done: Studied, name: str) -> Record:
    """One account, bar by bar, asking the model whose turn it is; each begins as in a session of its own."""
    history, agents = done.history, []
    what = (history.instruments, history.columns, history.bar_ns, "here", history.theory)
    for model in models(done, name):
        market, agent = deployed(model, *what)
        agents.append(agent)
    window = max(market.interface.window, *(agent.window for agent in agents))
    first = BARS - len(agents) * EVERY
    journal = Journal(market.instruments, market.bar_ns)
    feed = HistoryFeed(history, Segment(first, BARS), window)
    session = Session(feed, SimulatedVenue(market.rules, market.cash), window, journal)
    view = session.start()
    for decision in range(len(agents) * EVERY):
        number, passed = divmod(decision, EVERY)
        view = session.step(agents[number].decide(replace(view, first=passed == 0)))
    return journal.record()


@pytest.mark.parametrize("name", ["direct_rl", "mean_reversion"])
def test_one_account_walks_through_all_windows_with_the_model_of_each(done: Studied, name: str) -> None:
    place = done.folder / "journals" / f"{name}.parquet"
    record, again = read_record(place, done.history.instruments, done.history.bar_ns), by_hand(done, name)
    np.testing.assert_array_equal(record.account.equity, again.account.equity)
    assert done.facts["procedure"]["hashes"][name] == again.digest
    assert len(record) - 1 == 3 * EVERY
    held = [record.account.position[k * EVERY, 0] for k in (1, 2)]
    assert any(held), "nothing is held at an exchange: nothing is shown"
    first, *rest = (part(record, k * EVERY, (k + 1) * EVERY) for k in range(3))
    assert first.account.equity[-1] == rest[0].account.equity[0]
    if name == done.facts["subject"]:
        grown = np.prod([1.0 + fold["total_return"] for fold in done.facts["folds"]])
        np.testing.assert_allclose(grown, record.account.equity[-1] / record.account.equity[0], rtol=1e-12)
    assert done.facts["config"]["walk_forward"] == 3


def test_a_model_learns_from_bars_that_had_closed_the_lag_before(done: Studied) -> None:
    time, first = done.history.time, BARS - 3 * EVERY
    for number, fold in enumerate(done.facts["folds"]):
        decides = first - 1 + number * EVERY
        assert fold["train"] == [[iso(int(time[0]) - done.history.bar_ns), iso(int(time[decides - LAG]))]]
        assert fold["test"][0][0] == iso(int(time[decides]))
        assert models(done)[number].provenance["periods"]["train"] == fold["train"]


def test_what_comes_after_changes_no_model(done: Studied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars after the last training bar of model 1 are others; 0 and 1 are as they were, and 2 is not."""
    from qframe_rl.runner.study import study as module

    history = load(build(DataConfig, SMALL["data"], "test"))
    until = BARS - 3 * EVERY - 1 + EVERY - LAG
    changed = history.values.copy()
    changed[until + 1 :, :, :4] *= np.linspace(1.0, 2.0, BARS - until - 1)[:, None, None]
    monkeypatch.setattr(module, "bars_of", lambda data, screen: replace(history, values=changed))
    one, other = models(done), models(studied(tmp_path, **ALONE))
    assert [a.state_digest == b.state_digest for a, b in zip(one, other, strict=True)] == [True, True, False]


def test_the_recipe_is_known_by_all_that_decides_and_not_by_weights(done: Studied, tmp_path: Path) -> None:
    assert set(done.facts["procedure"]["recipes"]) == {"direct_rl", "mean_reversion"}
    recipes = [build(Recipe, model.provenance[PROCEDURE], "test") for model in models(done)]
    assert {recipe.digest for recipe in recipes} == {done.facts["procedure"]["recipes"]["direct_rl"]}
    assert len({model.digest for model in models(done)}) == 3
    assert (recipes[0].every, recipes[0].lag, recipes[0].train) == (EVERY, LAG, None)
    other = studied(tmp_path, refit_lag="2d", anchored=False, **ALONE)
    rolling = build(Recipe, models(other)[0].provenance[PROCEDURE], "test")
    assert (rolling.lag, rolling.train, rolling.since) == (48, 700, None)
    assert rolling.digest != recipes[0].digest
    assert len(other.facts["folds"]) == 3
    first, last = (other.facts["folds"][k]["train"][0][0] for k in (0, 1))
    assert first < last


def test_a_rule_keeps_the_model_before_where_none_is_ahead_of_cash(tmp_path: Path) -> None:
    """On prices that nothing can be known of, and dear trades, no training is ahead of cash."""
    dear = {"name": "auto", "taker_fee_bps": 200.0}
    found = studied(tmp_path, refit_rule="above_cash", refit_runs=2, env=dear, **ALONE)
    said = [model.provenance["promotion"] for model in models(found)]
    assert all(one["score"] <= 0.0 and "not above cash" in one["refused"] for one in said)
    assert len({fold["in_sample"] for fold in found.facts["folds"]}) == 1
    assert len({model.state_digest for model in models(found)}) == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"train": None}, "refit needs train"),
        ({"refit_lag": "90m"}, "not a number of bars of 1h"),
        ({"refit_lag": "10d"}, "no less than the 240"),
        ({"refit": "30d", "train": 1400}, "no window of 720"),
        ({"cpcv": (6, 2)}, "leave cpcv and monte_carlo out"),
        ({"walk_forward": 4}, "leave walk_forward out"),
        ({"refit": None, "refit_lag": "1d"}, "add refit, such as 30d"),
        ({"env": {"name": "auto", "features": "auto"}}, "find them once"),
        ({"train": 30, "refit": "60d", **ALONE}, "raise train"),
    ],
)
def test_what_is_no_procedure_is_refused_in_one_sentence(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        studied(tmp_path, **more)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
