"""Tell a live session what to do: ``python -m experiments.control --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import Parser, console, door
from qframe_rl.config import Unavailable, UserError

WORDS = ("halt", "flatten", "reduce", "resume", "adopt")
_OBEYED_S = 5.0
"""How long what came of an adoption is waited for."""


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "control",
        "Kill switch of live sessions, and the way back. The command waits in an inbox: a session that runs obeys\n"
        "within a second or at the next bar, one that does not obeys when it is started again. --all and --portfolio\n"
        "tell many, a halt by inbox, file and signal, each of which is enough: no server and no database is needed.\n"
        "With --symbol, flatten closes one instrument, cancels its orders and holds it flat in every state until\n"
        "resume with the same --symbol; a resume without it trades the others again and leaves this one locked.",
        [
            "halt runs/paper/1a2b3c4d5e6f7081-0badcafe", "resume runs/paper/1a2b3c4d5e6f7081-0badcafe",
            "--all runs", "flatten --all runs --portfolio main",
            "flatten runs/paper/1a2b3c4d5e6f7081-0badcafe --symbol BTC/USDT",
            "adopt runs/paper/1a2b3c4d5e6f7081-0badcafe --symbol BTC/USDT --quantity 0.5 --price 60000",
            "adopt runs/paper/1a2b3c4d5e6f7081-0badcafe --cash 500",
        ],
        "the same by file: touch FOLDER/HALT; by signal: kill -USR1 (halt) or -USR2 (flatten) PROCESS\n"
        "what --all halted stays so while the file HALT is in its folder: remove it, then resume\n",
    )  # fmt: skip
    made.add_argument(
        "command",
        nargs="?",
        choices=WORDS,
        metavar="COMMAND",
        help="halt: no order goes out; flatten: close everything, then halt; reduce: only close; resume: trade again; "
        "adopt: take in coins or cash that came from outside, which is no profit; negative: what will be withdrawn "
        "(default with --all or --portfolio: halt)",
    )
    made.add_argument("session", nargs="?", type=Path, metavar="FOLDER", help="folder of a session, or its journal.db")
    made.add_argument(
        "--symbol", metavar="SYMBOL",
        help="with flatten and resume: close and lock, or release, this instrument alone (default: all); with adopt: "
        "whose coins",
    )  # fmt: skip
    made.add_argument("--quantity", type=_units, metavar="AMOUNT", help="of adopt: coins, up to 8 decimals")
    made.add_argument("--price", type=_units, metavar="PRICE", help="of adopt: what a coin counts for, quote currency")
    made.add_argument("--cash", type=_units, metavar="AMOUNT", help="of adopt: quote currency, up to 8 decimals")
    made.add_argument("--all", type=Path, metavar="ROOT", help="every session below a folder (default: one session)")
    made.add_argument(
        "--portfolio", metavar="ID", help="every member of a portfolio below --all (default of that here: runs)"
    )
    return made


def _units(text: str) -> int:
    """Type of the options that are amounts: units of 1e-8."""
    from decimal import Context, Decimal, InvalidOperation

    try:
        # With as many digits as were written: one that is rounded away is not refused.
        units = Context(prec=len(text) + 16, traps=[InvalidOperation]).multiply(Decimal(text), Decimal(10**8))
        if units == units.to_integral_value() and 0 < abs(units) < 10**18:
            return int(units)
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no amount other than 0 of up to 8 decimals, such as 0.5")


def _left_open(journal: Path) -> str:
    """What a halt leaves open, as the session said last; empty if nothing."""
    import json

    from qframe_rl.journal.store import pulse

    said = pulse(journal)
    state = {} if said is None else json.loads(said[1])
    held = zip(state.get("symbols", ()), state.get("account", {}).get("position", ()), strict=True)
    open_now = ", ".join(f"{quantity:+g} {symbol}" for symbol, quantity in held if quantity)
    return f"; it leaves open what is held ({open_now}): flatten closes it" if open_now else ""


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Leave a command."""
    given = vars(parser().parse_args(argv))
    if given["command"] == "adopt":
        return _adopt(given)
    if any(given[name] is not None for name in ("quantity", "price", "cash")):
        raise UserError("--quantity, --price and --cash are for adopt; leave them out, or say adopt.")
    if given["symbol"] is not None and given["command"] not in ("flatten", "resume"):
        raise UserError(f"--symbol {given['symbol']} is for flatten and resume; leave it out, or take one of these.")
    if given["all"] is not None or given["portfolio"] is not None:
        return _many(given)
    if given["command"] is None or given["session"] is None:
        raise UserError("control wants a COMMAND and the FOLDER of a session, or --all ROOT; see --help.")
    from qframe_rl.journal.inbox import order
    from qframe_rl.journal.lock import writer_of
    from qframe_rl.journal.store import journal_of

    path = journal_of(given["session"])
    if given["symbol"] is not None:
        return _one_instrument(path, given)
    kill_file = path.parent / "HALT"
    if given["command"] == "resume" and kill_file.exists():
        raise UserError(f"{kill_file} is there and would halt it again; remove it first.")
    order(path, given["command"])
    process = writer_of(path)
    when = f"process {process} is told" if process else "no process runs; it holds from the next start on"
    left = _left_open(path) if given["command"] == "halt" else ""
    console(to_stderr=True).print(f"{given['command']}: {when}{left}", highlight=False, soft_wrap=True)
    return {"command": given["command"], "process": process} if given["json"] else None


