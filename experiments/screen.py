"""Progress on a terminal: what a run is doing, as bars and lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from experiments.cli import console

if TYPE_CHECKING:
    from qframe_rl.feeds.download import Progress


class BarScreen:
    """Progress bars on stderr: one line per piece of work under way.

    Parameters
    ----------
    enabled
        Whether bars are drawn.
    track
        Names of `qframe_rl.runner.trackers.TRACKERS` that keep curves beside TensorBoard.
    """

    def __init__(self, *, enabled: bool = True, track: Sequence[str] = ()):
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from qframe_rl.runner.trackers import OpenRuns, tracker_of

        self.runs = OpenRuns([tracker_of(name) for name in track])
        self.console = console(to_stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not enabled,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self.runs.close(self.say)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(text, highlight=False)

    def begin(self, task: str) -> None:
        """Show a new line."""
        self._tasks[task] = self._progress.add_task(task, total=None, note="")

    def advance(self, task: str, done: int, total: int, note: str = "") -> None:
        """Move its bar."""
        self._progress.update(self._tasks[task], completed=done, total=total, note=note)

    def end(self, task: str, note: str = "") -> None:
        """Take its bar away and leave a line of what came of it."""
        self._progress.remove_task(self._tasks.pop(task))
        self.console.print(f"[green]✓[/green] {task}  [dim]{note}[/dim]", highlight=False)


@contextmanager
def downloads(before: Callable[[], None] = lambda: None) -> Iterator[Callable[[Progress], None]]:
    """Progress bars on stderr, one for each file that is fetched; ``before`` is called ahead of the first."""
    from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    screen = console(to_stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    display = Display(*columns, console=screen)
    tasks: dict[tuple[str, str], TaskID] = {}

    def report(at: Progress) -> None:
        if not tasks:
            before()
        display.start()
        key = (at.symbol, at.what)
        if key not in tasks:
            tasks[key] = display.add_task(f"{at.symbol} {at.what}", total=1.0, rows=0, note="")
        if at.note and not screen.is_terminal:
            screen.print(at.note)
        display.update(tasks[key], completed=at.done, rows=at.rows, note=at.note)

    try:
        yield report
    finally:
        if tasks:
            display.stop()
