"""Routes of research: how far a run is and what it came to, curves, trials, comparisons.

What needs compiled code asks a process aside: verdicts, features that an agent saw, a session against its backtest.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import Query
from fastapi.responses import Response

from qframe_rl.config import UserError
from qframe_rl.service import page_shapes, shapes
from qframe_rl.service.comparing import EquityCurve, compared, drift, record_of, records_of
from qframe_rl.service.inspecting import inspected
from qframe_rl.service.places import Found, manifest_of, newest, shown_json
from qframe_rl.service.problems import ApiProblem
from qframe_rl.service.wiring import LATEST_NS, It, Moment, Name, Reader, Service, SessionId, routes, there

researching = routes()
Points = Annotated[int, Query(ge=4, le=5000)]
_MEMBERS = 12
_REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; sandbox allow-scripts"
)
"""A report is one file with its own script: it may run, in an origin of its own that reaches nothing."""


@researching.get("/runs")
def runs(it: It, _: Reader) -> list[shapes.RunOut]:
    """Trainings, studies and searches below the folders, newest first."""
    it.aside.warm()
    return [shapes.RunOut(id=one.id, kind=one.kind, name=one.name) for one in newest(it.places.runs())]


@researching.get("/runs/{run}")
def run(it: It, _: Reader, run: Name) -> page_shapes.RunDetail:
    """What a run is, how far it is, and the verdict on what it came to in words."""
    found = there(it.places.runs().get(run), "run")
    board = _json(found, "leaderboard.json") or []
    study = _json(found, "study.json")
    rows = [row for row in board if isinstance(row, dict)] if isinstance(board, list) else []
    told = it.aside.ask("words", rows=rows, facts=study) if rows or study else {"rows": [], "study": None}
    verdicts = [{**row, "verdict": word} for row, word in zip(rows, told["rows"], strict=True)]
    return page_shapes.RunDetail(
        id=found.id, kind=found.kind, name=found.name, leaderboard=verdicts, verdict=told["study"],
        under_way=not any((found.folder / name).is_file() for name in _ENDS), choice=_json(found, "choice.json"),
        data=_json(found, "data.json"), experiment=_json(found, "experiment.json"), records=records_of(found),
        trained=sorted(p.parent.name for p in (found.folder / "agents").glob("*/checkpoint.json")),
        reports=[name for name in ("report.html", "report.pdf") if _plain(found, name)],
    )  # fmt: skip


_ENDS = ("choice.json", "study.json", "tune.json", "board.json")


@researching.get("/runs/{run}/curves")
def curves(it: It, _: Reader, run: Name, points: Points = 400) -> page_shapes.RunCurves:
    """Curves of a run's trainings, also while they are written."""
    found = there(it.places.runs().get(run), "run")
    return page_shapes.RunCurves(trainings=it.curves.of(found.folder / "tensorboard", points))


@researching.get("/runs/{run}/report.html", response_class=Response)
def report_page(it: It, _: Reader, run: Name) -> Response:
    """The page that `qframe report` made of a run."""
    body = _file(there(it.places.runs().get(run), "run"), "report.html")
    return Response(body, media_type="text/html; charset=utf-8", headers={"content-security-policy": _REPORT_POLICY})


@researching.get("/runs/{run}/report.pdf", response_class=Response)
def report_pdf(it: It, _: Reader, run: Name) -> Response:
    """The PDF that `qframe report` made of a run."""
    body = _file(there(it.places.runs().get(run), "run"), "report.pdf")
    named = {"content-disposition": f'inline; filename="{run}.pdf"'}
    return Response(body, media_type="application/pdf", headers=named)


@researching.get("/trials")
def trials(it: It, _: Reader) -> list[page_shapes.TrialsOut]:
    """What the ledger of trials has of each data set, and what luck alone would show there."""
    return [page_shapes.TrialsOut(**row) for row in it.aside.ask("trials")]


@researching.get("/compare")
def compare(
    it: It, _: Reader, of: Annotated[str, Query(max_length=2000)],
    window: Annotated[int, Query(ge=2, le=100_000)] = 720, points: Points = 1000,
) -> page_shapes.Comparison:  # fmt: skip
    """Curves side by side: ``session:ID``, ``run:ID:RECORD``, ``checkpoint:ID``, with commas between them."""
    names = list(dict.fromkeys(name for name in of.split(",") if name))
    if len(names) > _MEMBERS:
        raise UserError(f"{_MEMBERS} curves at most are compared.")
    return page_shapes.Comparison(curves=[_compared(it, name, window, points) for name in names])


