"""One strategy after the walk-forward test of a study."""

from __future__ import annotations

from dataclasses import dataclass

from qframe_rl.evaluate.metrics import excess, returns
from qframe_rl.runner.study.stress import Stretch
from qframe_rl.runner.study.windows import Subject, WindowResult
from qframe_rl.types import Float, Record


@dataclass
class Judged:
    """One strategy after the walk-forward test."""

    subject: Subject
    windows: list[WindowResult]
    record: Record
    """Test blocks of all windows, laid end to end."""

    @property
    def rate(self) -> Float:
        """(N,) returns of the record."""
        return returns(self.record.account.equity)

    @property
    def above(self) -> Float:
        """(N,) returns less what idle cash earned."""
        return excess(self.record)

    @property
    def chain(self) -> list[Stretch]:
        """Who traded which rows."""
        return [Stretch(w.agent, self.subject.settings[w.chosen], w.fold.test[0]) for w in self.windows]
