"""Exits that rest on the exchange beside a position: they outlive bars and processes, and go with the position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.deploy import data_for, deployed
from qframe_rl.feeds.load import load
from qframe_rl.interface import protect
from qframe_rl.journal.inbox import order
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, History, Orders, Segment
from tests.experiments.test_exchange_orders import (
    FIRST,
    HOUR_MS,
    checkpoints,
    markets,
    recorded,
    session,
    truth,
)
from tests.experiments.test_exchange_stops import rests
from tests.experiments.test_rehearsed_paper import account

__all__ = ["checkpoints"]


class Protected(Memoryless):
    """Buys two of whatever it has none of, with exits beside it.

    Parameters
    ----------
    **exits
        As `protect` takes them.
    """

    window = 2

    def __init__(self, **exits: Any):
        self.exits = exits

    def decide(self, view: View) -> Orders:
        held = view.account.position
        return protect(view, Orders.market(np.where(held < 1.0, 2.0, 0.0)), **self.exits)


def run(
    place: Path, kind: str, exchange: Rehearsal, folder: Path, hours: int, agent: Any, between: Any = lambda now: None
) -> Any:
    return session(place, kind, exchange, folder, FIRST + hours * HOUR_MS + 10_000, between, agent)


def same_again(place: Path, folder: Path, agent: Any, digest: str) -> None:
    market, _, terms = reopened(folder / "journal.db", place)
    assert replay(market, agent, terms, folder / "journal.db").digest == digest


WIRES = ["perpetual"]


@pytest.mark.parametrize("kind", WIRES)
def test_exits_fill_beside_their_positions_and_nothing_is_left_over(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    agent, seen = Protected(stop=0.015, take=0.015, trail=0.02, bars=3), []
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        for hours in (7, 24):
            result = run(
                checkpoints[kind], kind, exchange, tmp_path, hours, agent,
                lambda now: seen.append(len(rests(exchange, kind))),
            )  # fmt: skip
        orders = truth(exchange, kind)[1]
    events = recorded(tmp_path)
    assert not [p for k, p in events if k in ("state", "aside")]
    assert max(seen) == 4, "a stop and a target for each of two instruments"
    settled = [p for k, p in events if k == "settled"]
    each = [np.array(p["fills"]["slots"]["quantity"]) for p in settled if "slots" in p["fills"]]
    by_slot = np.abs(np.stack(each)).sum(axis=(0, 1))
    assert (by_slot > 0.0).all(), f"entries, stops, targets and ends: {by_slot}"
    accepted = {p["name"] for k, p in events if k == "outcome" and p["status"] == "accepted"}
    assert len(orders) >= 10 and {p["name"] for k, p in events if k == "intent"} >= accepted
    same_again(checkpoints[kind], tmp_path, agent, result.digest)


@pytest.mark.parametrize("kind", WIRES)
@pytest.mark.parametrize("word", ["halt", "flatten", "reduce"])
def test_a_switch_leaves_no_order_and_reduce_leaves_exits_alone(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, word: str
) -> None:
    when, seen = FIRST + 3 * HOUR_MS + 600_000, []
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= when and not seen:
                order(tmp_path / "journal.db", word)
            if now >= when:
                seen.append(len(rests(exchange, kind)))

        agent = Protected(stop=0.3, take=0.3)
        result = run(checkpoints[kind], kind, exchange, tmp_path, 6, agent, between)
        held = truth(exchange, kind)[0]
    left = 4 if word == "reduce" else 0
    assert seen[0] == 4 and set(seen[1:]) == {left}
    assert len([q for q in held.values() if q > 0.01]) == (0 if word == "flatten" else 2)
    same_again(checkpoints[kind], tmp_path, agent, result.digest)


@pytest.mark.parametrize("kind", WIRES)
def test_exits_outlive_the_process_and_what_is_left_of_them_is_called_off_by_the_next(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    agent = Protected(stop=0.01, take=0.3)
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        run(checkpoints[kind], kind, exchange, tmp_path, 1, agent)
        assert len(rests(exchange, kind)) == 4
        exchange.advance(to_ms=FIRST + 30 * HOUR_MS)
        assert truth(exchange, kind)[0] == {}, "stops close what nobody looks after"
        result = run(checkpoints[kind], kind, exchange, tmp_path, 31, agent)
        held = truth(exchange, kind)[0]
        assert len(rests(exchange, kind)) == 2 * len(held) == 4
    assert not [p for k, p in recorded(tmp_path) if k in ("state", "aside")]
    same_again(checkpoints[kind], tmp_path, agent, result.digest)


@pytest.mark.parametrize(("kind", "name"), [("spot", "binance"), ("perpetual", "bybit")])
def test_orders_that_rest_are_refused_before_they_are_sent_where_that_was_never_rehearsed(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    config = RehearsalConfig(prints=4, cash=100_000.0, protocol=name)  # type: ignore[arg-type]
    with serve(markets(kind), config, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        with pytest.raises(UserError, match="was never rehearsed: leave --orders out"):
            session(
                checkpoints[kind], kind, exchange, tmp_path, FIRST + 2 * HOUR_MS, agent=Protected(stop=0.1), name=name
            )
        assert truth(exchange, kind)[1] == []


def smooth(place: Path) -> History:
    """Bars that open where the last one closed: what an open fills before the reading counts for the bar before."""
    history = load(data_for(load_checkpoint(place), {}))
    values = history.values.copy()
    values[..., OPEN : CLOSE + 1] = np.round(values[..., OPEN : CLOSE + 1], 2)
    values[1:, :, OPEN] = values[:-1, :, CLOSE]
    values[:, :, HIGH] = values[:, :, OPEN : CLOSE + 1].max(axis=-1)
    values[:, :, LOW] = values[:, :, OPEN : CLOSE + 1].min(axis=-1)
    return replace(history, values=values, funding=np.zeros_like(history.funding))


@pytest.mark.parametrize("kind", WIRES)
def test_the_record_is_that_of_the_backtest(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place, agent = checkpoints[kind], Protected(stop=0.02, take=0.02, trail=0.03, bars=4)
    history = smooth(place)
    market, _ = deployed(load_checkpoint(place), history.instruments, history.columns, history.bar_ns, "store")
    table = market.rules.table[0]
    config = RehearsalConfig(
        prints=30, cash=100_000.0, fills="bar", half_spread_bps=1e4 * table[HALF_SPREAD], impact=table[IMPACT]
    )
    with serve(listed(history), config, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        run(place, kind, exchange, tmp_path, 30, agent)
    settled = [p for k, p in recorded(tmp_path) if k == "settled"]
    begun = next(p["time"] for k, p in recorded(tmp_path) if k == "started")
    _, _, terms = reopened(tmp_path / "journal.db", place)
    history = replace(history, instruments=terms.instruments)
    market, _ = deployed(load_checkpoint(place), history.instruments, history.columns, history.bar_ns, "store")
    start, stop = (int(np.searchsorted(history.time, t, side="right")) for t in (begun, settled[-1]["time"]))
    record = backtest(market, agent, history, Segment(start, stop), terms.window)
    assert record.slots is not None
    filled = np.array([p["fills"]["slots"]["quantity"] for p in settled if "slots" in p["fills"]])
    theirs = record.slots.fills[1:, :, 0]
    assert (np.abs(theirs).sum(axis=(0, 1)) > 0.0).all(), "all kinds of exits"
    assert filled == pytest.approx(theirs, abs=1e-6)
    equity = [p["account"]["equity"] for p in settled]
    assert equity == pytest.approx(record.account.equity[1:].tolist(), abs=0.5), "a tick for each of some fills"
