"""Where a run reports: TensorBoard for curves and figures, trackers beside it, and a screen for progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qframe_rl.agent import Log
from qframe_rl.runner.event_file import EventFile
from qframe_rl.runner.trackers import OpenRuns, Tracker, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Screen(Protocol):
    """Told what the run is doing; the command line draws bars of it."""

    runs: OpenRuns = OpenRuns()
    """What keeps curves beside TensorBoard; ended with the screen."""

    def begin(self, task: str) -> None:
        """Start a piece of work."""

    def advance(self, task: str, done: int, total: int, note: str = "") -> None:
        """Say how far it is.

        Parameters
        ----------
        task
            What it is called, as in `begin`.
        done, total
            Of its own unit.
        note
            A few words to show beside it.
        """

    def end(self, task: str, note: str = "") -> None:
        """Say that it is done."""

    def say(self, text: str) -> None:
        """Say something that stays."""


class Silent(Screen):
    """A screen that shows nothing."""

    def begin(self, task: str) -> None:
        """Show nothing."""

    def advance(self, task: str, done: int, total: int, note: str = "") -> None:
        """Show nothing."""

    def end(self, task: str, note: str = "") -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""


class RunLog(Log):
    """The `Log` of one training: a TensorBoard folder, the screen's trackers, and a line of the screen.

    A tracker that fails is said so on the screen and left out from then on: TensorBoard has it all, and a training is
    not lost for a server.

    Parameters
    ----------
    folder
        Of TensorBoard's files.
    task
        What the screen calls the training.
    screen
        Told of its progress.

    Raises
    ------
    UserError
        If a tracker cannot begin.
    """

    def __init__(self, folder: Path, task: str, screen: Screen):
        self.task, self.screen = task, screen
        self._trackers = screen.runs.of(folder, task)
        self._board = EventFile(folder)

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve."""
        self._board.scalar(name, value, step)
        self._track(lambda tracker: tracker.scalar(name, value, step))

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Show how far the training is."""
        self.screen.advance(self.task, done, total, note)

    def figure(self, name: str, figure: Figure) -> None:
        """Show a figure."""
        self._track(lambda tracker: tracker.figure(name, figure))
        self._board.figure(name, figure)

    def hyper_parameters(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Show what was set and what came of it."""
        plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in params.items()}
        self._board.hyper_parameters(plain, metrics)
        self._track(lambda tracker: tracker.hyper_parameters(plain, metrics))

    def close(self) -> None:
        """Write what is left."""
        self._board.close()
        self._track(lambda tracker: tracker.flush())

    def _track(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            if not told(self.task, tracker, tell, self.screen.say):
                self._trackers.remove(tracker)
