"""Show sessions, runs and checkpoints to browsers and programs: ``python -m experiments.serve --help``."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import SHIPPED, Parser, console, door, within
from experiments.settings import stored_in
from qframe_rl.config import UserError, nearest

PORT = 8321
_PLACES = ("runs", "checkpoints")
_ALLOWED = ("operate", "trade", "jobs")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "serve",
        "Serve an API over sessions, runs and checkpoints: how they stand, what they did, every event as it is\n"
        "written. It reads the journals and disturbs nobody; it is read-only unless --allow says more. The first\n"
        "token is shown once; `token` makes others, and users. /docs has the routes.",
        ["", "--root runs --root checkpoints --port 8321", "--allow operate --data store"],
        first="--root --port --allow --data",
    )
    add = made.add_argument
    add(
        "--root", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder below which sessions, runs and checkpoints are shown (may be repeated; default: runs, "
        "checkpoints and what ships)",
    )  # fmt: skip
    add(
        "--port", type=within(int, 0, 65535), default=PORT, metavar="PORT",
        help=f"port; 0 = any free one (default: {PORT})",
    )  # fmt: skip
    add(
        "--allow", default="", metavar="SCOPES",
        help="what may be done beside reading: operate (halt, flatten, reduce), trade (resume, start, capital), jobs "
        "(run work); no token may more (default: nothing)",
    )  # fmt: skip
    add(
        "--data", metavar="PLACE",
        help="Parquet store or postgresql://... whose bars are shown (default: QFRAME_DATA, if it is set)",
    )  # fmt: skip
    made.add_state(None, "folder of service.db: tokens, users, projections (default: .service below the first root)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    add("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM; with --tls-key it answers over TLS alone")
    add("--tls-key", type=Path, metavar="FILE", help="key of the certificate, PEM")
    add(
        "--behind-proxy", action="store_true",
        help="another program answers over TLS in front of it: needed for an address that others reach (default: no)",
    )  # fmt: skip
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Serve until stopped."""
    given = vars(parser().parse_args(argv))
    certificate = _certificate(given)
    allow = _allowed(given["allow"])
    roots = _roots(given["root"])
    state = given["state"] or roots[0] / ".service"
    data = stored_in(given["data"], "name one that `download` has filled")
    from qframe_rl.service.run import bound, run
    from qframe_rl.service.store import NAME
    from qframe_rl.service.wiring import Service

    listening = bound(given["host"], given["port"])
    try:
        service = Service.of(roots, state, allow, data, given["store"])
        host, port = listening.getsockname()[:2]
        url = f"{'https' if certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        token = service.keeper.first_token()
        out = console(to_stderr=True)

        def ready() -> None:
            rights = ", ".join(["read", *allow])
            out.print(f"serving {url} ({rights})", highlight=False, soft_wrap=True)
            if token is not None:
                _show(out, token, state)
            if service.store.place != str(state / NAME):
                out.print(f"rows in {service.store.place}", highlight=False, soft_wrap=True)
            if state != Path("runs/.service"):
                out.print(
                    f"state in {state}: token, supervise and worker want it as --state", highlight=False, soft_wrap=True
                )
            out.print(f"routes {url}/docs; Ctrl-C stops it", highlight=False, soft_wrap=True)

        run(service, listening, ready, certificate, behind_proxy=given["behind_proxy"])
    finally:
        listening.close()
    return {"url": url} if given["json"] else None


def _show(out: Any, token: str, state: Path) -> None:
    """Tell the first token: on a terminal once, else in a file for its owner's eyes."""
    if out.is_terminal:
        out.print(f"first token (read), shown once: {token}", highlight=False, soft_wrap=True)
        return
    place = state / "first-token"
    place.unlink(missing_ok=True)
    place.touch(mode=0o600)
    place.write_text(f"{token}\n", encoding="ascii")
    out.print(f"first token (read) in {place}", highlight=False, soft_wrap=True)


def _roots(given: Sequence[Path]) -> list[Path]:
    for root in given:
        if not root.is_dir():
            raise UserError(f"--root: {root} is no folder; name one below which sessions or runs lie.")
    roots = list(given) or [*map(Path, _PLACES), SHIPPED]
    roots[0].mkdir(parents=True, exist_ok=True)
    return roots


def _allowed(text: str) -> tuple[Any, ...]:
    scopes = [scope for scope in text.split(",") if scope]
    for scope in scopes:
        if scope not in _ALLOWED:
            raise UserError(f"--allow: {scope!r} is not one of {', '.join(_ALLOWED)}{nearest(scope, _ALLOWED)}")
    return tuple(scope for scope in _ALLOWED if scope in scopes)


def _certificate(given: dict[str, Any]) -> tuple[Path, Path] | None:
    cert, key = given["tls_cert"], given["tls_key"]
    if (cert is None) != (key is None):
        raise UserError("--tls-cert and --tls-key belong together; give both.")
    try:
        near = ipaddress.ip_address(given["host"]).is_loopback
    except ValueError:
        near = given["host"] == "localhost"
    if not near and cert is None and not given["behind_proxy"]:
        raise UserError(
            f"--host {given['host']} is reached by others, and tokens would travel in the open: give --tls-cert and "
            "--tls-key, or --behind-proxy if a proxy speaks TLS in front of it."
        )
    return None if cert is None else (cert, key)


if __name__ == "__main__":
    sys.exit(door(main))
