"""Curves of a live session for TensorBoard, beside those of the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qframe_rl.agent import View
from qframe_rl.types import SECOND, Orders


class Board:
    """A listener that writes scalars, one step a bar.

    A session that resumes writes the curves again from the first bar that it repeats; what an earlier process left in
    the folder counts up to there.

    Parameters
    ----------
    folder
        Where to.
    drift
        Present mean drift, basis points; None while there is none.
    """

    def __init__(self, folder: Path, drift: Callable[[], float | None]):
        self._folder, self._drift = folder, drift
        self._writer: Any = None
        self._peak = 0.0
        self._bar = 0

    def carried(self) -> dict[str, Any]:
        """Where the curves are; what was written is on disk by then."""
        self._writer.flush()
        return {"bar": self._bar, "peak": self._peak}

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Go on where the curves were: what an earlier process wrote of later bars does not count."""
        from torch.utils.tensorboard import SummaryWriter

        self._bar, self._peak = memory["bar"], memory["peak"]
        self._writer = SummaryWriter(str(self._folder), purge_step=self._bar + 1)

    def started(self, view: View) -> None:
        """Write the state before the first decision."""
        from torch.utils.tensorboard import SummaryWriter

        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(self._folder))
        self._write(view)

    def settled(self, view: View, orders: Orders) -> None:
        """Write one bar."""
        self._bar += 1
        self._write(view)

    def ended(self, view: View) -> None:
        """Write what is left."""
        self._writer.close()

    def _write(self, view: View) -> None:
        equity = float(view.account.equity)
        self._peak = max(self._peak, equity)
        scalars = {
            "equity": equity,
            "drawdown": equity / self._peak - 1.0 if self._peak > 0.0 else 0.0,
            "exposure": float(view.account.exposure.sum()),
            "fees": float(view.fills.fee.sum()),
        }
        drift = self._drift()
        if drift is not None:
            scalars["drift_bps"] = drift
        for name, value in scalars.items():
            self._writer.add_scalar(f"live/{name}", value, self._bar, walltime=view.time / SECOND)
