"""The door that says who is in, and what a list made today pretends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import paper, replay, train, universe
from experiments.cli import door
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.deploy import data_for, deployed, period_of, window_of
from qframe_rl.feeds import parquet
from qframe_rl.feeds.load import load
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.feeds.universe import changes
from qframe_rl.journal.store import read
from qframe_rl.members import MEMBER
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.train import Run
from qframe_rl.types import DAY, parse_time
from tests.feeds.test_universe import stored
from tests.markets import panel
from tests.test_members import never_enlarged

START = parse_time("2021-01-01")
N = 300


def store(root: Path) -> None:
    """Coins that rise, fall and are listed late: who trades most at the end rose most, and traded least before."""
    opens = START + DAY * np.arange(N, dtype=np.int64)
    for name, rise, volume, first in (("UP", 0.01, (1.0, 900.0), 0), ("DOWN", -0.01, (500.0, 1.0), 0),
                                      ("FLAT", 0.0, (400.0, 2.0), 0), ("LATE", 0.0, (450.0, 3.0), 40)):  # fmt: skip
        close = 100.0 * np.exp(rise * np.arange(N))
        money = np.where(np.arange(N) < 200, *volume) * 1e6 / close
        values = np.stack([close, close * 1.001, close * 0.999, close, money], axis=1)
        path = root / "ohlcv" / "binance" / f"{name}-USDT" / "1d.parquet"
        path.parent.mkdir(parents=True)
        parquet.write(path, PRICES, Series(opens[first:], values[first:]))


def test_it_tells_who_is_in_by_name_and_what_foresight_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path)
    said = universe.main(["top:1:volume20d", "--data", str(tmp_path), "--timeframe", "1d", "--json",
                          "--quarantine", "off",
                          "--period", "2021-02-01:2021-08-01", "--period", "2021-02-01:2021-10-25"])  # fmt: skip
    assert said is not None
    told = {one["time"][:10]: {k: v for k, v in one.items() if k != "time"} for one in said["changes"]}
    assert told == {
        "2021-01-02": {"listed": ["DOWN/USDT", "FLAT/USDT", "UP/USDT"]},
        "2021-02-01": {"joined": ["DOWN/USDT"]},
        "2021-02-11": {"listed": ["LATE/USDT"]},
        "2021-08-01": {"joined": ["UP/USDT"], "left": ["DOWN/USDT"]},
    }
    assert said["ahead"] == ["UP/USDT"]
    before, after = said["periods"]
    days = (parse_time("2021-08-01") - parse_time("2021-02-01")) // DAY
    # Bought at the next open, for 10 bp, by closes that move a hundredth a day.
    assert before["known"] == pytest.approx(np.exp(-0.01 * (days - 1)) * 0.999, rel=1e-2)
    assert before["ahead"] == pytest.approx(np.exp(0.01 * (days - 1)) * 0.999, rel=1e-2)
    assert after["known"] > before["known"]
    assert "list of the end" in capsys.readouterr().err


def test_a_period_that_cannot_be_is_refused() -> None:
    for text, why in (("2021-01-01", "is not FROM:TO"), ("2022-01-01:2021-01-01", "ends before it begins")):
        with pytest.raises(UserError, match=why):
            universe.main(["all", "--period", text])


def test_a_period_without_bars_is_named_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path)
    argv = ["all,price:1000000000", "--data", str(tmp_path), "--timeframe", "1d", "--quarantine", "off"]
    with pytest.raises(UserError, match="the period from 2030-01-01 to 2031-01-01 has fewer than two of the bars"):
        universe.main([*argv, "--period", "2030-01-01:2031-01-01"])
    universe.main(argv)
    assert "The list of the end: nobody." in capsys.readouterr().out


def test_a_checkpoint_of_a_universe_goes_on_paper_as_it_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path / "store", panel(1800, 6, seed=7, kind="spot"))
    rule = "top:3:volume12h,age:2d,renew:12h"
    monkeypatch.setattr(Run, "_draw", lambda *given: None)
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    argv = ["--data", str(tmp_path / "store"), "--universe", rule, "--agents", "cross_sectional", *places]
    argv += ["--set", "agent.cross_sectional.lookback_bars=6", "--set", "agent.cross_sectional.hold_bars=2"]
    assert door(train.main, argv) == 0
    place = next((tmp_path / "runs").glob("*/agents/cross_sectional-0-0"))
    checkpoint = load_checkpoint(place)
    assert checkpoint.columns == (MEMBER,) and len(checkpoint.instruments) == 6
    assert data_for(checkpoint, {}).universe == rule
    said = paper.main([str(place), "--json", "--out", str(tmp_path / "paper")])
    history = load(data_for(checkpoint, {}))
    made, agent = deployed(checkpoint, history.instruments, history.columns, history.bar_ns, "store")
    segment = period_of(checkpoint, history, {}, None, None)
    record = backtest(made, agent, history, segment, window_of(made, agent))
    assert said is not None and said["journal_hash"] == record.digest
    assert (record.fills.quantity != 0.0).sum() > 20
    never_enlarged(history, record)
    told = [json.loads(e.payload) for e in read(tmp_path / "paper" / "journal.db") if e.kind == "universe"]
    span = history.rows(segment.start - 1, segment.stop)
    assert [one.pop("time") for one in told] == [one.time for one in changes(span)]
    assert told == [{w: list(of) for w, of in one._asdict().items() if w != "time" and of} for one in changes(span)]
    assert sum(len(one.get("left", ())) for one in told) > 3
    assert door(replay.main, [str(tmp_path / "paper"), "--checkpoint", str(place)]) == 0
