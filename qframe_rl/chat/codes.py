"""One-time codes from a secret and the time, as authenticators show them (RFC 6238 over RFC 4226)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

from pydantic import SecretStr

from qframe_rl.config import UserError

STEP_S = 30
"""How long a code is shown (RFC 6238, section 4.1)."""
DIGITS = 6
_SHORTEST = 10
"""Bytes of a secret; RFC 4226 asks for 16 and more, and common services hand out 10."""
_WRONG, _WITHIN_S = 5, 900.0
"""So many wrong codes in so long, and no code is right until then (RFC 4226, section 7.3)."""


def code_at(secret: bytes, step: int) -> str:
    """The code of a time step: HMAC-SHA-1 of the step, truncated (RFC 4226, section 5.3)."""
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


class OneTimeCodes:
    """Says whether a code is right now, and takes each once: none of a step before one that was used, either.

    Parameters
    ----------
    secret
        Base32, as authenticators take it; blanks and case do not matter.
    used
        The last step of which a code was taken, in an earlier process.
    take
        Told of each step of which a code is taken, before anything is done for it.
    clock
        Unix time, seconds.

    Raises
    ------
    UserError
        For a secret that is no base32, or shorter than 10 bytes.
    """

    def __init__(self, secret: SecretStr, used: int, take: Callable[[int], None], clock: Callable[[], float]):
        self._secret = _bytes(secret)
        self._used, self._take, self._clock = used, take, clock
        self._wrong: list[float] = []

    def refusal(self, code: str) -> str:
        """Why a code does not count; empty if it does, and then it never does again."""
        now = self._clock()
        self._wrong = [at for at in self._wrong if now - at < _WITHIN_S]
        if len(self._wrong) >= _WRONG:
            return "too many wrong codes: none counts for a quarter of an hour"
        here = int(now) // STEP_S
        for step in (here - 1, here, here + 1):
            if hmac.compare_digest(code.encode(), code_at(self._secret, step).encode()):
                if step <= self._used:
                    return "that code was used, or is older than one that was; wait for the next one"
                self._take(step)
                self._used = step
                return ""
        self._wrong.append(now)
        return "that is not the code of now"


def _bytes(secret: SecretStr) -> bytes:
    text = "".join(secret.get_secret_value().split()).upper().rstrip("=")
    try:
        made = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        made = b""
    if len(made) < _SHORTEST:
        raise UserError(
            f"the secret of one-time codes is at least {_SHORTEST} bytes in base32, such as 16 letters A to Z and "
            "digits 2 to 7; make one with an authenticator, or with: "
            'python -c "import base64, secrets; print(base64.b32encode(secrets.token_bytes(20)).decode())"'
        )
    return made
