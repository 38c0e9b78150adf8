"""What an exchange says of an account between two bars: trades, funding, wallet and positions."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

from pydantic import FiniteFloat

from qframe_rl.config import UserError
from qframe_rl.exchanges import conventions, paged
from qframe_rl.feeds.answer import answer, shaped
from qframe_rl.feeds.task import PendingRequest
from qframe_rl.journal.codec import Plain
from qframe_rl.types import Instrument
from qframe_rl.venues.answers import BalanceAnswer, FeeAnswer, PaymentAnswer, PositionAnswer, TickerAnswer, TradeAnswer
from qframe_rl.venues.resting import Ours, call_off, fired, resting
from qframe_rl.venues.timely import Asking

_DAY_MS = 86_400_000


class Known(NamedTuple):
    """What was known of an account when a reading began: copies, for it goes on in a thread of its own."""

    ours: Ours
    waiting: Mapping[str, int]
    """Instruments of conditional orders that an exchange keeps apart, by their ids."""
    seen: Collection[str]
    """Ids of trades and payments that were counted."""
    since_ms: int
    began: bool
    """Whether anything was ever ordered."""
    kept: bool = False
    """Whether what rests stays."""


class PendingReading(NamedTuple):
    """A reading of the account that is under way."""

    acts: int
    """How often anything had been sent or cancelled when it began."""
    asking: Asking
    task: PendingRequest[Plain]


class Reader:
    """Reads one account of one exchange.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets; None in a replay.
    instruments
        The A instruments, all of one kind and one quote currency.
    now
        The exchange's clock, ns UTC.

    Raises
    ------
    UserError
        For instruments of two kinds or quote currencies.
    """

    def __init__(self, client: Any, instruments: tuple[Instrument, ...], now: Callable[[], int]):
        self._quote = _one_quote(instruments)
        self._client, self._instruments, self._now = client, instruments, now

    def read(self, known: Known, asked: Asking) -> Plain:
        """Cancel what rests, unless it is kept, then read all that is new."""
        if known.kept:
            return self._read_beside(known, asked)
        for instrument in self._instruments:
            self.clear(instrument.symbol, known.ours, asked)
        became = self._became(known, asked)
        trades, funding = self._new(known, asked)
        cash, position = self.agreed(asked)
        # What nothing explains is set aside from here on; records of before there was that went on with it.
        said = {"trades": trades, "funding": funding, "cash": cash, "position": position, "aside": True}
        return said | ({"fired": became} if became else {})

    def _read_beside(self, known: Known, asked: Asking) -> Plain:
        """Read all that is new while orders rest, which may fill meanwhile: again, until nothing has moved."""
        before = self.agreed(asked)
        while True:
            trades, funding = self._new(known, asked)
            # What fired before its trade was read is known by then under the id of that trade.
            became = self._became(known, asked)
            rests = [one for i in self._instruments for one in asked(partial(resting, self._client, i.symbol))]
            after = self.agreed(asked)
            if after == before:
                break
            before = after
        there = [one.id for one in rests if not one.apart and known.ours.has(one)]
        said = {"trades": trades, "funding": funding, "cash": after[0], "position": after[1], "aside": True}
        return said | {"fired": became, "open": there}

    def _became(self, known: Known, asked: Asking) -> dict[str, str | None]:
        """Under which ids conditional orders went on."""
        return {
            number: asked(partial(fired, self._client, number, self._instruments[a].symbol))
            for number, a in known.waiting.items()
        }

    def _new(self, known: Known, asked: Asking) -> tuple[list[Plain], dict[str, list[Any]]]:
        """Trades and funding that were not counted yet."""
        trades: list[Plain] = []
        days = conventions(self._client.id).trades_days
        funding: dict[str, list[Any]] = {}
        for instrument in self._instruments if known.began else ():
            symbol = instrument.symbol
            for since in range(known.since_ms, self._now() // 1_000_000, (days - 1) * _DAY_MS):
                found = asked(partial(self._trades, symbol, since))
                trades += [_trade(one, self._quote) for one in found if one.id not in known.seen]
            paid = self.payments(instrument, known.since_ms, asked)
            funding |= {number: [symbol, cost] for number, cost in paid.items() if number not in known.seen}
        self._convert(trades, asked)
        return trades, funding

    def payments(self, instrument: Instrument, since_ms: int, asked: Asking) -> dict[str, float]:
        """Funding of an instrument by its id: what it cost, quote currency; nothing where there is none.

        Parameters
        ----------
        instrument
            The market.
        since_ms
            From when on, of which the exchange shows a hundred.
        asked
            Puts the requests.
        """
        if instrument.kind != "perpetual" or not self._client.has.get("fetchFundingHistory"):
            return {}
        sign = 1.0 if conventions(self._client.id).funding_costs else -1.0
        return {one.id: sign * one.amount for one in asked(partial(self._payments, instrument.symbol, since_ms))}

    def clear(self, symbol: str, ours: Ours, asked: Asking, held: float | None = None) -> list[str]:
        """Cancel orders of ours that rest in a market; return their ids.

        Parameters
        ----------
        symbol
            The market.
        ours
            Which orders are ours.
        asked
            Puts the requests.
        held
            Where it is given, orders that only reduce this position, base units, are left.
        """
        gone = []
        for order in asked(partial(resting, self._client, symbol)):
            if ours.has(order) and (held is None or not order.reduces(held)):
                asked(partial(call_off, self._client, order))
                gone.append(order.id)
        return gone

    def agreed(self, asked: Asking) -> tuple[float, list[float]]:
        """Cash and positions, once two readings in a row are the same."""
        last = asked(self._holdings)
        while True:
            time.sleep(0.05)
            again = asked(self._holdings)
            if again == last:
                return again
            last = again

    def _convert(self, trades: list[Plain], asked: Asking) -> None:
        """Turn fees that were taken in a third coin into quote currency, at the price it has now.

        Where the exchange lists no price of it in the quote currency, the fee stays 0 beside what was taken.
        """
        prices: dict[str, float] = {}
        for one in trades:
            coin = one.get("fee_in")
            market = None if coin is None else self._market_of(coin)
            if market is not None:
                if market not in prices:
                    prices[market] = asked(partial(self._price, market))
                one["fee_at"] = prices[market]
                one["fee"] = one["fee_paid"] * one["fee_at"]

    def _market_of(self, coin: str) -> str | None:
        """A market in which a coin has a price in the quote currency; None where there is none."""
        names = f"{coin}/{self._quote}", f"{coin}/{self._quote}:{self._quote}"
        return next((name for name in names if name in (self._client.markets or {})), None)

    def _price(self, market: str) -> float:
        ticker: TickerAnswer = shaped(TickerAnswer, answer(self._client.fetch_ticker, market))
        return ticker.last

    def _trades(self, symbol: str, since_ms: int) -> list[TradeAnswer]:
        page = conventions(self._client.id).trades_page
        said = answer(self._client.fetch_my_trades, symbol, since_ms, page, paged(self._client.id))
        trades: list[TradeAnswer] = shaped(list[TradeAnswer], said)
        return trades

    def _payments(self, symbol: str, since_ms: int) -> list[PaymentAnswer]:
        paid: list[PaymentAnswer] = shaped(
            list[PaymentAnswer], answer(self._client.fetch_funding_history, symbol, since_ms, 100)
        )
        return paid

    def _holdings(self) -> tuple[float, list[float]]:
        """Cash, and base units held; cash is such that with positions at their marks it comes to the equity."""
        balance: dict[str, Any] = shaped(dict[str, Any], answer(self._client.fetch_balance))
        wallet = _wallet(balance, self._quote)
        if self._instruments[0].kind == "spot":
            coins = (i.symbol.partition("/")[0] for i in self._instruments)
            return wallet, [_total(balance, coin) or 0.0 for coin in coins]
        symbols = [i.symbol for i in self._instruments]
        held = dict.fromkeys(symbols, 0.0)
        each = conventions(self._client.id).positions_each
        for one in (p for part in ([[s] for s in symbols] if each else [symbols]) for p in self._positions(part)):
            size = (one.contracts or 0.0) * (one.contractSize or 1.0)
            size = -size if one.side == "short" else size
            held[one.symbol] += size
            wallet -= size * (one.entryPrice or 0.0)
        return wallet, [held[symbol] for symbol in symbols]

    def _positions(self, symbols: list[str]) -> list[PositionAnswer]:
        import ccxt

        held: list[PositionAnswer] = shaped(list[PositionAnswer], answer(self._client.fetch_positions, symbols))
        if not {one.symbol for one in held} <= set(symbols):
            raise ccxt.BadResponse("positions of markets that were not asked for")
        return held


def _wallet(balance: dict[str, Any], quote: str) -> float:
    """Money of an account without what is not realised yet, which moves with every price.

    CCXT's total holds it for Binance's contracts, so the exchange's own answer is looked into.
    """
    info = balance.get("info")
    rows = info.get("assets", []) if isinstance(info, dict) else info if isinstance(info, list) else []
    for row in shaped(list[dict[str, Any]], rows):
        if row.get("asset") == quote and row.get("walletBalance") is not None:
            return float(shaped(FiniteFloat, row["walletBalance"]))
    return float(shaped(FiniteFloat, _total(balance, quote)))


def _total(balance: dict[str, Any], coin: str) -> float | None:
    """What there is of a coin; None if the exchange does not name it."""
    money: BalanceAnswer | None = shaped(BalanceAnswer | None, balance.get(coin))
    return None if money is None else money.total


def _trade(one: TradeAnswer, quote: str) -> Plain:
    """A trade as it is recorded; a fee in a third coin is 0 until it is known what that is worth."""
    side = 1.0 if one.side == "buy" else -1.0
    fee = one.fee or FeeAnswer()
    paid = fee.cost or 0.0
    in_base = fee.currency == one.symbol.partition("/")[0]
    third = {"fee_in": fee.currency, "fee_paid": paid} if paid and fee.currency not in (quote, None) else {}
    third = {} if in_base else third
    return {
        "id": one.id,
        "order": str(one.order),
        "symbol": one.symbol,
        "time": one.timestamp,
        "quantity": side * one.amount,
        "price": one.price,
        "fee": paid * one.price if in_base else 0.0 if third else paid,
        "fee_base": paid if in_base else 0.0,
        **third,
    }


def _one_quote(instruments: tuple[Instrument, ...]) -> str:
    quotes = {i.quote for i in instruments}
    if len(quotes) != 1 or len({i.kind for i in instruments}) != 1:
        raise UserError("real orders need instruments of one kind and one quote currency; take another checkpoint.")
    return quotes.pop()
