"""From a text to a formula: a parser of its own, which runs nothing that it reads.

A formula is written by names and calls, ``rank(corr(close, volume, 10))``, or with ``+ - * /`` between two of them,
``delta(close, 5) / std(close, 20)``, which mean add, sub, mul and div. Blanks do not count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from qframe_rl.alpha.operators import COLUMN, LEAVES, MOST_ROWS, OPERATORS
from qframe_rl.alpha.tree import MOST_DEPTH, Formula, constant, refusal, shape
from qframe_rl.config import UserError, nearest, shortened

MOST_CHARACTERS = 4000
_SHOWN = 40
_SYMBOLS = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2}
_MENDS = {
    "price": "such as ret(x, 1) or x / close",
    "volume": "such as x / mean(volume, 20)",
    "money": "such as x / mean(money, 20)",
}
_BLANK = r"(?P<blank>[ \t\r\n]+)"
_NUMBER = r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLAIN = r"[\w.]+"
"""Names of columns that need not be known to be read."""


@cache
def _word(odd: tuple[str, ...]) -> re.Pattern[str]:
    """The words of the language; ``odd`` are columns of a table whose names are none, the longest first."""
    names = "|".join([*map(re.escape, sorted(odd, key=len, reverse=True)), _PLAIN])
    return re.compile(rf"{_BLANK}|{_NUMBER}|(?P<name>{COLUMN}(?:{names})|{_NAME})|(?P<mark>[-+*/(),])")


class _Word(NamedTuple):
    kind: str
    text: str
    at: int

    @property
    def shown(self) -> str:
        """How it is quoted in a sentence."""
        return self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."


def parse(text: str, columns: Sequence[str] | None = None) -> Formula:
    """Read a formula.

    Parameters
    ----------
    text
        The formula.
    columns
        Names of the feed's columns; None takes any.

    Returns
    -------
    Formula
        Whose `Formula.text` reads as the same tree.

    Raises
    ------
    UserError
        Where the text is no formula: one sentence with the place and the mend.
    """
    return _Parser(text, columns).whole()


def number(text: str, columns: Sequence[str] | None = None) -> Formula:
    """Read a formula that comes to a number, as `parse` does.

    Parameters
    ----------
    text, columns
        As `parse` has them.

    Raises
    ------
    UserError
        As `parse`, and for a price, a volume or money, or a lookback above `MOST_ROWS`.
    """
    tree = parse(text, columns)
    if tree.unit != "number":
        raise UserError(f"formula {shortened(tree.text)} is a {tree.unit}; make a number of it, {_MENDS[tree.unit]}.")
    if tree.lookback > MOST_ROWS:
        raise UserError(f"formula {shortened(tree.text)} looks back {tree.lookback:,} bars, more than {MOST_ROWS:,}.")
    return tree


class _Parser:
    """Reads word by word; each method leaves the place behind what it read."""

    def __init__(self, text: str, columns: Sequence[str] | None):
        self.text, self.columns, self.place, self.depth = text, columns, 0, 0
        if len(text) > MOST_CHARACTERS:
            raise UserError(f"a formula of {len(text):,} characters is too long; the most is {MOST_CHARACTERS:,}.")
        self.words = self._words()

    def _words(self) -> list[_Word]:
        found, at = [], 0
        word = _word(tuple(name for name in self.columns or () if not re.fullmatch(_PLAIN, name)))
        while at < len(self.text):
            match = word.match(self.text, at)
            if match is None:
                raise self.failure(
                    at, f"{self.text[at]!r} has no meaning here; write names, numbers, + - * / and brackets."
                )
            if match.lastgroup != "blank":
                found.append(_Word(str(match.lastgroup), match.group(), at))
            at = match.end()
        return [*found, _Word("end", "", len(self.text))]

    @property
    def next(self) -> _Word:
        return self.words[self.place]

    def take(self) -> _Word:
        word = self.next
        self.place = min(self.place + 1, len(self.words) - 1)
        return word

    def failure(self, at: int, said: str) -> UserError:
        shown = self.text if len(self.text) <= 120 else f"{self.text[max(0, at - 50) : at + 50]}"
        return UserError(f"formula {shown!r}, character {at + 1}: {said}")

    def whole(self) -> Formula:
        if self.next.kind == "end":
            raise self.failure(0, "there is nothing; write a formula such as ret(close, 5).")
        found = self.expression(0)
        if self.next.kind != "end":
            raise self.failure(self.next.at, f"{self.next.shown!r} is too much; the formula ended before it.")
        if found.op == "constant":
            raise self.failure(0, "a constant alone is no formula; name what it changes, such as close * 2.")
        return found

    def expression(self, strength: int) -> Formula:
        self.depth += 1
        if self.depth > 2 * MOST_DEPTH:
            raise self.failure(self.next.at, f"more than {MOST_DEPTH} parts stand inside each other; split it.")
        left = self.operand()
        while self.next.kind == "mark" and _STRENGTH.get(self.next.text, 0) > strength:
            word = self.take()
            right = self.expression(_STRENGTH[word.text])
            if left.op == "constant":
                raise self.failure(
                    word.at, f"the constant {left.text} stands on the left; {_swapped(word.text, left, right)}."
                )
            left = self.made(_SYMBOLS[word.text], (left, right), 0, word.at)
        self.depth -= 1
        return left

    def operand(self) -> Formula:
        word = self.take()
        if word.kind == "number":
            return self.number(word, 1.0)
        if word.text == "-":
            if self.next.kind == "number":
                return self.number(self.take(), -1.0)
            return self.made("neg", (self.expression(2),), 0, word.at)
        if word.text == "(":
            found = self.expression(0)
            self.expect(")", f"the bracket opened at character {word.at + 1} is not closed")
            return found
        if word.kind == "name":
            return self.call(word) if self.next.text == "(" else self.leaf(word)
        there = f"not {word.shown!r}" if word.text else "but the formula ends"
        raise self.failure(word.at, f"a name, a number or a bracket is expected here, {there}.")

    def number(self, word: _Word, sign: float) -> Formula:
        value = sign * float(word.text)
        if not math.isfinite(value):
            raise self.failure(word.at, f"{word.shown} is too large for a number.")
        return constant(value)

    def leaf(self, word: _Word) -> Formula:
        if word.text.startswith(COLUMN):
            name = word.text.removeprefix(COLUMN)
            if self.columns is not None and name not in self.columns:
                hint = nearest(name, self.columns) if self.columns else "; they have none."
                raise self.failure(word.at, f"the data have no column {word.shown.removeprefix(COLUMN)!r}{hint}")
        elif word.text in OPERATORS:
            raise self.failure(word.at, f"{word.text} lacks its operands; it is written {shape(OPERATORS[word.text])}.")
        elif word.text not in LEAVES:
            hint = nearest(word.text, [*LEAVES, *OPERATORS, "column:NAME"])
            raise self.failure(word.at, f"unknown name {word.shown!r}{hint}")
        return Formula(word.text)

    def call(self, word: _Word) -> Formula:
        one = OPERATORS.get(word.text)
        if one is None:
            if word.text in LEAVES or word.text.startswith(COLUMN):
                raise self.failure(word.at, f"{word.shown} takes nothing in brackets; write it alone.")
            raise self.failure(word.at, f"unknown operator {word.shown!r}{nearest(word.text, OPERATORS)}")
        self.take()
        written = f"{word.text} is written {shape(one)}"
        parts = []
        for k in range(one.n_operands):
            if k:
                self.expect(",", written)
            parts.append(self.expression(0))
        window = 0
        if one.least:
            self.expect(",", written)
            window = self.window(word.text, one.least, one.kind == "shift")
        self.expect(")", written)
        return self.made(word.text, tuple(parts), window, word.at)

    def window(self, name: str, least: int, is_shift: bool) -> int:
        word = self.take()
        what = "shift" if is_shift else "window"
        if word.text == "-":
            later = ": it would show a later bar" if is_shift else ""
            raise self.failure(word.at, f"the {what} of {name} is negative{later}; write a whole number from {least}.")
        if word.kind != "number" or not word.text.isdigit():
            raise self.failure(
                word.at, f"the {what} of {name} must be a whole number from {least}, not {word.shown!r}."
            )
        digits = word.text.lstrip("0")
        value = int(digits[:12] or "0")  # twelve of them are above any window
        if not least <= value <= MOST_ROWS:
            raise self.failure(word.at, f"the {what} of {name} must be {least} to {MOST_ROWS:,}, not {word.shown}.")
        return value

    def expect(self, mark: str, said: str) -> None:
        word = self.take()
        if word.text != mark:
            there = f"instead of {word.shown!r}" if word.text else "where the formula ends"
            raise self.failure(word.at, f"{mark!r} is expected here {there}; {said}.")

    def made(self, op: str, parts: tuple[Formula, ...], window: int, at: int) -> Formula:
        if (said := refusal(op, parts, window)) is not None:
            raise self.failure(at, said)
        return Formula(op, parts, window)


def _swapped(symbol: str, left: Formula, right: Formula) -> str:
    """What is to be written instead of a constant on the left."""
    if symbol in "+*":
        return f"write {right.text} {symbol} {left.text}"
    if symbol == "-":
        return f"write neg({right.text}) + {left.text}"
    return "compare with its inverse instead, or divide something that has a value a bar"
