"""Exits that rest beside a position: a stop, a target, a trailing stop, an end; and the action scheme made of them.

They only reduce and are one group: a fill of one is taken off the others, and all are cancelled with the position. The
rules are those of `docs/decisions/0027-several-orders-rest-in-slots.md`; `protect` is the same for any strategy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import View
from qframe_rl.config import Base, UserError
from qframe_rl.interface.schemes import Scheme, Share, box, outside
from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    AFTER,
    EQUITY,
    FLAGS,
    GOOD,
    GROUP,
    LIMIT,
    MARK,
    N_SLOT,
    POSITION,
    QUANTITY,
    STOP,
    TRAIL,
)
from qframe_rl.orders import REDUCE_ONLY, alone, orders_of, slots_of
from qframe_rl.types import CLOSE, Bool, Float, Int, Orders

ENTRY, STOP_SLOT, TAKE_SLOT, TIME_SLOT, N_SLOTS = range(5)
"""Slots of a bracket, and how many there are."""
NEAREST = 0.05
"""Least distance of a stop or a target that an action can ask for, as a share of the largest."""
GROUP_OF_EXITS = 1.0


class BracketConfig(Base):
    """An entry for each instrument, with the distances of its stop and its target."""

    low: Share = 0.0
    """Exposure of the largest entry on the short side; 0 = no shorts: then an action below closes what is held."""
    high: Share = 1.0
    """Exposure of the largest entry on the long side."""
    threshold: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Size of an action from which on it enters, or leaves; a smaller one leaves everything as it is."""
    max_stop: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Farthest stop from the last close, fraction of it; the nearest is a twentieth of it."""
    max_take: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Farthest target from the last close, fraction of it; the nearest is a twentieth of it."""
    trailing: bool = False
    """Whether the stop follows the best price of each bar at its own distance."""
    bars: int = Field(default=0, ge=0, le=1_000_000)
    """Bars after which what is held is closed at the open; 0 = it is not."""


class SlotScheme(Scheme):
    """A scheme whose actions become several orders per instrument.

    Attributes
    ----------
    n_slots
        K.
    """

    n_slots: int

    def slots(
        self, actions: NDArray[Any], account: Float, holding: Float, bars: Float, row: Int, active: Bool
    ) -> Float:
        """(B, A, 8, K) orders of a batch of actions; a quantity of NaN leaves what stands in a slot.

        Parameters
        ----------
        actions, account, holding, active
            As in `Scheme.targets`.
        bars, row
            (T, A, 8) and (B,) the bar that each account decides after.

        Raises
        ------
        ValueError
            For actions of another shape, or one outside the space.
        """
        raise NotImplementedError

    def targets(self, actions: NDArray[Any], account: Float, holding: Float, active: Bool) -> tuple[Float, Float]:
        """Raise TypeError: exposures are not all that it asks for."""
        raise TypeError(f"{type(self).__name__} asks for several orders per instrument, which slots() gives")


class Bracket(SlotScheme):
    """``bracket``: an action is A entries, A distances of stops and A of targets, each on the scale [-1, 1].

    An entry beyond the threshold, on the side of which nothing is held, is a market order with its exits beside it;
    on the side of what is held, or within the threshold, everything is left as it is.
    """

    n_slots = N_SLOTS

    def __init__(self, config: BracketConfig, n_instruments: int):
        if not config.low <= 0.0 <= config.high or config.low == config.high:
            raise UserError(f"actions.low {config.low} must not be above 0, nor actions.high {config.high} below it.")
        super().__init__(box(3 * n_instruments), n_instruments)
        self._params = np.array(
            (config.low, config.high, config.threshold, config.max_stop, config.max_take, config.trailing, config.bars),
            dtype=np.float64,
        )

    def slots(
        self, actions: NDArray[Any], account: Float, holding: Float, bars: Float, row: Int, active: Bool
    ) -> Float:
        """As `SlotScheme.slots`."""
        rows = self.rows(actions, len(account))
        out = np.zeros((len(rows), self.n, N_SLOT, N_SLOTS))
        wrong = _bracket(rows, account, holding, bars, row, active, self._params, out)
        if wrong >= 0:
            raise ValueError(outside(actions, wrong, self.space))
        return out


