"""The ledger of trials: nothing is lost, nothing can be changed, and repetitions count once."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.sharpe import effective_trials, expected_max
from qframe_rl.evaluate.metrics import returns, sharpe
from qframe_rl.evaluate.trials import FARTHEST, KEPT, PRIOR, Luck, Trial, Trials, dataset_of, luck, trial
from qframe_rl.types import Source

from .made import empty_history, returns_record


def row(rate: np.ndarray, name: str = "a", fold: int = 0, **more: object) -> Trial:
    made = trial(
        returns_record(rate), empty_history(9), kind="train", run="r", agent=name, params={"x": 1}, config=[name],
        seed=1, fold=fold,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def noise(seed: int, n: int = 2000, mean: float = 0.0) -> np.ndarray:
    return mean + 0.01 * np.random.default_rng(seed).standard_normal(n)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "deep" / "trials.db")
    assert ledger.of("any") == []
    rows = [row(noise(1)), row(noise(2), "b")]
    ledger.add(rows)
    ledger.add(rows[:1])
    assert ledger.of(rows[0].dataset) == [*rows, rows[0]]
    assert ledger.of("another") == []
    rate = returns(returns_record(noise(1)).account.equity)
    assert rows[0].mean / rows[0].deviation == pytest.approx(sharpe(rate, 1.0))
    assert len(rows[0].series) == 4 * KEPT


def test_rows_cannot_be_changed_or_deleted(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "trials.db")
    ledger.add([row(noise(1))])
    with sqlite3.connect(ledger.path) as base:
        for statement in ("DELETE FROM trials", "UPDATE trials SET mean = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="trials are kept"):
                base.execute(statement)
    base.close()


def test_a_batch_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "trials.db")
    broken = row(noise(2), mean=None)
    with pytest.raises(UserError, match=r"trials\.db"):
        ledger.add([row(noise(1)), broken])
    assert ledger.of(broken.dataset) == []


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.write_text("not a database, but long enough to be taken for one" * 50)
    with pytest.raises(UserError, match="cannot be used"):
        Trials(path).add([row(noise(1))])


WRITER = """
import sys
from pathlib import Path
from tests.evaluate.test_trials import Trials, noise, row
for k in range(20):
    Trials(Path(sys.argv[1])).add([row(noise(k), f"{sys.argv[2]}-{k}")])
"""


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "trials.db")
    started = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(k)]) for k in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert len(Trials(Path(path)).of(row(noise(0)).dataset)) == 80


def test_repetitions_count_once_and_folds_are_one_trial() -> None:
    folds = [row(noise(k, 500), fold=k) for k in range(4)]
    assert luck([*folds, *folds]).trials == 1
    assert luck(folds).trainings == 4
    other_bars = [replace(one, fingerprint="other") for one in folds]
    assert luck([*folds, *other_bars]).trials == 2
    whole = np.concatenate([noise(k, 500) for k in range(4)])
    z = whole.mean() / whole.std() * math.sqrt(len(whole))
    expected = (PRIOR + z**2) / (PRIOR + 1) if z > 0 else 1.0
    assert luck(folds).spread == pytest.approx(expected, rel=0.01)


def test_luck_scatters_sharpe_ratios_as_luck_should() -> None:
    measured = luck([row(noise(k), str(k)) for k in range(400)])
    assert measured.trials == 400
    assert measured.spread == pytest.approx(1.0, abs=0.15)
    assert measured.benchmark(2000) == pytest.approx(math.sqrt(measured.spread / 2000) * expected_max(400))
    best = [max(sharpe(noise(k), 1.0) for k in range(start, start + 20)) for start in range(0, 400, 20)]
    assert measured._replace(trials=20).benchmark(2000) == pytest.approx(np.mean(best), rel=0.15)


def test_neither_ruin_nor_skill_is_taken_for_luck() -> None:
    lucky = [row(noise(k), str(k)) for k in range(30)]
    plain = luck(lucky).spread
    ruined = [row(noise(k, mean=-0.01), f"ruin {k}") for k in range(30)]
    assert luck([*lucky, *ruined]).spread == plain
    skilled = luck([*lucky, row(noise(99, mean=0.01), "skill")])
    n = np.count_nonzero([sharpe(noise(k), 1.0) > 0 for k in range(30)])
    assert skilled.spread <= (plain * (PRIOR + n) + FARTHEST**2) / (PRIOR + n + 1) + 1e-9


def test_trials_that_are_alike_are_worth_fewer() -> None:
    common = noise(0)
    alike = [row(0.95 * common + 0.05 * noise(k), str(k)) for k in range(1, 21)]
    apart = [row(noise(k), str(k)) for k in range(20)]
    assert luck(alike).effective == pytest.approx(1.0, abs=0.1)
    assert luck(apart).effective == pytest.approx(20.0, rel=0.1)
    assert luck([*apart, replace(apart[0], config="x", series=b"")]).effective is None
    sums = np.stack([np.add.reduceat(noise(k), np.arange(KEPT) * 4) for k in range(20)], axis=1)
    assert luck(apart).effective == pytest.approx(effective_trials(sums), rel=0.01)


def test_before_any_trial_there_is_no_deflation() -> None:
    assert luck([]) == Luck()
    assert Luck().benchmark(1000) == 0.0


def test_a_data_set_keeps_its_name_when_bars_are_added() -> None:
    short, long = empty_history(10), empty_history(20)
    real = [replace(h, source=Source("binance", "production", "x")) for h in (short, long)]
    assert dataset_of(real[0]) == dataset_of(real[1]) == "binance production BTC/USDT 1h"
    assert dataset_of(short) != dataset_of(long)
