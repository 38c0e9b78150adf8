"""Receives decisions from outside over a local socket or a POST on loopback, and writes down those that count.

A process of its own: what hangs here, or floods it, holds up no session. A message is on the disk before its answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from qframe_rl.config import UserError, canonical, whole_number
from qframe_rl.feeds.decisions import BYTES, DecisionRules, RefusedMessage, SignedMessage, recorded, shaped

_PATIENCE_S = 10.0
"""How long a client may take for a piece of its message, seconds."""
_CLIENTS = 32
_BEGINS = b'{"body":'
"""How each line begins: what is no beginning of one was not written here, and is not taken off."""


class DecisionRecord:
    """The file that messages which count are appended to; one process has it.

    Parameters
    ----------
    path
        The file; it is made where there is none, and a last line that was not written whole is taken off.
    key, largest, symbols
        As in `DecisionRules`; what was taken before is read whatever it names.
    now
        The clock, ns UTC.

    Raises
    ------
    UserError
        If it cannot be written, if another process has it, or if it has a line that does not count.
    """

    def __init__(
        self, path: Path, key: SecretStr, largest: float, now: Callable[[], int] = time.time_ns,
        symbols: Collection[str] = (),
    ):  # fmt: skip
        self.path, self._now = path, now
        self.rules, self._lock = DecisionRules(key, largest, symbols), threading.Lock()
        self.taken = self.refused = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); name another file.") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise UserError(f"{path} is written by another process; stop that one, or name another file.") from None
        try:
            self._begin(largest)
        except UserError:
            os.close(self._file)
            raise

    def take(self, text: bytes) -> dict[str, Any]:
        """Judge a message, write it down if it counts, and say which."""
        with self._lock:
            received = self._now()
            try:
                if len(text) > BYTES:
                    raise RefusedMessage(f"no message: it is longer than {BYTES >> 10} kB.")
                signed = shaped(SignedMessage, text)
                message = self.rules.judge(signed, received)
                self._write(canonical({"received": received, **signed.model_dump()}))
            except RefusedMessage as error:
                self.refused += 1
                return {"taken": False, "why": str(error)}
            self.rules.known(message, received)
            self.taken += 1
            return {"taken": True, "id": message.id, "received": received}

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _begin(self, largest: float) -> None:
        """Take a torn tail off, and learn which messages were taken before."""
        whole = self.path.read_bytes()
        standing, end = recorded(self.path, largest), whole.rfind(b"\n") + 1
        if whole[end : end + len(_BEGINS)] != _BEGINS[: len(whole) - end]:
            raise UserError(f"{self.path} is not a record of decisions, and is left as it is; name another file.")
        os.ftruncate(self._file, end)
        for received, message in zip(standing.received, standing.messages, strict=True):
            self.rules.known(message, received)

    def _write(self, line: str) -> None:
        """Append a line, on the disk as a whole or not at all."""
        whole, end = f"{line}\n".encode(), os.fstat(self._file).st_size
        try:
            if os.write(self._file, whole) == len(whole):
                os.fsync(self._file)
                return
            why = "the disk is full"
        except OSError as error:
            why = str(error.strerror)
        os.ftruncate(self._file, end)
        raise RefusedMessage(f"not written: {self.path} cannot be written ({why}); send it again.")


def on_socket(record: DecisionRecord, place: Path) -> socketserver.BaseServer:
    """Listen on a unix socket that this user alone may open: a message a line, an answer a line.

    Parameters
    ----------
    record
        Where messages go.
    place
        The socket; one that a process left behind is replaced.

    Raises
    ------
    UserError
        If something else is there, or if it cannot be.
    """

    class DecisionLines(socketserver.StreamRequestHandler):
        # No patience here: a program may hold its line for a day, and nobody but this user can open one.
        def handle(self) -> None:
            try:
                while text := self.rfile.readline(BYTES + 1):
                    # The rest of a line that is too long is no message of its own: nobody is listened to any more.
                    said = record.take(text)
                    self.wfile.write(f"{json.dumps(said)}\n".encode())
                    if len(text) > BYTES:
                        return
            except OSError:  # whoever it was is gone
                return

    class LocalServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads, request_queue_size = True, _CLIENTS

    if place.exists() and not place.is_socket():
        raise UserError(f"{place} is there and no socket; name another place.")
    if _listened(place):
        raise UserError(f"{place} is listened to by another process; stop that one, or name another place.")
    place.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        return LocalServer(str(place), DecisionLines)
    except OSError as error:
        raise UserError(f"{place} cannot be a socket ({error.strerror}); name another place.") from None
    finally:
        os.umask(before)


def _listened(place: Path) -> bool:
    """Whether a process listens on a socket, busy or not."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return place.exists()
    return True


def on_port(record: DecisionRecord, port: int) -> ThreadingHTTPServer:
    """Listen on a port of 127.0.0.1: ``POST /decisions`` with a message as its body; its signature lets it in.

    Parameters
    ----------
    record
        Where messages go.
    port
        0 = any that is free.

    Raises
    ------
    UserError
        If the port is taken.
    """

    class DecisionPosts(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # whoever it was is gone
                super().handle()

        def do_POST(self) -> None:
            length = whole_number(self.headers.get("content-length", ""))
            if self.path != "/decisions" or length is None or length > BYTES:
                return self._say(404 if self.path != "/decisions" else 413, {"taken": False, "why": "no message"})
            said = record.take(self.rfile.read(length))
            return self._say(200 if said["taken"] else 422, said)

        def _say(self, status: int, said: dict[str, Any]) -> None:
            text = json.dumps(said).encode()
            self.send_response_only(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a flood of messages floods no terminal."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), DecisionPosts)
    except OSError as error:
        raise UserError(f"--port {port} cannot be had ({error.strerror}); name another one.") from None
