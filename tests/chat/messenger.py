"""A messenger on 127.0.0.1 that speaks as much of Telegram's bot API as a bot needs, and fails where it is told to."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "123456:AAbbCC-dd_EE"


class Messenger:
    """What was written, what was answered, and how requests are met."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.waiting: list[dict[str, Any]] = []
        self.sent: list[tuple[int, str]] = []
        self.at: list[float] = []
        """When each answer came, by the monotonic clock."""
        self.asked: list[dict[str, Any]] = []
        self.faults: list[Any] = []
        """Of the next requests: a status, or bytes in place of an answer."""
        self.url = ""
        self.closing: list[Callable[[], None]] = []
        self._number = 0

    def write(self, chat: int, text: Any, age_s: int = 0, **more: Any) -> None:
        """Somebody writes a text."""
        with self.lock:
            self._number += 1
            message = {"message_id": 1, "date": int(time.time()) - age_s, "chat": {"id": chat}, "text": text}
            self.waiting.append({"update_id": 1000 + self._number, "message": message | more})
            self.lock.notify_all()

    def put(self, update: Any) -> None:
        """Something else comes."""
        with self.lock:
            self.waiting.append(update)
            self.lock.notify_all()

    def answers(self, n: int, patience_s: float = 20.0) -> list[str]:
        """The texts that were answered, once there are so many."""
        until = time.monotonic() + patience_s
        while len(self.sent) < n and time.monotonic() < until:
            time.sleep(0.01)
        return [text for _, text in self.sent]

    def result(self, method: str, body: dict[str, Any]) -> Any:
        """What a method answers."""
        if method == "sendMessage":
            self.sent.append((body["chat_id"], body["text"]))
            self.at.append(time.monotonic())
            return {"message_id": 2}
        with self.lock:
            self.asked.append(body)
            self.waiting = [one for one in self.waiting if _number(one) >= body["offset"]]
            if not self.waiting:
                self.lock.wait(min(body["timeout"], 5))
            return list(self.waiting)


def _number(update: Any) -> float:
    number = update.get("update_id") if isinstance(update, dict) else None
    return number if isinstance(number, int) else math.inf


@contextmanager
def messenger() -> Iterator[Messenger]:
    """Serve one."""
    here = Messenger()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            fault = here.faults.pop(0) if here.faults else None
            _, token, method = self.path.split("/")
            if fault is None and token != f"bot{TOKEN}":
                fault = 401
            if isinstance(fault, bytes):
                self._say(200, fault)
            elif fault is not None:
                more = {"parameters": {"retry_after": 1}} if fault == 429 else {}
                self._say(fault, json.dumps({"ok": False, "error_code": fault, "description": "no", **more}).encode())
            else:
                self._say(200, json.dumps({"ok": True, "result": here.result(method, body)}).encode())

        def _say(self, status: int, text: bytes) -> None:
            self.send_response_only(status)
            self.send_header("date", formatdate(usegmt=True))
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    here.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield here
    finally:
        for close in here.closing:
            close()
        with here.lock:
            here.lock.notify_all()
        server.shutdown()
        server.server_close()
