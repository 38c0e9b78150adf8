"""Processes that trade in the shadow of a session: what `paper` starts for each ``--shadow``, and how they stand to it.

Each is `paper` itself on the session's journal (``--feed journal``), with a journal of its own: a shadow can neither
delay nor end the session, and what it comes to is what its own session on the same bars comes to.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qframe_rl.config import UserError
from qframe_rl.journal.store import NAME, retell
from qframe_rl.listeners import Soft
from qframe_rl.live.followed import FOLDER, MOST

if TYPE_CHECKING:
    from qframe_rl.live.open import Opened

LOG = "log.txt"
"""What a shadow's process says, in its folder."""
_NICE = 10
_LOOK_S = 2.0
_BACK_OFF_S = (2.0, 300.0)


@dataclass
class _Shadow:
    """A shadow, and its process."""

    argv: list[str]
    folder: Path
    child: subprocess.Popen[bytes] | None = None
    wait_s: float = _BACK_OFF_S[0]
    due: float = 0.0
    over: bool = False
    """Whether it came to an end of its own."""


@dataclass
class Shadowing:
    """The shadows of one session: `start`, `begin` once it has its record, `close`.

    Parameters
    ----------
    session
        Folder of the session.
    places
        Folders of the checkpoints, by the shadows' names.
    note
        Told in one line what happens to them.
    own
        Options of `experiments.own.own_options`, for checkpoints that need them.
    """

    session: Path
    places: Mapping[str, Path]
    note: Callable[[str], None]
    own: Sequence[str] = ()
    standing: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How each stands to the session, as `Shadows.look` says."""

    def start(self, opened: Opened) -> None:
        """Refuse what cannot follow the session, and keep what it needs of the past.

        Raises
        ------
        UserError
            For a checkpoint that does not trade the session's bars.
        """
        from qframe_rl.live.followed import keep_before
        from qframe_rl.live.open import longer_memory
        from qframe_rl.live.shadows import Shadows, shadows_of

        journal, window = self.session / NAME, max(_window(opened, place) for place in self.places.values())
        begin = "now" if journal.exists() else "start"
        if begin == "start" and (before := longer_memory(opened, window)):
            self.session.mkdir(parents=True, exist_ok=True)
            keep_before(journal, before)
        self._execute = opened.terms.execute
        self._shadows = [self._shadow(name, place, begin) for name, place in self.places.items()]
        # One that is not asked for any more was one of those among which the best is looked for.
        over = {*shadows_of(self.session)} - self.places.keys()
        self._judged = Shadows(self.session, sorted({*self.places, *over}), over)
        self._ending, self._broken, self._soft = threading.Event(), False, Soft(self.note)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        """Begin in the background, now that no other process can have the session: one would be followed instead."""
        if self.places:
            self._thread.start()

    def close(self, hurried: Callable[[], bool], secrets: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Wait for them to take the last bars, end them at once where ``hurried``, and say how they stand.

        The session has ended; its journal says it, too, but for ``secrets``.
        """
        self._ending.set()
        self._thread.join()
        for one in self._shadows:
            if one.child is None and not one.over:
                self._soft.run(f"shadow {one.folder.name}", self._begin, one)
        for one in self._shadows:
            while one.child is not None and one.child.poll() is None:
                if hurried():
                    one.child.terminate()
                time.sleep(0.1)
            if one.child is not None and one.child.returncode != 0:
                self.note(f"shadow {one.folder.name} ended ({_last_line(one.folder / LOG)})")
        self._soft.run("how the shadows stand", self._look)
        if self.standing:
            self._soft.run("how the shadows stand", retell, self.session / NAME, {"shadows": self.standing}, secrets)
        return self.standing

    def _shadow(self, name: str, place: Path, begin: str) -> _Shadow:
        folder = self.session / FOLDER / name
        door = [sys.executable, "-m", "experiments.paper", str(place), "--feed", "journal"]
        worked = [] if self._execute is None else ["--execute", self._execute]
        argv = [*door, "--journal", str(self.session), "--begin", begin, "--out", str(folder), *worked, *self.own]
        return _Shadow(argv, folder)

    def _watch(self) -> None:
        looked = 0.0
        while not self._ending.wait(0.2):
            for one in self._shadows:
                self._soft.run(f"shadow {one.folder.name}", self._tend, one)
            if time.monotonic() - looked >= _LOOK_S:
                self._soft.run("how the shadows stand", self._look)
                looked = time.monotonic()

    def _tend(self, one: _Shadow) -> None:
        """Start a shadow, or say how it ended and start it again a little later."""
        if one.over or time.monotonic() < one.due:
            return
        if one.child is None:
            self._begin(one)
            return
        code = one.child.poll()
        if code is None:
            return
        one.child, one.over = None, code == 0
        if one.over:
            self.note(f"shadow {one.folder.name} came to its end; see {one.folder / LOG}")
            return
        self.note(f"shadow {one.folder.name} ended ({_last_line(one.folder / LOG) or f'code {code}'}); it starts again")
        one.due, one.wait_s = time.monotonic() + one.wait_s, min(2.0 * one.wait_s, _BACK_OFF_S[1])

    def _begin(self, one: _Shadow) -> None:
        from qframe_rl.live.spec import terms_of

        if terms_of(self.session / NAME) is None:
            return
        one.folder.mkdir(parents=True, exist_ok=True)
        settings = {name: value for name, value in os.environ.items() if name != "APPRISE_URLS"}
        with (one.folder / LOG).open("ab") as log:
            one.child = subprocess.Popen(
                one.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=settings
            )
        with contextlib.suppress(OSError):  # it may have ended already
            os.setpriority(os.PRIO_PROCESS, one.child.pid, _NICE)

    def _look(self) -> None:
        """Read how they stand; where a journal cannot be read, say so once, and leave it."""
        if self._broken:
            return
        before = self.standing
        try:
            self.standing = self._judged.look()
        except UserError as error:
            self._broken = True
            self.note(f"how the shadows stand is not told any more: {error}")
            return
        for name, one in self.standing.items():
            if one["answer"] != before.get(name, {"answer": "open"})["answer"]:
                self.note(said(name, one))


