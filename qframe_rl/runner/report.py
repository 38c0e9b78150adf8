"""From folders to reports: what a run or a checkpoint left behind, read back and laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import bootstrap
from qframe_rl.evaluate.inference.sharpe import moments, probabilistic_sharpe
from qframe_rl.evaluate.metrics import bars_per_year, excess, returns
from qframe_rl.evaluate.montecarlo import influence, periods
from qframe_rl.evaluate.report.arena import arena_report, tournament_report
from qframe_rl.evaluate.report.chart import Report
from qframe_rl.evaluate.report.page import write_html
from qframe_rl.evaluate.report.paint import chart_figure
from qframe_rl.evaluate.report.paper import write_pdf
from qframe_rl.evaluate.report.quoting import quoting_report
from qframe_rl.evaluate.report.sections import Material, report
from qframe_rl.evaluate.significance import significance
from qframe_rl.evaluate.table import FORM, ScoreRow
from qframe_rl.evaluate.tearsheet import beside_holding
from qframe_rl.evaluate.trials import Luck, Trials, larger, luck
from qframe_rl.journal.record_file import read_record
from qframe_rl.runner.arena.kept import RATINGS, arena_material, arena_run, tournament_material
from qframe_rl.runner.books.kept import FACTS, material_of
from qframe_rl.runner.evaluate import evaluate
from qframe_rl.runner.files import read_json
from qframe_rl.runner.log import RunLog, Screen
from qframe_rl.types import Instrument, Record, timeframe_ns
from qframe_rl.versions import versions

_OF_LUCK = ("dsr", "benchmark", "min_track_record_years", "min_backtest_years")
"""What of a record's significance depends on how much was tried."""


class Written(NamedTuple):
    """What a report came to."""

    html: Path
    pdf: Path
    pages: int
    reports: list[Report]


def write_report(
    places: Sequence[Path], runs: Path, out: Path | None, screen: Screen, given: Mapping[str, Any] | None = None, *,
    ledger: Path | None = None,
) -> Written:  # fmt: skip
    """Make one page and one PDF of runs and checkpoints, and show their charts in TensorBoard.

    Parameters
    ----------
    places
        Folders of runs or of checkpoints.
    runs
        Folder in which the run of a checkpoint is looked up; one that is not there is scored anew.
    out
        Folder to write to; None = the first run's own.
    screen
        Told of the progress.
    given
        Data settings that replace those of checkpoints, which are then scored anew.
    ledger
        File of the ledger of trials; None = the user's.

    Raises
    ------
    UserError
        If a folder is neither a run nor a checkpoint, or a run and other data are given.
    """
    reports, folder, trials = [], out, Trials.opened(ledger, runs)
    for place in places:
        title = f"read {place}"
        screen.begin(title)
        home = arena_run(place)
        if home is not None:
            reports.append(_of_many(home, given or {}))
        elif (home := _book_run(place, runs, given or {})) is not None:
            reports.append(quoting_report(material_of(home)))
        else:
            home, material = _material(place, runs, screen, given or {}, trials)
            reports.append(report(material))
        folder = folder or home
        screen.end(title, reports[-1].headline)
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    html, pdf = folder / "report.html", folder / "report.pdf"
    screen.begin("write")
    write_html(reports, html)
    count = write_pdf(reports, pdf)
    _show(reports, folder / "tensorboard" / "report", screen)
    screen.end("write", f"{html}, {pdf} ({count} pages)")
    return Written(html, pdf, count, reports)


def _of_many(run: Path, given: Mapping[str, Any]) -> Report:
    """The report of a training among many agents, or of a tournament."""
    if given:
        raise UserError(f"{run} is a run of many agents, in markets of their own; leave --data and its like out.")
    if (run / RATINGS).is_file():
        return tournament_report(tournament_material(run))
    return arena_report(arena_material(run))


def _book_run(place: Path, runs: Path, given: Mapping[str, Any]) -> Path | None:
    """Folder of the run on order books that is meant; None if it is another."""
    run = place
    if (place / "checkpoint.json").is_file():
        found = load_checkpoint(place)
        if not found.of_book:
            return None
        run = runs / str(found.provenance["fingerprint"])
        if not (run / FACTS).is_file():
            raise UserError(f"the run of {place} is not in {runs}; give the folder of the run, or --runs.")
    if not _quotes(run):
        return None
    if given:
        raise UserError(f"{run} is a run, and is reported on the ticks that it had; leave --data and its like out.")
    return run


def _quotes(run: Path) -> bool:
    """Whether a folder is that of a run on order books, finished or not."""
    asked = run / "experiment.json"
    if (run / FACTS).is_file() or not asked.is_file():
        return (run / FACTS).is_file()
    env = read_json(asked).get("env")
    return isinstance(env, dict) and env.get("name") in catalog.order_books()


def _show(reports: Sequence[Report], folder: Path, screen: Screen) -> None:
    log = RunLog(folder, "write", screen)
    for one in reports:
        for section in one.sections:
            for chart in section.charts:
                log.figure(f"{one.title}/{section.title}/{chart.title}", chart_figure(chart))
    log.close()


