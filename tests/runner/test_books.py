"""From ticks to a checkpoint and back: strategies that quote are trained, judged, kept and scored again."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import evaluate, report, train
from qframe_rl.book.accounts import F_LOTS
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE
from qframe_rl.book.state import BUY, SELL
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Ref, UserError
from qframe_rl.evaluate.quoting import gains, scores, surely_above
from qframe_rl.evaluate.quoting_plot import quoting_figure
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.synthetic_ticks import START, events_of
from qframe_rl.feeds.tick_load import load_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.packed import whole_run, whole_runs
from qframe_rl.quoter import BookView, Wishes
from qframe_rl.runner.books.packing import deployed_book
from qframe_rl.runner.books.replay import replay, stretches
from qframe_rl.runner.books.split import book_fold
from qframe_rl.runner.books.yardsticks import yardstick

QUICK = ["--set", "agent.ppo.total_steps=2048", "--set", "agent.ppo.n_envs=16"]


def run(tmp_path: Path, *args: str) -> dict:  # type: ignore[type-arg]
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    done = train.main([*args, *places, "--json"])
    assert done is not None
    return done


@pytest.mark.parametrize("env", ["book_making", "book_execution"])
def test_a_run_is_the_same_twice_and_its_checkpoint_quotes_as_it_was_judged(
    env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--env", env, "--agents", "ppo", *QUICK, "--promote-anyway", "ppo", "--set", "env.every=200ms"]
    one, two = run(tmp_path / "a", *asked), run(tmp_path / "b", *asked)
    assert one["hash"] == two["hash"]
    names = {row["agent"] for row in one["leaderboard"]}
    assert names == {"ppo", "flat", "joining"}
    place = Path(one["checkpoint"])
    found = load_checkpoint(place)
    assert found.of_book and found.agent["name"] == one["choice"]["agent"]
    book = deployed_book(found)
    history = load_ticks(DataConfig(data="synthetic:ticks"))
    fold = book_fold(history.runs, Ref(name="holdout"))
    scored = replay(book.market, book.quoter, stretches(book.market, fold.test))
    judged = next(row for row in one["leaderboard"] if row["split"] == "test" and row["agent"] == found.agent["name"])
    assert sum(len(r.fills) for r in scored) == judged["fills"]
    capsys.readouterr()
    again = evaluate.main([str(place), "--out", str(tmp_path / "again"), "--json"])
    assert again is not None
    row = again["results"][0]
    for key in ("score", "score_trades", "fills", "fees", "turnover"):
        assert row[key] == judged[key]
    for name in ("quoting.png", "leaderboard.png", "quoting.json"):
        assert (tmp_path / "again" / name).stat().st_size > 0
    home = tmp_path / "a" / "runs" / place.name
    assert report.main([str(place), "--runs", str(home.parent), "--json"]) is not None
    assert (home / "report.html").stat().st_size > 10_000 and (home / "report.pdf").stat().st_size > 10_000
    with pytest.raises(UserError, match="leave --data"):
        report.main([str(home), "--data", "synthetic:ticks"])
    assert {"agents", "experiment.json", "leaderboard.json", "makers.json"} <= {
        p.name for p in (tmp_path / "a" / "runs" / place.name).iterdir()
    }


def test_a_run_goes_on_from_finished_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--env", "book_making", "--agents", "ppo", *QUICK, "--set", "env.every=500ms"]
    one = run(tmp_path, *asked)
    weights = next((tmp_path / "runs").glob("*/agents/ppo-0-0/weights.safetensors"))
    before = weights.read_bytes()
    assert "taken over" not in capsys.readouterr().err
    two = run(tmp_path, *asked, "--resume")
    assert one["hash"] == two["hash"] and weights.read_bytes() == before
    assert capsys.readouterr().err.count("taken over from the earlier run") == 1
    home = next((tmp_path / "runs").iterdir())
    (home / "makers.json").unlink()
    with pytest.raises(UserError, match=r"makers\.json is missing: the run did not finish"):
        report.main([str(home)])


def test_an_order_book_is_no_market_of_a_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="env 'book_making' is an order book, which has no bars"):
        evaluate.main(["momentum", "--walk-forward", "2", "--env", "book_making", "--runs", str(tmp_path)])


def test_parts_follow_each_other_and_are_as_long_as_was_asked() -> None:
    runs = load_ticks(DataConfig(data="synthetic:ticks")).runs
    fold = book_fold(runs, Ref(name="holdout", params={"train": 0.5, "validation": 0.3, "test": 0.2}))
    lengths = [sum(s.stop - s.start for s in part) for part in fold]
    assert np.allclose(np.array(lengths) / sum(lengths), [0.425, 0.075, 0.3, 0.2], atol=1e-6)
    places = [(runs.index(s.run), s.start, s.stop) for part in fold for s in part]
    assert places == sorted(places) and all(a < b for _, a, b in places)
    for wrong in (Ref(name="walk_forward"), Ref(name="holdout", params={"gap": 3})):
        with pytest.raises(UserError, match="holdout"):
            book_fold(runs, wrong)


def test_a_run_too_short_to_decide_in_is_left_out_and_the_others_are_walked() -> None:
    """One that ended before its book was whole, and one of a few rows, as a gap near the end of a file leaves them."""
    long, other, _ = load_ticks(DataConfig(data="synthetic:ticks")).runs
    never = other._replace(name="never whole", ready_ns=int(other.events.exchange_ns[-1]) + 5 * 10**9)
    brief = other._replace(name="brief", events=other.events.where(slice(0, 40)))
    fold = book_fold([long, never, brief], Ref(name="holdout"))
    assert {s.run.name for part in fold for s in part} == {long.name, "brief"}
    assert fold.spans()["train"] == book_fold([long, brief], Ref(name="holdout")).spans()["train"]
    market = make_book(Ref(name="book_making"), load_ticks(DataConfig(data="synthetic:ticks")).instrument)
    spans = whole_runs([long, never, brief])
    fitted = market.fit(spans)
    assert fitted.facts == market.fit(spans[:1]).facts
    (one,) = stretches(fitted, spans)
    assert fitted.pack(spans).n == one.n == fitted.pack(spans[:1]).n
    with pytest.raises(UserError, match="brief: 1 moments of decisions"):
        fitted.pack(spans[1:])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--env", "book_making", "--agents", "momentum"], "cannot quote in an order book"),
        (["--agents", "glft"], "quotes in order books"),
        (["--env", "book_making", "--agents", "glft", "--set", "risk.max_leverage=1"], "limits of an order book"),
        (["--env", "book_making", "--data", "synthetic:ar1"], "synthetic:ticks"),
        (["--env", "book_making", "--data", "nowhere"], "nowhere"),
        (["--describe", "book_makin"], "no agent and no market is called 'book_makin'; did you mean 'book_making'"),
        (["--env", "book_making", "--timeframe", "4h"], r"data\.timeframe says nothing of synthetic:ticks"),
        (["--env", "book_making", "--from", "2020-01-01"], r"data\.since says nothing of synthetic:ticks"),
        (["--env", "book_making", "--data", "tests", "--timeframe", "4h"], r"timeframe says nothing of recorded order"),
        (["--env", "book_making", "--data", "tests", "--data-seed", "3"], r"data\.seed says nothing of recorded order"),
        (["--env", "book_making", "--data", "tests", "--risk-free", "0.03"], r"data\.risk_free says nothing of"),
        (["--env", "book_making", "--set", "env.every=often"], "100ms"),
        (["--env", "book_making", "--set", "env.latencies=none.parquet"], "none.parquet"),
        (["--env", "book_making", "--agents", "flat,flat"], "twice"),
        (["--env", "book_making", "--agents", "ppo", *QUICK, "--set", "agent.ppo.margin=2"], "margin is of a Sharpe"),
        (["--env", "book_making", "--set", "env.size=1000000000"], "size times limit"),
        (["--env", "book_making", "--agents", "flat", "--promote-anyway", "joinin"], "did you mean 'joining'"),
        (["--env", "book_making", "--agents", "flat", "--promote-anyway", "flat"], "does not run"),
    ],
)
def test_mistakes_are_one_sentence(args: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, *args)
    assert not (tmp_path / "runs").exists(), "it is said before anything is trained"


def test_what_a_checkpoint_cannot_say_is_refused(tmp_path: Path) -> None:
    place = Path(run(tmp_path, "--env", "book_making", "--agents", "imbalance", "--promote-anyway")["checkpoint"])
    good = load_checkpoint(place)
    for change in (
        {"agent": {"name": "os.path", "params": {}}},
        {"agent": {"name": "momentum", "params": {}}},
        {"interface": {**good.interface, "features": good.interface["features"][::-1]}},
        {"interface": {**good.interface, "micro": [[1.0, 2.0]]}},
    ):
        with pytest.raises(UserError):
            deployed_book(replace(good, **change))
    (place / "checkpoint.json").write_text(
        json.dumps({**json.loads((place / "checkpoint.json").read_text()), "bar_ns": 5})
    )
    with pytest.raises(UserError):
        load_checkpoint(place)


def test_recorded_latencies_are_read_and_hold(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.contracts.test_books import START, fitted, ticks, whole_run

    sent = START + np.arange(0, 7, dtype=np.int64) * 1_000_000_000
    table = pa.table({"sent_ns": sent, "exchange_ns": sent + 7_000_000, "answered_ns": sent + 30_000_000})
    pq.write_table(table, tmp_path / "ways.parquet")
    market = fitted("book_making", latencies=str(tmp_path / "ways.parquet"))
    packed = market.pack([whole_run(ticks().runs[0])])
    assert (packed.entry_ns == 7_000_000).all() and (packed.answer_ns == 23_000_000).all()
    pq.write_table(table.drop_columns(["answered_ns"]), tmp_path / "half.parquet")
    with pytest.raises(UserError, match=r"half\.parquet lacks the column answered_ns"):
        fitted("book_making", latencies=str(tmp_path / "half.parquet"))
    pq.write_table(table.set_column(1, "exchange_ns", pa.array(sent - 1)), tmp_path / "early.parquet")
    with pytest.raises(UserError, match="before it was sent"):
        fitted("book_making", latencies=str(tmp_path / "early.parquet"))


def test_a_slow_feed_makes_slow_messages() -> None:
    from tests.contracts.test_books import fitted, ticks, whole_run

    market = fitted("book_making", entry_ms=1.0, answer_ms=1.0, feed_share=2.0)
    packed = market.pack([whole_run(ticks().runs[0])])
    assert (packed.entry_ns[1:] >= 1_000_000 + 2 * 2_000_000).all() and len(set(packed.entry_ns)) > 5


def test_checkpoints_of_two_runs_are_scored_apart_though_their_folders_are_called_alike(tmp_path: Path) -> None:
    asked = ["--env", "book_making", "--agents", "imbalance", "--set", "env.every=500ms"]
    for size in (1, 20):
        run(tmp_path / str(size), *asked, "--set", f"env.size={size}")
    places = [str(next((tmp_path / str(size) / "runs").glob("*/agents/imbalance-0-0"))) for size in (1, 20)]
    done = evaluate.main([*places, "--out", str(tmp_path / "out"), "--json"])
    assert done is not None
    told = json.loads((tmp_path / "out" / "quoting.json").read_text())
    names = [f"imbalance ({'/'.join(Path(place).parts[-3:])})" for place in places]
    assert [row["agent"] for row in told["rows"]][:2] == names
    lots = [sum(told["makers"][name]["causes"].values()) for name in names]
    assert 0 < lots[0] < lots[1]
    with pytest.raises(UserError, match="given twice"):
        evaluate.main([places[0], places[0], "--out", str(tmp_path / "out")])


@pytest.mark.long
def test_blocks_of_other_lengths_are_compared_each_with_doing_nothing_on_its_own(tmp_path: Path) -> None:
    for steps in (3, 7):
        run(tmp_path / str(steps), "--env", "book_execution", "--agents", "twap", "--set", f"env.episode_steps={steps}")
    places = [str(next((tmp_path / str(steps) / "runs").glob("*/agents/twap-0-0"))) for steps in (3, 7)]
    together = evaluate.main([*places, "--out", str(tmp_path / "out"), "--json"])
    alone = evaluate.main([places[1], "--out", str(tmp_path / "alone"), "--json"])
    assert together is not None and alone is not None
    for key in ("score", "low", "high", "psr"):
        assert together["results"][1][key] == alone["results"][0][key]


def test_a_fill_while_the_book_lacks_a_side_has_no_half_spread() -> None:
    """The ask is gone when a print reaches the quote: no mid price says how far the fill was from it."""
    second = 10**9
    rows = [(START, START, SNAPSHOT, side, 100 + side, 10, 0) for side in (BUY, SELL)]
    told = [(1.31, DEPTH, SELL, 101, 0), (1.35, TRADE, SELL, 100, 15), (1.39, DEPTH, SELL, 101, 9)]
    rows += [(START + int(t * second), START + int(t * second), *row, 1 + k) for k, (t, *row) in enumerate(told)]
    rows.append((START + 3 * second, START + 3 * second, DEPTH, BUY, 90, 1, 9))
    made = load_ticks(DataConfig(data="synthetic:ticks"))
    span = whole_run(made.runs[0]._replace(events=events_of(rows), ready_ns=START))
    market = make_book(Ref(name="book_making", params={"features": ("spread",)}), made.instrument).fit([span])
    (record,) = replay(market, yardstick("joining", market.spec(0)), stretches(market, [span]))
    row = scores([record], [record], "joining", "test", [record])
    assert record.fills[:, F_LOTS].tolist()[0] == 5 and np.isnan(record.fill_mid[0])
    assert row["spread_bps"] is None and row["markout_1s"] == 0.5


class Halves:
    """Quotes half a lot."""

    window = 1

    def quote(self, view: BookView) -> Wishes:
        return Wishes(np.array([[view.best[BUY, 0], 0.5], [0, 0]]), np.zeros(3, np.int64))


def test_wishes_that_are_no_whole_numbers_are_refused_as_they_are_on_paper() -> None:
    made = load_ticks(DataConfig(data="synthetic:ticks"))
    spans = [whole_run(made.runs[0])]
    market = make_book(Ref(name="book_making", params={"features": ("spread",)}), made.instrument).fit(spans)
    with pytest.raises(UserError, match="strategy test_books wishes quotes float64"):
        replay(market, Halves(), stretches(market, spans))


@pytest.mark.parametrize(("side", "blocks"), [("buy", 1), ("sell", 1), ("either", 2)])
def test_a_block_is_scored_once_for_each_side_that_is_asked_for(side: str, blocks: int) -> None:
    """The same block twice would make the interval of a score narrower than it is."""
    history = load_ticks(DataConfig(data="synthetic:ticks"))
    spans = book_fold(history.runs, Ref(name="holdout")).test
    params = {"side": side, "episode_steps": None}
    market = make_book(Ref(name="book_execution", params=params), history.instrument).fit(spans)
    records = replay(market, yardstick("joining", market.spec(0)), stretches(market, spans))
    assert len(records) == blocks * len(spans)
    assert len({r.fills.tobytes() for r in records}) == len(records)


def test_nothing_is_sure_of_a_single_piece_and_what_never_filled_is_drawn() -> None:
    history = load_ticks(DataConfig(data="synthetic:ticks"))
    run = whole_run(history.runs[0])
    few = [run._replace(stop=run.start + 4_000_000_000)]
    market = make_book(Ref(name="book_making", params={"entry_ms": 60_000.0}), history.instrument).fit(few)
    records = replay(market, yardstick("joining", market.spec(0)), stretches(market, few))
    quoting_figure({"joining": records}, "USDT", "never filled").savefig(io.BytesIO())
    lucky = [records[0]._replace(worth=np.linspace(0.0, 5.0, len(records[0].worth)))]
    assert not surely_above(lucky, records, 0.9, 100, 0)
    whole = lucky[0]._replace(at=np.linspace(0, 10_000_000_000, len(lucky[0].worth)).astype(np.int64))
    assert len(gains([whole], records)) == 2, "ten seconds are two stretches of five, and none of no length"
    saved = [records[0]._replace(block=True, rewards=records[0].rewards + 1.0)]
    idle = [records[0]._replace(block=True)]
    assert not surely_above(saved, idle, 0.9, 100, 0) and surely_above(saved * 2, idle * 2, 0.9, 100, 0)
