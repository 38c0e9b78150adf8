"""What an address of news answers: RSS, Atom and JSON feeds as items, daily indices as readings.

Feeds come from strangers. XML is read without entities of its own making and without anything from elsewhere, nothing
is executed or rendered, and what is too large or too deep is refused.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from xml.parsers import expat

from qframe_rl.times import FIRST_YEAR, LAST_YEAR, SECOND

MOST_BYTES = 8_000_000
"""Of one answer."""
MOST_ITEMS = 5_000
_DEEPEST, _LONGEST = 64, 2_000
_TAGS, _SPACE = re.compile(r"<[^<>]*>"), re.compile(r"\s+")
_BLANK = b" \t\r\n"
_BEFORE = b"\xef\xbb\xbf\xff\xfe\x00" + _BLANK
"""What may stand before the first mark: the signs of UTF-8 and UTF-16 as well."""
_ITEMS = ("item", "entry")
_LISTS = ("items", "entries", "articles", "news", "results", "data")
_TITLES = ("title", "headline", "text")
_BODIES = ("description", "summary", "content_text", "content", "body")
_DATES = (
    "pubdate", "published", "date_published", "published_at", "publishedat", "published_on", "date", "timestamp",
    "updated", "created_at",
)  # fmt: skip
_LINKS = ("link", "url")
_EPOCHS = ((1e8, SECOND), (1e11, 1_000_000))
"""Numbers from these on count seconds, and milliseconds."""


class Unreadable(Exception):
    """An answer is no feed; says why."""


class FeedItem(NamedTuple):
    """One text of a feed."""

    text: str
    """Its title, or the beginning of its body where it has none."""
    summary: str
    published: int | None
    """By its own account, ns UTC; None where it does not say."""
    link: str


class IndexReading(NamedTuple):
    """One value of an index."""

    time: int
    """Its stamp, ns UTC."""
    value: float


def items_of(body: bytes) -> list[FeedItem] | list[IndexReading]:
    """Items of an RSS, Atom or JSON feed, or readings of an index; in the order of the answer.

    Parameters
    ----------
    body
        The answer: XML, or JSON that is a list of objects or has one (``items``, ``data``, ...). Objects with ``value``
        and ``timestamp`` and no title are readings, as those of the fear and greed index of alternative.me.

    Returns
    -------
    list
        Items without a text are left out.

    Raises
    ------
    Unreadable
        If it is neither, too large, too deep, or makes entities of its own.
    """
    if len(body) > MOST_BYTES:
        raise Unreadable(f"more than {MOST_BYTES:,} bytes")
    start = body.lstrip(_BEFORE)[:1]
    if start == b"<":
        return [made for row in _of_xml(body.lstrip(_BLANK)) if (made := _item(row)) is not None]
    if start in (b"{", b"["):
        return _of_json(body)
    raise Unreadable("neither XML nor JSON")


def moment(text: object) -> int | None:
    """Time that a text or a number states, ns UTC; None if it states none."""
    if isinstance(text, str) and re.fullmatch(r"\s*\d{9,13}\s*", text):
        text = float(text)
    if isinstance(text, int | float) and not isinstance(text, bool):
        unit = next((unit for least, unit in reversed(_EPOCHS) if text >= least), None)
        return None if unit is None or text >= 1e14 else round(float(text) * 1_000) * (unit // 1_000)
    if not isinstance(text, str):
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        if FIRST_YEAR < found.year < LAST_YEAR:
            found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            since = found - datetime(1970, 1, 1, tzinfo=UTC)
            return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000
    return None


def _item(row: Mapping[str, Any]) -> FeedItem | None:
    """An item by the fields of one entry, whose names are in small letters."""
    title, body = (_plain(next((row[name] for name in names if row.get(name)), "")) for names in (_TITLES, _BODIES))
    stamps = (moment(row[name]) for name in _DATES if name in row)
    published = next((stamp for stamp in stamps if stamp is not None), None)
    link = next((row[name] for name in _LINKS if isinstance(row.get(name), str)), "")
    text = title or body
    return FeedItem(text, body if title else "", published, _whole(link).strip()[:_LONGEST]) if text else None


def _whole(text: str) -> str:
    """A text that can be written: JSON may name halves of letters, which are none."""
    return text.encode(errors="replace").decode()


def _plain(text: object) -> str:
    """Words of a text with marks of HTML, at most so many."""
    if not isinstance(text, str):
        return ""
    bare = _TAGS.sub(" ", html.unescape(_TAGS.sub(" ", _whole(text[: 20 * _LONGEST]))))
    return _SPACE.sub(" ", bare).strip()[:_LONGEST].strip()


def _of_json(body: bytes) -> list[FeedItem] | list[IndexReading]:
    try:
        said = json.loads(body, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise Unreadable("JSON that cannot be read") from None
    rows = _rows(said)
    if len(rows) > MOST_ITEMS:
        raise Unreadable(f"more than {MOST_ITEMS:,} items")
    if rows and all("value" in row and "timestamp" in row and not set(_TITLES) & row.keys() for row in rows):
        return [_reading(row) for row in rows]
    return [made for row in rows if (made := _item(row)) is not None]


def _rows(said: Any) -> list[dict[str, Any]]:
    """Objects of a list, or of the one list of objects that an object has; of several, and of none, by `_LISTS`."""
    if isinstance(said, dict):
        lists = {k: rows for k, rows in said.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)}
        named = [lists[name] for name in _LISTS if name in lists] if len(lists) > 1 else list(lists.values())
        if not named and (lists or [] not in [said.get(name) for name in _LISTS]):
            raise Unreadable(f"JSON with {len(lists)} lists of objects, where a feed has one")
        said = named[0] if named else []
    if not isinstance(said, list) or not all(isinstance(row, dict) for row in said):
        raise Unreadable("JSON that is no list of objects")
    return [{str(name).lower(): value for name, value in row.items()} for row in said]


def _reading(row: Mapping[str, Any]) -> IndexReading:
    at = moment(row["timestamp"])
    try:
        value = float(row["value"])
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if at is None or not math.isfinite(value):
        raise Unreadable(f"a reading of {row['value']!r} at {row['timestamp']!r}"[:200])
    return IndexReading(at, value)


class _Entries:
    """Fields of the entries of an XML feed, as the parser meets them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self.feed = False
        self._row: dict[str, str] | None = None
        self._path: list[str] = []
        self._said: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """A tag begins."""
        name = name.rpartition(" ")[2].lower()
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise Unreadable(f"XML that is deeper than {_DEEPEST} tags")
        self.feed = self.feed or name in ("rss", "feed", "rdf", "channel")
        if name in _ITEMS:
            self._row = {}
            self.rows.append(self._row)
            if len(self.rows) > MOST_ITEMS:
                raise Unreadable(f"more than {MOST_ITEMS:,} items")
        if self._field():
            self._said = []
            if name == "link" and attributes.get("rel", "alternate") == "alternate" and "href" in attributes:
                self._keep(name, attributes["href"])

    def text(self, said: str) -> None:
        """Letters between tags."""
        if self._row is not None:
            self._said.append(said)

    def end(self, name: str) -> None:
        """A tag ends."""
        name = self._path[-1]
        if self._field():
            self._keep(name, "".join(self._said))
        if name in _ITEMS:
            self._row = None
        self._path.pop()

    def _field(self) -> bool:
        """Whether the tag stands directly in an entry."""
        return self._row is not None and len(self._path) > 1 and self._path[-2] in _ITEMS

    def _keep(self, name: str, said: str) -> None:
        assert self._row is not None
        if said.strip() and name not in self._row:
            self._row[name] = said


def _of_xml(body: bytes) -> list[dict[str, str]]:
    """Fields of each entry; the first of equal names counts."""
    entries, parser = _Entries(), expat.ParserCreate(namespace_separator=" ")

    def refused(*_said: object) -> None:
        raise Unreadable("XML that makes entities of its own")

    handlers: dict[str, Callable[..., object]] = {
        "StartElementHandler": entries.start,
        "EndElementHandler": entries.end,
        "CharacterDataHandler": entries.text,
        "EntityDeclHandler": refused,
        "ExternalEntityRefHandler": refused,
    }
    for name, handler in handlers.items():
        setattr(parser, name, handler)
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise Unreadable(f"XML that cannot be read ({error})") from None
    if not entries.feed:
        raise Unreadable("XML that is no feed")
    return entries.rows
