"""Ways to spoil a file: its bytes, its text, and the values of what it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

PAYLOAD = "planted_by_the_fuzzer.payload"
"""A module that can be imported, and must not be."""
NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 7, 255, 10**6, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400,
    0.0, -0.0, -0.5, 0.5, 1.5, 5e-324, 1e-300, 1e-9, 1e9, 1e18, 1e300, 1.7976931348623157e308, -1e308,
    math.nan, math.inf, -math.inf,
)  # fmt: skip
TEXTS = (
    "", " ", "\x00", "a", "é", "\U0001f4a3", "x" * 10_000, "9" * 5_000, "nan", "inf", "-1", "1e999", "true", "null",
    PAYLOAD, f"label={PAYLOAD}", "os.system", "../../../etc/passwd", "/etc/passwd", "/dev/zero", ".", "..",
    "6024-01-01", "0000-00-00", "9999-12-31 23:59:59", "0001-01-01", "2020-13-45", "2020-01-01T00:00:00+25:00",
    "log_return:99999999999999999999", "log_return:\u00b2", "rsi:-1", "column:", "column:a.b", "macd:8:8:8", "BTC/USDT",
    "synthetic:nothing", "ccxt:nothing", "auto", "ensemble", "perp", "%s%n{0}", "\n", "=1+1",
    "'; DROP TABLE events; --",
)  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in plain data, tables and lists among them."""
    waiting = [(path, value)]
    while waiting:
        here, one = waiting.pop()
        if here:
            yield here
        if isinstance(one, dict):
            waiting += [((*here, key), below) for key, below in one.items()]
        elif isinstance(one, list):
            waiting += [((*here, k), below) for k, below in enumerate(one)]


def nasty(rng: Random, was: Any, *, deep: int = 2_000) -> Any:
    """Something else in the place of a value; mostly of the same type, so that more than the schema is tried."""
    roll = rng.random()
    if isinstance(was, bool) or roll < 0.1:
        return rng.choice((None, True, False, [], {}, rng.choice(NUMBERS), rng.choice(TEXTS)))
    if roll < 0.15:
        made: Any = rng.choice(NUMBERS)
        for _ in range(rng.choice((1, 3, 50, deep))):
            made = [made] if rng.random() < 0.5 else {"name": made}
        return made
    if isinstance(was, int) and roll < 0.6:
        return rng.choice((was + 1, was - 1, -was, was * 10**6, was * 10**18, float(min(was, 10**30)), str(was)))
    if isinstance(was, float) and roll < 0.6:
        return rng.choice((-was, was * 1e6, was * 1e-6, was * 1e200, was + 1.0, str(was)))
    if isinstance(was, int | float):
        return rng.choice(NUMBERS)
    if isinstance(was, str) and was and roll < 0.5:
        k = rng.randrange(len(was))
        return rng.choice((was[:k], was[:k] + rng.choice(TEXTS) + was[k:], was + was, was[::-1], was.upper()))
    if isinstance(was, str):
        return rng.choice(TEXTS)
    if isinstance(was, list) and was:
        return rng.choice((was[:-1], was + was, was[::-1], [*was, rng.choice(NUMBERS)], was * 500, [was], []))
    return rng.choice((None, [], {}, [{}], rng.choice(NUMBERS), rng.choice(TEXTS)))


def spoil_tree(tree: Any, rng: Random) -> Any:
    """Change a copy of plain data in one to three places."""
    made = _copy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = list(leaves(made))
        if not paths:
            return made
        *way, last = rng.choice(paths)
        below = made
        for key in way:
            below = below[key]
        how = rng.random()
        if how < 0.1:
            del below[last]
        elif how < 0.2 and isinstance(below, dict):
            below[rng.choice(TEXTS)] = below.pop(last)
        elif how < 0.25 and isinstance(below, dict):
            below[rng.choice(("planted", "name", "type", "params", *TEXTS))] = nasty(rng, below[last])
        elif how < 0.3:
            other = made
            for key in rng.choice(paths):
                if not isinstance(other, dict | list) or (isinstance(other, list) and key not in range(len(other))):
                    break
                other = other.get(key) if isinstance(other, dict) else other[key]
            below[last] = _copy(other)
        else:
            below[last] = nasty(rng, below[last])
    return made


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(below) for key, below in value.items()}
    return [_copy(below) for below in value] if isinstance(value, list) else value


def spoil_bytes(data: bytes, rng: Random) -> bytes:
    """Flip, cut, repeat, overwrite or mix up bytes."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        _BYTES[rng.randrange(len(_BYTES))](made, rng)
    return bytes(made)


def _at(made: bytearray, rng: Random) -> int:
    """A place; heads and tails of files are what their readers trust most."""
    where = rng.random()
    n = max(len(made), 1)
    return (
        rng.randrange(min(64, n))
        if where < 0.25
        else n - 1 - rng.randrange(min(64, n))
        if where < 0.5
        else rng.randrange(n)
    )


def _flip(made: bytearray, rng: Random) -> None:
    if made:
        made[_at(made, rng)] ^= 1 << rng.randrange(8)


def _put(made: bytearray, rng: Random) -> None:
    k = _at(made, rng)
    made[k : k + 1] = bytes([rng.choice((0, 1, 10, 34, 44, 46, 47, 58, 91, 93, 123, 125, 127, 128, 255))])


def _cut(made: bytearray, rng: Random) -> None:
    del made[_at(made, rng) :]


def _drop(made: bytearray, rng: Random) -> None:
    k = _at(made, rng)
    del made[k : k + rng.choice((1, 2, 16, 512))]


def _repeat(made: bytearray, rng: Random) -> None:
    k, n = _at(made, rng), rng.choice((1, 8, 100, 4096))
    made[k:k] = made[k : k + n] * rng.choice((1, 2, 8))


def _blank(made: bytearray, rng: Random) -> None:
    k, n = _at(made, rng), rng.choice((1, 4, 8, 64, 4096))
    made[k : k + n] = bytes([rng.choice((0, 255))]) * len(made[k : k + n])


def _insert(made: bytearray, rng: Random) -> None:
    k = _at(made, rng)
    made[k:k] = rng.choice((*(text.encode() for text in TEXTS), bytes(rng.randrange(256) for _ in range(16))))


def _number(made: bytearray, rng: Random) -> None:
    """A length or an offset becomes another."""
    k, n = _at(made, rng), rng.choice((2, 4, 8))
    made[k : k + n] = rng.choice((0, 1, 2**15, 2 ** (8 * n) - 1, 2 ** (8 * n - 1), rng.getrandbits(8 * n))).to_bytes(
        n, rng.choice(("little", "big"))
    )


_BYTES: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip, _flip, _put, _cut, _drop, _repeat, _blank, _insert, _number,
)  # fmt: skip
