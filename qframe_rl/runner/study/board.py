"""Boards from folders of studies: strategies that were judged in several runs, put back side by side.

A study of everything at once takes long, and strategies differ in the actions that they take. So a market may be
studied in several runs: here their records are gathered, checked to be of the same bars at the same
costs, and ranked anew with what the ledger says of luck now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.sharpe import moments, probabilistic_sharpe
from qframe_rl.evaluate.inference.superiority import superiority
from qframe_rl.evaluate.leaderboard import BASELINES, Leaderboard, board_figure, markdown, written_into
from qframe_rl.evaluate.metrics import bars_per_year, by_day, excess, metrics
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.table import FORM, leaderboard
from qframe_rl.evaluate.trials import NAME, Luck, Trials, dataset_named, larger, luck, user_ledger
from qframe_rl.runner.executors import Executor
from qframe_rl.runner.files import read_json, write_json, write_text
from qframe_rl.runner.log import Screen
from qframe_rl.runner.report import read_journal
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import study
from qframe_rl.types import Record, iso

_OWN = ("actions", "features", "n_rows", "reward", "episode_bars")
"""What a strategy's view of a market may differ in; the rest is the market's money."""
_SHOWN = 3


class Boards(NamedTuple):
    """What was made, and where it was written."""

    boards: list[Leaderboard]
    text: Path
    picture: Path
    facts: Path


class _Run(NamedTuple):
    place: Path
    facts: dict[str, Any]
    records: dict[str, Record]


def run_series(
    asked: Sequence[tuple[str, Study]], title: str, runs: Path, out: Path, screen: Screen, *,
    resume: bool = False, executor: Executor | None = None, document: Path | None = None, ledger: Path | None = None,
) -> Boards:  # fmt: skip
    """Run studies and put them side by side.

    Parameters
    ----------
    asked
        Studies, each with what it is called.
    title, out, document
        As in `write_boards`.
    runs
        Folder of runs, one for each study.
    screen
        Told of the progress.
    resume, executor, ledger
        As in `study`.

    Raises
    ------
    UserError
        As `study` and `write_boards`; if the document is missing, before anything is studied.
    """
    if document is not None and not document.is_file():
        raise UserError(f"{document} is not there; name a Markdown file that has places for the tables.")
    folders = []
    for name, config in asked:
        screen.say(f"{name}: {', '.join(config.agents)}")
        folders.append(study(config, runs, screen, resume=resume, executor=executor, ledger=ledger).folder)
    return write_boards(folders, out, title, screen, document, ledger=ledger)


def write_boards(
    places: Sequence[Path], out: Path, title: str, screen: Screen, document: Path | None = None, *,
    ledger: Path | None = None,
) -> Boards:  # fmt: skip
    """Gather studies by what was traded, and write ``board.md``, ``board.png`` and ``board.json``.

    Parameters
    ----------
    places
        Folders of studies.
    out
        Folder to write to.
    title
        Heading of the picture.
    screen
        Told of the progress.
    document
        A Markdown file whose tables are written anew as well, as in `written_into`; its picture is
        ``images/NAME.png`` beside it.
    ledger
        File of the ledger of trials; None = the user's.

    Raises
    ------
    UserError
        If a folder is not that of a study, or two of one data set differ in bars or costs, or judged different
        strategies under one name; if the document lacks a place for a table.
    """
    groups, trials = dict[str, list[_Run]](), Trials(ledger or user_ledger())
    for place in places:
        screen.begin(f"read {place}")
        run = _read(place)
        groups.setdefault(f"{dataset_named(run.facts['data'])} {_universe(run)}".strip(), []).append(run)
        screen.end(f"read {place}", f"{len(run.records)} strategies")
    boards = []
    for name, runs in groups.items():
        screen.begin(f"rank {name[:60]}")
        boards.append(_board(runs, trials))
        screen.end(f"rank {name[:60]}", f"{len(boards[-1].rows)} strategies")
    out.mkdir(parents=True, exist_ok=True)
    made = Boards(boards, out / "board.md", out / "board.png", out / "board.json")
    level = float(next(iter(groups.values()))[0].facts["config"]["level"])
    write_text(made.text, markdown(boards, level))
    figure = board_figure(boards, title, level=level)
    write_png(figure, made.picture)
    write_json(made.facts, [plain(board) for board in boards])
    if document is not None:
        write_text(document, written_into(document.read_text(encoding="utf-8"), boards, level))
        picture = document.parent / "images" / f"{document.stem}.png"
        picture.parent.mkdir(exist_ok=True)
        write_png(figure, picture)
    return made


def plain(board: Leaderboard) -> dict[str, Any]:
    """Turn a board into plain data, with a verdict in each row."""
    rows = [{**r, "better": board.better.get(r["agent"]), "verdict": board.verdict(r)} for r in board.rows]
    return {
        "market": board.market, "span": board.span, "environment": board.environment, "luck": board.luck._asdict(),
        "beats": dict(board.beats), "rows": rows,
    }  # fmt: skip


def _read(place: Path) -> _Run:
    if not (place / "study.json").is_file():
        raise UserError(f"{place} is not the folder of a study: it has no study.json; experiments.evaluate writes one.")
    facts = read_json(place / "study.json")
    records = {name: read_journal(place / "journals" / f"{name}.parquet", facts["data"]) for name in facts["agents"]}
    return _Run(place, facts, records)


def _board(runs: Sequence[_Run], trials: Trials) -> Leaderboard:
    first, records = runs[0], _gathered(runs)
    config, data, held = first.facts["config"], first.facts["data"], records["buy_and_hold"]
    for run in runs:
        trials.read_in(run.place.parent / NAME)
    found = larger(luck(trials.known(data)), *(Luck(**run.facts["luck"]) for run in runs))
    frequency, draw = bars_per_year(held), {"n_resamples": config["resamples"], "seed": config["seed"]}
    rows = leaderboard(
        records, "walk-forward", level=config["level"], luck=found, windows=config["walk_forward"], **draw
    )
    rates = {name: excess(record) for name, record in records.items()}
    better = {
        name: probabilistic_sharpe(moments(rate - rates["buy_and_hold"]), 0.0, FORM)
        for name, rate in rates.items()
        if name != "buy_and_hold"
    }
    tried = [name for name in rates if name not in BASELINES] or ["buy_and_hold"]
    days = by_day(np.stack([rates[name] for name in tried], axis=1), held.time[1:])
    holding = by_day(rates["buy_and_hold"][:, None], held.time[1:])[:, 0]
    beats = {
        "cash": superiority(days, np.zeros(len(days)), **draw).spa,
        "holding": superiority(days, holding, **draw).spa,
    }
    return Leaderboard(
        _called(data, _universe(first)), _span(held, config["walk_forward"]), data["environment"], tuple(rows), better,
        found, beats, frequency, len(held) - 1, metrics(held).cash_rate,
    )  # fmt: skip


def _gathered(runs: Sequence[_Run]) -> dict[str, Record]:
    """Gather the records of all runs by name, once it is sure that they can be compared."""
    first, records = runs[0], dict(runs[0].records)
    for run in runs[1:]:
        differs = _difference(first, run)
        if differs:
            raise UserError(
                f"{run.place} and {first.place} cannot be compared: they differ in {differs}; study both alike."
            )
        for name, record in run.records.items():
            known = records.setdefault(name, record)
            if not np.array_equal(known.account.equity, record.account.equity):
                raise UserError(
                    f"{run.place}: {name} is not what it is in {first.place} or a run between; call it by another "
                    f"label, LABEL={name}."
                )
    return records


def _difference(one: _Run, other: _Run) -> str:
    """Name what keeps two runs from being compared; nothing where they can be."""
    if one.facts["data"]["fingerprint"] != other.facts["data"]["fingerprint"]:
        return "their bars"
    if not np.array_equal(one.records["flat"].time, other.records["flat"].time):
        return "the bars that they were judged on"
    money = [_money(run.facts["config"]["env"]) for run in (one, other)]
    return ", ".join(f"env.{key}" for key in sorted(money[0].keys() | money[1].keys()) if _unlike(key, *money))


def _unlike(key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one.get(key) != other.get(key))


def _money(env: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": env["name"], **{k: v for k, v in env["params"].items() if k not in _OWN}}


def _universe(run: _Run) -> str:
    """The rule of who may be bought; empty where all may, as in all runs of before there were universes."""
    return str(run.facts["config"]["data"].get("universe") or "")


def _called(data: Mapping[str, Any], universe: str) -> str:
    symbols = list(data["symbols"])
    shown = ", ".join(symbols) if len(symbols) <= _SHOWN else f"{len(symbols)} symbols"
    return f"{f'{universe} of {shown}' if universe else shown}, {data['timeframe']}"


def _span(record: Record, windows: int) -> str:
    first, last = iso(int(record.time[0]))[:10], iso(int(record.time[-1]))[:10]
    return f"Judged {first} to {last} in {windows} window{'s' * (windows > 1)}"
