"""What several bars did to orders and account, added up as if it had been one."""

from __future__ import annotations

import numpy as np

from qframe_rl.orders import PER_INSTRUMENT
from qframe_rl.types import Fills, Float

_PRICED = {"price": "quantity", "forced_price": "forced"}
"""Averages, and by whose size they are taken."""
_PRICES, _SIZES = ([PER_INSTRUMENT.index(name) for name in names] for names in (_PRICED, _PRICED.values()))


class FillsTally:
    """Fills of one account since the last decision of a strategy.

    Parameters
    ----------
    n
        Instruments.
    """

    def __init__(self, n: int):
        self.sums = np.zeros((len(PER_INSTRUMENT), n))
        """(9, A) of each field of `PER_INSTRUMENT`; of a price, the value at it."""
        self.sizes = np.zeros((len(_PRICED), n))
        """(2, A) base units that were ordered, and forced, whatever their side."""
        self.rest = np.zeros(3)
        """Loss that the venue bore and interest, quote currency; log growth of idle cash."""

    def add(self, fills: Fills, cash_rate: float) -> None:
        """Count a bar.

        Parameters
        ----------
        fills
            Of (A,).
        cash_rate
            What idle cash earned over it, fraction of it.
        """
        each = np.array(fills[: len(PER_INSTRUMENT)])
        if each.any():
            sizes = np.abs(each[_SIZES])
            each[_PRICES] *= sizes
            self.sums += each
            self.sizes += sizes
        self.rest += float(fills.absorbed), float(fills.interest), float(np.log1p(cash_rate))

    def fills(self, cancelled: Float) -> Fills:
        """As one bar's.

        Parameters
        ----------
        cancelled
            (A,) signed base units that are no longer ordered.
        """
        sums = dict(zip(PER_INSTRUMENT, self.sums.copy(), strict=True)) | {"cancelled": cancelled}
        for (price, _), size in zip(_PRICED.items(), self.sizes, strict=True):
            sums[price] = np.divide(sums[price], size, out=np.zeros(len(size)), where=size > 0.0)
        return Fills.made([*sums.values(), np.array(self.rest[0]), np.array(self.rest[1])])

    @property
    def cash_rate(self) -> float:
        """What idle cash earned, fraction of it."""
        return float(np.expm1(self.rest[2]))
