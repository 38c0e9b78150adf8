"""What may be learned from a dataset: of the same environment, before the bars that judge, and known by its content."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from experiments import train
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.config import Ref, UserError
from qframe_rl.custom import hand_over, in_params, remembered
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.splits import Fold
from qframe_rl.evaluate.trials import user_ledger
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.market import whole
from qframe_rl.interface import BOUND
from qframe_rl.offline.dataset import dataset_digest, open_dataset
from qframe_rl.offline.fits import market_transitions, problem_transitions
from qframe_rl.runner.collect import collect
from qframe_rl.runner.collection import Collection
from qframe_rl.runner.experiment import agent_config
from qframe_rl.runner.identity import code_of
from qframe_rl.runner.log import Silent
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import HOUR, Segment, iso
from tests.own_functions import Steady, growth_less_risk

FEATURES = ("log_return:1", "rsi:3")
N = 1500


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def collected(**given: Any) -> str:
    env = {"name": "perp", "params": {"features": FEATURES, "episode_bars": 60, **given.pop("env", {})}}
    data = {"bars": N, "until": iso(int(synthetic("ar1", N).time[799])), **given.pop("data", {})}
    asked = {"env": env, "data": data, "steps": 400, "id": "one/two-v0", **given}
    return collect(Collection(**asked), Silent(), overwrite=True).dataset


def market(bars: int = N, **params: Any) -> Any:
    h = synthetic("ar1", bars)
    ref = Ref(name="perp", params={"features": FEATURES, **params})
    return make_market(ref, h.instruments, h.columns, h.bar_ns)


def test_observations_are_those_that_the_learners_own_market_shows() -> None:
    h = synthetic("ar1", N)
    name = collected(mix=("mean_reversion", "random"))
    other = market().fit([(h, (Segment(0, 400),))])
    seen = market_transitions(name, other, int(h.time[-1]))
    own = market().fit([(h.rows(0, 800), whole(h.rows(0, 800)))])
    assert not np.array_equal(own.interface.observer.scaler.mean, other.interface.observer.scaler.mean)
    env = other.env(other.tape([(h, whole(h))]))
    data, at = minari.load_dataset(name), 0
    for episode, facts in zip(data, data.storage.get_episode_metadata(range(len(data))), strict=True):
        rows = [env.reset(options={"start": int(facts["options"]["start"])})[0]]
        rows += [env.step(action)[0] for action in episode.actions]
        n = len(episode.actions)
        for found, shown in ((seen.observations, rows[:-1]), (seen.following, rows[1:])):
            inside = np.abs(np.array(shown)) < 0.9 * BOUND
            assert found[at : at + n][inside] == pytest.approx(np.array(shown)[inside], abs=2e-4)
        assert np.array_equal(seen.rewards[at : at + n], episode.rewards)
        at += n
    same = market_transitions(name, own, int(h.time[799]))
    assert np.array_equal(same.observations, open_dataset(name).transitions.observations)


def test_a_dataset_that_reaches_into_judged_bars_is_refused_whatever_the_fold() -> None:
    h, name = synthetic("ar1", N), collected()
    fits = market().fit([(h, whole(h))])
    ends = int(h.time[799])
    assert len(market_transitions(name, fits, ends).rewards) == 400
    with pytest.raises(UserError, match=rf"up to {iso(ends)}, but .* none after {iso(ends - HOUR)}: .* look ahead"):
        market_transitions(name, fits, ends - HOUR)
    after = Segment(1000, 1200)
    for fold, known in (
        (Fold((Segment(0, 800),), (after,), ()), True),
        (Fold((Segment(0, 799),), (after,), ()), False),
        (Fold((Segment(0, 800),), (), ()), True),
        (Fold((Segment(0, 799),), (), ()), False),
        (Fold((Segment(0, 960),), (Segment(960, 1000),), (after,)), True),
        (Fold((Segment(0, 700), Segment(950, 1300)), (Segment(790, 900),), ()), False),
        (Fold((Segment(0, 700), Segment(1100, 1300)), (), (Segment(800, 1000),)), True),
    ):
        task = MarketTask(fits, h, fold, 0)
        if known:
            assert len(task.transitions(name).rewards) == 400
        else:
            with pytest.raises(UserError, match="it would look ahead"):
                task.transitions(name)


def test_what_a_checkpoint_learned_from_later_bars_is_later_knowledge(tmp_path: Path) -> None:
    argv = ["--bars", "1500", "--agents", "momentum", "--set", 'env.features=["log_return:1"]', "--resamples", "100"]
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "kept"), "--json"]
    assert door(train.main, [*argv, "--promote-anyway", "momentum", *places]) == 0
    (kept,) = (tmp_path / "kept").iterdir()
    h = synthetic("ar1", N)
    with pytest.raises(UserError, match=f"knows bars up to {iso(int(h.time[-1]))}"):
        market_transitions(collected(mix=(str(kept),)), market().fit([(h, whole(h))]), int(h.time[900]))


@pytest.mark.parametrize(
    ("env", "params", "said"),
    [
        ({"features": ("log_return:1",)}, {}, "another observation's features"),
        ({"n_rows": 2}, {}, "another observation's n_rows"),
        ({"actions": "exposure"}, {}, "another actions"),
        ({"reward": "drawdown"}, {}, "another reward"),
        ({"half_spread_bps": 3.0}, {}, "another fees, costs and lots"),
        ({"leverage": 2.0}, {}, "another leverage"),
        ({"cash": 77.0}, {}, "another cash at the start"),
        ({"show_limits": True}, {"show_resting": True}, "another sight of the account"),
        ({}, {"detail": "1m"}, "another length of finer bars"),
    ],
)
def test_a_dataset_of_another_market_is_refused_and_what_differs_is_named(
    env: dict[str, Any], params: dict[str, Any], said: str
) -> None:
    h = synthetic("ar1", N)
    fits = market(**params).fit([(h, whole(h))])
    with pytest.raises(UserError, match=said):
        market_transitions(collected(env=env), fits, int(h.time[-1]))


@pytest.mark.parametrize("key", ["reward", "actions", "features"])
def test_a_dataset_imports_and_runs_nothing(key: str, datasets: Path, tmp_path: Path) -> None:
    h, name, mark = synthetic("ar1", N), collected(), tmp_path / "ran"
    place = datasets / "one" / "two-v0" / "data" / "metadata.json"
    said = json.loads(place.read_text())
    spec = json.loads(said["env_spec"])
    table = {"name": "subprocess:Popen", "args": ["touch", str(mark)]}
    spec["kwargs"][key] = ["subprocess:Popen"] if key == "features" else table
    place.write_text(json.dumps({**said, "env_spec": json.dumps(spec)}))
    with pytest.raises(UserError, match=r"one/two-v0: subprocess:Popen is the user's own and is not imported"):
        market_transitions(name, market().fit([(h, whole(h))]), int(h.time[-1]))
    time.sleep(0.2)
    assert not mark.exists()


def test_a_database_that_a_dataset_names_is_sent_no_password_unless_the_user_names_it_too(
    datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, name, url = synthetic("ar1", N), collected(), "postgresql://u@127.0.0.1:1/x"
    fits, last = market().fit([(h, whole(h))]), int(h.time[-1])
    monkeypatch.setattr(
        "qframe_rl.feeds.database.BoundedConnection.to", lambda address, _: pytest.fail(f"asked {address.url}")
    )
    monkeypatch.setenv("QFRAME_DATA_PASSWORD", "s3cret-word")
    monkeypatch.setenv("QFRAME_DATA", "somewhere")
    place = datasets / "one" / "two-v0" / "data" / "metadata.json"
    metadata = json.loads(place.read_text())
    spec = json.loads(metadata["env_spec"])
    for recipe in ({"data": url, "symbols": ["BTC/USDT"]}, url):
        spec["kwargs"]["history"] = recipe
        place.write_text(json.dumps({**metadata, "env_spec": json.dumps(spec)}))
        with pytest.raises(UserError, match=f"dataset one/two-v0 names the database {url}, .* set QFRAME_DATA={url}"):
            market_transitions(name, fits, last)
    spec["kwargs"]["history"] = {"data": url, "symbols": ["BTC/USDT"]}
    place.write_text(json.dumps({**metadata, "env_spec": json.dumps(spec)}))
    monkeypatch.setenv("QFRAME_DATA", url)
    with pytest.raises(pytest.fail.Exception, match=r"asked postgresql://u:s3cret-word@127.0.0.1:1/x"):
        market_transitions(name, fits, last)


def test_what_a_dataset_names_is_taken_where_it_was_handed_over() -> None:
    h, params = synthetic("ar1", N), {"reward": hand_over(growth_less_risk)}
    name = collected(env=params)
    assert len(market_transitions(name, market(**params).fit([(h, whole(h))]), int(h.time[-1])).rewards) == 400
    assert in_params({"reward": "tests.own_functions:growth_less_risk"}, remembered) == params


@pytest.mark.parametrize(("own", "given"), [(growth_less_risk, {"aversion": 0.02}), (Steady, {})])
def test_a_reward_of_ones_own_with_parameters_is_the_same_where_it_was_made_alike(
    own: Any, given: dict[str, Any]
) -> None:
    h, params = synthetic("ar1", N), {"reward": {"name": hand_over(own), "params": given}}
    name = collected(env=params, steps=60)
    assert len(market_transitions(name, market(**params).fit([(h, whole(h))]), int(h.time[-1])).rewards) == 60
    other = {"reward": {"name": hand_over(own), "params": {"aversion" if given else "eta": 0.3}}}
    with pytest.raises(UserError, match="another reward's rule"):
        market_transitions(name, market(**other).fit([(h, whole(h))]), int(h.time[-1]))


def test_other_instruments_bars_limits_and_environments_are_refused() -> None:
    h, name = synthetic("ar1", N), collected()
    fits, last = market().fit([(h, whole(h))]), int(h.time[-1])
    named = replace(fits, instruments=(replace(fits.instruments[0], symbol="ETH/USDT:USDT"),))
    for other, said in (
        (named, "another instruments"),
        (replace(fits, bar_ns=2 * HOUR), "another length of a bar"),
        (replace(fits, limits=fits.limits.model_copy(update={"max_leverage": 2.0})), "another limits"),
        (replace(fits, name="spot"), "another environment"),
    ):
        with pytest.raises(UserError, match=said):
            market_transitions(name, other, last)
    with pytest.raises(UserError, match=r"another environment than what is learned here .perp, not kelly"):
        problem_transitions(name, make_problem(Ref(name="kelly")))


def test_a_problem_of_other_parameters_is_refused_and_another_way_to_pay_is_not() -> None:
    env = {"name": "ar1_signal", "params": {"reward_mode": "sampled", "episode_steps": 50}}
    name = collect(Collection(env=env, steps=300, id="a1/b1-v0"), Silent()).dataset
    assert len(problem_transitions(name, make_problem(Ref(name="ar1_signal"))).rewards) == 300
    drawn = gymnasium.make(catalog.env_id("ar1_signal"), render_mode="rgb_array", episode_steps=30)
    strange("own/drawn-v0", drawn)
    assert len(problem_transitions("own/drawn-v0", make_problem(Ref(name="ar1_signal"))).rewards) == 60
    with pytest.raises(UserError, match=r"other parameters of ar1_signal .reward_mode sampled, episode_steps 50"):
        problem_transitions(name, make_problem(Ref(name="ar1_signal", params={"cost": 1.0})))


def test_datasets_of_strangers_are_taken_where_they_say_what_they_are(datasets: Path) -> None:
    """As Minari's own collector writes them."""
    h = synthetic("ar1", 900)
    kwargs = {"history": {"data": "synthetic:ar1", "bars": 900}, "features": list(FEATURES), "episode_bars": 40}
    made: list[Any] = []
    for id_, wrapped, given in (
        ("own/plain-v0", False, kwargs),
        ("own/wrapped-v0", True, kwargs),
        ("own/bars-v0", False, kwargs | {"history": h}),
    ):
        env = gymnasium.make("QFrame/Perp-v1", **given)
        made.append(strange(id_, gymnasium.wrappers.NormalizeReward(env) if wrapped else env))
    fits = market().fit([(h, whole(h))])
    assert len(market_transitions("own/plain-v0", fits, int(h.time[-1])).rewards) == 80
    with pytest.raises(UserError, match="behind NormalizeReward; collect it without wrappers"):
        market_transitions("own/wrapped-v0", fits, int(h.time[-1]))
    with pytest.raises(UserError, match="does not say what environment it came from"):
        market_transitions("own/bars-v0", fits, int(h.time[-1]))


