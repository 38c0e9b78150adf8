"""A typed client of the service, for programs: ``ServiceClient("http://127.0.0.1:8321", token)``."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import httpx

from qframe_rl.config import Unavailable
from qframe_rl.service import page_shapes, portfolio_shapes, shapes
from qframe_rl.service.connection import PATIENCE_S, VARIABLE, many, refused
from qframe_rl.service.research_client import ResearchClient

__all__ = ["VARIABLE", "ServiceClient", "StreamedEvent"]

_SILENCE_S = 20.0
"""A stream that is silent for longer is broken: a comment comes every 15 s."""


class StreamedEvent(NamedTuple):
    """An event of the stream."""

    cursor: str
    """Where the stream goes on after it."""
    kind: str
    """``journal``, ``hello`` or ``reset``."""
    data: dict[str, Any]


class ServiceClient(ResearchClient):
    """A connection to a service: sessions, portfolios, the stream; research and jobs by `ResearchClient`."""

    def health(self) -> shapes.ServiceHealth:
        """Whether the service works."""
        return shapes.ServiceHealth(**self._asked("GET", "/health"))

    def me(self) -> shapes.Me:
        """Whom the token belongs to, and what it may do."""
        return shapes.Me(**self._asked("GET", "/me"))

    def sessions(self) -> list[shapes.SessionSummary]:
        """All sessions, newest first."""
        return many(shapes.SessionSummary, self._asked("GET", "/sessions"))

    def session(self, session: str) -> shapes.SessionSummary:
        """One session."""
        return shapes.SessionSummary(**self._asked("GET", f"/sessions/{session}"))

    def page(self, session: str, after: int = 0, limit: int = 500) -> list[shapes.Event]:
        """Events of a session after one, in their order; at most 1,000."""
        asked = self._asked("GET", f"/sessions/{session}/events", after=after, limit=min(limit, 1000))
        return many(shapes.Event, asked)

    def equity(self, session: str, points: int = 2000) -> list[shapes.EquityPoint]:
        """Equity after each bar, thinned out to so many points."""
        return many(shapes.EquityPoint, self._asked("GET", f"/sessions/{session}/equity", points=points))

    def fills(self, session: str) -> Iterator[shapes.Fill]:
        """Every fill of a session, in their order."""
        after = 0
        while page := many(shapes.Fill, self._asked("GET", f"/sessions/{session}/fills", after=after, limit=1000)):
            yield from page
            after = page[-1].seq

    def fills_csv(self, session: str) -> str:
        """Every fill of a session with cost basis and realised profit, as CSV."""
        return self._answered("GET", f"/sessions/{session}/fills.csv").text

    def bars(self, session: str, symbol: str | None = None, points: int = 2000) -> page_shapes.SessionBars:
        """Bars that a session lived through, by columns, thinned out to so many with true highs and lows."""
        return page_shapes.SessionBars(**self._asked("GET", f"/sessions/{session}/bars", points=points, symbol=symbol))

    def inspect(self, session: str, at_ns: int) -> page_shapes.InspectedBar:
        """The last bar that closed by a moment: what was asked, cut and filled, and by which rule."""
        return page_shapes.InspectedBar(**self._asked("GET", f"/sessions/{session}/inspect", at=at_ns))

    def check(self, session: str) -> page_shapes.ChainCheck:
        """Whether the chain of hashes of a session's journal holds."""
        return page_shapes.ChainCheck(**self._asked("GET", f"/sessions/{session}/check"))

    def alerts(self, limit: int = 100) -> list[page_shapes.SessionAlert]:
        """Messages of all sessions, newest first."""
        return many(page_shapes.SessionAlert, self._asked("GET", "/alerts", limit=limit))

    def sight(self, session: str, at_ns: int) -> page_shapes.Sight:
        """What the agent saw at the last bar that closed by a moment, by feature."""
        return page_shapes.Sight(**self._asked("GET", f"/sessions/{session}/sight", at=at_ns))

    def against_backtest(self, session: str) -> page_shapes.AgainstBacktest:
        """A session against a backtest of its checkpoint on the same bars."""
        return page_shapes.AgainstBacktest(**self._asked("GET", f"/sessions/{session}/backtest"))

    def report(self, session: str) -> bytes:
        """The report of a session as a PDF; it is made first where there is none of it as it stands."""
        return self._answered("GET", f"/sessions/{session}/report.pdf").content

    def commands(self, session: str) -> list[shapes.CommandOut]:
        """What a session was told, newest first."""
        return many(shapes.CommandOut, self._asked("GET", f"/sessions/{session}/commands"))

    def command(
        self, session: str, word: shapes.Word, wait_s: float = 0.0, key: str | None = None, symbol: str | None = None
    ) -> shapes.CommandOut:
        """Tell a session what to do.

        Parameters
        ----------
        session
            Its id.
        word
            What to do.
        wait_s
            How long to wait until its journal says that it obeyed, seconds.
        key
            Given again, the command is left once; None = one of its own.
        symbol
            With flatten and resume: the one instrument that it is about.

        Returns
        -------
        shapes.CommandOut
            What became of it by then: ``obeyed`` is None while it was only asked.
        """
        headers = {"idempotency-key": key or secrets.token_hex(16)}
        asked = {"word": word} if symbol is None else {"word": word, "symbol": symbol}
        said = shapes.CommandOut(
            **self._asked("POST", f"/sessions/{session}/commands", asked, headers=headers)
        )  # fmt: skip
        until = time.monotonic() + wait_s
        while said.obeyed is None and time.monotonic() < until:
            time.sleep(0.05)
            said = next((one for one in self.commands(session) if one.number == said.number), said)
        return said

    def kill(self, key: str | None = None) -> shapes.Killed:
        """Tell every session to halt, by inbox, file and signal; ``key`` as in `command`."""
        return shapes.Killed(
            **self._asked("POST", "/kill", headers={"idempotency-key": key or secrets.token_hex(16)})
        )  # fmt: skip

    def portfolios(self) -> list[portfolio_shapes.PortfolioOut]:
        """All portfolios that the token may see."""
        return many(portfolio_shapes.PortfolioOut, self._asked("GET", "/portfolios"))

    def portfolio(self, portfolio: str) -> portfolio_shapes.PortfolioOut:
        """One portfolio."""
        return portfolio_shapes.PortfolioOut(**self._asked("GET", f"/portfolios/{portfolio}"))

    def worths(self, portfolio: str, points: int = 2000) -> list[portfolio_shapes.WorthPoint]:
        """A portfolio after each close, thinned out to so many points."""
        asked = self._asked("GET", f"/portfolios/{portfolio}/equity", points=points)
        return many(portfolio_shapes.WorthPoint, asked)

    def benchmark(self, portfolio: str, points: int = 2000) -> portfolio_shapes.BenchmarkOut:
        """What a portfolio would be worth had it held its members' instruments in equal parts."""
        asked = self._asked("GET", f"/portfolios/{portfolio}/benchmark", points=points)
        return portfolio_shapes.BenchmarkOut(**asked)

    def risk(self, portfolio: str) -> portfolio_shapes.PortfolioRisk:
        """How a portfolio stands to its limits."""
        return portfolio_shapes.PortfolioRisk(**self._asked("GET", f"/portfolios/{portfolio}/risk"))

    def notices(self, portfolio: str, limit: int = 100) -> list[portfolio_shapes.NoticeOut]:
        """What happened to a portfolio, newest first."""
        return many(portfolio_shapes.NoticeOut, self._asked("GET", f"/portfolios/{portfolio}/events", limit=limit))

    def transfers(self, portfolio: str) -> list[portfolio_shapes.TransferOut]:
        """Transfers to members of a portfolio and from them, newest first."""
        return many(portfolio_shapes.TransferOut, self._asked("GET", f"/portfolios/{portfolio}/transfers"))

    def transfer(
        self, portfolio: str, member: str | None, units: int, wait_s: float = 0.0, key: str | None = None
    ) -> portfolio_shapes.TransferOut:
        """Move money to a member, or from it.

        Parameters
        ----------
        portfolio
            Its id.
        member
            Whose; None = the owners pay in, or take out what is unallocated.
        units
            1e-8 of the currency; negative = back.
        wait_s
            How long to wait until the session has decided, seconds.
        key
            Given again, it is the same transfer; None = one of its own.

        Returns
        -------
        portfolio_shapes.TransferOut
            What became of it by then: PENDING while nothing was decided.
        """
        headers, body = {"idempotency-key": key or secrets.token_hex(16)}, {"member": member, "units": str(units)}
        path = f"/portfolios/{portfolio}/transfers"
        said = portfolio_shapes.TransferOut(**self._asked("POST", path, body, headers=headers))
        until = time.monotonic() + wait_s
        while said.state == "PENDING" and time.monotonic() < until:
            time.sleep(0.05)
            said = next((one for one in self.transfers(portfolio) if one.id == said.id), said)
        return said

    def events(
        self, cursor: str | None = None, sessions: Sequence[str] = (), kinds: Sequence[str] = ()
    ) -> Iterator[StreamedEvent]:
        """Events as they are written, for ever: one that breaks, or is not given now, is taken up where it broke.

        Parameters
        ----------
        cursor
            Where to go on; None = begin now.
        sessions, kinds
            Which; none = all.

        Raises
        ------
        UserError
            If the token is refused.
        """
        params = {"sessions": ",".join(sessions), "kinds": ",".join(kinds)}
        while True:
            headers = {} if cursor is None else {"last-event-id": cursor}
            timeout = httpx.Timeout(PATIENCE_S, read=_SILENCE_S)
            try:
                with self._http.stream("GET", "/events", params=params, headers=headers, timeout=timeout) as answer:
                    if answer.status_code >= 400:
                        answer.read()
                        raise refused(answer)
                    for event in _parsed(answer.iter_lines()):
                        cursor = event.cursor or cursor
                        yield event
            except (httpx.TransportError, Unavailable):
                time.sleep(1.0)


def _parsed(lines: Iterator[str]) -> Iterator[StreamedEvent]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "event" in fields:
            yield StreamedEvent(fields.get("id", ""), fields["event"], json.loads(fields.get("data", "{}")))
            fields = {}
