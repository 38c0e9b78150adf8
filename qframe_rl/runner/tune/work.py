"""One strategy's settings, scored on parts of each window's training bars: what every search consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qframe_rl import catalog
from qframe_rl.agent import Planner
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Range, UserError, build, fingerprint
from qframe_rl.evaluate.splits import Fold, WalkForward
from qframe_rl.evaluate.trials import Trial, Trials, trial_of
from qframe_rl.runner.executors import Executor, Mute
from qframe_rl.runner.identity import Code, code_of, own_code
from qframe_rl.runner.packing import packed
from qframe_rl.runner.study.windows import Subject, WindowRunner
from qframe_rl.runner.task import seed_for
from qframe_rl.runner.tune.found import Searched
from qframe_rl.runner.tune.plan import Tune, space
from qframe_rl.runner.tune.score import Part, ScoringJob, SearchInputs, excess_of, figures, judge, parts_of
from qframe_rl.runner.tune.search import Search
from qframe_rl.types import History, iso

if TYPE_CHECKING:
    import optuna

_CHUNK = 16
"""Settings of a rule that are settled in one job."""


class TuneWork:
    """One search under way.

    Parameters
    ----------
    config, history, runner
        What to do, with which bars, and where windows are run.
    identity
        Fingerprint of the run.
    trials
        The ledger.
    executor
        Where settings are scored.
    alike
        Cut the bars as for learners, whoever it is, and be content with nothing to search: settings of several
        strategies are compared.
    """

    def __init__(
        self, config: Tune, history: History, runner: WindowRunner, identity: str, trials: Trials, executor: Executor,
        *, alike: bool = False,
    ):  # fmt: skip
        self.config, self.history, self.runner, self.identity = config, history, runner, identity
        self.trials, self.executor, self.screen, self.folder = trials, executor, runner.screen, runner.folder
        self.model: type[Base] = catalog.load("agents", config.agent).Config
        self.alike = alike
        self.over = space(config, self.model, needed=not alike)
        self.asked = build(self.model, config.params, f"agent {config.agent}")
        first = runner.make(config.agent, self.asked)
        self.learns = hasattr(first, "fit")
        self.chunk = _CHUNK if isinstance(first, Planner) and not self.learns else 1
        runner.window = max(runner.window, *(runner.make(config.agent, one).window for one in self._corners()))
        walk = WalkForward(n_folds=config.walk_forward, anchored=config.anchored, gap=config.gap, validation=0)
        self.folds = list(walk.split(history))
        # A planner looks at bars alone: it would be told the same by a scaler that knows its training rows.
        self.scaled = self.learns and not isinstance(first, Planner)
        self._inputs: tuple[int, SearchInputs] | None = None

    @cached_property
    def parts(self) -> tuple[tuple[Fold, ...], ...]:
        """Of each window; cut when they are first asked for, by the bars that the runner shows then."""
        config, n, apart = self.config, self.runner.window, self.learns or self.alike
        return tuple(parts_of(self.history, one, config.blocks, n, apart, config.gap) for one in self.folds)

    def inputs(self, number: int) -> SearchInputs:
        """What all jobs of a window share; the same object until another window is asked for.

        Features are found for its parts alone: each window's part of the budget pays for its own.
        """
        config, runner = self.config, self.runner
        if self._inputs is None or self._inputs[0] != number:
            markets = tuple(
                tuple(runner.made.fitted(part.train) if self.scaled else runner.market for part in window)
                if k == number
                else ()
                for k, window in enumerate(self.parts)
            )
            found = SearchInputs(
                self.history, runner.market, markets, config.agent, own_code(config.agent), config.params,
                runner.window, config.seed, self.parts,
            )  # fmt: skip
            self._inputs = (number, found)
        return self._inputs[1]

    def _corners(self) -> Iterator[Base]:
        """Settings that look back furthest: each field at either end, and all at their upper ends."""
        ends = {name: [over.low, over.high] if isinstance(over, Range) else over for name, over in self.over.items()}
        rows = [{name: value} for name, values in ends.items() for value in values]
        rows.append({name: values[-1] for name, values in ends.items()})
        whole = {name for name, info in self.model.model_fields.items() if info.annotation is int}
        for row in [{}, *rows]:
            plain = {name: int(value) if name in whole else value for name, value in row.items()}
            yield build(self.model, {**self.config.params, **plain}, f"agent {self.config.agent}: space")

    def search(self, storage: optuna.storages.BaseStorage, name: str, batch: int) -> Search:
        """Begin a window's search, or take it up.

        Parameters
        ----------
        storage
            Where it is kept.
        name
            Of the window.
        batch
            Settings that are asked for at once.
        """
        config = self.config
        return Search(
            storage, name, self.over, self.model, config.sampler, config.objective, config.seed, batch,
            self.asked.model_dump(),
        )  # fmt: skip

    def judged(self, search: Search, number: int) -> Searched:
        """Train the choice of a window's search on all bars before its test, and let it trade these."""
        config, chosen = self.config, search.best()
        setting = build(self.model, {**config.params, **chosen.params}, f"agent {config.agent}")
        what = f"window-{number}-{fingerprint(setting.model_dump(mode='json'))[:8]}"
        (found,) = self.runner.windows(Subject(config.agent, (setting,), self.learns), [self.folds[number]], what)
        told = search.tried(), search.importance(), search.given_up(), len(search.refused())
        return Searched(self.folds[number], chosen, *told, found)

    def batch(self, search: Search, number: int, most: int | None) -> None:
        """Ask for some settings, score them part by part, and tell what became of each.

        Parameters
        ----------
        search, number
            A window's search, and which window it is.
        most
            Settings of the whole search; None = no limit.
        """
        asked = {trial.number: trial for trial in search.ask(most)}
        parts: dict[int, list[Part]] = {k: [] for k in asked}
        reasons, poor, inputs = dict[int, str](), set[int](), self.inputs(number)
        for k, trial in asked.items():
            try:
                inputs.make(trial.params, self.runner.market, 0)
            except UserError as error:
                reasons[k] = str(error)
        n = len(self.parts[number])
        for part in range(n):
            live = {k: trial for k, trial in asked.items() if k not in reasons and k not in poor}
            reasons |= self._score(live, number, part, parts)
            scores = {k: figures(parts[k])[self.config.objective] for k in live if k not in reasons}
            for k, score in scores.items():
                search.report(asked[k], score, part)
            if self.config.prune and not self.config.many and scores and part < n - 1:
                poor |= search.poor(scores, part)
        self.trials.add([self._trial(asked[k].params, parts[k], number) for k in asked if parts[k]], self.history)
        for k, trial in asked.items():
            if k in reasons:
                search.refuse(trial, reasons[k])
            elif k in poor:
                search.give_up(trial)
            else:
                search.tell(trial, figures(parts[k]))

    def _score(
        self, live: Mapping[int, optuna.Trial], number: int, part: int, parts: Mapping[int, list[Part]]
    ) -> dict[int, str]:
        """Score settings on one part; return why those cannot be that cannot."""
        names, reasons = list(live), dict[int, str]()
        chunks = [names[k : k + self.chunk] for k in range(0, len(names), self.chunk)]
        jobs = [ScoringJob(number, part, tuple(live[k].params for k in chunk)) for chunk in chunks]
        for at, found in self.executor.run(judge, self.inputs(number), jobs, lambda _: Mute()):
            for k, one in zip(chunks[at], found, strict=True):
                if isinstance(one, str):
                    reasons[k] = one
                else:
                    parts[k].append(one)
        return reasons

    def _trial(self, params: Mapping[str, Any], parts: Sequence[Part], number: int) -> Trial:
        """Row of the ledger for a setting, as far as it was scored."""
        config, history, scored = self.config, self.history, self.parts[number][: len(parts)]
        first, last = scored[0].test[0].start, scored[-1].test[0].stop
        span = iso(int(history.time[first]) - history.bar_ns), iso(int(history.time[last - 1]))
        setting = {**config.params, **params}
        shared = [config.agent, config.env.model_dump(mode="json"), config.walk_forward, config.gap, config.blocks]
        shared += [config.risk.model_dump(mode="json")] if config.risk.binding else []
        return trial_of(
            excess_of(parts), span, history, kind="tune", run=self.identity, agent=config.agent, params=setting,
            config=[*shared, config.seed, setting], seed=config.seed, fold=number, code=self._code(setting).coded,
        )  # fmt: skip

    def _code(self, setting: Mapping[str, Any], name: str | None = None) -> Code:
        """Code of a setting of the strategy, or of another one."""
        agent = name or self.config.agent
        made = build(catalog.load("agents", agent).Config, setting, f"agent {agent}")
        return code_of(agent, made, self.config.env, self.runner.market.name)

    def checkpoint(
        self, name: str, agent: Any, setting: Mapping[str, Any], scores: list[dict[str, Any]],
        promotion: Mapping[str, Any],
    ) -> Checkpoint:  # fmt: skip
        """Pack an agent as the last window trained it, or another one.

        Parameters
        ----------
        name, agent, setting
            Who it is, and what it was set to beside what was asked for; nothing of another one.
        scores, promotion
            As `qframe_rl.runner.packing.packed` takes them.
        """
        fold = self.folds[-1]
        market = self.runner.made.fitted(fold.train)
        whole = {**self.config.params, **setting} if setting else {}
        params = build(catalog.load("agents", name).Config, whole, name)
        return packed(
            agent, {"name": name, "params": params.model_dump(mode="json")},
            seed_for(self.config.seed, self.config.agent, 0, 0), market, self.history, fold, self.config, self.identity,
            promotion, scores, self._code(whole, name),
        )  # fmt: skip
