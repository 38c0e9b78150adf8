"""Decisions that are made outside, as columns: target exposures with a stamp, a deadline and a signature.

A record is a file of lines, each a message as it was received and when. It is read by the rules that it was written by,
so a session that reads it while it grows and a backtest over it see the same: of each close the last message that was
received by then, until its deadline. What is refused by the rules cannot be in a record; one that has it is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
from pydantic import Field, FiniteFloat, SecretStr, StringConstraints

from qframe_rl.config import Strict, UserError, build, shortened
from qframe_rl.types import SECOND, Float, History, iso

KEY = "QFRAME_DECISIONS_KEY"
"""Variable of the environment with the key of signatures."""
LARGEST = 1.0
"""Largest sum of absolute targets of a message, unless told."""
BYTES = 65_536
"""Of a message at most."""
_SHORTEST = 16
_ROUNDED = 1.0 + 1e-9
"""Shares that sum to one do so but for the rounding of binary fractions."""
_AHEAD_NS = 2 * SECOND
"""How far a sender's clock may be ahead."""
_SPEC = re.compile(r"\w+=decisions:(?P<file>.+?)(?::(?P<largest>\d+(?:\.\d+)?))?")
_SPELLING = "NAME=decisions:FILE[:LARGEST], such as target=decisions:model.jsonl"
Shape = TypeVar("Shape", bound=Strict)
Moment = Annotated[int, Field(ge=0, lt=2**62)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\S+$")]


class DecisionMessage(Strict):
    """What a sender says."""

    id: Name
    """Characters without blanks; each is taken once."""
    made: Moment
    """When it was decided, ns UTC; later than that of every message before it."""
    deadline: Moment
    """The last moment at which it says anything, ns UTC."""
    targets: dict[Name, FiniteFloat] = Field(min_length=1, max_length=1000)
    """Exposures by symbols, signed shares of equity; what is not named is left as it is."""


class SignedMessage(Strict):
    """A message as it is sent."""

    body: str = Field(max_length=BYTES)
    """The `DecisionMessage`, as JSON: what is signed is this text, byte for byte."""
    signature: str = Field(pattern=r"^[0-9a-f]{64}$")
    """HMAC-SHA256 of the body under the key, hex."""


class ReceivedLine(SignedMessage):
    """A line of a record."""

    received: Moment


class TakenMessages(NamedTuple):
    """Messages that count, in their order."""

    received: list[int]
    messages: list[DecisionMessage]


class RefusedMessage(UserError):
    """A message that does not count, and why."""


def key_of_environment() -> SecretStr:
    """The key of signatures.

    Raises
    ------
    UserError
        If it is not set, or has less than 16 characters.
    """
    key = SecretStr(os.environ.get(KEY, ""))
    if len(key) < _SHORTEST:
        raise UserError(f"decisions from outside are signed: set {KEY}, {_SHORTEST} characters or more, as senders do.")
    return key


def signature(body: str, key: SecretStr) -> str:
    """HMAC-SHA256 of a body under the key, hex (RFC 2104)."""
    return hmac.new(key.get_secret_value().encode(), body.encode(), hashlib.sha256).hexdigest()


class DecisionRules:
    """Says which messages count, one after the other.

    Parameters
    ----------
    key
        Of the signatures.
    largest
        Sum of absolute targets at most.
    symbols
        What may be named; none = anything.
    """

    def __init__(self, key: SecretStr, largest: float = LARGEST, symbols: Collection[str] = ()):
        self._key, self._largest, self._symbols = key, largest, symbols
        self._ids: set[str] = set()
        self._made = self._received = -1

    def take(self, signed: SignedMessage, received: int) -> DecisionMessage:
        """The message that was received at ``received``, ns UTC, if it counts; errors as of `judge`."""
        message = self.judge(signed, received)
        self.known(message, received)
        return message

    def judge(self, signed: SignedMessage, received: int) -> DecisionMessage:
        """The message as it would be taken.

        Raises
        ------
        RefusedMessage
            If it is forged, no message, late, ahead, doubled, older than one that was taken, out of range, or about
            what nobody trades.
        """
        if not hmac.compare_digest(signature(signed.body, self._key), signed.signature):
            raise RefusedMessage("forged: its signature is not that of the key.")
        message = shaped(DecisionMessage, signed.body)
        if received < self._received:
            raise RefusedMessage(
                f"ahead: the clock here was turned back; until {iso(self._received)} UTC, when one was received by it "
                "before, none counts."
            )
        if message.made > received + _AHEAD_NS:
            raise RefusedMessage("ahead: it was made after it was received; a clock is wrong.")
        if received > message.deadline:
            raise RefusedMessage("late: its deadline is over.")
        if message.id in self._ids or message.made <= self._made:
            raise RefusedMessage("doubled: that one, or one that was made later, was taken before.")
        if sum(map(abs, message.targets.values())) > self._largest * _ROUNDED:
            raise RefusedMessage(f"out of range: the sizes of its targets come to more than {self._largest:g}.")
        strange = [name for name in message.targets if self._symbols and name not in self._symbols]
        if strange:
            raise RefusedMessage(f"unknown: it names {strange[0]}, and traded are {', '.join(self._symbols)}.")
        return message

    def known(self, message: DecisionMessage, received: int) -> None:
        """Count a message as one that was taken."""
        self._ids.add(message.id)
        self._made, self._received = message.made, received


def shaped(model: type[Shape], text: str | bytes) -> Shape:
    """A text as what it should be.

    Raises
    ------
    RefusedMessage
        If it is not.
    """
    try:
        return build(model, json.loads(text), "it")
    except (ValueError, RecursionError) as error:
        why = str(error).rstrip(".") if isinstance(error, UserError) else "it is no JSON"
        raise RefusedMessage(f"no message: {shortened(why)}.") from None


def decision_columns(history: History, specs: Sequence[str], root: Path) -> list[Float]:
    """Columns of decisions from outside.

    Parameters
    ----------
    history
        The bars.
    specs
        ``NAME=decisions:FILE[:LARGEST]`` each; LARGEST is the sum of absolute targets at most, 1 unless told.
    root
        Folder that relative files lie in.

    Returns
    -------
    list[Float]
        (T, A) of each: the target of the last message received by each close, NaN for an instrument that it does not
        name, once its deadline is over, and before the first.

    Raises
    ------
    UserError
        For another spelling, a missing key, a file that is gone, or a line that does not count.
    """
    found = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise UserError(f"column {shortened(spec)} is not {_SPELLING}.")
        standing = recorded(root / match["file"], float(match["largest"] or LARGEST))
        found.append(_as_of(standing, history))
    return found


def recorded(path: Path, largest: float) -> TakenMessages:
    """Messages of a record; a last line without an end was not written whole, and does not count.

    A record that has grown since this process read it is read on where that ended: every bar of a session reads it.

    Raises
    ------
    UserError
        If it cannot be read, or has a line that does not count.
    """
    key = key_of_environment()
    who, whole = (path.absolute(), largest, signature("", key)), _bytes(path)
    so_far = _READ.pop(who, None)
    if so_far is None or not so_far.begins(whole):
        so_far = _RecordRead(DecisionRules(key, largest))
    so_far.go_on(path, whole)
    if len(_READ) >= _KEPT:
        _READ.clear()
    _READ[who] = so_far
    return so_far.taken


class _RecordRead:
    """A record as far as it was read."""

    def __init__(self, rules: DecisionRules):
        self.rules, self.taken = rules, TakenMessages([], [])
        self._n, self._digest = 0, hashlib.sha256()

    def begins(self, whole: bytes) -> bool:
        """Whether a record begins with what was read."""
        return hashlib.sha256(whole[: self._n]).digest() == self._digest.digest()

    def go_on(self, path: Path, whole: bytes) -> None:
        """Read the lines that came since; errors as in `recorded`."""
        for line in whole[self._n :].splitlines():
            try:
                one = shaped(ReceivedLine, line)
                message = self.rules.take(one, one.received)
            except RefusedMessage as error:
                at = f"{path}, line {len(self.taken.messages) + 1}"
                raise UserError(f"{at}: {error} Nothing of it is used until that line is gone.") from None
            self.taken.received.append(one.received)
            self.taken.messages.append(message)
        self._digest.update(whole[self._n :])
        self._n = len(whole)


_READ: dict[tuple[Path, float, str], _RecordRead] = {}
_KEPT = 8
"""Records whose reading this process goes on with."""


def _bytes(path: Path) -> bytes:
    """All whole lines of a file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `qframe decisions {path}` makes it.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    return data[: data.rfind(b"\n") + 1]


def _as_of(standing: TakenMessages, history: History) -> Float:
    """(T, A) targets that stand at each close."""
    last = np.searchsorted(np.array(standing.received, dtype=np.int64), history.time, side="right") - 1
    known = np.full((len(history.time), len(history.symbols)), np.nan)
    for t, k in enumerate(last.tolist()):
        if k >= 0 and history.time[t] <= standing.messages[k].deadline:
            known[t] = [standing.messages[k].targets.get(symbol, np.nan) for symbol in history.symbols]
    return known
