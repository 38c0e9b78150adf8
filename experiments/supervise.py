"""Keep sessions running: ``python -m experiments.supervise --help``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import SHIPPED, Parser, beating, console, door
from qframe_rl.config import UserError, build, nearest

_ACTS = ("run", "add", "start", "stop", "remove", "list")
_OWN = ("reward", "actions", "feature", "trust")
_READ = {
    "NAME": ("add", "start", "stop", "remove"), "--checkpoint": ("add",), "--with": ("add",),
    "--alive": ("run",), "--sessions": ("run",), **{f"--{what}": ("run",) for what in _OWN},
}  # fmt: skip
"""Which acts read what not all do."""
_SESSIONS = Path("runs/supervised")


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "supervise",
        "Start, adopt, restart and stop sessions that are wanted. `run` does it until it is stopped; sessions go on\n"
        "without it, and it finds them again. The other words say what is wanted, whether it runs or not; `serve`\n"
        "--allow trade says the same over its API.",
        ["", "add alpha --checkpoint ppo --with feed=ccxt --with exchange=binance", "stop alpha", "list"],
        "a session's --with: feed (replay, ccxt), orders (paper, testnet), exchange, symbols, timeframe, fills,\n"
        "speed, url (a rehearsal exchange here), account, daily_loss, max_drawdown\n",
    )
    add = made.add_argument
    add("act", nargs="?", default="run", choices=_ACTS, metavar="ACT", help=f"{', '.join(_ACTS)} (default: run)")
    add("name", nargs="?", metavar="NAME", help="of a session")
    add("--checkpoint", metavar="ID", help="what a new session trades with: name of its folder below a root")
    add("--with", dest="more", action="append", default=[], metavar="KEY=VALUE", help="of a new session (repeatable)")
    add(
        "--root", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder below which checkpoints are found (may be repeated; default: runs, checkpoints and what ships)",
    )  # fmt: skip
    add(
        "--sessions", type=Path, metavar="FOLDER",
        help="folder in which each session has one (default: runs/supervised)",
    )  # fmt: skip
    for what in _OWN:
        add(
            f"--{what}", dest=f"own.{what}", action="append", default=[],
            metavar="MODULE" if what == "trust" else "MODULE:NAME",
            help=f"handed to every session, which imports it: as `paper --{what}` (repeatable; default: none)",
        )  # fmt: skip
    made.add_state(Path("runs/.service"), "the service's --state (default: runs/.service)")
    made.add_alive()
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Do it."""
    made = parser()
    given = vars(made.parse_args(argv))
    made.refuse_unread(given, given["act"], _READ)
    given["sessions"] = given["sessions"] or _SESSIONS
    from qframe_rl.service.desired import Desired
    from qframe_rl.service.store import NAME, ServiceStore, elsewhere

    here = not elsewhere(given["store"])
    if here and given["act"] not in ("run", "add") and not (given["state"] / NAME).is_file():
        raise UserError(f"{given['state'] / NAME} is not there; name the --state of the service.")
    store = ServiceStore(given["state"], given["store"])
    try:
        if given["act"] == "run":
            return _supervised(store, given)
        said = _said(Desired(store), given)
    finally:
        store.close()
    if given["json"]:
        return {"supervised": said}
    out = console(to_stderr=False)
    if not said:
        out.print("none is supervised" if given["act"] == "list" else f"{given['name']}  forgotten", highlight=False)
    for one in said:
        why = f"  {one['why']}" if one["why"] else ""
        out.print(f"{one['name']}  {one['state']} (wanted: {one['desired']}){why}", highlight=False, soft_wrap=True)
    return None


def _supervised(store: Any, given: dict[str, Any]) -> dict[str, Any] | None:
    from qframe_rl.service.places import Places
    from qframe_rl.service.supervise import EVERY_S, Supervisor

    out, stop = console(to_stderr=True), threading.Event()
    supervisor = Supervisor(
        store,
        Places(_roots(given["root"])),
        given["sessions"],
        lambda line: out.print(line, highlight=False, soft_wrap=True),
        [part for what in _OWN for name in given[f"own.{what}"] for part in (f"--{what}", name)],
    )
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    send = _sending(store, supervisor.told)
    out.print("supervising; Ctrl-C stops this, not the sessions", highlight=False)
    beside = threading.Thread(target=_kept, args=(store, given["sessions"], supervisor.told, stop), name="steward")
    sender = threading.Thread(target=_sent, args=(send, stop), name="alerts", daemon=True)
    beside.start()
    sender.start()
    stopped = beating(stop.is_set, given["alive"])
    try:
        while not (stop.wait(EVERY_S) or stopped()):
            supervisor.step_or_wait()
    finally:
        stop.set()
        beside.join()
        sender.join(5.0)
        for number, handler in before.items():
            signal.signal(number, handler)
        supervisor.close()
    return {"supervised": [one.told() for one in supervisor.desired.all()]} if given["json"] else None


def _kept(store: Any, sessions: Path, told: Any, stop: threading.Event) -> None:
    """Carry portfolios out until told to stop: their transfers, limits and schedules."""
    from qframe_rl.service.steward import Steward
    from qframe_rl.service.supervise import EVERY_S

    steward = Steward(store, sessions, told)
    while not stop.wait(EVERY_S):
        steward.step_or_wait()


def _sending(store: Any, told: Any) -> Any:
    """What sends alerts of portfolios; None where no channel is named."""
    urls = os.environ.get("APPRISE_URLS", "").split()
    if not urls:
        return None
    from qframe_rl.alerts.sender import channels
    from qframe_rl.listeners import Soft
    from qframe_rl.service.notices import NoticeSender, PortfolioNotices

    return NoticeSender(PortfolioNotices(store), channels(urls), Soft(told))


def _sent(send: Any, stop: threading.Event) -> None:
    """Send alerts until told to stop; a channel that takes long holds up no portfolio."""
    while send is not None and not stop.wait(1.0):
        send.step()


def _said(desired: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    from qframe_rl.service.desired import SupervisedSpec
    from qframe_rl.service.places import Places

    act, name = given["act"], given["name"]
    if act == "list":
        return [one.told() for one in desired.all()]
    if name is None:
        raise UserError(f"{act} what? Give the name of a session.")
    if act != "add":
        if act == "remove":
            desired.remove(name)
            return []
        return [desired.want(name, "RUNNING" if act == "start" else "STOPPED").told()]
    if given["checkpoint"] is None:
        raise UserError("add wants --checkpoint ID, what the session trades with.")
    more = dict(_pair(text) for text in given["more"])
    spec = build(SupervisedSpec, {"checkpoint": given["checkpoint"], **more}, "add")
    known = Places(_roots(given["root"])).checkpoints()
    if spec.checkpoint not in known:
        raise UserError(f"there is no checkpoint {spec.checkpoint!r} below a --root{nearest(spec.checkpoint, known)}")
    return [desired.add(name, spec).told()]


def _roots(given: Sequence[Path]) -> list[Path]:
    return list(given) or [Path("runs"), Path("checkpoints"), SHIPPED]


def _pair(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise UserError(f"--with {text}: give KEY=VALUE.")
    return key, value


if __name__ == "__main__":
    sys.exit(door(main))
