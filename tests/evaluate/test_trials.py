"""The ledger of trials: nothing is lost, nothing can be changed, and repetitions count once."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.sharpe import effective_trials, expected_max
from qframe_rl.evaluate.metrics import returns, sharpe
from qframe_rl.evaluate.trials import (
    FARTHEST,
    KEPT,
    NAME,
    PRIOR,
    CodeIdentity,
    Luck,
    Trial,
    Trials,
    dataset_of,
    larger,
    luck,
    trial,
    user_ledger,
)
from qframe_rl.types import History, Source
from tests.markets import panel

from .made import empty_history, returns_record

BARS = panel(60, 2)


def row(rate: np.ndarray, name: str = "a", fold: int = 0, **more: object) -> Trial:
    made = trial(
        returns_record(rate), BARS, kind="train", run="r", agent=name, params={"x": 1}, config=[name],
        seed=1, fold=fold,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def noise(seed: int, n: int = 2000, mean: float = 0.0) -> np.ndarray:
    return mean + 0.01 * np.random.default_rng(seed).standard_normal(n)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "deep" / "trials.db")
    assert ledger.on(BARS) == []
    rows = [row(noise(1)), row(noise(2), "b")]
    ledger.add(rows, BARS)
    ledger.add(rows[:1], BARS)
    assert ledger.on(BARS) == ledger.known(BARS.describe()) == [*rows, rows[0]]
    assert ledger.on(panel(50, 1)) == []
    rate = returns(returns_record(noise(1)).account.equity)
    assert rows[0].mean / rows[0].deviation == pytest.approx(sharpe(rate, 1.0))
    assert len(rows[0].series) == 4 * KEPT


def test_rows_cannot_be_changed_or_deleted(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "trials.db")
    ledger.add([row(noise(1))], BARS)
    with sqlite3.connect(ledger.path) as base:
        for statement in ("DELETE FROM trials", "UPDATE trials SET mean = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="trials are kept"):
                base.execute(statement)
    base.close()


def test_a_batch_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "trials.db")
    broken = row(noise(2), mean=None)
    with pytest.raises(UserError, match=r"trials\.db"):
        ledger.add([row(noise(1)), broken], BARS)
    assert ledger.on(BARS) == []


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.write_text("not a database, but long enough to be taken for one" * 50)
    with pytest.raises(UserError, match="cannot be used"):
        Trials(path).add([row(noise(1))], BARS)


WRITER = """
import sys
from pathlib import Path
from tests.evaluate.test_trials import BARS, Trials, noise, row
for k in range(20):
    Trials(Path(sys.argv[1])).add([row(noise(k), f"{sys.argv[2]}-{k}")], BARS)
