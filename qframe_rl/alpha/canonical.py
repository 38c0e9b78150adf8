"""Which formulas are the same in different words: the form that a cache, a ledger and a pool know them by.

Two trees with one canonical form have the same values but for rounding; two with one `identity` put the instruments in
the same order at each row, or in exactly the opposite one. The form is for comparison: what is computed is always the
tree as it was written.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from qframe_rl.alpha.operators import LEAVES
from qframe_rl.alpha.tree import CONSTANT, Formula, constant
from qframe_rl.types import Bool, Float

_CELLS = 64

_IDEMPOTENT = ("abs", "sign", "rank", "zscore", "leader")
_KEEPS_SIGN = ("mean", "sum", "tmax", "tmin", "med", "wma", "ema", "ref", "leader")
"""What is positive of what is positive."""


def canonical(tree: Formula) -> Formula:
    """The same formula with operands sorted, constants folded and repetitions reduced."""
    if not tree.parts:
        return tree
    made = _with(tree, tuple(canonical(part) for part in tree.parts))
    return _reduced(made)


def identity(tree: Formula) -> Formula:
    """The canonical form without what changes neither the order of the instruments nor more than its direction.

    Taken away from the root: ranks, z-scores, the sign, constants added or multiplied, and the logarithm of what is
    always positive.
    """
    found = canonical(tree)
    while (inner := _below(found)) is not None:
        found = canonical(inner)
    return found


def order_hash(stand: Float, members: Bool) -> str:
    """Sixteen hexadecimal digits of how a formula orders the instruments, the same for its opposite.

    Two formulas with one hash are taken for one, though their texts differ.

    Parameters
    ----------
    stand
        (T, A) from `qframe_rl.alpha.score.standing`.
    members
        (T, A) the universe, of which 64 cells are looked at, evenly spread.
    """
    cells = np.flatnonzero(members)
    taken = cells[np.linspace(0, len(cells) - 1, min(_CELLS, len(cells))).astype(np.int64)] if len(cells) else cells
    seen = np.round(stand.ravel()[taken], 9)
    telling = seen[np.isfinite(seen) & (seen != 0.0)]
    if len(telling) and telling[0] < 0.0:
        seen = -seen
    return hashlib.blake2b(np.nan_to_num(seen + 0.0, nan=99.0).tobytes(), digest_size=8).hexdigest()


def is_positive(tree: Formula) -> bool:
    """Whether its values are above zero by construction, where they are not NaN."""
    if tree.op == CONSTANT:
        return tree.value > 0.0
    if tree.op in LEAVES:
        return tree.unit == "price"
    if tree.op in _KEEPS_SIGN or tree.op in ("add", "mul", "div", "min"):
        return all(is_positive(part) for part in tree.parts)
    if tree.op == "max":
        return any(is_positive(part) for part in tree.parts)
    return tree.op in ("rank", "tsrank")


def _below(tree: Formula) -> Formula | None:
    """What is left of a formula whose root is an increasing map or a sign."""
    if not tree.parts:
        return None
    x, y = tree.parts[0], tree.parts[-1]
    plain = tree.op in ("rank", "zscore", "neg") or (tree.op == "log" and is_positive(x))
    shifted = y.op == CONSTANT and (tree.op in ("add", "sub") or (tree.op in ("mul", "div") and y.value != 0.0))
    return x if plain or shifted else None


def _with(tree: Formula, parts: tuple[Formula, ...]) -> Formula:
    return tree if parts == tree.parts else Formula(tree.op, parts, tree.window)


def _reduced(tree: Formula) -> Formula:
    """One step after the operands are canonical, and what follows from it."""
    op, x, y = tree.op, tree.parts[0], tree.parts[-1]
    if op in _IDEMPOTENT and x.op == op:
        return x
    if op == "neg" and x.op == "neg":
        return x.parts[0]
    if op == "abs" and (x.op == "neg" or is_positive(x)):
        return canonical(Formula("abs", x.parts)) if x.op == "neg" else x
    if op in ("max", "min") and x == y:
        return x
    if y.op == CONSTANT and len(tree.parts) == 2:
        return _folded(tree)
    if op in ("add", "sub") and y.op == "neg":
        return _reduced(Formula("sub" if op == "add" else "add", (x, y.parts[0])))
    if op == "add" and x.op == "neg":
        return _reduced(Formula("sub", (y, x.parts[0])))
    return _sorted(tree)


def _sorted(tree: Formula) -> Formula:
    operator = tree.operator
    if operator is None or not operator.swaps:
        return tree
    return _with(tree, tuple(sorted(tree.parts, key=lambda part: (part.op == CONSTANT, part.text))))


def _folded(tree: Formula) -> Formula:
    """An operator with a constant: subtraction as addition, division as multiplication, two in a row as one."""
    op, x, c = tree.op, tree.parts[0], tree.parts[1].value
    if op == "sub":
        return _folded(Formula("add", (x, constant(-c))))
    if op == "div" and c != 0.0 and math.isfinite(1.0 / c):
        return _folded(Formula("mul", (x, constant(1.0 / c))))
    if op == "add" and c == 0.0:
        return x
    if op == "mul" and c in (1.0, -1.0):
        return x if c == 1.0 else _reduced(Formula("neg", (x,)))
    if x.op == op and x.parts[1].op == CONSTANT and op in ("add", "mul", "max", "min"):
        d = x.parts[1].value
        both = {"add": c + d, "mul": c * d, "max": max(c, d), "min": min(c, d)}[op]
        if math.isfinite(both):
            return _folded(Formula(op, (x.parts[0], constant(both))))
    if op == "mul" and x.op == "neg":
        return _folded(Formula("mul", (x.parts[0], constant(-c))))
    return tree
