"""A formula as a tree: what it is made of, its text, its units and how many rows it looks back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from qframe_rl.alpha.operators import (
    COLUMN,
    CROSS_ROWS,
    LEAST_LED,
    LEAST_MEMBERS,
    LEAVES,
    OPERATORS,
    AlphaOperator,
    Unit,
    unit_of,
)
from qframe_rl.config import UserError, nearest

CONSTANT = "constant"
"""Operation of a constant."""
MOST_NODES, MOST_DEPTH = 256, 48
"""Largest formula."""


class Formula:
    """A formula, or a part of one: a leaf, a constant, or an operator over formulas.

    Formulas are equal where their texts are; `qframe_rl.alpha.canonical` says which differ in their texts alone.

    Parameters
    ----------
    op
        Name of an operator or a leaf, ``column:NAME``, or `CONSTANT`.
    parts
        Operands.
    window
        Window or shift, rows; 0 where the operator has none.
    value
        Of a constant.

    Raises
    ------
    UserError
        If the operator cannot be applied: too small a window, units that do not fit, a constant where none may stand,
        or a formula that is too large.
    """

    __slots__ = ("__dict__", "op", "parts", "value", "window")

    def __init__(self, op: str, parts: tuple[Formula, ...] = (), window: int = 0, value: float = 0.0):
        self.op, self.parts, self.window, self.value = op, parts, window, value
        if (said := refusal(op, parts, window)) is not None:
            raise UserError(f"formula {self.text}: {said}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Formula({self.text})"

    def __reduce__(self) -> tuple[type[Formula], tuple[object, ...]]:
        return Formula, (self.op, self.parts, self.window, self.value)

    @cached_property
    def text(self) -> str:
        """The formula as `qframe_rl.alpha.parser.parse` reads it; no two trees have the same."""
        if self.op == CONSTANT:
            return repr(int(self.value)) if self.value.is_integer() and abs(self.value) < 1e15 else repr(self.value)
        inside = [part.text for part in self.parts] + ([str(self.window)] if self.window else [])
        return f"{self.op}({','.join(inside)})" if inside else self.op

    @cached_property
    def unit(self) -> Unit:
        """What its value is measured in."""
        if self.op in LEAVES:
            return LEAVES[self.op][0]
        if not self.parts:
            return "number"
        found = unit_of(OPERATORS[self.op], *(part.unit for part in self.parts))
        assert found is not None
        return found

    @cached_property
    def lookback(self) -> int:
        """Rows that one value is made of, its own included; 0 for a constant."""
        if not self.parts:
            return 0 if self.op == CONSTANT else LEAVES[self.op][2] if self.op in LEAVES else 1
        inner, one = max(part.lookback for part in self.parts), OPERATORS[self.op]
        if one.kind in ("cross", "market"):
            return max(inner, CROSS_ROWS)
        return inner + self.window - (0 if one.kind == "shift" or not self.window else 1)

    @cached_property
    def size(self) -> int:
        """Tokens that it is made of: its nodes, and its windows."""
        return 1 + (self.window > 0) + sum(part.size for part in self.parts)

    @cached_property
    def depth(self) -> int:
        """Nodes from the root to the farthest leaf."""
        return 1 + max((part.depth for part in self.parts), default=0)

    @cached_property
    def width(self) -> int:
        """Arrays of values that must be in memory at once to compute it, the wider of two operands first."""
        found = sorted((part.width for part in dict.fromkeys(self.parts) if part.op != CONSTANT), reverse=True)
        if not found:
            return 2 if self.op == "ret1" else 1
        return max(found[0], 2) if len(found) == 1 else max(found[0], found[1] + 1, 3)

    @cached_property
    def crosses(self) -> bool:
        """Whether it compares instruments, and so needs several."""
        return self._has("cross")

    @property
    def least(self) -> int:
        """Fewest instruments of which it can be computed."""
        return LEAST_MEMBERS if self.crosses else LEAST_LED if self._has("market") else 1

    def _has(self, kind: str) -> bool:
        return any(one.op in OPERATORS and OPERATORS[one.op].kind == kind for one in self.nodes())

    @property
    def operator(self) -> AlphaOperator | None:
        """Its operator; None for a leaf or a constant."""
        return OPERATORS.get(self.op)

    def nodes(self) -> Iterator[Formula]:
        """Its nodes, operands before what they enter."""
        for part in self.parts:
            yield from part.nodes()
        yield self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the feed's columns that it reads, each once."""
        names = (node.op.removeprefix(COLUMN) for node in self.nodes() if node.op.startswith(COLUMN))
        return tuple(dict.fromkeys(names))

    @property
    def words(self) -> str:
        """The formula as a sentence would have it."""
        if self.op == CONSTANT:
            return self.text
        if not self.parts:
            return LEAVES[self.op][1] if self.op in LEAVES else f"the column {self.op.removeprefix(COLUMN)}"
        named = [f"({part.words})" if len(part.parts) > 1 else part.words for part in self.parts]
        x, y = (*named, "")[:2]
        return OPERATORS[self.op].words.format(x=x, y=y, w=self.window)


def constant(value: float) -> Formula:
    """A constant, to stand as a right operand."""
    return Formula(CONSTANT, value=float(value) + 0.0)


def refusal(op: str, parts: tuple[Formula, ...], window: int) -> str | None:
    """Why an operator cannot be applied to these, with the mend; None if it can."""
    if op == CONSTANT or op in LEAVES or (op.startswith(COLUMN) and len(op) > len(COLUMN)):
        return None
    one = OPERATORS.get(op)
    if one is None:
        return f"unknown operator {op!r}{nearest(op, OPERATORS)}"
    if len(parts) != one.n_operands or (one.least > 0) != (window != 0):
        return f"{op} is written {shape(one)}."
    if window and window < one.least:
        return (
            f"{one.kind if one.kind == 'shift' else 'window'} {window} of {op} is too small; the least is {one.least}."
        )
    if parts[0].op == CONSTANT or (one.kind != "binary" and parts[-1].op == CONSTANT):
        return f"a constant may stand only as the right operand of {', '.join(_BINARY)}, not as this one of {op}."
    if sum(p.size for p in parts) >= MOST_NODES or max(p.depth for p in parts) >= MOST_DEPTH:
        return f"it has more than {MOST_NODES} parts, or {MOST_DEPTH} inside each other; split it."
    if unit_of(one, *(p.unit for p in parts)) is None:
        return _misfit(one, *(p.unit for p in parts))
    return None


def shape(one: AlphaOperator) -> str:
    """How an operator is written."""
    names = ["x", "y"][: one.n_operands] + (["w"] if one.least else [])
    return f"{one.name}({', '.join(names)})" + (f" with a whole number w from {one.least}" if one.least else "")


_BINARY = tuple(name for name, one in OPERATORS.items() if one.kind == "binary")


def _misfit(one: AlphaOperator, x: Unit, y: Unit | None = None) -> str:
    if one.gives == "square":
        return f"{one.name} of a {x} has no unit here; take std, or {one.name} of its relative change, ret."
    mend = "divide each by what it is measured in first, as close / ref(close, 1)"
    if one.gives == "equal":
        return f"{one.name} needs two of one unit, not a {x} and a {y}; {mend}."
    return f"{one.name} of a {x} and a {y} has no unit here; {mend}."
