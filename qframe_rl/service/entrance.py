"""Routes for which nobody needs a token, or any: health, login, logout, who asks."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import Request
from fastapi.responses import Response

from qframe_rl.service import shapes
from qframe_rl.service.auth import LOGIN_HOURS
from qframe_rl.service.guard import COOKIE, same_origin
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import Anybody, It, routes, tried, who

public = routes()


@public.get("/health")
def health(it: It) -> shapes.ServiceHealth:
    """Whether the service works, and what it allows."""
    allow: list[str] = sorted(it.keeper.allowed)
    return shapes.ServiceHealth(
        ok=True, version=version("qframe-rl"), allow=allow, sessions=len(it.places.sessions()),
        broken=len(it.hub.broken), listeners=len(it.hub.listeners),
    )  # fmt: skip


@public.post("/login")
def login(it: It, request: Request, given: shapes.Login) -> Response:
    """Log a browser in: its cookie lasts twelve hours."""
    if "origin" in request.headers and not same_origin(request):
        raise ApiProblem(403, "a page of another origin asked; only the service's own page may.")
    client = request.client.host if request.client is not None else "?"
    tried(it, f"client {client}", f"user {given.name}")
    if not it.keeper.right_password(given.name, given.password):
        it.store.audit(given.name, "login", "", "refused")
        raise ApiProblem(401, "no such user, or another password.")
    token = it.keeper.login(given.name)
    it.store.audit(given.name, "login", "", "done")
    answer = Response(status_code=204)
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(
        COOKIE, token, max_age=LOGIN_HOURS * 3600, httponly=True, samesite="strict", secure=secure, path="/"
    )
    return answer


@public.post("/logout", status_code=204)
def logout(it: It, identity: Anybody) -> Response:
    """Log out: what the request came with opens nothing any more, if it is a browser's."""
    if identity.cookie:
        it.keeper.delete_token(identity.id)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@public.get("/me")
def me(it: It, identity: Anybody) -> shapes.Me:
    """Who asks."""
    allow: list[str] = sorted(it.keeper.allowed)
    expires = None if identity.expires_ns is None else str(identity.expires_ns)
    scopes: list[str] = sorted(identity.scopes)
    return shapes.Me(name=who(identity), scopes=scopes, allow=allow, expires_ns=expires)
