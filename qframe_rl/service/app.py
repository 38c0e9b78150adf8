"""The API: routes under ``/api/v1``, each with the scope that it needs.

A GET changes nothing. A command answers 202; that it was obeyed is what the journal says, never what was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response

from qframe_rl.config import Unavailable, UserError
from qframe_rl.service import problems
from qframe_rl.service.commanding import commanding
from qframe_rl.service.documents import page
from qframe_rl.service.entrance import public
from qframe_rl.service.guard import Gate
from qframe_rl.service.investing import investing
from qframe_rl.service.jobbing import jobbing
from qframe_rl.service.looking import looking
from qframe_rl.service.pages import Bundle
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.reading import reading
from qframe_rl.service.reporting import reporting
from qframe_rl.service.researching import researching
from qframe_rl.service.ruling import ruling
from qframe_rl.service.supervising import supervising
from qframe_rl.service.wiring import API, Service, service_of

ROUTERS = (
    public, reading, reporting, looking, researching, commanding, supervising, investing, jobbing, ruling,
)  # fmt: skip


def create_app(service: Service) -> FastAPI:
    """The application of a service."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        service.hub.start(asyncio.get_running_loop())
        try:
            yield
        finally:
            await asyncio.to_thread(service.hub.stop)
            service.aside.close()
            service.store.close()

    app = FastAPI(
        title="QFrame RL", version=version("qframe-rl"), summary="Sessions, runs and checkpoints, and commands.",
        openapi_url=f"{API}/openapi.json", docs_url=None, redoc_url=None, lifespan=living,
    )  # fmt: skip
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Gate)
    app.add_exception_handler(ApiProblem, problems.told)
    app.add_exception_handler(UserError, _refused)
    app.add_exception_handler(Unavailable, _not_now)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(404, _http)
    app.add_exception_handler(405, _http)
    app.add_exception_handler(RequestValidationError, _not_understood)

    @app.get("/docs", include_in_schema=False)
    def documents() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    app.include_router(Bundle.read().router())
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """A mistake of who asks, in the library's sentence."""
    return problems.answer(422, service_of(request).without_paths(str(error)))


async def _not_now(request: Request, error: Exception) -> Response:
    return problems.answer(503, service_of(request).without_paths(str(error)), {"retry-after": "1"})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException) or hasattr(error, "status_code")
    status = int(getattr(error, "status_code", 500))
    detail = "there is nothing here; see /docs." if status == 404 else str(getattr(error, "detail", "")) or "refused."
    return problems.answer(status, detail, dict(getattr(error, "headers", None) or {}))


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["loc"][0] == "path":
        return problems.answer(404, "there is nothing of that id.")
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
    return problems.answer(422, f"{where or 'the body'}: {_said(first)}.", field=where)


def _said(error: dict[str, Any]) -> str:
    """What is wrong with a field."""
    if error["type"] == "string_pattern_mismatch":
        return "not of the form that /docs has"
    return str(error["msg"]).removeprefix("Value error, ")
