"""The report of a portfolio, from its rows and its members' journals."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qframe_rl.config import Unavailable, UserError
from qframe_rl.evaluate.report.capital import CapitalMaterial, capital_report
from qframe_rl.evaluate.report.chart import Report
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.record import journal_record
from qframe_rl.live.standing import terms_of
from qframe_rl.service import standings
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.types import Record

_MOST = 10**6
"""Rows that are looked at."""


def portfolio_report(portfolios: Portfolios, portfolio: str, root: Path) -> Report:
    """Lay out the report of a portfolio.

    Parameters
    ----------
    portfolios
        The rows.
    portfolio
        Its id.
    root
        Folder in which each member has one of its name; journals that are not there or cannot be read are left out,
        and what the rows say of their members is told all the same.

    Raises
    ------
    UserError
        If there is no such portfolio.
    """
    row = portfolios.one(portfolio)
    drawn = portfolios.store.rows(
        "SELECT time_ns, worth, gross, equity FROM worths WHERE portfolio = ? ORDER BY time_ns", (row.id,)
    )
    columns = np.array(drawn, dtype=np.float64).reshape(-1, 4)
    equity = columns[:, 3]
    gross = np.divide(columns[:, 2], equity, out=np.zeros(len(equity)), where=equity > 0.0)
    shown = standings.standing(portfolios, row, {})
    records: dict[str, Record] = {}
    environments: dict[str, str] = {}
    for one in shown.members:
        try:
            record = journal_record(root / one.name / JOURNAL)
            source = terms_of(root / one.name / JOURNAL)["source"]
        except (UserError, Unavailable):
            continue
        environments[one.name] = str(source.get("environment", source.get("feed", "unknown")))
        if len(record) >= 2:
            records[one.name] = record
    return capital_report(
        CapitalMaterial(
            shown.model_dump(mode="json"), standings.risk(portfolios, row).model_dump(mode="json"),
            np.array([at for at, *_ in drawn], dtype=np.int64), columns[:, 1], gross,
            [one.model_dump() for one in standings.positions(portfolios, row)],
            [one.model_dump() for one in standings.entries(portfolios, row.id, 0, _MOST)],
            [standings.told(one).model_dump() for one in portfolios.transfers(row.id)], records, environments,
        )
    )  # fmt: skip
