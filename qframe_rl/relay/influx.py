"""Points for InfluxDB, by its line protocol: what Grafana shows of sessions.

Measurements, each tagged with ``session`` and ``name``: ``equity``, ``fills`` (and ``symbol``; ``rule`` where the
venue closed), ``decisions``, ``drift``, ``states``. Tags and time name a point, so one that is written twice stays
one: no more is needed after an outage than to write the last batch again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from qframe_rl.config import Unavailable, UserError, whole_number
from qframe_rl.journal.lock import Head
from qframe_rl.journal.store import JournalEvent
from qframe_rl.journal.trades import trades_of
from qframe_rl.relay.events import LinkedEvent
from qframe_rl.servers import ServerAddress, address_of

SCHEMES = ("influxdb", "influxdbs")
EXAMPLE = "influxdb://127.0.0.1:8086/qframe (1.x) or influxdb://127.0.0.1:8086/BUCKET?org=ORG (2.x)"
TOKEN = "INFLUX_TOKEN"
"""Where the token of an InfluxDB 2 is looked for, as its own programs do."""
PORT = 8086
_ANSWER_S = 10.0
_POINTS = 5000
"""Points of a request, at most."""
_LONGEST_S = 300.0


class InfluxTarget:
    """Where a sink writes points; one batch at a time is in memory, the rest waits where it comes from.

    Parameters
    ----------
    url
        ``influxdb://[user:password@]host:8086/DATABASE`` for version 1; with ``?org=ORG`` for version 2, whose token is
        in the variable ``INFLUX_TOKEN``. ``influxdbs`` speaks TLS.
    folder
        Where it keeps what it has written.

    Raises
    ------
    UserError
        If the address is not one, or the token is missing.
    """

    def __init__(self, url: str, folder: Path):
        self.address: ServerAddress = address_of(url, SCHEMES, EXAMPLE)
        self.place = self.address.place
        self.database = unquote(self.address.parts.path.strip("/"))
        self.org = self.address.options.get("org")
        if not self.database or '"' in self.database or set(self.address.options) - {"org", "token"}:
            raise UserError(f"{self.place} is no address such as {EXAMPLE}.")
        self._secrets = [*self.address.secrets]
        self._client = httpx.Client(base_url=_base(self.address), timeout=_ANSWER_S, **self._authority())
        self._path = folder / f"influxdb-{hashlib.sha256(f'{self.place}{self.org}'.encode()).hexdigest()[:8]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._kept: dict[str, dict[str, Any]] = _read(self._path)
        self._not_before = 0.0

    def cursor(self, session: str, name: str) -> Head:
        """The last event whose points are there."""
        kept = self._kept.setdefault(session, {"seq": 0, "hash": "00" * 32})
        kept["name"] = name
        return Head(int(kept["seq"]), bytes.fromhex(kept["hash"]))

    def write(self, session: str, events: Sequence[LinkedEvent], pulse: Mapping[str, Any] | None) -> None:
        """Write the points of events.

        Raises
        ------
        Unavailable
            If InfluxDB does not answer, is full or lets nobody in, or what was written cannot be noted.
        UserError
            If it refuses a point, or an event is not what a session writes.
        """
        points = SessionPoints(session, dict(self._kept[session]))
        lines: list[str] = []
        for event, _ in events:
            try:
                lines += points.of(event)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                raise UserError(
                    f"event {event.seq} is not what a session writes; nothing more is sent of it."
                ) from None
        lines += points.drift(pulse)
        for start in range(0, len(lines), _POINTS):
            self._post(lines[start : start + _POINTS])
        last = events[-1]
        self._keep(self._kept | {session: points.memory | {"seq": last.event.seq, "hash": last.hash.hex()}})

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _authority(self) -> dict[str, Any]:
        parts = self.address.parts
        if self.org is None:
            named = parts.username is not None
            return (
                {"auth": httpx.BasicAuth(unquote(parts.username or ""), unquote(parts.password or ""))} if named else {}
            )
        token = self.address.options.get("token") or os.environ.get(TOKEN)
        if not token:
            raise UserError(f"{self.place}: InfluxDB 2 asks for a token; set {TOKEN}.")
        if not token.isascii() or not token.isprintable():
            raise UserError(f"{self.place}: {TOKEN} is no token of InfluxDB; take it from there again.")
        self._secrets.append(token)
        return {"headers": {"authorization": f"Token {token}"}}

    def _post(self, lines: Sequence[str]) -> None:
        if time.monotonic() < self._not_before:
            raise Unavailable(f"{self.place} asked for patience.")
        answer = self._asked("POST", *self._where(), "\n".join(lines).encode())
        if answer.status_code == 413 and len(lines) > 1:
            self._post(lines[: len(lines) // 2])
            self._post(lines[len(lines) // 2 :])
        elif answer.status_code == 404 and self.org is None:
            made = self._asked("POST", "/query", {"q": f'CREATE DATABASE "{self.database}"'})
            if made.status_code != 200 or "error" in made.text:
                raise Unavailable(f"{self.place} is not there and cannot be made ({self._said(made)}).")
            self._took(self._asked("POST", *self._where(), "\n".join(lines).encode()))
        else:
            self._took(answer)

    def _where(self) -> tuple[str, dict[str, str]]:
        if self.org is None:
            return "/write", {"db": self.database, "precision": "ns"}
        return "/api/v2/write", {"org": self.org, "bucket": self.database, "precision": "ns"}

    def _took(self, answer: httpx.Response) -> None:
        """Refuse what was not taken. Points beyond a retention policy were meant to go."""
        if answer.status_code in (200, 204) or "beyond retention policy" in answer.text:
            return
        if answer.status_code in (400, 413, 422):
            raise UserError(f"{self.place} refuses points ({self._said(answer)}).")
        wait = whole_number(answer.headers.get("retry-after", ""))
        if wait is not None:
            self._not_before = time.monotonic() + min(_LONGEST_S, float(wait))
        raise Unavailable(f"{self.place} does not take points ({self._said(answer)}).")

    def _asked(self, how: str, path: str, params: Mapping[str, str], body: bytes = b"") -> httpx.Response:
        try:
            return self._client.request(how, path, params=params, content=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.place} does not answer ({error or type(error).__name__}).") from None

    def _said(self, answer: httpx.Response) -> str:
        try:
            plain = answer.json()
            text = str(plain.get("error") or plain.get("message") or plain)
        except (ValueError, AttributeError):
            text = answer.text
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return f"{answer.status_code}: {self.address.told(text)[:300]}"

    def _keep(self, kept: dict[str, dict[str, Any]]) -> None:
        part = self._path.with_suffix(".part")
        try:
            part.write_text(json.dumps(kept), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:  # the points are there, and one that is written once more stays one
            raise Unavailable(f"{self._path} cannot be written ({error.strerror}).") from None
        self._kept = kept


class SessionPoints:
    """Makes points of a session's events.

    Parameters
    ----------
    session
        Its id.
    memory
        What is remembered from event to event: its name, symbols, when its last bar came, its highest equity.
    """

    def __init__(self, session: str, memory: dict[str, Any]):
        self.memory = memory
        self._tags = f"session={_tag(session)},name={_tag(str(memory.get('name', '')) or session)}"

    def of(self, event: JournalEvent) -> Iterator[str]:
        """Points of an event; raises ValueError, LookupError, TypeError or AttributeError if no session wrote it."""
        if event.kind == "bar":
            self.memory["bar"] = event.time
            return
        if event.kind not in ("session", "started", "settled", "transferred", "decision", "state"):
            return
        plain = json.loads(event.payload)
        if event.kind == "session":
            self.memory["symbols"] = [str(one["symbol"]) for one in plain["instruments"]]
        elif event.kind == "transferred":
            self._paid(float(plain["account"]["equity"]))
        elif event.kind == "decision":
            since = event.time - self.memory["bar"] if "bar" in self.memory else None
            latency = None if since is None else since / 1e9
            fields = {"latency_s": latency, "cut": int(bool(plain.get("reasons"))), "seq": event.seq,
                      "state": str(plain.get("state", "ACTIVE"))}  # fmt: skip
            yield from self._line("decisions", "", fields, int(plain["time"]))
        elif event.kind == "state":
            reasons = "; ".join(map(str, plain.get("reasons") or ()))
            fields = {"state": str(plain["state"]), "reasons": reasons, "seq": event.seq}
            yield from self._line("states", "", fields, event.time)
        else:
            yield from self._account(plain)

    def drift(self, pulse: Mapping[str, Any] | None) -> Iterator[str]:
        """What real books cost over the rule for bars so far, at the bar of the last commit."""
        if pulse is not None and isinstance(pulse.get("drift_bps"), int | float):
            fields = {"drift_bps": float(pulse["drift_bps"]), "n_fills": int(pulse.get("drift_fills") or 0)}
            yield from self._line("drift", "", fields, int(pulse["time"]))

    def _paid(self, after: float) -> None:
        """What is paid in or out is neither profit nor loss: the highest equity moves by the same ratio."""
        before = float(self.memory.get("equity", 0.0))
        if before > 0.0 and "peak" in self.memory:
            self.memory["peak"] *= after / before
        self.memory["equity"] = after

    def _account(self, plain: Mapping[str, Any]) -> Iterator[str]:
        account, at = plain["account"], int(plain["time"])
        equity = float(account["equity"])
        peak = self.memory["peak"] = max(equity, float(self.memory.get("peak", equity)))
        self.memory["equity"] = equity
        worth = [
            float(q) * float(m) if q and m is not None else 0.0
            for q, m in zip(account["position"], account["mark"], strict=True)
        ]
        scale = 1.0 / equity if equity > 0.0 else 0.0
        fields = {
            "equity": equity, "cash": float(account["cash"]), "drawdown": 1.0 - equity / peak if peak > 0.0 else 0.0,
            "gross": sum(map(abs, worth)) * scale, "net": sum(worth) * scale,
        }  # fmt: skip
        yield from self._line("equity", "", fields, at)
        for one in trades_of(plain, self.memory["symbols"]):
            fields = {"quantity": one.quantity, "price": one.price, "fee": one.fee, "cost": one.cost}
            # Tags and time name a point: one bar may have a fill and a forced closing of the same symbol.
            rule = ",rule=forced" if one.forced else ""
            yield from self._line("fills", f",symbol={_tag(one.symbol)}{rule}", fields, at)

    def _line(self, measurement: str, more: str, fields: Mapping[str, Any], at: int) -> Iterator[str]:
        made = [f"{name}={text}" for name, value in fields.items() if (text := _field(value)) is not None]
        if made:
            yield f"{measurement},{self._tags}{more} {','.join(made)} {at}"


def _field(value: float | int | str | None) -> str | None:
    """A value in line protocol; None for what it has no form of."""
    if isinstance(value, str):
        plain = " ".join(value.split()).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{plain}"'
    if value is None or not math.isfinite(value):
        return None
    return f"{value}i" if isinstance(value, int) else repr(value)


def _tag(text: str) -> str:
    """A tag's value: a backslash before its end would eat what follows."""
    plain = "".join(c if c.isprintable() else "_" for c in text).replace("\\", "/") or "_"
    for mark in (",", "=", " "):
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _base(address: ServerAddress) -> str:
    parts, host = address.parts, address.parts.hostname or ""
    scheme = "https" if parts.scheme == "influxdbs" else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{parts.port or PORT}"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for one in found.values():
            Head(int(one["seq"]), bytes.fromhex(one["hash"]))
        return found
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; remove it, and every point is written once more.") from None
