"""Search for parameters, honestly: anew in every walk-forward window, on its own training bars alone.

What a window chose is judged on the bars that follow it, and laid end to end these make the one record by which the
search as a whole is judged, beside the strategy as it was asked for, buying and holding, and flat. Every setting that
was scored is a row of the ledger of trials, whether it was chosen, given up or forgotten.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qframe_rl import catalog
from qframe_rl.agent import Planner
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Range, UserError, build, fingerprint
from qframe_rl.evaluate.promotion import PROMOTED, Standing
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.splits import WalkForward
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.trials import Luck, Trial, Trials, trial_of
from qframe_rl.feeds.load import remarks
from qframe_rl.listeners import write_record
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.backtest import joined
from qframe_rl.runner.executors import Executor, Mute
from qframe_rl.runner.files import period, write_json
from qframe_rl.runner.identity import Code, code_of, own_code, run_identity
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.runner.packing import packed
from qframe_rl.runner.study.windows import Subject, WindowRunner, journals
from qframe_rl.runner.task import seed_for
from qframe_rl.runner.tune.found import Searched, Tuned
from qframe_rl.runner.tune.plan import AIMS, Tune, space
from qframe_rl.runner.tune.score import Part, ScoringJob, SearchInputs, excess_of, figures, judge, parts_of
from qframe_rl.runner.tune.search import Search, require, storage_of
from qframe_rl.types import History, Record, Segment, iso
from qframe_rl.versions import versions

if TYPE_CHECKING:
    import optuna

TUNED, AS_ASKED = "tuned", "as asked"
"""Names of the records of what the windows chose, and of the strategy without a search."""
_FEWEST, _MOST = 8, 64
_CHUNK = 16
"""Settings of a rule that are settled in one job."""


TunedBars = Tuned[ScoreRow, Searched, History]


def tune(
    config: Tune, runs: Path, checkpoints: Path, screen: Screen, executor: Executor, *, resume: bool = False,
    ledger: Path | None = None,
) -> TunedBars:  # fmt: skip
    """Search, judge and write.

    Parameters
    ----------
    config
        What to do.
    runs, checkpoints
        Folders in which the run's folder and the chosen checkpoint are put.
    screen
        Told of the progress.
    executor
        Where settings are scored.
    resume
        Go on with an interrupted search of the same configuration, data and code.
    ledger
        File of the ledger of trials; None = the user's.

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
    made = FoldMarkets(config.env, history, config.risk, config.seed, screen)
    asked = build(catalog.load("agents", config.agent).Config, config.params, f"agent {config.agent}")
    identity = run_identity(config, history, [code_of(config.agent, asked, config.env, made.base.name)])
    screen.end("load data", f"{len(history)} bars of {', '.join(history.symbols)} from {history.source.origin}")
    if not resume:
        shutil.rmtree(runs / identity, ignore_errors=True)
    (runs / identity).mkdir(parents=True, exist_ok=True)
    runner = WindowRunner(made, runs / identity, screen, config.seed, resume, executor)
    return _Work(config, history, runner, identity, Trials.opened(ledger, runs), executor)(checkpoints)


