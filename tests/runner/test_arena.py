"""A training among many agents, from a line of the command to checkpoints that sit in seats."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import report, tournament, train
from experiments import train_arena as door
from qframe_rl.arena.game import make_game
from qframe_rl.arena.seat import SeatEnv
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.runner.arena.experiment import ArenaExperiment
from qframe_rl.runner.arena.seated import game_of, seat_policy, seated
from qframe_rl.runner.arena.train import ArenaRun, train_arena
from qframe_rl.runner.log import Silent

ENV = {
    "name": "crowd",
    "params": {"makers": 2, "takers": 1, "executions": 1, "noise": 6, "messages": 6, "episode_steps": 12},
}  # fmt: skip
TINY: dict[str, Any] = {
    "env": ENV, "roles": "maker=ppo,taker=ppo,execution=twap", "steps": 480, "markets": 4, "n_steps": 10, "league": 2,
    "reply_steps": 80, "episodes": 8, "resamples": 100, "agent": {"ppo": {"hidden": [8]}, "maker": {"gamma": 0.9}},
}  # fmt: skip


def asked(**more: Any) -> ArenaExperiment:
    return build(ArenaExperiment, TINY | more, "settings")


class Stops(Silent):
    """A screen that ends a run as Ctrl-C does."""

    def __init__(self, task: str, after: float):
        self.task, self.after = task, after

    def advance(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == self.task and done >= self.after * total:
            raise KeyboardInterrupt


def test_a_run_leaves_checkpoints_that_sit_in_seats_and_is_the_same_again(tmp_path: Path) -> None:
    outcome = train_arena(asked(), tmp_path, Silent())
    assert train_arena(asked(), tmp_path / "again", Silent()).digest == outcome.digest
    assert train_arena(asked(seed=1), tmp_path, Silent()).digest != outcome.digest
    assert {p.name for p in outcome.pictures} == {"returns.png", "seat.png"} and all(
        p.exists() for p in outcome.pictures
    )
    for role in ("maker", "taker", "reply_maker", "reply_taker", "evaluation"):
        assert list((outcome.folder / "tensorboard" / role).glob("events.*")), role
    told = json.loads((outcome.folder / "arena.json").read_text())
    assert told["roles"] == {"maker": "ppo", "taker": "ppo", "execution": "twap"} and told["market_steps"] >= 480
    assert set(told["exploitability"]) == {"maker", "taker"}
    for gain in told["exploitability"].values():
        assert gain["low"] <= gain["gain"] <= gain["high"]
    assert [row["learns"] for row in told["rows"]] == [True, True, False]
    made = load_checkpoint(outcome.folder / "agents" / "maker", seat=True)
    assert made.agent["params"]["gamma"] == 0.9 and made.interface["role"] == "maker"
    game = make_game("crowd", 1, ENV["params"])  # type: ignore[arg-type]
    act = seat_policy(made, game, "maker")
    others = {name: lambda row: np.zeros(4) for name in ("maker_1",)}
    others |= {"taker_0": lambda row: np.zeros(1), "execution_0": lambda row: np.zeros(2)}
    env = SeatEnv(game, "maker_0", others)
    seen, _ = env.reset(seed=1)
    over = False
    while not over:
        seen, _, _, over, _ = env.step(act(seen[None])[0])
    sat = asked(roles=f"maker={outcome.folder / 'agents' / 'maker'},taker=ppo,execution=idle", agent={}, reply_steps=0)
    again = train_arena(sat, tmp_path, Silent())
    assert again.gains == {} and [row["learns"] for row in again.rows] == [False, True, False]


@pytest.mark.parametrize(("task", "after"), [("train taker", 0.5), ("best reply of taker", 0.0)])
def test_an_interrupted_run_goes_on_to_the_same(task: str, after: float, tmp_path: Path) -> None:
    whole, before = train_arena(asked(), tmp_path / "whole", Silent()), set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        train_arena(asked(), tmp_path / "cut", Stops(task, after))
    assert not set(threading.enumerate()) - before, "no writer of curves is left"
    run = ArenaRun(asked(), tmp_path / "cut", Silent(), resume=True)
    begun: list[int] = []
    improve = run.play._improve

    def counted() -> None:
        begun.append(run.play.update)
        improve()

    run.play._improve = counted  # type: ignore[method-assign]
    on = run()
    assert not begun or begun[0] > 0, "what was trained is not trained again"
    assert on.digest == whole.digest and on.gains == whole.gains and on.rows == whole.rows
    for name in ("curves.json", "earned.json", "seat.json"):
        assert (on.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_checkpoint_of_a_seat_trades_nothing_else_and_one_of_bars_sits_in_none(tmp_path: Path) -> None:
    outcome = train_arena(asked(reply_steps=0, steps=10), tmp_path, Silent())
    place = outcome.folder / "agents" / "maker"
    with pytest.raises(UserError, match=r"was trained as maker of crowd: .*--env crowd --roles maker="):
        load_checkpoint(place)
    with pytest.raises(UserError, match=r"was trained on .*not in a seat of a market of many agents"):
        load_checkpoint(Path("checkpoints/ppo").absolute(), seat=True)
    game = game_of(asked().env, 1)
    with pytest.raises(
        UserError, match="was trained as maker of crowd, which sees 18 numbers, and does not fit the seats"
    ):
        seat_policy(load_checkpoint(place, seat=True), game, "taker")
    made = load_checkpoint(place, seat=True)
    lasting = {"name": "ppo", "params": {**made.agent["params"], "network": "gru", "memory": "episode"}}
    with pytest.raises(UserError, match=r"agent.ppo.memory: .*told where an episode ends"):
        seat_policy(replace(made, agent=lasting), game, "maker")


def test_a_run_against_another_checkpoint_of_the_same_folder_is_another(tmp_path: Path) -> None:
    outcome, place = train_arena(asked(reply_steps=0, steps=10), tmp_path, Silent()), tmp_path / "maker"
    shutil.copytree(outcome.folder / "agents" / "maker", place)
    sat = asked(roles=f"maker={place},taker=ppo,execution=idle", agent={})
    before = ArenaRun(sat, tmp_path, Silent()).identity
    assert ArenaRun(sat, tmp_path, Silent()).identity == before
    made = load_checkpoint(place, seat=True)
    replace(made, state={name: value + 1 for name, value in made.state.items()}).save(place)
    assert ArenaRun(sat, tmp_path, Silent()).identity != before
    with pytest.raises(UserError, match=r"gamma is set for .*maker, which sits as it was trained"):
        seated(asked(roles=f"maker={place}", agent={"maker": {"gamma": 0.5}}))


def test_neighbouring_seeds_learn_in_other_markets(tmp_path: Path) -> None:
    seeds = []
    for seed in (0, 1):
        play = ArenaRun(asked(seed=seed), tmp_path, Silent()).play
        play.game.seed_with(play.plan.seed)
        seeds.append(play.game.snapshot()["seed"])
    assert not np.isin(seeds[0], seeds[1]).any()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"roles": "makr=ppo"}, "nobody in crowd is makr; did you mean 'maker'"),
        ({"roles": "maker=pp"}, "maker=pp: there is no 'pp', nor a folder of that name; did you mean 'ppo'"),
        ({"roles": "maker=momentum", "agent": {}}, "momentum trades bars; take a learner .*ppo"),
        ({"roles": "maker=twap", "agent": {}}, "twap works off a block, which is not what a seat of maker is for"),
        ({"roles": "maker"}, "is not ROLE=NAME"),
        ({"roles": "maker=ppo,maker=idle"}, "names a role twice"),
        ({"agent": {"glft": {}}}, "agent.glft: nobody of that name sits in a seat"),
        ({"agent": {"ppo": {"total_steps": 5}}}, "all learn at once; set steps, markets and n_steps"),
        ({"agent": {"ppo": {"members": 2}}}, "agent.ppo.members: one network is trained for all agents of a role"),
        ({"agent": {"maker": {"evaluations": 3}}}, "agent.ppo.evaluations: .*no part is left to be scored on"),
        ({"agent": {"ppo": {"patience": 3}}}, "agent.ppo.patience: .*the last weights are kept"),
        ({"agent": {"ppo": {"margin": 2.0}}}, "agent.ppo.margin: .*no part is left to be scored on"),
        ({"agent": {"ppo": {"network": "gru", "memory": "episode"}}}, "agent.ppo.memory: .*told where an episode ends"),
        ({"agent": {"maker": {"gama": 1}}}, "agent maker: unknown key 'gama'"),
        ({"env": {"name": "perp"}}, "no market of many agents 'perp'"),
        ({"env": {"name": "kyle"}, "roles": "maker=ppo", "agent": {}}, "roles: who is insider"),
    ],
)
def test_what_is_wrong_is_said(more: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        seated(asked(**more))


def test_one_line_trains_and_says_how_far_from_an_equilibrium(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--env", "crowd", "--roles", "maker=ppo,taker=noise", "--steps", "160", "--markets", "4"]
    options += ["--reply-steps", "40", "--episodes", "8", "--set", "env.episode_steps=12"]
    options += ["--set", "agent.ppo.hidden=[8]", "--set", "env.messages=6"]
    told = train.main([*options, "--json"])
    assert told is not None and set(told["exploitability"]) == {"maker"} and Path(told["run"]).is_dir()
    text = capsys.readouterr().err
    assert "gain of a best reply" in text and "lower bound" in text and "idle" in text
    (line,) = (line for line in text.splitlines() if line.startswith("ratings"))
    offered = line.partition("tournament ")[2].split()
    rated = tournament.main([*offered, "--agents", "idle", "--episodes", "2", "--json"])
    assert rated is not None and {row["agent"] for row in rated["ratings"]} == {"idle", f"{told['run']}/agents/maker"}
    assert train.main([*options[:-2], "--reply-steps", "0"]) is None
    assert "returns alone say nothing of an equilibrium" in capsys.readouterr().out
    capsys.readouterr()
    for place in (told["run"], f"{told['run']}/agents/maker"):
        found = report.main([place, "--out", str(tmp_path / "pages"), "--json"])
        assert found is not None and found["pages"] >= 2 and "Many agents: crowd" in found["reports"][0]["title"]
    page = (tmp_path / "pages" / "report.html").read_text(encoding="utf-8")
    for text in ("gain of a best reply", "Earned by each step", "Return of an episode", "in an episode"):
        assert text in page, text
    with pytest.raises(UserError, match="in markets of their own; leave --data"):
        report.main([told["run"], "--data", "synthetic:ar1"])
    (Path(told["run"]) / "earned.json").unlink()
    with pytest.raises(UserError, match=r"has no earned.json: an earlier version wrote it"):
        report.main([told["run"]])
    for more, why in (
        (["--symbols", "BTC/USDT"], r"data.symbols says nothing of markets of many agents .*; leave it out"),
        (["--agents", "ppo"], "--agents: --roles says who sits where"), (["--on", "ray"], "--on is not for"),
        (["--roles", "maker"], "--roles: 'maker' is not ROLE=NAME"),
        (["--set", "roles.maker=idle", "--roles", "maker=idle"], "nobody learns"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why):
            train.main(["--env", "crowd", *more])


def test_the_environment_asks_for_many_agents_as_options_do(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, Any] = {"preset": None, "assignments": []}
    assert not door.meant({"env": None, "roles": None}, nothing)
    monkeypatch.setenv("QFRAME_ENV", "crowd")
    assert door.meant({"env": None, "roles": None}, nothing)
    assert not door.meant({"env": "perp", "roles": None}, nothing)
    monkeypatch.setenv("QFRAME_ENV", "perp")
    monkeypatch.setenv("QFRAME_ROLES", "maker=ppo")
    assert door.meant({"env": None, "roles": None}, nothing)
