"""What a page of one session asks for: bars with true highs and lows, one of them told, the chain; and all alerts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qframe_rl.config import UserError
from qframe_rl.journal.store import Alert
from qframe_rl.service.candles import thinned_bars
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.tapes import counted
from tests.service.places import HOUR, START, Served, Session, until


class Cut(Session):
    """One in which the risk engine halved every order, and limits and stops are asked for."""

    def put(self, kind: str, **payload: Any) -> int:
        if kind == "decision":
            orders = {"quantity": [0.25, 0.0], "limit": [99.5, None]}
            payload |= {
                "reasons": ["max_order: 0.5 BTC/USDT is more than 0.25"],
                "orders": orders,
                "state": "REDUCE_ONLY",
            }
        return super().put(kind, **payload)


def test_bars_of_a_session_are_those_of_its_journal(service: Served, session: Session) -> None:
    with ServiceClient(service.url, service.token("read")) as client:
        bars = client.bars(session.id)
        assert bars.symbols == ["BTC/USDT", "ETH/USDT"]
        assert bars.n == len(bars.time_ns) == session.bars
        assert bars.time_ns[0] == str(START + HOUR)
        assert (bars.open[0], bars.high[0], bars.low[0], bars.close[0]) == (100.0, 101.0, 99.0, 100.0)
        assert sum(bars.bought) == pytest.approx(0.5 * session.bars)
        assert sum(bars.sold) == 0.0
        session.bar(2)
        until(lambda: client.bars(session.id).n == session.bars)
        few = client.bars(session.id, "ETH/USDT", points=5)
        assert (few.symbol, len(few.time_ns), few.n) == ("ETH/USDT", 5, session.bars)
        assert few.time_ns[-1] == str(START + session.bars * HOUR)
        assert sum(few.bought) == 0.0, "of the other coin"


def test_one_bar_is_told(service: Served, session: Session, root: Path) -> None:
    cut = Cut(root / "cut")
    cut.bar(3)
    with ServiceClient(service.url, service.token("read")) as client:
        told = client.inspect(session.id, START + 2 * HOUR + 5)
        assert told.time_ns == str(START + 2 * HOUR)
        assert [(o.symbol, o.quantity) for o in told.asked] == [("BTC/USDT", 0.5)]
        assert (told.sent, told.reasons, told.settled_ns) == (told.asked, [], str(START + 3 * HOUR))
        assert [(f.symbol, f.quantity, f.price, f.fee) for f in told.fills] == [("BTC/USDT", 0.5, 100.0, 0.05)]
        assert "the next bar's open" in told.fills[0].rule
        until(lambda: any(one.name == "cut" for one in client.sessions()))
        late = client.inspect(cut.id, START + 3 * HOUR)
        assert late.seq is None, "after its last bar it has decided nothing yet"
        one = client.inspect(cut.id, START + 2 * HOUR)
        assert one.state == "REDUCE_ONLY"
        assert one.reasons == ["max_order: 0.5 BTC/USDT is more than 0.25"]
        assert [(o.quantity, o.limit) for o in one.sent] == [(0.25, 99.5)]
        assert one.fills[0].rule.startswith("limit 99.5")
        assert client.bars(cut.id).cuts == [2.0, 1.0, 0.0], "the first decision was made before the first bar"
        with pytest.raises(UserError, match="no bar that closed by then"):
            client.inspect(session.id, START - 1)
        with pytest.raises(UserError, match="trades BTC/USDT, ETH/USDT"):
            client.bars(session.id, "XRP/USDT")
    cut.close()


def test_the_chain_is_checked_and_what_broke_it_is_told_without_a_path(service: Served, root: Path) -> None:
    spoiled = Session(root / "spoiled")
    spoiled.bar(3)
    with ServiceClient(service.url, service.token("read")) as client:
        until(lambda: any(one.name == "spoiled" for one in client.sessions()))
        good = client.check(spoiled.id)
        assert (good.holds, good.events) == (True, 12)
        spoiled.close()
        with closing(sqlite3.connect(root / "spoiled" / "journal.db")) as database, database:
            database.execute("DROP TRIGGER no_update")
            database.execute("UPDATE events SET payload = '{}' WHERE seq = 6")
        bad = client.check(spoiled.id)
        assert not bad.holds
        assert "is corrupt" in (bad.why or "")
        assert str(root) not in (bad.why or "")


def test_alerts_of_all_sessions_come_newest_first(service: Served, session: Session, root: Path) -> None:
    other = Session(root / "other")
    for one, text in ((session, "first"), (other, "second")):
        one.writer.alert(Alert("rule", text))
        one.bar()
    with ServiceClient(service.url, service.token("read")) as client:
        until(lambda: any(one.name == "other" for one in client.sessions()))
        told = [one for one in client.alerts() if one.rule == "rule"]
        assert [(one.name, one.text) for one in told] == [("other", "second"), ("alpha", "first")]
        assert [one.name for one in client.alerts(limit=1)] != ["alpha"]
    other.close()


@given(arrays(np.float64, st.tuples(st.integers(1, 60), st.just(5)), elements=st.floats(1, 9)), st.integers(1, 70))
def test_no_high_and_no_low_is_lost(values: Any, points: int) -> None:
    time = np.arange(len(values), dtype=np.int64)
    at, bars = thinned_bars(time, values, points, last=True)
    assert len(at) <= points
    assert bars[:, 1].max() == values[:, 1].max()
    assert bars[:, 2].min() == values[:, 2].min()
    assert (bars[0, 0], bars[-1, 3], at[-1]) == (values[0, 0], values[-1, 3], time[-1])
    assert bars[:, 4].sum() == pytest.approx(values[:, 4].sum())


@given(st.lists(st.integers(0, 100), max_size=50), st.lists(st.integers(0, 100), min_size=1, unique=True))
def test_each_moment_counts_in_one_stretch(times: list[int], ends: list[int]) -> None:
    last = sorted(ends)
    found = counted(np.array(last), np.array(times, dtype=np.int64))
    assert found.sum() == sum(time <= last[-1] for time in times)


def test_a_page_of_nothing_is_there_for_whoever_has_no_token(service: Served) -> None:
    assert httpx.get(f"{service.url}/").status_code == 200
    assert httpx.get(f"{service.url}/api/v1/alerts").status_code == 401
