"""Makers who see the crowd as makers of recorded books do: the same features of the same messages, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.arena import state as s
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import make_game
from qframe_rl.arena.recorded import START, book_params, run_of, sight_of
from qframe_rl.arena.sight import N_FEATURES, STEP_NS
from qframe_rl.book.features import BookWatch, book_features
from qframe_rl.book.known import N_KNOWN
from qframe_rl.book.tape import tape_of
from qframe_rl.config import Ref, UserError, build
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import MAKER_FEATURES
from qframe_rl.interface.books import N_TASK
from qframe_rl.types import Instrument

ASKED = {"makers": 2, "maker_sees": "book", "warmup_steps": 0, "episode_steps": 160, "noise": 8, "messages": 8}
CONFIG = CrowdConfig(**ASKED)  # type: ignore[arg-type]
COIN = Instrument("A/B:B", "perpetual", tick=1.0, lot=1.0)


def lived(config: CrowdConfig) -> tuple[Crowd, list[int], list[np.ndarray]]:
    """An episode in which all agents act by chance; messages so far, and features, after each step."""
    crowd, everyone, rng = Crowd(config, 1, sight=sight_of(config)), np.ones(1, np.bool_), np.random.default_rng(0)
    crowd.keep_log()
    crowd.seed_with(3)
    crowd.reset(everyone)
    sent, rows = [0], []
    for _ in range(config.episode_steps):
        crowd.step(rng.uniform(-1.0, 1.0, (1, *crowd.mask.shape)), everyone)
        sent.append(len(crowd.log()))
        assert crowd.sight is not None
        rows.append(crowd.sight.features(crowd.books, crowd.state)[0])
    return crowd, sent, rows


@pytest.mark.parametrize("more", [{}, {"hawkes": 4}])
def test_features_are_those_of_the_same_messages_on_a_tape(more: dict[str, int]) -> None:
    crowd, sent, rows = lived(CONFIG.model_copy(update=more))
    assert crowd.sight is not None
    tape = tape_of(run_of(crowd, sent).events)
    seen = BookWatch(book_features(MAKER_FEATURES), crowd.sight.micro, START)
    told, _ = seen.sampled(tape, START + STEP_NS * np.arange(1, len(rows) + 1))
    np.testing.assert_array_equal(np.array(rows), told)
    assert np.isfinite(told[110:]).mean() > 0.9 and np.isnan(told[:10, 4]).all()


def test_a_maker_sees_itself_as_in_book_making() -> None:
    """Of each quote what is left, the share ahead, age, distance; by the environment's own function."""
    crowd, everyone = Crowd(CONFIG, 1, sight=sight_of(CONFIG)), np.ones(1, np.bool_)
    crowd.seed_with(1)
    crowd.reset(everyone)
    still = crowd.idle()
    still[0, 0] = (0.1, -0.4, 0.2, 0.6)
    for _ in range(25):
        crowd.step(still, everyone)
    own, state = crowd.observe()[0, 0, N_FEATURES:], crowd.state
    book = make_book(Ref(name="book_making", params=book_params(CONFIG)), COIN)
    known, queue = np.zeros((1, N_KNOWN), np.int64), np.zeros((1, 2, 3))
    known[0, 1] = state.accounts[0, 0, s.STOCK]
    known[0, 4], known[0, 6] = state.seen[0, 0, 0], state.seen[0, 1, 0]
    live = 0
    for side in range(2):
        quote = state.quotes[0, 0, side]
        if quote[s.LIVE] >= 0:
            live += 1
            at = quote[s.AT] - crowd.books.base[0]
            known[0, 9 + 4 * side :][:4] = quote[s.AT], quote[s.LEFT], 0, (25 - quote[s.SINCE]) * STEP_NS
            place, ahead = int(crowd.books.head[0, at]), 0
            while crowd.books.order_id[0, place] != quote[s.LIVE]:
                ahead, place = ahead + crowd.books.lots[0, place], int(crowd.books.after[0, place])
            queue[0, side, :2] = ahead, crowd.books.depth[0, at] - quote[s.LEFT]
    out, doing = np.zeros((1, 11), np.float32), book.interface.actions
    doing.show(doing.params, known, queue, np.zeros((1, N_TASK), np.int64), out)
    assert live
    np.testing.assert_array_equal(own, out[0])
    assert not crowd.observe()[0, 2:, 18:].any(), "others see what they always do"
    np.testing.assert_array_equal(crowd.observe()[0, 2:, :18], crowd.seats_seen()[0, 2:])


def test_a_makers_action_wishes_what_it_wishes_in_book_making() -> None:
    crowd, everyone, rng = Crowd(CONFIG, 1, sight=sight_of(CONFIG)), np.ones(1, np.bool_), np.random.default_rng(5)
    book = make_book(Ref(name="book_making", params=book_params(CONFIG)), COIN)
    crowd.seed_with(1)
    crowd.reset(everyone)
    doing, compared = book.interface.actions, 0
    for _ in range(60):
        seen, actions = crowd.state.seen[0].copy(), rng.uniform(-1.0, 1.0, (1, *crowd.mask.shape))
        held = crowd.state.accounts[0, 0, s.STOCK]
        crowd.step(actions, everyone)
        if (seen[:, 1] > 0).all():
            known, quotes, take = np.zeros((1, N_KNOWN), np.int64), np.zeros((1, 2, 2), np.int64), np.zeros((1, 3))
            known[0, 1], known[0, 4:8] = held, seen.ravel()
            task = np.zeros((1, N_TASK), np.int64)
            doing.wish(everyone, actions[:, 0], doing.params, known, task, quotes, take.astype(np.int64))
            np.testing.assert_array_equal(crowd._quotes[0, 0], quotes[0])
            compared += 1
    assert compared > 30


def test_it_is_made_by_its_name_and_kept_with_all_that_is_seen() -> None:
    game = make_game("crowd", 2, ASKED)
    assert game.observation_space.shape == (22,)
    with pytest.raises(UserError, match="maker_sees book: make_game"):
        Crowd(CONFIG, 1)
    with pytest.raises(UserError, match="position_limit is whole quotes: a multiple of lots"):
        build(CrowdConfig, {"maker_sees": "book", "position_limit": 15}, "crowd")
    nobody_quotes = dict.fromkeys(("noise", "unbound", "trend", "quoters"), 0)
    with pytest.raises(UserError, match="the population makes no book that makers could see"):
        make_game("crowd", 1, {"maker_sees": "book", **nobody_quotes})
    everyone, other = np.ones(2, np.bool_), make_game("crowd", 2, ASKED)
    game.seed_with(1)
    game.reset(everyone)
    for _ in range(40):
        game.step(np.zeros((2, *game.mask.shape)), everyone)
    other.restore(game.snapshot())
    for one in (game, other):
        one.step(np.full((2, *game.mask.shape), 0.3), everyone)
    np.testing.assert_array_equal(game.observe(), other.observe())
    with pytest.raises(ValueError, match="another batch: recent"):
        make_game("crowd", 2, {**ASKED, "maker_sees": "seat"}).restore(game.snapshot())
