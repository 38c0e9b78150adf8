"""A chat tells sessions what a human says, once, and nobody else, and nothing that is old."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from experiments import chat as door_of_chat
from experiments.cli import door
from qframe_rl.chat.bot import ChatBot, ChatConfig
from qframe_rl.chat.codes import STEP_S, OneTimeCodes, code_at
from qframe_rl.chat.memory import ChatMemory
from qframe_rl.chat.telegram import LONGEST, TelegramApi
from qframe_rl.chat.words import ChatWish, wish_of
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import left
from tests.chat.messenger import TOKEN, Messenger, messenger
from tests.service.places import SYMBOLS, Session

OWNER, STRANGER = 77, 78
SECRET = b"12345678901234567890"
BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.fixture
def there() -> Iterator[Messenger]:
    with messenger() as one:
        yield one


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[list[Session]]:
    made = [Session(tmp_path / "runs" / name) for name in ("alpha-1", "beta-2")]
    for one in made:
        one.bar(3)
    yield made
    for one in made:
        one.close()


class Talk:
    """A bot, and what it says of failures."""

    def __init__(self, there: Messenger, folder: Path, *, resumes: bool = True, begin: bool = True):
        self.notes: list[str] = []
        self.now = 1_000_000.0
        self.memory = ChatMemory(folder / "chat.json")
        codes = OneTimeCodes(
            SecretStr(BASE32), self.memory.state.step, lambda step: self.memory.keep(step=step), lambda: self.now
        )
        config = ChatConfig(folder / "runs", {OWNER}, resumes, wait_s=0, obeyed_s=0.2)
        api = TelegramApi(SecretStr(TOKEN), there.url)
        self.bot = ChatBot(api, config, self.memory, codes, self.notes.append)
        there.closing += [self.bot.close, api.close]
        if begin:
            self.bot.once()

    def say(self, there: Messenger, text: str, chat: int = OWNER, **more: Any) -> str:
        """The answer to one text."""
        n = len(there.sent)
        there.write(chat, text, **more)
        self.bot.once()
        return there.answers(n + 1)[-1]

    def code(self) -> str:
        return code_at(SECRET, int(self.now) // STEP_S)


def words(session: Session) -> list[str]:
    return [word for _, _, word in left(session.folder / "journal.db")]


@pytest.mark.parametrize("seconds, code", [(59, "94287082"), (1111111109, "07081804"), (20000000000, "65353130")])
def test_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    """RFC 6238, appendix B: eight digits there, of which the last six are those of six digits."""
    assert code_at(SECRET, seconds // STEP_S) == code[-6:]


def test_words_are_obeyed_as_they_are_meant(there: Messenger, tmp_path: Path, sessions: list[Session]) -> None:
    talk, (one, two) = Talk(there, tmp_path), sessions
    assert "alpha-1: ACTIVE" in talk.say(there, "/status@some_bot")
    assert "+0.5 BTC/USDT at 100" in talk.say(there, "trades beta")
    talk.say(there, "Halt")
    assert (words(one), words(two)) == (["halt"], ["halt"])
    assert "Say which, or all: alpha-1, beta-2" in talk.say(there, "flatten")
    assert "No sessions begin with gamma" in talk.say(there, "flatten gamma")
    talk.say(there, "flatten alpha")
    talk.say(there, "flatten eth/usdt beta-2")
    assert "No session trades X/USDT." in talk.say(there, "flatten X/USDT")
    assert words(one) == ["halt", "flatten"]
    assert words(two) == ["halt", f"flatten {SYMBOLS[1]}"]
    for text in ("dance", "halt now please", "flatten all 123456", "status " * 99, "reduce", ""):
        assert talk.say(there, text).startswith("Not understood, and nothing was done.")
    assert talk.say(there, "/start").startswith("status [SESSION]")
    assert len(words(one)) + len(words(two)) == 4
    talk.bot.close()


def test_an_answer_says_what_the_journal_says(there: Messenger, tmp_path: Path, sessions: list[Session]) -> None:
    talk = Talk(there, tmp_path)
    assert talk.say(there, "halt alpha") == "alpha-1: halt, told, the journal does not say obeyed yet"
    there.write(OWNER, "halt alpha")
    talk.bot.once()
    number = left(sessions[0].folder / "journal.db")[1][0]
    sessions[0].put("command", word="halt", by="command", number=number)
    sessions[0].writer.commit()
    assert there.answers(2)[-1] == "alpha-1: halt, obeyed"
    sessions.pop().close()
    assert talk.say(there, "halt beta") == "beta-2: halt, no process runs; it holds from the next start on"


def test_nobody_resumes_without_a_code_and_none_counts_twice(
    there: Messenger, tmp_path: Path, sessions: list[Session]
) -> None:
    talk, one = Talk(there, tmp_path), sessions[0]
    assert "wants the one-time code" in talk.say(there, "resume alpha")
    assert "not the code of now" in talk.say(there, "resume alpha 000000")
    code = talk.code()
    talk.say(there, f"resume alpha {code}")
    assert words(one) == ["resume"]
    assert "was used" in talk.say(there, f"resume alpha {code}")
    again = Talk(there, tmp_path)
    assert "was used" in again.say(there, f"resume alpha {code}"), "a new process takes it again"
    before = code_at(SECRET, int(talk.now) // STEP_S - 1)
    assert "was used" in again.say(there, f"resume alpha {before}")
    again.now += STEP_S
    again.say(there, f"resume {SYMBOLS[0]} alpha {again.code()}")
    (one.folder / "HALT").touch()
    again.now += STEP_S
    assert "would halt it again" in again.say(there, f"resume alpha {again.code()}")
    assert words(one) == ["resume", f"resume {SYMBOLS[0]}"]
    for n in range(5):
        again.say(there, f"resume alpha 00000{n}")
    again.now += STEP_S
    assert "too many wrong codes" in again.say(there, f"resume alpha {again.code()}")
    shut = Talk(there, tmp_path, resumes=False)
    shut.now = again.now + 10 * STEP_S
    assert "Nobody resumes over the chat" in shut.say(there, f"resume alpha {shut.code()}")
    assert len(words(one)) == 2


def test_what_is_old_never_acts(there: Messenger, tmp_path: Path, sessions: list[Session]) -> None:
    """Written before the start, or long ago by the messenger's clock: it is answered, and taken off the list."""
    for text in ("flatten all", "halt"):
        there.write(OWNER, text)
    there.write(STRANGER, "halt")
    talk = Talk(there, tmp_path, begin=False)
    talk.bot.once()
    (said,) = there.answers(1)
    assert said.startswith("Written before this program began, or while it was down, and not acted upon now: 'flatten")
    assert "more than 60 s ago" in talk.say(there, "halt", age_s=61)
    assert words(sessions[0]) == words(sessions[1]) == []
    kept = talk.memory.state.update
    assert kept == 1004
    Talk(there, tmp_path)
    assert len(there.answers(2)) == 2
    assert [body["offset"] for body in there.asked][-2:] == [kept + 1] * 2, "what was taken is asked for again"
    assert words(sessions[0]) == []


