"""What a search came to in one window."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from qframe_rl.evaluate.splits import Fold
from qframe_rl.runner.study.windows import WindowResult, score
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
