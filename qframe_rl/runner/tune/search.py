"""One window's search: Optuna is asked for settings batch by batch and told what became of them.

Every answer lies in Optuna's storage before the next question, and the draw of a setting depends on its number and on
the batches before its own alone. So a search that was killed goes on where it was and finds what it would have found.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from qframe_rl.config import Base, Range, Space, UserError
from qframe_rl.runner.tune.plan import Objective, Sampler, whole_numbers

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FRONT: dict[str, Literal["maximize", "minimize"]] = {
    "annual_return": "maximize",
    "max_drawdown": "maximize",
    "turnover": "minimize",
}
"""Aims of a search for a front; a drawdown is negative, so its highest value is the mildest."""
_FIGURES, _REFUSED = "figures", "refused"
_FEWEST = 8
"""Settings that must have been scored on a part before others are given up by their median."""


class ScoredSetting(NamedTuple):
    """A setting that was scored on all parts."""

    number: int
    params: dict[str, Any]
    figures: dict[str, float]


class Search:
    """A search in one window.

    Parameters
    ----------
    storage
        Where it is kept, from `storage_of`.
    name
        Of the window.
    over, model
        Where to look, and the configuration that the fields belong to.
    sampler, objective, seed, batch
        As in `qframe_rl.runner.tune.plan.Tune`.
    first
        The setting that is tried first, where it lies in the ranges.
    """

    def __init__(
        self, storage: BaseStorage, name: str, over: Space, model: type[Base], sampler: Sampler, objective: Objective,
        seed: int, batch: int, first: Mapping[str, Any],
    ):  # fmt: skip
        import optuna

        self.sampler, self.objective, self.batch = sampler, objective, batch
        self.seed = zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
        self.over = {key: _distribution(key, values, model) for key, values in over.items()}
        directions = [*FRONT.values()] if sampler == "nsga2" else [FRONT["annual_return"]]
        self.study: Study = optuna.create_study(
            storage=storage, study_name=name, directions=directions, pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )  # fmt: skip
        known = {key: value for key, value in first.items() if key in self.over and _lies_in(value, self.over[key])}
        if not self.study.get_trials(deepcopy=False) and len(known) == len(self.over):
            self.study.enqueue_trial(known)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All settings that were asked for, by number."""
        from optuna.trial import TrialState

        return [t for t in self.study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]

    @property
    def done(self) -> int:
        """Settings that are done with."""
        return sum(trial.state.is_finished() for trial in self.trials)

    def ask(self, most: int | None) -> list[Trial]:
        """Settings to try next: the rest of an interrupted batch, else a new batch.

        Parameters
        ----------
        most
            Settings of the whole search; None = no limit.
        """
        from optuna import Trial

        trials, batch = self.trials, self.batch
        interrupted = [trial for trial in trials if not trial.state.is_finished()]
        begun = len(trials)
        stop = -(-begun // batch) * batch if interrupted else (begun // batch + 1) * batch
        asked = []
        for trial in interrupted:
            self._seed(trial.number)
            asked.append(Trial(self.study, trial._trial_id))
            self._suggest(asked[-1])
        for number in range(begun, stop if most is None else min(stop, most)):
            self._seed(number)
            asked.append(self.study.ask())
            self._suggest(asked[-1])
        return asked

    def _seed(self, number: int) -> None:
        """Let the draw of a setting depend on its number alone, however often the process was begun anew."""
        self.study.sampler = _sampler(self.sampler, (self.seed + number) & 0x7FFFFFFF, self.batch)

    def _suggest(self, trial: Trial) -> None:
        from optuna.distributions import FloatDistribution, IntDistribution

        for name, over in self.over.items():
            if isinstance(over, IntDistribution):
                trial.suggest_int(name, over.low, over.high, log=over.log)
            elif isinstance(over, FloatDistribution):
                trial.suggest_float(name, over.low, over.high, log=over.log)
            else:
                trial.suggest_categorical(name, cast(Any, over).choices)

    def poor(self, scores: Mapping[int, float], part: int) -> set[int]:
        """Numbers of the settings to give up: those below the median of the batches before at the same part.

        Median stopping as in Golovin et al. (2017, Google Vizier, section 3.2.2), over all that came as far.
        """
        from optuna.trial import TrialState

        first = min(scores) // self.batch * self.batch
        seen = [
            t.intermediate_values[part]
            for t in self.trials[:first]
            if t.state in (TrialState.COMPLETE, TrialState.PRUNED) and part in t.intermediate_values
        ]
        if len(seen) < _FEWEST:
            return set()
        middle = float(np.median(seen))
        return {number for number, score in scores.items() if score < middle}

    def report(self, trial: Trial, score: float, part: int) -> None:
        """Keep the score of a setting over its parts so far; a search for a front has no one score.

        Parameters
        ----------
        trial
            The setting.
        score
            Over the parts so far; higher is better.
        part
            How many parts that is, counted from 0.
        """
        if self.sampler != "nsga2" and part not in trial._cached_frozen_trial.intermediate_values:
            trial.report(score, part)

    def tell(self, trial: Trial, figures: Mapping[str, float]) -> None:
        """Say what a setting came to over all parts."""
        trial.set_user_attr(_FIGURES, dict(figures))
        aims = list(FRONT) if self.sampler == "nsga2" else [self.objective]
        self.study.tell(trial, [figures[aim] for aim in aims])

    def give_up(self, trial: Trial) -> None:
        """Say that a setting was not scored to the end."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.PRUNED)

    def refuse(self, trial: Trial, reason: str) -> None:
        """Say that a setting cannot be."""
        from optuna.trial import TrialState

        trial.set_user_attr(_REFUSED, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def refused(self) -> list[str]:
        """Why settings could not be, one reason each."""
        return [t.user_attrs[_REFUSED] for t in self.trials if _REFUSED in t.user_attrs]

    def given_up(self) -> int:
        """Number of settings that were not scored to the end."""
        from optuna.trial import TrialState

        return sum(t.state == TrialState.PRUNED for t in self.trials)

    def tried(self) -> list[ScoredSetting]:
        """Settings that were scored on all parts, by number."""
        from optuna.trial import TrialState

        return [
            ScoredSetting(t.number, dict(t.params), t.user_attrs[_FIGURES])
            for t in self.trials
            if t.state == TrialState.COMPLETE
        ]

    def best(self) -> ScoredSetting:
        """The highest objective, of equal ones the fewest fills; with several aims, among the front.

        Raises
        ------
        UserError
            If no setting was scored to the end.
        """
        tried = self.tried()
        if not tried:
            why = f": {self.refused()[0]}" if self.refused() else ""
            raise UserError(f"{self.study.study_name}: no setting could be scored{why}")
        among = front(tried) if self.sampler == "nsga2" else tried
        return max(among, key=lambda t: (t.figures[self.objective], -t.figures["trades"], -t.number))

    def importance(self) -> dict[str, float]:
        """Share of each field in what makes settings good, by PED-ANOVA (Watanabe et al., 2023); none for too few.

        It compares the best tenth of the settings, or with several aims the front, with all.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        tried = self.tried()
        if len(tried) < 2 * _FEWEST or len({t.figures[self.objective] for t in tried}) < 2:
            return {}
        found = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())
        return {name: float(found.get(name, 0.0)) for name in self.over}


