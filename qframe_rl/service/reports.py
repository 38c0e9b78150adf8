"""Reports that are made when somebody asks: in a process of their own with its time and memory, and then kept."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.secrets import is_secret
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.service.ending import ending, last_error
from qframe_rl.service.places import Found
from qframe_rl.service.store import VARIABLE, ServiceStore

MEMORY_GB, SECONDS = 6.0, 120
"""Address space and time of one."""
KEPT = 64
"""Reports that are kept, those asked for last."""
PAGE, PDF = "report.html", "report.pdf"
ADDRESSES = (VARIABLE, "APPRISE_URLS", "QFRAME_RELAY_FROM", "QFRAME_RELAY_TO")
"""Variables with passwords inside."""
_WAIT_S = 30.0
"""How long one waits for another's to be made."""
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Reports:
    """The reports of a service.

    Parameters
    ----------
    state
        The service's folder.
    """

    def __init__(self, state: Path):
        self.folder = state / "reports"
        self._one = threading.Lock()

    def of_session(self, found: Found) -> Path:
        """Folder of the report of a session as it is now.

        Raises
        ------
        UserError
            If nothing can be reported of it.
        Unavailable
            If too much is asked for at once, or it takes too long.
        """
        with Peek(found.folder / JOURNAL) as peek:
            rows = peek.rows("SELECT hash FROM events ORDER BY seq DESC LIMIT 1", n=1)
        head = rows[0][0] if rows and isinstance(rows[0][0], bytes) else b""
        return self.made(f"{found.id} {head.hex()}", ["experiments.report", str(found.folder)])

    def of_portfolio(self, store: ServiceStore, portfolio: str, root: Path) -> Path:
        """Folder of the report of a portfolio as it is now.

        Parameters
        ----------
        store
            Of its rows.
        portfolio
            Its id.
        root
            Folder in which each member has one of its name.

        Raises
        ------
        UserError
            If nothing can be reported of it.
        Unavailable
            If too much is asked for at once, or it takes too long.
        """
        seen = store.rows(
            "SELECT revision, vigil, plan, (SELECT max(seq) FROM ledger WHERE portfolio = id), "
            "(SELECT max(time_ns) FROM worths WHERE portfolio = id), "
            "(SELECT count(*) FROM transfers WHERE portfolio = id AND state = 'PENDING') FROM portfolios WHERE id = ?",
            (portfolio,),
        )
        arguments = [
            "experiments.portfolio",
            "report",
            portfolio,
            "--state",
            str(store.folder),
            "--sessions",
            str(root),
        ]
        return self.made(f"portfolio {portfolio} {seen}", arguments, store.url)

    def made(self, what: str, arguments: Sequence[str], store: str | None = None) -> Path:
        """Folder of a report, which is made if there is none.

        Parameters
        ----------
        what
            What it is of, and in what state: with another text another one is made.
        arguments
            A module of the commands and what it is given, without ``--out``.
        store
            Address of the database that it may open; None = none but that of its folder.

        Raises
        ------
        UserError
            In its own words, if it refuses.
        Unavailable
            If too much is asked for at once, it takes too long, or the disk fails.
        """
        name = hashlib.sha256(f"{version('qframe-rl')} {what}".encode()).hexdigest()[:32]
        folder = self.folder / name
        if self._there(folder):
            return folder
        if not self._one.acquire(timeout=_WAIT_S):
            raise Unavailable("other reports are being made; try again.")
        try:
            if not self._there(folder):
                self._make(folder, arguments, store)
                self._forget()
        except OSError as error:
            raise Unavailable(f"the report cannot be kept ({error.strerror}); mend the disk, then try again.") from None
        finally:
            self._one.release()
        return folder

    def _there(self, folder: Path) -> bool:
        try:
            os.utime(folder)
        except OSError:
            return False
        return (folder / PDF).is_file()

    def _make(self, folder: Path, arguments: Sequence[str], store: str | None) -> None:
        fresh = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        try:
            self._run(fresh, arguments, store)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _run(self, out: Path, arguments: Sequence[str], store: str | None) -> None:
        log = out / "log"
        # Nobody's keys: no report needs them.
        settings = {name: value for name, value in os.environ.items() if not is_secret(name) and name not in ADDRESSES}
        settings |= {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        settings |= {} if store is None else {VARIABLE: store}
        argv = [
            sys.executable, "-m", "qframe_rl.service.limited", str(MEMORY_GB), str(SECONDS), *arguments, "--out",
            str(out),
        ]  # fmt: skip
        with log.open("wb") as said:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, env=settings
            )
        code = child.wait()
        if code == 0:
            log.unlink()
        elif code == 2:
            raise UserError(last_error(log) or "nothing can be reported of it.")
        elif hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
            raise Unavailable(f"the report took more than {SECONDS} s; `report` on the machine makes it without limit.")
        else:
            raise Unavailable(f"the report could not be made ({last_error(log) or ending(code)}).")

    def _forget(self) -> None:
        """Leave the last `KEPT`."""
        there = sorted((path for path in self.folder.iterdir()), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in there[KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def page_policy(page: str) -> str:
    """Policy of a report's page: its own script and styles, nothing else, and no origin of its own."""
    scripts = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in _SCRIPT.findall(page))
    allowed = " ".join(f"'sha256-{digest}'" for digest in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; sandbox allow-scripts "
        "allow-popups; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
