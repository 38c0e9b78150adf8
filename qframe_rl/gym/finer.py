"""A batch of accounts on bars that consist of finer ones, moved a bar on by the functions of a session."""

from __future__ import annotations

from qframe_rl.gym.packed import PackedHistory
from qframe_rl.kernel.finer_rows import advance_finer, finer_room
from qframe_rl.kernel.rules import Rules
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.finer import guarded_finer
from qframe_rl.types import Bool, Float, Int


class FinerMoves:
    """Moves of B accounts with one order per instrument.

    Parameters
    ----------
    tape
        The bars, and what they consist of.
    rules
        The market rules.
    n_accounts
        B.
    """

    def __init__(self, tape: PackedHistory, rules: Rules, n_accounts: int):
        self._tape, self._rules = tape, rules
        self._room = finer_room(n_accounts, tape.bars.shape[1], rules.n_columns, finer=True)

    def advance(
        self, target: Float, offset: Float, band: float, account: Float, holding: Float, row: Int, active: Bool,
        watch: Watch | None, fills: Float, work: Float,
    ) -> None:  # fmt: skip
        """Order toward targets after bar ``row[b]``, held to limits where there are any, and settle the next bar.

        Parameters
        ----------
        target, offset, band, account, holding, row, active, fills, work
            As in `qframe_rl.kernel.finer_rows.advance_finer`.
        watch
            Limits and what they remember; None without any.
        """
        bars, finer = self._tape.bars, self._tape.finer
        if watch is None:
            advance_finer(
                target, offset, band, account, holding, bars, row, active, self._rules, fills, work, finer, self._room
            )  # fmt: skip
        else:
            guarded_finer(
                target, offset, band, account, holding, bars, self._tape.time, row, active, self._rules, watch, fills,
                work, finer, self._room,
            )  # fmt: skip
