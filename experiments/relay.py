"""Move events of sessions to other hosts: ``python -m experiments.relay --help``."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, beating, console, door
from qframe_rl.config import Unavailable, UserError
from qframe_rl.servers import is_address, locked

FROM, TO = "QFRAME_RELAY_FROM", "QFRAME_RELAY_TO"
FROM_PASSWORD, TO_PASSWORD = "QFRAME_RELAY_FROM_PASSWORD", "QFRAME_RELAY_TO_PASSWORD"
_AGAIN_S = 1.0
_NICER = 5
"""How far it steps back behind sessions on the same machine, unless somebody waits for it."""
_QUEUES, _DATABASES, _POINTS = ("redis", "rediss"), ("postgresql", "postgres"), ("influxdb", "influxdbs")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "relay",
        "Move every event of every journal below some folders to a queue (Redis Streams), and from there, or at once,\n"
        "into a database (PostgreSQL): each once, in order, checked against its chain of hashes. Or write what\n"
        "Grafana shows of them into InfluxDB. It reads the journals and disturbs nobody; it may be killed at any\n"
        "time, and goes on where it was.",
        [
            "--root runs --to redis://127.0.0.1:6379/0",
            "--from redis://127.0.0.1:6379/0 --to postgresql://qframe@127.0.0.1/qframe",
            "--root runs --to influxdb://127.0.0.1:8086/qframe",
        ],
        "others on the machine read a command's arguments: the password of an address is taken from\n"
        "QFRAME_RELAY_TO_PASSWORD and QFRAME_RELAY_FROM_PASSWORD, or stands in the whole address as QFRAME_RELAY_TO\n"
        "and QFRAME_RELAY_FROM\n",
        first="--root --from --to --api",
    )
    made.passwords |= {"--from": FROM_PASSWORD, "--to": TO_PASSWORD}
    add = made.add_argument
    add(
        "--root", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder below which journals are looked for (may be repeated; default: runs, without --from); with --from "
        "those that fill gaps of the queue",
    )  # fmt: skip
    add("--from", dest="source", metavar="URL", help=f"queue to read, redis://... (default: {FROM}, if it is set)")
    add(
        "--to", dest="target", metavar="URL",
        help=f"redis://..., postgresql://... or influxdb://HOST:8086/DATABASE, with ?org=ORG for version 2 and "
        f"its token in INFLUX_TOKEN (default: {TO})",
    )  # fmt: skip
    add(
        "--api", metavar="URL",
        help="service on the journals' host that fills gaps of the queue, with QFRAME_SERVICE_TOKEN (default: none)",
    )  # fmt: skip
    add(
        "--state", type=Path, default=Path("runs/.relay"), metavar="FOLDER",
        help="what it keeps for itself (default: runs/.relay)",
    )  # fmt: skip
    made.add_alive()
    add("--once", action="store_true", help="leave when all that there is has been moved (default: wait for more)")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Move events until stopped."""
    given = vars(parser().parse_args(argv))
    source, target = given["source"] or os.environ.get(FROM), given["target"] or os.environ.get(TO)
    if not target:
        raise UserError(f"--to is missing: where events go, such as redis://127.0.0.1:6379/0 (or {TO}).")
    _check(source, target, given)
    source, target = source and locked(source, FROM_PASSWORD), locked(target, TO_PASSWORD)
    out, stop = console(to_stderr=True), threading.Event()

    def told(line: str) -> None:
        out.print(line, highlight=False, soft_wrap=True)

    from qframe_rl.relay.pump import Pump

    if not given["once"]:
        os.nice(_NICER)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stopped = beating(stop.is_set, given["alive"])
        opened = _opened(target, given, told, stopped)
        if opened is None:
            return None
        place, closing = opened
        try:
            pump = Pump(_source(source, given), place, _consumer(place.place), told)
            told(f"{pump.source.place} to {place.place}; Ctrl-C stops it")
            pump.run(stopped, once=given["once"])
        finally:
            closing()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pump.stopped:
        raise UserError(" ".join(pump.stopped.values()))
    return {"events": pump.moved, "behind": pump.behind()} if given["json"] else None


def _check(source: str | None, target: str, given: dict[str, Any]) -> None:
    for option, url, kinds in (("--from", source, _QUEUES), ("--to", target, (*_QUEUES, *_DATABASES, *_POINTS))):
        if url and not is_address(url, *kinds):
            raise UserError(f"{option}: give an address such as {' or '.join(f'{k}://...' for k in kinds[::2])}.")
    if source and is_address(target, *_QUEUES):
        raise UserError("--from and --to are both queues; --to wants postgresql://... or influxdb://... then.")
    if given["api"] and not source:
        raise UserError("--api fills gaps of a queue; give --from redis://... as well.")
    if given["api"] and given["root"]:
        raise UserError("--root and --api both say where gaps are filled from; give one.")
    for root in given["root"]:
        if not root.is_dir():
            raise UserError(f"--root: {root} is no folder; name one below which sessions lie.")


def _consumer(place: str) -> str:
    """Name of a target among those who read a queue: its kind, and which one."""
    return f"{place.partition(':')[0]}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def _opened(
    url: str, given: dict[str, Any], told: Callable[[str], None], stopped: Callable[[], bool]
) -> tuple[Any, Callable[[], None]] | None:
    """Where events go, once it answers; None if it is told to stop before."""
    said = False
    while not stopped():
        try:
            return _target(url, given, told)
        except Unavailable as error:
            if given["once"]:
                raise
            if not said:
                told(f"{error} It is tried again.")
            said = True
            time.sleep(_AGAIN_S)
    return None


def _target(url: str, given: dict[str, Any], told: Callable[[str], None]) -> tuple[Any, Callable[[], None]]:
    """Where events go, and how it is closed."""
    if is_address(url, *_QUEUES):
        from qframe_rl.relay.queue import RedisTarget

        queue = RedisTarget(url)
        amiss = queue.amiss()
        if amiss:
            told(f"ALERT: {amiss}")
        return queue, queue.close
    if is_address(url, *_POINTS):
        from qframe_rl.relay.influx import InfluxTarget

        points = InfluxTarget(url, given["state"])
        return points, points.close
    from qframe_rl.service.copies import EventCopies
    from qframe_rl.service.store import ServiceStore

    store = ServiceStore(given["state"], url, TO_PASSWORD)
    return EventCopies(store), store.close


def _source(url: str | None, given: dict[str, Any]) -> Any:
    from qframe_rl.relay.journals import JournalSource

    if url is None:
        return JournalSource(_find(given["root"] or [Path("runs")]))
    from qframe_rl.relay.queue import RedisSource

    if given["api"]:
        from qframe_rl.service.client import ServiceClient
        from qframe_rl.service.copies import ApiEvents

        return RedisSource(url, ApiEvents(ServiceClient(given["api"]), given["api"]))
    return RedisSource(url, JournalSource(_find(given["root"])) if given["root"] else None)


def _find(roots: Sequence[Path]) -> Callable[[], dict[str, tuple[str, Path]]]:
    """Journals below some folders, by the ids of their sessions."""
    from qframe_rl.journal.store import NAME
    from qframe_rl.service.places import Places

    places = Places(roots)
    return lambda: {one.id: (one.name, one.folder / NAME) for one in places.sessions().values()}


if __name__ == "__main__":
    sys.exit(door(main))