"""


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "trials.db")
    started = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(k)]) for k in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert len(Trials(Path(path)).on(BARS)) == 80


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


def counted(ledger: Trials, history: History, name: str, **code: Any) -> int:
    """Score one more configuration on a history, and count."""
    record, coded = returns_record(noise(len(name))), {"code": CodeIdentity(code["code"], {})} if code else {}
    made = trial(
        record, history, kind="train", run="r", agent=name, params=1, config=name, seed=0, fold=0, **coded
    )  # fmt: skip
    ledger.add([made], history)
    return ledger.luck(history).trials


def test_no_count_begins_anew_under_another_name(tmp_path: Path) -> None:
    """Renamed, from another exchange by its label, with one more symbol, cut, extended: all of it counts together."""
    ledger, long = Trials(tmp_path / "trials.db"), panel(24 * 90, 3, ragged=False)
    bars = long.rows(0, 24 * 60)
    whole = replace(bars, instruments=bars.instruments)
    few = {name: getattr(bars, name)[:, :2] for name in ("values", "funding", "final")}
    renamed = tuple(replace(i, symbol=f"X{i.symbol}") for i in bars.instruments)
    same = [
        whole,
        replace(bars, source=Source("kraken", "production", "elsewhere.csv")),
        replace(bars, instruments=renamed),
        replace(bars, instruments=bars.instruments[:2], **few),
        long,
        bars.rows(24 * 20, 24 * 50),
    ]
    for k, history in enumerate(same):
        assert counted(ledger, history, f"agent {k}") == k + 1
        assert ledger.luck(bars).trials == k + 1
        assert len(ledger.known(bars.describe())) == k + 1
    assert counted(ledger, panel(24 * 60, 3, seed=9), "another market") == 1
    assert counted(ledger, long.rows(24 * 60, 24 * 90), "later bars") == 2, "the long history has them too"


def test_edited_code_is_another_trial_and_another_version_of_a_package_is_none(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "trials.db")
    assert [counted(ledger, BARS, "mine", code=code) for code in ("a", "b", "c", "d", "b")] == [1, 2, 3, 4, 4]
    early = [row(noise(1), "mine"), row(noise(2), "mine", code="x"), row(noise(3), "mine", code="y")]
    assert [luck(early[:n]).trials for n in (1, 2, 3)] == [1, 1, 2], "of the first it is not known what code it had"
    made = [
        trial(returns_record(noise(1)), BARS, kind="train", run="r", agent="a", params=1, config=1, seed=0, fold=0,
              code=CodeIdentity("x", {"numpy": version}))
        for version in ("2.0", "2.1")
    ]  # fmt: skip
    assert made[0].config == made[1].config
    assert json.loads(made[0].packages) == {"numpy": "2.0"}


def test_the_ledger_of_a_folder_of_runs_is_read_in_once_and_left_as_it_is(tmp_path: Path, own_state: None) -> None:
    shutil.copy(Path(__file__).parent.parent / "upgrade" / "v0" / "trials.db", tmp_path / NAME)
    before = (tmp_path / NAME).read_bytes()
    with closing(sqlite3.connect(tmp_path / NAME)) as base:
        rows = base.execute("SELECT dataset, fingerprint FROM trials").fetchall()
    history = replace(panel(60, 1), source=Source("none", "unknown", "bars.csv"))
    known = {**history.describe(), "fingerprint": rows[0][1]}
    for _ in range(2):
        ledger = Trials.opened(None, tmp_path)
        assert ledger.path == user_ledger() != tmp_path / NAME
        assert len(ledger.known(known)) == len(rows)
    assert (tmp_path / NAME).read_bytes() == before
    old = Trials.opened(tmp_path / NAME, tmp_path)
    assert len(old.known(known)) == len(rows), "and it is a ledger itself, if it is asked for"
    old.add([row(noise(1))], BARS)
    assert [one.code for one in old.on(BARS)] == [""]


def test_rows_of_earlier_versions_without_closes_are_known_by_the_name_of_their_data(tmp_path: Path) -> None:
    ledger = Trials(tmp_path / "trials.db")
    history = replace(panel(60, 1), source=Source("binance", "production", "x"))
    ledger.add([], panel(50, 1, seed=4))
    with closing(sqlite3.connect(ledger.path)) as base, base:
        early = replace(row(noise(1)), dataset=dataset_of(history), fingerprint="of other bars")
        names = [field.name for field in fields(early)]
        marks = ", ".join("?" * (len(names) + 1))
        values = ["2025-01-01", *(getattr(early, name) for name in names)]
        base.execute(f"INSERT INTO trials (at, {', '.join(names)}) VALUES ({marks})", values)
    assert ledger.luck(history).trials == 1
    assert counted(ledger, history, "one more") == 2


def test_the_users_ledger_is_where_the_platform_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_ledger().is_relative_to(tempfile.gettempdir()), "tests never write the user's"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert user_ledger() == tmp_path / "qframe-rl" / "trials.db"
    for none in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", none)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert user_ledger().is_relative_to(tmp_path / "home")
        assert user_ledger().parent.name == "qframe-rl"


def test_what_a_checkpoint_remembers_counts_where_the_ledger_has_less() -> None:
    card = Luck.carried({"trials": 8, "effective_trials": 3.0})
    assert (card.trials, card.trainings, card.effective, card.spread) == (8, 8, 3.0, 1.0)
    assert larger(Luck(3, 9, 2.0, 1.5), card) == Luck(8, 8, 3.0, 1.5)
    assert larger(Luck(9, 9, 2.0, 1.0), card) == Luck(9, 9, 2.0, 1.0)
    assert Luck.carried({}) == Luck()
