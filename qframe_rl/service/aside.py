"""What the service asks a process of its own: it needs compiled code or torch, which the service never loads.

The process is started when somebody asks first, answers one question after another, and ends when nobody has asked for
a while or the service is gone: its input ends.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
import time
from typing import Any

from qframe_rl.config import Unavailable, UserError

PATIENCE_S = 100.0
IDLE_S = 600.0


class SideProcess:
    """The process, and whose turn it is.

    Parameters
    ----------
    patience_s
        Longest time that an answer may take, seconds.
    idle_s
        After which it ends where nobody asks.
    """

    def __init__(self, patience_s: float = PATIENCE_S, idle_s: float = IDLE_S):
        self.patience_s, self.idle_s = patience_s, idle_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, task: str, **given: Any) -> Any:
        """What `qframe_rl.service.side_tasks` answers to a task.

        Raises
        ------
        UserError
            With its sentence, where it refuses.
        Unavailable
            If it does not answer in time, or is gone.
        """
        if not self._lock.acquire(timeout=self.patience_s):
            raise Unavailable("others ask for work of this kind; try again.")
        try:
            answer = json.loads(self._answered(json.dumps({"task": task, **given}).encode() + b"\n"))
        except ValueError:
            self.close()
            raise Unavailable(f"{task} could not be worked out; try again.") from None
        finally:
            self._lock.release()
        if "refused" in answer:
            raise UserError(answer["refused"])
        return answer["done"]

    def warm(self) -> None:
        """Start it, so that the first question does not wait for that."""
        if self._lock.acquire(blocking=False):
            try:
                self._running()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _answered(self, line: bytes) -> bytes:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except OSError:
            return b""
        until, said = time.monotonic() + self.patience_s, b""
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            part = process.stdout.read1(1 << 16) if ready else b""  # type: ignore[attr-defined]
            if not part:
                return b""
            said += part
        return said

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            argv = [sys.executable, "-m", "qframe_rl.service.side_tasks", str(self.idle_s)]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._process
