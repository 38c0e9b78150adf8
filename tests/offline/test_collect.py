"""Datasets as they are collected: what was lived is what lies in them, and their environments are made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from experiments import collect
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.config import Ref
from qframe_rl.gym.make import make_problem
from qframe_rl.offline.mix import described, mixed
from qframe_rl.runner.solve.solve import scores
from tests.docs.test_json import keys

BARS = ["--bars", "600", "--set", "env.episode_bars=50", "--set", 'env.features=["log_return:1", "rsi:3"]']


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any, str]:
    code = door(collect.main, [*argv, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else None, err


def again(name: str, n_steps: int) -> minari.MinariDataset:
    """Live every episode anew in the recovered environment: it must be the one that was recorded."""
    data = minari.load_dataset(name)
    env = data.recover_environment()
    assert data.total_steps == n_steps == sum(len(episode.actions) for episode in data)
    about = list(data.storage.get_episode_metadata(range(data.total_episodes)))
    for episode, facts in zip(data, about, strict=True):
        start = {key: int(value) for key, value in facts.get("options", {}).items()}
        rows = [env.reset(seed=facts["seed"], options=start)[0]]
        for k, action in enumerate(episode.actions):
            row, paid, terminated, truncated, _ = env.step(action)
            rows.append(row)
            assert paid == episode.rewards[k]
            assert terminated == episode.terminations[k]
            assert truncated == episode.truncations[k] or (episode is not None and k == len(episode.actions) - 1)
        assert np.array_equal(rows, episode.observations)
    lengths = [len(episode.actions) for episode in data]
    assert all(episode.terminations[-1] or episode.truncations[-1] for episode in data)
    assert len({*lengths[:-1]}) == 1
    return data


@pytest.mark.parametrize("by", ["episode", "step"])
def test_a_problem_is_lived_again_from_its_dataset(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = run(
        capsys, "--env", "ar1_signal", "--mix", "oracle=.6,random=.4", "--by", by, "--steps", "1250", "--set",
        "env.episode_steps=100", "--set", "env.reward_mode=sampled",
    )  # fmt: skip
    assert code == 0, err
    assert found["dataset"] == "qframe/ar1_signal/oracle-random-v0"
    assert (found["steps"], found["episodes"]) == (1250, 13)
    assert set(found) == keys("`collect`")
    data = again(found["dataset"], 1250)
    assert data.storage.metadata["algorithm_name"] == found["mix"] == f"0.6 oracle, 0.4 random by {by}"
    optimal = make_problem(Ref(name="ar1_signal")).theory().policy()
    agreed = [(optimal(e.observations[:-1]) == e.actions).mean() for e in data]
    if by == "episode":
        assert sum(share == 1.0 for share in agreed) in range(4, 12)
        assert min(agreed) < 0.6
    else:
        assert np.mean(agreed) == pytest.approx(0.6 + 0.4 / 3, abs=0.05)
        assert max(agreed) < 0.9


@pytest.mark.parametrize("mix", ["random", "momentum=.5,random=.5", "oracle", "mean_reversion:mean_bars:24"])
@pytest.mark.parametrize("actions", ["levels", "exposure"])
def test_a_market_is_lived_again_from_its_dataset(mix: str, actions: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = run(capsys, *BARS, "--mix", mix, "--steps", "170", "--set", f"env.actions={actions}")
    assert code == 0, err
    assert found["share"] is None
    data = again(found["dataset"], 170)
    assert len(data) == 4
    assert data.env_spec.kwargs["history"] == {"data": "synthetic:ar1", "bars": 600}
    if mix == "oracle":
        assert max(np.abs(e.observations[:, -2]).max() for e in data) > 0.5


@pytest.mark.parametrize("name", catalog.problems())
def test_every_problem_can_be_walked_and_learned_from(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from qframe_rl.offline.fits import problem_transitions

    code, found, err = run(capsys, "--env", name, "--mix", "oracle,random", "--by", "step", "--steps", "200")
    assert code == 0, err
    seen = problem_transitions(found["dataset"], make_problem(Ref(name=name)))
    assert len(seen.rewards) == 200
    assert np.isfinite(found["share"])


def test_equal_commands_write_equal_steps_and_another_seed_others(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--env", "ar1_signal", "--steps", "400", "--mix", "oracle,random", "--by", "step"]
    digests = [run(capsys, *argv, "--id", f"aa/bb-v{k}", "--seed", seed)[1]["digest"] for k, seed in enumerate("001")]
    assert digests[0] == digests[1] != digests[2]
    market = [run(capsys, *BARS, "--steps", "60", "--id", f"cc/dd-v{k}")[1]["digest"] for k in range(2)]
    assert market[0] == market[1]


@pytest.mark.long
def test_two_are_weighed_to_a_share_of_the_optimum(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qframe_rl.runner.collect.WEIGHING_EPISODES", 1024)
    argv = ["--env", "ar1_signal", "--mix", "oracle:cost:0,oracle:cost:8", "--by", "step", "--steps", "20000"]
    code, found, err = run(capsys, *argv, "--share", ".6")
    assert code == 0, err
    assert found["share"] == pytest.approx(0.6, abs=0.06)
    problem = make_problem(Ref(name="ar1_signal"))
    weights = [float(part.split()[0]) for part in found["mix"].split(",")]
    traders = [make_problem(Ref(name="ar1_signal", params={"cost": c})).theory().policy() for c in (0, 8)]
    rng = np.random.default_rng(0)

    def act(rows: Any) -> Any:
        return np.where(rng.random(len(rows)) < weights[0], *(trader(rows) for trader in traders))

    worth = scores(problem, act, 4000).mean() / scores(problem, problem.theory().policy(), 4000).mean()
    assert worth == pytest.approx(0.6, abs=0.03)
    normal = minari.get_normalized_score(minari.load_dataset(found["dataset"]), np.array([0.0]))
    assert 0.0 < normal[0] < 1.0


def test_mixtures_are_read_and_written() -> None:
    one, two = mixed(("oracle:cost:0=3", "random=1"))
    assert (one.name, one.params, one.weight, two.weight) == ("oracle", {"cost": "0"}, 0.75, 0.25)
    assert described((one, two), "step") == "0.75 oracle:cost:0, 0.25 random by step"
    assert [w.weight for w in mixed(("a", "b"))] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--mix", "oracle=.6,random"], "give all of them a weight, or none"),
        (["--mix", "oracle=much,random=1"], "'much' is no weight"),
        (["--mix", "oracle=-1,random=1"], "0 or more"),
        (["--mix", "oracle:cost"], "is not NAME"),
        (["--mix", "momentum"], "on a problem walk oracle"),
        (["--mix", "oracle:costs:0"], "costs"),
        (["--share", ".6"], "share weighs two"),
        (["--mix", "oracle,oracle:cost:1", "--share", ".2"], "does not lie between"),
        (["--id", "no version"], "is no id of a Minari dataset"),
        (["--id", "aa/bb"], "is no id of a Minari dataset"),
        (["--env", "spot", "--share", ".6"], "not known as a policy"),
        (["--env", "perp", "--bars", "600", "--mix", "ppo2"], "is not a checkpoint"),
        (["--env", "perp", "--bars", "600", "--mix", "dmn:hidden:4"], "dmn learns; train it"),
        (["--env", "perp", "--bars", "600", "--mix", "momentum", "--set", "env.actions=delta"], "env.actions=levels"),
        (["--env", "perp", "--bars", "150", "--mix", "random"], "no segment is long enough"),
        (["--env", "perp", "--bars", "600", "--set", "env.universe=bootstrap"], "leave it out"),
        (["--env", "perp", "--data", "synthetic:gbm", "--bars", "600", "--mix", "oracle"], "is not known"),
        (["--env", "nowhere"], "unknown env 'nowhere'"),
        (["--steps", "0"], "steps"),
    ],
)
def test_what_cannot_be_collected_is_said_in_a_sentence(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], datasets: Path
) -> None:
    given = ["--env", "ar1_signal", "--steps", "100", *argv]
    code, _, err = run(capsys, *given)
    assert code == 2, err
    (line,) = [one for one in err.splitlines() if one.startswith("error: ")]
    assert said in line
    assert not list(datasets.rglob("*.hdf5"))


def test_a_dataset_is_there_whole_or_not_at_all(
    capsys: pytest.CaptureFixture[str], datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qframe_rl.runner import collect as job

    argv = ["--env", "ar1_signal", "--steps", "30000", "--id", "aa/bb-v0"]
    whole = job.enough

    def stopped(*args: Any) -> Any:
        for k, episode in enumerate(whole(*args)):
            if k == 100:
                raise KeyboardInterrupt
            yield episode

    with monkeypatch.context() as patch:
        patch.setattr(job, "enough", stopped)
        assert run(capsys, *argv)[0] == 130
    assert not list(datasets.rglob("*.hdf5"))
    assert run(capsys, *argv)[0] == 0
    first = minari.load_dataset("aa/bb-v0").storage.metadata["description"]
    code, _, err = run(capsys, *argv, "--seed", "1")
    assert code == 2
    assert "give another --id, or --overwrite" in err
    assert minari.load_dataset("aa/bb-v0").storage.metadata["description"] == first
    assert run(capsys, *argv, "--seed", "1", "--overwrite")[0] == 0
    assert "from seed 1" in minari.load_dataset("aa/bb-v0").storage.metadata["description"]
    assert list(minari.list_local_datasets()) == ["aa/bb-v0"]


def test_without_the_library_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "minari", None)
    code, _, err = run(capsys, "--env", "ar1_signal", "--steps", "100")
    assert code == 2
    assert "pip install 'qframe-rl[offline]'" in err