def strange(name: str, env: Any) -> Any:
    """Two episodes of chance, written by the library alone."""
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.utils import create_dataset_from_buffers

    buffers = []
    env.action_space.seed(0)
    for seed in range(2):
        seen, done, paid, ends = [env.reset(seed=seed)[0]], [], [], []
        while not ends or not any(ends[-1]):
            action = env.action_space.sample()
            row, reward, terminated, truncated, _ = env.step(action)
            seen.append(row)
            done.append(action)
            paid.append(reward)
            ends.append((terminated, truncated))
        parts = {"observations": seen, "actions": done, "rewards": paid}
        for what, part in zip(("terminations", "truncations"), zip(*ends, strict=True), strict=True):
            parts[what] = list(part)
        buffers.append(EpisodeBuffer(**parts))
    with pytest.warns(UserWarning):
        return create_dataset_from_buffers(name, buffers, env=env)


def test_a_dataset_is_known_by_its_content_wherever_it_lies(tmp_path: Path, datasets: Path) -> None:
    one = collected()
    digest = dataset_digest(one)
    moved = tmp_path / "moved"
    shutil.copytree(datasets / one, moved)
    assert dataset_digest(str(moved)) == dataset_digest(str(moved / "data")) == digest
    assert dataset_digest(collected(id="three/four-v0")) == digest
    seen = {digest}
    for what in ("observations", "actions", "rewards", "terminations"):  # one number of one step
        with h5py.File(moved / "data" / "main_data.hdf5", "a") as file:
            before = file["episode_1"][what][4]
            file["episode_1"][what][4] = ~before if before.dtype == bool else before + 1
        seen.add(dataset_digest(str(moved)))
    assert len(seen) == 5
    assert dataset_digest(collected(seed=1)) != digest  # under the first id