def front(tried: Sequence[ScoredSetting]) -> list[ScoredSetting]:
    """Settings that no other one beats in return, drawdown and turnover at once."""
    signs = np.array([1.0 if way == "maximize" else -1.0 for way in FRONT.values()])
    values = np.array([[t.figures[aim] for aim in FRONT] for t in tried]).reshape(len(tried), len(FRONT)) * signs
    kept = []
    for k, row in enumerate(values):
        beaten = ((values >= row).all(axis=1) & (values > row).any(axis=1)).any()
        if not beaten:
            kept.append(tried[k])
    return kept


def require(sampler: Sampler) -> None:
    """Refuse to begin a search without what it needs.

    Raises
    ------
    UserError
        If Optuna, or the package of its CMA-ES, is not installed.
    """
    for package in ("optuna", *(("cmaes",) if sampler == "cmaes" else ())):
        if find_spec(package) is None:
            raise UserError(f"a search by {sampler} needs {package}: pip install 'qframe-rl[tune]'.")


def storage_of(folder: Path, kind: str) -> BaseStorage:
    """Optuna's storage in a folder."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "sqlite":
        return optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}")
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))


def _distribution(name: str, over: Range | tuple[Any, ...], model: type[Base]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(over, Range):
        if whole_numbers(model, name):
            return IntDistribution(int(over.low), int(over.high), log=over.log)
        return FloatDistribution(float(over.low), float(over.high), log=over.log)
    return CategoricalDistribution(over)


def _lies_in(value: Any, over: BaseDistribution) -> bool:
    from optuna.distributions import CategoricalDistribution

    if isinstance(over, CategoricalDistribution):
        return value in over.choices
    low, high = cast(Any, over).low, cast(Any, over).high
    return isinstance(value, int | float) and low <= value <= high


def _sampler(kind: Sampler, seed: int, batch: int) -> BaseSampler:
    from optuna import samplers

    if kind == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=batch)
    if kind == "cmaes":
        return samplers.CmaEsSampler(seed=seed, n_startup_trials=batch, warn_independent_sampling=False)
    if kind == "nsga2":
        return samplers.NSGAIISampler(seed=seed)
    return samplers.RandomSampler(seed=seed)
