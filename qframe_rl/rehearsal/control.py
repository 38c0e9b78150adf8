"""The hand behind the exchange: time, faults, markets and accounts, over HTTP under ``/rehearsal/``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from qframe_rl.config import UserError, build, nearest
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.config import speed_of
from qframe_rl.rehearsal.decimals import exact
from qframe_rl.rehearsal.exchange import RehearsalExchange
from qframe_rl.rehearsal.faults import Fault
from qframe_rl.rehearsal.place import Place

PREFIX = "/rehearsal/"
Tree = dict[str, Any]


class Control:
    """What can be done to an exchange; every method runs in its event loop.

    Parameters
    ----------
    exchange
        The exchange.
    """

    def __init__(self, exchange: RehearsalExchange):
        self.exchange = exchange

    def now(self) -> int:
        """Virtual time, ms UTC."""
        self.exchange.catch_up()
        return self.exchange.world.now

    def state(self) -> Tree:
        """Time, speed, listeners, requests, and the faults that hit so far."""
        exchange = self.exchange
        exchange.catch_up()
        return {
            "time": exchange.world.now,
            "ends": exchange.clock.stop_ms,
            "behind": max(0, exchange.clock.now() - exchange.world.now),
            "speed": "max" if exchange.clock.speed == float("inf") else exchange.clock.speed,
            "requests": exchange.requests,
            "sockets": len(exchange.hub.links),
            "maintenance": exchange.down,
            "skew": exchange.freshness.skew_ms,
            "symbols": [place.market.symbol for place in exchange.world.places.values()],
            "faults": [
                {"kind": kind, "at": name, "count": count} for (kind, name), count in exchange.script.counts.items()
            ],
        }

    def truth(self) -> Tree:
        """All accounts as they are, whatever was told, and the digest of the log."""
        return self.exchange.world.truth()

    def log(self, since: int = 0) -> list[Tree]:
        """Everything that happened to accounts, from a number on."""
        return self.exchange.world.register.log[since:]

    async def advance(self, by_ms: int | None = None, to_ms: int | None = None) -> int:
        """Let time pass: by a span, or to a moment; return the time."""
        if (by_ms is None) == (to_ms is None):
            raise UserError("advance takes either by (ms) or to (ms UTC).")
        target = to_ms if to_ms is not None else self.exchange.world.now + int(by_ms or 0)
        return await self.exchange.advance(target)

    def run(self, speed: str) -> None:
        """Go on with another speed, such as ``60x``, ``step`` or ``max``."""
        self.exchange.clock.run(speed_of(speed))
        self.exchange.nudge()

    def inject(self, *faults: Fault) -> None:
        """Append lines to the script of faults."""
        self.exchange.script.add(*faults)

    def calm(self) -> None:
        """Forget all faults that are still to come."""
        self.exchange.script.clear()

    def maintain(self, down: bool) -> None:
        """Begin or end a maintenance."""
        self.exchange.maintain(down)

    def skew(self, ms: int) -> None:
        """Set the exchange's clock ahead of what it should show."""
        self.exchange.freshness.skew_ms = ms

    def halt(self, symbol: str, halted: bool = True) -> None:
        """Stop or resume the trading of a market; it goes on to print."""
        self._place(symbol).engine.halted = halted

    def delist(self, symbol: str) -> None:
        """End a market: its orders expire, its positions are settled."""
        place = self._place(symbol)
        self.exchange.world.sync(place)
        self.exchange.world.delist(place)

    def ration(self, symbol: str, share: float | None) -> None:
        """Let at most a share of a limit order fill at one instant; None = all of it."""
        self._place(symbol).engine.ration = None if share is None else exact(share)

    def account(self, key: str, secret: str, balances: Mapping[str, float] | None = None) -> None:
        """Open an account, with the configured cash or with balances of its own on both wires."""
        self.exchange.world.open_account(key, secret, balances)

    def revoke(self, key: str, revoked: bool = True) -> None:
        """Take an API key away, or give it back."""
        self._owner(key).revoked = revoked

    def deposit(self, key: str, asset: str, amount: float) -> None:
        """Add to, or take from, each wallet of an account without telling anybody."""
        account, change = self._owner(key), exact(amount)
        account.spot.free[asset] += change
        if account.margin.wallet is not account.spot.free:
            account.margin.wallet[asset] += change

    def _owner(self, key: str) -> ExchangeAccount:
        accounts = self.exchange.world.accounts
        if key not in accounts:
            raise UserError(f"no account has the key {key!r}{nearest(key, accounts)}")
        return accounts[key]

    def _place(self, symbol: str) -> Place:
        places = {place.market.symbol: place for place in self.exchange.world.places.values()}
        if symbol not in places:
            raise UserError(f"the exchange does not list {symbol!r}{nearest(symbol, places)}")
        return places[symbol]