def test_the_content_of_a_dataset_belongs_to_what_a_strategy_is() -> None:
    class Asked:
        agent: dict[str, dict[str, Any]]

    def digest(agent: dict[str, dict[str, Any]], name: str = "iql") -> str:
        asked = Asked()
        asked.agent = agent
        return code_of(name, agent_config(asked, name), Ref(name="perp"), "perp").digest

    one = {"iql": {"dataset": collected()}}
    member = {"ensemble": {"members": ["iql", "random"], "member": {"iql": {"dataset": "one/two-v0"}}}}
    first = digest(one), digest(member, "ensemble")
    collected(seed=1)
    assert digest(one) != first[0] != digest({"iql": {}})
    assert digest(member, "ensemble") != first[1]


def test_broken_and_missing_datasets_are_said_in_a_sentence(tmp_path: Path, datasets: Path) -> None:
    with pytest.raises(UserError, match="no Minari dataset of that id; write one with"):
        open_dataset("one/two-v0")
    name = collected()
    with pytest.raises(UserError, match=f"did you mean '{name}'"):
        open_dataset("one/too-v0")
    for text in ("no version", "", "../x"):
        with pytest.raises(UserError, match="dataset"):
            open_dataset(text)
    (datasets / name / "data" / "metadata.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset(name)


@pytest.mark.parametrize("what", ["rewards", "observations"])
def test_numbers_that_are_not_finite_are_refused(what: str, datasets: Path) -> None:
    name = collected()
    with h5py.File(datasets / name / "data" / "main_data.hdf5", "a") as file:
        file["episode_0"][what][3] = np.nan
    with pytest.raises(UserError, match="not finite"):
        _ = open_dataset(name).transitions


@pytest.mark.parametrize("action", [-1, 9])
def test_actions_that_are_none_are_refused(action: int, datasets: Path) -> None:
    h, name = synthetic("ar1", N), collected()
    with h5py.File(datasets / name / "data" / "main_data.hdf5", "a") as file:
        file["episode_0"]["actions"][3] = action
    with pytest.raises(UserError, match=r"actions that are not in Discrete\(3\); collect it anew"):
        market_transitions(name, market().fit([(h, whole(h))]), int(h.time[-1]))


def test_bars_that_changed_since_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    prices = enumerate(100 + np.arange(400) % 7)
    rows = [f"{1_600_000_000 + k * 3600},{p},{p + 1},{p - 1},{p},1000000" for k, p in prices]
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]))
    data = {"data": str(path), "symbols": ["BTC/USDT"], "until": None, "bars": 30_000}
    name = collected(env={"features": ("log_return:1",)}, data=data, steps=100)
    found = open_dataset(name).metadata
    assert len(found["history"]) == 1
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows[:-1], rows[-1].replace("1000000", "2")]))
    from qframe_rl.feeds.data import DataConfig
    from qframe_rl.feeds.load import load

    h = load(DataConfig(data=str(path), symbols=("BTC/USDT",)))
    ref = Ref(name="perp", params={"features": ("log_return:1",)})
    fits = make_market(ref, h.instruments, h.columns, h.bar_ns).fit([(h, whole(h))])
    with pytest.raises(UserError, match="have changed since"):
        market_transitions(name, fits, int(h.time[-1]))