def said(name: str, one: Mapping[str, Any]) -> str:
    """How a shadow stands to its session, in a line."""
    answer = {
        "ahead": "earns more than the session", "behind": "earns less than the session",
        "open": "cannot be told from the session",
    }[one["answer"]]  # fmt: skip
    by = ""
    if one["mean"] is not None:
        mean, low, high = (1e4 * one[key] for key in ("mean", "low", "high"))
        by = f": {mean:+.3f} bp of log growth a bar, {low:+.3f} to {high:+.3f}"
    gone = "; its account is gone" if one["gone"] else ""
    among = f", one of {one['at_once']}" if one["at_once"] > 1 else ""
    return f"shadow {name}{among} {answer}{by} ({one['bars']:,} bars compared){gone}"


def check_journal(given: Mapping[str, Any]) -> None:
    """Refuse options that do not go with the bars of another session.

    Raises
    ------
    UserError
        Naming the first.
    """
    if given["feed"] != "journal":
        if given["journal"] is not None or given["begin"] != "now":
            raise UserError("--journal and --begin are of --feed journal: add it, or leave them out.")
        return
    if given["journal"] is None:
        raise UserError("--feed journal needs the session whose bars are traded: add --journal FOLDER.")
    others = ("since", "until", "url", "account")
    if any(given[name] is not None for name in others) or given["orders"] != "paper" or given["fills"] != "bar":
        raise UserError(
            "--from, --to, --url, --account, --orders and --fills are not of --feed journal: its bars are those of the "
            "session, and its account is simulated."
        )


def names_of(places: Sequence[Path]) -> dict[str, Path]:
    """Names of shadows, by which their folders are called.

    Raises
    ------
    UserError
        For more than there may be, or two of one name.
    """
    if len(places) > MOST:
        raise UserError(f"{len(places)} shadows: a session has at most {MOST}.")
    found: dict[str, Path] = {}
    for place in places:
        name = place.absolute().name
        if name in found:
            raise UserError(f"--shadow {place}: another shadow is called {name} already; rename its folder.")
        found[name] = place.absolute()
    return found


def _window(opened: Opened, place: Path) -> int:
    """Bars that a checkpoint wants to see; UserError where it does not trade the session's bars."""
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.deploy import deployed, window_of

    checkpoint, terms = load_checkpoint(place), opened.terms
    if checkpoint.of_book:
        raise UserError(f"--shadow {place} quotes in order books; a shadow trades the bars of its session.")
    market, agent = deployed(
        checkpoint, terms.instruments, terms.columns, terms.bar_ns, "the session", terms.theory, terms.execute
    )
    return window_of(market, agent)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
