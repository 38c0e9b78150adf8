"""Orders that go out to the rehearsal exchange through the genuine CCXT client: coins, and the kill switch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import control
from experiments.cli import door
from qframe_rl.agent import Memoryless, View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.feeds.download import download
from qframe_rl.journal.inbox import order
from qframe_rl.journal.store import read
from qframe_rl.live.open import Opened, opened_live
from qframe_rl.live.paper import SessionResult, paper
from qframe_rl.live.permit import exchange_venue
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.faults import script_of
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.risk.limits import Limits
from qframe_rl.types import HOUR, Orders
from qframe_rl.venues.ccxt import ExchangeVenue
from tests.experiments.test_rehearsed_paper import Lockstep, account, same_again, trained
from tests.markets import START, panel

HOUR_MS = 3_600_000
N_BARS = 900
KINDS = ("spot", "perpetual")
SYMBOLS = {"spot": ("C0/USDT", "C1/USDT"), "perpetual": ("C0/USDT:USDT", "C1/USDT:USDT")}
WIRE = {"spot": "spot", "perpetual": "usdm"}
FIRST = (START + (N_BARS - 100) * HOUR) // 1_000_000
"""When the sessions begin, ms."""


def markets(kind: str) -> tuple[ListedMarket, ...]:
    return listed(panel(N_BARS, 2, seed=5, volatility=0.01, ragged=False, column=False, kind=kind))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A strategy for coins and one for contracts, trained on bars that were downloaded from the exchange."""
    made = {}
    for kind, symbols in SYMBOLS.items():
        folder = tmp_path_factory.mktemp(kind)
        with serve(markets(kind), speed="max") as exchange:
            root = folder / "store"
            stop = START + (N_BARS - 1) * HOUR
            download("binance", symbols, "1h", START - HOUR, stop, root=root, url=exchange.url, pause_s=0.0)
        made[kind] = trained(root, symbols, folder)
    yield made


class Watched(Lockstep):
    """Lets the session look after its operator while it waits, as a live clock does, and calls ``between`` first."""

    def __init__(self, exchange: Rehearsal, until_ms: int, between: Callable[[int], None]):
        super().__init__(exchange, until_ms)
        self.between = between
        self.feed: Any = None

    def wait(self, seconds: float) -> None:
        super().wait(min(seconds, 300.0))
        self.between(self._exchange.now_ms)
        self.feed.idle()


