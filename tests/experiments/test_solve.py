"""``experiments.solve`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import solve, train
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.runner.solve import gates
from tests.left_out import missing

CASES = """
[fast]
env = { name = "regime", episode_steps = 20 }
gate = 0.5
gamma = 0.9

[fast.agents.sb3]
agent = { name = "sb3", total_steps = 40960, n_envs = 16, hidden = [16], options = { n_steps = 64, batch_size = 256 } }

[fast.agents."sb3:short"]
gate = 0.99
agent = { name = "sb3", total_steps = 64, n_envs = 4, options = { n_steps = 16, batch_size = 32 } }

[dear]
env = "execution"
gate = 0.995

[dear.agents."sb3:short"]
agent = { name = "sb3", total_steps = 64, n_envs = 4, options = { n_steps = 16, batch_size = 32 } }
"""


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    (tmp_path / "cases.toml").write_text(CASES, encoding="utf-8")
    return ["--cases", str(tmp_path / "cases.toml"), "--out", str(tmp_path / "out"), "--episodes", "50", "--json"]


def run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    code = door(solve.main, argv)
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else None, err


def test_results_are_documented_kept_and_taken_over(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--agents", "sb3,sb3:short", "--seeds", "2", "fast", *places]
    code, found, err = run(argv, capsys)
    assert code == 0
    rows = {row["agent"]: row for row in found["results"]}
    assert list(rows) == ["sb3", "sb3:short"]
    for row in rows.values():
        assert list(row) == ["market", "agent", "seeds", "share", "low", "high", "gate", "passed", "figures"]
        assert row["figures"] == {}
        assert row["market"] == "fast"
        assert row["seeds"] == 2
        assert row["low"] <= row["share"] <= row["high"]
        assert row["passed"] == (row["share"] >= row["gate"])
    assert rows["sb3"]["passed"]
    assert rows["sb3"]["gate"] == 0.5
    assert not rows["sb3:short"]["passed"]
    assert rows["sb3:short"]["gate"] == 0.99
    assert (tmp_path / "out" / "fast.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((tmp_path / "out").glob("*/tensorboard/events*"))) == 4
    assert not list((tmp_path / "out").rglob("*.pkl"))
    assert "taken over" not in err
    code, again, err = run(argv, capsys)
    assert again == found
    assert err.count("taken over from an earlier run") == 4


def test_a_variant_runs_where_the_cases_have_it(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = run(["--agents", "sb3:short", *places], capsys)
    assert code == 0
    assert [row["market"] for row in found["results"]] == ["fast", "dear"]
    assert found["results"][1]["share"] < 1.0


def test_ctrl_c_keeps_what_was_learned_and_goes_on(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(gates.RunLog):
        def progress(self, done: int, total: int, note: str = "") -> None:
            if done > 20_000:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gates, "RunLog", Stops)
        code, found, err = run(["--agents", "sb3:short,sb3", "fast", *places], capsys)
    assert code == 130
    assert found == {"results": []}
    assert "give the same command again" in err
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 1
    (partial,) = (tmp_path / "out").glob("*/partial.safetensors")
    code, found, err = run(["--agents", "sb3:short,sb3", "fast", *places], capsys)
    assert code == 0
    assert not partial.exists()
    assert found["results"][1]["passed"]


def test_searches_are_held_against_a_planted_formula(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        '[planted]\nenv = {{ name = "planted_alphas", world = "{world}" }}\ngate = 0.5\n[planted.agents.genetic]\n'
        'agent = {{ name = "{search}", n_formulas = 100 }}'
    )
    path, places = tmp_path / "cases.toml", ["--out", str(tmp_path / "out"), "--json", "--agents", "genetic"]
    path.write_text(text.format(world="p1", search="genetic"), encoding="utf-8")
    code, found, _ = run(["planted", "--cases", str(path), *places], capsys)
    (row,) = found["results"]
    assert code == 0 and set(row["figures"]) == {"found", "distinct"} and row["gate"] == 0.5
    assert row["passed"] == (row["share"] >= 0.5) and row["figures"]["distinct"] >= 100.0 - 0.5
    assert (tmp_path / "out" / "planted.png").exists()
    assert run(["planted", "--cases", str(path), *places], capsys)[1] == found, "taken over"
    for world, search, message in (("p9", "genetic", "world"), ("p1", "genetics", "did you mean 'genetic'")):
        path.write_text(text.format(world=world, search=search), encoding="utf-8")
        code, _, err = run(["planted", "--cases", str(path), *places], capsys)
        assert code == 2 and message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fasst"], "unknown market 'fasst'; did you mean 'fast'"),
        (["--agents", "sb33"], "unknown agent 'sb33'; did you mean 'sb3'"),
        (["--agents", "momentum", "fast"], "cannot be trained on a problem"),
    ],
)
def test_mistakes_are_named(
    argv: list[str], message: str, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([*argv, *places], capsys)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_count_out_of_bounds_is_named(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--seeds", "0", *places], capsys)
    assert ended.value.code == 2 and "--seeds: '0' is not a whole number from 1 to" in capsys.readouterr().err


def test_broken_cases_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.toml"
    for text, message in (
        ("", "cases.toml has no market"),
        ("[a", "is not TOML"),
        ('[a]\nenv = "regime"\ngate = 0.5\ngait = 1', "cases.toml: a: unknown key 'gait'; did you mean 'gate'"),
        ('[a]\nenv = "spot"\ngate = 0.5', "market of bars"),
    ):
        path.write_text(text, encoding="utf-8")
        code, _, err = run(["--cases", str(path), "--out", str(tmp_path), "--agents", "sb3"], capsys)
        assert code == 2
        assert message in err
    code, _, err = run(["--cases", str(tmp_path / "none.toml")], capsys)
    assert "cannot be read" in err


def test_the_houses_cases_are_sound() -> None:
    gone = {name.removeprefix("envs/") for name in missing()}
    cases = {name: case for name, case in solve.load_cases(solve.CASES).items() if case.env.name not in gone}
    planted = {name for name, case in cases.items() if case.is_planted}
    assert planted == {"alpha_p1", "alpha_p2", "alpha_p3"}
    alone = {case.env.name for case in cases.values() if not case.is_game and not case.is_planted}
    assert alone == set(catalog.problems())
    solved = {name for name in catalog.games() if hasattr(catalog.load("envs", name), "solution")}
    assert {case.env.name for case in cases.values() if case.is_game} == solved
    for name, case in cases.items():
        for label in case.agents:
            assert label.split(":")[0] == case.agents[label].agent.name, (name, label)
        assert len(gates.optimum(case)) > 0
    assert solve.planned(cases, [], "ppo,sb3").keys() == cases.keys() - planted
    assert solve.planned(cases, [], None).keys() == cases.keys()
    assert solve.planned(cases, [], None)["alpha_p1"] == ["genetic", "policy", "risk"]
    assert solve.planned(cases, [], None)["regime"] == ["ppo", "sb3"]
    assert solve.planned({"regime": cases["regime"]}, [], None) == {"regime": ["ppo", "sb3"]}  # without any search
    assert "ppo" not in solve.planned(cases, [], None)["regime_hidden"]
    assert solve.planned(cases, [], None)["unknown_signs"] == ["ppo"]


def test_a_problem_cannot_be_traded_as_bars(capsys: pytest.CaptureFixture[str]) -> None:
    assert door(train.main, ["--env", "kelly"]) == 2
    assert "has no bars" in capsys.readouterr().err
