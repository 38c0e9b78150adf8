"""The runner's parts: what a learner may hold, how agents are chosen, how folds are joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import deployed, make_market
from qframe_rl.evaluate.metrics import metrics, returns, unexplained
from qframe_rl.evaluate.splits import Fold, split
from qframe_rl.evaluate.table import leaderboard
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.backtest import backtest, joined
from qframe_rl.runner.choose import choose, over_runs, validation_rows
from qframe_rl.runner.study.walks import lasting, run_all
from qframe_rl.runner.task import MarketTask, pieces, seed_for
from qframe_rl.types import Record, Segment
from tests.contracts.checks import Quiet
from tests.evaluate.made import cash_record
from tests.markets import panel, prices

OURS = {"qframe_rl", "envs", "builtins", "numpy", "gymnasium", "collections", "types"}
"""Packages whose objects may hold bars."""


def reachable(root: Any) -> Iterator[np.ndarray]:
    """Every array that can be got at from an object: attributes, items, and what an array is a view of."""
    seen, todo = {}, [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or type(one).__module__.partition(".")[0] not in OURS or isinstance(one, str):
            continue
        seen[id(one)] = one
        if isinstance(one, np.ndarray):
            yield one
            todo.append(one.base)
            todo += one.flat if one.dtype == object else []
        elif isinstance(one, Mapping):
            todo += [*one, *one.values()]
        elif isinstance(one, Iterable) and not isinstance(one, Iterator):
            todo += list(one)
        todo += [getattr(one, name, None) for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
        todo += dict(getattr(one, "__dict__", {})).values()


@pytest.mark.parametrize("name", ["holdout", "walk_forward", "purged_kfold", "cpcv"])
def test_a_task_holds_no_row_that_judges(name: str) -> None:
    history = panel(3_000, 2, ragged=False)
    ref = Ref(name=name, params={"validation": 0.2} if name in ("purged_kfold", "cpcv") else {})
    market = make_market(
        Ref(name="perp", params={"features": ["log_return:1"]}), history.instruments, history.columns, history.bar_ns
    )
    for fold in split(ref).split(history):
        judged = [row for s in (*fold.validation, *fold.test) for row in range(*s)]
        times, closes = history.time[judged], history.values[judged, :, 3]
        task = MarketTask(market.fit([(history, fold.train)]), history, fold, 0)
        found = list(reachable((task, task.envs(2))))
        assert any(np.shares_memory(array, piece.values) for array in found for piece, _ in task.validation)
        for array in found:
            assert not np.isin(array, times).any()
            assert not np.isin(array, closes).any()


@pytest.mark.parametrize("before", ["validation", "test"])
def test_a_task_holds_no_row_that_judges_before_what_it_stops_by(before: str) -> None:
    """The warm-up of what a learner stops by reaches back as far as it may: not over bars that judge the fold."""
    history = panel(1_000, 2, ragged=False)
    judges = {"validation": (Segment(900, 1_000),), "test": (Segment(900, 1_000),), before: (Segment(200, 500),)}
    fold = Fold((Segment(0, 200), Segment(500, 900)), **judges)
    market = make_market(Ref(name="perp"), history.instruments, history.columns, history.bar_ns)
    task = MarketTask(market.fit([(history, fold.train)]), history, fold, 0)
    ((piece, _),) = task.validation
    assert piece.time[0] == history.time[500]


def test_warm_up_stops_at_test_rows() -> None:
    history = panel(100, 1)
    ((piece, (segment,)),) = pieces(history, (Segment(50, 60),), (Segment(40, 48),), 20)
    assert piece.time[0] == history.time[48]
    assert piece.time[segment.start] == history.time[50]
    assert len(piece) == 12


def test_seeds_do_not_depend_on_what_runs_beside() -> None:
    seeds = {seed_for(0, a, f, r) for a in ("ppo", "sac") for f in range(3) for r in range(5)}
    assert len(seeds) == 30
    assert seed_for(0, "ppo", 1, 2) == seed_for(0, "ppo", 1, 2) != seed_for(1, "ppo", 1, 2)


def walk(seed: int, drift: float, n: int = 3_000) -> Record:
    r = 0.01 * np.random.default_rng(seed).standard_normal(n) + drift
    return cash_record(1000.0 * np.cumprod(np.concatenate([[1.0], 1.0 + r])))


def test_flat_is_chosen_unless_another_is_surely_better() -> None:
    flat = cash_record(np.full(3_001, 1000.0))
    for drift, chosen in ((0.0, "flat"), (-0.001, "flat"), (0.002, "ppo")):
        records = {"ppo": [walk(s, drift) for s in (1, 2, 3)], "flat": [flat], "random": [walk(9, 0.01)]}
        rows = validation_rows(records, 0.9, 500, 0)
        choice = choose(rows, records)
        assert choice.agent == chosen
        if chosen == "ppo":
            best = max(range(3), key=lambda k: records["ppo"][k].account.equity[-1])
            assert choice.run == best


def test_one_lucky_training_does_not_carry_an_agent() -> None:
    records = {
        "lucky": [walk(1, 0.004), *(walk(s, -0.001) for s in range(2, 6))],
        "steady": [walk(s, 0.001) for s in range(20, 25)],
    }
    rows = {row["agent"]: row for row in validation_rows(records, 0.9, 500, 0)}
    assert rows["steady"]["sharpe_low"] > rows["lucky"]["sharpe_low"]
    single, growth = over_runs([walk(1, 0.001)], 0.9, 1000, 0)
    row = leaderboard({"one": walk(1, 0.001)}, "validation")[0]
    assert (single.estimate, single.low, single.high) == pytest.approx(
        (row["sharpe"], row["sharpe_low"], row["sharpe_high"])
    )
    assert (growth.estimate, growth.low) == pytest.approx((row["growth"], row["growth_low"]))


def test_joined_folds_multiply_their_growth_and_balance_their_books() -> None:
    history = panel(900, 2, seed=3, volatility=0.005)
    market = make_market(Ref(name="perp"), history.instruments, history.columns, history.bar_ns)
    module = catalog.load("agents", "random")
    agent = module.make(module.Config(), market.spec(history.columns, 1))
    parts = [backtest(market, agent, history, Segment(a, a + 200), 1) for a in (100, 300, 500)]
    whole = joined(parts)
    growth = np.prod([p.account.equity[-1] / p.account.equity[0] for p in parts])
    assert whole.account.equity[-1] / whole.account.equity[0] == pytest.approx(growth, rel=1e-12)
    assert len(whole) == 601
    assert returns(whole.account.equity) == pytest.approx(np.concatenate([returns(p.account.equity) for p in parts]))
    assert abs(unexplained(whole)) < 1e-6
    assert joined(parts[:1]) is parts[0]


def test_an_account_that_was_closed_stays_as_it_is_to_the_end_of_its_period() -> None:
    """So that a study can put it beside others."""
    history = prices(np.concatenate([np.full(40, 100.0), np.full(40, 60.0)]))
    market = make_market(Ref(name="perp", params={"leverage": 5.0}), history.instruments, (), history.bar_ns)
    module, segment = catalog.load("agents", "constant_leverage"), Segment(20, 80)
    agent = module.make(module.Config(leverage=4.0), market.spec((), 1))
    record = backtest(market, agent, history, segment, 10)
    assert len(record) < 61
    whole = lasting(record, history, segment)
    assert (whole.time == history.time[19:80]).all()
    assert (whole.account.equity[len(record) :] == record.account.equity[-1]).all()
    assert unexplained(whole) < 1e-9
    assert metrics(whole).trades == metrics(record).trades
    assert joined([whole, whole]).account.equity[-1] == record.account.equity[-1] == 0.0
    (result,) = run_all(market, [(agent, history, segment)], 10)
    assert len(result.equity) == len(whole) == len(result.cash) + 1
    assert lasting(whole, history, segment) is whole


def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    history = synthetic("ar1", 900)
    market = make_market(Ref(name="perp"), history.instruments, history.columns, history.bar_ns)
    module = catalog.load("agents", "ppo")
    config = module.Config(**module.QUICK)
    agent = module.make(config, market.spec(history.columns, 1))
    fold = Fold((Segment(200, 500),), (Segment(500, 700),), (Segment(700, 900),))
    agent.fit(MarketTask(market, history, fold, 1), Quiet())
    return Checkpoint(
        agent={"name": "ppo", "params": config.model_dump(mode="json")},
        env={"name": "perp", "params": {}},
        seed=1,
        instruments=market.instruments,
        columns=history.columns,
        bar_ns=history.bar_ns,
        interface=market.interface.describe(),
        provenance={
            "fingerprint": "0" * 16,
            "data": {"fingerprint": "0" * 16, "first": "2020-01-01 00:00:00"},
            "load": DataConfig().model_dump(mode="json"),
            "periods": {"test": [["2020-01-01", "2020-02-01"]]},
        },
        scores=[],
        state=agent.state(),
    )


def test_a_checkpoint_never_imports_what_it_names(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = small(tmp_path_factory)
    folder = tmp_path_factory.mktemp("c") / "one"
    made.save(folder)
    loaded = load_checkpoint(folder)
    assert loaded.digest == made.digest
    args = (made.instruments, made.columns, made.bar_ns, "test")
    deployed(loaded, *args)
    for kind in ("agent", "env"):
        evil = Checkpoint(**{**vars(loaded), kind: {"name": "os.path", "params": {}}})
        with pytest.raises(UserError, match="outside the catalogue"):
            deployed(evil, *args)
    wrong = Checkpoint(**{**vars(loaded), "state": {"mlp_extractor.policy_net.0.weight": np.zeros((4, 4), np.float32)}})
    with pytest.raises(UserError, match="weights do not fit"):
        deployed(wrong, *args)


def test_a_checkpoint_is_written_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small(tmp_path_factory)
    folder = tmp_path_factory.mktemp("c") / "one"
    made.save(folder)
    before = load_checkpoint(folder).digest

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    import safetensors.numpy

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="no space"):
        made.save(folder)
    assert load_checkpoint(folder).digest == before
    assert not list(folder.glob("*.part"))