def codes(agent: str) -> int:
    """Under how many codes the ledger has an agent."""
    with closing(sqlite3.connect(user_ledger())) as base:
        return len(base.execute("SELECT DISTINCT code FROM trials WHERE agent = ?", (agent,)).fetchall())


def test_a_run_learns_from_a_dataset_and_refuses_one_that_looks_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str) -> tuple[int, Any, str]:
        argv = ["--bars", str(N), "--env", "perp", "--agents", "iql,cql", "--set", f"env.features={list(FEATURES)}"]
        small = [f"--set=agent.{a}.{k}={v}" for a in ("iql", "cql") for k, v in (("updates", 40), ("dataset", name))]
        places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "kept"), "--resamples", "100"]
        code = door(train.main, [*argv, *small, *places, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out.splitlines()[-1]) if out else None, err

    code, one, err = run(collected())
    assert code == 0, err
    assert {row["agent"] for row in one["leaderboard"]} >= {"iql", "cql"}
    assert codes("iql") == 1
    again = run("one/two-v0")[1]
    assert again["hash"] == one["hash"]
    collected(seed=1)
    other = run("one/two-v0")[1]
    assert other["hash"] != one["hash"]
    assert codes("iql") == codes("cql") == 2  # another content is another strategy, tried anew
    code, _, err = run(collected(data={"until": None}))
    assert code == 2
    assert "it would look ahead" in err.splitlines()[-1]


def test_transitions_of_torn_episodes_are_refused(datasets: Path) -> None:
    name = collected()
    with h5py.File(datasets / name / "data" / "main_data.hdf5", "a") as file:
        file["episode_1"]["actions"].resize((3,))
    with pytest.raises(UserError, match="episode 1 does not have"):
        _ = open_dataset(name).transitions
