"""The wire of Telegram's bots: messages by long polling outwards, answers by a request each; nothing listens here.

Source: https://core.telegram.org/bots/api (getUpdates, sendMessage, ResponseParameters). The token stands in the path
of every request, so no address is ever part of a message, and no redirect is followed.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from qframe_rl.config import Unavailable, UserError

URL = "https://api.telegram.org"
LONGEST = 4096
"""Characters of a message, as UTF-16 counts them."""
_CUT = "\n... cut here: more does not fit into a message; ask for one session."
_CONNECT_S, _LATE_S = 5.0, 10.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_REFUSED = (401, 403, 404)


class ChatMessage(NamedTuple):
    """A text that somebody wrote."""

    update: int
    """Its number; they rise."""
    chat: int | None
    """Where it was written; None where the update is not about a text in a chat."""
    text: str
    age_s: float
    """How long ago by the messenger's own clock."""


class TooMany(Unavailable):
    """The messenger asks to wait."""

    def __init__(self, said: str, wait_s: float):
        super().__init__(said)
        self.wait_s = wait_s


class TelegramApi:
    """A bot.

    Parameters
    ----------
    token
        That it was given; never shown.
    url
        Of the service; http on this machine alone.

    Raises
    ------
    UserError
        For an address or a token that cannot be.
    """

    def __init__(self, token: SecretStr, url: str = URL):
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname or place.query or place.fragment:
            raise UserError("the address of the chat begins with https:// and names a host.")
        if place.scheme == "http" and place.hostname not in _LOOPBACK:
            raise UserError("the address of the chat begins with https://; http would show the token to everybody.")
        word = token.get_secret_value()
        if not word.isascii() or not all(one.isalnum() or one in ":_-" for one in word) or ":" not in word:
            raise UserError("the token of the chat is not one of Telegram's, such as 123456:ABC-DEF; ask BotFather.")
        self.place = f"{place.scheme}://{place.netloc.rpartition('@')[2]}"
        self._base = f"{url.rstrip('/')}/bot{word}"
        self._client = httpx.Client(timeout=httpx.Timeout(_LATE_S, connect=_CONNECT_S))

    def updates(self, after: int, wait_s: int) -> list[ChatMessage]:
        """What was written after update number ``after``, which is acknowledged with all before it.

        Parameters
        ----------
        after
            The last one that was taken; 0 = none.
        wait_s
            How long the messenger may hold the request until something comes, seconds.

        Raises
        ------
        UserError
            If it refuses the token.
        Unavailable
            If it cannot be reached, or does not answer as it should.
        """
        asked = {"offset": after + 1 if after else 0, "timeout": wait_s, "limit": 100, "allowed_updates": ["message"]}
        said, now = self._asked("getUpdates", asked, wait_s + _LATE_S)
        if not isinstance(said, list):
            raise Unavailable(f"{self.place} does not answer with a list of updates.")
        return sorted(message for one in said if (message := _message(one, now)) is not None)

    def send(self, chat: int, text: str) -> None:
        """Write a text into a chat; errors as in `updates`."""
        self._asked("sendMessage", {"chat_id": chat, "text": _fitting(text)}, _LATE_S)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _asked(self, method: str, what: dict[str, Any], patience_s: float) -> tuple[Any, float]:
        """Result of a method, and the messenger's clock, unix seconds."""
        try:
            answer = self._client.post(f"{self._base}/{method}", json=what, timeout=patience_s)
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise Unavailable(f"{self.place} cannot be reached ({type(error).__name__}).") from None
        if not isinstance(body, dict) or body.get("ok") is not True or "result" not in body:
            raise self._refused(method, answer.status_code, body)
        return body["result"], _clock(answer.headers.get("date"))

    def _refused(self, method: str, status: int, body: Any) -> Exception:
        if status in _REFUSED and method == "getUpdates":
            return UserError(f"{self.place} does not know the token ({status}); set the one that BotFather gave.")
        if status == 409:
            return Unavailable(f"another program reads the messages of this bot ({self.place}, 409); give one its own.")
        parameters = body.get("parameters") if isinstance(body, dict) else None
        wait = parameters.get("retry_after") if isinstance(parameters, dict) else None
        if isinstance(wait, int) and wait > 0:
            return TooMany(f"{self.place} asks to wait {wait} s.", float(min(wait, 3600)))
        return Unavailable(f"{self.place} answers {method} with {status}.")


def _fitting(text: str) -> str:
    """A text, cut where it is longer than a message may be; it says so."""
    units = text.encode("utf-16-le", "replace")
    if len(units) <= 2 * LONGEST:
        return units.decode("utf-16-le")
    return units[: 2 * (LONGEST - len(_CUT))].decode("utf-16-le", "ignore") + _CUT


def _message(update: Any, now: float) -> ChatMessage | None:
    """An update as a message; None where it has no number, so that it cannot be acknowledged."""
    number = update.get("update_id") if isinstance(update, dict) else None
    if not _is_whole(number):
        return None
    message = update.get("message")
    chat = message.get("chat") if isinstance(message, dict) else None
    where, text = (chat.get("id"), message.get("text")) if isinstance(chat, dict) else (None, None)
    if not _is_whole(where) or not isinstance(text, str) or not _is_whole(message.get("date")):
        return ChatMessage(number, None, "", 0.0)
    return ChatMessage(number, where, text, now - message["date"])


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _clock(stamp: str | None) -> float:
    """The moment of an answer by the clock that sent it; by ours where it does not say."""
    try:
        return parsedate_to_datetime(stamp or "").timestamp()
    except (TypeError, ValueError):
        return time.time()
