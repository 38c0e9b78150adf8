"""What stands before every request: its size, the headers of every answer, who asks, and whether he may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException, Request

from qframe_rl.service.auth import Doorkeeper, Identity, Scope
from qframe_rl.service.problems import ApiProblem, answer

COOKIE = "qframe"
BODY = 64 << 10
"""Bytes of a request's body, at most."""
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

Connection = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Connection, Receive, Send], Awaitable[None]]


class Gate:
    """Middleware: refuses bodies that are too large, and puts the headers of safety on every answer.

    Parameters
    ----------
    app
        What answers.
    """

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY:
                raise HTTPException(413, f"a request has {BODY >> 10} kB at most.")
            return message

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in _ENCODED if one[0] not in there)]
            await send(message)

        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if stated.isdigit() and (len(stated) > 15 or int(stated) > BODY):
            problem = answer(413, f"a request has {BODY >> 10} kB at most.")
            await problem(scope, receive, headed)
            return
        await self.app(scope, counted, headed)


def token_of(request: Request) -> tuple[str, bool]:
    """The token of a request, and whether it is a browser's cookie; empty if there is none."""
    given = request.headers.get("authorization", "")
    kind, _, token = given.partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip(), False
    return request.cookies.get(COOKIE, ""), True


async def asks(keeper: Doorkeeper, request: Request) -> Identity:
    """Who asks; raises a `ApiProblem` for nobody, and for a page of another origin that would change something."""
    token, by_cookie = token_of(request)
    identity = keeper.at_hand(token)
    if identity is None and token:
        identity = await asyncio.to_thread(keeper.identity, token)
    if identity is None or identity.cookie != by_cookie:
        problem = ApiProblem(401, "give a token as 'Authorization: Bearer ...', or log in; qframe token makes one.")
        problem.headers["www-authenticate"] = "Bearer"
        raise problem
    if by_cookie and request.method not in _SAFE and not same_origin(request):
        raise ApiProblem(403, "a page of another origin asked; only the service's own page may.")
    return identity


def same_origin(request: Request) -> bool:
    """Whether a browser says that the service's own page asks."""
    origin = request.headers.get("origin", "")
    host = request.headers.get("host", "")
    return bool(origin) and origin.split("://", 1)[-1] == host


def needs(scope: Scope, identity: Identity, allowed: frozenset[Scope]) -> None:
    """Refuse who may not; raises a `ApiProblem` that says what is missing."""
    if scope not in allowed:
        raise ApiProblem(403, f"the service allows this to nobody; start it with --allow {scope}.", needs_allow=scope)
    if scope not in identity.scopes:
        raise ApiProblem(403, f"this token lacks the scope {scope}; qframe token makes one that has it.", needs=scope)
