"""The venue of training, backtests and paper trading: one account, settled by the kernel."""

from __future__ import annotations

import numpy as np

from qframe_rl.amounts import paid
from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.kernel.columns import (
    ABSORBED,
    CASH,
    CASH_RATE,
    DUE,
    EARNED,
    EQUITY,
    LEFT,
    LIMIT,
    MARK,
    MOVING,
    N_BAR,
    N_FILLS,
    POSITION,
    QUANTITY,
    RUINED,
    STANDING,
    STOP,
    opened,
)  # fmt: skip
from qframe_rl.kernel.finer_rows import finer_of, finer_room, settle_finer
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rules import OWNED, Rules, changed
from qframe_rl.orders import is_plain
from qframe_rl.types import CLOSE, VOLUME, Account, Bar, Fills, Finer, Float, Instrument, Orders
from qframe_rl.venues.aside import with_coins
from qframe_rl.venues.funding import free_cash, refusal
from qframe_rl.venues.standing import StandingOrders

_ROW = np.zeros(1, dtype=np.int64)
_ACTIVE = np.ones(1, dtype=np.bool_)


class SimulatedVenue:
    """One account that starts with cash.

    Parameters
    ----------
    rules
        The market rules.
    cash
        Quote currency at the start.
    """

    def __init__(self, rules: Rules, cash: float):
        n = len(rules.table)
        self.rules = rules
        self.account = Account(np.array(cash, dtype=np.float64), np.zeros(n), np.full(n, np.nan))
        self.terminated = False
        self._money, self._holding = opened(cash, 1, rules.n_columns), np.zeros((1, n, 2))
        self._holding[0, :, MARK] = np.nan
        self._pending = np.zeros((1, n, 3))
        self._tradable = np.zeros(n, dtype=np.bool_)
        self._bar, self._work = np.zeros((1, n, N_BAR)), scratch(n)
        self._standing, self._several = StandingOrders(n), False
        self._room = finer_room(1, n, rules.n_columns, finer=bool(rules.detail_ns))

    def carried(self) -> Plain:
        """The account between two bars, as JSON."""
        arrays = {"money": self._money, "holding": self._holding, "tradable": self._tradable}
        rest = {"standing": self._standing.carried()} if self._standing.any else {}
        return {"terminated": self.terminated} | {name: packed(array) for name, array in arrays.items()} | rest

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self._money, self._holding = unpacked(memory["money"]), unpacked(memory["holding"])
        self._tradable, self.terminated = unpacked(memory["tradable"]), memory["terminated"]
        self.account = self._stated()
        self._standing.clear()
        if "standing" in memory:
            self._standing.carry(memory["standing"])

    @property
    def resting(self) -> Orders | None:
        """(A, K) orders that stand; None where there are none."""
        return self._standing.orders

    def rule(self, instruments: tuple[Instrument, ...]) -> None:
        """Settle by what the exchange now states of the instruments."""
        self.rules = changed(self.rules, instruments)

    def transfer(self, units: int) -> str:
        """Pay so many units of 1e-8 of the quote currency in, or out where negative; why not, if that cannot be."""
        if self.terminated:
            return "the account is gone"
        money = self._money[0]
        moving = float(money[MOVING]) if money[LEFT] > 0.0 else 0.0
        why = refusal(units, free_cash(self.account, moving, self.rules), float(self.account.equity))
        if not why:
            money[CASH] = paid(float(money[CASH]), units)
            self.account = self._stated()
            money[EQUITY] = self.account.equity
        return why

    def adopt(self, a: int | None, units: int) -> str:
        """Take in units of 1e-8 of a coin (None: of cash), or give up where negative; why not, if that cannot be."""
        if a is None:
            return self.transfer(units)
        if self.terminated:
            return "the account is gone"
        if self.rules.table[a, OWNED] == 0.0 and (self.rules.shorting or self.rules.leverage != 1.0):
            return "contracts have no value of their own: only an order brings them"
        why, after = with_coins(self.account, a, units)
        if not why:
            self._holding[0, a, POSITION] = after.position[a]
            self.account = self._stated()
            self._money[0, EQUITY] = self.account.equity
        return why

    def _stated(self) -> Account:
        position, mark = self._holding[0, :, POSITION].copy(), self._holding[0, :, MARK].copy()
        return Account(np.array(self._money[0, CASH]), position, mark)

    def submit(self, orders: Orders) -> None:
        """Take the orders for the next bar; what did not trade in the last bar cannot be ordered.

        Raises
        ------
        ValueError
            If a quantity is not finite, or if the shapes do not fit the account; of several orders per instrument as
            `qframe_rl.orders.slots_of`.
        """
        self._several = not is_plain(orders)
        if self._several:
            self._standing.take(orders, self._tradable, self.rules)
            return
        self._standing.clear()
        quantity = np.asarray(orders.quantity, dtype=np.float64)
        if quantity.shape != self._tradable.shape or not np.isfinite(quantity).all():
            raise ValueError(f"orders must be {len(self._tradable)} finite quantities, got {quantity}")
        pending = self._pending[0]
        pending[:, QUANTITY] = np.where(self._tradable, quantity, 0.0)
        pending[:, LIMIT] = orders.limit
        pending[:, STOP] = orders.stop

    def advance(self, bar: Bar) -> Fills:
        """Settle one closed bar: the pending orders meet it; then they are gone, but for those that rest."""
        laid_out, finer = self._laid_out(bar), finer_of(bar, self.rules)
        if self._several:
            fills = self._standing.settle(self._money, self._holding, laid_out, self.rules, finer)
        else:
            fills = self._settle(laid_out, finer)
        self._tradable = ~np.isnan(bar.values[:, CLOSE])
        self.terminated = self.terminated or bool(self._money[0, RUINED])
        self.account = self._stated()
        return fills

    def _settle(self, bar: Float, finer: Finer) -> Fills:
        """Let one order per instrument meet a bar."""
        fills = np.empty((1, len(self._tradable), N_FILLS))
        rules, money = self.rules, self._money
        settle_finer(
            money, self._holding, self._pending, bar, _ROW, _ACTIVE,
            rules, fills, self._work, finer, self._room,
        )  # fmt: skip
        self._pending[0, :, QUANTITY] = 0.0
        return Fills.of(fills[0], np.array(money[0, ABSORBED]), np.array(money[0, EARNED]))

    def _laid_out(self, bar: Bar) -> Float:
        """The bar as the kernel reads it, (1, A, 8), in memory that is used again."""
        out = self._bar[0]
        out[:, : VOLUME + 1] = bar.values[:, : VOLUME + 1]
        out[:, DUE], out[:, STANDING] = bar.funding, bar.final
        out[:, CASH_RATE] = bar.cash_rate
        return self._bar
