"""One instrument closed on the exchange, its orders taken back, while the other trades on; also after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qframe_rl.journal.inbox import locking_word, order
from qframe_rl.live.open import reopened
from qframe_rl.live.paper import replay
from qframe_rl.rehearsal import RehearsalConfig, serve
from qframe_rl.venues.ccxt import ExchangeVenue
from tests.experiments.test_exchange_orders import (
    FIRST,
    HOUR_MS,
    KINDS,
    SYMBOLS,
    Killed,
    Resting,
    checkpoints,
    markets,
    recorded,
    session,
    truth,
)
from tests.experiments.test_rehearsed_paper import account

__all__ = ["checkpoints"]
OPEN = ("NEW", "PARTIALLY_FILLED")


def resting(orders: list[Any]) -> set[str]:
    """Markets in which orders rest."""
    return {one["symbol"] for one in orders if one["status"] in OPEN}


@pytest.mark.parametrize("kind", KINDS)
def test_one_instrument_is_closed_at_once_and_the_other_trades_on(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    place, symbol, when = checkpoints[kind], SYMBOLS[kind][0], FIRST + 6 * HOUR_MS + 600_000
    seen: dict[int, tuple[dict[str, float], list[Any]]] = {}
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            told = truth(exchange, kind)
            if now < when or (not seen and resting(told[1]) != {"C0USDT", "C1USDT"}):
                return  # on a busy machine an order goes out later
            if not seen:
                order(tmp_path / "journal.db", locking_word("flatten", symbol))
            seen[now] = told

        session(place, kind, exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, between, Resting())
        before, at_once = (seen[moment] for moment in sorted(seen)[:2])
        locked = truth(exchange, kind)
        result = session(place, kind, exchange, tmp_path, FIRST + 11 * HOUR_MS + 10_000, agent=Resting())
        kept = truth(exchange, kind)
        order(tmp_path / "journal.db", locking_word("resume", symbol))
        result = session(place, kind, exchange, tmp_path, FIRST + 14 * HOUR_MS + 10_000, agent=Resting())
        last = truth(exchange, kind)
    first, second = ((moment - FIRST) // HOUR_MS for moment in sorted(seen)[:2])
    assert first == second, "it waited for the next bar"
    assert resting(at_once[1]) == {"C1USDT"}, "its orders rest, or those of the other were taken back"
    assert abs(at_once[0].get("C0", 0.0)) < 1e-3
    assert at_once[0]["C1"] == before[0]["C1"]
    for later in (locked, kept):
        assert abs(later[0].get("C0", 0.0)) < 1e-3
        assert "C0USDT" not in resting(later[1])
    assert before[0]["C1"] < locked[0]["C1"] < kept[0]["C1"], "the other does not trade on"
    assert last[0]["C0"] > 1.0
    assert not [p for k, p in recorded(tmp_path) if k == "state"]
    market, _, terms = reopened(tmp_path / "journal.db", place)
    assert replay(market, Resting(), terms, tmp_path / "journal.db").digest == result.digest


def test_a_close_that_was_killed_half_way_is_finished_at_the_next_start(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, symbol, when = checkpoints["spot"], SYMBOLS["spot"][0], FIRST + 6 * HOUR_MS + 600_000
    seen: list[dict[str, float]] = []
    with serve(markets("spot"), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def killed(venue: ExchangeVenue) -> Any:
            raise Killed

        def between(now: int) -> None:
            if now >= when:
                order(tmp_path / "journal.db", locking_word("flatten", symbol))

        with monkeypatch.context() as half_way:
            half_way.setattr(ExchangeVenue, "held", killed)
            with pytest.raises(Killed):
                session(place, "spot", exchange, tmp_path, FIRST + 9 * HOUR_MS, between, Resting())
        assert truth(exchange, "spot")[0]["C0"] > 1.0

        def noted(now: int) -> None:
            seen.append(truth(exchange, "spot")[0])

        session(place, "spot", exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, noted, Resting())
    assert abs(seen[0].get("C0", 0.0)) < 1e-3
    assert seen[0]["C1"] > 1.0
