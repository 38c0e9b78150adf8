"""Score checkpoints on any bars, side by side with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import (
    asked_over,
    config_of,
    data_for,
    deployed,
    limits_for,
    make_agent,
    make_market,
    own_data,
    period_of,
    window_of,
    worked,
)
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.plot import equity_figure
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.shortfall import Shortfall, shortfall
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.trials import Luck, Trial, Trials, larger, trial, user_ledger
from qframe_rl.execution import NOW, ParentOrder, Worked
from qframe_rl.gym.market import Market
from qframe_rl.journal.record_file import write_record
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.experiment import BASELINES
from qframe_rl.runner.identity import code_of
from qframe_rl.runner.known_until import unknown_rows
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.types import History, Record, Segment, iso

_EVALUATED = -1
"""Number of the fold of what is scored here, beside those of the run that made it."""


@dataclass(frozen=True)
class Scored:
    """One entry of an evaluation."""

    name: str
    checkpoint: Path | None
    """None for a baseline."""
    record: Record
    row: ScoreRow
    journal: Path


@dataclass(frozen=True)
class Evaluation:
    """What came of it."""

    folder: Path
    history: History
    segment: Segment
    scored: list[Scored]
    limits: Limits
    """Of the risk engine in front of every entry, the baselines too."""
    changed: bool
    """Whether the bars differ from those that the first checkpoint was made with, although the same were asked for."""
    stand_in: bool
    """Whether they stand in for those that the first checkpoint was made with, which do not ship with it."""
    shortfalls: dict[str, Shortfall]
    """How each entry that traded did against `now`; none where orders are not worked, or by that."""
    luck: Luck
    """What all that was tried on these bars says about luck, or the checkpoints say, whichever is more."""


def evaluate(
    places: Sequence[Path],
    given: Mapping[str, Any],
    since: str | None,
    until: str | None,
    baselines: Sequence[str],
    folder: Path,
    screen: Screen,
    *,
    risk: Mapping[str, Any] | None = None,
    execute: str | None = None,
    level: float = 0.9,
    n_resamples: int = 1000,
    ledger: Trials | None = None,
) -> Evaluation:
    """Score checkpoints and baselines on the same bars, and write journals and a picture.

    Parameters
    ----------
    places
        Folders of checkpoints; the first one's market also serves the baselines.
    given
        Data settings that replace those of the first checkpoint.
    since, until
        Period, ISO 8601 UTC; the first checkpoint's test period where neither they nor other bars are given.
    baselines
        Strategies of the catalogue to run beside them.
    folder
        Where to write.
    screen
        Told of the progress.
    risk
        Limits of the risk engine, each instead of the first checkpoint's.
    execute
        How orders are worked, see `qframe_rl.deploy.deployed`; other ways than ``now`` are compared with it.
    level, n_resamples
        Of the Sharpe intervals.
    ledger
        Of trials, each checkpoint being one more on these bars; None = the user's.

    Raises
    ------
    UserError
        For a broken checkpoint, one that is given twice, data that do not fit it, or a period without bars.
    """
    for place in places:
        if places.count(place) > 1:
            raise UserError(f"{place} is given twice; name each checkpoint once.")
    loaded = [load_checkpoint(place) for place in places]
    first = loaded[0]
    limits = limits_for(first, risk or {})
    screen.begin("load data")
    given = asked_over(first, given, since, until)
    history = bars_of(data_for(first, given), screen)
    asked = period_of(first, history, given, since, until)
    segment = unknown_rows([checkpoint.agent["params"] for checkpoint in loaded], history, asked)
    screen.end("load data", f"{history.source.origin}: {segment.n_bars} bars")
    if segment != asked:
        screen.say(f"{segment.start - asked.start} bars are left out: a strategy may know what was until then.")
    own, ledger = own_data(given) and since is None and until is None, ledger or Trials(user_ledger())
    walks = {}
    for way in _compared(execute):
        pairs = _entries(places, loaded, baselines, history, way)
        held = limits_for(first, risk or {}, history.bar_ns)
        walks[way] = _walked(pairs, held, history, segment, screen, "" if way == execute else f", {way}")
        ledger.add(_trials(places, loaded, pairs, walks[way].records, history, own=own, execute=way), history)
    records, pairs = walks[execute].records, _entries(places, loaded, baselines, history, execute)
    carried = [Luck.carried(checkpoint.provenance.get("promotion", {})) for checkpoint in loaded]
    luck = larger(ledger.luck(history), *carried)
    board = leaderboard(records, "evaluation", level=level, n_resamples=n_resamples, luck=luck)
    rows = {row["agent"]: row for row in board}
    scored = []
    for name, record in records.items():
        journal = folder / f"{name.replace(' ', '-', 1).replace('/', '--')}.parquet"
        write_record(record, journal)
        scored.append(Scored(name, pairs[name][2], record, rows[name], journal))
    write_png(equity_figure(records, "Evaluation", source_note(history)), folder / "equity.png")
    stand_in = "trained" in first.provenance and "data" not in given
    changed = own_data(given) and not stand_in and history.fingerprint != first.provenance["data"]["fingerprint"]
    against = _against(walks[execute], walks[NOW], level, n_resamples) if len(walks) > 1 else {}
    return Evaluation(folder, history, segment, scored, limits, changed, stand_in, against, luck)


class _Walked(NamedTuple):
    """What entries came to by one way to work orders."""

    records: dict[str, Record]
    parents: dict[str, list[ParentOrder]]


def _compared(execute: str | None) -> list[str | None]:
    """Ways to walk: the one that was asked for, and what it is compared with."""
    return [execute] if execute in (None, NOW) else [NOW, execute]


def _walked(
    pairs: Mapping[str, tuple[Market, Agent, Path | None]], limits: Limits, history: History, segment: Segment,
    screen: Screen, how: str,
) -> _Walked:  # fmt: skip
    """Let each entry trade."""
    window = max(window_of(market, agent) for market, agent, _ in pairs.values())
    done = _Walked({}, {name: [] for name in pairs})
    for name, (market, agent, _) in pairs.items():
        title = f"score {name}{how}"
        screen.begin(title)
        if isinstance(agent, Worked):
            agent.told = done.parents[name].append
        market = replace(market, limits=limits)
        done.records[name] = backtest(market, agent, history, segment, window, partial(screen.advance, title))
        screen.end(title, f"{len(done.records[name]) - 1} bars")
    return done


def _against(this: _Walked, other: _Walked, level: float, n_resamples: int) -> dict[str, Shortfall]:
    found = {
        name: shortfall(
            parents, other.parents[name], this.records[name], other.records[name], level=level, n_resamples=n_resamples
        )
        for name, parents in this.parents.items()
    }
    return {name: one for name, one in found.items() if one is not None}


def _trials(
    places: Sequence[Path], loaded: Sequence[Checkpoint], pairs: Mapping[str, tuple[Market, Agent, Path | None]],
    records: Mapping[str, Record], history: History, *, own: bool, execute: str | None,
) -> list[Trial]:  # fmt: skip
    """Rows of the ledger: a checkpoint on its own test bars is the trial that it came from, on other bars another one.

    So are strategies that were named beside them, but for those that stand beside everything.
    """
    rows, by_place = [], dict(zip(places, loaded, strict=True))
    for title, (market, _, place) in pairs.items():
        record, known, of = records[title], None, {}
        if place is None:
            if title in (*BASELINES, "optimal"):
                continue
            name, config, env, seed = title, catalog.load("agents", title).Config(), Ref(name=market.name), 0
            what: list[object] = [name, env.model_dump(mode="json")]
        else:
            found = by_place[place]
            name, config, env, seed = found.agent["name"], config_of(found), Ref(**found.env), found.seed
            what, known, of = [found.state_digest], found.provenance.get("trial"), found.provenance.get("code", {})
        code = code_of(name, config, env, market.name)
        span = [] if own else [iso(int(record.time[0])), iso(int(record.time[-1]))]
        span += [] if execute is None else [execute]
        row = trial(
            record, history, kind="evaluate", run="" if place is None else place.name, agent=name,
            params=config.model_dump(mode="json"), config=[*what, *span], seed=seed, fold=_EVALUATED, code=code.coded,
        )  # fmt: skip
        rows.append(replace(row, config=known) if known and own and of.get("digest") == code.digest else row)
    return rows


def _entries(
    places: Sequence[Path],
    loaded: Sequence[Checkpoint],
    baselines: Sequence[str],
    history: History,
    execute: str | None,
) -> dict[str, tuple[Market, Agent, Path | None]]:
    made: dict[str, tuple[Market, Agent, Path | None]] = {}
    titles = _titles([checkpoint.agent["name"] for checkpoint in loaded], places)
    for title, place, checkpoint in zip(titles, places, loaded, strict=True):
        market, agent = deployed(
            checkpoint, history.instruments, history.columns, history.bar_ns, history.source.origin, history.theory,
            execute,
        )  # fmt: skip
        made[title] = (market, agent, place)
    market, first = next(iter(made.values()))[0], loaded[0]
    own = market if execute is None else make_market(Ref(**first.env), first.instruments, first.columns, first.bar_ns)
    extra = ["optimal"] if history.theory is not None and execute is None else []
    for name in (*baselines, *extra):
        if name not in made:
            config = catalog.load("agents", name).Config()
            agent = make_agent(
                name, config, replace(own, interface=market.interface), history.columns, 0, history.theory
            )
            if hasattr(agent, "fit"):
                raise UserError(
                    f"{name!r} must be trained: give a checkpoint of it instead of naming it as a baseline."
                )
            made[name] = (market, agent, None) if execute is None else (*worked(own, agent, market, execute), None)
    return made


def _titles(agents: Sequence[str], places: Sequence[Path]) -> list[str]:
    """How each is called: the first of an agent by its name, others by their folder too, by so many as tell all apart.

    What had the name of another one would take its place in the tables.
    """
    depth, titles = 0, list(agents)
    while len(set(titles)) < len(titles):
        depth += 1
        titles = [
            agent if agents.index(agent) == k else f"{agent} {'/'.join(places[k].parts[-depth:])}"
            for k, agent in enumerate(agents)
        ]
    return titles