class _Work:
    """One search under way."""

    def __init__(
        self, config: Tune, history: History, runner: WindowRunner, identity: str, trials: Trials, executor: Executor
    ):
        self.config, self.history, self.runner, self.identity = config, history, runner, identity
        self.trials, self.executor, self.screen, self.folder = trials, executor, runner.screen, runner.folder
        self.model: type[Base] = catalog.load("agents", config.agent).Config
        self.over = space(config, self.model)
        self.asked = build(self.model, config.params, f"agent {config.agent}")
        first = runner.make(config.agent, self.asked)
        self.learns = hasattr(first, "fit")
        self.chunk = _CHUNK if isinstance(first, Planner) and not self.learns else 1
        runner.window = max(runner.window, *(runner.make(config.agent, one).window for one in self._corners()))
        walk = WalkForward(n_folds=config.walk_forward, anchored=config.anchored, gap=config.gap, validation=0)
        self.folds = list(walk.split(history))
        parts = tuple(
            parts_of(history, fold, config.blocks, runner.window, self.learns, config.gap) for fold in self.folds
        )
        # A planner looks at bars alone: it would be told the same by a scaler that knows its training rows.
        scaled = self.learns and not isinstance(first, Planner)
        markets = tuple(
            tuple(runner.made.fitted(part.train) if scaled else runner.market for part in window) for window in parts
        )
        self.inputs = SearchInputs(
            history,
            runner.market,
            markets,
            config.agent,
            own_code(config.agent),
            config.params,
            runner.window,
            config.seed,
            parts,
        )

    def _corners(self) -> Iterator[Base]:
        """Settings that look back furthest: each field at either end, and all at their upper ends."""
        ends = {name: [over.low, over.high] if isinstance(over, Range) else over for name, over in self.over.items()}
        rows = [{name: value} for name, values in ends.items() for value in values]
        rows.append({name: values[-1] for name, values in ends.items()})
        whole = {name for name, info in self.model.model_fields.items() if info.annotation is int}
        for row in [{}, *rows]:
            plain = {name: int(value) if name in whole else value for name, value in row.items()}
            yield build(self.model, {**self.config.params, **plain}, f"agent {self.config.agent}: space")

    def __call__(self, checkpoints: Path) -> TunedBars:
        """Do it."""
        storage = storage_of(self.folder, self.config.storage)
        began = time.monotonic()
        searched = [self._window(storage, number, began) for number in range(len(self.folds))]
        records = self._records(searched)
        luck = self.trials.luck(self.history)
        config = self.config
        rows = leaderboard(
            records, "walk-forward", level=config.level, n_resamples=config.resamples, seed=config.seed, luck=luck,
            windows=len(self.folds),
        )  # fmt: skip
        return self._keep(searched, records, rows, luck, checkpoints)

    def _window(self, storage: optuna.storages.BaseStorage, number: int, began: float) -> Searched:
        """Search on the bars before a window's test, and judge the choice on it."""
        config, title = self.config, f"window {number + 1} of {len(self.folds)}"
        most, until = self._share(number, began)
        first = self.asked.model_dump()
        search = Search(
            storage, f"window-{number}", self.over, self.model, config.sampler, config.objective, config.seed,
            self._together(most), first,
        )  # fmt: skip
        self.screen.begin(title)
        while (most is None or search.done < most) and not (
            until is not None and search.done and time.monotonic() > until
        ):
            self._batch(search, number, most)
            best = (
                f"best {AIMS[config.objective]} {search.best().figures[config.objective]:+.2f}"
                if search.tried()
                else ""
            )
            if most is not None:
                self.screen.advance(title, search.done, most, best)
            elif until is not None:
                share = until - began
                self.screen.advance(title, round(min(time.monotonic() - began, share)), round(share), best)
        chosen, lost = search.best(), search.given_up()
        self.screen.end(
            title, f"{search.done} settings, {lost} given up; Sharpe {chosen.figures['sharpe']:+.2f} in its past"
        )
        setting = build(self.model, {**config.params, **chosen.params}, f"agent {config.agent}")
        what = f"window-{number}-{fingerprint(setting.model_dump(mode='json'))[:8]}"
        (judged,) = self.runner.windows(Subject(config.agent, (setting,), self.learns), [self.folds[number]], what)
        return Searched(
            self.folds[number], chosen, search.tried(), search.importance(), lost, len(search.refused()), judged
        )

    def _share(self, number: int, began: float) -> tuple[int | None, float | None]:
        """Part of the budget for one window: settings, or the moment at which it ends."""
        limit, n = self.config.limit, len(self.folds)
        if limit.trials is not None:
            return limit.trials * (number + 1) // n - limit.trials * number // n, None
        assert limit.seconds is not None
        return None, began + limit.seconds * (number + 1) / n

    def _together(self, most: int | None) -> int:
        """Settings that are asked for at once."""
        if self.config.batch:
            return self.config.batch
        if self.chunk == 1:
            return _FEWEST
        return _MOST if most is None else min(_MOST, max(_FEWEST, most // 8))

    def _batch(self, search: Search, number: int, most: int | None) -> None:
        """Ask for some settings, score them part by part, and tell what became of each."""
        asked = {trial.number: trial for trial in search.ask(most)}
        parts: dict[int, list[Part]] = {k: [] for k in asked}
        reasons, poor = dict[int, str](), set[int]()
        for k, trial in asked.items():
            try:
                self.inputs.make(trial.params, self.runner.market, 0)
            except UserError as error:
                reasons[k] = str(error)
        n = len(self.inputs.parts[number])
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
        for at, found in self.executor.run(judge, self.inputs, jobs, lambda _: Mute()):
            for k, one in zip(chunks[at], found, strict=True):
                if isinstance(one, str):
                    reasons[k] = one
                else:
                    parts[k].append(one)
        return reasons

    def _trial(self, params: Mapping[str, Any], parts: Sequence[Part], number: int) -> Trial:
        """Row of the ledger for a setting, as far as it was scored."""
        config, history, scored = self.config, self.history, self.inputs.parts[number][: len(parts)]
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

    def _records(self, searched: Sequence[Searched]) -> dict[str, Record]:
        """What the choices did on their test bars, end to end, and what stands beside them."""
        runner, name = self.runner, self.config.agent
        asked = runner.windows(Subject(name, (self.asked,), self.learns), self.folds, AS_ASKED)
        agents = {TUNED: [one.judged.agent for one in searched], AS_ASKED: [window.agent for window in asked]}
        for baseline in ("buy_and_hold", "flat"):
            agent = runner.make(baseline, catalog.load("agents", baseline).Config())
            agents[baseline] = [agent] * len(self.folds)
        records = {}
        for what, each in agents.items():
            title = f"record of {what}"
            self.screen.begin(title)
            jobs: list[tuple[Any, History, Segment]] = [
                (agent, self.history, fold.test[0]) for agent, fold in zip(each, self.folds, strict=True)
            ]
            records[what] = joined(journals(runner.market, jobs, runner.window, partial(self.screen.advance, title)))
            self.screen.end(title, f"{len(records[what]) - 1} bars")
        return records

    def _keep(
        self,
        searched: list[Searched],
        records: Mapping[str, Record],
        rows: list[ScoreRow],
        luck: Luck,
        checkpoints: Path,
    ) -> TunedBars:
        from qframe_rl.runner.tune.plot import pictures

        self.screen.begin("write")
        config, name = self.config, self.config.agent
        row = next(row for row in rows if row["agent"] == TUNED)
        standing = Standing.of(row)
        passed = standing.passed
        deployed = name if passed or config.promote_anyway else "flat"
        odds = f"DSR {row['dsr']:.3f} over all windows (more than {PROMOTED} is asked for)"
        why = "; ".join(standing.failures())
        reason = f"{odds}: what was found is deployed" if passed else f"over all windows {why}"
        if not passed:
            reason += "; it was asked for" if config.promote_anyway else "; so holding cash is the choice"
        promotion = {
            "agent": deployed, "promoted": passed or deployed == "flat", "forced": deployed != "flat" and not passed,
            "psr": row["psr"], "dsr": row["dsr"], "threshold": PROMOTED, "trials": luck.trials,
            "effective_trials": luck.effective, "trainings": luck.trainings, "spread": luck.spread, "reason": reason,
        }  # fmt: skip
        last, scores = searched[-1].judged, [dict(one) for one in rows]
        found = self._checkpoint(name, last.agent, searched[-1].best.params, scores, promotion)
        found.save(self.folder / "agents" / name)
        if deployed == "flat":
            flat = catalog.load("agents", "flat").Config()
            found = self._checkpoint("flat", self.runner.make("flat", flat), {}, scores, promotion)
        found.save(checkpoints / self.identity)
        for what, record in records.items():
            write_record(record, self.folder / "journals" / f"{what.replace(' ', '-')}.parquet")
        logs = {field for field, over in self.over.items() if isinstance(over, Range) and over.log}
        drawn = pictures(name, searched, config.objective, logs, records, self.history, source_note(self.history))
        for what, figure in drawn.items():
            figure.savefig(self.folder / f"{what}.png")
        facts = self._facts(searched, rows, luck, promotion)
        facts["features"] = self.runner.made.counted(self.trials, self.identity)
        write_json(self.folder / "tune.json", facts)
        self.screen.end("write", str(self.folder))
        return Tuned(
            self.folder, checkpoints / self.identity, deployed, reason, rows, searched, self.history, luck, facts
        )

    def _facts(
        self, searched: Sequence[Searched], rows: Sequence[ScoreRow], luck: Luck, promotion: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "kind": "tune",
            "id": self.identity,
            "config": self.config.model_dump(mode="json"),
            "data": self.history.describe(),
            "versions": versions(),
            "luck": luck._asdict(),
            "leaderboard": [dict(row) for row in rows],
            "promotion": dict(promotion),
            "windows": [
                {
                    "train": period(self.history, one.fold.train),
                    "test": period(self.history, one.fold.test),
                    "params": one.best.params,
                    "number": one.best.number,
                    "in_sample": one.best.figures,
                    "out_of_sample": one.ratio,
                    "settings": len(one.tried) + one.given_up + one.refused,
                    "given_up": one.given_up,
                    "refused": one.refused,
                    "importance": one.importance,
                }
                for one in searched
            ],
        }

    def _checkpoint(
        self, name: str, agent: Any, setting: Mapping[str, Any], scores: list[dict[str, Any]],
        promotion: Mapping[str, Any],
    ) -> Checkpoint:  # fmt: skip
        fold = self.folds[-1]
        market = self.runner.made.fitted(fold.train)
        whole = {**self.config.params, **setting} if setting else {}
        params = build(catalog.load("agents", name).Config, whole, name)
        return packed(
            agent, {"name": name, "params": params.model_dump(mode="json")},
            seed_for(self.config.seed, self.config.agent, 0, 0), market, self.history, fold, self.config, self.identity,
            promotion, scores, self._code(whole, name),
        )  # fmt: skip