def protect(
    view: View,
    orders: Orders,
    *,
    stop: float | None = None,
    take: float | None = None,
    trail: float | None = None,
    bars: int | None = None,
) -> Orders:
    """Orders with exits that rest beside the positions they lead to.

    Exits that stand stay where they are, and are as large as the position will be; new ones are made where a position
    is opened, turned, or has none. They are cancelled with it.

    Parameters
    ----------
    view
        The decision instant.
    orders
        (A,) orders, such as those of `rebalance`; they go to the first slot.
    stop, take
        Distance of a stop, and of a target, from the mark, fraction of it.
    trail
        Distance at which the stop follows the best price of each bar; without ``stop`` it begins there.
    bars
        Bars after which what is held is closed at the open.

    Returns
    -------
    Orders
        (A, 4).

    Raises
    ------
    ValueError
        If no exit is asked for, or one at a distance that is not in (0, 1).
    UserError
        For several orders per instrument.
    """
    distances = [d for d in (stop, take, trail) if d is not None]
    if not (distances or bars) or not all(0.0 < d < 1.0 for d in distances) or (bars is not None and bars < 1):
        raise ValueError(f"stop {stop}, take {take} and trail {trail} must lie in (0, 1), bars {bars} be 1 or more")
    asked, account = slots_of(alone(orders, "protect")), view.account
    terms = np.array([np.nan if x is None else x for x in (stop, take, trail, bars)])
    resting = np.zeros((len(asked), N_SLOT, N_SLOTS))
    if view.resting is not None:
        stood = slots_of(view.resting)[..., :N_SLOTS]
        resting[..., : stood.shape[-1]] = stood
    out = np.zeros((len(asked), N_SLOT, N_SLOTS))
    out[:, :, ENTRY] = asked[:, :, 0]
    rows = zip(asked[:, QUANTITY, 0].tolist(), account.position.tolist(), account.mark.tolist(), strict=True)
    for a, (quantity, held, mark) in enumerate(rows):
        leads_to, exits = held + quantity, resting[a, QUANTITY, 1:]
        if exits.any() and leads_to * held > 0.0:
            out[a, :, 1:] = resting[a, :, 1:]
            sizes = np.where(exits != 0.0, -leads_to, 0.0)
            out[a, QUANTITY, 1:] = np.where(sizes == exits, np.nan, sizes)
        elif leads_to != 0.0 and mark == mark:
            write_exits(out[a], leads_to, mark, terms[0], terms[1], terms[2], terms[3])
        elif held != 0.0:
            out[a, QUANTITY, 1:] = np.nan
    return orders_of(out)


@inlined
def _exit(out: Float, j: int, quantity: float, limit: float, stop: float, trail: float, after: float) -> None:
    """Write an order that only reduces, until it is cancelled."""
    out[QUANTITY, j], out[LIMIT, j], out[STOP, j], out[TRAIL, j] = quantity, limit, stop, trail
    out[GOOD, j], out[AFTER, j], out[FLAGS, j], out[GROUP, j] = np.inf, after, REDUCE_ONLY, GROUP_OF_EXITS


@compiled
def write_exits(out: Float, position: float, mark: float, stop: float, take: float, trail: float, bars: float) -> None:
    """Write the exits of a position of (signed) base units; NaN = none of its kind.

    Parameters
    ----------
    out
        (8, 4) an instrument's slots; all but the first are written.
    position, mark
        What is to be held, and the price that distances are from.
    stop, take, trail, bars
        As in `protect`.
    """
    side = 1.0 if position > 0.0 else -1.0
    at = stop if stop == stop else trail
    for j in range(1, out.shape[1]):
        _exit(out, j, 0.0, np.nan, np.nan, np.nan, 0.0)
    if at == at:
        _exit(out, STOP_SLOT, -position, np.nan, mark * (1.0 - side * at), trail, 0.0)
    if take == take:
        _exit(out, TAKE_SLOT, -position, mark * (1.0 + side * take), np.nan, np.nan, 0.0)
    if bars == bars and bars > 0.0:
        _exit(out, TIME_SLOT, -position, np.nan, np.nan, np.nan, bars)


@compiled
def _bracket(
    actions: Float, account: Float, holding: Float, bars: Float, row: Int, active: Bool, params: Float, out: Float
) -> int:
    n = out.shape[1]
    low, high, threshold, trailing, last = params[0], params[1], params[2], params[5] != 0.0, params[6]
    for b in range(len(actions)):
        for a in range(n):
            x, y, z = actions[b, a], actions[b, n + a], actions[b, 2 * n + a]
            if active[b] and not (abs(x) <= 1.0 and abs(y) <= 1.0 and abs(z) <= 1.0):
                return b
            held, mark, close = holding[b, a, POSITION], holding[b, a, MARK], bars[row[b], a, CLOSE]
            target = x * high if x > 0.0 else -x * low
            for j in range(out.shape[3]):
                out[b, a, QUANTITY, j] = np.nan
            moves = close == close and account[b, EQUITY] > 0.0 and abs(x) > threshold
            if moves and held * x <= 0.0 and (target != 0.0 or held != 0.0):
                wanted = target * account[b, EQUITY] / mark
                _exit(out[b, a], ENTRY, wanted - held, np.nan, np.nan, np.nan, 0.0)
                out[b, a, GOOD, ENTRY], out[b, a, FLAGS, ENTRY], out[b, a, GROUP, ENTRY] = 1.0, 0.0, 0.0
                stop, take = _distance(y, params[3]), _distance(z, params[4])
                if target != 0.0:
                    write_exits(out[b, a], wanted, mark, stop, take, stop if trailing else np.nan, last)
    return -1


@inlined
def _distance(x: float, most: float) -> float:
    """A distance from an action in [-1, 1]."""
    return most * (NEAREST + (1.0 - NEAREST) * 0.5 * (x + 1.0))
