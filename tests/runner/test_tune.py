"""The search for parameters: honest windows, kept answers, and settings that are the same however it is run."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import tune as tune_door
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Base, Range, UserError, build, search, searched, space_of
from qframe_rl.deploy import make_agent, make_market
from qframe_rl.evaluate.splits import Fold
from qframe_rl.evaluate.trials import Trials, user_ledger
from qframe_rl.feeds.load import load
from qframe_rl.runner.batch import batch, lane
from qframe_rl.runner.executors import LocalExecutor
from qframe_rl.runner.log import Silent
from qframe_rl.runner.study.walks import score
from qframe_rl.runner.tune import search as searching
from qframe_rl.runner.tune.plan import Budget, Tune, space
from qframe_rl.runner.tune.score import Part, figures, parts_of
from qframe_rl.runner.tune.search import FRONT, ScoredSetting, front
from qframe_rl.runner.tune.tune import TUNED, tune
from qframe_rl.types import Float, Segment

pytest.importorskip("optuna")

SMALL: dict[str, Any] = {
    "data": {"data": "synthetic:gbm", "bars": 3000, "seed": 3},
    "agent": "mean_reversion",
    "params": {"regime_bars": 60, "max_age_days": 5.0},
    "space": ("mean_bars=10:100:log", "entry=0.5:3"),
    "budget": 48,
    "walk_forward": 2,
    "blocks": 3,
    "resamples": 100,
}


def made(**changes: Any) -> Tune:
    return build(Tune, {**SMALL, **changes}, "test")


class Dies(LocalExecutor):
    """A place that dies after some cells."""

    def __init__(self, after: int):
        self.left = after

    def run(self, *what: Any) -> Any:
        for found in super().run(*what):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("tune")
    return tune(made(), place, place / "checkpoints", Silent(), LocalExecutor()), place


def test_ranges_stand_beside_the_fields() -> None:
    class Config(Base):
        plain: int = 1

    assert space_of(Config) == {}
    assert search(1, 2) == {"search": [1, 2]}
    with pytest.raises(ValueError, match="no range"):
        search(low=3, high=3)
    with pytest.raises(ValueError, match="no range"):
        search(low=0.0, high=3.0, log=True)
    with pytest.raises(ValueError, match="both"):
        search(low=0.0)
    model = catalog.load("agents", "momentum").Config
    assert space_of(model)["lookback_bars"] == Range(6, 1440, True)
    assert searched(model)["lookback_bars"] == (24, 72, 168, 336, 720)
    for name in catalog.bar_agents():
        config = catalog.load("agents", name).Config
        for field, over in space_of(config).items():
            for value in (over.low, over.high) if isinstance(over, Range) else over:
                whole = config.model_fields[field].annotation is int
                build(config, {field: int(value) if whole else value}, name)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"space": ("lookback=1:2",)}, "no field 'lookback'"),
        ({"space": ("mean_bars",)}, "is not FIELD=LOW:HIGH"),
        ({"space": ("mean_bars=9",)}, "is not FIELD=LOW:HIGH"),
        ({"space": ("mean_bars=9:8",)}, "low must be less"),
        ({"space": ("mean_bars=9:18:lin",)}, "low must be less"),
        ({"space": ("mean_bars=0.5:18:log",)}, "between whole numbers of at most 1e\\+15"),
        ({"space": ("mean_bars=2:inf",)}, "between whole numbers of at most 1e\\+15"),
        ({"space": ("regime_bars=9:18",)}, "also given a value"),
        ({"space": ("windows=10|20",), "agent": "adaptive_mean_reversion", "params": {}}, "single values"),
        ({"agent": "flat", "params": {}, "space": ()}, "says of no field where to look"),
    ],
)
def test_a_mistake_in_the_space_is_named(given: dict[str, Any], says: str) -> None:
    config = made(**given)
    with pytest.raises(UserError, match=says):
        space(config, catalog.load("agents", config.agent).Config)


def test_a_budget_is_settings_or_minutes() -> None:
    assert made(budget="30m").limit == Budget(None, 1800.0)
    assert made(budget="30").limit == Budget(30, None)
    for wrong in ("0", "m", "1.5", "1", "9" * 400, "9" * 400 + "m"):
        with pytest.raises(UserError, match="budget"):
            made(budget=wrong)


def test_of_minutes_a_third_is_kept_for_judging() -> None:
    assert [Budget(None, 1800.0).share(number, 3, 100.0)[1] for number in (0, 2)] == [500.0, 1700.0]
    assert [Budget(10, None).share(number, 3, 100.0) for number in range(3)] == [(3, None), (3, None), (4, None)]


def test_each_window_chooses_the_best_of_its_own_past(done: Any) -> None:
    """Scores of the choice worked out here, by one backtest of each part."""
    tuned, _ = done
    history = load(made().data)
    market = make_market(made().env, history.instruments, history.columns, history.bar_ns)
    for one in tuned.windows:
        assert one.best.figures["lower"] == max(tried.figures["lower"] for tried in one.tried)
        config = build(catalog.load("agents", "mean_reversion").Config, {**SMALL["params"], **one.best.params}, "test")
        agent = make_agent("mean_reversion", config, market, (), 0, None)
        (train,), (test,) = one.fold.train, one.fold.test
        assert train.stop <= test.start - made().gap
        window = max(100, market.interface.window)
        edges = np.linspace(max(train.start, window), train.stop, 4).astype(int)
        parts = [
            batch(market, [lane(agent, history, Segment(int(a), int(b)), window)])[0]  # type: ignore[arg-type]
            for a, b in pairwise(edges)
        ]
        assert score(parts) == pytest.approx(one.best.figures["sharpe"])
        assert sum(part.trades for part in parts) == one.best.figures["trades"]


def test_what_is_left_behind(done: Any) -> None:
    tuned, _ = done
    facts = json.loads((tuned.folder / "tune.json").read_text())
    assert [one["settings"] for one in facts["windows"]] == [24, 24]
    assert {row["agent"] for row in facts["leaderboard"]} == {TUNED, "as asked", "buy_and_hold", "flat"}
    assert {path.stem for path in tuned.folder.glob("*.png")} >= {"equity", "history", "slice", "pareto", "stability"}
    found = load_checkpoint(tuned.checkpoint)
    assert found.agent["name"] == tuned.deployed == "flat"
    kept = load_checkpoint(tuned.folder / "agents" / "mean_reversion")
    assert {name: kept.agent["params"][name] for name in tuned.windows[-1].best.params} == tuned.windows[-1].best.params
    rows = Trials(user_ledger()).on(tuned.history)
    assert tuned.luck.trainings == len(rows) == 48
    assert {row.kind for row in rows} == {"tune"}


def test_an_interrupted_search_finds_what_it_would_have_found(done: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(made(), tmp_path, tmp_path / "checkpoints", Silent(), Dies(after=7))
    counted = Dies(after=1000)
    again = tune(made(), tmp_path, tmp_path / "checkpoints", Silent(), counted, resume=True)
    assert plain(again) == plain(done[0])
    assert again.luck == done[0].luck
    whole = Dies(after=1000)
    tune(made(), tmp_path, tmp_path / "checkpoints", Silent(), whole)
    assert whole.left < counted.left


def plain(tuned: Any) -> Any:
    return [(one.best, one.tried, one.given_up) for one in tuned.windows], [dict(row) for row in tuned.rows]


def test_the_objective_is_what_is_looked_for(done: Any, tmp_path: Path) -> None:
    plainly = tune(made(objective="sharpe"), tmp_path, tmp_path / "checkpoints", Silent(), LocalExecutor())
    assert plainly.folder.name != done[0].folder.name
    for one in plainly.windows:
        assert one.best.figures["sharpe"] == max(tried.figures["sharpe"] for tried in one.tried)


def part(rate: Float, trades: int) -> Part:
    """Hours without a gap, in which idle cash earned nothing."""
    return Part(rate, np.zeros(len(rate)), len(rate) / 8760.0, 1.0, trades)


def test_few_bets_make_the_lower_bound_low() -> None:
    rng = np.random.default_rng(0)
    busy = 0.0005 + 0.01 * rng.standard_normal(8760)
    idle = np.zeros(8760)
    idle[[100, 5000]] = 0.05, 0.04
    found = {name: figures([part(rate, n)]) for name, rate, n in (("busy", busy, 600), ("idle", idle, 4))}
    idle_again = figures([part(idle, 600)])
    assert found["busy"]["lower"] == pytest.approx(found["busy"]["sharpe"] - 1.65, abs=0.02)
    assert found["idle"]["lower"] == pytest.approx(found["idle"]["sharpe"] - 6.31, abs=0.02)
    assert idle_again["lower"] == pytest.approx(found["idle"]["sharpe"] - 1.65, abs=0.02)
    assert figures([part(np.zeros(8760), 0)])["lower"] == pytest.approx(-6.31, abs=0.02)


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2", "random"])
def test_every_sampler_searches(sampler: str, tmp_path: Path) -> None:
    found = tune(
        made(sampler=sampler, budget=16, walk_forward=1, storage="sqlite" if sampler == "random" else "journal"),
        tmp_path, tmp_path / "checkpoints", Silent(), LocalExecutor(),
    )  # fmt: skip
    (one,) = found.windows
    assert len(one.tried) + one.given_up == 16
    assert one.given_up == 0 or sampler != "nsga2"


@pytest.mark.long
def test_what_learns_is_trained_before_each_part(tmp_path: Path) -> None:
    fitted = made(
        params={"regime_bars": 60, "entry": "fitted"}, space=("mean_bars=10:60:log",), budget=8, walk_forward=2, batch=2
    )
    found = tune(fitted, tmp_path, tmp_path / "checkpoints", Silent(), LocalExecutor())
    kept = load_checkpoint(found.folder / "agents" / "mean_reversion")
    assert kept.state["thresholds"].shape == (2,)
    assert sum(len(one.tried) + one.given_up + one.refused for one in found.windows) == 8
    assert found.windows[0].refused == 1, "a mean of 58 bars is more than the first part's training bars can show"


def test_no_part_begins_before_an_agent_has_seen_its_window() -> None:
    history = load(made().data)
    fold = Fold((Segment(0, 1000),), (), (Segment(1000, 1200),))
    for learns, window in ((True, 100), (True, 600), (False, 600), (False, 20)):
        parts = parts_of(history, fold, 4, window, learns, 24)
        tests = [part.test[0] for part in parts]
        assert tests[0].start >= window
        assert tests[-1].stop == 1000
        assert all(one.stop == two.start for one, two in pairwise(tests))
        assert all(part.train[-1].stop <= part.test[0].start - 24 for part in parts if learns)
    with pytest.raises(UserError, match="too few for 4 parts"):
        parts_of(history, fold, 4, 995, True, 24)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_a_front_is_what_nothing_beats(rows: list[tuple[int, ...]]) -> None:
    tried = [ScoredSetting(k, {}, dict(zip(FRONT, map(float, row), strict=True))) for k, row in enumerate(rows)]
    kept = {one.number for one in front(tried)}
    for k, (gain, fall, turnover) in enumerate(rows):
        beaten = any(
            (a >= gain and b >= fall and c <= turnover) and (a, b, c) != (gain, fall, turnover) for a, b, c in rows
        )
        assert beaten == (k not in kept)


def test_figures_of_an_account_that_lost_everything() -> None:
    rate = np.array([0.1, -1.0, 0.0, 0.0])
    found = figures([part(rate, 3)])
    assert found["annual_return"] == -1.0
    assert found["max_drawdown"] == -1.0
    assert all(np.isfinite(value) for value in found.values())
    json.dumps(found, allow_nan=False)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(searching, "find_spec", lambda name: None if name == "cmaes" else name)
    with pytest.raises(UserError, match="needs cmaes: pip install"):
        tune(made(sampler="cmaes"), tmp_path, tmp_path, Silent(), LocalExecutor())


def test_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--runs", str(tmp_path), "--checkpoints", str(tmp_path / "checkpoints"), "--bars", "3000", "--json"]
    argv = ["--agent", "momentum", "--space", "lookback_bars=10:50", "--budget", "8", "--walk-forward", "1"]
    small = ["--set", "params.volatility_bars=24", "--set", "params.band=0.2", "--set", "params.volatility_target=0.3"]
    assert door(tune_door.main, [*argv, *small, "--set", "params.fast_weight=0.0", *places]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert set(found) == {
        "run", "checkpoint", "seconds", "leaderboard", "windows", "promotion", "luck", "data"
    }  # fmt: skip
    assert list(found["windows"][0]["params"]) == ["lookback_bars"]
    assert "what each window chose" in err
    for wrong, says in (
        (["--on", "slurm"], "known are ray"),
        (["--budget", "x"], "budget"),
        (["--sampler", "x"], "tpe"),
    ):
        assert door(tune_door.main, [*argv, *wrong]) == 2
        assert says in capsys.readouterr().err
