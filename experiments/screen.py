"""Progress on a terminal: what a run is doing, as bars and lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from experiments.cli import console

if TYPE_CHECKING:
    from rich.text import Text

    from qframe_rl.feeds.download import Progress
    from qframe_rl.feeds.tick_record import RecordedTicks
    from qframe_rl.runner.executors import Executor


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
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
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
        from rich.text import Text

        self._progress.remove_task(self._tasks.pop(task))
        self.console.print(Text.assemble(("✓", "green"), f" {task}  ", (note, "dim")), highlight=False)


@contextmanager
def working(
    track: Sequence[str],
    on: str,
    kept: str = "Finished trainings are kept; the same command with --resume takes them over.",
) -> Iterator[tuple[BarScreen, Executor]]:
    """A screen, on which ``start up`` has begun, and a place to work at; who interrupts it is told what is kept.

    Parameters
    ----------
    track, on
        As `BarScreen` and `qframe_rl.runner.executors.executor_of` take them.
    kept
        What is said where the work is interrupted.
    """
    with BarScreen(track=track) as screen:
        screen.begin("start up")
        from qframe_rl.runner.executors import executor_of

        with executor_of(on) as executor:
            try:
                yield screen, executor
            except KeyboardInterrupt:
                screen.say(kept)
                raise


@contextmanager
def downloads(before: Callable[[], None] = lambda: None) -> Iterator[Callable[[Progress], None]]:
    """Progress bars on stderr, one for each file that is fetched; ``before`` is called ahead of the first."""
    from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    screen = console(to_stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
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


def stressed(before: str, text: str, after: str) -> Text:
    """A line of which a part is bold."""
    from rich.text import Text

    return Text.assemble(before, (text, "bold"), after)


_ROWS_EVERY_S = 30.0


@contextmanager
def recordings() -> Iterator[tuple[Callable[[Sequence[RecordedTicks]], None], Callable[[str], None]]]:
    """A line on stderr for each market that is recorded, and one for each note; half a minute apart where nobody looks.

    Returns
    -------
    Iterator
        What is told how far the recordings are, and what is told notes.
    """
    from rich.live import Live
    from rich.text import Text

    screen, last, begun = console(to_stderr=True), 0.0, False
    live = Live(console=screen, transient=True, refresh_per_second=4)

    def note(text: str) -> None:
        screen.print(text, highlight=False, soft_wrap=True)

    def report(so_far: Sequence[RecordedTicks]) -> None:
        nonlocal last, begun
        lines = "\n".join(_recording(one) for one in so_far)
        if screen.is_terminal:
            live.update(Text(lines))
        elif so_far[0].seconds - last >= _ROWS_EVERY_S or (not begun and all(one.connected for one in so_far)):
            last, begun = so_far[0].seconds, True
            note(lines)

    with live:
        yield report, note


def _recording(one: RecordedTicks) -> str:
    """How far a recording is, in a line."""
    rate = (one.rows + one.trades) / max(one.seconds, 1e-9)
    broken = sum(one.ends.values())
    parts = [
        f"{one.symbol} {'recording' if one.connected else 'connecting'} {one.seconds:,.0f} s",
        f"{one.rows:,} changes, {one.trades:,} trades, {rate:,.0f} rows/s",
        f"{one.nbytes / 1e6:.1f} MB, {one.bytes_a_day / 1e6:,.0f} MB a day",
        f"{broken:,} gap{'s' * (broken != 1)}",
        f"clock behind {one.clock_shift_ns / 1e6:,.0f} ms",
    ]
    return " · ".join(parts)
