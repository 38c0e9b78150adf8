"""What agents may do, see and earn by their role: maker, taker, execution. Compiled."""

from __future__ import annotations

import numpy as np

from qframe_rl.arena.state import (
    ARRIVAL2,
    AT,
    CASH,
    CLOCK,
    EXECUTION_ROLE,
    FLOW,
    LEFT,
    LIVE,
    MAKER_ROLE,
    MID2,
    MID2_BEFORE,
    SLOW,
    SLOW_UNIT,
    STOCK,
    TAKER_ROLE,
    UNIT,
    VOLUME,
    CrowdRules,
    MarketState,
)  # fmt: skip
from qframe_rl.arena.trading import is_last, new_id, worth, write
from qframe_rl.book.levels import next_above, next_below
from qframe_rl.book.state import BUY, CANCEL, IOC, POST_ONLY, SELL, Books
from qframe_rl.book.wish import (
    TAKE_BOUND,
    TAKE_LOTS,
    TAKE_SIDE,
    WISH_LOTS,
    WISH_TICK,
    passive_tick,
    room_for,
)
from qframe_rl.interface import BOUND
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float, Int, Single

N_ACTION = 4
N_COUNTS = (4, 1, 2)
"""Directions of an action that count for each role, the first ones. Maker: distances of bid and ask from the mid price,
and their sizes. Taker: what to buy (above 0) or sell. Execution: distance of its quote, and the share to take now."""
IDLE = ((0.0, 0.0, -1.0, -1.0), (0.0,), (1.0, -1.0))
"""Action of each role that does the least: no quotes; no order; a quote that is far off until the last step takes."""
N_PARTS = 5
"""Messages that an agent may send in a step: two cancels, two quotes, one that takes."""
N_LEVELS = 5
SEEN = (
    "spread", "micro", "imbalance", "imbalance:5", "move", "drift", "flow", "volume", "time",
    "maker", "taker", "execution", "position", "left", "bid", "bid_lots", "ask", "ask_lots",
)  # fmt: skip
"""Names of an observation's numbers: of the book, which all see, and of the agent alone."""
N_SEEN = 18


@inlined
def _room(state: MarketState, b: int, agent: int, side: int, rules: CrowdRules) -> int:
    """Lots that an agent may still trade on a side: no more than its limit, or what it has to trade."""
    target, stock = state.targets[b, agent], state.accounts[b, agent, STOCK]
    if target == 0:
        return int(room_for(side, stock, rules.limit))
    if (target > 0) != (side == BUY):
        return 0
    return int(abs(target - stock))


@inlined
def _price(state: MarketState, b: int, side: int, action: float, rules: CrowdRules) -> int:
    """Tick of a quote so far from the mid price as an action says, short of the other side's best price."""
    other = SELL if side == BUY else BUY
    edge = 2 * rules.base if side == BUY else 0
    best = state.seen[b, other, 0] if state.seen[b, other, 1] > 0 else edge
    away = 0.5 + 0.5 * (action + 1.0) * (rules.reach - 0.5)
    return min(max(passive_tick(side, 0.5 * state.marks[b, MID2], away, best), 1), 2 * rules.base - 1)


@inlined
def _bound(state: MarketState, b: int, side: int, rules: CrowdRules) -> int:
    """Worst price at which an agent takes: so far beyond the mid price as is quoted at all."""
    mid = state.marks[b, MID2] >> 1
    return int(min(mid + rules.reach, 2 * rules.base - 1) if side == BUY else max(mid - rules.reach, 1))


