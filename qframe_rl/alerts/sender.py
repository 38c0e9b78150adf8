"""The worker that empties the outbox. It has a connection of its own: an outage holds up nobody."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import UserError
from qframe_rl.listeners import Soft
from qframe_rl.types import SECOND

Send = Callable[[str, str], bool]
"""Takes a title and a text; says whether they were delivered."""
_LONGEST_S = 300.0


class Channel(NamedTuple):
    """One way to a human."""

    name: str
    """What may be said of it: its number and kind, never its address."""
    send: Send


def channels(urls: Sequence[str]) -> list[Channel]:
    """A way to send for each Apprise URL, such as ``mailto://``, ``tgram://`` or ``json://``.

    Raises
    ------
    UserError
        If Apprise is not installed, or does not know a URL. The URL itself is not repeated: it holds secrets.
    """
    # Some of its plugins, loaded at the first URL, use modules that Python will drop, and say so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import apprise
        except ImportError:
            raise UserError("alerts need Apprise: pip install 'qframe-rl[alerts]'.") from None
        # Its warnings would come beside ours, and may quote an address.
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        made: list[Channel] = []
        for number, url in enumerate(urls, start=1):
            one = apprise.Apprise()
            if not one.add(url):
                raise UserError(f"alert URL {number} ({url.partition(':')[0]}://...) is not one that Apprise knows.")
            made.append(Channel(f"alert URL {number} ({url.partition(':')[0]}://...)", _through(one)))
    return made


def _through(one: Any) -> Send:
    return lambda title, text: bool(one.notify(body=text, title=title))


class Sender:
    """Sends what waits in a journal's outbox, each message at least once to each channel, in a thread.

    It also looks whether the session is well, for a session that hangs cannot say so itself.

    Parameters
    ----------
    path
        The journal.
    to
        The channels.
    soft
        Says that a channel does not take messages, and that it takes them again.
    ill
        What is wrong; None while the session is well.
    retry_s
        Wait before the second attempt, seconds; it doubles with each further one, up to five minutes.
    """

    def __init__(
        self,
        path: Path,
        to: Sequence[Channel],
        soft: Soft,
        ill: Callable[[], str | None] = lambda: None,
        retry_s: float = 1.0,
    ):
        self._path, self._to = path, list(to)
        self._soft, self._ill, self._retry_s = soft, ill, retry_s
        self._delivered: dict[int, set[int]] = {}
        self._was_ill = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self._test: str | None = None

    def start(self, test: str | None = None) -> None:
        """Begin, with a message that shows whether the ways work."""
        self._test = test
        self._thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """Try once more to send what waits, then end; what was not delivered waits for the next process."""
        self._stopped.set()
        self._thread.join(patience_s)

    def _work(self) -> None:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)) as database:
            # What was sent and is not noted is sent again: better than a disk that the session would wait for.
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute("PRAGMA wal_autocheckpoint=0")
            last = False
            while not last:
                last = self._stopped.wait(0.2)
                self._soft.run("the outbox", self._round, database)

    def _round(self, database: sqlite3.Connection) -> None:
        """Send what is due. A failing disk is the writer's to report: this thread tries again."""
        self._look(database)
        due = database.execute(
            "SELECT id, rule, text, tries FROM outbox WHERE sent IS NULL AND due <= ? ORDER BY id LIMIT 20",
            (time.time_ns(),),
        ).fetchall()
        for number, rule, text, tries in due:
            self._try(database, number, rule, text, tries)

    def _try(self, database: sqlite3.Connection, number: int, rule: str, text: str, tries: int) -> None:
        if self._deliver(number, rule, text):
            database.execute("UPDATE outbox SET sent = ? WHERE id = ?", (time.time_ns(), number))
            return
        wait = min(_LONGEST_S, self._retry_s * 2.0 ** min(tries, 60))
        database.execute(
            "UPDATE outbox SET tries = tries + 1, due = ? WHERE id = ?", (time.time_ns() + int(wait * SECOND), number)
        )

    def _deliver(self, number: int, rule: str, text: str) -> bool:
        """Whether every channel has the message by now; one that had it already is not asked again."""
        had = self._delivered.setdefault(number, set())
        for k, one in enumerate(self._to):
            if k not in had and self._soft.run(one.name, _sent, one, f"QFrame: {rule}", text):
                had.add(k)
        done = len(had) == len(self._to)
        if done:
            del self._delivered[number]
        return done

    def _look(self, database: sqlite3.Connection) -> None:
        """Put into the outbox what this thread itself has to say."""
        if self._test is not None:
            _put(database, "test", self._test)
            self._test = None
        ill = self._ill()
        if ill is not None and not self._was_ill:
            _put(database, "ill", ill)
        self._was_ill = ill is not None


def _sent(channel: Channel, title: str, text: str) -> bool:
    if not channel.send(title, text):
        raise OSError("it does not take messages; they wait")
    return True


def _put(database: sqlite3.Connection, rule: str, text: str) -> None:
    """Add a message, unless the same waits already."""
    database.execute(
        "INSERT INTO outbox (time, rule, text) SELECT ?, ?, ? "
        "WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE rule = ? AND text = ? AND sent IS NULL)",
        (time.time_ns(), rule, text, rule, text),
    )
