"""Prometheus metrics of a live session, and a health check that fails when it does not do what it should."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qframe_rl.agent import View
from qframe_rl.config import Unavailable, UserError
from qframe_rl.listeners import CashFlow
from qframe_rl.risk.engine import RiskDecision, State
from qframe_rl.types import SECOND, Orders
from qframe_rl.watch.health import Health

_LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
_SILENCE_S = 5.0
_LONGEST_S = 10.0
_MOST = 32
_PORTS = 65_535


class PrometheusMetrics:
    """A listener that keeps Prometheus metrics.

    Parameters
    ----------
    symbols
        Of the A instruments.
    drift
        Present mean drift, basis points; None while there is none.
    health
        Whether the session does what it should.
    """

    option = "--metrics"

    def __init__(self, symbols: Sequence[str], drift: Callable[[], float | None], health: Health):
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise UserError("metrics need prometheus-client: pip install 'qframe-rl[watch]'.") from None
        self._prometheus, self._drift, self._symbols = prometheus, drift, symbols
        self.registry = prometheus.CollectorRegistry()
        self.health = health
        self._peak = self._paid = 0.0
        self._counted, self._filled, self._stated = 0, dict.fromkeys(symbols, 0), str(State.ACTIVE)
        one: dict[str, Any] = {"registry": self.registry}
        with_symbol = one | {"labelnames": ["symbol"]}
        self._equity = prometheus.Gauge("qframe_equity", "Equity, quote currency", **one)
        self._drawdown = prometheus.Gauge("qframe_drawdown_ratio", "Loss of equity since its highest", **one)
        self._position = prometheus.Gauge("qframe_position", "Position, base units", **with_symbol)
        self._exposure = prometheus.Gauge("qframe_exposure_ratio", "Value of the position over equity", **with_symbol)
        self._bars = prometheus.Counter("qframe_bars_total", "Bars settled", **one)
        self._bar_time = prometheus.Gauge("qframe_bar_time_seconds", "Close of the last bar, Unix time", **one)
        self._fills = prometheus.Counter("qframe_fills_total", "Orders filled, wholly or in part", **with_symbol)
        self._fees = prometheus.Counter("qframe_fees_total", "Fees paid, quote currency", **one)
        self._decisions = prometheus.Counter("qframe_decisions_total", "Decisions", **one)
        self._cut = prometheus.Counter("qframe_decisions_cut_total", "Decisions that the risk engine cut", **one)
        self._latency = prometheus.Histogram(
            "qframe_decision_seconds", "From a bar's arrival to its decision on disk", buckets=_LATENCY_S, **one
        )
        self._state = prometheus.Enum("qframe_state", "State of trading", states=[str(s) for s in State], **one)
        drift_gauge = prometheus.Gauge("qframe_drift_bps", "Cost of real books over the rule for bars", **one)
        drift_gauge.set_function(lambda: float("nan") if self._drift() is None else float(self._drift() or 0.0))
        for name, about, value in (
            ("decision_age_seconds", "Age of the last decision", lambda: health.decision_age_s),
            ("feed_age_seconds", "Time since the feed was heard from", lambda: health.feed_age_s),
            ("healthy", "1 while decisions are on time and the feed is heard from", lambda: float(not health.ill())),
        ):
            prometheus.Gauge(f"qframe_{name}", about, **one).set_function(value)

    def carried(self) -> dict[str, Any]:
        """What was counted, and the highest equity."""
        return {"bars": self._counted, "fills": self._filled, "fees": self._paid, "peak": self._peak,
                "state": self._stated}  # fmt: skip

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Count on."""
        self._counted, self._paid, self._peak = memory["bars"], memory["fees"], memory["peak"]
        self._filled, self._stated = dict(memory["fills"]), memory["state"]
        self._bars.inc(self._counted)
        self._fees.inc(self._paid)
        for symbol, count in self._filled.items():
            self._fills.labels(symbol).inc(count)
        self._state.state(self._stated)
        self._set(view)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        page: bytes = self._prometheus.generate_latest(self.registry)
        return page

    def started(self, view: View) -> None:
        """Set what is known before the first decision."""
        self._peak = float(view.account.equity)
        self._set(view)

    def settled(self, view: View, orders: Orders) -> None:
        """Count one bar."""
        self._bars.inc()
        self._counted += 1
        self._set(view)
        for symbol, quantity in zip(self._symbols, view.fills.quantity, strict=True):
            if quantity != 0.0:
                self._fills.labels(symbol).inc()
                self._filled[symbol] += 1
        paid = max(0.0, float(view.fills.fee.sum()))
        self._fees.inc(paid)
        self._paid += paid

    def paid(self, flow: CashFlow) -> None:
        """What was paid in is no new highest equity, and what was paid out no loss."""
        self._peak *= flow.scale

    def ended(self, view: View) -> None:
        """Nothing to count."""

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """Count one decision."""
        self._decisions.inc()
        if verdict.reasons:
            self._cut.inc()
        self._stated = str(verdict.state)
        self._state.state(self._stated)
        self._latency.observe(seconds)

    def changed(self, when: int, state: str, reasons: Sequence[str]) -> None:
        """Show the state of trading."""
        self._stated = state
        self._state.state(state)

    def _set(self, view: View) -> None:
        equity = float(view.account.equity)
        self._peak = max(self._peak, equity)
        self._equity.set(equity)
        self._drawdown.set(1.0 - equity / self._peak if self._peak > 0.0 else 0.0)
        self._bar_time.set(view.time / SECOND)
        for symbol, held, share in zip(self._symbols, view.account.position, view.account.exposure, strict=True):
            self._position.labels(symbol).set(held)
            self._exposure.labels(symbol).set(share)


class MetricsServer:
    """An HTTP server on 127.0.0.1 with ``/metrics`` and ``/healthz`` (200, or 503 with the reason).

    Parameters
    ----------
    metrics
        What is shown.
    port
        Where; 0 takes a free one.

    Raises
    ------
    UserError
        If there is no such port.
    Unavailable
        If it is taken.
    """

    def __init__(self, metrics: PrometheusMetrics, port: int):
        if not 0 <= port <= _PORTS:
            raise UserError(f"--metrics {port}: a port is a number from 1 to {_PORTS}, or 0 for a free one.")
        handler = type("Handler", (_Handler,), {"metrics": metrics})
        try:
            self._server = _Server(("127.0.0.1", port), handler)
        except OSError as error:
            raise Unavailable(f"--metrics {port}: {error.strerror}; take another port.") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """A server that nobody can hold up: a request has a time, and there are not too many at once."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._open: dict[socket.socket, float] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; more than there may be at once are turned away."""
        if len(self._open) >= _MOST:
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a request that is over."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; called ten times a second."""
        for request, begun in list(self._open.items()):
            if time.monotonic() - begun > _LONGEST_S:
                self._open.pop(request, None)
                _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _hang_up(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:  # its thread was faster
        return


class _Handler(BaseHTTPRequestHandler):
    metrics: PrometheusMetrics
    timeout = _SILENCE_S

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/metrics":
            self._send(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics.text())
        elif self.path == "/healthz":
            health = self.metrics.health
            ill = health.ill()
            said = {
                "healthy": ill is None,
                "ill": ill,
                "seconds_since_decision": round(health.decision_age_s, 3),
                "seconds_since_feed": round(health.feed_age_s, 3),
            }
            self._send(200 if ill is None else 503, "application/json", json.dumps(said).encode())
        else:
            self._send(404, "text/plain", b"/metrics or /healthz\n")

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
