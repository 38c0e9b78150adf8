"""What a chat must not forget when its process ends: which messages were taken, and which codes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pydantic import Field, SecretStr

from qframe_rl.config import Strict, Unavailable, UserError, build
from qframe_rl.home import user_state


class ChatState(Strict):
    """As it lies in the file."""

    update: int = Field(default=0, ge=0)
    """Number of the last message that was taken."""
    step: int = Field(default=0, ge=0)
    """Time step of the last one-time code that was taken."""
    strangers: int = Field(default=0, ge=0)
    """Messages of chats that are not let in."""


class ChatMemory:
    """A file that is replaced as a whole, and is on the disk before anything follows from it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UserError
        If it holds something else.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            plain = {}
        except (OSError, ValueError, RecursionError):
            raise UserError(f"{path} cannot be read as what a chat remembers; name another --state.") from None
        self.state = build(ChatState, plain, str(path))

    def keep(self, **fields: int) -> None:
        """Write some fields.

        Raises
        ------
        Unavailable
            If it cannot be written.
        """
        self.state = self.state.model_copy(update=fields)
        fresh = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                file.write(self.state.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written ({error.strerror}).") from None


def usual_place(token: SecretStr) -> Path:
    """Where a bot's memory is unless told: below the user's state, by a digest of its token."""
    name = hashlib.sha256(token.get_secret_value().encode()).hexdigest()[:16]
    return user_state() / "chat" / f"{name}.json"
