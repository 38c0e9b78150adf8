"""Formulas as tokens, one by one, and which may come next: a search cannot write what is no formula.

Tokens are in reverse Polish order, operands before their operator, a window between its operand and its operator, and
`SEP` at the end: ``close volume 10 corr rank SEP``. A token is allowed only if the formula can still be finished in the
tokens that are left, so that no beginning is a dead end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.operators import COLUMN, LEAVES, OPERATORS, UNITS, Unit, unit_of
from qframe_rl.alpha.tree import CONSTANT, Formula, constant
from qframe_rl.config import UserError
from qframe_rl.types import Bool, Int

SEP = "SEP"
"""The end of a formula."""
MOST_TOKENS = 15
"""Most tokens of a formula, `SEP` not counted."""
WINDOWS = (3, 5, 10, 20, 40, 60)
"""Windows of rolling operators and of pairs."""
SHIFTS = (1, 2, 3, 5, 10, 20, 40)
CONSTANTS = tuple(sign * size for size in (0.01, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0) for sign in (1.0, -1.0))
_KINDS = (SEP, "leaf", CONSTANT, "lag", "unary", "cross", "binary", "rolling", "shift", "pair", "market")
_LAGS = tuple(sorted({*WINDOWS, *SHIFTS}))


class _State(NamedTuple):
    """What decides about the next token: units on the stack, what lies on top of them, and the tokens left."""

    units: tuple[Unit, ...]
    top: str
    """Empty, a window as text, or `CONSTANT`."""
    left: int
    twins: bool
    """Whether the two uppermost formulas are the same."""


class Vocabulary:
    """The tokens of a search.

    Parameters
    ----------
    columns
        Names of the feed's columns that formulas may read.
    crosses
        Whether formulas may compare instruments; on one coin they cannot.
    leads
        Whether they may read the market's leader beside each instrument.
    """

    def __init__(self, columns: Sequence[str] = (), *, crosses: bool = True, leads: bool = False):
        leaves = [*LEAVES, *(COLUMN + name for name in columns)]
        without = {*(() if crosses else ("cross",)), *(() if leads else ("market",))}
        operators = [name for name, one in OPERATORS.items() if one.kind not in without]
        self.tokens: tuple[str, ...] = (
            SEP, *leaves, *(constant(c).text for c in CONSTANTS), *(f"w{lag}" for lag in _LAGS), *operators,
        )  # fmt: skip
        self.index = {token: k for k, token in enumerate(self.tokens)}
        self.units: dict[str, Unit] = {leaf: Formula(leaf).unit for leaf in leaves}
        self.constants = {constant(c).text: c for c in CONSTANTS}
        self.kinds: Int = np.array([_KINDS.index(self._kind(token)) for token in self.tokens], dtype=np.int64)
        """(V,) numbers of their kinds: the end, leaves, constants, windows, and the kinds of operators."""
        self._masks: dict[_State, Bool] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def begin(self) -> Draft:
        """A formula of which nothing is written yet."""
        return Draft(self, (), "", MOST_TOKENS)

    def encode(self, tree: Formula) -> list[int]:
        """Tokens of a formula, `SEP` at the end.

        Raises
        ------
        UserError
            If it has a window, constant, column or length that the search does not have.
        """
        words = [*_words(tree), SEP]
        if len(words) > MOST_TOKENS + 1:
            raise UserError(f"formula {tree.text} has {len(words) - 1} tokens; the most is {MOST_TOKENS}.")
        draft, found = self.begin(), []
        for word in words:
            if word not in self.index or not draft.mask()[self.index[word]]:
                shown = word[1:] if _is_lag(word) else word
                raise UserError(f"formula {tree.text}: {shown} is not what a search writes there.")
            found.append(self.index[word])
            draft = draft.push(found[-1])
        return found

    def decode(self, tokens: Sequence[int]) -> Formula:
        """The formula of tokens with `SEP` at their end.

        Raises
        ------
        UserError
            At the first token that may not stand where it does, or if the end is missing.
        """
        draft = self.begin()
        for token in tokens:
            draft = draft.push(token)
        if draft.formula is None:
            raise UserError(f"tokens end without {SEP}; no formula is finished.")
        return draft.formula

    def writes(self, tokens: Sequence[int]) -> bool:
        """Whether these are the tokens of a formula, `SEP` at the end."""
        draft = self.begin()
        for token in tokens:
            if not draft.mask()[token]:
                return False
            draft = draft.push(token)
        return draft.formula is not None

    def _kind(self, token: str) -> str:
        if token in OPERATORS:
            return OPERATORS[token].kind
        return token if token == SEP else "leaf" if token in self.units else "lag" if _is_lag(token) else CONSTANT

    def allowed(self, state: _State) -> Bool:
        """(V,) which tokens may come next."""
        found = self._masks.get(state)
        if found is None:
            found = np.array([self._fits(token, state) for token in self.tokens], dtype=np.bool_)
            found.flags.writeable = False
            self._masks[state] = found
        return found

    def _fits(self, token: str, state: _State) -> bool:
        units, top, left, twins = state
        if token == SEP:
            return not top and units == ("number",)
        if left == 0:
            return False
        if token in self.units:
            return not top and to_finish((*units, self.units[token])) <= left - 1
        if token in self.constants:
            return not top and bool(units) and to_finish(units) <= left - 2
        if _is_lag(token):
            return not top and bool(units) and _with_lag(units, token, twins) <= left - 1
        after = _after(token, units, top, twins)
        return after is not None and to_finish(after) <= left - 1


class Draft(NamedTuple):
    """A formula that is being written."""

    vocabulary: Vocabulary
    stack: tuple[Formula, ...]
    top: str
    left: int
    """Tokens that may still come, `SEP` not counted."""
    formula: Formula | None = None
    """What it came to, after `SEP`."""

    def mask(self) -> Bool:
        """(V,) which tokens may come next; none after `SEP`."""
        if self.formula is not None:
            return np.zeros(len(self.vocabulary), dtype=np.bool_)
        twins = len(self.stack) > 1 and self.stack[-1] == self.stack[-2]
        kind = CONSTANT if self.top in self.vocabulary.constants else self.top
        return self.vocabulary.allowed(_State(tuple(f.unit for f in self.stack), kind, self.left, twins))

    def push(self, token: int) -> Draft:
        """The draft with one token more.

        Raises
        ------
        UserError
            If it may not come here, or there is none of this number.
        """
        if not 0 <= token < len(self.vocabulary):
            raise UserError(f"there is no token {token}; they are numbered from 0 to {len(self.vocabulary) - 1}.")
        word = self.vocabulary.tokens[token]
        if not self.mask()[token]:
            raise UserError(f"token {word} may not come after {' '.join(f.text for f in self.stack) or 'nothing'}.")
        if word == SEP:
            return self._replace(formula=self.stack[0])
        left = self.left - 1
        if word in OPERATORS:
            n = OPERATORS[word].n_operands
            is_constant = self.top in self.vocabulary.constants
            parts = self.stack[-(n - is_constant) :]
            made = (*parts, constant(self.vocabulary.constants[self.top])) if is_constant else parts
            window = int(self.top[1:]) if self.top and not is_constant else 0
            return Draft(self.vocabulary, (*self.stack[: -len(parts)], Formula(word, made, window)), "", left)
        if word in self.vocabulary.units:
            return Draft(self.vocabulary, (*self.stack, Formula(word)), "", left)
        return Draft(self.vocabulary, self.stack, word, left)


def _is_lag(word: str) -> bool:
    return word[0] == "w" and word[1:].isdigit()


def _words(tree: Formula) -> list[str]:
    """Tokens of a formula without the end, as texts."""
    lag = [f"w{tree.window}"] if tree.window else []
    own = [tree.text if tree.op == CONSTANT else tree.op]
    return [word for part in tree.parts for word in _words(part)] + lag + own


def _after(name: str, units: tuple[Unit, ...], top: str, twins: bool) -> tuple[Unit, ...] | None:
    """Units on the stack after an operator; None where it may not come."""
    one = OPERATORS[name]
    if top == CONSTANT:
        given = unit_of(one, units[-1], "number") if one.kind == "binary" else None
        return None if given is None else (*units[:-1], given)
    if bool(top) != (one.least > 0) or len(units) < one.n_operands:
        return None
    if top and int(top[1:]) not in (SHIFTS if one.kind == "shift" else WINDOWS):
        return None
    if one.kind == "pair" and twins:
        return None
    given = unit_of(one, *units[-one.n_operands :])
    return None if given is None else (*units[: -one.n_operands], given)


@cache
def to_finish(units: tuple[Unit, ...]) -> int:
    """Fewest tokens from formulas of these units to one number, `SEP` not counted.

    New leaves never shorten the way, since each must be joined again; so only the uppermost two are looked at: joined
    by an operator of two, by a window and a pair, or the last made a number by its sign.
    """
    if units == ("number",):
        return 0
    ways = []
    if units[-1] != "number":
        ways.append(1 + to_finish((*units[:-1], "number")))
    if len(units) > 1:
        joined = {unit_of(OPERATORS[name], *units[-2:]) for name in _BINARY}
        ways += [1 + to_finish((*units[:-2], unit)) for unit in UNITS if unit in joined]
        ways.append(2 + to_finish((*units[:-2], "number")))
    return min(ways)


_BINARY = tuple(name for name, one in OPERATORS.items() if one.kind == "binary")


@cache
def _with_lag(units: tuple[Unit, ...], lag: str, twins: bool) -> int:
    """Fewest tokens from formulas with a window on top to one number."""
    ways = [_after(one.name, units, lag, twins) for one in OPERATORS.values() if one.least]
    return 1 + min(to_finish(way) for way in ways if way is not None)
