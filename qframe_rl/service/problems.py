"""Errors as the API tells them: problem details by RFC 9457, one sentence each, and nothing of the machine in them."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from fastapi.responses import Response

TYPE = "application/problem+json"
TITLES = {
    400: "Bad request", 401: "Who are you?", 403: "Not allowed", 404: "Not found", 405: "No such method here",
    409: "Conflict", 412: "Changed meanwhile", 413: "Too large", 415: "Not JSON", 422: "Not understood",
    428: "If-Match is missing", 429: "Too many tries", 500: "A mistake of the service", 503: "Not now",
}  # fmt: skip


class ApiProblem(Exception):
    """An answer that is an error.

    Parameters
    ----------
    status
        Of HTTP.
    detail
        One sentence: what is wrong and how to mend it.
    **more
        Further fields, such as ``needs``.
    """

    def __init__(self, status: int, detail: str, **more: Any):
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, more
        self.headers: dict[str, str] = {}


def answer(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """The answer of a problem."""
    body = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, headers, TYPE)


async def told(request: Request, problem: Exception) -> Response:
    """Answer of a `ApiProblem`."""
    assert isinstance(problem, ApiProblem)
    return answer(problem.status, problem.detail, problem.headers, **problem.more)
