"""The bars of a run: loaded, and where they come from an exchange, with a line for each file that is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.types import History

if TYPE_CHECKING:
    from qframe_rl.feeds.download import Progress
    from qframe_rl.runner.log import Screen

_PARTS = 1000
"""Of which a file's progress is counted."""


def bars_of(config: DataConfig, screen: Screen) -> History:
    """Bars that a configuration asks for.

    Parameters
    ----------
    config
        As in `qframe_rl.feeds.load.load`, which says what it raises.
    screen
        Told how far each file of a download is, and why it waits.
    """
    fetched = _Fetched(screen)
    history = load(config, fetched)
    fetched.end()
    return history


class _Fetched:
    """Files of a download, as pieces of work on a screen."""

    def __init__(self, screen: Screen):
        self._screen = screen
        self._rows: dict[str, int] = {}

    def __call__(self, at: Progress) -> None:
        title = f"{at.symbol} {at.what}"
        if title not in self._rows:
            self._screen.begin(title)
        self._rows[title] = at.rows
        if at.note:
            self._screen.say(at.note)
        self._screen.advance(title, round(_PARTS * at.done), _PARTS, f"{at.rows:,} rows")

    def end(self) -> None:
        """Say what came of each."""
        for title, rows in self._rows.items():
            self._screen.end(title, f"{rows:,} rows")
