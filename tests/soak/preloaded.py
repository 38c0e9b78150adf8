"""What a server of processes imports and has compiled, so that sessions that are killed often begin at once."""

from __future__ import annotations

import ccxt.pro

from qframe_rl.live.paper import ready
from qframe_rl.types import Instrument
from tests.soak import kill_slots

PRO, SLOTS = ccxt.pro, kill_slots
ready((Instrument("C0/USDT:USDT", "perpetual"), Instrument("C1/USDT:USDT", "perpetual")))
