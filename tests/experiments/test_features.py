"""``qframe features explain``: what is said of a formula, its picture, and mistakes in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import features
from experiments.cli import door
from qframe_rl.evaluate.formula import explain, formula_figure
from qframe_rl.types import HOUR, YEAR
from tests.docs.documents import ROOT
from tests.docs.test_json import keys, listed
from tests.markets import panel

MANY = ("--data", "synthetic:correlated,n_instruments=9", "--bars", "600")


def said(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(features.main, ["explain", *map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if code == 0 else {}, err


def test_everything_is_said_of_a_formula_among_instruments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "deep" / "shown.png"
    code, shown, _ = said(capsys, "alpha:rank(ret(close,40)) * 2", *MANY, "--picture", picture)
    assert code == 0
    assert set(shown) == keys("`features explain`")
    assert (shown["text"], shown["unit"], shown["lookback"]) == ("mul(rank(ret(close,40)),2)", "number", 90)
    assert (shown["identity"], shown["tokens"]) == ("ret(close,40)", 6)
    assert shown["words"].startswith("the product of the rank of the relative change of the close over 40 bars")
    assert shown["correlated"] == "among instruments" and shown["coverage"] == 1.0
    assert set(shown["correlations"]) == listed("`features explain`", "correlations")
    assert shown["correlations"]["momentum"] == pytest.approx(1.0)
    assert abs(shown["correlations"]["size"]) < 0.5
    assert shown["values"]["least"] == pytest.approx(2 * 0.5 / 9)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


def test_on_one_coin_it_is_looked_at_through_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert door(features.main, ["explain", "ret(close, 5) / 2", "--bars", "600"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^reversal +-1\.00 +rank correlation through time with neg\(ret\(close, 5\)\)$", out, re.MULTILINE
    )
    assert re.search(r"^lookback +6 bars \(6 h of these\)$", out, re.MULTILINE)
    assert "same as     mul(ret(close,5),0.5)" in out and "The data are synthetic." in out
    (picture,) = (tmp_path / "runs" / "features").glob("*.png")
    assert str(picture.relative_to(tmp_path)) in out
    code, shown, _ = said(capsys, "close", "--bars", "600")
    assert code == 0 and shown["feature"] is None and shown["unit"] == "price"


def test_only_the_last_year_is_shown_and_its_values_are_those_of_the_whole() -> None:
    history = panel(YEAR // HOUR + 500, 2, seed=3)
    facts = explain("tsz(close, 200)", history)
    assert len(facts.values) == YEAR // HOUR
    assert np.isfinite(facts.values[0]).any(), "the bars before it are its lookback"
    assert facts.history.time[0] > history.time[-1] - YEAR
    assert 0.0 < facts.coverage < 1.0


@pytest.mark.parametrize("text", ["log(neg(close))", "sign(close)*1e15", "corr(close,close,10)", "tsz(close,9)*1e308"])
@pytest.mark.parametrize("n", [9, 2])
def test_what_has_no_value_or_hardly_varies_is_drawn_too(
    text: str, n: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "shown.png"
    data = ("--data", f"synthetic:correlated,n_instruments={n}", "--bars", "600", "--picture", str(picture))
    assert door(features.main, ["explain", text, *data]) == 0
    out, _ = capsys.readouterr()
    nothing = text.startswith("log")
    assert bool(re.search(r"^values +none: it has no value anywhere in the last year$", out, re.MULTILINE)) is nothing
    assert bool(re.search(r"^has values +in 0.0% of traded bars$", out, re.MULTILINE)) is nothing
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("ref(close,-1)",), "character 11: the shift of ref is negative"),
        (("corr(close,volum,5)",), "did you mean 'volume'"),
        (("column:news", "--bars", "600"), "the data have no column 'news'"),
        (("rank(ret1)", "--bars", "600"), "needs 8 or more, but the data have 1"),
        (("mean(ret1, 2000)", "--bars", "600"), "looks back 2,001 bars; the data have 600"),
    ],
)
def test_mistakes_are_one_sentence(argv: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, *argv)
    assert code == 2 and told in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("ret1*0", -0.5, 0.5),
        ("sign(close)*1e17", 0.5e17, 1.5e17),
        ("corr(close,close,10)", 0.5, 1.5),
        ("ret1*1e-12", None, None),
    ],
)
def test_an_axis_spans_what_is_there(text: str, low: float | None, high: float | None) -> None:
    facts = explain(text, panel(300, 2, seed=3))
    values, spread = formula_figure(facts).axes
    if low is None or high is None:
        low, high = np.nanquantile(facts.values, [0.001, 0.999])
        assert sum(bar.get_width() > 0 for bar in spread.patches) > 20
    room = 0.05 * (high - low)
    assert values.get_ylim() == pytest.approx((low - room, high + room), rel=1e-6)


def test_numbers_near_the_end_of_all_are_drawn_in_a_power_of_ten() -> None:
    for factor, power in ((1e308, 308), (1e-200, -200)):
        facts = explain(f"sign(ret1)*{factor}", panel(300, 2, seed=3))
        assert list(facts.quantiles().values()) == pytest.approx(
            np.array([-1.0, -1.0, 1.0, 1.0, 1.0]) * factor, rel=1e-12
        )
        values, _ = formula_figure(facts).axes
        assert values.get_ylabel() == f"number, in 1e{power}" and values.get_ylim() == pytest.approx((-1.1, 1.1))


def test_the_page_on_alphas_names_the_factors() -> None:
    from qframe_rl.evaluate.formula import FACTORS

    text = (ROOT / "docs" / "alphas.md").read_text()
    assert all(f"`{factor}`" in text for factor in FACTORS.values())


@pytest.mark.parametrize("act", [("explain", "close"), ("find",)])
def test_a_picture_of_another_kind_is_refused_before_anything_is_loaded(
    act: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code = door(features.main, [*act, "--picture", "shown.abc"])
    assert code == 2 and "shown.abc: a picture is a file that ends in .png" in capsys.readouterr().err


def test_what_a_joined_column_knows_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = [f"2020-01-{1 + h // 24:02}T{h % 24:02}:00:00" for h in range(24 * 25)]
    file = tmp_path / "signal.csv"
    file.write_text("timestamp,signal\n" + "".join(f"{time},{k % 7}\n" for k, time in enumerate(times)))
    options = ("--data", "synthetic:gbm", "--bars", "500", "--columns", f"signal={file}:signal:0s")
    code, _, err = said(capsys, "column:signal", *options, "--picture", tmp_path / "shown.png")
    assert code == 0 and "data check: column signal: rank correlation with the return of the bar before" in err
