"""Every order book of the catalogue keeps the contract, and every strategy that quotes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from qframe_rl import catalog
from qframe_rl.book.accounts import F_LOTS, F_TIME, POSITION
from qframe_rl.book.arrived import markouts
from qframe_rl.book.events import TRADE, Events
from qframe_rl.config import Ref, UserError
from qframe_rl.feeds.synthetic_ticks import MS, START, synthetic_ticks
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.gym.make import is_book, make_book
from qframe_rl.gym.replay.engine import HELD, SENT
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import whole_run
from qframe_rl.interface.books import view_of
from qframe_rl.quoter import Quoter
from qframe_rl.runner.books.packing import made_agent
from qframe_rl.runner.books.replay import as_quoter, replay, stretches
from qframe_rl.runner.books.yardsticks import YARDSTICKS
from qframe_rl.types import Instrument, Source
from tests.contracts import checks

BOOKS = catalog.order_books()
QUOTERS = (*catalog.quoters(), *YARDSTICKS)
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
COIN = Instrument("MADE/USDT:USDT", "perpetual", lot=0.001, tick=0.1, maker_fee=2e-4, taker_fee=5e-4, maintenance=0.01)
SHORT = {"episode_steps": 11, "features": ("spread", "ofi:500ms", "imbalance:2")}


@cache
def ticks() -> TickHistory:
    runs = tuple(synthetic_ticks(seed, 3_000) for seed in (0, 1))
    return TickHistory(COIN, runs, Source("synthetic", "synthetic", "made"))


def fitted(name: str, history: TickHistory | None = None, **params: object) -> BookMarket:
    history = ticks() if history is None else history
    spans = [whole_run(run) for run in history.runs]
    return make_book(Ref(name=name, params={**SHORT, "every": "100ms", **params}), history.instrument).fit(spans)


def asked(name: str, **params: object) -> dict[str, object]:
    return {"history": ticks(), "every": "100ms", **SHORT, **params}


every_book = pytest.mark.parametrize("name", BOOKS)


def test_the_catalogue_knows_them_by_their_text_and_by_their_kind() -> None:
    assert set(BOOKS) == {name for name in catalog.names("envs") if is_book(name)}
    assert not set(BOOKS) & {*catalog.bar_markets(), *catalog.problems()}


@every_book
@pytest.mark.parametrize("params", [{}, {"every": "7 prints", "n_rows": 3}])
def test_gymnasiums_own_checker(name: str, params: dict[str, object]) -> None:
    check_env(gymnasium.make(catalog.env_id(name), render_mode="rgb_array", **asked(name, **params)).unwrapped)


@every_book
@pytest.mark.parametrize("mode", MODES)
def test_the_batch_behaves_as_gymnasiums_own_vector_env(name: str, mode: AutoresetMode) -> None:
    assert checks.batch_is_as_gymnasiums_own(catalog.env_id(name), 4, mode, asked(name), 60) >= 8


@every_book
@pytest.mark.parametrize("mode", MODES)
def test_an_index_points_at_what_a_window_shows(name: str, mode: AutoresetMode) -> None:
    checks.batch_points_at_what_it_shows(catalog.env_id(name), mode, asked(name, n_rows=3), 40)


@every_book
def test_it_pickles_and_snapshots_to_the_same_bits(name: str) -> None:
    envs = gymnasium.make_vec(catalog.env_id(name), num_envs=5, **asked(name)).unwrapped
    state = checks.batch_goes_back(envs, 30)
    with pytest.raises(ValueError, match="snapshot"):
        envs.restore({**state, "row": state["row"][:2]})


@every_book
@pytest.mark.parametrize("changed", [{"history": 2}, {"entry_ms": 4.0}, {"maker_fee_bps": 1.0}, {"size": 9}])
def test_a_snapshot_of_another_book_is_refused(name: str, changed: dict[str, object]) -> None:
    """As many accounts, and yet other ticks, or other settings."""
    if "history" in changed:
        runs = tuple(synthetic_ticks(seed, 3_000) for seed in (1, 0))
        changed = {"history": TickHistory(COIN, runs, Source("synthetic", "synthetic", "made"))}
    one, like, other = (
        gymnasium.make_vec(catalog.env_id(name), num_envs=3, **asked(name, **params)).unwrapped
        for params in ({}, {}, changed)
    )
    for envs in (one, like, other):
        envs.reset(seed=0)
    before = other.snapshot()
    with pytest.raises(UserError, match="of another market"):
        other.restore(one.snapshot())
    assert all(np.array_equal(array, before[key]) for key, array in other.snapshot().items())
    like.restore(one.snapshot())


@every_book
def test_observations_are_never_written_again(name: str) -> None:
    envs = gymnasium.make_vec(catalog.env_id(name), num_envs=16, autoreset_mode=MODES[1], **asked(name))
    checks.batch_observations_stay(envs, 40)


@every_book
def test_disabled_autoreset_needs_a_reset_of_the_ended(name: str) -> None:
    envs = gymnasium.make_vec(catalog.env_id(name), num_envs=3, autoreset_mode=AutoresetMode.DISABLED, **asked(name))
    checks.batch_waits_for_a_reset(envs)


@every_book
def test_what_cannot_be_done_is_refused_and_moves_nothing(name: str) -> None:
    envs = gymnasium.make_vec(catalog.env_id(name), num_envs=3, **asked(name)).unwrapped
    envs.reset(seed=0)
    before = envs.snapshot()
    good = np.stack([envs.single_action_space.sample() for _ in range(3)])
    for bad, what in ((good[:2], "shape"), (np.full_like(good, np.nan), "environment 0"), (good + 9.0, "is not in")):
        with pytest.raises(ValueError, match=what):
            envs.step(bad)
    after = envs.snapshot()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    for options in ({"start": 10**9}, {"start": "yesterday"}, {"strat": 3}, {"start": [1, 2]}):
        with pytest.raises(UserError):
            envs.reset(options=options)
    for wrong in ({"risk": {"max_leverage": 1.0}}, {"history": 7}, {"every": "often"}, {"features": ("ofj:1s",)}):
        with pytest.raises(UserError):
            gymnasium.make(catalog.env_id(name), **{**asked(name), **wrong})


@every_book
def test_an_episode_begins_where_it_is_asked_to(name: str) -> None:
    env = gymnasium.make(catalog.env_id(name), **asked(name))
    _, info = env.reset(seed=0, options={"start": "2023-11-14T22:13:20.650"})
    assert info["time"] == START + 700 * MS
    assert env.reset(seed=0, options={"start": 7})[1]["time"] == START + 700 * MS


def scrambled(events: Events, late: np.ndarray, rng: np.random.Generator) -> Events:
    """Other prices and lots in the rows that are late."""
    lots, tick = events.lots.copy(), events.tick.copy()
    lots[late] = rng.integers(1, 50, int(late.sum()))
    tick[late] += rng.integers(-3, 4, int(late.sum()))
    return events._replace(lots=lots, tick=tick)


@every_book
@pytest.mark.parametrize("agent", QUOTERS)
def test_what_had_not_arrived_changes_nothing_that_is_seen_or_sent(name: str, agent: str) -> None:
    """C4: rows that arrive after a moment are scrambled; all that is known and wished up to it stays the same."""
    history = ticks()
    run = history.runs[0]
    moment = START + 2_500 * MS
    late = run.events.local_ns > moment
    other = run._replace(events=scrambled(run.events, late, np.random.default_rng(0)))
    # What answers tell of is known before the feed says it: fills are answered after the slowest row.
    params = {"episode_steps": None, "answer_ms": 20.0, "entry_ms": 2.0}
    market = fitted(name, **params)
    first, second = (_told(market, agent, whole_run(r), moment) for r in (run, other))
    assert len(first) > 15
    for one, two in zip(first, second, strict=True):
        assert one == two


def _told(market: BookMarket, agent: str, span: object, until: int) -> list[bytes]:
    """What a strategy saw and wished up to a moment."""
    told: list[bytes] = []
    spied = as_quoter(made_agent(agent, _config(agent), market, 0), market.interface)

    class Spy:
        window = spied.window

        def quote(self, view):  # type: ignore[no-untyped-def]
            wishes = spied.quote(view)
            if view.time <= until:
                seen = (view.best, view.features, view.quotes, view.queue, np.array([view.position, view.taking]))
                told.append(b"".join(part.tobytes() for part in (*seen, wishes.quotes, wishes.take)))
            return wishes

    replay(market, Spy(), stretches(market, [span]))  # type: ignore[list-item]
    return told


def _config(agent: str):  # type: ignore[no-untyped-def]
    return None if agent in YARDSTICKS else catalog.load("agents", agent).Config()


@every_book
@pytest.mark.parametrize("agent", QUOTERS)
def test_strategies_quote_anywhere_to_the_same_bits(name: str, agent: str) -> None:
    market = fitted(name, every="50ms", episode_steps=20)
    spans = [whole_run(run) for run in ticks().runs]
    made = [as_quoter(made_agent(agent, _config(agent), market, 0), market.interface) for _ in range(2)]
    assert isinstance(made[0], Quoter)
    first, second = (replay(market, quoter, stretches(market, spans)) for quoter in made)
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one.worth, two.worth) and np.array_equal(one.fills, two.fills)
        assert (np.abs(one.held) <= one.limit).all()


def test_doing_nothing_earns_nothing_and_equal_wishes_send_nothing() -> None:
    """C11, C10."""
    market = fitted("book_making", episode_steps=None)
    for record in replay(
        market, made_agent("flat", None, market, 0), stretches(market, [whole_run(run) for run in ticks().runs])
    ):
        assert not record.worth.any() and not record.rewards.any() and record.sent == 0
    engine, one = market.engine(market.pack([whole_run(ticks().runs[0])]), 1), np.ones(1, bool)
    engine.reset(one, np.array([5]))
    far = np.array([[[10, 3], [5000, 3]]])
    for _ in range(20):
        engine.pursue(far, np.zeros((1, 3), np.int64), one)
    assert engine.ledger[0, SENT] == 2


def test_money_is_what_was_filled_and_an_end_closes_at_what_taking_costs() -> None:
    market = fitted("book_making", episode_steps=None, maker_fee_bps=2.0, taker_fee_bps=5.0)
    (record,) = replay(market, made_agent("joining", None, market, 0), stretches(market, [whole_run(ticks().runs[0])]))
    fills = record.fills
    signed = np.where(fills[:, 1] == 0, 1, -1) * fills[:, F_LOTS]
    assert signed.sum() == 0 and record.held[-1] == 0.0
    cash = -float((signed * fills[:, 2]).sum())
    made = fills[:, 4] != 3
    turnover = (fills[:, 2] * fills[:, F_LOTS]).astype(float)
    fees = 2e-4 * turnover[made].sum() + 5e-4 * turnover[~made].sum()
    assert record.worth[-1] == pytest.approx(cash - fees, abs=1e-9)
    assert record.fees[-1] == pytest.approx(fees, rel=1e-12)
    assert (np.diff(fills[:, F_TIME]) >= 0).all()


def test_fills_are_no_more_than_was_printed_or_displayed() -> None:
    """C2, C3: a quote at a price fills within what prints and crossings were there while it lived."""
    market = fitted("book_making", episode_steps=None, size=1000, limit=100)
    run = ticks().runs[0]
    (record,) = replay(market, made_agent("joining", None, market, 0), stretches(market, [whole_run(run)]))
    events = run.events
    for side in (0, 1):
        own = record.fills[(record.fills[:, 1] == side) & (record.fills[:, 4] <= 1)]
        prints = (events.kind == TRADE) & (events.side == 1 - side)
        assert own[:, F_LOTS].sum() <= events.lots[prints].sum()
        for at, _, tick, lots, *_ in own:
            met = prints & (events.exchange_ns == at)
            through = events.tick[met] <= tick if side == 0 else events.tick[met] >= tick
            assert lots <= events.lots[met][through].sum()


def test_a_block_is_done_by_its_deadline_and_never_beyond_it() -> None:
    envs = gymnasium.make_vec(
        "QFrame/BookExecution-v0", num_envs=64, autoreset_mode=AutoresetMode.DISABLED, info=("position", "worth"),
        **asked("book_execution", episode_steps=30, size=7, limit=3, entry_ms=40.0, answer_ms=90.0),
    )  # fmt: skip
    envs.reset(seed=0)
    engine = envs.unwrapped.engine
    targets, mask = engine.task[:, 0].copy(), np.zeros(64, bool)
    assert set(targets) == {-21, 21}
    envs.action_space.seed(3)
    while not mask.all():
        _, terminated, truncated = engine.step(envs.action_space.sample(), ~mask)
        held = engine.ledger[:, HELD]
        assert (np.sign(targets) * held >= 0).all() and (np.abs(held) <= 21).all()
        assert not truncated.any()
        assert (held[terminated] == targets[terminated]).all()
        mask |= terminated


def test_what_a_block_saved_is_its_money_against_the_mid_price_at_its_start() -> None:
    market = fitted("book_execution", episode_steps=25, side="buy")
    for record in replay(
        market, made_agent("joining", None, market, 0), stretches(market, [whole_run(ticks().runs[1])])
    ):
        paid = float((record.fills[:, 2] * record.fills[:, F_LOTS]).sum()) + record.fees[-1]
        block = record.fills[:, F_LOTS].sum()
        assert record.rewards.sum() == pytest.approx(record.mid[0] - paid / block, abs=1e-9)


def test_a_loss_ends_an_episode() -> None:
    market = fitted("book_making", episode_steps=None, cash=1.0, loss_limit=0.01, size=100, limit=20)
    (record,) = replay(market, made_agent("joining", None, market, 0), stretches(market, [whole_run(ticks().runs[0])]))
    engine_span = market.pack([whole_run(ticks().runs[0])])
    assert len(record.at) < engine_span.n and record.held[-1] == 0.0
    unit = COIN.tick * COIN.lot
    assert (record.worth[:-1] * unit > -0.01).all() or record.worth[-1] * unit < 0.0


def test_foresight_is_worth_less_the_longer_a_message_travels() -> None:
    """C6: who knows the mid price of 200 ms from now, takes, and is marked then."""
    earned, run = [], synthetic_ticks(3, 40_000)
    history, span = ticks()._replace(runs=(run,)), whole_run(run)
    for entry in (0, 50, 100, 150):
        market = fitted(
            "book_making", history, every="50ms", entry_ms=float(entry), episode_steps=None, size=1, limit=1000
        )
        packed = market.pack([span])
        engine, one = market.engine(packed, 1, 5_000), np.ones(1, bool)
        engine.reset(one, np.array([0]))
        for k in range(packed.n - 10):
            ahead = packed.mid2[k + 4] - packed.mid2[k]
            bound = 10**6 if ahead > 0 else -(10**6)
            take = np.array([[0 if ahead > 0 else 1, int(abs(ahead) >= 4), bound]])
            engine.pursue(np.zeros((1, 2, 2), np.int64), take, one)
        fills = engine.walk.fills[: int(engine.walk.n_fills[0])]
        later = [(200 - entry) * MS]
        earned.append(markouts(packed.spans[0].tape, fills[:, 0], fills[:, 1], fills[:, 2], later).mean())
    assert earned[0] > earned[1] > earned[2] > earned[3] and earned[0] > 1.0


@every_book
def test_no_more_than_the_limit_is_held_though_an_answer_overtakes_that_of_an_earlier_fill(name: str) -> None:
    eager = {"nearest": -3.0} if name == "book_making" else {}
    market = fitted(name, episode_steps=150, size=20, limit=1, entry_ms=0.0, answer_ms=2000.0, **eager)
    packed = market.pack([whole_run(run) for run in ticks().runs])
    jumping = packed.answer_ns.copy()
    jumping[::2] = 0
    engine, everyone = market.engine(replace(packed, answer_ns=jumping), 32), np.ones(32, bool)
    engine.seed_with(1)
    engine.reset(everyone)
    rng, most = np.random.default_rng(1), 0
    for _ in range(300):
        actions = rng.uniform(-1.0, 1.0, (32, *market.interface.action_space.shape))
        _, terminated, truncated = engine.step(actions, everyone)
        most = max(most, int(np.abs(engine.walk.account[:, POSITION]).max()))
        engine.reset(terminated | truncated)
    assert most == 20


@every_book
@pytest.mark.parametrize("params", [{}, {"n_rows": 3, "every": "5 prints"}, {"entry_ms": 300.0, "answer_ms": 777.0}])
def test_one_view_means_to_the_bit_what_the_batch_sees_and_wishes(name: str, params: dict[str, object]) -> None:
    """Whoever acts on one view at a time, live, sees and wishes what he would have in training."""
    market = fitted(name, **params)
    engine, everyone = market.engine(market.pack([whole_run(run) for run in ticks().runs]), 8), np.ones(8, bool)
    engine.seed_with(3)
    engine.reset(everyone)
    interface, start = market.interface, engine.ticks.starts
    interface.action_space.seed(1)
    for _ in range(60):
        actions, seen, meant = np.stack([interface.action_space.sample() for _ in range(8)]), engine.observe(), []
        for b, row in enumerate(engine.row):
            shown = engine.ticks.raw[max(row - interface.window + 1, start[engine.span[b]]) : row + 1]
            view = view_of(engine.known.told[b], engine.known.queue[b], engine.task[b], shown, False)
            assert interface.observe(view).tobytes() == seen[b].tobytes()
            meant.append(interface.wishes(actions[b], view))
        told, task = engine.known.told.copy(), engine.task.copy()
        quotes, take, doing = np.zeros((8, 2, 2), np.int64), np.zeros((8, 3), np.int64), interface.actions
        doing.wish(everyone, actions.astype(float).reshape(8, -1), doing.params, told, task, quotes, take)
        assert np.array_equal([one.quotes for one in meant], quotes)
        assert np.array_equal([one.take for one in meant], take)
        _, terminated, truncated = engine.step(actions, everyone)
        engine.reset(terminated | truncated)


@pytest.mark.parametrize("params", [{"nearest": 20.0}, {"farthest": -1.0}, {"nearest": 3.0, "farthest": 3.0}])
def test_quotes_reach_from_near_to_far(params: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"farthest, .* must be above nearest"):
        make_book(Ref(name="book_making", params=params), COIN)


def test_the_mean_time_between_decisions_is_known_whatever_says_when() -> None:
    by_clock, by_prints = (fitted("book_execution", every=every) for every in ("200ms", "20 prints"))
    at = by_prints.pack([whole_run(run) for run in ticks().runs])
    passed = [at.at[b - 1] - at.at[a] for a, b in zip(at.starts[:-1], at.starts[1:], strict=True)]
    assert by_clock.spec(0).decide_ns == 200_000_000
    assert by_prints.spec(0).decide_ns == pytest.approx(sum(passed) / (at.n - len(passed)), abs=1.0)
