"""A search for features on the training rows of some bars, and the preset that it ends in."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from qframe_rl.alpha.select import FormulaTrials, FoundFeatures
from qframe_rl.config import Base, Ref, fingerprint
from qframe_rl.evaluate.splits import split
from qframe_rl.evaluate.trials import Trials
from qframe_rl.features import FORMULA
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import remarks
from qframe_rl.runner.auto_features import candidates_of, described, told, trials_of
from qframe_rl.runner.files import period, write_json, write_text
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.runner.tune.plan import Budget, read_budget
from qframe_rl.types import History, Segments


class FeatureSearch(Base):
    """Everything that decides what a search does."""

    data: DataConfig = DataConfig()
    """The bars."""
    budget: str = "2m"
    """Formulas to try, or minutes to take: ``500`` or ``2m``. Of minutes a third is kept for judging them."""
    train: float = Field(default=0.6, gt=0.05, lt=0.95)
    """Share of the bars, the first ones, that formulas see. Of what follows, the preset that is written lets ``train``
    choose on one half and judge on the other."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Root of all randomness."""

    @field_validator("budget", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @field_validator("budget")
    @classmethod
    def _budget(cls, value: str) -> str:
        read_budget(value)
        return value

    @property
    def limit(self) -> Budget:
        """The budget in numbers."""
        return read_budget(self.budget)

    def split(self) -> Ref:
        """How the bars are cut, as ``train`` takes it."""
        rest = round((1.0 - self.train) / 2.0, 12)
        shares = {"train": round(1.0 - 2.0 * rest, 12), "validation": rest, "test": rest}
        return Ref(name="holdout", params=shares)


class FeaturesFound(NamedTuple):
    """What a search came to."""

    plan: FeatureSearch
    history: History
    train: Segments
    found: FoundFeatures
    ever: int
    """Formulas that were ever tried on these bars, by the ledger."""
    interrupted: bool

    @property
    def identity(self) -> str:
        """Fingerprint of what was asked for, the bars, and how many formulas were tried."""
        return fingerprint(self.plan.model_dump(mode="json"), self.history.fingerprint, len(self.found.tests))

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "features": [FORMULA + text for text in self.found.texts],
            "counts": self.found.counts,
            "tests": [described(test) for test in self.found.tests],
            "train": period(self.history, self.train),
            "dates": self.found.n_dates,
            "ahead": self.found.rules.n_ahead,
            "ever_tried": self.ever,
            "interrupted": self.interrupted,
            "data": self.history.describe(),
        }


def find_features(plan: FeatureSearch, screen: Screen, ledger: Path | None, runs: Path) -> FeaturesFound:
    """Try formulas until the budget is spent, or until Ctrl-C, and say which remain.

    What was tried before Ctrl-C is judged as if no more had been asked for, which is honest: when it came has nothing
    to do with what was found.

    Parameters
    ----------
    plan
        What to do.
    screen
        Told of the progress.
    ledger
        File of the ledger of trials; None = the user's.
    runs
        Folder of runs, whose older ledger is read in.

    Raises
    ------
    UserError
        If the bars are too few.
    """
    screen.begin("load data")
    history = bars_of(plan.data, screen)
    for line in remarks(history):
        screen.say(f"data check: {line}")
    (fold,) = split(plan.split()).split(history)
    trials, counted = trials_of(history, fold.train, plan.seed), Trials.opened(ledger, runs)
    screen.end("load data", f"{len(history)} bars of {', '.join(history.symbols)} from {history.source.origin}")
    interrupted = _tried(plan, trials, screen)
    made = FeaturesFound(plan, history, fold.train, trials.outcome(), 0, interrupted)
    counted.add_formulas(made.identity, len(made.found.tests), history)
    screen.end("try formulas", told(made.found))
    return made._replace(ever=counted.formulas(history))


def _tried(plan: FeatureSearch, trials: FormulaTrials, screen: Screen) -> bool:
    """Try formulas; whether it was interrupted, at least one having been tried."""
    screen.begin("try formulas")
    began = time.monotonic()
    most, until = plan.limit.share(0, 1, began)
    try:
        for k, tree in enumerate(candidates_of(trials, plan.seed, most), start=1):
            trials.test(tree)
            if until is None:
                screen.advance("try formulas", k, most or k, f"{k} tried")
                continue
            share, now = until - began, time.monotonic()
            screen.advance("try formulas", round(min(now - began, share)), round(share), f"{k} tried")
            if now > until:
                break
    except KeyboardInterrupt:
        if not trials.tried:
            raise
        return True
    return False


def write_found(made: FeaturesFound, given: Mapping[str, Any], preset: Path) -> bool:
    """Write the preset, unless nothing was found, and beside it all that was tried; each file whole or not at all.

    Parameters
    ----------
    made
        What a search came to.
    given
        What was asked for of data, by field: it stands in the preset.
    preset
        File to write; all tests go into the same name with ``.json``.

    Returns
    -------
    bool
        Whether there is a preset.
    """
    write_json(preset.with_suffix(".json"), made.describe())
    if not made.found.texts:
        return False
    write_text(preset, _preset(made, given))
    return True


def _preset(made: FeaturesFound, given: Mapping[str, Any]) -> str:
    n, plan = made.found.counts, made.plan
    (span,) = period(made.history, made.train)
    features = "".join(f"  {json.dumps(FORMULA + text)},\n" for text in made.found.texts)
    split = plan.split()
    return (
        f"# Features found on {', '.join(made.history.symbols[:8])}, {span[0][:16]} to {span[1][:16]}: {n['found']} of "
        f"{n['tried']} formulas that were tried.\n# Later bars were not looked at: choose and judge on these.\n\n"
        f"[data]\n{_table(given)}\n[env]\nfeatures = [\n{features}]\n\n"
        f"[split]\n{_table({'name': split.name, **split.params})}"
    )


def _table(values: Mapping[str, Any]) -> str:
    """Lines of a TOML table; texts, numbers and lists of them are written as in JSON."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
