"""What a search came to, in one window and in all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from qframe_rl.evaluate.splits import Fold
from qframe_rl.evaluate.trials import Luck
from qframe_rl.runner.study.walks import score
from qframe_rl.runner.study.windows import WindowResult
from qframe_rl.runner.tune.search import ScoredSetting


class WindowSearched(Protocol):
    """What pictures of a search ask of a window, of bars or of ticks."""

    @property
    def best(self) -> ScoredSetting:
        """What was chosen."""

    @property
    def tried(self) -> list[ScoredSetting]:
        """All that was scored to the end."""

    @property
    def importance(self) -> dict[str, float]:
        """Of each field; empty for too few settings."""


Row = TypeVar("Row")
Window = TypeVar("Window", bound=WindowSearched)
Past = TypeVar("Past")


@dataclass
class Tuned(Generic[Row, Window, Past]):
    """What a search came to, on bars or on ticks."""

    folder: Path
    checkpoint: Path
    deployed: str
    """Name of the agent in the checkpoint: ``flat`` where what was found failed the test for it."""
    reason: str
    rows: list[Row]
    """Of the leaderboard."""
    windows: list[Window]
    history: Past
    luck: Luck
    facts: dict[str, Any]
    """What ``tune.json`` holds."""


class Searched(NamedTuple):
    """What one window came to."""

    fold: Fold
    best: ScoredSetting
    tried: list[ScoredSetting]
    importance: dict[str, float]
    given_up: int
    refused: int
    judged: WindowResult
    """The choice on the bars that follow."""

    @property
    def ratio(self) -> float:
        """Annual Sharpe ratio of the choice in excess of cash, on those bars."""
        return score(self.judged.judged[self.judged.chosen])
