"""Answers of an account that are of another form are unclear and asked for again; mistakes of ours surface."""

from __future__ import annotations

from functools import partial
from typing import Any

import ccxt
import pytest

from qframe_rl.config import Unavailable
from qframe_rl.types import Instrument
from qframe_rl.venues import reading, resting
from qframe_rl.venues.reading import Known, Reader
from qframe_rl.venues.resting import Ours
from qframe_rl.venues.timely import Asking
from tests.venues.fake import SYMBOL, Fake

TRADE = {
    "id": "7", "order": "1", "symbol": SYMBOL, "side": "buy", "amount": 1.0, "price": 10.0, "timestamp": 1,
}  # fmt: skip
ORDER = {"id": "1", "clientOrderId": "x", "side": "buy", "amount": 1.0}
HELD = {"symbol": SYMBOL, "contracts": 1.0, "contractSize": 1.0, "entryPrice": 10.0, "side": "long"}
KNOWN = Known(Ours((), (), ()), {}, (), 1, began=True)


def read(fake: Any) -> Any:
    reader = Reader(fake, (Instrument(SYMBOL, "perpetual", lot=0.01),), lambda: 2_000_000)
    return reader.read(KNOWN, Asking(fake, 0.0, lambda text: None))


def said(name: str, answer: Any) -> Any:
    """A fake that gives one answer."""
    fake = Fake()
    fake.has["fetchFundingHistory"] = True
    fake.fetch_funding_history = lambda *given: []  # type: ignore[attr-defined]
    setattr(fake, name, lambda *given: answer)
    return fake


SPOILED = [
    *[("fetch_balance", x) for x in (None, [], {}, {"USDT": None}, {"USDT": {}}, {"USDT": {"total": "much"}})],
    *[("fetch_balance", {"USDT": {"total": x}}) for x in (float("nan"), [1.0])],
    *[("fetch_balance", {"info": {"assets": x}}) for x in (None, [None], [{"asset": "USDT", "walletBalance": "?"}])],
    *[("fetch_positions", x) for x in (None, {}, [None], [{}], [HELD | {"contracts": "x"}], [HELD | {"symbol": "B"}])],
    *[("fetch_my_trades", x) for x in (None, {}, [None], [{}], [TRADE | {"amount": None}], [TRADE | {"side": None}])],
    *[("fetch_funding_history", x) for x in (None, [None], [{}], [{"id": None, "amount": 1.0}])],
    *[("fetch_open_orders", x) for x in (None, [None], [{}], [ORDER | {"side": None}], [ORDER | {"id": None}])],
]


@pytest.mark.parametrize(("name", "answer"), SPOILED)
def test_an_answer_of_another_form_is_unclear(name: str, answer: Any) -> None:
    with pytest.raises(Unavailable, match="BadResponse"):
        read(said(name, answer))


def test_an_answer_of_the_right_form_is_clear() -> None:
    fake = said("fetch_my_trades", [TRADE | {"fee": {"cost": 0.5, "currency": "USDT"}}])
    assert [(one["quantity"], one["fee"]) for one in read(fake)["trades"]] == [(1.0, 0.5)]


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, AttributeError])
def test_what_the_parsers_of_ccxt_raise_is_unclear(kind: type[Exception]) -> None:
    fake = Fake()
    fake.fails["fetch_balance"] = [kind("x")] * 9
    with pytest.raises(Unavailable):
        read(fake)


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, AttributeError])
@pytest.mark.parametrize(("module", "name"), [(reading, "_wallet"), (reading, "_trade"), (resting, "_resting")])
def test_a_mistake_of_ours_surfaces(
    module: Any, name: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*given: Any) -> Any:
        raise kind("ours")

    fake = said("fetch_my_trades", [TRADE])
    fake.fetch_open_orders = lambda *given: [ORDER]
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(kind, match="ours"):
        read(fake)


def test_a_request_put_with_wrong_arguments_surfaces() -> None:
    fake = Fake()
    fake.fetch_balance = lambda one, two: {}  # type: ignore[assignment]
    with pytest.raises(TypeError, match="missing 2"):
        read(fake)


def test_a_mistake_of_ours_in_a_request_is_put_once() -> None:
    calls = []

    def wrong() -> None:
        calls.append(1)
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        Asking(Fake(), 60.0, lambda text: None)(wrong)
    assert len(calls) == 1


def test_an_unclear_answer_is_asked_for_again() -> None:
    fake = Fake()
    fake.fails["fetch_balance"] = [ccxt.RequestTimeout("no"), TypeError("a parser's")]
    reader = Reader(fake, (Instrument(SYMBOL, "perpetual", lot=0.01),), lambda: 2_000_000)
    assert reader.agreed(partial(Asking(fake, 60.0, lambda text: None)))[0] == 1000.0
