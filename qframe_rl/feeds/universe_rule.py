"""The text of a universe: how many of which instruments, filtered by what, and when they are chosen anew."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from qframe_rl.config import UserError, listed, nearest
from qframe_rl.times import DAY, WEEK, timeframe_ns

SPELLING = (
    "top:N:volumeLENGTH (such as top:20:volume30d) or all, then any of age:LENGTH, price:LOW[:HIGH], "
    "volatilityLENGTH:LOW[:HIGH], spread:COLUMN:HIGH, notice:COLUMN, traded:LENGTH, allow:SYMBOL+SYMBOL, "
    "deny:SYMBOL+SYMBOL and renew:daily|weekly|monthly|LENGTH, with commas between"
)
_LENGTH = re.compile(r"[1-9]\d{0,3}[hdw]")
_CADENCES = ("daily", "weekly", "monthly")
_LONGEST_MONTH = 31 * DAY
_ONCE = ("age", "price", "volatility", "spread", "notice", "traded", "allow", "deny", "renew")
SLACK = WEEK
"""How long before its due age an instrument may have traded last to be known as that old."""


@dataclass(frozen=True)
class Bounds:
    """What a number must lie in, both ends included."""

    low: float = 0.0
    high: float = np.inf

    def holds(self, value: float) -> bool:
        """Whether it does; NaN does not."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class UniverseRule:
    """Who is chosen, and when."""

    text: str
    """As it was written."""
    top: int | None = None
    """How many of the largest by trailing quote volume; None = all that pass."""
    volume_ns: int = 0
    """Over which that volume is summed, ns."""
    age_ns: int = 0
    """Least time since an instrument was first seen, ns."""
    price: Bounds = Bounds()
    """Of the last close, quote currency."""
    volatility_ns: int = 0
    """Over which moves are looked at, ns; 0 = not at all."""
    volatility: Bounds = Bounds()
    """Of the standard deviation of log moves from bar to bar, times the square root of the bars of a day."""
    spread: tuple[str, float] | None = None
    """Column and its largest value."""
    notice: str | None = None
    """Column that is above zero from the announcement of a delisting on."""
    traded_ns: int = DAY
    """An instrument without a trade for so long is delisted; at least one bar."""
    allow: tuple[str, ...] = ()
    """None but these; empty = any."""
    deny: tuple[str, ...] = ()
    """Never these."""
    renew: str = "monthly"
    """``daily``, ``weekly`` (Mondays), ``monthly``, at midnight UTC; or a length, counted from 1970."""

    def lookback_ns(self, bar_ns: int) -> int:
        """Length of the bars of ``bar_ns`` that decide on a membership, ns: what is older changes nothing."""
        longest = max(self.volume_ns, self.volatility_ns, self.traded_ns, self.age_ns + SLACK if self.age_ns else 0)
        return self._period_ns + longest + 2 * max(bar_ns, DAY)

    @property
    def _period_ns(self) -> int:
        """Longest time from one renewal to the next, ns."""
        named = {"daily": DAY, "weekly": WEEK, "monthly": _LONGEST_MONTH}
        return named[self.renew] if self.renew in named else timeframe_ns(self.renew)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that it reads."""
        return (*([] if self.spread is None else [self.spread[0]]), *([] if self.notice is None else [self.notice]))


def universe_rule(text: str) -> UniverseRule:
    """Read a rule, such as ``top:20:volume30d,age:90d,deny:USDC/USDT,renew:weekly``.

    Parameters
    ----------
    text
        Terms with commas between, see `SPELLING`.

    Raises
    ------
    UserError
        For a term that is not one of these, a number or a length that cannot be, or a term that stands twice.
    """
    first, *others = listed(text) or [""]
    fields: dict[str, object] = dict(_ranking(first, text))
    seen: set[str] = set()
    for term in others:
        word, _, rest = term.partition(":")
        name = "volatility" if word.startswith("volatility") else word
        if name not in _ONCE:
            raise UserError(f"universe {text!r}: unknown term {term!r}{nearest(name, _ONCE)} A rule is {SPELLING}.")
        if name in seen:
            raise UserError(f"universe {text!r}: {name} stands twice; leave one out.")
        seen.add(name)
        fields |= _term(name, word, rest, text)
    return UniverseRule(text=text, **fields)  # type: ignore[arg-type]


def _ranking(term: str, text: str) -> dict[str, object]:
    """How many, of the largest by what."""
    if term == "all":
        return {}
    match = re.fullmatch(r"top:([1-9]\d{0,3}):volume(.*)", term)
    if match is None:
        raise UserError(f"universe {text!r} begins with {term!r}; a rule is {SPELLING}.")
    return {"top": int(match[1]), "volume_ns": _length(match[2], f"volume{match[2]}", text)}


def _term(name: str, word: str, rest: str, text: str) -> dict[str, object]:
    """Fields of a rule that one term sets."""
    if name == "age":
        return {"age_ns": _length(rest, f"age:{rest}", text)}
    if name == "price":
        return {"price": _range(rest, f"price:{rest}", text)}
    if name == "volatility":
        length = word.removeprefix("volatility")
        return {"volatility_ns": _length(length, word, text), "volatility": _range(rest, f"{word}:{rest}", text)}
    if name == "spread":
        column, _, most = rest.partition(":")
        return {"spread": (_column(column, f"spread:{rest}", text), _number(most, f"spread:{rest}", text))}
    if name == "notice":
        return {"notice": _column(rest, f"notice:{rest}", text)}
    if name == "traded":
        return {"traded_ns": _length(rest, f"traded:{rest}", text)}
    if name == "renew":
        if rest not in _CADENCES:
            _length(rest, f"renew:{rest}", text)
        return {"renew": rest}
    symbols = tuple(part.strip() for part in rest.split("+"))
    if not all(symbols):
        raise UserError(f"universe {text!r}: {name}:{rest} is not {name}:SYMBOL+SYMBOL, such as {name}:BTC/USDT.")
    return {name: symbols}


def _length(given: str, term: str, text: str) -> int:
    if not _LENGTH.fullmatch(given):
        raise UserError(f"universe {text!r}: {term} needs a length in h, d or w, such as 30d.")
    return timeframe_ns(given)


def _number(given: str, term: str, text: str) -> float:
    try:
        number = float(given)
    except ValueError:
        number = np.nan
    if not 0.0 <= number < np.inf:
        raise UserError(f"universe {text!r}: {term} needs a number of at least 0, such as 0.01.")
    return number


def _range(given: str, term: str, text: str) -> Bounds:
    low, _, high = given.partition(":")
    found = Bounds(_number(low, term, text), _number(high, term, text) if high else np.inf)
    if found.low > found.high:
        raise UserError(f"universe {text!r}: {term} is empty: its first number is above the second.")
    return found


def _column(given: str, term: str, text: str) -> str:
    if not given.isidentifier():
        raise UserError(f"universe {text!r}: {term} needs the name of a column, such as those of --columns.")
    return given


def renewal(time: int, rule: UniverseRule) -> int:
    """When the membership that holds at ``time`` was decided on: the last renewal at or before it, ns UTC."""
    if rule.renew == "monthly":
        month = np.datetime64(time, "ns").astype("datetime64[M]")
        return int(month.astype("datetime64[ns]").astype(np.int64))
    if rule.renew == "weekly":
        monday = 4 * DAY  # 1970 began on a Thursday
        return (time - monday) // WEEK * WEEK + monday
    length = DAY if rule.renew == "daily" else timeframe_ns(rule.renew)
    return time // length * length
