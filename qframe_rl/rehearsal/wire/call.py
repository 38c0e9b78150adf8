"""One request: its parameters, read the way Binance reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.account import ExchangeAccount
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire.freshness import Freshness
from qframe_rl.rehearsal.world import World

Json = Any
NONE, KEY, SIGNED = "none", "key", "signed"
_NUMBER = re.compile(r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
_CLIENT_ID = {"spot": r"^[a-zA-Z0-9-_]{1,36}$", "usdm": r"^[\.A-Z\:/a-z0-9_-]{1,36}$"}


@dataclass
class Call:
    """What a handler is given."""

    world: World
    wire: str
    params: Mapping[str, str]
    account: ExchangeAccount | None = None
    freshness: Freshness | None = None
    """By what the exchange's clock reads; None = by virtual time itself."""

    def with_params(self, params: Mapping[str, str]) -> Call:
        """The same request with other, or further, parameters; an empty text takes one out."""
        joined = {name: value for name, value in {**self.params, **params}.items() if value != ""}
        return replace(self, params=joined)

    @property
    def user(self) -> ExchangeAccount:
        """The account of a signed call."""
        assert self.account is not None
        return self.account

    @property
    def now(self) -> int:
        """Virtual time, ms."""
        return self.world.now

    def clock_reads(self) -> int:
        """What the exchange's clock shows, ms; whoever asks sets his own clock by it."""
        return self.now if self.freshness is None else self.freshness.told(self.now)

    def text(self, name: str, default: str | None = None) -> str:
        """A parameter; required without a default."""
        value = self.params.get(name, "")
        if value != "":
            return value
        if default is None:
            raise errors.malformed(name)
        return default

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        written = self.text(name, None if default is None else str(default))
        if not re.fullmatch(r"-?[0-9]{1,20}", written):
            raise errors.illegal(name, "^[0-9]{1,20}$")
        return int(written)

    def number(self, name: str, default: Decimal | None = None) -> Decimal:
        """A positive decimal number."""
        if default is not None and not self.params.get(name):
            return default
        written = self.text(name)
        if not _NUMBER.match(written):
            raise errors.illegal(name, "^([0-9]{1,20})(\\.[0-9]{1,20})?$")
        try:
            return Decimal(written)
        except InvalidOperation:
            raise errors.malformed(name) from None

    def flag(self, name: str) -> bool:
        """A boolean; false where it is not sent."""
        return self.text(name, "false").lower() == "true"

    def values(self, name: str) -> list[Json]:
        """The values of a list that is written as JSON."""
        try:
            found = json.loads(self.text(name))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list):
            raise errors.malformed(name)
        return found

    def objects(self, name: str) -> list[dict[str, Json]]:
        """The same where each of the values is an object."""
        found = self.values(name)
        if not all(isinstance(one, dict) for one in found):
            raise errors.malformed(name)
        return found

    def place(self) -> Place:
        """The market of ``symbol``."""
        return self.world.place(self.wire, self.text("symbol"))

    def limit(self, default: int, most: int) -> int:
        """How many rows are wanted."""
        return max(1, min(self.whole("limit", default), most))

    def client_id(self, name: str = "newClientOrderId") -> str:
        """A client order id, made up where none is sent."""
        given = self.params.get(name, "")
        if not given:
            return self.world.register.name()
        legal = _CLIENT_ID[self.wire]
        if not re.match(legal, given):
            raise errors.illegal(name, legal) if self.wire == SPOT else _long_id(given, legal)
        return given


def _long_id(given: str, legal: str) -> errors.Refused:
    if len(given) > 36:
        return errors.Refused(-4015, "Client order id length should be less than 36 chars")
    return errors.illegal("newClientOrderId", legal)


class Route(NamedTuple):
    """What answers a method and a path."""

    name: str
    """Name for fault scripts, such as ``spot.order.post``."""
    answer: Callable[[Call], Json]
    security: str = NONE
    weight: int = 1
