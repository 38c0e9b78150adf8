"""Prometheus metrics of a live session, and a health check that fails when decisions stop."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qframe_rl.agent import View
from qframe_rl.config import Unavailable, UserError
from qframe_rl.risk.engine import State, Verdict
from qframe_rl.types import SECOND, Orders

_LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class Metrics:
    """A listener that keeps Prometheus metrics.

    Parameters
    ----------
    symbols
        Of the A instruments.
    drift
        Present mean drift, basis points; None while there is none.
    silent_s
        Age of the last decision from which on the session counts as ill, seconds.
    """

    def __init__(self, symbols: Sequence[str], drift: Callable[[], float | None], silent_s: float):
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise UserError("metrics need prometheus-client: pip install 'qframe-rl[watch]'.") from None
        self._prometheus, self._drift, self._symbols = prometheus, drift, symbols
        self.registry = prometheus.CollectorRegistry()
        self._made = time.time()
        self._decided: float | None = None
        self._silent_s = silent_s
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
        age = prometheus.Gauge("qframe_decision_age_seconds", "Age of the last decision", **one)
        age.set_function(self.age_s)

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

    def age_s(self) -> float:
        """Age of the last decision, seconds; of this object before the first."""
        return time.time() - (self._decided or self._made)

    @property
    def healthy(self) -> bool:
        """Whether decisions are being made."""
        return self.age_s() <= self._silent_s

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

    def ended(self, view: View) -> None:
        """Nothing to count."""

    def decided(self, view: View, verdict: Verdict, seconds: float) -> None:
        """Count one decision."""
        self._decided = time.time()
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


class Window:
    """An HTTP server on 127.0.0.1 with ``/metrics`` and ``/healthz`` (200, or 503 when decisions stop).

    Parameters
    ----------
    metrics
        What is shown.
    port
        Where; 0 takes a free one.

    Raises
    ------
    Unavailable
        If the port is taken.
    """

    def __init__(self, metrics: Metrics, port: int):
        handler = type("Handler", (_Handler,), {"metrics": metrics})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
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


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/metrics":
            self._send(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics.text())
        elif self.path == "/healthz":
            healthy = self.metrics.healthy
            said = {"healthy": healthy, "seconds_since_decision": round(self.metrics.age_s(), 3)}
            self._send(200 if healthy else 503, "application/json", json.dumps(said).encode())
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
