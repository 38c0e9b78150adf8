"""Long tables of settlements as days of many contracts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.types import CLOSE, OPEN, VOLUME, History

ROWS = [
    ("2020-01-06", "CME_CL", 50.0), ("2020-01-06", "ICE_B", 60.0),
    ("2020-01-07", "CME_CL", 51.0),
    ("2020-01-08", "CME_CL", 49.0), ("2020-01-08", "ICE_B", 66.0), ("2020-01-08", "CME_GC", 1500.0),
]  # fmt: skip


def loaded(root: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str, float]], symbols: str) -> History:
    lines = ["timestamp,symbol,settle", *(",".join(map(str, row)) for row in rows)]
    (root / "settle.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("QFRAME_DATA", str(root))
    asked = {"data": "settlements:settle.csv", "symbols": symbols, "timeframe": "1d", "quarantine": "off"}
    return load(build(DataConfig, asked, "here"))


def test_a_day_opens_at_the_settlement_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = loaded(tmp_path, monkeypatch, ROWS, "CMECL/USD:USD,ICEB/USD:USD")
    assert history.values[:, 0, OPEN].tolist() == [50.0, 50.0, 51.0]
    assert history.values[:, 0, CLOSE].tolist() == [50.0, 51.0, 49.0]
    # Without a settlement there is a price, and nothing fills.
    assert history.values[:, 1, CLOSE].tolist() == [60.0, 60.0, 66.0]
    assert (history.values[:, 1, VOLUME] > 0.0).tolist() == [True, False, True]
    assert not history.funding.any()


def test_days_on_which_few_settled_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = loaded(tmp_path, monkeypatch, ROWS, "CMECL/USD:USD,ICEB/USD:USD,CMEGC/USD:USD")
    assert len(history) == 2
    assert np.isnan(history.values[0, 2]).all()


@pytest.mark.parametrize(
    ("rows", "symbols", "says"),
    [
        (ROWS, "CMEXX/USD:USD", "no contract 'CMEXX'"),
        (ROWS, "", "name those to trade"),
        ([*ROWS, ("2020-01-08", "ICE_B", 67.0)], "ICEB/USD:USD", "two settlements on 2020-01-08"),
    ],
)
def test_what_does_not_serve_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str, float]], symbols: str, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        loaded(tmp_path, monkeypatch, rows, symbols)
