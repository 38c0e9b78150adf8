"""Score checkpoints of order books on ticks, beside the yardsticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import data_for, own_data
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.provenance import marked
from qframe_rl.evaluate.quoting import QuotingRecord, QuotingRow, causes, mean_markouts, scores
from qframe_rl.evaluate.quoting_plot import quoting_figure, quoting_leaderboard_figure
from qframe_rl.evaluate.trials import Luck, Trial, Trials, larger
from qframe_rl.feeds.tick_load import TickHistory, load_ticks
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import TickSpan, whole_runs
from qframe_rl.quoter import Quoter
from qframe_rl.runner.books.choose import quoting_trial
from qframe_rl.runner.books.packing import DeployedBook, deployed_book
from qframe_rl.runner.books.replay import replay, stretches
from qframe_rl.runner.books.train import TRADES
from qframe_rl.runner.books.yardsticks import FLAT, YARDSTICKS, yardstick
from qframe_rl.runner.files import write_json
from qframe_rl.runner.identity import code_of
from qframe_rl.runner.log import Screen

_EVALUATED = -1
"""Fold of rows of the ledger that are of no fold."""


class BookEvaluation(NamedTuple):
    """What came of it."""

    folder: Path
    history: TickHistory
    market: BookMarket
    rows: list[QuotingRow]
    records: dict[str, list[QuotingRecord]]
    luck: Luck
    """What all that was tried on these ticks says about luck, or the checkpoints say, whichever is more."""


def evaluate_books(
    places: Sequence[Path], given: Mapping[str, Any], folder: Path, screen: Screen, level: float, ledger: Trials,
    resamples: int = 1000,
) -> BookEvaluation:  # fmt: skip
    """Score checkpoints: on the test ticks of the first one's own run, or on all of other ticks.

    Parameters
    ----------
    places
        Folders of checkpoints of one environment.
    given
        Data settings that replace the first checkpoint's.
    folder
        For the pictures and figures.
    screen
        Told of the progress.
    level
        Of the intervals.
    ledger
        Of trials: each checkpoint is one more on these ticks.
    resamples
        Of the intervals.

    Raises
    ------
    UserError
        If one is no checkpoint of a book, they are of several environments, or the ticks do not fit.
    """
    screen.begin("load")
    found = [(place, deployed_book(load_checkpoint(place))) for place in places]
    (_, first), kinds = found[0], {one.market.name for _, one in found}
    if len(kinds) > 1:
        raise UserError(f"checkpoints of {' and '.join(sorted(kinds))} cannot be compared; give those of one.")
    history = load_ticks(data_for(first.checkpoint, given))
    for place, one in found:
        check_fits(one.market, history, place)
    spans = judged_spans(first.checkpoint, history) if own_data(given) else whole_runs(history.runs)
    screen.end("load", f"{sum(s.stop - s.start for s in spans) / 60e9:.1f} minutes of {history.instrument.symbol}")
    titles = _titles(found)
    asked: list[tuple[str, BookMarket, Quoter]] = [
        (title, one.market, one.quoter) for title, (_, one) in zip(titles, found, strict=True)
    ]
    asked += [(name, first.market, yardstick(name, first.market.spec(0))) for name in YARDSTICKS]
    records, banded, idle, laid = {}, {}, {}, stretches(first.market, spans)
    for name, market, quoter in asked:
        screen.begin(name)
        walked = laid if market is first.market else stretches(market, spans)
        records[name] = replay(market, quoter, walked)
        banded[name] = replay(market, quoter, walked, TRADES)
        # Blocks of another length are other ones: each is compared with doing nothing on its own.
        idle[name] = replay(market, yardstick(FLAT, market.spec(0)), walked) if market.ends else records[name]
        screen.end(name)
    own = own_data(given)
    tried = [_trial(*pair, records[t], idle[t], history, own=own) for t, pair in zip(titles, found, strict=True)]
    ledger.add(tried, history)
    carried = [Luck.carried(one.checkpoint.provenance.get("promotion", {})) for _, one in found]
    luck = larger(ledger.luck(history), *carried)
    rows = [
        scores(records[name], banded[name], name, "evaluated", idle[name], level=level, resamples=resamples, luck=luck)
        for name, _, _ in asked
    ]
    folder.mkdir(parents=True, exist_ok=True)
    note = f"{marked(history.source)}{history.instrument.symbol}, {history.source.exchange}, {history.source.origin}"
    unit = history.instrument.quote
    label = "saved, basis points" if first.market.ends else f"profit, {unit}"
    write_png(quoting_figure(records, unit, "Evaluated ticks", note), folder / "quoting.png")
    write_png(quoting_leaderboard_figure(rows, label, "Evaluated ticks", note), folder / "leaderboard.png")
    told = {
        name: {"causes": causes(own), "markouts": {str(h): m for h, m in mean_markouts(own).items()}}
        for name, own in records.items()
    }
    write_json(folder / "quoting.json", {"rows": rows, "makers": told, "data": history.describe()})
    return BookEvaluation(folder, history, first.market, rows, records, luck)


def _trial(
    place: Path, one: DeployedBook, records: Sequence[QuotingRecord], idle: Sequence[QuotingRecord],
    history: TickHistory, *, own: bool,
) -> Trial:  # fmt: skip
    """Row of the ledger: on its own test ticks a checkpoint is the trial that it came from, on others another one."""
    found = one.checkpoint
    name, params, provenance = found.agent["name"], found.agent["params"], found.provenance
    code, span = None, [int(records[0].at[0]), int(records[-1].at[-1])]
    if name not in YARDSTICKS:
        config = build(catalog.load("agents", name).Config, params, f"agent {name}")
        code = code_of(name, config, Ref(**found.env), one.market.name)
    row = quoting_trial(
        records, idle, history, kind="evaluate", run=place.name, agent=name, params=params, seed=found.seed,
        config=[found.state_digest, found.env, name, params, *([] if own else span)], fold=_EVALUATED, code=code,
    )  # fmt: skip
    known = provenance.get("trial")
    same = own and provenance.get("code", {}).get("digest", "") == row.code
    return replace(row, config=known) if known and same else row


def _titles(found: Sequence[tuple[Path, DeployedBook]]) -> list[str]:
    """How each is called: by its agent and the beginning of its folder's name; by so many folders as tell all apart.

    Raises
    ------
    UserError
        If a folder is given twice.
    """
    agents, places = [one.checkpoint.agent["name"] for _, one in found], [place for place, _ in found]
    for place in places:
        if places.count(place) > 1:
            raise UserError(f"{place} is given twice; name each checkpoint once.")
    depth, titles = 1, [f"{agent} ({place.name[:8]})" for agent, place in zip(agents, places, strict=True)]
    while len(set(titles)) < len(titles):
        titles = [f"{a} ({'/'.join(place.parts[-depth:])})" for a, place in zip(agents, places, strict=True)]
        depth += 1
    return titles


def check_fits(market: BookMarket, history: TickHistory, place: Path) -> None:
    """Refuse ticks in other steps, by which lots and ticks of a policy would mean other things.

    Parameters
    ----------
    market, history, place
        As it was trained; the ticks; where its checkpoint is.

    Raises
    ------
    UserError
        If they are.
    """
    own, given = market.instrument, history.instrument
    if (own.tick, own.lot) != (given.tick, given.lot):
        raise UserError(
            f"{history.source.origin} does not fit the checkpoint {place}: ticks of {given.tick:g} and lots of "
            f"{given.lot:g}, trained with {own.tick:g} and {own.lot:g}."
        )


def judged_spans(checkpoint: Checkpoint, history: TickHistory) -> list[TickSpan]:
    """The ticks that the checkpoint's run judged on."""
    runs = {run.name: run for run in history.runs}
    spans = []
    for name, start, stop in checkpoint.provenance.get("spans", {}).get("test", []):
        if name not in runs:
            raise UserError(
                f"{history.source.origin} has no run {name}, which the checkpoint was judged on; give --data."
            )
        spans.append(TickSpan(runs[name], int(start), int(stop)))
    if not spans:
        raise UserError("the checkpoint does not say which ticks it was judged on; give --data.")
    return spans
