"""The search among strategies, features and parameters at once, and one verdict on all of it.

In every window each strategy, with each choice of features, is an arm: settings of it are asked of Optuna and scored on
parts of the window's training bars, the same for all arms. Arms take turns; after each round the worse half is left,
down to the survivors. What is best by then, a single setting or an ensemble of the survivors, is trained on all of the
window's training bars and trades the bars that follow: these were not looked at before, and are judged once. Every
setting is a row of the ledger.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.config import UserError, build, fingerprint
from qframe_rl.evaluate.luck import Luck
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.load import remarks
from qframe_rl.journal.record_file import write_record
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.executors import Executor
from qframe_rl.runner.files import period, write_json
from qframe_rl.runner.identity import code_of, run_identity
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.runner.study.windows import WindowRunner
from qframe_rl.runner.tune.contest_plan import Contest
from qframe_rl.runner.tune.found import Searched
from qframe_rl.runner.tune.plan import Tune
from qframe_rl.runner.tune.promoted import promotion_of, records_of_tests
from qframe_rl.runner.tune.search import ScoredSetting, Search, require, storage_of
from qframe_rl.runner.tune.work import TuneWork
from qframe_rl.types import History, Record
from qframe_rl.versions import versions

if TYPE_CHECKING:
    import optuna

CHOSEN, ENSEMBLE, STACKED = "automl", "ensemble", "ensemble of survivors"
"""Name of the record of what the windows chose, the strategy that stacks survivors, and what that is called: there may
be an ensemble among those who compete."""
_TOGETHER = 4
"""Settings of a rule in one turn; of a learner, which must be trained, one."""


class Arm(NamedTuple):
    """A strategy with one choice of features."""

    agent: str
    features: str
    work: TuneWork
    title: str
    """How it is called; no two have the same."""


class ContestWindow(NamedTuple):
    """What one window came to."""

    arm: Arm
    searched: Searched
    scores: dict[str, float]
    """Best objective of each arm that was scored, by its title, the best first."""
    settings: int
    """Settings that were tried."""


@dataclass
class Contested:
    """What a search among strategies came to."""

    folder: Path
    checkpoint: Path
    rows: list[ScoreRow]
    windows: list[ContestWindow]
    history: History
    luck: Luck
    left_out: dict[str, str]
    """Strategies that these bars do not suit, and why."""
    facts: dict[str, Any]
    """What ``automl.json`` holds."""


def contest(
    config: Contest, runs: Path, checkpoints: Path, screen: Screen, executor: Executor, *, resume: bool = False,
    ledger: Path | None = None,
) -> Contested:  # fmt: skip
    """Search, judge and write.

    Parameters
    ----------
    config, runs, checkpoints, screen, executor, resume, ledger
        As `qframe_rl.runner.tune.tune.tune` takes them.

    Raises
    ------
    UserError
        For anything in the configuration that the user can mend.
    """
    require(config.sampler)
    screen.begin("load data")
    history = bars_of(config.data, screen)
    for line in remarks(history):
        screen.say(f"data check: {line}")
    made = {
        name: FoldMarkets(config.seen(name), history, config.risk, config.seed, screen, lenient=True)
        for name in config.choices
    }
    market = made["usual"].base.name
    asked = {n: build(catalog.load("agents", n).Config, config.params.get(n, {}), f"agent {n}") for n in config.agents}
    codes = [code_of(name, one, config.env, market) for name, one in asked.items()]
    identity = run_identity(config, history, codes)
    screen.end("load data", f"{len(history)} bars of {', '.join(history.symbols)} from {history.source.origin}")
    if not resume:
        shutil.rmtree(runs / identity, ignore_errors=True)
    (runs / identity).mkdir(parents=True, exist_ok=True)
    return _Contest(config, made, runs / identity, screen, executor, Trials.opened(ledger, runs), resume)(checkpoints)


class _Contest:
    """One search under way."""

    def __init__(
        self, config: Contest, made: Mapping[str, FoldMarkets], folder: Path, screen: Screen, executor: Executor,
        trials: Trials, resume: bool,
    ):  # fmt: skip
        self.config, self.made, self.folder, self.screen = config, made, folder, screen
        self.executor, self.trials, self.resume, self.identity = executor, trials, resume, folder.name
        self.history, self.began = made["usual"].history, time.monotonic()
        self.left_out: dict[str, str] = {}
        self.arms = [arm for name in config.agents for arm in self._arms(name)]
        if not self.arms:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.left_out.items())
            raise UserError(f"none of the strategies can be tried on these bars: {why}")
        self.window = max(arm.work.runner.window for arm in self.arms)
        for arm in self.arms:
            arm.work.runner.window = self.window  # scored on the same bars
        self.arms.sort(key=lambda arm: arm.work.learns)  # what is quick comes first
        self.folds = self.arms[0].work.folds

    def __call__(self, checkpoints: Path) -> Contested:
        """Do it."""
        config = self.config
        windows = [self._window(number) for number in range(len(self.folds))]
        agents: dict[str, list[Agent]] = {CHOSEN: [one.searched.judged.agent for one in windows]}
        records = records_of_tests(self.arms[0].work.runner, self.folds, agents)
        luck = self.trials.luck(self.history)
        rows = leaderboard(
            records, "walk-forward", level=config.level, n_resamples=config.resamples, seed=config.seed, luck=luck,
            windows=len(self.folds),
        )  # fmt: skip
        return self._keep(windows, records, rows, luck, checkpoints)

    def _arms(self, agent: str) -> list[Arm]:
        """A strategy's arms: one for a rule, which does not look at features; none where these bars do not suit it."""
        try:
            first = self._arm(self.config.of(agent, "usual"), "usual")
        except UserError as error:
            if self.config.strict:
                raise
            self.left_out[agent] = str(error)
            self.screen.say(f"{agent} is left out: {error}")
            return []
        more = self.config.choices[1:] if first.work.scaled else ()
        return [first, *(self._arm(self.config.of(agent, name), name) for name in more)]

    def _arm(self, config: Tune, features: str) -> Arm:
        folder = self.folder / f"{config.agent}-{'usual' if features == 'usual' else 'auto'}"
        runner = WindowRunner(
            self.made[features], folder, self.screen, config.seed, self.resume, self.executor
        )  # fmt: skip
        work = TuneWork(config, self.history, runner, self.identity, self.trials, self.executor, alike=True)
        title = config.agent if features == "usual" else f"{config.agent} with {features} features"
        return Arm(config.agent, features, work, title)

    def _window(self, number: int) -> ContestWindow:
        """Let the arms compete on the bars before a window's test, and judge the best on it."""
        title, storage = f"window {number + 1} of {len(self.folds)}", storage_of(self.folder, self.config.storage)
        begun = {arm: self._search(storage, arm, number) for arm in self.arms}
        self.screen.begin(title)
        live, spent = list(self.arms), False
        while not spent:
            before = sum(search.done for search in begun.values())
            for arm in live:
                spent = self._turn(arm, begun, number, title)
                if spent:
                    break
            spent = spent or sum(search.done for search in begun.values()) == before  # nothing is left to try
            live = self._survivors(live, begun)
        ranked = self._ranked(self.arms, begun)
        if not ranked:
            reason = next((search.refused()[0] for search in begun.values() if search.refused()), "too few bars")
            raise UserError(f"{title}: no setting could be scored: {reason}")
        if missed := [arm.title for arm in self.arms if not begun[arm].done]:
            self.screen.say(f"{title}: the budget ended before {', '.join(missed)} had a turn")
        stacked = self._stacked(ranked, begun, storage, number)
        if stacked is not None:
            begun |= stacked
            ranked = self._ranked(list(begun), begun)
        best, n = ranked[0], sum(search.done for search in begun.values())
        scores = {arm.title: self._score(begun[arm].best()) for arm in ranked}
        self.screen.end(title, f"{n} settings of {len(ranked)} arms; {best.title} is best")
        return ContestWindow(best, best.work.judged(begun[best], number), scores, n)

    def _search(self, storage: optuna.storages.BaseStorage, arm: Arm, number: int) -> Search:
        return arm.work.search(storage, f"{arm.title}-{number}", 1 if arm.work.learns else _TOGETHER)

    def _turn(self, arm: Arm, begun: Mapping[Arm, Search], number: int, title: str) -> bool:
        """Try a few settings of an arm; whether the window's budget is spent."""
        most, until = self.config.share(number, self.began)
        search, done = begun[arm], sum(one.done for one in begun.values())
        left = search.batch if most is None else min(search.batch, most - done)
        whole = search.done + left if arm.work.over else min(1, search.done + left)
        if whole > search.done:
            arm.work.batch(search, number, whole)
        done, now = sum(one.done for one in begun.values()), time.monotonic()
        if most is not None:
            self.screen.advance(title, done, most, arm.title)
            return done >= most
        assert until is not None
        start = self.began + (until - self.began) * number / (number + 2 / 3)
        self.screen.advance(title, round(min(now, until) - start), max(1, round(until - start)), arm.title)
        return now > until

    def _score(self, setting: ScoredSetting) -> float:
        return setting.figures[self.config.objective]

    def _ranked(self, arms: list[Arm], begun: Mapping[Arm, Search]) -> list[Arm]:
        """Arms that were scored, the best setting first; of equal ones the one with the fewest fills."""
        scored = [(begun[arm].best(), arm) for arm in arms if begun[arm].tried()]
        return [arm for _, arm in sorted(scored, key=lambda one: (-self._score(one[0]), one[0].figures["trades"]))]

    def _survivors(self, live: list[Arm], begun: Mapping[Arm, Search]) -> list[Arm]:
        """The better half, but no fewer than survive."""
        ranked = self._ranked(live, begun)
        return ranked[: max(self.config.survivors, (len(ranked) + 1) // 2)]

    def _stacked(
        self, ranked: list[Arm], begun: Mapping[Arm, Search], storage: optuna.storages.BaseStorage, number: int
    ) -> dict[Arm, Search] | None:
        """An ensemble of the survivors in equal parts, scored as they were; None where fewer than two survive.

        All members see what the best learner among them sees.
        """
        chosen = list({arm.agent: arm for arm in reversed(ranked[: self.config.survivors])}.values())[::-1]
        chosen = [arm for arm in chosen if self._score(begun[arm].best()) > 0.0]
        if len(chosen) < 2 or ENSEMBLE in {arm.agent for arm in chosen}:
            return None
        params = {
            "members": [arm.agent for arm in chosen],
            "member": {arm.agent: {**arm.work.config.params, **begun[arm].best().params} for arm in chosen},
        }
        features = next((arm.features for arm in chosen if arm.work.scaled), "usual")
        arm = self._arm(self.config.of(ENSEMBLE, features, params), features)._replace(title=STACKED)
        arm.work.runner.window = self.window
        arm.work.over.clear()
        # A search that went on after an interruption may have other survivors than the one before it.
        search = arm.work.search(storage, f"{STACKED}-{number}-{fingerprint(features, params)[:8]}", 1)
        if not search.done:
            arm.work.batch(search, number, 1)
        return {arm: search} if search.tried() else None

    def _keep(
        self, windows: list[ContestWindow], records: Mapping[str, Record], rows: list[ScoreRow], luck: Luck,
        checkpoints: Path,
    ) -> Contested:  # fmt: skip
        from qframe_rl.evaluate.plot import equity_figure

        self.screen.begin("write")
        last, row = windows[-1], next(row for row in rows if row["agent"] == CHOSEN)
        promotion = promotion_of(row, luck, last.arm.agent, forced=self.config.promote_anyway)
        work, scores = last.arm.work, [dict(one) for one in rows]
        found = work.checkpoint(
            last.arm.agent, last.searched.judged.agent, last.searched.best.params, scores, promotion
        )
        found.save(self.folder / "agents" / last.arm.agent)
        if promotion["agent"] == "flat":
            flat = self.arms[0].work
            agent = flat.runner.make("flat", catalog.load("agents", "flat").Config())
            found = flat.checkpoint("flat", agent, {}, scores, promotion)
        found.save(checkpoints / self.identity)
        for what, record in records.items():
            write_record(record, self.folder / "journals" / f"{what}.parquet")
        figure = equity_figure(records, "Test bars of all windows", source_note(self.history))
        write_png(figure, self.folder / "equity.png")
        facts = self._facts(windows, rows, luck, promotion)
        write_json(self.folder / "automl.json", facts)
        self.screen.end("write", str(self.folder))
        return Contested(
            self.folder, checkpoints / self.identity, rows, windows, self.history, luck, self.left_out, facts
        )

    def _facts(
        self, windows: list[ContestWindow], rows: list[ScoreRow], luck: Luck, promotion: Mapping[str, Any]
    ) -> dict[str, Any]:
        found = {name: made.counted(self.trials, f"{self.identity}/{name}") for name, made in self.made.items()}
        return {
            "kind": "automl",
            "id": self.identity,
            "config": self.config.model_dump(mode="json"),
            "data": self.history.describe(),
            "versions": versions(),
            "luck": luck._asdict(),
            "leaderboard": [dict(row) for row in rows],
            "promotion": dict(promotion),
            "left_out": self.left_out,
            "features": [one for each in found.values() for one in each],
            "windows": [
                {
                    "train": period(self.history, one.searched.fold.train),
                    "test": period(self.history, one.searched.fold.test),
                    "agent": one.arm.agent,
                    "features": one.arm.features,
                    "params": {**one.arm.work.config.params, **one.searched.best.params},
                    "in_sample": one.searched.best.figures,
                    "out_of_sample": one.searched.ratio,
                    "settings": one.settings,
                    "scores": one.scores,
                    "untried": [arm.title for arm in self.arms if arm.title not in one.scores],
                }
                for one in windows
            ],
        }
