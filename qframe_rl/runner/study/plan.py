"""What a study is made of, as configuration."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from qframe_rl.config import UserError
from qframe_rl.evaluate.splits import Cpcv, WalkForward
from qframe_rl.refit import LAG, RefitRule, bars_in
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
    refit: str | None = None
    """Train anew every so long, such as 30d, with one account through all windows: in place of walk_forward; needs
    train, and tunes nothing."""
    refit_lag: str = LAG
    """Time from the last training bar of a model to its first decision."""
    refit_rule: RefitRule = "best"
    """best: of the trainings of a model the one with the highest Sharpe ratio on the tail of its training bars;
    above_cash: that one if the ratio is above 0, else the model before goes on."""
    refit_runs: int = Field(default=1, ge=1, le=100)
    """Trainings of each model, from seeds of their own."""

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if len(self.cpcv) not in (0, 2):
            raise ValueError("cpcv needs two numbers, groups and test groups, such as 6,2")
        if self.cpcv:
            self.cross()
        self._check_refit()
        labels = [text.partition("=")[0] for text in self.agents]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError("agents: name at least one strategy, and none twice; LABEL=NAME tells two of a kind apart")
        for text, label in zip(self.agents, labels, strict=True):
            if "=" in text and (not re.fullmatch(_LABEL, label) or label in BESIDE):
                raise ValueError(f"agents: {text!r}: a label is of letters, digits, _, . and -, and not {_BESIDE}")
        return self

    def _check_refit(self) -> None:
        asked = sorted(name for name in self.model_fields_set if name.startswith("refit_"))
        if self.refit is None and asked:
            raise ValueError(f"{asked[0]} is of a study that trains anew at a cadence: add refit, such as 30d")
        if self.refit is None:
            return
        if self.cpcv or self.monte_carlo:
            raise ValueError("refit judges one account through all windows: leave cpcv and monte_carlo out")
        if self.train is None:
            raise ValueError("refit needs train, the bars of the first training part at least")
        if given := {"walk_forward", "settings", "gap"} & self.model_fields_set:
            raise ValueError(f"refit says when is trained on what, and tunes nothing: leave {min(given)} out")

    @property
    def most_settings(self) -> int:
        """Settings that a window chooses among at most."""
        return self.settings if self.refit is None else 1

    def refitting(self, bar_ns: int) -> dict[str, Any]:
        """Fields of `qframe_rl.refit.Recipe` that a study at a cadence asks for; ``train`` only where parts roll.

        Raises
        ------
        UserError
            If a length is not one of whole bars.
        """
        return {
            "every": bars_in("refit", self.refit or "", bar_ns), "lag": bars_in("refit_lag", self.refit_lag, bar_ns),
            "rule": self.refit_rule, "runs": self.refit_runs, "train": None if self.anchored else self.train,
        }  # fmt: skip

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
