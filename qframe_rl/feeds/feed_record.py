"""Recording feeds: asking addresses again and again, and writing down each text and each reading with its hours.

What a feed says of its own past is not when one could know it. So the moment of reception is written beside the stamp
of publication, and counts. Files are replaced as a whole, so a session that reads them sees the old or the new one.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from email.message import Message
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from qframe_rl.config import UserError
from qframe_rl.feeds import fields
from qframe_rl.feeds.items import MOST_BYTES, FeedItem, IndexReading, Unreadable, items_of
from qframe_rl.feeds.parquet import alone, replacing
from qframe_rl.feeds.texts import same_words
from qframe_rl.times import DAY, iso

TEXTS, SERIES = "texts", "series"
"""Folders of a store: of what feeds said, and of what indices were."""
_LOCKS = ".feeds"
_TIMEOUT_S = 20.0
"""Without a byte of an answer."""
_LONGEST_ANSWER_S = 60.0
_LONGEST_WAIT_S = 900.0
_AGENT = "qframe"
_PIECE, _PACKED = 2**16, b"\x1f\x8b"


class RecordedFeed(NamedTuple):
    """What came of one address."""

    url: str
    place: str
    """Folder of texts or file of readings; empty before the first answer."""
    new: int
    """Texts or readings that were written."""
    polls: int
    failures: int
    last: str
    """What went wrong last; empty if nothing did."""


class _Answered(NamedTuple):
    """What an address says; without a body if it has not changed."""

    body: bytes | None
    tag: str
    changed: str


class _Feed:
    """One address: when to ask it again, and what it has told so far."""

    def __init__(self, url: str, root: Path):
        self.url, self._root, self.name = url, root, slug(url)
        self.state = RecordedFeed(url, "", 0, 0, 0, "")
        self.due = 0.0
        self._tag = self._changed = ""
        self._known: set[str] | None = None
        self._failed = 0

    def poll(self, clock: Callable[[], int]) -> None:
        """Ask, and write what is new."""
        state = self.state._replace(polls=self.state.polls + 1)
        try:
            said = _asked(self.url, self._tag, self._changed)
            new, place = (0, state.place) if said.body is None else self._kept(items_of(said.body), clock())
            self._tag, self._changed, self._failed = said.tag, said.changed, 0
            self.state = state._replace(new=state.new + new, place=place)
        except (Unreadable, OSError, http.client.HTTPException) as error:
            self._failed += 1
            self.state = state._replace(failures=state.failures + 1, last=_why(error))

    def wait_s(self, every_s: float) -> float:
        """How long until it is asked again: longer after each failure in a row, up to a quarter of an hour."""
        return max(every_s, min(every_s * 2.0 ** min(self._failed, 60), _LONGEST_WAIT_S))

    @property
    def failed(self) -> int:
        """Failures in a row."""
        return self._failed

    def _kept(self, found: list[FeedItem] | list[IndexReading], received: int) -> tuple[int, str]:
        """Write down what is new; return how much that is, and where."""
        readings = [one for one in found if isinstance(one, IndexReading)]
        if readings:
            path = self._root / SERIES / f"{self.name}.parquet"
            return add_readings(path, readings, received), str(path)
        folder = self._root / TEXTS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        if self._known is None:
            self._known = _known_texts(folder)
        fresh: dict[str, FeedItem] = {}
        for one in found:
            if isinstance(one, FeedItem) and same_words(one.text) not in self._known:
                fresh.setdefault(same_words(one.text), one)
        if fresh:
            add_texts(folder, list(fresh.values()), received)
            self._known |= fresh.keys()
        return len(fresh), str(folder)


def record_feeds(
    urls: Sequence[str],
    root: Path,
    *,
    every_s: float = 60.0,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], int] = time.time_ns,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[RecordedFeed, ...]:
    """Ask feeds again and again, and write down what is new.

    Texts go into ``texts/NAME/YYYY-MM.parquet`` of the store, the month being that of their reception: ``received``,
    ``published`` (by their own account, else when received), ``text``, ``summary``, ``link``; each text once by its
    words. Readings of an index go into ``series/NAME.parquet``: ``timestamp``, ``published``, ``received``, ``value``.
    A reading is ``published`` when it is received, or a day after its stamp where that is earlier; one that says
    something else than before is a further row. NAME is the address without its marks.

    Parameters
    ----------
    urls
        Addresses, http or https.
    root
        Folder of the store; made where there is none.
    every_s
        Between two questions to one address, seconds.
    seconds
        For how long; None = until ``stop``. Each address is asked once at least.
    stop
        Ends it.
    clock
        The recorder's, ns UTC.
    note
        Told in one line of the first failure of each address in a row, and when it answers again.

    Returns
    -------
    tuple of RecordedFeed
        One for each address.

    Raises
    ------
    UserError
        For an address that is none, given twice, or that another process records; for a file that cannot be read.
    """
    feeds = [_Feed(url, root) for url in _checked(urls)]
    stopped, end = stop or threading.Event(), None if seconds is None else time.monotonic() + seconds
    with ExitStack() as held:
        for feed in feeds:
            lock = root / _LOCKS / feed.name
            lock.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(lock, wait=False))
        while True:
            for feed in feeds:
                if not stopped.is_set() and (feed.state.polls == 0 or time.monotonic() >= feed.due):
                    _round(feed, every_s, clock, note)
            wake = min(feed.due for feed in feeds)
            if end is not None and wake >= end:
                stopped.wait(max(0.0, end - time.monotonic()))
                break
            if stopped.wait(max(0.0, wake - time.monotonic())):
                break
    return tuple(feed.state for feed in feeds)


def _round(feed: _Feed, every_s: float, clock: Callable[[], int], note: Callable[[str], None]) -> None:
    """One question, with a line where that has become bad or good."""
    before = feed.failed
    feed.poll(clock)
    feed.due = time.monotonic() + feed.wait_s(every_s)
    if feed.failed and not before:
        note(f"{feed.url}: {feed.state.last}; it is asked again.")
    elif before and not feed.failed:
        note(f"{feed.url} answers again.")


def slug(url: str) -> str:
    """Name of an address in a store: host and path without their marks."""
    parts = urlsplit(url)
    said = f"{parts.hostname or ''}{f'-{parts.port}' if parts.port else ''}{parts.path}-{parts.query}"
    return re.sub(r"[^a-z0-9.]+", "-", said.lower()).strip("-.")[:120]


def _checked(urls: Sequence[str]) -> list[str]:
    if not urls:
        raise UserError("no address of a feed is given.")
    names: dict[str, str] = {}
    for url in urls:
        if not url.startswith(("http://", "https://")) or not _host(url):
            raise UserError(f"feed {url!r} is no address that begins with http:// or https:// and a host that can be.")
        if (other := names.setdefault(slug(url), url)) != url or urls.count(url) > 1:
            raise UserError(f"feeds {other} and {url} would be written into the same files; leave one out.")
    return list(urls)


def _host(url: str) -> str:
    """Host of an address; none where it, or its port, cannot be one."""
    try:
        parts = urlsplit(url)
        return "" if parts.port == 0 else parts.hostname or ""
    except ValueError:
        return ""


def add_readings(path: Path, found: Sequence[IndexReading], received: int) -> int:
    """Add readings that a file does not have, or has otherwise; return how many.

    Parameters
    ----------
    path
        The file; it need not be there yet.
    found
        Readings, in any order; of two of one time the last counts.
    received
        When they came, ns UTC.
    """
    import pyarrow
    from pyarrow import parquet

    rows: list[tuple[int, int, int, float]] = []
    if path.exists():
        table = fields.open_columns(path)
        stamps = [
            fields.times(table.column(name), path, name).tolist() for name in ("timestamp", "published", "received")
        ]
        rows = list(zip(*stamps, fields.numeric(table, "value", path).tolist(), strict=True))
    last = {row[0]: row[3] for row in rows}
    new = []
    for one in sorted({one.time: one for one in found}.values()):
        if one.time not in last:
            new.append((one.time, max(one.time, min(received, one.time + DAY)), received, one.value))
        elif last[one.time] != one.value:
            new.append((one.time, max(one.time, received), received, one.value))
        last[one.time] = one.value
    if not new:
        return 0
    rows = sorted([*rows, *new], key=lambda row: (row[1], row[2]))
    columns = [pyarrow.array([row[k] for row in rows], pyarrow.timestamp("ns", "UTC")) for k in range(3)]
    table = pyarrow.table(
        [*columns, pyarrow.array([row[3] for row in rows])], ["timestamp", "published", "received", "value"]
    )
    with replacing(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    return len(new)


def add_texts(folder: Path, items: Sequence[FeedItem], received: int) -> None:
    """Add texts to the file of the month in which they came.

    Parameters
    ----------
    folder
        It must be there.
    items
        Texts that it does not have.
    received
        When they came, ns UTC.
    """
    import pyarrow
    from pyarrow import parquet

    stamp, text = pyarrow.timestamp("ns", "UTC"), pyarrow.string()
    new = pyarrow.table(
        {
            "received": pyarrow.array([received] * len(items), stamp),
            "published": pyarrow.array([received if i.published is None else i.published for i in items], stamp),
            "text": pyarrow.array([i.text for i in items], text),
            "summary": pyarrow.array([i.summary for i in items], text),
            "link": pyarrow.array([i.link for i in items], text),
        }
    )
    path = folder / f"{iso(received)[:7]}.parquet"
    if path.exists():
        new = pyarrow.concat_tables([fields.open_columns(path), new])
    with replacing(path) as temporary:
        parquet.write_table(new, temporary, compression="zstd")


def _known_texts(folder: Path) -> set[str]:
    """Words of all texts that a folder has."""
    found: set[str] = set()
    for file in sorted(folder.glob("*.parquet")):
        found.update(map(same_words, fields.open_columns(file).column("text").to_pylist()))
    return found


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to the web alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Where an answer says to go."""
        if not newurl.startswith(("http://", "https://")):
            raise urllib.error.HTTPError(newurl, code, "it leads elsewhere than to the web", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _asked(url: str, tag: str, changed: str) -> _Answered:
    """Answer of an address, with what it wants to be shown the next time."""
    headers = {"User-Agent": _AGENT, "Accept": "application/rss+xml, application/atom+xml, application/json, */*;q=0.5"}
    headers |= ({"If-None-Match": tag} if tag else {}) | ({"If-Modified-Since": changed} if changed else {})
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
            return _Answered(_body(answer), answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return _Answered(None, tag, changed)
        raise
    except (ValueError, OverflowError) as error:
        # An answer may lead to what is no address: no host, or a port beyond the last.
        raise Unreadable(f"an address that cannot be asked ({error})") from None


def _body(answer: http.client.HTTPResponse) -> bytes:
    """What an answer says, unpacked where it is packed unasked; no more of it than is read, and no longer than that."""
    until, said = time.monotonic() + _LONGEST_ANSWER_S, bytearray()
    while len(said) <= MOST_BYTES and (part := answer.read1(_PIECE)):
        said += part
        if time.monotonic() > until:
            raise TimeoutError(f"its answer is not whole after {_LONGEST_ANSWER_S:.0f} s")
    if not said.startswith(_PACKED):
        return bytes(said)
    try:
        return zlib.decompressobj(wbits=31).decompress(said, MOST_BYTES + 1)
    except zlib.error as error:
        raise Unreadable(f"gzip that cannot be unpacked ({error})") from None


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"it does not answer ({error.reason})"
    said = " ".join(str(error).split())[:200]
    return said if isinstance(error, Unreadable) else f"{type(error).__name__}: {said}"
