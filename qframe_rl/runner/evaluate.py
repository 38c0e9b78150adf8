"""Score checkpoints on any bars, side by side with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import UserError, build
from qframe_rl.evaluate.plot import equity_figure
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.table import Row, leaderboard
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.gym.market import Market
from qframe_rl.listeners import write_record
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest, window_of
from qframe_rl.runner.deploy import deployed, make_agent
from qframe_rl.runner.log import Screen
from qframe_rl.types import History, Record, Segment, parse_time


@dataclass(frozen=True)
class Scored:
    """One entry of an evaluation."""

    name: str
    checkpoint: Path | None
    """None for a baseline."""
    record: Record
    row: Row
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


def period_of(checkpoint: Checkpoint, history: History, since: str | None, until: str | None) -> Segment:
    """Rows to score on: those asked for, else the checkpoint's last test period, else everything.

    Raises
    ------
    UserError
        If there is no bar in it.
    """
    if since is None and until is None:
        since, until = checkpoint.provenance["periods"]["test"][-1]
    bounds = [None if text is None else parse_time(text) for text in (since, until)]
    segment = history.between(bounds[0], bounds[1])
    if segment.n_bars == 0:
        raise UserError(
            f"{history.source.origin}: there is no bar from {since or 'the start'} to {until or 'the end'}."
        )
    return segment


def data_for(checkpoint: Checkpoint, given: Mapping[str, Any]) -> DataConfig:
    """Data settings of a checkpoint, with what the user asks for in their place."""
    return DataConfig(**{**checkpoint.provenance["load"], **given})


def limits_for(checkpoint: Checkpoint, given: Mapping[str, Any]) -> Limits:
    """Limits of the risk engine that a checkpoint was scored with, with what the user asks for in their place.

    Raises
    ------
    UserError
        For a value that does not fit.
    """
    # Checkpoints written before there were limits in backtests do not name any.
    return build(Limits, {**checkpoint.provenance.get("risk", {}), **given}, "options")


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
    level: float = 0.9,
    n_resamples: int = 1000,
) -> Evaluation:
    """Score checkpoints and baselines on the same bars, and write journals and a picture.

    Parameters
    ----------
    places
        Folders of checkpoints; the first one's market also serves the baselines.
    given
        Data settings that replace those of the first checkpoint.
    since, until
        Period, ISO 8601 UTC; the first checkpoint's test period where neither they nor other data are given.
    baselines
        Strategies of the catalogue to run beside them.
    folder
        Where to write.
    screen
        Told of the progress.
    risk
        Limits of the risk engine, each instead of the first checkpoint's.
    level, n_resamples
        Of the Sharpe intervals.

    Raises
    ------
    UserError
        For a broken checkpoint, data that do not fit it, or a period without bars.
    """
    loaded = [load_checkpoint(place) for place in places]
    first = loaded[0]
    limits = limits_for(first, risk or {})
    screen.begin("load data")
    history = load(data_for(first, given))
    whole = given and since is None and until is None
    segment = Segment(0, len(history)) if whole else period_of(first, history, since, until)
    screen.end("load data", f"{history.source.origin}: {segment.n_bars} bars")
    pairs = {
        name: (replace(market, limits=limits), agent, place)
        for name, (market, agent, place) in _entries(places, loaded, baselines, history).items()
    }
    window = max(window_of(market, agent) for market, agent, _ in pairs.values())
    records = {}
    for name, (market, agent, _) in pairs.items():
        title = f"score {name}"
        screen.begin(title)
        records[name] = backtest(market, agent, history, segment, window, partial(screen.advance, title))
        screen.end(title, f"{len(records[name]) - 1} bars")
    rows = {row["agent"]: row for row in leaderboard(records, "evaluation", level=level, n_resamples=n_resamples)}
    scored = []
    for name, record in records.items():
        journal = folder / f"{name.replace(' ', '-')}.parquet"
        write_record(record, journal)
        scored.append(Scored(name, pairs[name][2], record, rows[name], journal))
    equity_figure(records, "Evaluation", source_note(history)).savefig(folder / "equity.png")
    changed = not given and history.fingerprint != first.provenance["data"]["fingerprint"]
    return Evaluation(folder, history, segment, scored, limits, changed)


def _entries(
    places: Sequence[Path], loaded: Sequence[Checkpoint], baselines: Sequence[str], history: History
) -> dict[str, tuple[Market, Agent, Path | None]]:
    made: dict[str, tuple[Market, Agent, Path | None]] = {}
    for place, checkpoint in zip(places, loaded, strict=True):
        market, agent = deployed(
            checkpoint, history.instruments, history.columns, history.bar_ns, history.source.origin, history.theory
        )
        name = checkpoint.agent["name"]
        made[name if name not in made else f"{name} {place.name}"] = (market, agent, place)
    market = next(iter(made.values()))[0]
    extra = ["optimal"] if history.theory is not None else []
    for name in (*baselines, *extra):
        if name not in made:
            config = catalog.load("agents", name).Config()
            agent = make_agent(name, config, market, history.columns, 0, history.theory)
            if hasattr(agent, "fit"):
                raise UserError(
                    f"{name!r} must be trained: give a checkpoint of it instead of naming it as a baseline."
                )
            made[name] = (market, agent, None)
    return made
