"""A maker from the crowd to recorded books and back: one checkpoint, judged, on paper, and in a seat again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import evaluate, paper, tournament, train
from qframe_rl import catalog
from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.game import make_game
from qframe_rl.arena.sight import N_BOOK_SEEN, N_FEATURES
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.policy.net import InputShape, Net, looking
from qframe_rl.runner.arena.quoting import book_policy, recorded_book
from qframe_rl.runner.arena.seated import seat_policy
from qframe_rl.runner.books.packing import deployed_book, made_agent, packed_book
from qframe_rl.runner.books.task import BookTask
from tests.arena.learners import Quiet

CROWD = {"maker_sees": "book", "noise": 8, "messages": 8, "episode_steps": 12, "makers": 2}
SETTINGS = [part for key, value in CROWD.items() for part in ("--set", f"env.{key}={json.dumps(value)}")]
QUICK = ["--steps", "320", "--markets", "4", "--n-steps", "10", "--reply-steps", "0", "--episodes", "8"]
QUICK += ["--set", "agent.ppo.hidden=[8]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A maker who learned in the crowd, and one who learned on ticks, of the same kind."""
    place = tmp_path_factory.mktemp("makers")
    crowd = train.main(["--env", "crowd", *SETTINGS, *QUICK, "--runs", str(place / "runs"), "--json"])
    assert crowd is not None
    return {"crowd": Path(crowd["run"]) / "agents" / "maker", "ticks": learned_on_ticks(place / "ticks")}


def learned_on_ticks(place: Path) -> Path:
    """A checkpoint of ``book_making`` as a training on made-up ticks keeps it."""
    game = make_game("crowd", 1, CROWD)
    assert isinstance(game, Crowd)
    book = recorded_book(game, DataConfig(data="synthetic:ticks"), 0)
    params = {"total_steps": 256, "n_envs": 8, "n_steps": 16, "hidden": (8,), "evaluations": 0}
    config = build(catalog.load("agents", "ppo").Config, params, "agent ppo")
    agent = made_agent("ppo", config, book.market, 3)
    agent.fit(BookTask(book.market, book.fold.train, book.fold.stopping, 3), Quiet())
    named, why = {"name": "ppo", "params": config.model_dump(mode="json")}, {"promoted": False, "reason": "a test"}
    packed = packed_book(agent, named, 3, book.market, book.history, book.fold, book.terms, "0badcafe", why, [], None)
    packed.save(place)
    return place


def test_a_maker_of_the_crowd_is_judged_on_ticks(made: dict[str, Path], tmp_path: Path) -> None:
    found = load_checkpoint(made["crowd"])
    assert found.of_book and found.env["name"] == "book_making" and found.instruments[0].symbol == "MADE/USDT:USDT"
    told = evaluate.main([str(made["crowd"]), "--out", str(tmp_path / "e"), "--json"])
    assert told is not None and [one["agent"] for one in told["results"]][1:] == ["flat", "joining"]


@pytest.mark.slow
def test_a_maker_of_the_crowd_quotes_on_paper(made: dict[str, Path], tmp_path: Path) -> None:
    asked = [str(made["crowd"]), "--feed", "replay", "--speed", "max", "--out", str(tmp_path / "paper"), "--json"]
    session = paper.main(asked)
    assert session is not None and session["state"] == "finished" and session["fills"] > 0


def test_both_sit_in_seats_and_meet_in_a_tournament(made: dict[str, Path], tmp_path: Path) -> None:
    asked = ["--agents", "idle,glft", "--checkpoints", f"{made['crowd']},{made['ticks']}", "--episodes", "4"]
    told = tournament.main([*asked, *SETTINGS, "--runs", str(tmp_path), "--json"])
    assert told is not None
    assert {one["agent"] for one in told["ratings"]} == {"idle", "glft", str(made["crowd"]), str(made["ticks"])}
    plain = make_game("crowd", 1)
    with pytest.raises(UserError, match=r"it sits as maker of a crowd whose makers see them, --set env.maker_sees"):
        seat_policy(load_checkpoint(made["ticks"], seat=True), plain, "maker")
    game = make_game("crowd", 1, CROWD)
    with pytest.raises(UserError, match="sits as maker of a crowd"):
        book_policy(load_checkpoint(made["crowd"], seat=True), game, "taker")
    far = make_game("crowd", 1, {**CROWD, "reach_ticks": 20})
    with pytest.raises(UserError, match=r"with farthest 16.0, and makers here with 20.0; env.reach_ticks"):
        book_policy(load_checkpoint(made["crowd"], seat=True), far, "maker")


def test_it_acts_in_the_seat_as_in_the_book(made: dict[str, Path]) -> None:
    """The same numbers, the same action: in a seat of the crowd and behind the interface of the recorded book."""
    found, game = load_checkpoint(made["crowd"]), make_game("crowd", 3, CROWD)
    assert isinstance(game, Crowd)
    everyone = np.ones(3, np.bool_)
    game.seed_with(2)
    game.reset(everyone)
    for _ in range(5):
        game.step(game.idle(), everyone)
    rows = game.observe()[:, 0]
    quoter: Any = deployed_book(found).quoter
    np.testing.assert_array_equal(book_policy(found, game, "maker")(rows), quoter.solver.act(rows))


def test_weights_of_plain_numbers_are_the_same_function_with_a_window() -> None:
    from gymnasium import spaces

    space, torch_rows = spaces.Box(-1.0, 1.0, (4,), np.float32), torch.randn(16, N_BOOK_SEEN)
    plain = Net(InputShape(0, 0, N_BOOK_SEEN), space, "mlp", 64, (8, 8), -1.0)
    with_window = Net(InputShape(1, N_FEATURES, N_BOOK_SEEN - N_FEATURES), space, "mlp", 64, (8, 8), -1.0)
    state = looking({name: value.numpy() for name, value in plain.state_dict().items()}, N_FEATURES)
    with_window.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    for one, two in zip(plain.see(torch_rows), with_window.see(torch_rows), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_book_that_nobody_sees_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.symbols says nothing of markets of many agents .*makers see books"):
        train.main(["--env", "crowd", "--symbols", "BTC/USDT:USDT", "--runs", str(tmp_path)])
