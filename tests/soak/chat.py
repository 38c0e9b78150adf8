"""How long a message of a chat takes until it is in the journals: ``python -m tests.soak.chat``.

Real sessions in processes of their own on replayed bars, the door `chat` in another, and a messenger on loopback. Each
round writes ``halt`` for one session or for all, waits until its journal says so, and resumes by the inbox; strangers
write meanwhile, and every tenth request of the bot fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qframe_rl.journal.inbox import order
from qframe_rl.journal.peek import Peek
from tests.chat.messenger import TOKEN, Messenger, messenger
from tests.service.places import Replayed

OWNER, STRANGER = 77, 78
ROOT = Path(__file__).parents[2]


def commands(session: Replayed) -> list[str]:
    """The words that were obeyed so far."""
    with Peek(session.folder / "journal.db") as peek:
        rows = peek.rows("SELECT payload FROM events WHERE kind = 'command' ORDER BY seq", n=100_000)
    return [json.loads(payload)["word"] for (payload,) in rows]


def begun(there: Messenger, folder: Path) -> subprocess.Popen[bytes]:
    """The door, in a process of its own."""
    env = os.environ | {"QFRAME_CHAT_TOKEN": TOKEN, "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "experiments.chat", str(folder / "runs"), "--chats", str(OWNER), "--url", there.url]
    return subprocess.Popen(argv, env=env)


def took(there: Messenger, text: str, told: list[Replayed]) -> float:
    """Seconds from a message until the journals of all who are meant say that it was obeyed."""
    before = [commands(one).count("halt") for one in told]
    began = time.monotonic()
    there.write(OWNER, text)
    while [commands(one).count("halt") for one in told] != [n + 1 for n in before]:
        if time.monotonic() - began > 30.0:
            raise SystemExit(f"{text}: not obeyed within 30 s")
        time.sleep(0.005)
    return time.monotonic() - began


def main() -> None:
    """Measure, and fail where a message was lost, doubled, or obeyed though a stranger wrote it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=60)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance, times = random.Random(given.seed), []
    with tempfile.TemporaryDirectory() as place, messenger() as there:
        folder = Path(place)
        (folder / "runs").mkdir()
        sessions = [Replayed(folder / "runs" / f"session-{n}") for n in range(given.sessions)]
        bot = begun(there, folder)
        while not there.asked:
            time.sleep(0.05)
        time.sleep(1.0)
        try:
            for n in range(given.messages):
                there.write(STRANGER, "flatten all")
                if n % 10 == 9:
                    there.faults += [500, 429, b"{"]
                one = chance.choice([*sessions, None])
                text, told = ("halt", sessions) if one is None else (f"halt {one.folder.name}", [one])
                seconds = took(there, text, told)
                if n % 10 != 9:
                    times.append(seconds)
                for session in told:
                    order(session.folder / "journal.db", "resume")
                time.sleep(chance.random() * 0.5)
            obeyed = {word for session in sessions for word in commands(session)}
        finally:
            bot.terminate()
            bot.wait(20.0)
            for session in sessions:
                session.end()
    if obeyed != {"halt", "resume"} or {chat for chat, _ in there.sent} != {OWNER}:
        raise SystemExit(f"obeyed {obeyed}, answered { ({chat for chat, _ in there.sent}) }")
    times.sort()
    print(
        f"{given.messages} messages, {given.sessions} sessions: from message to journal median "
        f"{times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s (those after an outage of the messenger left out)"
    )


if __name__ == "__main__":
    main()
