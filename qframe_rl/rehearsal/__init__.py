"""The rehearsal exchange: recorded or made markets served over Binance's wire protocol, with faults on demand."""

from qframe_rl.rehearsal.config import RehearsalConfig
from qframe_rl.rehearsal.faults import Fault, script_of
from qframe_rl.rehearsal.market import joined, listed
from qframe_rl.rehearsal.serve import Rehearsal, serve

__all__ = ["Fault", "Rehearsal", "RehearsalConfig", "joined", "listed", "script_of", "serve"]
