"""What a study is made of, as configuration."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from qframe_rl.config import UserError
from qframe_rl.evaluate.splits import Cpcv, WalkForward
from qframe_rl.runner.run_config import RunConfig

BESIDE = ("buy_and_hold", "flat")
"""Judged beside every study."""
_BESIDE = " or ".join(BESIDE)
_LABEL = r"\w[\w.-]*"


class Study(RunConfig):
    """Everything that decides what a study does."""

    agents: tuple[str, ...] = ("buy_and_hold",)
    """Strategies of the catalogue; the first is taken apart, the others are judged beside it. LABEL=NAME takes one
    twice with different parameters."""
    agent: dict[str, dict[str, Any]] = Field(default={})
    """Parameters of the strategies' configurations, by name or label; a parameter given here is not searched."""
    walk_forward: int = Field(default=8, ge=1, le=100_000)
    """Windows of the walk-forward test; in each the strategy is fitted and tuned anew on what came before."""
    train: int | None = Field(default=None, ge=1, le=10**9)
    """Bars of the first training part, at least; the windows share what follows. null = as many as a window judges."""
    anchored: bool = True
    """Whether training parts begin at the first bar; else they roll along."""
    cpcv: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(default=(), max_length=2)
    """Groups and test groups of combinatorial purged cross-validation, such as 6,2; none = leave it out."""
    monte_carlo: int = Field(default=0, ge=0, le=100_000)
    """Paths of each Monte Carlo test; each null model has a fifth of them, at least 100. 0 = leave it out."""
    gap: int = Field(default=24, ge=0, le=10**9)
    """Bars purged between training and test; the reach of a label in cross-validation."""
    embargo: int = Field(default=24, ge=0, le=10**9)
    """Bars dropped from training after each test block of cross-validation."""
    settings: int = Field(default=48, ge=1, le=100_000)
    """Most settings that a window chooses among; 1 = no tuning."""

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if len(self.cpcv) not in (0, 2):
            raise ValueError("cpcv needs two numbers, groups and test groups, such as 6,2")
        if self.cpcv:
            self.cross()
        labels = [text.partition("=")[0] for text in self.agents]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError("agents: name at least one strategy, and none twice; LABEL=NAME tells two of a kind apart")
        for text, label in zip(self.agents, labels, strict=True):
            if "=" in text and (not re.fullmatch(_LABEL, label) or label in BESIDE):
                raise ValueError(f"agents: {text!r}: a label is of letters, digits, _, . and -, and not {_BESIDE}")
        return self

    def named(self) -> dict[str, str]:
        """Names of what was asked for, and of what is judged beside it, by label."""
        parts = [text.rpartition("=") for text in (*self.agents, *BESIDE)]
        return {label or name: name for label, _, name in parts}

    def walk(self, n_bars: int) -> WalkForward:
        """Make the split of the walk-forward test.

        Raises
        ------
        UserError
            If the first training part leaves nothing to judge.
        """
        number = self.walk_forward
        if self.train is None:
            return WalkForward(n_folds=number, anchored=self.anchored, gap=self.gap, validation=0)
        size = (n_bars - self.train - self.gap) // number
        if size < 1:
            raise UserError(
                f"train = {self.train}: of {n_bars} bars nothing is left to judge in {number} windows; take more bars, "
                "or fewer to train on."
            )
        first = n_bars - self.gap - number * size
        return WalkForward(train=first, test=size, anchored=self.anchored, gap=self.gap, validation=0)

    def cross(self) -> Cpcv:
        """Make the split of the cross-validation."""
        groups, tested = self.cpcv
        return Cpcv(n_groups=groups, n_test=tested, horizon=self.gap, embargo=self.embargo)
