"""Children on the wire: the rehearsal exchange sees whole lots that sum to the parent; a flatten ends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import train
from experiments.cli import door
from qframe_rl.agent import Memoryless, View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.execution import ParentOrder, Worked, plan_of
from qframe_rl.journal.inbox import order
from qframe_rl.live.open import opened_live, reopened
from qframe_rl.live.paper import paper, replay
from qframe_rl.rehearsal import RehearsalConfig, serve
from qframe_rl.types import HOUR, Orders
from tests.experiments.test_exchange_orders import (
    FIRST,
    HOUR_MS,
    KINDS,
    Watched,
    checkpoints,
    markets,
    recorded,
    session,
    truth,
)
from tests.experiments.test_rehearsed_paper import account

__all__ = ["checkpoints"]
OWN = 4 * HOUR


class Buys(Memoryless):
    """Buys ten of everything at each bar of its own."""

    window = 2

    def decide(self, view: View) -> Orders:
        return Orders.market(np.full(len(view.account.position), 10.0))


def worked(place: Path, way: str) -> tuple[Worked, list[ParentOrder]]:
    told = list[ParentOrder]()
    made = Worked(Buys(), plan_of(way), load_checkpoint(place).instruments, OWN, HOUR, 2)
    made.told = told.append
    return made, told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["twap:3h", "passive"])
def test_the_exchange_sees_children_that_sum_to_the_parent(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, way: str
) -> None:
    place = checkpoints[kind]
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        agent, told = worked(place, way)
        session(place, kind, exchange, tmp_path, FIRST + 7 * HOUR_MS + 10_000, agent=agent)
        again, more = worked(place, way)
        result = session(place, kind, exchange, tmp_path, FIRST + 14 * HOUR_MS + 10_000, agent=again)
        held, orders = truth(exchange, kind)
    assert len({p.time for p in [*told, *more]}) >= 3
    for p in [*told, *more]:
        assert p.filled == pytest.approx(p.quantity, rel=2e-3)  # a coin's fee is paid in it
    for p in [*told, *more]:
        begun, symbol = p.time // 1_000_000, f"C{p.instrument}USDT"
        each = [one for one in orders if one["symbol"] == symbol and begun <= one["created"] < begun + 4 * HOUR_MS]
        assert sum(float(one["filled"]) for one in each) == pytest.approx(10.0, abs=1e-12)
    kinds = {one["type"] for one in orders}
    if way == "passive":
        assert "LIMIT" in kinds
        assert kinds <= {"LIMIT", "MARKET"}
    else:
        assert kinds == {"MARKET"}
        assert {round(float(one["quantity"]), 3) for one in orders} == {3.333, 3.334}, "not in slices"
    assert not [p for k, p in recorded(tmp_path) if k == "state"]
    market, _, terms = reopened(tmp_path / "journal.db", place)
    assert replay(market, worked(place, way)[0], terms, tmp_path / "journal.db").digest == result.digest
    assert set(held) == {"C0", "C1"}


@pytest.mark.parametrize("way", ["twap:4h", "passive"])
def test_a_flatten_ends_a_parent_at_once_and_nothing_of_it_comes_after(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    kind, place, when = "perpetual", checkpoints["perpetual"], FIRST + 5 * HOUR_MS + 600_000
    seen: dict[int, Any] = {}
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= when and not seen:
                order(tmp_path / "journal.db", "flatten")
            if now >= when:
                seen[now] = truth(exchange, kind)

        session(place, kind, exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, between, worked(place, way)[0])
        before, at_once = (seen[moment] for moment in sorted(seen)[:2])
        last = truth(exchange, kind)
    assert before[0], "nothing was held when it was told"
    assert sorted(seen)[1] < FIRST + 6 * HOUR_MS, "it waited for the next bar"
    for held, orders in (at_once, last):
        assert not any(abs(q) > 1e-3 for q in held.values())
        assert not [one for one in orders if one["status"] in ("NEW", "PARTIALLY_FILLED")]
    assert len(last[1]) == len(at_once[1]), "a child went out after the flatten"


def test_live_bars_that_are_finer_than_the_strategys_are_traded_and_run_again(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = ["lookback_bars=4", "volatility_bars=4", "band=0.0"]
    argv = [
        "--data",
        "synthetic:gbm",
        "--timeframe",
        "4h",
        "--bars",
        "1000",
        "--agents",
        "momentum",
        "--set",
        "env.features=log_return:1",
    ]
    argv += [word for text in rule for word in ("--set", f"agent.momentum.{text}")]
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    assert door(train.main, [*argv, *places]) == 0
    place = next((tmp_path / "runs").glob("*/agents/momentum-0-0"))
    with serve(markets("spot"), RehearsalConfig(prints=4), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        for hours in (11, 24):
            clock = Watched(exchange, FIRST + hours * HOUR_MS + 10_000, lambda now: None)
            opened = opened_live(
                place, load_checkpoint(place), {"exchange": "binance", "symbols": ("C0/USDT",), "timeframe": "1h"},
                tmp_path / "session", exchange.url, print, clock=clock, execute="twap:3h",
            )  # fmt: skip
            clock.feed = opened.feed
            result = paper(
                opened.market, opened.agent, opened.feed, opened.terms, opened.folder, quotes=opened.quotes,
                durable=False, process={"checkpoint": str(place)}, snapshot_bars=4,
            )  # fmt: skip
    assert result.bars == 24
    sizes = [
        one["fills"].get("quantity", [0.0])[0] for kind, one in recorded(tmp_path / "session") if kind == "settled"
    ]
    assert sum(size != 0.0 for size in sizes) >= 6, "no children"
    market, agent, terms = reopened(tmp_path / "session" / "journal.db", None)
    assert (terms.execute, terms.source["timeframe"]) == ("twap:3h", "1h")
    assert replay(market, agent, terms, tmp_path / "session" / "journal.db").digest == result.digest
