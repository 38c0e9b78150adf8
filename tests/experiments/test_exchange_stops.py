"""Stop orders on the exchange, coins and contracts: after each bar none rests, and a kill switch takes them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.journal.inbox import order
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.rehearsal import Fault, Rehearsal, RehearsalConfig, serve
from qframe_rl.types import Orders
from tests.experiments.test_exchange_orders import FIRST, HOUR_MS, KINDS, checkpoints, markets, recorded, session, truth
from tests.experiments.test_rehearsed_paper import account

__all__ = ["checkpoints"]
OPEN = ("NEW", "PARTIALLY_FILLED")


class Guarded(Memoryless):
    """Buys at every second bar, and then rests stops: one so far away that it never fires, one so near that it does.

    Parameters
    ----------
    share
        Where the stops are, as fractions of the last close.
    """

    window = 2

    def __init__(self, share: tuple[float, float]):
        self.share = np.array(share)

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        if not view.account.position.all():
            return Orders.market(np.full(n, 2.0))
        stop = np.round(view.bars[-1, :, 3] * self.share, 2)
        return Orders(np.full(n, -1.0), np.full(n, np.nan), stop)


def rests(exchange: Rehearsal, kind: str) -> list[Any]:
    """Orders on the exchange that may still fill, conditional ones among them."""
    own = exchange.truth()["accounts"]["rehearsal"]
    listed = [one for one in truth(exchange, kind)[1] if one["status"] in OPEN]
    return [*listed, *(one for one in own["algos"] if one["status"] == "NEW")]


@pytest.mark.parametrize("kind", KINDS)
def test_stops_are_taken_back_after_each_bar_and_what_fired_is_counted(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    seen: list[int] = []
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        options = {"agent": Guarded((0.7, 0.999)), "between": lambda now: seen.append(len(rests(exchange, kind)))}
        for hours in (4, 9):
            result = session(checkpoints[kind], kind, exchange, tmp_path, FIRST + hours * HOUR_MS + 10_000, **options)
    assert max(seen) <= 2, "stops of earlier bars rest"
    assert not [p for k, p in recorded(tmp_path) if k == "state"], "a stop that fired was taken for a stranger's order"
    fills = [p["fills"].get("quantity", [0.0, 0.0]) for k, p in recorded(tmp_path) if k == "settled"]
    assert min(quantity[1] for quantity in fills) < 0.0, "no stop fired"
    assert min(quantity[0] for quantity in fills) == 0.0
    market, _, terms = reopened(tmp_path / "journal.db", checkpoints[kind])
    assert replay(market, Guarded((0.7, 0.999)), terms, tmp_path / "journal.db").digest == result.digest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["halt", "flatten"])
def test_a_kill_switch_takes_stops_back(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, word: str
) -> None:
    when, seen = FIRST + 6 * HOUR_MS + 600_000, []
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= when and not seen:
                order(tmp_path / "journal.db", word)
            if now >= when:
                seen.append(len(rests(exchange, kind)))

        until = FIRST + 8 * HOUR_MS + 10_000
        session(checkpoints[kind], kind, exchange, tmp_path, until, between, Guarded((0.7, 0.7)))
        held = truth(exchange, kind)[0]
    assert seen[:2] == [2, 0]
    assert len([q for q in held.values() if q > 0.01]) == (2 if word == "halt" else 0)


@pytest.mark.parametrize("fault", ["drop-after", "unknown-after", "timeout-after"])
def test_a_stop_whose_answer_was_lost_is_found_and_not_sent_again(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with serve(markets("perpetual"), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        exchange.inject(Fault(kind=fault, at="usdm.algoOrder.post"))
        until = FIRST + 3 * HOUR_MS + 10_000
        session(checkpoints["perpetual"], "perpetual", exchange, tmp_path, until, agent=Guarded((0.7, 0.7)))
        algos = exchange.truth()["accounts"]["rehearsal"]["algos"]
    accepted = {p["name"]: p["order"] for k, p in recorded(tmp_path) if k == "outcome" and p.get("apart")}
    assert {one["client"]: str(one["id"]) for one in algos} == accepted