@researching.get("/sessions/{session}/sight")
def sight(it: It, _: Reader, session: SessionId, at: Moment) -> page_shapes.Sight:
    """What the agent saw at the last bar that closed by ``at``: features by name, as they are and scaled."""
    found = it.session(session)
    seq, close = it.tapes.event_of(found, at)
    account = inspected(it.tapes, found, close)["account"] or {"position": [], "mark": [], "equity": 0.0}
    equity = account["equity"]
    worth = [(p or 0.0) * (m or 0.0) for p, m in zip(account["position"], account["mark"], strict=True)]
    exposure = [w / equity if equity > 0.0 else 0.0 for w in worth]
    said = it.aside.ask(
        "sight", journal=str(found.folder), checkpoint=str(_checkpoint_of(it, found)), seq=seq, exposure=exposure
    )
    return page_shapes.Sight(**said)


@researching.get("/sessions/{session}/backtest")
def against_backtest(it: It, _: Reader, session: SessionId, points: Points = 1000) -> page_shapes.AgainstBacktest:
    """A session against a backtest of its checkpoint on the same bars, and how far they drift apart, basis points."""
    found = it.session(session)
    live = _live(it, found)
    key = (found.id, int(live.time[-1]) if len(live.time) else 0)
    said = it.backtests.get(key)
    if said is None:
        place = str(_checkpoint_of(it, found))
        said = it.aside.ask("backtest", journal=str(found.folder), checkpoint=place)
        it.backtests.clear()
        it.backtests[key] = said
    return page_shapes.AgainstBacktest(**drift(live, said["time_ns"], said["equity"], points), fills=said["fills"])


def _compared(it: Service, name: str, window: int, points: int) -> dict[str, Any]:
    try:
        curve, label = _curve(it, name)
        if len(curve.time) < 2 or not curve.equity[0] > 0.0:
            raise UserError("it has no two bars yet.")
        return {"of": name, "problem": None, **compared(label, curve, window, points)}
    except UserError as error:
        return {"of": name, "name": name, "problem": it.without_paths(str(error))}
    except ApiProblem as problem:
        return {"of": name, "name": name, "problem": problem.detail}


def _curve(it: Service, name: str) -> tuple[EquityCurve, str]:
    kind, _, rest = name.partition(":")
    where, _, record = rest.partition(":")
    if kind == "session":
        found = it.session(where)
        return _live(it, found), found.name
    if kind == "run":
        found = there(it.places.runs().get(where), "run")
        return record_of(found, record), f"{where} {record}"
    if kind == "checkpoint":
        told = manifest_of(there(it.places.checkpoints().get(where), "checkpoint"))
        try:
            run, agent = str(told["provenance"].get("fingerprint")), str(told["agent"]["name"])
        except (LookupError, TypeError, AttributeError):
            raise UserError("its manifest does not say where it is from.") from None
        home = it.places.runs().get(run)
        if home is None:
            raise UserError("the run that this checkpoint came from is not below the folders that are served.")
        return record_of(home, f"test-{agent}"), f"{where} on its test bars"
    raise UserError(f"{name[:64]!r} is no session:ID, run:ID:RECORD or checkpoint:ID.")


def _live(it: Service, found: Found) -> EquityCurve:
    rows = it.figures.equity(found, 0, LATEST_NS, 2**31)
    time = np.array([int(row["time_ns"]) for row in rows], dtype=np.int64)
    equity, gross = (np.array([row[name] for row in rows], dtype=np.float64) for name in ("equity", "gross"))
    return EquityCurve(time, equity, gross)


def _checkpoint_of(it: Service, found: Found) -> Any:
    """Folder of the checkpoint of a session, among those of the list: nothing that a journal names is loaded."""
    model = it.tapes.model(found)
    for one in it.places.checkpoints().values():
        try:
            if manifest_of(one).get("sha256") == model:
                return one.folder
        except UserError:
            continue
    raise UserError("the session's checkpoint is not below the folders that are served (--root).")


def _json(found: Found, name: str) -> Any:
    return shown_json(found.folder / name) if _plain(found, name) else None


def _plain(found: Found, name: str) -> bool:
    path = found.folder / name
    return path.is_file() and not path.is_symlink()


def _file(found: Found, name: str) -> bytes:
    if not _plain(found, name):
        raise ApiProblem(404, "it has no report yet: ask for a job of kind report.")
    return (found.folder / name).read_bytes()
