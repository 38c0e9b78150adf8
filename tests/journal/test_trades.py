"""Trades by journals: with what the venue closed by itself they come to what the account holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qframe_rl.journal.store import read
from qframe_rl.journal.trades import trades_of
from tests.live.test_cost_basis import lived


def test_they_come_to_every_position_of_accounts_that_the_kernel_lived(tmp_path: Path) -> None:
    """Liquidations and last bars among them; fees of a bar are shared out to the last bit that a sum keeps."""
    forced = 0
    for seed in range(30):
        lived(tmp_path / f"{seed}.db", seed)
        symbols: list[str] = []
        held: dict[str, float] = {}
        for event in read(tmp_path / f"{seed}.db"):
            plain = json.loads(event.payload)
            if event.kind == "session":
                symbols = [one["symbol"] for one in plain["instruments"]]
            if event.kind not in ("started", "settled"):
                continue
            trades = list(trades_of(plain, symbols))
            forced += sum(one.forced for one in trades)
            assert len({one.leg for one in trades}) == len(trades)
            after = dict(zip(symbols, plain["account"]["position"], strict=True))
            for symbol in symbols:
                own = [one for one in trades if one.symbol == symbol]
                moved = sum(one.quantity for one in own)
                room = 1e-9 * max(abs(after[symbol]), *(abs(one.quantity) for one in own), 1e-9)
                if event.kind == "settled":
                    assert after[symbol] - held[symbol] == pytest.approx(moved, abs=room), (seed, event.seq)
            fees = (plain.get("fills") or {}).get("fee") or []
            assert sum(one.fee for one in trades) == pytest.approx(sum(fee or 0.0 for fee in fees))
            held = after
    assert forced > 5


@pytest.mark.parametrize(
    "columns", [{"quantity": [1.0]}, {"quantity": [1.0, 0.0, 0.0]}, {"quantity": [1.0, "x"]}, {"forced": [1.0]}]
)
def test_what_no_session_writes_is_refused(columns: dict[str, list[object]]) -> None:
    with pytest.raises((ValueError, LookupError)):
        list(trades_of({"fills": columns | {"price": [1.0, 1.0]}}, ("A/USDT", "B/USDT")))
