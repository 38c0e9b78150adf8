"""Pictures of the crowd's book: what is drawn is what there is."""

from __future__ import annotations

from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.film import _OWN, HEIGHT, WIDTH, BookFilm
from qframe_rl.arena.game import make_game
from qframe_rl.arena.seat import SeatEnv
from qframe_rl.book.core import levels
from qframe_rl.config import UserError

CONFIG = CrowdConfig(makers=1, takers=1, executions=0, episode_steps=25, hawkes=2)
QUOTE, TAKE = np.array([-0.9, -0.9, 0.0, 0.0]), np.full(1, 0.4)


def seat(mode: str | None = "rgb_array") -> SeatEnv:
    return SeatEnv(Crowd(CONFIG, 1), "maker_0", {"taker_0": lambda seen: TAKE}, mode)


def test_frames_are_the_market_and_watching_changes_nothing() -> None:
    watched, alone, everyone = Crowd(CONFIG, 1), Crowd(CONFIG, 1), np.ones(1, np.bool_)
    film, actions, own = BookFilm(watched, 0), np.zeros((1, 2, 4)), 0
    actions[0, 0], actions[0, 1, 0] = QUOTE, TAKE[0]
    for crowd in (watched, alone):
        crowd.seed_with(4)
        crowd.reset(everyone)
    for _ in range(2):
        film.begin()
        for _ in range(25):
            rewards, _ = watched.step(actions, everyone)
            assert rewards.tolist() == alone.step(actions, everyone)[0].tolist()
            film.look()
            frame, marks = film.frames[-1], watched.state.marks[0]
            for mine, theirs in zip((frame.bids, frame.asks), levels(watched.books), strict=True):
                np.testing.assert_array_equal(mine, theirs)
            assert frame.trades[:, 1].sum() == marks[s.VOLUME]
            assert (frame.trades[:, 1] * (2 * frame.trades[:, 2] - 1)).sum() == marks[s.FLOW]
            assert frame.stock == watched.state.accounts[0, 0, s.STOCK]
            own += int(frame.trades[:, 3].sum())
        assert len(film.frames) == 26
        watched.reset(everyone)
        alone.reset(everyone)
    assert own > 0


def test_a_seat_is_drawn_step_by_step() -> None:
    env = seat()
    with pytest.raises(ResetNeeded, match="nothing to see yet"):
        env.render()
    check_env(env, skip_render_check=True)
    env.reset(seed=1)
    pictures = [env.render()]
    for _ in range(5):
        env.step(QUOTE)
        pictures.append(env.render())
    for one, other in pairwise(pictures):
        assert one is not None and other is not None
        assert one.shape == (HEIGHT, WIDTH, 3) and one.dtype == np.uint8 and (one != other).any()
    last = pictures[-1]
    assert last is not None and (last[:, 700:] == _OWN).all(axis=2).any(), "own orders stand in the ladder"
    env.step(np.array([0.0, 0.0, -1.0, -1.0]))
    gone = env.render()
    assert gone is not None and not (gone[:, 700:] == _OWN).all(axis=2).any()
    assert seat(None).render() is None


def test_a_films_frames_are_collected_by_gymnasiums_wrapper() -> None:
    env = gymnasium.wrappers.RenderCollection(seat())
    env.reset(seed=2)
    for _ in range(3):
        env.step(QUOTE)
    frames = env.render()
    assert len(frames) == 4 and all(frame.shape == (HEIGHT, WIDTH, 3) for frame in frames)


def test_of_what_there_is_no_picture_is_said() -> None:
    with pytest.raises(UserError, match="render_mode has no 'ansi'"):
        seat("ansi")
    with pytest.raises(UserError, match="pictures of order books alone"):
        SeatEnv(make_game("kyle"), "maker_0", {"insider_0": lambda seen: np.zeros(1)}, "rgb_array")
