"""The door that says who is in, and what a list made today pretends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments import universe
from qframe_rl.config import UserError
from qframe_rl.feeds import parquet
from qframe_rl.feeds.parquet import PRICES, Series
from qframe_rl.types import DAY, parse_time

START = parse_time("2021-01-01")
N = 300


def store(root: Path) -> None:
    """Coins that rise, fall and are listed late: who trades most at the end rose most, and traded least before."""
    opens = START + DAY * np.arange(N, dtype=np.int64)
    for name, rise, volume, first in (("UP", 0.01, (1.0, 900.0), 0), ("DOWN", -0.01, (500.0, 1.0), 0),
                                      ("FLAT", 0.0, (400.0, 2.0), 0), ("LATE", 0.0, (450.0, 3.0), 40)):  # fmt: skip
        close = 100.0 * np.exp(rise * np.arange(N))
        money = np.where(np.arange(N) < 200, *volume) * 1e6 / close
        values = np.stack([close, close * 1.001, close * 0.999, close, money], axis=1)
        path = root / "ohlcv" / "binance" / f"{name}-USDT" / "1d.parquet"
        path.parent.mkdir(parents=True)
        parquet.write(path, PRICES, Series(opens[first:], values[first:]))


def test_it_tells_who_is_in_by_name_and_what_foresight_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path)
    said = universe.main(["top:1:volume20d", "--data", str(tmp_path), "--timeframe", "1d", "--json",
                          "--quarantine", "off",
                          "--period", "2021-02-01:2021-08-01", "--period", "2021-02-01:2021-10-25"])  # fmt: skip
    assert said is not None
    told = {one["time"][:10]: {k: v for k, v in one.items() if k != "time"} for one in said["changes"]}
    assert told == {
        "2021-01-02": {"listed": ["DOWN/USDT", "FLAT/USDT", "UP/USDT"]},
        "2021-02-01": {"joined": ["DOWN/USDT"]},
        "2021-02-11": {"listed": ["LATE/USDT"]},
        "2021-08-01": {"joined": ["UP/USDT"], "left": ["DOWN/USDT"]},
    }
    assert said["ahead"] == ["UP/USDT"]
    before, after = said["periods"]
    days = (parse_time("2021-08-01") - parse_time("2021-02-01")) // DAY
    # Bought at the next open, for 10 bp, by closes that move a hundredth a day.
    assert before["known"] == pytest.approx(np.exp(-0.01 * (days - 1)) * 0.999, rel=1e-2)
    assert before["ahead"] == pytest.approx(np.exp(0.01 * (days - 1)) * 0.999, rel=1e-2)
    assert after["known"] > before["known"]
    assert "list of the end" in capsys.readouterr().err


def test_a_period_that_cannot_be_is_refused() -> None:
    for text, why in (("2021-01-01", "is not FROM:TO"), ("2022-01-01:2021-01-01", "ends before it begins")):
        with pytest.raises(UserError, match=why):
            universe.main(["all", "--period", text])
