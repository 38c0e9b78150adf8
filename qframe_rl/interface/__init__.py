"""What stands between a market and a policy: observations out, actions in.

An interface is made of an `Observer` (feature window and account state, scaled by what training rows looked like) and
an action scheme (what an action asks to hold). It is plain data, saved with the policy, so training and trading cannot
normalise differently. `rebalance` is the same arithmetic for strategies that think in target exposures themselves, and
`protect` puts exits that rest beside what they hold.
"""

from qframe_rl.interface.bracket import Bracket, SlotScheme, protect
from qframe_rl.interface.market import MarketInterface, interface_from, rebalance
from qframe_rl.interface.named import SCHEMES
from qframe_rl.interface.observer import (
    BOUND,
    PANELS,
    Observer,
    Parts,
    Scaler,
    see_locks,
    see_resting,
    see_rows,
    see_use,
)
from qframe_rl.interface.schemes import Delta, Exposure, Levels, Limit, Scheme, Simplex

__all__ = [
    "BOUND",
    "PANELS",
    "SCHEMES",
    "Bracket",
    "Delta",
    "Exposure",
    "Levels",
    "Limit",
    "MarketInterface",
    "Observer",
    "Parts",
    "Scaler",
    "Scheme",
    "Simplex",
    "SlotScheme",
    "interface_from",
    "protect",
    "rebalance",
    "see_locks",
    "see_resting",
    "see_rows",
    "see_use",
]
