"""Ratings of agents in the seats of a role."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import report
from experiments import tournament as door
from qframe_rl.arena.rules import QuoterSeat
from qframe_rl.config import Ref, UserError, build
from qframe_rl.runner.arena import tournament as t
from qframe_rl.runner.arena.experiment import ArenaExperiment
from qframe_rl.runner.arena.seated import game_of, mark, market_root, rule
from qframe_rl.runner.arena.train import train_arena
from qframe_rl.runner.log import Silent

ENV = {"name": "crowd", "params": {"makers": 2, "noise": 6, "messages": 6, "episode_steps": 8, "executions": 0}}


def asked(**more: Any) -> t.TournamentPlan:
    plan = {"env": ENV, "agents": ("idle", "noise", "glft"), "episodes": 6, "resamples": 100} | more
    return build(t.TournamentPlan, plan, "settings")


def met(rng: np.random.Generator, odds: float, n: int) -> np.ndarray[Any, Any]:
    won = rng.random(n) < odds / (1.0 + odds)
    return np.stack([won, ~won], axis=1).astype(float)


def test_ratings_are_the_odds_that_made_them() -> None:
    """Bradley and Terry: odds of a over c are those of a over b times those of b over c; 400 points are ten to one."""
    rng = np.random.default_rng(0)
    results = {("a", "b"): met(rng, 3.0, 4000), ("b", "c"): met(rng, 2.0, 4000), ("a", "c"): met(rng, 6.0, 4000)}
    rows = {row.agent: row for row in t.rated(("a", "b", "c"), results, 0.9, 200, 0)}
    assert rows["a"].elo - rows["b"].elo == pytest.approx(400 * np.log10(3.0), abs=12.0)
    assert rows["b"].elo - rows["c"].elo == pytest.approx(400 * np.log10(2.0), abs=12.0)
    assert np.mean([row.elo for row in rows.values()]) == pytest.approx(t.MEAN)
    assert all(row.low < row.elo < row.high and row.high - row.low < 40.0 for row in rows.values())
    assert rows["a"].score == pytest.approx(0.5 * (3 / 4 + 6 / 7), abs=0.02)


def test_who_never_lost_has_a_rating_and_ties_are_halves() -> None:
    always, even = np.tile([1.0, 0.0], (20, 1)), np.tile([2.0, 2.0], (20, 1))
    rows = t.rated(("a", "b", "c"), {("a", "b"): always, ("a", "c"): always, ("b", "c"): even}, 0.9, 100, 0)
    assert rows[0].agent == "a" and np.isfinite([row.elo for row in rows]).all()
    by = {row.agent: row for row in rows}
    assert by["b"].elo == pytest.approx(by["c"].elo, abs=0.01) and by["a"].score == 1.0 and by["b"].score == 0.25


def test_a_folder_that_has_the_name_of_the_houses_own_is_not_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("idle", "imbalance"):
        Path(name).mkdir()
    game = game_of(Ref(**ENV), 1)
    assert mark("idle") == "idle" and isinstance(rule(game, "maker", "imbalance", {}), QuoterSeat)
    with pytest.raises(UserError, match="imbalance is not a checkpoint"):
        rule(game, "maker", "./imbalance", {})


def test_pairs_that_met_in_the_same_markets_are_drawn_together() -> None:
    """Where a wins the same episodes against all, what it won is as uncertain as the episodes."""
    rng = np.random.default_rng(1)
    won = (rng.random(60) < 0.5).astype(float)
    same, even = np.stack([won, 1.0 - won], axis=1), np.ones((60, 2))
    results = {("a", name): same for name in "bcd"} | dict.fromkeys((("b", "c"), ("b", "d"), ("c", "d")), even)
    rows = {row.agent: row for row in t.rated(tuple("abcd"), results, 0.9, 1000, 0)}
    half = 1.645 * np.sqrt(won.mean() * (1.0 - won.mean()) / 60)
    odds = [(won.mean() + sign * half) / (1.0 - won.mean() - sign * half) for sign in (-1, 1)]
    wide = 0.75 * 400.0 * float(np.log10(odds[1] / odds[0]))
    assert rows["a"].high - rows["a"].low == pytest.approx(wide, rel=0.15)


def test_a_tournament_is_the_same_again_and_takes_pairs_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = t.tournament(asked(), tmp_path, Silent())
    assert [row.agent for row in first.ratings] and {p.name for p in first.folder.iterdir()} == {
        "pairs.json", "ratings.json", "ratings.png",
    }  # fmt: skip
    assert t.tournament(asked(), tmp_path / "b", Silent()) == first._replace(folder=tmp_path / "b" / first.folder.name)
    kept = json.loads((first.folder / "pairs.json").read_text())
    lost = kept.pop("noise : glft")
    (first.folder / "pairs.json").write_text(json.dumps(kept))
    played: list[int] = []
    meeting = t._meeting

    def counted(*given: Any) -> Any:
        played.append(1)
        return meeting(*given)

    monkeypatch.setattr(t, "_meeting", counted)
    assert t.tournament(asked(), tmp_path, Silent(), resume=True) == first and len(played) == 1
    assert json.loads((first.folder / "pairs.json").read_text())["noise : glft"] == lost


def test_seats_are_changed_so_that_none_is_better() -> None:
    """Two who do the same meet: over both orders of seats their returns are the market's, whoever is named first."""
    plan = asked(episodes=8)
    game = t.game_of(plan.env, 8)
    glft, noise = (t.rule(game, "maker", name, {}) for name in ("glft", "noise"))
    others = {"taker": t.rule(game, "taker", "noise", {})}
    forth = t._meeting(t.game_of(plan.env, 8), plan, glft, noise, others)
    back = t._meeting(t.game_of(plan.env, 8), plan, noise, glft, others)
    straight = t.play(t.game_of(plan.env, 8), others, market_root(0) + t._SEED, {0: glft, 1: noise})
    np.testing.assert_array_equal(forth[::2], straight[::2, :2])
    np.testing.assert_array_equal(back[1::2, ::-1], straight[1::2, :2])