def _one_instrument(path: Path, given: dict[str, Any]) -> dict[str, Any] | None:
    """Close and lock one instrument of a session, or release it."""
    from qframe_rl.journal.inbox import locking_word, order
    from qframe_rl.journal.lock import writer_of
    from qframe_rl.live.standing import symbols_of

    word, symbol, traded = given["command"], given["symbol"], symbols_of(path)
    if symbol not in traded:
        raise UserError(f"{path.parent} does not trade {symbol}; it trades {', '.join(traded)}.")
    order(path, locking_word(word, symbol))
    process = writer_of(path)
    when = f"process {process} is told" if process else "no process runs; it holds from the next start on"
    console(to_stderr=True).print(f"{word} {symbol}: {when}", highlight=False, soft_wrap=True)
    return {"command": word, "symbol": symbol, "process": process} if given["json"] else None


def _adopt(given: dict[str, Any]) -> dict[str, Any] | None:
    """Have a session take in what came from outside."""
    import secrets

    from qframe_rl.amounts import money
    from qframe_rl.journal.inbox import Adoption, adopt_word, order
    from qframe_rl.journal.lock import writer_of
    from qframe_rl.journal.store import journal_of
    from qframe_rl.live.standing import symbols_of

    symbol, quantity, price, cash = (given[name] for name in ("symbol", "quantity", "price", "cash"))
    coins = None not in (symbol, quantity, price) and cash is None
    if given["session"] is None or given["all"] is not None or given["portfolio"] is not None:
        raise UserError("adopt wants the FOLDER of one session: adopt FOLDER --cash AMOUNT.")
    if not coins and (cash is None or (symbol, quantity, price) != (None, None, None)):
        raise UserError("adopt wants --cash AMOUNT, or --symbol, --quantity and --price of coins.")
    path = journal_of(given["session"])
    if coins and symbol not in (traded := symbols_of(path)):
        raise UserError(f"{path.parent} does not trade {symbol}; it trades {', '.join(traded)}.")
    if coins and price < 0:
        raise UserError(f"--price {money(price)}: a coin counts for more than nothing.")
    one = Adoption(f"adopt-{secrets.token_hex(8)}", quantity if coins else cash, symbol, price or 0)
    order(path, adopt_word(one))
    process = writer_of(path)
    what = f"{money(one.units)} of {symbol} at {money(one.price)}" if coins else f"{money(one.units)} of cash"
    state, why = _outcome(path, one.id) if process else (None, "")
    if state == "REFUSED":
        raise UserError(f"adopt {what}: the session refuses it: {why}")
    when = f"process {process} is told" if process else "no process runs; it holds from the next start on"
    came = "it is adopted" if state else f"event `transferred` of {one.id} says what came of it"
    console(to_stderr=True).print(f"adopt {what}: {when}; {came}", highlight=False, soft_wrap=True)
    said = {"command": "adopt", "id": one.id, "units": one.value, "process": process, "state": state}
    return said if given["json"] else None


