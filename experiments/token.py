"""Make and delete what opens the service: ``python -m experiments.token --help``."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError

_ACTS = ("make", "list", "delete", "user", "delete-user")
_READ = {"NAME": _ACTS[:1] + _ACTS[2:], "--scopes": ("make", "user"), "--hours": ("make",), "--portfolios": ("make",)}
"""Which acts read what not all do."""


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "token",
        "Tokens for programs and users for browsers, of a service that runs or not: it sees them at once. A token is\n"
        "shown where it is made and never again. A user's password is asked for, or taken from\n"
        "QFRAME_SERVICE_PASSWORD.",
        ["make grafana --scopes read --hours 720", "user anna --scopes read,operate,trade", "list", "delete 1a2b3c4d"],
        "scopes: read (see), operate (halt, flatten, reduce), trade (resume, start, capital), jobs (run work),\n"
        "admin (tokens, users, audit)\n",
    )
    made.add_argument(
        "act", choices=_ACTS, metavar="ACT", help="make or delete a token, list all, make a user or delete-user"
    )
    made.add_argument("name", nargs="?", metavar="NAME", help="of the token or user; the id of a token to delete")
    made.add_argument("--scopes", metavar="SCOPES", help="with commas between them (default: read)")
    made.add_argument(
        "--hours", type=within(float, 1e-3, 24 * 366 * 10), metavar="HOURS",
        help="how long a token lasts (default: until it is deleted)",
    )  # fmt: skip
    made.add_argument(
        "--portfolios", metavar="IDS",
        help="portfolios that a token is for, and nothing else, with commas between (default: all that there is)",
    )  # fmt: skip
    made.add_state(Path("runs/.service"), "the service's --state (default: runs/.service)")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Do it."""
    made = parser()
    given = vars(made.parse_args(argv))
    made.refuse_unread(given, given["act"], _READ)
    from qframe_rl.service.auth import Doorkeeper
    from qframe_rl.service.store import NAME, ServiceStore, elsewhere

    new = not elsewhere(given["store"]) and not (given["state"] / NAME).is_file()
    if given["act"] in ("list", "delete", "delete-user") and new:
        raise UserError(f"{given['state'] / NAME} is not there; name the --state of the service.")
    store = ServiceStore(given["state"], given["store"])
    try:
        said = _done(Doorkeeper(store), given)
    finally:
        store.close()
    if given["json"]:
        return said
    if new:
        console(to_stderr=True).print(
            f"{given['state']} is new: a service whose --root or --state is another one does not see this",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    out = console(to_stderr=False)
    for line in _lines(said):
        out.print(line, highlight=False, soft_wrap=True)
    return None


def _done(keeper: Any, given: dict[str, Any]) -> dict[str, Any]:
    act, name = given["act"], given["name"]
    scopes = ["read"] if given["scopes"] is None else [s for s in given["scopes"].split(",") if s]
    if act == "list":
        return {"tokens": keeper.tokens(), "users": keeper.users()}
    if name is None:
        raise UserError(f"{act} whom? Give a name{' (an id, as list shows it)' if act == 'delete' else ''}.")
    if act == "make":
        return {"token": keeper.new_token(name, scopes, given["hours"], portfolios=_named(given["portfolios"]))}
    if act == "user":
        keeper.new_user(name, os.environ.get("QFRAME_SERVICE_PASSWORD") or _asked(), scopes)
        return {"user": name}
    gone = keeper.delete_token(name) if act == "delete" else keeper.delete_user(name)
    if not gone:
        raise UserError(f"there is no {'token' if act == 'delete' else 'user'} {name!r}; list shows what there is.")
    return {"deleted": name}


def _named(text: str | None) -> list[str] | None:
    return None if text is None else [part for part in text.split(",") if part]


def _asked() -> str:
    if not sys.stdin.isatty():
        raise UserError("nobody is there to ask for the password; set QFRAME_SERVICE_PASSWORD.")
    password = getpass.getpass("password: ")
    if password != getpass.getpass("once more: "):
        raise UserError("these are two passwords; try again.")
    return password


def _lines(said: dict[str, Any]) -> list[str]:
    if "tokens" not in said:
        return [str(*said.values())]
    lines = [
        f"{t['id']}  {t['name']}  {','.join(t['scopes'])}{'  browser' if t['browser'] else ''}" for t in said["tokens"]
    ]
    return [*lines, *(f"user {u['name']}  {','.join(u['scopes'])}" for u in said["users"])] or ["none yet"]


if __name__ == "__main__":
    sys.exit(door(main))
