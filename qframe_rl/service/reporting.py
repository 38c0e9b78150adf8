"""Routes of reports: pages and PDFs of sessions and portfolios, made when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse, Response

from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.reports import PAGE, PDF, page_policy
from qframe_rl.service.wiring import It, PortfolioId, Reader, Service, SessionId, routes, sessions_of

_AS_PDF: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
}
reporting = routes()


@reporting.get("/sessions/{session}/report", response_class=HTMLResponse)
def session_page(it: It, _: Reader, session: SessionId) -> HTMLResponse:
    """The report of a session as a page of its own: what it earned beside what was forecast, trades, costs, events."""
    return page_of(it.reports.of_session(it.session(session)))


@reporting.get("/sessions/{session}/report.pdf", response_class=Response, responses=_AS_PDF)
def session_pdf(it: It, _: Reader, session: SessionId) -> Response:
    """The report of a session as a PDF."""
    return pdf_of(it.reports.of_session(it.session(session)), f"report-{session}.pdf")


@reporting.get("/portfolios/{portfolio}/report", response_class=HTMLResponse)
def portfolio_page(it: It, portfolio: PortfolioId, _: Reader) -> HTMLResponse:
    """The report of a portfolio as a page of its own: curve, members, exposure, limits, ledger."""
    return page_of(_of(it, portfolio))


@reporting.get("/portfolios/{portfolio}/report.pdf", response_class=Response, responses=_AS_PDF)
def portfolio_pdf(it: It, portfolio: PortfolioId, _: Reader) -> Response:
    """The report of a portfolio as a PDF."""
    return pdf_of(_of(it, portfolio), f"report-{portfolio}.pdf")


def _of(it: Service, portfolio: str) -> Path:
    if portfolio not in {row.id for row in it.portfolios.all()}:
        raise ApiProblem(404, "there is no such portfolio.")
    here = [found.folder.parent for found in sessions_of(it, it.portfolios.members(portfolio)).values()]
    return it.reports.of_portfolio(it.store, portfolio, here[0] if here else it.store.folder)


def page_of(folder: Path) -> HTMLResponse:
    """A report's page, under a policy of its own."""
    text = (folder / PAGE).read_text(encoding="utf-8")
    return HTMLResponse(text, headers={"content-security-policy": page_policy(text)})


def pdf_of(folder: Path, name: str) -> Response:
    """A report's PDF."""
    shown = {"content-disposition": f'inline; filename="{name}"'}
    return Response((folder / PDF).read_bytes(), media_type="application/pdf", headers=shown)
