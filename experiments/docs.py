"""Read the documents in a browser, without a network: ``python -m experiments.docs --help``."""

from __future__ import annotations

import signal
import sys
import threading
import webbrowser
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError

SITE = Path(__file__).resolve().parent / "site"
"""Where `make docs` builds the site, and where a wheel carries it."""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "docs",
        "Serve the documents on 127.0.0.1 and open them in a browser: tutorials, guide, API reference, and every\n"
        "keyword of environments, strategies and commands. Nothing is fetched from elsewhere. Ctrl-C stops it.",
        ["", "--port 8080 --no-browser"],
    )
    made.add_argument(
        "--port",
        type=within(int, 0, 65535),
        default=0,
        metavar="PORT",
        help="port on 127.0.0.1; 0 = any free one (default: 0)",
    )
    made.add_argument("--no-browser", action="store_true", help="only say the address (default: open it)")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Serve until stopped."""
    given = vars(parser().parse_args(argv))
    out = console(to_stderr=True)
    with _server(given["port"]) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        stop = threading.Event()
        before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        worker = threading.Thread(target=server.serve_forever, daemon=True)
        worker.start()
        try:
            out.print(f"documents at {url} until Ctrl-C", highlight=False, soft_wrap=True)
            if not given["no_browser"]:
                webbrowser.open(url)
            stop.wait()
        finally:
            server.shutdown()
            worker.join()
            for number, handler in before.items():
                signal.signal(number, handler)
    out.print("no longer served.", highlight=False)
    return {"url": url, "site": str(SITE)} if given["json"] else None


def _server(port: int) -> ThreadingHTTPServer:
    """A server of the site.

    Raises
    ------
    UserError
        If the site is not there, or the port is taken.
    """
    if not (SITE / "index.html").is_file():
        own = (SITE.parents[1] / "mkdocs.yml").is_file()
        mend = (
            "`make docs` builds them" if own else "install a wheel that `make wheel` made, or read docs/ in the sources"
        )
        raise UserError(f"there are no built documents in {SITE}; {mend}.")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(SITE)))
    except OSError as error:
        raise UserError(f"port {port} of 127.0.0.1: {error.strerror}; give another --port, or 0 for any.") from None


if __name__ == "__main__":
    sys.exit(door(main))
