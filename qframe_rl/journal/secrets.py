"""What must never be written: keys and passwords, wherever a text of the record holds one.

Only values that are texts are looked into, and one that holds a secret is replaced as a whole. Names of fields, numbers
and the form of the record are never touched, so what was written can always be read and run again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from qframe_rl.config import canonical

MASK = "***"
"""Stands where a text held a secret."""
SHORTEST = 8
"""Characters; a shorter value of the environment is a word, not a secret."""
_WORDS = ("KEY", "SECRET", "PASSWORD", "TOKEN")


def is_secret(name: str) -> bool:
    """Whether a variable of the environment holds a secret, by its name."""
    return name.upper().endswith(_WORDS)


def secrets_of(environment: Mapping[str, str], urls: Mapping[str, str]) -> dict[str, str]:
    """What must not be written, by where it comes from.

    Parameters
    ----------
    environment
        Values of variables whose names end in KEY, SECRET, PASSWORD or TOKEN are secrets.
    urls
        Addresses that messages go to, by where they come from: each as a whole, and each part of it that is no host.
    """
    found = {f"the environment variable {name}": value for name, value in environment.items() if is_secret(name)}
    for name, url in urls.items():
        found[name] = url
        for number, part in enumerate(_parts(url), start=1):
            found[f"{name}, part {number}"] = part
    return {name: value for name, value in found.items() if len(value) >= SHORTEST}


def _parts(url: str) -> list[str]:
    """Parts of a URL that may be a user, password or token; what has a dot before the path is a host."""
    place, _, path = url.partition("://")[2].partition("/")
    before = [part for part in re.split(r"[:@?&=#+]", place) if "." not in part]
    return [*before, *re.split(r"[/:@?&=#+]", path)]


class Redactor:
    """Takes secrets out of what is about to be written.

    Parameters
    ----------
    secrets
        The texts; those shorter than `SHORTEST` are passed over.
    """

    def __init__(self, secrets: Iterable[str] = ()):
        self._secrets = tuple({secret for secret in secrets if len(secret) >= SHORTEST})
        self._escaped = tuple(canonical(secret)[1:-1] for secret in self._secrets)

    def text(self, value: str) -> str:
        """A text, or the mask if it holds a secret."""
        return MASK if any(secret in value for secret in self._secrets) else value

    def plain(self, value: Any) -> Any:
        """A JSON value of which each text that holds a secret is masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.plain(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(part) for part in value]
        return value

    def json(self, text: str) -> str:
        """As `plain`, of canonical JSON; what holds no secret comes back as it is."""
        if not any(secret in text for secret in self._escaped):
            return text
        return canonical(self.plain(json.loads(text)))


def agree(was: Any, now: Any) -> bool:
    """Whether two JSON values are equal, where a text that was masked is equal to any text."""
    if was == MASK:
        return isinstance(now, str)
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() == now.keys() and all(agree(was[name], now[name]) for name in was)
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(agree, was, now))
    return canonical(was) == canonical(now)