@compiled
def wish(
    state: MarketState, active: Bool, roles: Int, actions: Float, quotes: Int, take: Int, rules: CrowdRules
) -> None:  # fmt: skip
    """Write what actions wish.

    Parameters
    ----------
    state
        All markets.
    active
        (B,) whose count.
    roles
        (N,).
    actions
        (B, N, 4) in [-1, 1].
    quotes, take
        (B, N, 2, 2) and (B, N, 3), columns as in `qframe_rl.book.wish`; written.
    rules
        Sizes, distances, limits.
    """
    for b in range(len(active)):
        if active[b]:
            for i in range(len(roles)):
                action, role = actions[b, i], roles[i]
                quotes[b, i, BUY, WISH_LOTS] = quotes[b, i, SELL, WISH_LOTS] = take[b, i, TAKE_LOTS] = 0
                if role == MAKER_ROLE:
                    for side in range(2):
                        size = np.rint(0.5 * (action[2 + side] + 1.0) * rules.lots)
                        quotes[b, i, side, WISH_TICK] = _price(state, b, side, action[side], rules)
                        quotes[b, i, side, WISH_LOTS] = min(int(size), _room(state, b, i, side, rules))
                elif role == TAKER_ROLE:
                    side = BUY if action[0] > 0.0 else SELL
                    take[b, i, TAKE_SIDE], take[b, i, TAKE_BOUND] = side, _bound(state, b, side, rules)
                    take[b, i, TAKE_LOTS] = int(np.rint(abs(action[0]) * rules.lots))
                else:
                    side = BUY if state.targets[b, i] > 0 else SELL
                    left, last = _room(state, b, i, side, rules), is_last(state, b, rules)
                    most = min(left, rules.lots)
                    taken = left if last else int(np.rint(0.5 * (action[1] + 1.0) * most))
                    take[b, i, TAKE_SIDE], take[b, i, TAKE_LOTS] = side, taken
                    edge = 2 * rules.base - 1 if side == BUY else 1
                    take[b, i, TAKE_BOUND] = edge if last else _bound(state, b, side, rules)
                    quotes[b, i, side, WISH_TICK] = _price(state, b, side, action[0], rules)
                    quotes[b, i, side, WISH_LOTS] = most - taken if not last else 0


@inlined
def pursue_part(
    state: MarketState, b: int, agent: int, part: int, quotes: Int, take: Int, rules: CrowdRules
) -> bool:  # fmt: skip
    """Write the next message that lacks between what is wished and what is live; whether there is one.

    The difference is that of `qframe_rl.book.wish.pursue`, without travel times: a cancel is known at once.

    Parameters
    ----------
    state
        All markets.
    b, agent
        Which market, and who in it.
    part
        0 and 1: cancels of bid and ask; 2 and 3: new ones; 4: what takes.
    quotes, take
        Wishes of all.
    rules
        Limits.
    """
    if part == 4:
        side = take[b, agent, TAKE_SIDE]
        quote = state.quotes[b, agent, side]
        waits = quote[LEFT] if quote[LIVE] >= 0 else 0
        lots = min(take[b, agent, TAKE_LOTS], _room(state, b, agent, side, rules) - waits)
        if lots < 1:
            return False
        write(state.message, IOC, side, take[b, agent, TAKE_BOUND], lots, agent, new_id(state, b))
        return True
    side = part & 1
    quote, wished = state.quotes[b, agent, side], quotes[b, agent, side]
    tick, lots = wished[WISH_TICK], wished[WISH_LOTS]
    if part < 2:
        met = lots > 0 and quote[AT] == tick and quote[LEFT] <= lots
        if quote[LIVE] < 0 or met:
            return False
        write(state.message, CANCEL, side, 0, 0, agent, quote[LIVE])
        return True
    lots = min(lots, _room(state, b, agent, side, rules))
    if quote[LIVE] >= 0 or lots < 1:
        return False
    write(state.message, POST_ONLY, side, tick, lots, agent, new_id(state, b))
    return True


