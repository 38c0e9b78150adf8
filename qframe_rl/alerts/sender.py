"""The worker that empties the outbox. It has a connection of its own: an outage holds up nobody."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qframe_rl.config import UserError
from qframe_rl.types import SECOND

Send = Callable[[str, str], bool]
"""Takes a title and a text; says whether they were delivered."""
_LONGEST_S = 300.0


def channels(urls: Sequence[str]) -> list[Send]:
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
        made: list[Send] = []
        for number, url in enumerate(urls, start=1):
            one = apprise.Apprise()
            if not one.add(url):
                raise UserError(f"alert URL {number} ({url.partition(':')[0]}://...) is not one that Apprise knows.")
            made.append(_through(one))
    return made


def _through(one: Any) -> Send:
    return lambda title, text: bool(one.notify(body=text, title=title))


class Sender:
    """Sends what waits in a journal's outbox, each message at least once to each channel, in a thread.

    It also looks whether the session still decides, for a session that hangs cannot say so itself.

    Parameters
    ----------
    path
        The journal.
    sends
        The channels.
    silent_s
        Age of the last commit from which on a message says that there is no decision; None = it does not look.
    retry_s
        Wait before the second attempt, seconds; it doubles with each further one, up to five minutes.
    """

    def __init__(self, path: Path, sends: Sequence[Send], silent_s: float | None = None, retry_s: float = 1.0):
        self._path, self._sends = path, list(sends)
        self._silent_s, self._retry_s = silent_s, retry_s
        self._delivered: dict[int, set[int]] = {}
        self._said_silent = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """Try once more to send what waits, then end; what was not delivered waits for the next process."""
        self._stopped.set()
        self._thread.join(patience_s)

    def _work(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None, timeout=30.0)
        try:
            while not self._stopped.wait(0.2):
                self._round(database)
            self._round(database)
        finally:
            database.close()

    def _round(self, database: sqlite3.Connection) -> None:
        """Send what is due. A failing disk is the writer's to report: this thread tries again."""
        try:
            self._look(database)
            now = time.time_ns()
            due = database.execute(
                "SELECT id, rule, text, tries FROM outbox WHERE sent IS NULL AND due <= ? ORDER BY id LIMIT 20", (now,)
            ).fetchall()
            for number, rule, text, tries in due:
                if self._deliver(number, rule, text):
                    database.execute("UPDATE outbox SET sent = ? WHERE id = ?", (time.time_ns(), number))
                    continue
                wait = min(_LONGEST_S, self._retry_s * 2.0**tries)
                database.execute(
                    "UPDATE outbox SET tries = tries + 1, due = ? WHERE id = ?",
                    (time.time_ns() + int(wait * SECOND), number),
                )
        except sqlite3.OperationalError:
            self._stopped.wait(1.0)

    def _deliver(self, number: int, rule: str, text: str) -> bool:
        """Whether every channel has the message by now; one that had it already is not asked again."""
        had = self._delivered.setdefault(number, set())
        for k, send in enumerate(self._sends):
            if k not in had and send(f"QFrame: {rule}", text):
                had.add(k)
        done = len(had) == len(self._sends)
        if done:
            del self._delivered[number]
        return done

    def _look(self, database: sqlite3.Connection) -> None:
        row = database.execute("SELECT time, state FROM pulse").fetchone()
        if self._silent_s is None or row is None or row[0] == self._said_silent:
            return
        age = (time.time_ns() - row[0]) / SECOND
        if age > self._silent_s:
            self._said_silent = row[0]
            text = f"no decision for {age:,.0f} s; the last one was on bar {json.loads(row[1]).get('bars')}"
            database.execute(
                "INSERT INTO outbox (time, rule, text) VALUES (?, ?, ?)", (time.time_ns(), "no decision", text)
            )
