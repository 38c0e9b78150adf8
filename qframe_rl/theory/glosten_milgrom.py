"""What a maker must ask where some of the traders know more (Glosten & Milgrom, 1985), and on a grid of prices.

The value is 1 with probability p, else 0. A trader is informed with probability mu and then buys where the value is 1
and sells where it is 0; else he buys or sells with even chances, whatever the price.

Source: Glosten & Milgrom, Bid, ask and transaction prices in a specialist market with heterogeneously informed traders,
Journal of Financial Economics 14 (1985); with a binary value O'Hara, Market Microstructure Theory (1995), chapter 3.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import Float


def ask(belief: float, informed: float) -> float:
    """Ask of no profit: the value that is expected of one who buys, ``p (1 + mu) / (1 + mu (2p - 1))``.

    Parameters
    ----------
    belief
        p, in [0, 1].
    informed
        mu, in [0, 1).

    Raises
    ------
    UserError
        For numbers outside.
    """
    _check(belief, informed)
    return belief * (1.0 + informed) / (1.0 + informed * (2.0 * belief - 1.0))


def bid(belief: float, informed: float) -> float:
    """Bid of no profit, ``p (1 - mu) / (1 - mu (2p - 1))``; parameters and errors as of `ask`."""
    _check(belief, informed)
    return belief * (1.0 - informed) / (1.0 - informed * (2.0 * belief - 1.0))


def beliefs(belief: float, informed: float, buys: Iterable[bool]) -> Float:
    """(n + 1,) p before and after each of n trades: the price of no profit is what the trade then makes it.

    Parameters
    ----------
    belief, informed
        As of `ask`.
    buys
        Whether each trader bought.
    """
    found = [belief]
    for bought in buys:
        found.append((ask if bought else bid)(found[-1], informed))
    return np.array(found)


def steps_of_nash(makers: int) -> int:
    """The highest common price that nobody undercuts, in steps of the grid above the price of no profit.

    Where m makers ask k steps too much and share the trade, each gains k / m steps of it, and k - 1 if he asks one step
    less. So k is at most ``m / (m - 1)``: two steps for two makers, one for more. A single maker asks for everything.

    Parameters
    ----------
    makers
        m, two or more.

    Raises
    ------
    UserError
        For fewer.
    """
    if makers < 2:
        raise UserError(f"{makers} makers do not compete; ask for two or more.")
    return makers // (makers - 1)


def _check(belief: float, informed: float) -> None:
    if not (0.0 <= belief <= 1.0 and 0.0 <= informed < 1.0):
        raise UserError(f"belief {belief} must be in [0, 1], and the share of the informed {informed} in [0, 1).")