class Resting(Memoryless):
    """Buys a little of everything at each bar, and rests an order to buy far below the market."""

    window = 2

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        if (view.time // HOUR) % 2:
            return Orders.market(np.full(n, 2.0))
        far = np.round(view.bars[-1, :, 3] * 0.6, 2)
        return Orders(np.full(n, 1.0), far, np.full(n, np.nan))


def session(
    place: Path,
    kind: str,
    exchange: Rehearsal,
    folder: Path,
    until_ms: int,
    between: Callable[[int], None] = lambda now: None,
    agent: Any = None,
    name: str = "binance",
    **options: Any,
) -> SessionResult:
    """Run a session with orders until a moment, or go on with it."""
    clock = Watched(exchange, until_ms, between)
    opened: Opened = opened_live(
        place, load_checkpoint(place), {"exchange": name, "symbols": SYMBOLS[kind]}, folder, exchange.url,
        lambda text: None, orders="testnet", clock=clock,
    )  # fmt: skip
    clock.feed = opened.feed
    if agent is not None:
        opened = replace(opened, agent=agent)
    venue = exchange_venue(opened.feed, opened.terms, exchange.url, print, margin_ms=100, recv_window_ms=500)
    return paper(
        opened.market, opened.agent, opened.feed, opened.terms, opened.folder, quotes=opened.quotes, durable=False,
        process={"checkpoint": "given"}, venue=venue, snapshot_bars=4, **{"limits": Limits(filters=True)} | options,
    )  # fmt: skip


def truth(exchange: Rehearsal, kind: str) -> tuple[dict[str, float], list[Any]]:
    """What the exchange's own books hold: base units by coin, and all orders."""
    own = exchange.truth()["accounts"]["rehearsal"]
    if kind == "perpetual":
        held = {name.removesuffix("USDT"): float(q) for name, q in own["usdm"]["positions"].items()}
    else:
        coins = {name: float(q) for part in ("free", "locked") for name, q in own["spot"][part].items() if float(q)}
        held = {name: q for name, q in coins.items() if name != "USDT"}
    return {name: q for name, q in held.items() if q}, own["orders"][WIRE[kind]]


def recorded(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(e.kind, json.loads(e.payload)) for e in read(folder / "journal.db")]


@pytest.mark.parametrize("faults", ["none", "orders"])
def test_coins_are_bought_and_sold_once_and_the_account_is_the_exchanges(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: str
) -> None:
    config = RehearsalConfig(prints=4, cash=100_000.0)
    with serve(markets("spot"), config, start_ms=FIRST + 5_000, faults=script_of(faults)) as exchange:
        account(exchange, monkeypatch)
        for n_bars in (20, 45):
            result = session(checkpoints["spot"], "spot", exchange, tmp_path, FIRST + n_bars * HOUR_MS + 10_000)
        held, orders = truth(exchange, "spot")
    assert result.bars == 45
    events = recorded(tmp_path)
    accepted = {p["name"]: p["order"] for k, p in events if k == "outcome" and p["status"] == "accepted"}
    assert {one["side"] for one in orders} == {"BUY", "SELL"}
    assert {one["client"]: str(one["id"]) for one in orders} == accepted
    assert not [p for k, p in events if k in ("state", "aside")]
    settled = [p for k, p in events if k == "settled"]
    assert all(abs(q) < 1e-3 for p in settled for q in p["fills"].get("cancelled", ())), "more than a rest of a lot"
    position = settled[-1]["account"]["position"]
    assert {f"C{a}": q for a, q in enumerate(position) if q} == pytest.approx(held)
    fees_and_prices_explain_the_equity(settled)
    same_again(tmp_path, checkpoints["spot"], result.digest)


def fees_and_prices_explain_the_equity(settled: list[dict[str, Any]]) -> None:
    """Equity moves by positions times marks, fills and their fees, and by nothing else."""
    for before, after in pairwise(settled):
        old, new, fills = before["account"], after["account"], after["fills"]
        quantity, price, fee = (np.array(fills.get(name, [0.0, 0.0])) for name in ("quantity", "price", "fee"))
        mark, was = np.array(new["mark"]), np.array(old["mark"])
        moved = np.array(old["position"]) @ (mark - was) + (quantity * (mark - price)).sum() - fee.sum()
        assert new["equity"] - old["equity"] == pytest.approx(moved, abs=1e-6)


@pytest.mark.parametrize(("kind", "minute"), [("spot", 45), ("perpetual", 5), ("perpetual", 45)])
def test_flatten_closes_everything_at_once_halts_and_only_resume_leaves_it(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, minute: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place, when = checkpoints[kind], FIRST + 6 * HOUR_MS + minute * 60_000
    seen: dict[int, tuple[dict[str, float], list[Any]]] = {}
    config = RehearsalConfig(prints=4, cash=100_000.0)
    with serve(markets(kind), config, start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= when and not seen:
                order(tmp_path / "journal.db", "flatten")
            if now >= when:
                seen[now] = truth(exchange, kind)

        session(place, kind, exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, between, Resting())
        moments = sorted(seen)
        before, at_once = seen[moments[0]], seen[moments[1]]
        assert len(before[0]) == 2
        assert moments[1] < FIRST + 7 * HOUR_MS, "it waited for the next bar"
        assert flat(at_once[0])
        assert not [one for one in at_once[1] if one["status"] in ("NEW", "PARTIALLY_FILLED")]
        n_orders = len(truth(exchange, kind)[1])
        assert [p["state"] for k, p in recorded(tmp_path) if k == "state"] == ["FLATTEN", "HALTED"]

        session(place, kind, exchange, tmp_path, FIRST + 12 * HOUR_MS + 10_000, agent=Resting())
        assert len(truth(exchange, kind)[1]) == n_orders, "an order went out while trading was halted"
        assert flat(truth(exchange, kind)[0])

        assert door(control.main, ["resume", str(tmp_path)]) == 0
        capsys.readouterr()
        result = session(place, kind, exchange, tmp_path, FIRST + 15 * HOUR_MS + 10_000, agent=Resting())
        assert len(truth(exchange, kind)[1]) > n_orders
        assert [p["state"] for k, p in recorded(tmp_path) if k == "state"] == ["FLATTEN", "HALTED", "ACTIVE"]
    assert result.bars == 15


class Killed(BaseException):
    """Ends a session as a signal would that nothing can catch."""


def test_a_flatten_that_was_killed_half_way_is_finished_at_the_next_start(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, when = checkpoints["perpetual"], FIRST + 6 * HOUR_MS + 300_000
    seen: list[dict[str, float]] = []
    with serve(markets("perpetual"), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def killed(venue: ExchangeVenue) -> Any:
            raise Killed

        def between(now: int) -> None:
            if now >= when:
                order(tmp_path / "journal.db", "flatten")

        with monkeypatch.context() as half_way:
            half_way.setattr(ExchangeVenue, "held", killed)
            with pytest.raises(Killed):
                session(place, "perpetual", exchange, tmp_path, FIRST + 9 * HOUR_MS, between, Resting())
        assert len(truth(exchange, "perpetual")[0]) == 2

        def noted(now: int) -> None:
            seen.append(truth(exchange, "perpetual")[0])

        result = session(place, "perpetual", exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, noted, Resting())
        assert flat(seen[0])
    assert [p["state"] for k, p in recorded(tmp_path) if k == "state"] == ["FLATTEN", "HALTED"]
    assert result.bars == 9


def flat(held: dict[str, float]) -> bool:
    """Whether nothing is left that is a lot or more."""
    return all(abs(quantity) < 1e-3 for quantity in held.values())


@pytest.mark.parametrize("kind", KINDS)
def test_halt_cancels_what_rests_keeps_what_is_held_and_says_so(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place, when = checkpoints[kind], FIRST + 6 * HOUR_MS + 600_000
    seen: dict[int, tuple[dict[str, float], list[Any]]] = {}
    with serve(markets(kind), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= when and not seen:
                (tmp_path / "HALT").touch()
            if now >= when:
                seen[now] = truth(exchange, kind)

        session(place, kind, exchange, tmp_path, FIRST + 9 * HOUR_MS + 10_000, between, Resting())
        last = truth(exchange, kind)
    moments = sorted(seen)
    before, at_once = seen[moments[0]], seen[moments[1]]
    assert len(before[0]) == 2
    assert at_once[0] == before[0] == last[0]
    assert not [one for one in at_once[1] if one["status"] in ("NEW", "PARTIALLY_FILLED")]
    assert len(last[1]) == len(before[1])
    assert any(one["status"] == "CANCELED" for one in at_once[1])
    assert door(control.main, ["halt", str(tmp_path)]) == 0
    held = ", ".join(f"{float(before[0][f'C{a}']):+g} {symbol}" for a, symbol in enumerate(SYMBOLS[kind]))
    assert f"it leaves open what is held ({held}): flatten closes it" in capsys.readouterr().err


def test_several_commands_between_two_bars_replay_as_they_came(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = checkpoints["perpetual"]
    words = ["halt", "resume", "reduce", "resume", "flatten", "resume"]
    given: list[str] = []
    with serve(markets("perpetual"), RehearsalConfig(prints=4, cash=100_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)

        def between(now: int) -> None:
            if now >= FIRST + 3 * HOUR_MS + 600_000 and len(given) < len(words):
                given.append(words[len(given)])
                order(tmp_path / "journal.db", given[-1])

        for hours in (5, 8):
            result = session(place, "perpetual", exchange, tmp_path, FIRST + hours * HOUR_MS + 10_000, between)
    assert [p["word"] for k, p in recorded(tmp_path) if k == "command"] == words
    assert [p["state"] for k, p in recorded(tmp_path) if k == "state"] == [
        "HALTED", "ACTIVE", "REDUCE_ONLY", "ACTIVE", "FLATTEN", "ACTIVE"
    ]  # fmt: skip
    same_again(tmp_path, place, result.digest)


def test_a_loss_limit_flattens_and_halts(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = checkpoints["perpetual"]
    with serve(markets("perpetual"), RehearsalConfig(prints=4, cash=2_000.0), start_ms=FIRST + 5_000) as exchange:
        account(exchange, monkeypatch)
        limits = Limits(filters=True, daily_loss=0.002)
        session(place, "perpetual", exchange, tmp_path, FIRST + 30 * HOUR_MS + 10_000, agent=Resting(), limits=limits)
        held, orders = truth(exchange, "perpetual")
    states = [p for k, p in recorded(tmp_path) if k == "state"]
    assert [p["state"] for p in states] == ["FLATTEN", "HALTED"]
    assert "daily_loss" in states[0]["reasons"][0]
    assert flat(held)
    assert not [one for one in orders if one["status"] == "NEW"]
