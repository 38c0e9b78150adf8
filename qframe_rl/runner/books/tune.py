"""Search for the parameters of a quoting strategy, anew in every window on the ticks before those that judge it.

The counterpart of `qframe_rl.runner.tune.tune`: the same search, given up and gone on with by the same rules, every
setting a row of the ledger of trials. A setting is scored by the Sharpe ratio of its `gains`, and what the windows
chose is deployed by the rule for quoting strategies.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl import catalog
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import Base, Range, UserError, build
from qframe_rl.evaluate.inference.sharpe import moments
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.provenance import marked
from qframe_rl.evaluate.quoting import QuotingRecord, QuotingRow, failing, gains, scores, surely_above
from qframe_rl.evaluate.quoting_plot import quoting_figure, quoting_leaderboard_figure
from qframe_rl.evaluate.trials import Luck, Trial, Trials, trial_of
from qframe_rl.feeds.tick_load import TickHistory, load_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.runner.books.choose import promotion_of
from qframe_rl.runner.books.packing import made_agent, packed_book
from qframe_rl.runner.books.replay import as_quoter, replay
from qframe_rl.runner.books.search import (
    QuotedPart,
    QuotingJob,
    SearchedPart,
    TickSearchInputs,
    judge_quoter,
    quoting_figures,
    searched_part,
    trained,
)
from qframe_rl.runner.books.split import BookFold, search_windows
from qframe_rl.runner.books.train import TRADES
from qframe_rl.runner.books.yardsticks import FLAT, YARDSTICKS
from qframe_rl.runner.executors import Executor, Mute
from qframe_rl.runner.files import write_json
from qframe_rl.runner.identity import Code, code_of, own_code, run_identity
from qframe_rl.runner.log import Screen
from qframe_rl.runner.task import seed_for
from qframe_rl.runner.tune.found import Tuned
from qframe_rl.runner.tune.plan import AIMS, Tune, space
from qframe_rl.runner.tune.plot import search_pictures
from qframe_rl.runner.tune.search import ScoredSetting, Search, require, storage_of
from qframe_rl.runner.tune.tune import AS_ASKED, TUNED
from qframe_rl.types import iso
from qframe_rl.versions import versions

if TYPE_CHECKING:
    import optuna

_BATCH, _MOST = 8, 64


@dataclass
class SearchedTicks:
    """What one window came to."""

    fold: BookFold
    best: ScoredSetting
    tried: list[ScoredSetting]
    importance: dict[str, float]
    given_up: int
    refused: int
    agent: Any
    """What was chosen, trained on all ticks before those that judge it."""
    market: BookMarket
    """Fitted on them."""
    records: dict[str, list[QuotingRecord]]
    """On the ticks that follow: of the choice, of the strategy as it was asked for, and of the yardsticks."""
    banded: dict[str, list[QuotingRecord]]
    """The same at the other end of the band of queue rules."""


@dataclass
class TunedBook(Tuned[QuotingRow, SearchedTicks, TickHistory]):
    """What a search on ticks came to."""

    market: BookMarket


def tune_books(
    config: Tune, runs: Path, checkpoints: Path, screen: Screen, executor: Executor, *, resume: bool = False,
    ledger: Path | None = None,
) -> TunedBook:  # fmt: skip
    """Search, judge and write.

    Parameters
    ----------
    config
        What to do; its environment is an order book.
    runs, checkpoints, screen, executor, resume, ledger
        As in `qframe_rl.runner.tune.tune.tune`.

    Returns
    -------
    TunedBook
        What it came to.

    Raises
    ------
    UserError
        For anything in the configuration that the user can mend.
    """
    require(config.sampler)
    if config.many:
        raise UserError(
            "sampler nsga2 looks for a front of return, drawdown and turnover of equity, and what quotes in an order "
            "book is scored by what it gains, on no equity; take tpe, cmaes or random."
        )
    if config.risk.binding:
        raise UserError("risk: the limits of an order book are its own (env.limit, env.loss_limit).")
    if config.agent in YARDSTICKS:
        raise UserError(f"agent {config.agent} is a yardstick of order books, and has nothing to search.")
    screen.begin("load ticks")
    history = load_ticks(config.data)
    market = make_book(config.env, history.instrument)
    model: type[Base] = catalog.load("agents", config.agent).Config
    asked = build(model, config.params, f"agent {config.agent}")
    as_quoter(made_agent(config.agent, asked, market, 0), market.interface)
    identity = run_identity(config, history, [code_of(config.agent, asked, config.env, market.name)])
    windows = search_windows(
        history.runs, config.walk_forward, config.blocks, anchored=config.anchored, gap=config.gap,
        step_ns=market.every.ns,
    )  # fmt: skip
    over = space(config, model)
    screen.end("load ticks", f"{len(history.runs)} runs of {history.instrument.symbol}")
    folder = runs / identity
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "data.json", history.describe())
    work = _BookWork(config, history, market, identity, folder, screen, executor, Trials.opened(ledger, runs))
    storage, began = storage_of(folder, config.storage), time.monotonic()
    found = []
    for number, window in enumerate(windows):
        inputs = work.inputs(number, tuple(searched_part(market, part) for part in window.parts))
        name = f"window-{number}"
        search = Search(
            storage, name, over, model, config.sampler, config.objective, config.seed, work.together(number),
            asked.model_dump(),
        )  # fmt: skip
        work.search(search, inputs, number, began)
        found.append(work.judged(search, searched_part(market, window.fold), asked, number))
    return _kept(work, found, over, checkpoints)


class _BookWork:
    """One search under way."""

    def __init__(
        self, config: Tune, history: TickHistory, market: BookMarket, identity: str, folder: Path, screen: Screen,
        executor: Executor, trials: Trials,
    ):  # fmt: skip
        self.config, self.history, self.market, self.identity = config, history, market, identity
        self.folder, self.screen, self.executor, self.trials = folder, screen, executor, trials
        self.model: type[Base] = catalog.load("agents", config.agent).Config

    def inputs(self, number: int, parts: tuple[SearchedPart, ...]) -> TickSearchInputs:
        """What the jobs of a window share."""
        config = self.config
        return TickSearchInputs(config.agent, own_code(config.agent), config.params, self._seed(number), parts)

    def _seed(self, number: int) -> int:
        return seed_for(self.config.seed, self.config.agent, number, 0)

    def together(self, number: int) -> int:
        """Settings that are asked for at once."""
        if self.config.batch:
            return self.config.batch
        most, _ = self._share(number, 0.0)
        return _BATCH if most is None else min(_MOST, max(_BATCH, most // 8))

    def _share(self, number: int, began: float) -> tuple[int | None, float | None]:
        """Part of the budget for one window: settings, or the moment at which it ends."""
        return self.config.limit.share(number, self.config.walk_forward, began)

    def search(self, search: Search, inputs: TickSearchInputs, number: int, began: float) -> None:
        """Search on the ticks before those that judge a window."""
        config, title = self.config, f"window {number + 1} of {self.config.walk_forward}"
        most, until = self._share(number, began)
        self.screen.begin(title)
        while (most is None or search.done < most) and not (
            until is not None and search.done and time.monotonic() > until
        ):
            self._batch(search, inputs, number, most)
            if most is not None:
                self.screen.advance(title, search.done, most)
        best = search.best().figures[config.objective]
        self.screen.end(
            title, f"{search.done} settings, {search.given_up()} given up; {AIMS[config.objective]} {best:+.3f}"
        )

    def _batch(self, search: Search, inputs: TickSearchInputs, number: int, most: int | None) -> None:
        """Ask for some settings, score them part by part, and tell what became of each."""
        asked: dict[int, optuna.Trial] = {trial.number: trial for trial in search.ask(most)}
        parts: dict[int, list[QuotedPart]] = {k: [] for k in asked}
        reasons, poor, n = dict[int, str](), set[int](), len(inputs.parts)
        for part in range(n):
            live = [k for k in asked if k not in reasons and k not in poor]
            jobs = [QuotingJob(part, asked[k].params) for k in live]
            for at, found in self.executor.run(judge_quoter, inputs, jobs, lambda _: Mute()):
                if isinstance(found, str):
                    reasons[live[at]] = found
                else:
                    parts[live[at]].append(found)
            scored = {k: quoting_figures(parts[k])[self.config.objective] for k in live if k not in reasons}
            for k, score in scored.items():
                search.report(asked[k], score, part)
            if self.config.prune and scored and part < n - 1:
                poor |= search.poor(scored, part)
        self.trials.add([self._trial(asked[k].params, parts[k], number) for k in asked if parts[k]], self.history)
        for k, trial in asked.items():
            if k in reasons:
                search.refuse(trial, reasons[k])
            elif k in poor:
                search.give_up(trial)
            else:
                search.tell(trial, quoting_figures(parts[k]))

    def _trial(self, params: Mapping[str, Any], parts: list[QuotedPart], number: int) -> Trial:
        """Row of the ledger for a setting, as far as it was scored."""
        config, setting = self.config, {**self.config.params, **params}
        shared = [config.agent, config.env.model_dump(mode="json"), config.walk_forward, config.gap, config.blocks]
        return trial_of(
            np.concatenate([part.gained for part in parts]), (iso(parts[0].first), iso(parts[-1].last)), self.history,
            kind="tune", run=self.identity, agent=config.agent, params=setting, seed=config.seed, fold=number,
            config=[*shared, config.seed, setting], code=self.code(setting).coded,
        )  # fmt: skip

    def code(self, setting: Mapping[str, Any]) -> Code:
        """Code of a setting of the strategy."""
        made = build(self.model, dict(setting), f"agent {self.config.agent}")
        return code_of(self.config.agent, made, self.config.env, self.market.name)

    def judged(self, search: Search, part: SearchedPart, asked: Base, number: int) -> SearchedTicks:
        """Train what a window chose on all ticks before those that judge it, and walk these."""
        config, best, title = self.config, search.best(), f"judge window {number + 1}"
        self.screen.begin(title)
        setting = build(self.model, {**config.params, **best.params}, f"agent {config.agent}")
        agents = {
            TUNED: self._trained(setting, part, number, "tuned"),
            AS_ASKED: self._trained(asked, part, number, "asked"),
            **{name: made_agent(name, None, part.market, 0) for name in YARDSTICKS},
        }
        records, banded = {}, {}
        for name, agent in agents.items():
            quoter = as_quoter(agent, part.market.interface)
            records[name] = replay(part.market, quoter, part.walked)
            banded[name] = replay(part.market, quoter, part.walked, TRADES)
        self.screen.end(title)
        return SearchedTicks(
            part.fold, best, search.tried(), search.importance(), search.given_up(), len(search.refused()),
            agents[TUNED], part.market, records, banded,
        )  # fmt: skip

    def _trained(self, config: Base, part: SearchedPart, number: int, what: str) -> Any:
        """The agent of a setting; a training that an earlier, interrupted search finished is taken over."""
        name, seed = self.config.agent, self._seed(number)
        place, params = self.folder / "agents" / f"window-{number}-{what}", config.model_dump(mode="json")
        if place.is_dir():
            found = load_checkpoint(place)
            if found.provenance["fingerprint"] == self.identity and found.agent["params"] == params:
                agent = made_agent(name, config, part.market, seed)
                if hasattr(agent, "restore"):
                    agent.restore(found.state)
                return agent
        agent = trained(name, config, part, seed, Mute())
        self.packed(agent, name, params, part.market, part.fold, number, {"reason": "not chosen yet"}, []).save(place)
        return agent

    def packed(
        self, agent: Any, name: str, params: Mapping[str, Any], market: BookMarket, fold: BookFold, number: int,
        promotion: Mapping[str, object], rows: list[dict[str, Any]],
    ) -> Checkpoint:  # fmt: skip
        """A checkpoint of an agent of a window."""
        return packed_book(
            agent, {"name": name, "params": dict(params)}, self._seed(number), market, self.history, fold, self.config,
            self.identity, promotion, rows, None if name in YARDSTICKS else self.code(params),
        )  # fmt: skip


def _kept(work: _BookWork, found: list[SearchedTicks], over: Mapping[str, Any], checkpoints: Path) -> TunedBook:
    """Judge the choices of all windows together, and write."""
    config, history, screen, last = work.config, work.history, work.screen, found[-1]
    screen.begin("write")
    luck = work.trials.luck(history)
    laid, banded = (
        {name: [r for one in found for r in getattr(one, what)[name]] for name in last.records}
        for what in ("records", "banded")
    )
    own: dict[str, Any] = {"level": config.level, "resamples": config.resamples, "seed": config.seed}
    rows = [
        scores(laid[name], banded[name], name, "walk-forward", laid[FLAT], luck=luck, **own) for name in laid
    ]  # fmt: skip
    by_name = {row["agent"]: row for row in rows}
    sure = surely_above(laid[TUNED], laid[FLAT], config.level, config.resamples, config.seed)
    why = "; ".join(failing(by_name[TUNED], by_name[FLAT], sure=sure))
    forced = bool(why) and config.promote_anyway
    deployed = config.agent if not why or forced else FLAT
    reason = f"over all windows DSR {by_name[TUNED]['dsr']:.3f} after {luck.trials} trials: what was found is deployed"
    if why:
        reason = f"over all windows {why}; {'it was asked for' if forced else 'so nothing is quoted'}"
    promotion = promotion_of(by_name[TUNED], luck, reason, forced=forced) | {"promoted": deployed != FLAT}
    rows_of, number = [dict(row) for row in rows], len(found) - 1
    params = build(work.model, {**config.params, **last.best.params}, config.agent).model_dump(mode="json")
    chosen = work.packed(last.agent, config.agent, params, last.market, last.fold, number, promotion, rows_of)
    chosen.save(work.folder / "agents" / config.agent)
    if deployed == FLAT:
        idle = made_agent(FLAT, None, last.market, 0)
        chosen = work.packed(idle, FLAT, {}, last.market, last.fold, number, promotion, rows_of)
    chosen.save(checkpoints / work.identity)
    note = f"{marked(history.source)}{history.instrument.symbol}, {history.source.exchange}, {history.source.origin}"
    unit, logs = history.instrument.quote, {name for name, one in over.items() if isinstance(one, Range) and one.log}
    label = "saved, basis points" if work.market.ends else f"profit, {unit}"
    drawn = search_pictures(config.agent, found, config.objective, logs, note, "of five seconds or a block")
    drawn["quoting"] = quoting_figure(laid, unit, f"{config.agent}: what each window chose, on the ticks after", note)
    drawn["leaderboard"] = quoting_leaderboard_figure(rows, label, "Ticks of all windows", note)
    for what, figure in drawn.items():
        write_png(figure, work.folder / f"{what}.png")
    facts = _facts(work, found, rows, luck, promotion)
    write_json(work.folder / "tune.json", facts)
    screen.end("write", str(work.folder))
    return TunedBook(
        work.folder, checkpoints / work.identity, deployed, reason, rows, found, history, luck, facts, work.market
    )


def _facts(
    work: _BookWork, found: list[SearchedTicks], rows: list[QuotingRow], luck: Luck, promotion: Mapping[str, object]
) -> dict[str, Any]:
    windows = []
    for one in found:
        periods = one.fold.periods()
        after = moments(gains(one.records[TUNED], one.records[FLAT]))
        windows.append({
            "train": periods["train"] + periods["stopping"], "test": periods["test"], "params": one.best.params,
            "number": one.best.number, "in_sample": one.best.figures, "out_of_sample": after.sharpe,
            "settings": len(one.tried) + one.given_up + one.refused, "given_up": one.given_up, "refused": one.refused,
            "importance": one.importance,
        })  # fmt: skip
    return {
        "kind": "tune", "id": work.identity, "config": work.config.model_dump(mode="json"),
        "data": work.history.describe(), "versions": versions(), "luck": luck._asdict(),
        "leaderboard": [dict(row) for row in rows], "promotion": dict(promotion), "windows": windows,
    }  # fmt: skip