def test_one_seat_is_taken_by_one_after_the_other() -> None:
    env = {"name": "crowd", "params": {**ENV["params"], "makers": 1}}  # type: ignore[dict-item]
    plan = asked(env=env, roles="taker=idle")
    game = t.game_of(plan.env, 6)
    idle, others = t.rule(game, "maker", "idle", {}), {"taker": t.rule(game, "taker", "idle", {})}
    assert (t._meeting(game, plan, idle, idle, others) == 0.0).all()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"role": "makr"}, "no role 'makr'"),
        ({"agents": ("ppo", "idle")}, "ppo is not trained here: .*--roles maker=ppo"),
        ({"agents": ("twap", "idle")}, "twap works off a block"),
        ({"agents": ("idle",)}, "at least two are needed"),
        ({"agents": ("idle", "idle")}, "names one twice"),
        ({"roles": {"maker": "idle"}}, "maker is rated"),
        (
            {"agents": (), "agent": {"glft": {"aversio": 1}}},
            "agent maker: unknown key 'aversio'; did you mean 'aversion'",
        ),
        ({"agents": (), "agent": {"noise": {"lots": 1}}}, "agent.noise: noise has no parameters"),
        (
            {"agent": {"imbalance": {}}},
            "agent.imbalance: nobody of that name sits in a seat; there are glft, idle, noise",
        ),
        ({"agents": (), "agent": {"twap": {}}}, "agent.twap: nobody of that name sits in a seat"),
        ({"env": {"name": "kyle"}, "agents": ()}, "noise: at least two are needed"),
    ],
)
def test_what_is_wrong_is_said(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        t.tournament(asked(**more), tmp_path, Silent())


def test_pairs_are_taken_over_from_the_same_opponents_alone(tmp_path: Path) -> None:
    """A folder's name stays where its checkpoint is trained anew."""
    place = tmp_path / "taker"
    plan = asked(agents=("idle", "noise"), roles={"taker": str(place)})
    found = []
    for seed in (0, 1):
        learned = {"env": ENV, "roles": "maker=idle,taker=ppo", "steps": 10, "markets": 2, "n_steps": 2, "seed": seed}
        trained = build(ArenaExperiment, learned | {"episodes": 8, "resamples": 100, "reply_steps": 0}, "settings")
        shutil.copytree(train_arena(trained, tmp_path, Silent()).folder / "agents" / "taker", place, dirs_exist_ok=True)
        found += [t.tournament(plan, tmp_path, Silent(), resume=True) for _ in range(2)]
    assert found[0] == found[1] != found[2] == found[3] and found[0].folder != found[2].folder
    with pytest.raises(UserError, match=r"gamma is set for .*taker, which sits as it was trained"):
        t.tournament(asked(roles=plan.roles, agent={str(place): {"gamma": 0.5}}), tmp_path, Silent())


def test_neighbouring_seeds_meet_in_other_markets() -> None:
    roots = np.array([market_root(seed) for seed in range(200)])
    apart = np.diff(np.sort(roots))
    assert apart.min() > 10_000 and (roots >= 0).all() and (roots < 1 << 40).all()
    plan = asked()
    game = t.game_of(plan.env, 6)
    acts = [t.rule(game, "maker", name, {}) for name in ("idle", "noise")]
    others = {"taker": t.rule(game, "taker", "noise", {})}
    paid = [t._meeting(game, asked(seed=seed), *acts, others)[:, 1] for seed in (0, 1)]
    assert not np.isin(paid[0], paid[1]).any()


def test_one_line_rates_all_that_can_sit_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = door.main(
        ["--role", "execution", "--episodes", "2", "--resamples", "100", "--runs", str(tmp_path), "--json",
         "--set", "env.episode_steps=6", "--set", "env.messages=4", "--roles", "maker=idle"]
    )  # fmt: skip
    assert told is not None and {row["agent"] for row in told["ratings"]} >= {"idle", "noise"}
    assert "Ratings as execution of crowd" in capsys.readouterr().err
    found = report.main([told["run"], "--json"])
    assert found is not None and "is rated best" in found["reports"][0]["headline"]
    page = (Path(told["run"]) / "report.html").read_text(encoding="utf-8")
    assert "Who beat whom" in page and all(row["agent"] in page for row in told["ratings"])
    with pytest.raises(UserError, match="env perp is no market of many agents"):
        door.main(["--env", "perp"])
