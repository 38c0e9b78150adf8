"""An exchange leaves nothing open behind it, whoever dials while it ends."""

from __future__ import annotations

import gc
import socket
import sys
import threading
import time
import warnings

import pytest

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import RehearsalConfig, listed, serve

TIMES = 4


@pytest.mark.parametrize("tls", [False, True])
def test_whoever_dials_while_it_ends_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    left: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: left.append(str(seen.exc_value)))
    markets = listed(synthetic("regimes", n_bars=100))
    for _ in range(TIMES):
        ended, dialled = threading.Event(), []

        def dial(port: int, ended: threading.Event = ended, dialled: list[socket.socket] = dialled) -> None:
            while not ended.is_set():
                try:
                    dialled.append(socket.create_connection(("127.0.0.1", port), 0.5))
                except OSError:
                    return

        with serve(markets, RehearsalConfig(prints=4), speed="max", tls=tls) as exchange:
            port = exchange.tls_port if tls else int(exchange.url.rpartition(":")[2])
            dialling = [threading.Thread(target=dial, args=(port,)) for _ in range(2)]
            for thread in dialling:
                thread.start()
            time.sleep(0.02)
        ended.set()
        for thread in dialling:
            thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            del exchange
            gc.collect()
        assert dialled
        for client in dialled:
            client.close()
    assert not left
