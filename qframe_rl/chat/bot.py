"""The bot: who is heard, what of it acts, and that nobody waits for its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from qframe_rl.chat.codes import OneTimeCodes
from qframe_rl.chat.memory import ChatMemory
from qframe_rl.chat.shown import standing, trades
from qframe_rl.chat.telegram import ChatMessage, TelegramApi, TooMany
from qframe_rl.chat.tell import became, chosen, leave
from qframe_rl.chat.words import HELP, ChatWish, wish_of
from qframe_rl.config import Unavailable, UserError
from qframe_rl.listeners import Soft
from qframe_rl.live.kill import sessions_below

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_ANSWERS = 4
"""Answers that may be under way at once."""


@dataclass(frozen=True)
class ChatConfig:
    """Whom a bot listens to, and what of it may act."""

    root: Path
    """Below it lie the sessions."""
    chats: Collection[int]
    """Ids of the chats that are heard; no other gets an answer."""
    resumes: bool = False
    """Whether ``resume`` is obeyed, with a one-time code."""
    older_s: float = 60.0
    """What was written so long ago never acts, seconds."""
    wait_s: int = 25
    """How long the messenger holds a request until something is written, seconds."""
    obeyed_s: float = 5.0
    """How long an answer waits for the journal to say that a command was obeyed, seconds."""
    trades: int = 5
    """Fills that are shown of a session."""


class ChatBot:
    """Reads messages, leaves commands in the inboxes of sessions, and answers.

    Parameters
    ----------
    api
        The messenger.
    config
        Who is heard.
    memory
        What outlives the process.
    codes
        Says which one-time codes are right; None where none may resume.
    note
        Told in one line of failures, and of strangers.
    """

    def __init__(
        self,
        api: TelegramApi,
        config: ChatConfig,
        memory: ChatMemory,
        codes: OneTimeCodes | None,
        note: Callable[[str], None],
    ):
        self._api, self._config, self._memory, self._codes = api, config, memory, codes
        self._note, self._soft = note, Soft(note)
        self._pool = ThreadPoolExecutor(_ANSWERS, thread_name_prefix="answers")
        self._pause_s = _FIRST_PAUSE_S
        self._begun = False

    def run(self, stopped: Callable[[], bool]) -> None:
        """Listen until stopped; while the messenger cannot be reached, try again.

        Raises
        ------
        UserError
            If the messenger does not know the token.
        """
        while not stopped():
            try:
                self.once()
                self._pause_s = _FIRST_PAUSE_S
                self._soft.worked("the chat")
            except Unavailable as error:
                self._soft.failed("the chat", str(error))
                until = time.monotonic() + (error.wait_s if isinstance(error, TooMany) else self._pause_s)
                self._pause_s = min(_LONGEST_PAUSE_S, 2.0 * self._pause_s)
                while time.monotonic() < until and not stopped():
                    time.sleep(0.1)

    def once(self) -> None:
        """Take what was written: what lay there before the first time never acts.

        Raises
        ------
        UserError
            If the messenger does not know the token.
        Unavailable
            If it cannot be reached.
        """
        if not self._begun:
            while old := self._api.updates(self._memory.state.update, 0):
                try:
                    self._drop(old, "before this program began, or while it was down,")
                finally:
                    self._memory.keep(update=old[-1].update)
            self._begun = True
        for message in self._api.updates(self._memory.state.update, self._config.wait_s):
            try:
                self._take(message)
            finally:  # a memory that cannot be written must not have the next message wait for this one
                self._memory.keep(update=message.update)

    def close(self) -> None:
        """Let answers under way go out."""
        self._pool.shutdown(wait=True)

    def _take(self, message: ChatMessage) -> None:
        if message.chat is None or self._strange(message):
            return
        if message.age_s > self._config.older_s:
            self._drop([message], f"more than {self._config.older_s:g} s ago")
            return
        wish, chat = wish_of(message.text), message.chat
        if wish is None or wish.word == "help":
            self._answer(chat, lambda: HELP if wish else f"Not understood, and nothing was done.\n{HELP}")
        elif wish.word in ("status", "trades"):
            self._answer(chat, lambda: self._shown(wish))
        else:
            self._act(chat, wish)

    def _strange(self, message: ChatMessage) -> bool:
        """Whether a chat is not let in; it is counted, and what was written is not looked at."""
        if message.chat in self._config.chats:
            return False
        n = self._memory.state.strangers + 1
        self._memory.keep(strangers=n)
        if n & (n - 1) == 0:  # at 1, 2, 4, 8: a flood of strangers floods no log
            self._note(f"messages of chats that are not let in, all together: {n}")
        return True

    def _drop(self, messages: Sequence[ChatMessage], when: str) -> None:
        """Answer that messages do not act."""
        for chat in dict.fromkeys(m.chat for m in messages if m.chat is not None and not self._strange(m)):
            said = ", ".join(repr(m.text[:40]) for m in messages if m.chat == chat)
            text = f"Written {when} and not acted upon now: {said}. Say again what still holds."
            self._answer(chat, lambda text=text: text)  # type: ignore[misc]

    def _sessions(self, wish: ChatWish) -> list[Path] | str:
        try:
            return chosen(wish, sessions_below(self._config.root))
        except UserError as error:
            return str(error)

    def _shown(self, wish: ChatWish) -> str:
        found = self._sessions(wish)
        if isinstance(found, str):
            return found
        if wish.word == "trades":
            return trades(found, self._config.trades)
        strangers = self._memory.state.strangers
        ignored = f"\n\nmessages of strangers, ignored: {strangers}" if strangers else ""
        return f"{standing(found)}{ignored}"

    def _act(self, chat: int, wish: ChatWish) -> None:
        """Leave a command at once; the answer waits for the journals elsewhere."""
        found = self._sessions(wish)
        why = found if isinstance(found, str) else self._refusal(wish)
        if why:
            self._answer(chat, lambda: why)
            return
        left = leave(wish, [one for one in found if isinstance(one, Path)])
        if not left:
            self._answer(chat, lambda: f"No session trades {wish.symbol}.")
            return
        self._answer(chat, lambda: became(left, self._config.obeyed_s))

    def _refusal(self, wish: ChatWish) -> str:
        """Why a command is not left; empty where it is. A code is looked at last: it counts once."""
        if wish.word != "resume":
            return ""
        if not self._config.resumes or self._codes is None:
            return "Nobody resumes over the chat here; on the machine: control resume."
        if wish.code is None:
            return "resume wants the one-time code as well."
        why = self._codes.refusal(wish.code)
        return f"Not resumed: {why}." if why else ""

    def _answer(self, chat: int, text: Callable[[], str]) -> None:
        """Write to a chat, from a thread that nobody waits for."""
        self._pool.submit(self._soft.run, "an answer of the chat", lambda: self._api.send(chat, text()))
