"""Routes of those who rule: tokens, users, the audit."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from qframe_rl.service import shapes
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import Admin, After, It, Limit, Name, routes, who

ruling = routes()


@ruling.get("/tokens")
def tokens(it: It, _: Admin) -> list[shapes.TokenOut]:
    """All tokens, without what opens anything."""
    return [shapes.TokenOut(**one) for one in it.keeper.tokens()]


@ruling.post("/tokens", status_code=201)
def make_token(it: It, identity: Admin, given: shapes.TokenIn) -> dict[str, str]:
    """Make a token; it is shown here and never again."""
    token = it.keeper.new_token(given.name, given.scopes, given.hours, portfolios=given.portfolios)
    it.store.audit(who(identity), "make token", given.name, " ".join(given.scopes))
    return {"token": token}


@ruling.delete("/tokens/{token}", status_code=204)
def delete_token(it: It, identity: Admin, token: Name) -> Response:
    """Delete a token; it opens nothing any more."""
    if not it.keeper.delete_token(token):
        raise ApiProblem(404, "there is no such token.")
    it.store.audit(who(identity), "delete token", token, "done")
    return Response(status_code=204)


@ruling.get("/users")
def users(it: It, _: Admin) -> list[dict[str, Any]]:
    """All users."""
    return it.keeper.users()


@ruling.post("/users", status_code=201)
def make_user(it: It, identity: Admin, given: shapes.UserIn) -> dict[str, str]:
    """Make a user, or give one another password and other scopes."""
    it.keeper.new_user(given.name, given.password, given.scopes)
    it.store.audit(who(identity), "make user", given.name, " ".join(given.scopes))
    return {"name": given.name}


@ruling.delete("/users/{name}", status_code=204)
def delete_user(it: It, identity: Admin, name: Name) -> Response:
    """Delete a user, and what he is logged in with."""
    if not it.keeper.delete_user(name):
        raise ApiProblem(404, "there is no such user.")
    it.store.audit(who(identity), "delete user", name, "done")
    return Response(status_code=204)


@ruling.get("/audit")
def audit(it: It, _: Admin, before: After = 0, limit: Limit = 100) -> list[shapes.AuditOut]:
    """Who did what, newest first."""
    rows = it.store.rows(
        "SELECT id, time_ns, who, what, on_what, outcome FROM audit WHERE ? = 0 OR id < ? ORDER BY id DESC LIMIT ?",
        (before, before, limit),
    )
    return [
        shapes.AuditOut(id=i, time_ns=str(t), who=who, what=what, on_what=on, outcome=outcome)
        for i, t, who, what, on, outcome in rows
    ]