@inlined
def value_of(state: MarketState, b: int, agent: int, role: int) -> int:
    """What an agent is paid for the change of, 1/1000 tick times lot: worth at mid, or at the price of arrival."""
    if role != EXECUTION_ROLE:
        return worth(state, b, agent)
    account = state.accounts[b, agent]
    return int(account[CASH] + account[STOCK] * state.marks[b, ARRIVAL2] * (UNIT // 2))


@inlined
def pay(state: MarketState, b: int, agent: int, role: int, before: int, penalty: float, rules: CrowdRules) -> float:
    """Reward of a step that was made.

    Parameters
    ----------
    state
        All markets.
    b, agent, role
        Which market, and who in it.
    before
        `value_of` before the step.
    penalty
        Of a maker's lots held, squared.
    rules
        Lots of an execution; what is left undone in the end costs ``reach`` a lot.
    """
    gained, stock = (value_of(state, b, agent, role) - before) / UNIT, state.accounts[b, agent, STOCK]
    if role == MAKER_ROLE:
        return float(gained - penalty * stock * stock)
    if role == EXECUTION_ROLE:
        if state.marks[b, CLOCK] >= rules.n_steps:
            gained -= float(abs(state.targets[b, agent] - stock) * rules.reach)
        return gained / rules.target
    return gained


@inlined
def _sums(books: Books, b: int, n_levels: int) -> tuple[float, float]:
    """Lots at so many best prices of both sides."""
    n, bids, asks = books.head.shape[1], 0, 0
    p, q = int(books.best[b, BUY]), int(books.best[b, SELL])
    for _ in range(n_levels):
        if p >= 0:
            bids += books.depth[b, p]
            p = next_below(books, b, BUY, p - 1)
        if q < n:
            asks += books.depth[b, q]
            q = next_above(books, b, SELL, q + 1)
    return float(bids), float(asks)


@inlined
def _share(bids: float, asks: float) -> float:
    return (bids - asks) / (bids + asks) if bids + asks > 0.0 else 0.0


@compiled
def observe(books: Books, state: MarketState, roles: Int, rules: CrowdRules, out: Single) -> None:
    """Write what agents see: the book, which is everybody's, and their own row; nobody else's and no hidden value.

    Parameters
    ----------
    books, state
        All markets.
    roles
        (N,).
    rules
        Scales.
    out
        (B, N, 18), written: `SEEN`, prices in ``reach``, lots in ``lots`` or the limit, within the bound.
    """
    for b in range(len(state.marks)):
        marks, seen = state.marks[b], state.seen[b]
        both = seen[BUY, 1] > 0 and seen[SELL, 1] > 0
        near, reach = _share(float(seen[BUY, 1]), float(seen[SELL, 1])), float(rules.reach)
        spread = float(seen[SELL, 0] - seen[BUY, 0]) if both else 2.0 * reach
        bids, asks = _sums(books, b, N_LEVELS)
        for i in range(len(roles)):
            row, account = out[b, i], state.accounts[b, i]
            row[0] = spread / reach
            row[1] = 0.5 * spread * near / reach if both else 0.0
            row[2], row[3] = near, _share(bids, asks)
            row[4] = 0.5 * (marks[MID2] - marks[MID2_BEFORE]) / reach
            row[5] = 0.5 * (marks[MID2] - marks[SLOW] / SLOW_UNIT) / reach
            row[6], row[7] = marks[FLOW] / (4.0 * rules.lots), marks[VOLUME] / (4.0 * rules.lots)
            row[8] = (rules.n_steps - marks[CLOCK]) / rules.n_steps
            for k in range(3):
                row[9 + k] = 1.0 if roles[i] == k else 0.0
            row[12] = account[STOCK] / rules.limit
            row[13] = (state.targets[b, i] - account[STOCK]) / rules.target if roles[i] == EXECUTION_ROLE else 0.0
            for side in range(2):
                quote, at = state.quotes[b, i, side], 14 + 2 * side
                live, sign = quote[LIVE] >= 0, 1.0 if side == BUY else -1.0
                row[at] = sign * (0.5 * marks[MID2] - quote[AT]) / reach if live else 0.0
                row[at + 1] = quote[LEFT] / rules.lots if live else 0.0
            for k in range(N_SEEN):
                row[k] = min(max(row[k], np.float32(-BOUND)), np.float32(BOUND))
