"""What became of orders that are out, all asked for at the same time; and cancels, as often as wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from qframe_rl.exchanges import amount_unit, conventions
from qframe_rl.feeds.answer import answer, shaped
from qframe_rl.feeds.task import PendingRequest
from qframe_rl.journal.codec import Plain
from qframe_rl.types import Instrument
from qframe_rl.venues.answers import OrderState, TradeAnswer
from qframe_rl.venues.resting import Resting, call_off
from qframe_rl.venues.sweep import FAILURES
from qframe_rl.venues.timely import Asking

_ANSWER_S = 1.0


class OrderStates:
    """Asks one market of one exchange.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets; None in a replay.
    instrument
        The market.
    note
        Told in one line of every failure.
    """

    def __init__(self, client: Any, instrument: Instrument, note: Callable[[str], None]):
        self._client, self._instrument, self._note = client, instrument, note
        self._failing = False

    def called_off(self, ids: Sequence[str]) -> Plain:
        """Cancel orders: ids of those of which the exchange said so, and ``left``, of which it did not.

        Parameters
        ----------
        ids
            The exchange's; one that is there no more is as good as cancelled.
        """
        symbol = self._instrument.symbol
        rests = {number: Resting(number, "", symbol, False, 0.0, False) for number in ids}
        gone = self._all({k: partial(call_off, self._client, one) for k, one in rests.items()})
        left = [number for number in ids if number not in gone]
        return {"orders": list(gone)} | ({"left": left} if left else {})

    def states(self, orders: Mapping[str, tuple[str, int]]) -> Plain:
        """States of orders by their names, as far as there is an answer.

        Parameters
        ----------
        orders
            By name the exchange's id, and lots whose trades are known.

        Returns
        -------
        dict
            Of each ``status`` in CCXT's words, lots ``filled``, and all ``trades`` of an order of which more is filled
            than was known.
        """
        return self._all({name: partial(self._state, *one) for name, one in orders.items()}, put=False)

    def _all(self, requests: Mapping[str, Callable[[], Any]], *, put: bool = True) -> dict[str, Any]:
        """Answers of requests that are put at the same time; those that have none soon are left out.

        That some have none is said once, and that all have one again.
        """
        asking = Asking(self._client, 0.0, self._note)
        tasks = {k: PendingRequest(partial(asking, one) if put else one) for k, one in requests.items()}
        until, found, why = time.monotonic() + _ANSWER_S, {}, ""
        for name, task in tasks.items():
            if not task.wait(until - time.monotonic()):
                why = why or f"no answer in {_ANSWER_S:g} s"
                continue
            try:
                found[name] = task.result()
            except FAILURES as error:
                why = why or str(error).rstrip(".")
        if tasks and bool(why) is not self._failing:
            self._failing = bool(why)
            said = f"{why}; asked again until it answers" if why else "answered again"
            self._note(f"orders of {self._instrument.symbol}: {said}")
        return found

    def _state(self, number: str, counted: int) -> Plain:
        symbol, asking = self._instrument.symbol, Asking(self._client, 0.0, self._note)
        unit = amount_unit(self._client.id, self._client.market(symbol))
        state: OrderState = shaped(OrderState, asking(partial(answer, self._client.fetch_order, number, symbol)))
        filled = round((state.filled or 0.0) * unit / self._instrument.lot)
        told: Plain = {"status": state.status, "filled": filled}
        if filled > counted:
            page = conventions(self._client.id).trades_page
            request = partial(answer, self._client.fetch_my_trades, symbol, None, page, {"orderId": number})
            trades: list[TradeAnswer] = shaped(list[TradeAnswer], asking(request))
            told["trades"] = [_trade(one, unit) for one in trades if str(one.order) == number]
        return told


def _trade(one: TradeAnswer, unit: float) -> Plain:
    paid = 0.0 if one.fee is None or one.fee.cost is None else one.fee.cost
    told = {"id": one.id, "quantity": one.amount * unit, "price": one.price}
    taken_in = None if one.fee is None or not paid else one.fee.currency
    if taken_in not in (None, one.symbol.partition("/")[2].partition(":")[0]):
        return told | {"fee": 0.0, "fee_in": taken_in}
    return told | {"fee": paid}