def test_what_is_longer_than_a_message_is_cut_as_it_is_counted_there_and_says_so(there: Messenger) -> None:
    with closing(TelegramApi(SecretStr(TOKEN), there.url)) as api:
        for text in ("\U0001f600" * 2048, "\U0001f600" * 2049, "\ud800 halt"):
            api.send(OWNER, text)
    whole, cut, odd = there.answers(3)
    assert len(whole) == 2048 and odd.endswith(" halt")
    assert len(cut.encode("utf-16-le")) <= 2 * LONGEST and cut.endswith("fit into a message; ask for one session.")


def test_strangers_get_nothing_and_are_counted(there: Messenger, tmp_path: Path, sessions: list[Session]) -> None:
    talk = Talk(there, tmp_path)
    for text in ("halt", "/start", "status", "flatten all"):
        there.write(STRANGER, text)
    talk.bot.once()
    assert "messages of strangers, ignored: 4" in talk.say(there, "status")
    assert [chat for chat, _ in there.sent] == [OWNER]
    assert words(sessions[0]) == []
    assert [note.rpartition(" ")[2] for note in talk.notes] == ["1", "2", "4"]


def test_a_memory_that_cannot_be_written_has_no_word_wait_for_a_stranger(
    there: Messenger, tmp_path: Path, sessions: list[Session]
) -> None:
    talk = Talk(there, tmp_path, begin=False)
    talk.memory.path = sessions[0].folder / "journal.db" / "chat.json"  # below a file: nothing can be there
    there.write(STRANGER, "before it began")
    for _ in range(2):
        with suppress(Unavailable):
            talk.bot.once()
    there.write(STRANGER, "status")
    there.write(OWNER, "halt")
    for _ in range(2):
        with suppress(Unavailable):
            talk.bot.once()
    assert words(sessions[0]) == ["halt"]


