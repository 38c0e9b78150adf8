"""A study: strategies re-fitted and re-tuned through time, judged together, and the first of them taken apart.

Everything that a report shows is in the run's folder: ``study.json`` and the journals.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import bootstrap
from qframe_rl.evaluate.inference.overfitting import overfitting
from qframe_rl.evaluate.inference.sharpe import moments, probabilistic_sharpe
from qframe_rl.evaluate.inference.superiority import confidence_set, superiority
from qframe_rl.evaluate.metrics import bars_per_year, by_day, returns
from qframe_rl.evaluate.montecarlo import influence, periods
from qframe_rl.evaluate.montecarlo.prices import NULLS
from qframe_rl.evaluate.montecarlo.summary import Paths, curve_of
from qframe_rl.evaluate.significance import significance
from qframe_rl.evaluate.splits import Fold
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.tearsheet import beside_holding
from qframe_rl.evaluate.trials import Trial, Trials, trial_of
from qframe_rl.feeds.load import remarks
from qframe_rl.journal.record_file import write_record
from qframe_rl.kernel.dust import dust_of
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.backtest import joined
from qframe_rl.runner.executors import Executor
from qframe_rl.runner.experiment import agent_config
from qframe_rl.runner.files import period, read_json, write_json
from qframe_rl.runner.identity import Code, code_of, run_identity
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.runner.study.continuing import ContinuingWalk
from qframe_rl.runner.study.judged import Judged
from qframe_rl.runner.study.plan import BESIDE, Study
from qframe_rl.runner.study.stress import Elsewhere, bootstrapped, reordered, stresses
from qframe_rl.runner.study.walks import excess_of, frequency, journals, lasting, rate_of, score
from qframe_rl.runner.study.windows import Subject, WindowRunner
from qframe_rl.types import Float, History, Record, iso
from qframe_rl.versions import versions

_NULL_SHARE = 5
_FEWEST_NULLS = 100
_BLOCKS = 16


@dataclass
class Studied:
    """What a study came to."""

    folder: Path
    history: History
    rows: list[ScoreRow]
    facts: dict[str, Any]
    """What ``study.json`` holds."""


def study(
    config: Study, runs: Path, screen: Screen, *, resume: bool = False, executor: Executor | None = None,
    ledger: Path | None = None,
) -> Studied:  # fmt: skip
    """Run a study and write its folder.

    Parameters
    ----------
    config
        What to do.
    runs
        Folder of runs.
    screen
        Told of the progress.
    resume
        Take over what was finished of a study of the same configuration, data and code: all of it, or its trainings.
    executor
        Where trainings are done; the same bits come of all.
    ledger
        File of the ledger of trials; None = the user's.

    Raises
    ------
    UserError
        For anything in the configuration that the user can mend.
    """
    screen.begin("load data")
    history = bars_of(config.data, screen)
    for line in remarks(history):
        screen.say(f"data check: {line}")
    made, named = FoldMarkets(config.env, history, config.risk, config.seed, screen), config.named().items()
    codes = {label: code_of(n, agent_config(config, n, label), config.env, made.base.name) for label, n in named}
    identity = run_identity(config, history, codes.values())
    folder = runs / identity
    screen.end("load data", f"{len(history)} bars of {', '.join(history.symbols)} from {history.source.origin}")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    elif (folder / "study.json").is_file():
        facts = read_json(folder / "study.json")
        return Studied(folder, history, facts["leaderboard"], facts)
    folder.mkdir(parents=True, exist_ok=True)
    runner, trials = (
        WindowRunner(made, folder, screen, config.seed, resume, executor),
        Trials.opened(ledger, runs),
    )
    return _Work(config, history, runner, identity, codes)(trials)


class _Work:
    """One study under way."""

    def __init__(self, config: Study, history: History, runner: WindowRunner, identity: str, codes: Mapping[str, Code]):
        self.history, self.runner, self.identity = history, runner, identity
        self.screen, self.folder, self.codes = runner.screen, runner.folder, codes
        self.continuing = None if config.refit is None else ContinuingWalk(runner, config, identity, codes)
        number = config.walk_forward if self.continuing is None else self.continuing.number
        # What is refitted at a cadence has as many windows as fit.
        self.config = config = config.model_copy(update={"walk_forward": number})
        asked, most = {text.partition("=")[0]: text for text in (*config.agents, *BESIDE)}, config.most_settings
        self.subjects = [runner.subject(t, config.agent.get(name, {}), most) for name, t in asked.items()]
        for name in config.agent:
            if name not in asked:
                raise UserError(f"agent.{name}: there are parameters for a strategy that is not studied.")

    def __call__(self, trials: Trials) -> Studied:
        """Do it."""
        config = self.config
        judged = [self._walk(subject) for subject in self.subjects]
        first = judged[0]
        trials.add([row for one in judged for row in self._trials(one)], self.history)
        luck = trials.luck(self.history)
        records = {one.subject.title: one.record for one in judged}
        rows = leaderboard(
            records, "walk-forward", level=config.level, n_resamples=config.resamples, seed=config.seed, luck=luck,
            windows=config.walk_forward,
        )  # fmt: skip
        facts: dict[str, Any] = {
            "kind": "study",
            "id": self.identity,
            "config": config.model_dump(mode="json"),
            "data": self.history.describe(),
            "versions": versions(),
            "subject": first.subject.title,
            "agents": list(records),
            "dust": {n: [str(one) for one in dust_of(r)] for n, r in records.items() if dust_of(r)},
            "luck": luck._asdict(), "leaderboard": [dict(row) for row in rows],
            "significance": significance(
                first.record, luck, level=config.level, n_resamples=config.resamples, seed=config.seed,
                windows=config.walk_forward,
            ),
            "folds": self._folds(first),
            "settings": self._settings(first),
            "overfitting": self._overfitting(first),
            "superiority": self._superiority(judged),
            "against": {n: self._against(first, records[n]) for n in records if n != first.subject.title},
            "tear_sheet": beside_holding(first.subject.title, records),
            "periods": self._periods(first.record),
            "influence": influence.describe(
                influence.influences(first.rate, bars_per_year(first.record)), first.record.time[1:]
            ),
        }  # fmt: skip
        facts["cpcv"] = self._cross(first) if config.cpcv else None
        facts["stress"] = self._stress(first) if config.monte_carlo else None
        facts["monte_carlo"] = self._monte_carlo(first) if config.monte_carlo else None
        if self.continuing is not None:
            facts["procedure"] = self.continuing.describe(records)
        facts["features"] = self.runner.made.counted(trials, self.identity)
        return self._keep(records, rows, facts)

    def _walk(self, subject: Subject) -> Judged:
        if self.continuing is not None:
            return Judged(subject, *self.continuing(subject))
        runner, walk = self.runner, self.config.walk(len(self.history))
        windows = runner.windows(subject, list(walk.split(self.history)), "walk-forward", kept=True)
        title = f"record of {subject.title}"
        self.screen.begin(title)
        jobs = [(window.agent, self.history, window.fold.test[0]) for window in windows]
        walked = [record for window in windows for record in window.records]
        if not walked:
            found = journals(runner.market, jobs, runner.window, partial(self.screen.advance, title))
            walked = [lasting(one, *job[1:]) for one, job in zip(found, jobs, strict=True)]
        record = joined(walked)
        self.screen.end(title, f"{len(record) - 1} bars")
        return Judged(subject, [window._replace(records=()) for window in windows], record)

    def _trials(self, one: Judged) -> list[Trial]:
        """Rows of the ledger: every setting that was judged, fold by fold."""
        if one.subject.name == "flat":
            return []
        config, rows = self.config, []
        shared = [one.subject.name, config.env.model_dump(mode="json"), config.walk_forward, config.gap, config.seed]
        shared += [] if config.train is None else [config.train]
        shared += [] if config.refit is None else [config.refitting(self.history.bar_ns)]
        shared += [config.risk.model_dump(mode="json")] if config.risk.binding else []
        for number, window in enumerate(one.windows):
            (segment,) = window.fold.test
            names = range(len(one.subject.settings)) if not one.subject.learns else [window.chosen]
            for k, parts in zip(names, window.judged, strict=True):
                params = one.subject.settings[k].model_dump(mode="json")
                rate = excess_of(parts)
                stop = segment.start + len(rate)
                span = iso(int(self.history.time[segment.start])), iso(int(self.history.time[stop - 1]))
                rows.append(
                    trial_of(
                        rate, span, self.history, kind="tune" if len(one.subject.settings) > 1 else "train",
                        run=self.identity, agent=one.subject.name, params=params, config=[*shared, params],
                        seed=config.seed, fold=number, code=self.codes[one.subject.title].coded,
                    )
                )  # fmt: skip
        return rows

    def _folds(self, one: Judged) -> list[dict[str, Any]]:
        found = []
        for number, window in enumerate(one.windows):
            parts = window.judged[0 if one.subject.learns else window.chosen]
            rate = rate_of(parts)
            inside, outside = window.scores[window.chosen], score(parts)
            found.append(
                {
                    "fold": number,
                    "train": period(self.history, window.fold.train),
                    "test": period(self.history, window.fold.test),
                    "params": self._tuned(one.subject, window.chosen),
                    "in_sample": inside if len(one.subject.settings) > 1 else None,
                    "out_of_sample": outside,
                    "total_return": float(curve_of(rate)[-1] - 1.0),
                    "trades": sum(part.trades for part in parts),
                }
            )
        return found

    def _tuned(self, subject: Subject, k: int) -> dict[str, Any]:
        """Values of the searched fields of a setting."""
        plain = [setting.model_dump(mode="json") for setting in subject.settings]
        return {name: value for name, value in plain[k].items() if len({str(p[name]) for p in plain}) > 1}

    def _settings(self, one: Judged) -> list[dict[str, Any]]:
        """What every setting did on the test block of every window; of a learner, nothing."""
        if one.subject.learns or len(one.subject.settings) < 2:
            return []
        return [
            {
                "params": self._tuned(one.subject, k),
                "chosen": sum(window.chosen == k for window in one.windows),
                "sharpe": score([part for w in one.windows for part in w.judged[k]]),
                "folds": [score(w.judged[k]) for w in one.windows],
            }
            for k in range(len(one.subject.settings))
        ]

    def _rates(self, one: Judged) -> Float:
        """(N, settings) returns in excess of cash of all settings over all test blocks."""
        n = len(one.windows[0].judged)
        return np.stack([np.concatenate([excess_of(w.judged[k]) for w in one.windows]) for k in range(n)], axis=1)

    def _overfitting(self, one: Judged) -> dict[str, Any] | None:
        rates = self._rates(one)
        if one.subject.learns or rates.shape[1] < 2 or len(rates) < 4 * _BLOCKS:
            return None
        found = overfitting(rates, _BLOCKS)
        counts, edges = np.histogram(found.logits, bins=30)
        years = np.sqrt(bars_per_year(one.record))
        return {
            "probability": found.probability,
            "loss": found.loss,
            "in_sample": float(np.mean(found.in_sample) * years),
            "out_of_sample": float(np.mean(found.out_of_sample) * years),
            "blocks": _BLOCKS,
            "splits": len(found.logits),
            "settings": rates.shape[1],
            "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        }

    def _superiority(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """Whether any setting of any strategy beats cash, or holding; and which strategies may be the best.

        By the day: sums of returns are as good as bars for a test of means, and much faster to resample.
        """
        time = judged[0].record.time[1:]
        own = {one.subject.title: one for one in judged}
        tried = [one for one in judged if one.subject.title not in BESIDE]
        columns = [self._rates(one).T if not one.subject.learns else one.above[None] for one in tried or judged[:1]]
        days = by_day(np.concatenate(columns).T, time)
        held = by_day(own["buy_and_hold"].above[:, None], time)[:, 0]
        draw = {"n_resamples": self.config.resamples, "seed": self.config.seed}
        named = [one for one in judged if one.subject.name != "flat"]
        together = by_day(np.stack([one.above for one in named], axis=1), time)
        best = confidence_set(together, **draw) if len(named) > 1 else None
        return {
            "cash": superiority(days, np.zeros(len(days)), **draw)._asdict(),
            "buy_and_hold": superiority(days, held, **draw)._asdict(),
            "strategies": days.shape[1],
            "confidence_set": None
            if best is None
            else {
                "size": best.size,
                "included": [named[k].subject.title for k in best.included],
                "p": {one.subject.title: float(p) for one, p in zip(named, best.p_values, strict=True)},
            },
        }

    def _against(self, one: Judged, other: Record) -> dict[str, Any]:
        """Interval of the annual mean and Sharpe ratio of the difference in returns, bar by bar."""
        difference = one.rate - returns(other.account.equity)
        times = bars_per_year(one.record)
        drawn = bootstrap(difference, times, level=self.config.level, n_resamples=self.config.resamples)
        of = moments(difference)
        return {
            "mean": float(difference.mean() * times),
            "information_ratio": drawn.sharpe._asdict(),
            "probability": probabilistic_sharpe(of, 0.0, "2012"),
        }

    def _periods(self, record: Record) -> dict[str, Any]:
        return {
            "years": periods.describe(periods.by_year(record)),
            "crises": periods.describe(periods.by_crisis(record)),
            "regimes": periods.describe(periods.by_regime(record, self.history)),
        }

    def _cross(self, one: Judged) -> dict[str, Any]:
        cpcv = self.config.cross()
        folds: list[Fold] = list(cpcv.split(self.history))
        windows = self.runner.windows(one.subject, folds, "cross-validation")
        judged = [window.judged[0 if one.subject.learns else window.chosen] for window in windows]
        pieces = [[returns(part.equity) for part in parts] for parts in judged]
        rates = cpcv.reconstruct(pieces)
        curves = [curve_of(rate) for rate in rates]
        paths = Paths(frequency([part for parts in judged for part in parts])).add_all(curves)
        chosen = [self._tuned(one.subject, window.chosen) for window in windows]
        return {
            "groups": cpcv.n_groups,
            "tested": cpcv.n_test,
            "splits": len(windows),
            "sharpe": paths.column("sharpe").tolist(),
            "total_return": paths.column("total_return").tolist(),
            "max_drawdown": paths.column("max_drawdown").tolist(),
            "curves": paths.fan().shown.tolist(),
            "from": iso(int(self.history.time[self.runner.window])),
            "to": iso(int(self.history.time[-1])),
            "params": chosen,
        }

    def _stress(self, one: Judged) -> list[dict[str, Any]]:
        self.screen.begin("stress tests")
        make = None if one.subject.learns else partial(self.runner.make, one.subject.name)
        rows = stresses(self.runner, one.chain, make)
        self.screen.end("stress tests", f"{len(rows)} replays")
        return rows

    def _monte_carlo(self, one: Judged) -> dict[str, Any]:
        config, n = self.config, self.config.monte_carlo
        self.screen.begin("resampled returns and trades")
        found: dict[str, Any] = {
            "bootstrap": bootstrapped(one.record, one.rate, n, config.seed),
            "trades": reordered(one.record, n, config.seed),
        }
        self.screen.end("resampled returns and trades", f"{n} paths each")
        elsewhere = Elsewhere(self.runner, one.windows[-1].agent, one.record)
        found["rebuilt"] = elsewhere.rebuilt(n)
        nulls = max(_FEWEST_NULLS, n // _NULL_SHARE)
        found["nulls"] = {name: elsewhere.null(name, min(n, nulls)) for name in NULLS}
        for null in found["nulls"].values():
            if null["paths"]:
                reached = null["sharpe"]["reached"] * null["paths"]
                null["p"] = (reached + 1.0) / (null["paths"] + 1.0)
        return found

    def _keep(self, records: Mapping[str, Record], rows: list[ScoreRow], facts: dict[str, Any]) -> Studied:
        self.screen.begin("write")
        for name, record in records.items():
            write_record(record, self.folder / "journals" / f"{name}.parquet")
        if self.continuing is not None:
            self.continuing.keep(rows)
        write_json(self.folder / "study.json", facts)
        self.screen.end("write", str(self.folder))
        return Studied(self.folder, self.history, rows, facts)
