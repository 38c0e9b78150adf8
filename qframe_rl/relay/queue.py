"""Events in Redis Streams: a stream for each journal, whose ids are the numbers of its events.

Redis refuses an id that is not larger than the last, so none is there twice; a transaction that watches the stream
refuses a batch that would not follow it, so none is left out. Beside the streams lie ``qf:journals``, names by id, and
for each journal ``qf:cursors:ID``, what its consumers have, and ``qf:pulse:ID``, what it said of itself last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import Head
from qframe_rl.journal.store import JournalEvent
from qframe_rl.relay.events import CursorMoved, EventFiller, LinkedEvent, checked, cut
from qframe_rl.servers import ServerAddress, address_of

try:
    import redis
except ImportError:
    raise UserError("Redis needs redis-py: pip install 'qframe-rl[redis]'.") from None

SCHEMES = ("redis", "rediss")
EXAMPLE = "redis://127.0.0.1:6379/0"
JOURNALS = "qf:journals"
_CONNECT_S, _ANSWER_S = 3.0, 10.0


class RedisQueue:
    """A connection to Redis, made anew when it breaks.

    Parameters
    ----------
    url
        ``redis://...`` or ``rediss://...``.

    Raises
    ------
    UserError
        If it is not an address.
    """

    def __init__(self, url: str):
        self.address: ServerAddress = address_of(url, SCHEMES, EXAMPLE)
        self.place = self.address.place
        # Nothing is sent again by itself: a server that came back may have lost its last second, and what follows what
        # it lost must not be written before that.
        try:
            int(self.address.parts.path.strip("/") or 0)  # redis-py takes number 0 for what is none
            self.client: Any = redis.Redis.from_url(
                url, socket_connect_timeout=_CONNECT_S, socket_timeout=_ANSWER_S, retry=None, client_name="qframe",
            )  # fmt: skip
            pool = self.client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # an option that there is not is met here first
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.place} is no address such as {EXAMPLE} ({self.address.told(error)}).") from None

    @contextmanager
    def asked(self) -> Iterator[Any]:
        """The client; raises Unavailable where Redis does not answer, is full, or refuses."""
        try:
            yield self.client
        except redis.WatchError:
            raise CursorMoved from None
        except (redis.RedisError, OSError) as error:
            raise Unavailable(f"{self.place} does not do it now ({self.address.told(error)}).") from None

    def last(self, client: Any, session: str) -> int:
        """Number of the last event that a stream ever had; 0 if there is no stream."""
        try:
            said = client.xinfo_stream(stream_of(session))
        except redis.ResponseError as error:
            if "no such key" in str(error):
                return 0
            raise
        return int(bytes(said["last-generated-id"]).partition(b"-")[0])

    def cursors(self, client: Any, session: str) -> dict[str, int]:
        """What consumers have of a journal."""
        return {bytes(name).decode(): int(seq) for name, seq in client.hgetall(cursors_of(session)).items()}

    def close(self) -> None:
        """Hang up."""
        self.client.close()


class RedisTarget(RedisQueue):
    """Streams that events go into; what every consumer has is taken out again."""

    def cursor(self, session: str, name: str) -> Head:
        """The last event that a stream had; of an empty new one, what all its consumers have already."""
        with self.asked() as client:
            if client.hget(JOURNALS, session) != name.encode():
                client.hset(JOURNALS, session, name)
            last = self.last(client, session)
            self.trim(client, session)  # where Redis is full, nothing is written before that
            if not last:
                return Head(self._begin(client, session), b"")
            entries = client.xrevrange(stream_of(session), count=1)
        return Head(last, _entry(entries[0]).hash if entries and _seq(entries[0]) == last else b"")

    def write(self, session: str, events: Sequence[LinkedEvent], pulse: Mapping[str, Any] | None) -> None:
        """Add events.

        Raises
        ------
        Unavailable
            If Redis does not answer or is full.
        CursorMoved
            If the stream does not end with the event before them.
        """
        key, before = stream_of(session), events[0].event.seq - 1
        with self.asked() as client, client.pipeline() as pipe:
            pipe.watch(key)
            last = self.last(pipe, session)
            if last != before and (last or self._begin(pipe, session) != before):
                raise CursorMoved
            pipe.multi()
            for event, digest in events:
                pipe.xadd(key, _fields(event, digest), id=f"{event.seq}-0")
            if pulse is not None:
                pipe.set(pulse_of(session), json.dumps(pulse))
            pipe.execute()
            self.trim(client, session)

    def trim(self, client: Any, session: str) -> None:
        """Take out what lies before the smallest cursor; nothing where there is no consumer yet."""
        cursors = self.cursors(client, session)
        if cursors:
            client.xtrim(stream_of(session), minid=f"{min(cursors.values())}-0", approximate=False)

    def amiss(self) -> str | None:
        """What is wrong with how Redis is set up, if it says so."""
        try:
            said = self.client.config_get("maxmemory*")
        except (redis.RedisError, OSError):  # not every one lets itself be asked
            return None
        if said.get("maxmemory", "0") != "0" and said.get("maxmemory-policy") != "noeviction":
            return f"{self.place} takes out what it likes when it is full; set maxmemory-policy noeviction."
        return None

    def _begin(self, client: Any, session: str) -> int:
        return min(self.cursors(client, session).values(), default=0)


class RedisSource(RedisQueue):
    """Streams that events are read from, each consumer by its own cursor.

    Parameters
    ----------
    url
        As in `RedisQueue`.
    gaps
        Where events are looked for that a stream has not any more; None = nowhere.
    """

    def __init__(self, url: str, gaps: EventFiller | None = None):
        super().__init__(url)
        self.gaps = gaps

    def journals(self) -> dict[str, str]:
        """Names of sessions by their ids."""
        with self.asked() as client:
            return {bytes(k).decode(): bytes(v).decode() for k, v in client.hgetall(JOURNALS).items()}

    def head(self, session: str) -> int:
        """Number of the last event that the stream had."""
        with self.asked() as client:
            return self.last(client, session)

    def after(self, session: str, head: Head, n: int) -> list[LinkedEvent]:
        """At most ``n`` events after one; those that were trimmed, from the journal or its API.

        Raises
        ------
        UserError
            If they do not follow it, or are nowhere.
        """
        with self.asked() as client:
            entries = client.xrange(stream_of(session), min=f"{head.seq + 1}-0", count=n)
            until = _seq(entries[0]) if entries else self.last(client, session) + 1
        if until > head.seq + 1:
            return self._filled(session, head, min(n, until - head.seq - 1))
        return checked(f"{self.place}, {stream_of(session)}", head, cut([_entry(one) for one in entries]))

    def pulse(self, session: str) -> Mapping[str, Any] | None:
        """What the session said of itself last."""
        with self.asked() as client:
            said = client.get(pulse_of(session))
        if said is None:
            return None
        plain: dict[str, Any] = json.loads(said)
        return plain

    def taken(self, session: str, consumer: str, seq: int) -> None:
        """Say what a consumer has: the relay trims by it. Where Redis is full the consumer makes room itself."""
        with self.asked() as client:
            try:
                client.hset(cursors_of(session), consumer, seq)
            except redis.OutOfMemoryError:
                least = min({**self.cursors(client, session), consumer: seq}.values())
                client.xtrim(stream_of(session), minid=f"{least}-0", approximate=False)
                client.hset(cursors_of(session), consumer, seq)

    def wait(self, cursors: Mapping[str, int], seconds: float) -> None:
        """Wait until a stream has more; where there is none to wait for, the whole time."""
        if not cursors:
            time.sleep(seconds)
            return
        with self.asked() as client:
            streams = {stream_of(session): f"{seq}-0" for session, seq in cursors.items()}
            client.xread(streams, count=1, block=max(1, int(1000 * seconds)))

    def _filled(self, session: str, head: Head, n: int) -> list[LinkedEvent]:
        lost = f"{self.place}, {stream_of(session)}: events {head.seq + 1} to {head.seq + n} are not in it any more"
        if self.gaps is None:
            raise UserError(
                f"{lost}; say where they are: --root FOLDER of the journals, or --api URL of their service."
            )
        try:
            found = checked(self.gaps.place, head, self.gaps.after(session, head, n))
        except UserError as error:
            raise UserError(f"{lost}, and cannot be filled: {error}") from None
        if not found:
            raise UserError(f"{lost}, and {self.gaps.place} lacks them.")
        return found


def stream_of(session: str) -> str:
    """Key of a journal's stream."""
    return f"qf:{session}"


def cursors_of(session: str) -> str:
    """Key of what consumers have of it."""
    return f"qf:cursors:{session}"


def pulse_of(session: str) -> str:
    """Key of what it said of itself last."""
    return f"qf:pulse:{session}"


def _fields(event: JournalEvent, digest: bytes) -> dict[str, Any]:
    return {"kind": event.kind, "time": event.time, "payload": event.payload, "hash": digest}


def _seq(entry: Any) -> int:
    return int(bytes(entry[0]).partition(b"-")[0])


def _entry(entry: Any) -> LinkedEvent:
    try:
        fields = {bytes(name): bytes(value) for name, value in entry[1].items()}
        event = JournalEvent(_seq(entry), int(fields[b"time"]), fields[b"kind"].decode(), fields[b"payload"].decode())
        return LinkedEvent(event, fields[b"hash"])
    except (LookupError, ValueError):
        raise UserError(f"entry {bytes(entry[0]).decode('ascii', 'replace')} of a stream is not one of ours.") from None