class ControlServer:
    """The control over HTTP: ``GET`` tells, ``POST`` with a JSON object does.

    Parameters
    ----------
    control
        What does it.
    ca_pem
        The authority's certificate, if there is TLS.
    """

    def __init__(self, control: Control, ca_pem: bytes | None):
        self.control, self._ca_pem = control, ca_pem
        self._acts: dict[str, Callable[[Tree], Awaitable[Any] | Any]] = {
            "advance": lambda t: control.advance(t.get("by"), t.get("to")),
            "speed": lambda t: control.run(str(t["speed"])),
            "faults": lambda t: control.inject(*(build(Fault, f, "faults") for f in t["faults"])),
            "calm": lambda t: control.calm(),
            "maintenance": lambda t: control.maintain(bool(t["down"])),
            "skew": lambda t: control.skew(int(t["ms"])),
            "halt": lambda t: control.halt(str(t["symbol"]), bool(t.get("halted", True))),
            "delist": lambda t: control.delist(str(t["symbol"])),
            "ration": lambda t: control.ration(str(t["symbol"]), t["share"]),
            "account": lambda t: control.account(str(t["key"]), str(t["secret"]), t.get("balances")),
            "revoke": lambda t: control.revoke(str(t["key"]), bool(t.get("revoked", True))),
            "deposit": lambda t: control.deposit(str(t["key"]), str(t["asset"]), float(t["amount"])),
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        name = request.path.removeprefix(PREFIX)
        if request.method == "GET":
            return self._tell(name, request)
        if name not in self._acts:
            return _said(404, {"error": f"no such act {name!r}{nearest(name, self._acts)}"})
        try:
            tree = json.loads(await request.text() or "{}")
            if not isinstance(tree, dict):
                raise UserError(f"{name} takes a JSON object.")
            result = self._acts[name](tree)
            if isinstance(result, Awaitable):
                result = await result
        except KeyError as missing:
            return _said(400, {"error": f"{name} needs the field {missing}."})
        except (UserError, ValidationError, ValueError, TypeError) as error:
            return _said(400, {"error": str(error)})
        return _said(200, {"result": result})

    def _tell(self, name: str, request: web.BaseRequest) -> web.Response:
        if name == "ca.pem" and self._ca_pem is not None:
            return web.Response(body=self._ca_pem, content_type="application/x-pem-file")
        since = request.query.get("since", "0")
        if not since.isdecimal():
            return _said(400, {"error": f"since={since}: a number of the log is wanted."})
        told: dict[str, Callable[[], Any]] = {
            "state": self.control.state,
            "truth": self.control.truth,
            "log": lambda: self.control.log(int(since)),
        }
        if name not in told:
            return _said(404, {"error": f"nothing is told under {name!r}{nearest(name, [*told, 'ca.pem'])}"})
        return _said(200, told[name]())


def _said(status: int, tree: Any) -> web.Response:
    return web.json_response(tree, status=status)