def test_updates_that_make_no_sense_are_passed_over(there: Messenger, tmp_path: Path, sessions: list[Session]) -> None:
    talk = Talk(there, tmp_path)
    for number, update in enumerate(
        ({}, {"message": None}, {"message": {"chat": {"id": OWNER}, "text": "halt"}},
         {"edited_message": {"text": "halt"}}, {"message": {"chat": {"id": str(OWNER)}, "text": "halt", "date": 1}},
         {"message": {"chat": {"id": OWNER}, "text": ["halt"], "date": 1}}, {"message": {"chat": OWNER}})
    ):  # fmt: skip
        there.put({"update_id": 5000 + number, **update})
    for odd in ({"update_id": "x"}, [], None, 5):
        there.put(odd)
    talk.bot.once()
    assert talk.memory.state.update == 5006
    assert (words(sessions[0]), there.sent) == ([], [])


def test_an_outage_is_said_once_and_ends(there: Messenger, tmp_path: Path, sessions: list[Session]) -> None:
    talk, n = Talk(there, tmp_path), 0
    there.faults = [500, b"{", b"[]", b'{"ok":true}', 409, 429]

    def stopped() -> bool:
        nonlocal n
        n += 1
        talk.bot._pause_s = 0.0  # the waits are not what is looked at
        return len(there.sent) > 0 or n > 200

    there.write(OWNER, "status")
    talk.bot.run(stopped)
    assert there.answers(1)[0].startswith("alpha-1")
    assert "answers getUpdates with 500" in talk.notes[0]
    assert "works again, after 6 failures" in talk.notes[-1]
    assert TOKEN.partition(":")[2] not in " ".join(talk.notes)


def test_a_token_that_is_refused_ends_it_and_no_message_shows_it(there: Messenger) -> None:
    refused, away = TelegramApi(SecretStr("1:other"), there.url), TelegramApi(SecretStr(TOKEN), "http://127.0.0.1:9")
    there.closing += [refused.close, away.close]
    with pytest.raises(UserError, match="does not know the token") as said:
        refused.updates(0, 0)
    assert "other" not in str(said.value)
    with pytest.raises(Unavailable, match="cannot be reached") as gone:
        away.updates(0, 0)
    assert TOKEN not in str(gone.value)
    for url in ("http://api.telegram.org", "ftp://127.0.0.1", "https://"):
        with pytest.raises(UserError, match="begins with https"):
            TelegramApi(SecretStr(TOKEN), url)
    with pytest.raises(UserError, match="not one of Telegram's"):
        TelegramApi(SecretStr("../x"), there.url)


@pytest.mark.parametrize(
    "text, wish",
    [
        ("HALT", ChatWish("halt")), ("/resume a BTC/USDT 012345", ChatWish("resume", "a", "BTC/USDT", "012345")),
        ("resume 123456 all", ChatWish("resume", "all", None, "123456")), ("resume 123456 654321", None),
        ("status BTC/USDT", None), ("halt 123456", None), ("halt a b", None), ("  ", None),
    ],
)  # fmt: skip
def test_texts_are_taken_apart(text: str, wish: ChatWish | None) -> None:
    assert wish_of(text) == wish


def test_the_door_refuses_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: Messenger
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    argv = [str(tmp_path), "--chats", "77", "--url", there.url]
    monkeypatch.delenv("QFRAME_CHAT_TOKEN", raising=False)
    assert door(door_of_chat.main, argv) == 2
    assert "QFRAME_CHAT_TOKEN is not set" in capsys.readouterr().err
    monkeypatch.setenv("QFRAME_CHAT_TOKEN", TOKEN)
    for more, why in (
        (["--resume"], "QFRAME_CHAT_TOTP_SECRET"),
        (["--state", str(tmp_path)], "cannot be read as what a chat remembers"),
    ):  # fmt: skip
        assert door(door_of_chat.main, [*argv, *more]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        door(door_of_chat.main, [str(tmp_path), "--chats", "me"])
    assert "'me' are no ids" in capsys.readouterr().err
    monkeypatch.setenv("QFRAME_CHAT_TOKEN", "1:other")
    began = time.monotonic()
    assert door(door_of_chat.main, argv) == 2
    assert "does not know the token" in capsys.readouterr().err
    assert time.monotonic() - began < 60.0
    (tmp_path / "odd.json").write_text(json.dumps({"update": -1}))
    with pytest.raises(UserError, match="update"):
        ChatMemory(tmp_path / "odd.json")
