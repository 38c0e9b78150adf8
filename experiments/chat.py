"""Watch and stop sessions by a messenger: ``python -m experiments.chat --help``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door, within
from qframe_rl.config import UserError

if TYPE_CHECKING:
    from pydantic import SecretStr

TOKEN, CODES = "QFRAME_CHAT_TOKEN", "QFRAME_CHAT_TOTP_SECRET"
_URL = "https://api.telegram.org"


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "chat",
        "Let a chat of Telegram ask how sessions stand and stop them: status, trades, halt, flatten (all, or one\n"
        "instrument), and resume, where --resume allows it, with a one-time code. It asks outwards and listens to no\n"
        "port; it leaves commands in inboxes as control does, and no session waits for it.",
        ["runs/paper --chats 123456789", "runs --chats 123456789,-1001234567890 --resume"],
        f"the bot's token, from BotFather, is taken from {TOKEN}; with --resume the secret of one-time codes (TOTP,\n"
        f"RFC 6238: SHA-1, six digits, 30 s; base32) from {CODES}, which an authenticator has as well\n",
        first="--chats --resume --state",
    )
    add = made.add_argument
    add("root", type=Path, metavar="FOLDER", help="folder below which sessions lie, such as runs")
    add(
        "--chats", type=_ids, required=True, metavar="ID,...",
        help="ids of the chats that are heard (may be given once, separated by commas); everybody in a group is; a\n"
        "person's id is what @userinfobot says. All others get no answer, and are counted",
    )  # fmt: skip
    add("--resume", action="store_true", help="obey resume, with a one-time code (default: refuse)")
    add(
        "--older-s", type=within(float, 5.0, 86_400.0), default=60.0, metavar="SECONDS",
        help="what was written so long ago never acts (default: 60)",
    )  # fmt: skip
    add("--trades", type=within(int, 1, 50), default=5, metavar="N", help="fills shown of a session (default: 5)")
    add(
        "--state", type=Path, metavar="FILE",
        help="what outlives the process: the last message and the last code that were taken (default: a file below\n"
        "the user's state folder, one for each bot)",
    )  # fmt: skip
    add("--url", default=_URL, metavar="URL", help=f"ask there, such as a server of tests (default: {_URL})")
    return made


def _ids(text: str) -> frozenset[int]:
    """Type of the option that names chats."""
    try:
        found = frozenset(int(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no ids such as 123456789,-1001234567890") from None
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Listen until stopped."""
    given = vars(parser().parse_args(argv))
    if not given["root"].is_dir():
        raise UserError(f"{given['root']} is no folder; name one below which sessions lie, such as runs.")
    token = _secret(TOKEN)
    if token is None:
        raise UserError(f"{TOKEN} is not set in the environment; it holds the bot's token, which BotFather gives.")
    out, stop = console(to_stderr=True), threading.Event()

    def told(line: str) -> None:
        out.print(line, highlight=False, soft_wrap=True)

    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as stack:
            bot, memory = _opened(given, token, told, stack)
            told(f"{given['url']}, {len(given['chats'])} chats, sessions below {given['root']}; Ctrl-C stops it")
            _listen(bot, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return memory.state.model_dump() if given["json"] else None


def _opened(given: dict[str, Any], token: SecretStr, told: Any, stack: ExitStack) -> tuple[Any, Any]:
    """The bot, and what it remembers; no second process has the same bot meanwhile."""
    from qframe_rl.chat.bot import ChatBot, ChatConfig
    from qframe_rl.chat.codes import OneTimeCodes
    from qframe_rl.chat.memory import ChatMemory, usual_place
    from qframe_rl.chat.telegram import TelegramApi
    from qframe_rl.journal.claims import Claimed, Claims

    api = TelegramApi(token, given["url"])
    stack.callback(api.close)
    name = usual_place(token).stem
    try:
        stack.callback(Claims([f"chat {name}"], {"chat": str(given["root"].absolute())}).close)
    except Claimed as other:
        who = f"process {other.holder.get('process', 'unknown')}, sessions below {other.holder.get('chat', 'unknown')}"
        raise UserError(f"this bot is listened to already ({who}); stop that one, or take another bot.") from None
    memory = ChatMemory(given["state"] or usual_place(token))
    codes = None
    if given["resume"]:
        secret = _secret(CODES)
        if secret is None:
            raise UserError(f"--resume wants the secret of one-time codes in the environment variable {CODES}.")
        codes = OneTimeCodes(secret, memory.state.step, lambda step: memory.keep(step=step), time.time)
    config = ChatConfig(given["root"], given["chats"], given["resume"], given["older_s"], trades=given["trades"])
    bot = ChatBot(api, config, memory, codes, told)
    stack.callback(bot.close)
    return bot, memory


def _listen(bot: Any, stop: threading.Event) -> None:
    """Let a thread listen until stopped: a request that the messenger holds is not waited for."""
    failed: list[BaseException] = []

    def listen() -> None:
        try:
            bot.run(stop.is_set)
        except BaseException as error:
            failed.append(error)
            stop.set()

    thread = threading.Thread(target=listen, name="chat", daemon=True)
    thread.start()
    while not stop.wait(0.5):
        pass
    thread.join(1.0)
    if failed:
        raise failed[0]


def _secret(name: str) -> SecretStr | None:
    """What a variable of the environment holds; None where it is not set."""
    from pydantic import SecretStr

    return SecretStr(os.environ[name]) if os.environ.get(name) else None


if __name__ == "__main__":
    sys.exit(door(main))