def _material(
    place: Path, runs: Path, screen: Screen, given: Mapping[str, Any], trials: Trials
) -> tuple[Path, Material]:
    if (place / "checkpoint.json").is_file():
        return _of_checkpoint(place, runs, screen, given, trials)
    if given and any((place / f"{name}.json").is_file() for name in ("study", "choice")):
        raise UserError(f"{place} is a run, and is reported on the bars that it had; leave --data and its like out.")
    if (place / "study.json").is_file():
        return place, _of_study(place, trials)
    if (place / "choice.json").is_file():
        return place, _of_training(place, trials)
    raise UserError(
        f"{place} is neither a run nor a checkpoint: it has no study.json, choice.json or checkpoint.json; give a "
        "folder that experiments.train or experiments.evaluate wrote."
    )


def _of_study(place: Path, trials: Trials) -> Material:
    facts = read_json(place / "study.json")
    refuse_old(place, facts["leaderboard"])
    names = [facts["subject"], *(name for name in facts["agents"] if name != facts["subject"])]
    records = {name: read_journal(place / "journals" / f"{name}.parquet", facts["data"]) for name in names}
    if "tear_sheet" not in facts:
        facts["tear_sheet"] = beside_holding(facts["subject"], records)
    by_now = luck(trials.known(facts["data"]))
    if by_now.trials > facts["luck"]["trials"]:
        known = larger(by_now, Luck(**facts["luck"]))
        facts["luck"] = known._asdict()
        anew = significance(records[facts["subject"]], known)
        facts["significance"] |= {name: anew[name] for name in _OF_LUCK}
        for row in facts["leaderboard"]:
            _recount(row, records[row["agent"]], known)
    return Material({**facts, "judged_on": "Test bars of all windows"}, records)


def _of_training(place: Path, trials: Trials) -> Material:
    choice, data, rows = (read_json(place / f"{name}.json") for name in ("choice", "data", "leaderboard"))
    refuse_old(place, rows)
    tested = [row for row in rows if row["split"] == "test"]
    names = [choice["judged"], *(row["agent"] for row in tested if row["agent"] != choice["judged"])]
    records = {name: read_journal(place / "journals" / f"test-{name}.parquet", data) for name in names}
    then, by_now = Luck.carried(choice), luck(trials.known(data))
    facts = _facts(names[0], records, larger(then, by_now), tested, place.name, data)
    if by_now.trials > then.trials:
        for row in tested:
            _recount(row, records[row["agent"]], larger(then, by_now))
    else:
        facts["significance"]["dsr"]["2012"] = next(row["dsr"] for row in tested if row["agent"] == names[0])
    facts |= {
        "validation": [row for row in rows if row["split"] == "validation"], "judged_on": "Test bars",
        "promotion": choice,
    }  # fmt: skip
    return Material(facts, records)


def _of_checkpoint(
    place: Path, runs: Path, screen: Screen, given: Mapping[str, Any], trials: Trials
) -> tuple[Path, Material]:
    found = load_checkpoint(place)
    run = runs / str(found.provenance["fingerprint"])
    if not given and (run / "choice.json").is_file():
        return run, _of_training(run, trials)
    folder = runs / "evaluate" / place.name
    done = evaluate([place], given, None, None, ["buy_and_hold", "flat"], folder, screen, ledger=trials)
    records = {one.name: one.record for one in done.scored}
    promotion = found.provenance.get("promotion", {})
    rows = [dict(one.row) for one in done.scored]
    facts = _facts(done.scored[0].name, records, done.luck, rows, place.name, done.history.describe())
    return folder, Material({**facts, "promotion": promotion, "judged_on": "The checkpoint's test bars"}, records)


def _facts(
    subject: str, records: dict[str, Record], known: Luck, rows: list[dict[str, Any]], name: str, data: dict[str, Any]
) -> dict[str, Any]:
    """What can be said of records alone."""
    own = records[subject]
    rate, times = returns(own.account.equity), bars_per_year(own)
    against = {}
    for other, record in records.items():
        if other != subject and len(record) == len(own):
            difference = rate - returns(record.account.equity)
            against[other] = {
                "mean": float(difference.mean() * times),
                "information_ratio": bootstrap(difference, times).sharpe._asdict(),
                "probability": probabilistic_sharpe(moments(difference)),
            }
    return {
        "kind": "training", "id": name, "data": data, "versions": versions(), "subject": subject,
        "agents": list(records), "luck": known._asdict(), "leaderboard": rows, "against": against,
        "significance": significance(own, known),
        "periods": {
            "years": periods.describe(periods.by_year(own)), "crises": periods.describe(periods.by_crisis(own)),
            "regimes": [],
        },
        "influence": influence.describe(influence.influences(rate, times), own.time[1:]),
        "tear_sheet": beside_holding(subject, records),
    }  # fmt: skip


def _recount(row: dict[str, Any], record: Record, known: Luck) -> None:
    """Bring a row up to what was tried by now."""
    of = moments(excess(record))
    row["dsr"] = probabilistic_sharpe(of, known.benchmark(of.n_bars), FORM)
    row["trials"], row["effective_trials"] = known.trials, known.effective


def refuse_old(place: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse tables that an earlier version wrote; raises UserError."""
    missing = [name for name in ScoreRow.__annotations__ for row in rows[:1] if name not in row]
    if missing:
        raise UserError(
            f"{place} was written by an earlier version, and its tables lack {missing[0]!r}: run its command again."
        )


def read_journal(path: Path, data: dict[str, Any]) -> Record:
    """Read a journal of a run by the description of its data; raises UserError where there is none."""
    if not path.is_file():
        raise UserError(f"{path} is missing: the run did not finish; run it again.")
    return read_record(path, tuple(Instrument(symbol) for symbol in data["symbols"]), timeframe_ns(data["timeframe"]))
