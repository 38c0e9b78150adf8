"""What is opened beside a live session: alerts, metrics, a log, curves, a sign of life."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qframe_rl.alerts.config import AlertConfig
from qframe_rl.alerts.delistings import Delistings
from qframe_rl.alerts.heartbeat import Heartbeat
from qframe_rl.alerts.rules import Alerts
from qframe_rl.alerts.sender import Channel, Sender, channels
from qframe_rl.evaluate.inference.sequential import Promise
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.secrets import Redactor
from qframe_rl.listeners import Listener, Soft
from qframe_rl.live.promise import PromiseWatch
from qframe_rl.live.told import RouterListener
from qframe_rl.types import SECOND, Instrument
from qframe_rl.venues.book import Drift
from qframe_rl.watch.health import Health


@dataclass(frozen=True)
class WatchConfig:
    """Who shall look on."""

    alerts: AlertConfig = field(default_factory=AlertConfig)
    urls: Sequence[str] = ()
    """Where alerts go."""
    heartbeat: str | None = None
    """Asked for once a minute while the session is well."""
    metrics: int | None = None
    """Port on 127.0.0.1."""
    log: Path | None = None
    log_bytes: int = 10_000_000
    """Size from which on the log goes on in a new file."""
    log_keep: int = 5
    """Full files of the log that are kept."""
    tensorboard: Path | None = None
    polls: bool = False
    """Whether the feed polls an exchange, so that its silence means something."""
    url: str | None = None
    """Where every request goes instead of the exchange."""
    speed: float = 1.0
    """How many times faster than ours the clock of the bars runs; infinite where nobody waits."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """Texts that must never be written."""


class WatchedTerms(Protocol):
    """What is looked at of a session's terms."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What it trades."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What stands beside its bars."""

    @property
    def bar_ns(self) -> int:
        """Length of its bars."""

    @property
    def source(self) -> dict[str, Any]:
        """Where they come from."""


class WatchedPlace(Protocol):
    """A session that is about to begin."""

    @property
    def terms(self) -> WatchedTerms:
        """What it is."""

    @property
    def folder(self) -> Path:
        """Where its journal is."""

    @property
    def promise(self) -> Promise | None:
        """What its checkpoint forecast."""


class WatchedSession(Protocol):
    """A session, whether it trades bars or quotes."""

    health: Health
    soft: Soft
    drift: Drift
    listeners: list[Listener]
    told: list[RouterListener]
    resumed: Callable[[int], None]
    promise: Callable[[], dict[str, Any]]
    shadows: Callable[[], dict[str, Any]]

    @property
    def live(self) -> bool:
        """Whether what happens is new."""

    def late_ns(self) -> int:
        """How late the last bar arrived."""


class Windows:
    """Opens what is asked for, and closes it with ``stack``; nothing of it can end the session.

    Parameters
    ----------
    opened
        The session.
    config
        Who shall look on.
    stack
        Closes it all.
    note
        Told in one line of failures, and where the metrics are.

    Raises
    ------
    UserError
        For a place or an address that cannot be.
    """

    def __init__(self, opened: WatchedPlace, config: WatchConfig, stack: ExitStack, note: Callable[[str], None]):
        self._opened, self._config, self._stack, self._note = opened, config, stack, note
        self._symbols = [i.symbol for i in opened.terms.instruments]
        # A wrong address is refused before anything is begun.
        self._channels: list[Channel] = channels(config.urls) if config.urls else []
        self.say: Callable[[str], None] = lambda text: None
        """Takes the session's notes, for the log."""

    def open(self, router: WatchedSession, ledger: Ledger) -> None:
        """Open them, before the first bar."""
        health = router.health = self._health(router)
        made: list[Any] = []
        if self._opened.promise is not None:
            router.listeners.append(self._watched(router, self._opened.promise))
        if self._channels:
            made.append(self._alarm(router, ledger, health))
        if self._config.metrics is not None:
            made.append(self._meter(router, health, self._config.metrics))
        if self._config.log is not None:
            made.append(self._logged(router, self._config.log))
        router.listeners += made
        router.told += made
        if self._config.tensorboard is not None:
            from qframe_rl.watch.scalars import ScalarWriter

            board = ScalarWriter(self._config.tensorboard, lambda: router.drift.mean_bps)
            self._stack.callback(router.soft.run, "the end of a watcher", board.close)
            router.listeners.append(board)
        if self._config.heartbeat is not None:
            beat = Heartbeat(self._config.heartbeat, health.ill, router.soft)
            beat.start()
            self._stack.callback(router.soft.run, "the end of a watcher", beat.stop)

    def _watched(self, router: WatchedSession, promise: Promise) -> PromiseWatch:
        watch = PromiseWatch(promise, self._opened.terms.bar_ns)
        router.promise = watch.test.plain
        return watch

    def _health(self, router: WatchedSession) -> Health:
        config = self._config
        return Health(
            self._opened.terms.bar_ns / SECOND / config.speed, config.alerts.late_s,
            config.alerts.beat_s if config.polls else math.inf, lambda: router.late_ns() / config.speed,
        )  # fmt: skip

    def _alarm(self, router: WatchedSession, ledger: Ledger, health: Health) -> Alerts:
        name, config = self._opened.folder.name, self._config
        ends = self._delistings(router.soft) if config.polls else dict

        def ill() -> str | None:
            said = health.ill()
            return None if said is None else f"{name}: {said}"

        alerts = Alerts(
            config.alerts, name, self._symbols, ledger.alert, lambda: router.drift.mean_bps, router.late_ns, ends,
            lambda: router.promise().get("answer"), self._opened.terms.columns, lambda: router.shadows(),
        )  # fmt: skip
        router.resumed = lambda time: alerts.tell(time, "restarted", "the process was started again")
        ledger.told = lambda kind, payload: router.soft.run(alerts.option, alerts.recorded, kind, payload)
        sender = Sender(ledger.path, self._channels, router.soft, ill)
        sender.start(f"{name}: a process begins; alerts of this session arrive here" if config.alerts.test else None)
        self._stack.callback(router.soft.run, "the end of a watcher", sender.stop)
        return alerts

    def _delistings(self, soft: Soft) -> Callable[[], Mapping[str, int]]:
        source = self._opened.terms.source
        looks = Delistings(
            source["exchange"], source["symbols"], self._config.url, source["environment"] == "testnet", soft
        )
        looks.start()
        self._stack.callback(soft.run, "the end of a watcher", looks.stop)
        return lambda: looks.ends

    def _meter(self, router: WatchedSession, health: Health, port: int) -> Any:
        from qframe_rl.watch.metrics import MetricsServer, PrometheusMetrics

        metrics = PrometheusMetrics(self._symbols, lambda: router.drift.mean_bps, health)
        window = MetricsServer(metrics, port)
        self._stack.callback(router.soft.run, "the end of a watcher", window.close)
        self._note(f"metrics and health: http://127.0.0.1:{window.port}/metrics and /healthz")
        return metrics

    def _logged(self, router: WatchedSession, path: Path) -> Any:
        from qframe_rl.watch.log import JsonLog
        from qframe_rl.watch.rotate import Lines

        lines = Lines(path, self._config.log_bytes, self._config.log_keep)
        self._stack.callback(router.soft.run, "the end of a watcher", lines.close)
        log = JsonLog(lines.write, lambda: router.live, self._symbols, Redactor(self._config.hidden.values()))
        self.say = lambda text: router.soft.run(log.option, log.note, text)
        return log