def _outcome(path: Path, name: str) -> tuple[str | None, str]:
    """How an adoption ended, and why, once the journal says so; None where it does not within some seconds."""
    import json
    import time

    from qframe_rl.journal.peek import Peek

    until = time.monotonic() + _OBEYED_S
    while time.monotonic() < until:
        with Peek(path) as peek:
            rows = peek.rows("SELECT payload FROM events WHERE kind = 'transferred' ORDER BY seq DESC", n=50)
        for said in (json.loads(payload) for (payload,) in rows):
            if said["id"] == name:
                return said["state"], said.get("why", "")
        time.sleep(0.1)
    return None, ""


def _many(given: dict[str, Any]) -> dict[str, Any] | None:
    """Tell every session below a folder, and say of each how; what could be told to nobody is an error at the end."""
    from qframe_rl.live.kill import sessions_below

    if given["session"] is not None:
        raise UserError(f"{given['session']} and --all: name one folder, as --all ROOT.")
    root, word = given["all"] or Path("runs"), given["command"] or "halt"
    found = sessions_below(root, given["portfolio"])
    if not found:
        what = "" if given["portfolio"] is None else f" of portfolio {given['portfolio']}"
        raise UserError(f"there is no session{what} below {root}.")
    if (symbol := given["symbol"]) is not None:
        found = _trading(found, symbol, root)
    told = [_one_of_many(folder, word, symbol) for folder in found]
    out, said = console(to_stderr=True), word if symbol is None else f"{word} {symbol}"
    for one in told:
        how = f"told by {', '.join(one['ways'])}" if one["ways"] else f"NOT told: {one['failed']}"
        out.print(f"{said}: {one['session']}  {how}", highlight=False, soft_wrap=True)
    if missed := [one for one in told if not one["ways"]]:
        kind = UserError if word == "resume" else Unavailable
        raise kind(f"{len(missed)} of {len(told)} sessions could not be told: {missed[0]['failed']}")
    return {"command": word, "told": told} if given["json"] else None


def _trading(folders: Sequence[Path], symbol: str, root: Path) -> list[Path]:
    """Those of the sessions that trade an instrument; one that cannot be read is told, and says so itself."""
    from qframe_rl.journal.store import NAME
    from qframe_rl.live.standing import symbols_of

    found = []
    for folder in folders:
        try:
            trades = symbol in symbols_of(folder / NAME)
        except (UserError, Unavailable):
            trades = True
        if trades:
            found.append(folder)
    if not found:
        raise UserError(f"no session below {root} trades {symbol}.")
    return found


def _one_of_many(folder: Path, word: str, symbol: str | None) -> dict[str, Any]:
    from qframe_rl.journal.inbox import locking_word
    from qframe_rl.live.kill import tell

    if symbol is not None:
        return _by_inbox(folder, locking_word(word, symbol))
    if word != "resume":
        done = tell(folder, word)
        return {"session": str(folder), "ways": list(done.ways), "failed": "; ".join(done.failed)}
    if (folder / "HALT").exists():
        return {"session": str(folder), "ways": [], "failed": f"{folder / 'HALT'} would halt it again; remove it first"}
    return _by_inbox(folder, word)


def _by_inbox(folder: Path, word: str) -> dict[str, Any]:
    from qframe_rl.journal.inbox import order
    from qframe_rl.journal.store import NAME

    try:
        order(folder / NAME, word, patience_s=2.0)
    except (UserError, Unavailable) as error:
        return {"session": str(folder), "ways": [], "failed": str(error)}
    return {"session": str(folder), "ways": ["inbox"], "failed": ""}


if __name__ == "__main__":
    sys.exit(door(main))
