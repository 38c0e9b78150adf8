"""Formulas mined and judged year by year, from the door to its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import mine
from experiments.cli import door
from qframe_rl.config import UserError
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner import alpha_study
from qframe_rl.runner.alpha_study import AlphaStudyPlan
from qframe_rl.types import DAY

DATA = ["--data", "synthetic:correlated,n_instruments=10", "--timeframe", "1d", "--bars", "1300"]
SMALL = [*DATA, "--years", "2", "--formulas", "60", "--nulls", "1", "--search", "random"]


def test_a_pool_is_judged_on_the_year_after_it_was_mined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Trials(tmp_path / "ledger.db")
    assert door(mine.main, [*SMALL, "--runs", str(tmp_path), "--ledger", str(ledger.path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in said["rows"]][:2] == ["pool", "best single"]
    looks = ledger.every()  # a search that was judged is a trial on the years that judged it
    assert [(one.kind, one.agent, one.run) for one in looks] == [
        ("mine", f"mined {row['name']}", Path(said["folder"]).name) for row in said["rows"][:2]
    ]
    assert looks[0].since[:10] == "2022-01-02" and looks[0].bars > 500
    assert [one["year"] for one in said["years"]] == [2022, 2023]
    assert all(len(one["nulls"]) == 2 for one in said["years"])
    assert Path(said["picture"]).stat().st_size > 10_000
    assert json.loads((Path(said["folder"]) / "study.json").read_text())["rows"] == said["rows"]
    assert "on years that it had not seen" in said["verdict"].lower()


def test_a_study_that_was_broken_off_goes_on_with_the_years_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*SMALL, "--runs", str(tmp_path), "--json"]
    mined: list[int] = []
    real = alpha_study._mined

    def once(year: int, *rest: Any) -> Any:
        if mined:
            raise KeyboardInterrupt
        mined.append(year)
        return real(year, *rest)

    monkeypatch.setattr(alpha_study, "_mined", once)
    assert door(mine.main, options) == 130
    monkeypatch.setattr(alpha_study, "_mined", lambda year, *rest: (mined.append(year), real(year, *rest))[1])
    assert door(mine.main, options) == 0
    broken = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert mined == [2022, 2023]
    assert door(mine.main, [*options[:-3], "--runs", str(tmp_path / "whole"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert whole["rows"] == broken["rows"] and whole["years"] == broken["years"]


def test_bars_of_the_judged_year_change_nothing_that_is_mined_before_it(tmp_path: Path) -> None:
    plan = AlphaStudyPlan.model_validate(
        {"data": {"data": DATA[1], "timeframe": "1d", "bars": 1300}, "n_years": 1, "n_formulas": 60, "n_null": 0}
    )
    study = alpha_study.alpha_study(plan, tmp_path)
    values = study.history.values.copy()
    later = study.history.time >= study.courses["pool"][0][0]
    values[later] *= np.exp(np.random.default_rng(0).standard_normal(values[later].shape[:2]))[:, :, None]
    ground = alpha_study.Ground.of(study.history, 5, 1e-3, 0, 0, int(later.argmax()))
    other = replace(study.history, values=values)
    again = plan.mining.mined(alpha_study.Ground.of(other, 5, 1e-3, 0, 0, int(later.argmax())))
    assert again.members == plan.mining.mined(ground).members == study.years[0].members


def test_the_error_of_a_sharpe_ratio_is_of_the_bars_that_were_judged(tmp_path: Path) -> None:
    """The last year has 204 days: not two years were judged, but 1.56 of them."""
    plan = AlphaStudyPlan.model_validate(
        {"data": {"data": DATA[1], "timeframe": "1d", "bars": 1300}, "n_years": 2, "n_formulas": 20, "n_null": 0}
    )
    row = alpha_study.alpha_study(plan, tmp_path).rows[0]
    assert row.length == pytest.approx((365 + 1300 - 366 - 365 - 365 - 4) / 365.25, abs=0.01)
    assert row.error == pytest.approx(row.length**-0.5) and row.error > 0.79


def test_years_that_other_code_mined_are_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = AlphaStudyPlan.model_validate(
        {"data": {"data": DATA[1], "timeframe": "1d", "bars": 900}, "n_years": 1, "n_formulas": 20, "n_null": 0}
    )
    before = alpha_study.alpha_study(plan, tmp_path).folder
    monkeypatch.setattr(alpha_study, "code_fingerprint", lambda: "another version")
    assert alpha_study.alpha_study(plan, tmp_path).folder != before


def test_bars_without_volume_are_judged_beside_the_known_factors_that_count(tmp_path: Path) -> None:
    """Settlements of futures have no volume; formulas of it stopped the study once its pools were mined."""
    rng, names = np.random.default_rng(0), [f"F{k}" for k in range(8)]
    prices = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (600, 8)), axis=0))
    days = [str(np.datetime64("2021-01-01") + k) for k in range(600)]
    lines = [
        f"{day},{name},{p:.6f}"
        for day, row in zip(days, prices, strict=True)
        for name, p in zip(names, row, strict=True)
    ]
    table = tmp_path / "settled.csv"
    table.write_text("\n".join(["timestamp,symbol,settle", *lines]) + "\n")
    data = {"data": f"settlements:{table}", "timeframe": "1d", "symbols": [f"{name}/USD" for name in names]}
    plan = AlphaStudyPlan.model_validate({"data": data, "n_years": 1, "n_formulas": 40, "n_null": 0})
    study = alpha_study.alpha_study(plan, tmp_path)
    assert [row.name for row in study.rows][2:] == ["momentum 40", "low volatility 20", "8 classical"]


def test_years_in_which_nobody_could_be_ranked_are_refused(tmp_path: Path) -> None:
    """Five of ten coins were listed with the judged year: the pool was empty, and each figure 0."""
    history = synthetic("correlated", n_bars=900, bar_ns=DAY, n_instruments=10)
    values = history.values.copy()
    values[:720, :5] = np.nan
    plan = AlphaStudyPlan.model_validate({"n_years": 1, "n_formulas": 20, "n_null": 0})
    with pytest.raises(UserError, match="in none of them 8 instruments have traded in 60 of the last 90"):
        alpha_study._ground(replace(history, values=values), plan, 0, 720)
    assert alpha_study._ground(replace(history, values=values), plan, 720, 900).seen.any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--years", "9"], "hold no 9 calendar years with bars before them"),
        (["--search", "annealing"], "search"),
        (["--formulas", "0"], "--formulas"),
        (["--largest", "5"], "--largest: ranks need 8 coins or more; 0 takes all"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(mine.main, [*DATA, "--runs", str(tmp_path), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--formulas", "0"), ("--years", "0"), ("--search", "luck")])
def test_a_wrong_option_is_named_as_it_was_given(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert door(mine.main, [option, value]) == 2
    assert f"error: {option}: " in capsys.readouterr().err
