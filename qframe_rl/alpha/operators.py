"""What a formula is made of: leaves, operators, and the unit that each gives.

Windows count rows of the panel, the newest included; a shift counts the rows between. Both are whole numbers of at
least one, so that no formula can name a later row.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Unit = Literal["price", "volume", "money", "number"]
Kind = Literal["unary", "cross", "binary", "rolling", "shift", "pair", "market"]
UNITS: tuple[Unit, ...] = ("price", "volume", "money", "number")


class AlphaOperator(NamedTuple):
    """One operator of formulas."""

    name: str
    kind: Kind
    gives: str
    """``same`` as its first operand, ``number``, or the rule of its name: ``equal``, ``product``, ``ratio``, ``square``
    (numbers alone)."""
    words: str
    """What it is, with ``{x}``, ``{y}`` and ``{w}`` for its operands and its window."""
    least: int = 0
    """Least window or shift; 0 = it has none."""
    swaps: bool = False
    """Whether its operands may change places."""

    @property
    def n_operands(self) -> int:
        """Formulas that it takes: one or two."""
        return 2 if self.kind in ("binary", "pair") else 1


_ALL = (
    AlphaOperator("abs", "unary", "same", "the size of {x}"),
    AlphaOperator("sign", "unary", "number", "the sign of {x}"),
    AlphaOperator("neg", "unary", "same", "minus {x}"),
    AlphaOperator("log", "unary", "number", "the logarithm of {x}"),
    AlphaOperator("rank", "cross", "number", "the rank of {x} among the instruments, on (0, 1)"),
    AlphaOperator("zscore", "cross", "number", "the distance of {x} from the instruments' mean, in their deviations"),
    AlphaOperator("leader", "market", "same", "{x} of the market's leader"),
    AlphaOperator("add", "binary", "equal", "the sum of {x} and {y}", swaps=True),
    AlphaOperator("sub", "binary", "equal", "{x} less {y}"),
    AlphaOperator("mul", "binary", "product", "the product of {x} and {y}", swaps=True),
    AlphaOperator("div", "binary", "ratio", "the ratio of {x} to {y}"),
    AlphaOperator("max", "binary", "equal", "the greater of {x} and {y}", swaps=True),
    AlphaOperator("min", "binary", "equal", "the lesser of {x} and {y}", swaps=True),
    AlphaOperator("mean", "rolling", "same", "the mean of {x} over {w} bars", 2),
    AlphaOperator("sum", "rolling", "same", "the sum of {x} over {w} bars", 2),
    AlphaOperator("std", "rolling", "same", "the standard deviation of {x} over {w} bars", 2),
    AlphaOperator("var", "rolling", "square", "the variance of {x} over {w} bars", 2),
    AlphaOperator("tmax", "rolling", "same", "the highest {x} of {w} bars", 2),
    AlphaOperator("tmin", "rolling", "same", "the lowest {x} of {w} bars", 2),
    AlphaOperator("argmax", "rolling", "number", "bars since the highest {x} of {w} bars", 2),
    AlphaOperator("argmin", "rolling", "number", "bars since the lowest {x} of {w} bars", 2),
    AlphaOperator("med", "rolling", "same", "the median of {x} over {w} bars", 2),
    AlphaOperator("mad", "rolling", "same", "the mean distance of {x} from its mean over {w} bars", 2),
    AlphaOperator("tsrank", "rolling", "number", "the rank of {x} among its last {w} bars, on (0, 1)", 2),
    AlphaOperator("tsz", "rolling", "number", "the distance of {x} from its mean over {w} bars, in deviations", 2),
    AlphaOperator("skew", "rolling", "number", "the skewness of {x} over {w} bars", 3),
    AlphaOperator("slope", "rolling", "same", "the slope of {x} a bar, by least squares over {w} bars", 2),
    AlphaOperator("wma", "rolling", "same", "the mean of {x} over {w} bars, weighted 1 (oldest) to {w}", 2),
    AlphaOperator("ema", "rolling", "same", "the exponential mean of {x} of span {w}, cut at {w} bars", 2),
    AlphaOperator("ref", "shift", "same", "{x} of {w} bars ago", 1),
    AlphaOperator("delta", "shift", "same", "the change of {x} over {w} bars", 1),
    AlphaOperator("ret", "shift", "number", "the relative change of {x} over {w} bars", 1),
    AlphaOperator("cov", "pair", "product", "the covariance of {x} and {y} over {w} bars", 3, swaps=True),
    AlphaOperator("beta", "pair", "ratio", "the slope of {x} against {y} over {w} bars", 3),
    AlphaOperator("corr", "pair", "number", "the correlation of {x} and {y} over {w} bars", 3, swaps=True),
)
OPERATORS = {one.name: one for one in _ALL}
"""Operators by name."""
LEAVES: dict[str, tuple[Unit, str, int]] = {
    "open": ("price", "the open", 1),
    "high": ("price", "the high", 1),
    "low": ("price", "the low", 1),
    "close": ("price", "the close", 1),
    "volume": ("volume", "the volume", 1),
    "typical": ("price", "the mean of high, low and close", 1),
    "ret1": ("number", "the close's relative change over one bar", 2),
    "money": ("money", "close times volume", 1),
}
"""Leaves by name: unit, words, and the rows that a value is made of."""
COLUMN = "column:"
"""Before the name of a feed's column, which counts as a number."""
MOST_ROWS = 1_000_000
"""Most rows of a window or shift."""
CROSS_ROWS = 90
"""Rows that say whether an instrument belongs to the universe, see `qframe_rl.alpha.cross.universe`."""
LEAST_MEMBERS = 8
"""Fewest instruments that are ranked among each other."""
LEAST_LED = 2
"""Fewest instruments of which one leads."""
TRAILING, MOST_SAID = 250, 3.0**0.5
"""Of fewer instruments: rows among which each one's newest value is ranked, and the size that what is said tends to."""


def unit_of(one: AlphaOperator, x: Unit, y: Unit | None = None) -> Unit | None:
    """Unit of an operator's value.

    Parameters
    ----------
    one
        The operator.
    x, y
        Units of its operands.

    Returns
    -------
    Unit | None
        None where it may not be applied to these.
    """
    match one.gives:
        case "same":
            return x
        case "number":
            return "number"
        case "equal":
            return x if x == y else None
        case "square":
            return x if x == "number" else None
        case "product":
            return _PRODUCTS.get((x, y))
        case _:
            return "number" if x == y else _RATIOS.get((x, y))


_PRODUCTS: dict[tuple[Unit, Unit | None], Unit] = {("price", "volume"): "money", ("volume", "price"): "money"}
_RATIOS: dict[tuple[Unit, Unit | None], Unit] = {("money", "price"): "volume", ("money", "volume"): "price"}
for _unit in UNITS:
    _PRODUCTS[_unit, "number"] = _PRODUCTS["number", _unit] = _RATIOS[_unit, "number"] = _unit
