"""Live order books and trades of one market, run after run, as whole numbers with both stamps.

A run is one connection without a gap. When it ends, whatever rests on it is to be cancelled; the next one begins with a
whole book. `qframe_rl.feeds.tick_record` writes to files what comes here, and `qframe_rl.feeds.ticks` reads the same
rows from them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from qframe_rl.config import UserError
from qframe_rl.exchanges import amount_unit
from qframe_rl.feeds.answer import awaited, unclear
from qframe_rl.feeds.client import pro, step
from qframe_rl.feeds.exchange import Note
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.tick_chain import OldPicture, RunBroken, RunEnds, TickChain, Told
from qframe_rl.feeds.tick_wire import DepthMessage, Finished, TickConnection

_LONGEST_PAUSE_S, _LOAD_S, _ASK_S = 30.0, 60.0, 0.5


class TickStream:
    """Depth and trades of one market.

    Parameters
    ----------
    exchange, url, sandbox
        As in `client.client`.
    listing
        The market.
    stale_s
        Longest silence of the book, seconds: then the connection is given up.
    clock
        The recorder's, ns UTC.
    note
        Told in one line of every run that ends.
    """

    def __init__(
        self,
        exchange: str,
        listing: Listing,
        *,
        url: str | None = None,
        sandbox: bool = False,
        stale_s: float = 30.0,
        clock: Callable[[], int] = time.time_ns,
        note: Note | None = None,
    ):
        self.listing = listing
        self.chain: TickChain | None = None
        """The run under way: its book, and what was left out."""
        self._client: Callable[[], Any] = lambda: pro(exchange, listing.kind, url, sandbox)
        self._stale_s, self._wall = stale_s, clock
        self._note: Note = note or (lambda text: None)
        self._markets: Any = None
        self._connection: TickConnection | None = None

    async def told(self) -> AsyncGenerator[Told, None]:
        """What is told, for ever: a run begins, its messages, its end, and the next one.

        Who leaves closes it (`contextlib.aclosing`), so that the connection is.

        Raises
        ------
        UserError
            If the exchange tells no such streams, or the first numbers of a run are off the grid that it states.
        """
        import ccxt

        failures = 0
        while True:
            self.chain, asked = None, self._markets is None
            try:
                connection, chain = await self._connected()
                self._connection, self.chain = connection, chain
                depth_at = time.monotonic()
                while True:
                    async with asyncio.timeout(self._stale_s - (time.monotonic() - depth_at)):
                        message = await connection.next()
                    if isinstance(message, DepthMessage):
                        depth_at = time.monotonic()
                    try:
                        told = chain.hear(message)
                    except OldPicture:
                        await asyncio.sleep(_ASK_S)
                        connection.ask()
                        continue
                    for one in told:
                        failures = 0
                        yield one
            except Finished:
                return
            except ccxt.NotSupported as error:
                raise UserError(f"CCXT has no streams of {self.listing.exchange}'s books and trades: {error}") from None
            except RunBroken as gap:
                why = said = str(gap)
            except TimeoutError:
                why = said = f"nothing of the book for {self._stale_s:.3g} s"
            except UserError as error:
                if asked and (self.chain is None or not self.chain.begun):
                    raise
                # The exchange may have changed its steps since it was asked.
                why, said, self._markets = "a number off the exchange's grid", str(error).rstrip("."), None
            except unclear() as error:
                why, said = type(error).__name__, f"{type(error).__name__}: {str(error)[:80]}"
            finally:
                if self._connection is not None:
                    broken, self._connection = self._connection, None
                    await broken.close()
            failures += 1
            self._note(f"{self.listing.symbol}: {said}; subscribing again")
            if self.chain is not None and self.chain.begun:
                yield RunEnds(why)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.05 * 2.0 ** min(failures - 1, 10)))

    def finish(self) -> bool:
        """Hear no more: `told` ends once all is told that was heard.

        Returns
        -------
        bool
            Whether there is a connection; without one nothing was heard, and `told` is to be left.
        """
        if self._connection is not None:
            self._connection.finish()
        return self._connection is not None

    async def _connected(self) -> tuple[TickConnection, TickChain]:
        client, symbol = self._client(), self.listing.symbol
        try:
            if self._markets is None:
                self._markets = await asyncio.wait_for(awaited(client.load_markets), _LOAD_S)
            else:
                client.set_markets(self._markets)
            market = client.markets[symbol]
            tick = step(client, market["precision"].get("price"))
            lot = step(client, market["precision"].get("amount")) * amount_unit(client.id, market)
            if not (tick > 0.0 and lot > 0.0):
                raise UserError(f"{client.id} states no steps of {symbol}'s prices and amounts; take another market.")
        except BaseException:
            await client.close()
            raise
        connection = TickConnection(client, self.listing, self._wall)
        connection.start()
        return connection, TickChain(symbol, tick, lot)
