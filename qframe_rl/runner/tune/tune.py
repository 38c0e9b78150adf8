"""Search for parameters, honestly: anew in every walk-forward window, on its own training bars alone.

What a window chose is judged on the bars that follow it, and laid end to end these make the one record by which the
search as a whole is judged, beside the strategy as it was asked for, buying and holding, and flat. Every setting that
was scored is a row of the ledger of trials, whether it was chosen, given up or forgotten.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qframe_rl import catalog
from qframe_rl.config import Range, build
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.trials import Luck, Trials
from qframe_rl.feeds.load import remarks
from qframe_rl.journal.record_file import write_record
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.executors import Executor
from qframe_rl.runner.files import period, write_json
from qframe_rl.runner.identity import code_of, run_identity
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.runner.study.windows import Subject, WindowRunner
from qframe_rl.runner.tune.found import Searched, Tuned
from qframe_rl.runner.tune.plan import AIMS, Tune
from qframe_rl.runner.tune.promoted import promotion_of, records_of_tests
from qframe_rl.runner.tune.search import require, storage_of
from qframe_rl.runner.tune.work import TuneWork
from qframe_rl.types import History, Record
from qframe_rl.versions import versions

if TYPE_CHECKING:
    import optuna

TUNED, AS_ASKED = "tuned", "as asked"
"""Names of the records of what the windows chose, and of the strategy without a search."""
_FEWEST, _MOST = 8, 64


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
    made = FoldMarkets(config.env, history, config.risk, config.seed, screen, lenient=True)
    asked = build(catalog.load("agents", config.agent).Config, config.params, f"agent {config.agent}")
    identity = run_identity(config, history, [code_of(config.agent, asked, config.env, made.base.name)])
    screen.end("load data", f"{len(history)} bars of {', '.join(history.symbols)} from {history.source.origin}")
    if not resume:
        shutil.rmtree(runs / identity, ignore_errors=True)
    (runs / identity).mkdir(parents=True, exist_ok=True)
    runner = WindowRunner(made, runs / identity, screen, config.seed, resume, executor)
    return _Work(config, history, runner, identity, Trials.opened(ledger, runs), executor)(checkpoints)


class _Work(TuneWork):
    """One search under way, from its first window to its files."""

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
        search = self.search(storage, f"window-{number}", self._together(most))
        self.screen.begin(title)
        while (most is None or search.done < most) and not (
            until is not None and search.done and time.monotonic() > until
        ):
            self.batch(search, number, most)
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
        return self.judged(search, number)

    def _share(self, number: int, began: float) -> tuple[int | None, float | None]:
        """Part of the budget for one window: settings, or the moment at which it ends."""
        return self.config.limit.share(number, len(self.folds), began)

    def _together(self, most: int | None) -> int:
        """Settings that are asked for at once."""
        if self.config.batch:
            return self.config.batch
        if self.chunk == 1:
            return _FEWEST
        return _MOST if most is None else min(_MOST, max(_FEWEST, most // 8))

    def _records(self, searched: Sequence[Searched]) -> dict[str, Record]:
        """What the choices did on their test bars, end to end, and what stands beside them."""
        runner, name = self.runner, self.config.agent
        asked = runner.windows(Subject(name, (self.asked,), self.learns), self.folds, AS_ASKED)
        agents = {TUNED: [one.judged.agent for one in searched], AS_ASKED: [window.agent for window in asked]}
        return records_of_tests(runner, self.folds, agents)

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
        promotion = promotion_of(row, luck, name, forced=config.promote_anyway)
        deployed, reason = str(promotion["agent"]), str(promotion["reason"])
        last, scores = searched[-1].judged, [dict(one) for one in rows]
        found = self.checkpoint(name, last.agent, searched[-1].best.params, scores, promotion)
        found.save(self.folder / "agents" / name)
        if deployed == "flat":
            flat = catalog.load("agents", "flat").Config()
            found = self.checkpoint("flat", self.runner.make("flat", flat), {}, scores, promotion)
        found.save(checkpoints / self.identity)
        for what, record in records.items():
            write_record(record, self.folder / "journals" / f"{what.replace(' ', '-')}.parquet")
        logs = {field for field, over in self.over.items() if isinstance(over, Range) and over.log}
        drawn = pictures(name, searched, config.objective, logs, records, self.history, source_note(self.history))
        for what, figure in drawn.items():
            write_png(figure, self.folder / f"{what}.png")
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
