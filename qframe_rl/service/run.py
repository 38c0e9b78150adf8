"""Run a service until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import uvicorn

from qframe_rl.config import UserError
from qframe_rl.service.app import create_app
from qframe_rl.service.wiring import Service

_SHUTDOWN_S = 3
_NICER = 5


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 = any free one.

    Raises
    ------
    UserError
        If it cannot.
    """
    try:
        return socket.create_server((host, port), backlog=512, reuse_port=False)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "there are ports 0 to 65535"
        raise UserError(f"{host}:{port} cannot be listened on ({why}); give another --port or --host.") from None


def run(
    service: Service, listening: socket.socket, ready: Callable[[], None],
    certificate: tuple[Path, Path] | None = None, *, behind_proxy: bool = False,
) -> None:  # fmt: skip
    """Answer until SIGINT or SIGTERM.

    It steps back behind sessions on the same machine: its process is nicer by 5.

    Parameters
    ----------
    service
        What is served.
    listening
        From `bound`.
    ready
        Called once, when it answers.
    certificate
        Files of a certificate and its key, for TLS.
    behind_proxy
        Whether a proxy on this machine says in ``X-Forwarded-For`` who asks; else whoever asks could say anything.

    Raises
    ------
    UserError
        If the certificate cannot be read.
    """
    os.nice(_NICER)
    files = {} if certificate is None else {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]}
    config = uvicorn.Config(
        create_app(service), log_level="warning", access_log=False, server_header=False, lifespan="on",
        timeout_graceful_shutdown=_SHUTDOWN_S, timeout_keep_alive=75, ws="none", proxy_headers=behind_proxy,
        **files,  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"the certificate cannot be read ({error}); see --tls-cert and --tls-key.") from None
    server = _Server(config, ready)
    # It stops in order and then raises the signal once more, for whoever had a handler before: nobody.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
