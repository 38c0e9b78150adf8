"""Curves of a live session for TensorBoard, beside those of the training."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qframe_rl.agent import View
from qframe_rl.listeners import CashFlow
from qframe_rl.types import SECOND, Orders

FILE = "events.out.tfevents.live"
"""Its file in the folder; TensorBoard finds it by the middle of the name."""


class ScalarWriter:
    """A listener that writes scalars, one step a bar, each at once.

    A session that resumes writes the curves on from the last bar that it repeats; what an earlier process left of later
    ones does not count. A bar that could not be written lacks; the file stays readable.

    Parameters
    ----------
    folder
        Where to.
    drift
        Present mean drift, basis points; None while there is none.
    """

    option = "--tensorboard"

    def __init__(self, folder: Path, drift: Callable[[], float | None]):
        self._drift = drift
        self._file = _Events(folder / FILE)
        self._peak = 0.0
        self._bar = 0

    def carried(self) -> dict[str, Any]:
        """Where the curves are; what was written is on disk by then."""
        return {"bar": self._bar, "peak": self._peak}

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Go on where the curves were."""
        self._bar, self._peak = memory["bar"], memory["peak"]
        self._file.begin_again(self._bar + 1)

    def started(self, view: View) -> None:
        """Write the state before the first decision, and nothing else."""
        self._file.clear()
        self._write(view)

    def settled(self, view: View, orders: Orders) -> None:
        """Write one bar."""
        self._bar += 1
        self._write(view)

    def paid(self, flow: CashFlow) -> None:
        """What was paid in is no new highest equity, and what was paid out no loss."""
        self._peak *= flow.scale

    def ended(self, view: View) -> None:
        """Nothing is left to write."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

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
        self._file.write(self._bar, view.time / SECOND, {f"live/{name}": value for name, value in scalars.items()})


class _Events:
    """TensorBoard's event file, opened when there is something to write: https://www.tensorflow.org/tensorboard.

    TensorBoard reads no further than a record that was cut, so one that could not be written whole is taken back.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: Any = None
        self._purge: int | None = None

    def clear(self) -> None:
        """Remove what earlier sessions wrote into the folder."""
        self.close()
        for old in self._path.parent.glob("events.out.tfevents.*"):
            old.unlink()

    def begin_again(self, step: int) -> None:
        """Let nothing count that was written of ``step`` or later; said with the next record."""
        self._purge = step

    def write(self, step: int, wall_time: float, scalars: Mapping[str, float]) -> None:
        """Append the values of one step, whole or not at all.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        events = [Event(wall_time=wall_time, step=step, summary=Summary(value=values))]
        if self._purge is not None:
            start = SessionLog(status=SessionLog.START)
            events.insert(0, Event(wall_time=time.time(), step=self._purge, session_log=start))
        self._append(events)
        self._purge = None

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, events: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
        good = os.fstat(self._file.fileno()).st_size
        if not good:
            events = [Event(wall_time=time.time(), file_version="brain.Event:2"), *events]
        data = _records(events)
        try:
            whole = self._file.write(data) == len(data)
        except OSError:
            self._take_back(good)
            raise
        if not whole:
            self._take_back(good)
            raise OSError(f"no space left for {self._path}")

    def _take_back(self, good: int) -> None:
        if os.fstat(self._file.fileno()).st_size > good:
            os.ftruncate(self._file.fileno(), good)


def _records(events: list[Any]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()
