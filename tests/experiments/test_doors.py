"""The doors as a user meets them: precedence, JSON, and one clear sentence for each mistake."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import download, evaluate, paper, portfolio, supervise, train
from experiments.cli import door
from experiments.settings import settings
from qframe_rl.config import UserError, build
from qframe_rl.journal.store import read
from qframe_rl.runner.experiment import Experiment

QUICK = [
    "--bars", "3000", "--agents", "ppo,momentum", "--set", "env.episode_bars=100",
    "--set", "agent.ppo.total_steps=4096", "--set", "agent.ppo.n_envs=8", "--set", "agent.ppo.n_steps=64",
    "--set", "agent.ppo.batch_size=256",
]  # fmt: skip


def run(main: Any, argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = door(main, argv)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One small run on the default market, in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", *QUICK, *places, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result["folder"] = folder
    result["screen"] = done.stderr
    return result


def test_train_prints_documented_json_and_the_commands_that_follow(trained: dict[str, Any]) -> None:
    assert {"checkpoint", "leaderboard", "hash", "seconds"} <= set(trained)
    keys = [
        "agent", "split", "initial_equity", "final_equity", "cash_equity", "sharpe", "excess_sharpe", "sharpe_low",
        "sharpe_high", "next_low", "next_high", "growth", "growth_low", "max_drawdown", "turnover", "exposure",
        "filled", "costs", "share_of_optimal", "trades", "psr", "dsr", "trials", "effective_trials",
    ]  # fmt: skip
    assert all(list(row) == keys for row in trained["leaderboard"])
    validation = {row["agent"] for row in trained["leaderboard"] if row["split"] == "validation"}
    assert validation == {"ppo", "momentum", "flat", "buy_and_hold", "random", "optimal"}
    test = {row["agent"]: row for row in trained["leaderboard"] if row["split"] == "test"}
    assert {"flat", "buy_and_hold", "random", "optimal"} <= set(test)
    assert test["optimal"]["share_of_optimal"] == 1.0
    assert test["flat"]["final_equity"] == 10_000.0
    for text in ("tensorboard --logdir", "-m experiments.evaluate", "experiments.paper", "synthetic", "Chosen:"):
        assert text in trained["screen"]
    assert Path(trained["checkpoint"], "checkpoint.json").is_file()


def test_the_same_command_gives_the_same_hash_and_resume_trains_nothing_twice(
    trained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained["folder"]
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "again"), "--json"]
    weights = next((folder / "runs").glob("*/agents/ppo-0-0/weights.safetensors"))
    before = weights.read_bytes()
    code, out, err = run(train.main, [*QUICK, *places, "--resume"], capsys)
    assert code == 0
    assert "taken over from the earlier run" in err
    assert json.loads(out.splitlines()[-1])["hash"] == trained["hash"]
    code, out, err = run(train.main, [*QUICK, *places], capsys)
    assert json.loads(out.splitlines()[-1])["hash"] == trained["hash"]
    assert weights.read_bytes() == before


def test_evaluate_and_paper_repeat_the_digits_in_other_processes(trained: dict[str, Any]) -> None:
    place = next((trained["folder"] / "runs").glob("*/agents/ppo-0-0"))
    results = []
    for speed in ("max", "1e9x"):
        out = trained["folder"] / f"paper-{speed}"
        done = subprocess.run(
            [sys.executable, "-m", "experiments.paper", str(place), "--speed", speed, "--out", str(out), "--json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        results.append(json.loads(done.stdout.splitlines()[-1]))
        settled = [json.loads(e.payload) for e in read(Path(results[-1]["journal"])) if e.kind == "settled"]
        assert len(settled) == results[-1]["bars"]
        assert settled[-1]["hash"] == results[-1]["journal_hash"]
        assert settled[-1]["account"]["equity"] == results[-1]["final_equity"]
        assert results[-1]["state"] == "finished"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.evaluate", str(place), "--out", str(trained["folder"] / "ev"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (scored, *others) = json.loads(done.stdout.splitlines()[-1])["results"]
    assert scored["agent"] == "ppo"
    assert {"checkpoint", "bars", "journal_hash"} <= set(scored)
    for result in results:
        assert result["final_equity"] == scored["final_equity"]
        assert result["journal_hash"] == scored["journal_hash"]
        assert result["bars"] == scored["bars"]
    assert {o["agent"] for o in others} == {"buy_and_hold", "flat", "optimal"}
    assert (trained["folder"] / "ev" / "equity.png").stat().st_size > 10_000
    chosen = json.loads(Path(trained["checkpoint"], "checkpoint.json").read_text())
    test = {row["agent"]: row for row in trained["leaderboard"] if row["split"] == "test"}
    if chosen["agent"]["name"] == "ppo":
        assert test["ppo"]["final_equity"] == scored["final_equity"]
    optimal = next(o for o in others if o["agent"] == "optimal")
    assert optimal["final_equity"] == test["optimal"]["final_equity"]


def test_ctrl_c_stops_paper_trading_cleanly(trained: dict[str, Any]) -> None:
    place = next((trained["folder"] / "runs").glob("*/agents/ppo-0-0"))
    out = trained["folder"] / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.paper", str(place), "--speed", "36000x", "--out", str(out), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal = out / "journal.db"
    while not (journal.exists() and sum(e.kind == "settled" for e in read(journal)) > 3):
        assert process.poll() is None
    process.send_signal(2)
    stdout, _ = process.communicate(timeout=30)
    result = json.loads(stdout.splitlines()[-1])
    assert process.returncode == 0
    assert result["state"] == "stopped"
    settled = [json.loads(e.payload) for e in read(journal) if e.kind == "settled"]
    assert len(settled) == result["bars"]
    assert settled[-1]["hash"] == result["journal_hash"]


def test_settings_layer_preset_environment_and_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text('seeds = 2\nseed = 5\n[env]\nname = "perp"\nleverage = 2.0\n[agent.ppo]\nn_envs = 4\n')
    monkeypatch.setenv("QFRAME_SEEDS", "3")
    monkeypatch.setenv("QFRAME_AGENT__PPO__N_EPOCHS", "7")
    monkeypatch.setenv("QFRAME_DATA", "/nowhere")
    tree = settings(
        Experiment, str(preset), ["agent.ppo.n_envs=8", "env.half_spread_bps=2"], {"seeds": "4", "env": "spot"}
    )
    made = build(Experiment, tree, "settings")
    assert made.seeds == 4
    assert made.seed == 5
    assert made.env.name == "spot"
    assert made.env.params == {"leverage": 2.0, "half_spread_bps": 2}
    assert made.agent["ppo"] == {"n_envs": 8, "n_epochs": 7}
    assert made.level == 0.9
    for name in ("QFRAME_CHAT_TOKEN", "QFRAME_CHAT_TOTP_SECRET", "QFRAME_DECISIONS_KEY", "QFRAME_STORE_PASSWORD"):
        monkeypatch.setenv(name, "of another door")
    assert settings(Experiment, None, [], {}) == {"seeds": 3, "agent": {"ppo": {"n_epochs": 7}}}
    monkeypatch.setenv("QFRAME_SEDS", "3")
    with pytest.raises(UserError, match=r"QFRAME_SEDS.*did you mean 'seed"):
        settings(Experiment, None, [], {})


def test_parameters_of_a_preset_go_with_the_strategy_that_they_are_of() -> None:
    for agents in ("momentum,flat", ("momentum", "flat")):
        assert settings(Experiment, "quick", [], {"agents": agents})["agent"] == {}
    assert "ppo" in settings(Experiment, "quick", [], {"agents": "flat, ppo"})["agent"]
    assert "ppo" in settings(Experiment, "quick", [], {})["agent"]
    assert settings(Experiment, "quick", ["agents=['flat']"], {})["agent"] == {}
    told = settings(Experiment, "quick", ["agent.ppo.n_envs=8"], {"agents": "flat"})["agent"]
    assert told["ppo"]["n_envs"] == 8  # so that it is refused


def csv(tmp_path: Path, rows: list[str], header: str = "timestamp,open,high,low,close,volume") -> str:
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def hours(n: int) -> list[str]:
    close = 100 + np.sin(np.arange(n) / 9)
    return [
        f"{np.datetime64('2022-01-01T00') + np.timedelta64(k, 'h')},{c:.4f},{c + 1:.4f},{c - 1:.4f},{c:.4f},1000"
        for k, c in enumerate(close)
    ]


MISTAKES: list[tuple[list[str], str]] = [
    (["--agents", "pqo"], "unknown agent 'pqo'; did you mean 'ppo'"),
    (["--agents", "no_such_package.idea"], "no module 'no_such_package.idea'"),
    (["--env", "sopt"], "unknown env 'sopt'; did you mean 'spot'"),
    (["--set", "agent.ppo.totl_steps=3"], "unknown key 'totl_steps'; did you mean 'total_steps'"),
    (["--set", "agent.pop.total_steps=3"], "did you mean 'ppo'"),
    (["--set", "nonsense"], "is not KEY=VALUE"),
    (["--set", "evn.leverage=3"], "unknown key 'evn'; did you mean 'env'"),
    (["--seeds", "0"], "seeds: Input should be greater than or equal to 1"),
    (["--seeds", "many"], "seeds: Input should be a valid integer"),
    (["--preset", "qick"], "no preset 'qick'; did you mean 'quick'"),
    (["--data", "missing.csv"], "missing.csv"),
    (["--data", "synthetic:ar2"], "unknown synthetic market 'ar2'; did you mean 'ar1'"),
    (["--bars", "400"], "too short"),
    (["--timeframe", "1x"], "timeframe"),
    (["--symbols", "X/Y", "--data", "synthetic:ar1"], "leave symbols out"),
    (["--split", "cpcv"], "holdout or walk_forward"),
    (["--set", "env.features=log_retrun:1"], "unknown feature 'log_retrun:1'; did you mean 'log_return'"),
    (["--set", "env.features=aut"], "unknown feature 'aut'; did you mean 'auto'"),
    (["--set", "env.reward=profit"], "unknown reward 'profit'"),
    (["--set", "env.actions=buttons"], "unknown action scheme 'buttons'"),
]


@pytest.mark.parametrize(("argv", "says"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_gets_one_sentence_and_exit_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(
        train.main, [*argv, "--runs", str(tmp_path / "r"), "--checkpoints", str(tmp_path / "c")], capsys
    )
    assert code == 2
    message = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(message) == 1, err
    assert says in " ".join(err.split("error: ")[1].split())
    assert "Traceback" not in err
    assert not out
    assert not list((tmp_path / "c").glob("*"))


def test_a_folder_that_cannot_be_made_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = run(train.main, ["--agents", "flat", "--runs", str(tmp_path / "file" / "runs")], capsys)
    assert code == 2
    assert f"error: {tmp_path / 'file' / 'runs'}" in err
    assert "Traceback" not in err
    assert not out


def test_a_preset_with_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("sedes = 2\n")
    code, _, err = run(train.main, ["--preset", str(preset)], capsys)
    assert code == 2
    assert "mine.toml" in err
    assert "unknown key 'sedes'; did you mean 'seeds'" in err
    preset.write_text("seeds = = 2\n")
    code, _, err = run(train.main, ["--preset", str(preset)], capsys)
    assert code == 2
    assert "is not TOML" in err


def broken(rows: list[str], what: str) -> list[str]:
    rows = list(rows)
    if what == "unsorted":
        rows[10], rows[11] = rows[11], rows[10]
    elif what == "duplicated":
        rows[11] = rows[10]
    elif what == "NaN":
        stamp, *cells = rows[10].split(",")
        rows[10] = ",".join([stamp, "nan", *cells[1:]])
    elif what == "high below low":
        stamp, o, high, low, *rest = rows[10].split(",")
        rows[10] = ",".join([stamp, o, low, high, *rest])
    return rows


@pytest.mark.parametrize("what", ["unsorted", "duplicated", "NaN", "high below low"])
def test_broken_bars_are_refused(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(train.main, ["--data", csv(tmp_path, broken(hours(400), what)), "--agents", "flat"], capsys)
    assert code == 2
    assert "bars.csv" in err.replace("\n", "")
    assert err.count("error: ") == 1


def test_a_missing_column_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "timestamp,open,high,low,last,volume"
    code, _, err = run(train.main, ["--data", csv(tmp_path, hours(400), header), "--agents", "flat"], capsys)
    assert code == 2
    assert "close" in err


def test_a_csv_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--runs", str(tmp_path / "r"), "--checkpoints", str(tmp_path / "c"), "--json"]
    argv = ["--data", csv(tmp_path, hours(3000)), "--symbols", "BTC/USDT", "--agents", "momentum", *places]
    code, out, err = run(train.main, argv, capsys)
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["leaderboard"]


def test_broken_checkpoints_are_refused(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    place = next((trained["folder"] / "runs").glob("*/agents/ppo-0-0"))
    for door_main in (evaluate.main, paper.main):
        for what in ("missing", "truncated", "flipped", "not json", "edited", "other env"):
            copy = tmp_path / what.replace(" ", "-")
            shutil.rmtree(copy, ignore_errors=True)
            if what != "missing":
                shutil.copytree(place, copy)
            weights, manifest = copy / "weights.safetensors", copy / "checkpoint.json"
            argv = [str(copy), "--out", str(tmp_path / "out")]
            if what == "truncated":
                weights.write_bytes(weights.read_bytes()[:-50])
            elif what == "flipped":
                content = bytearray(weights.read_bytes())
                content[-10] ^= 1
                weights.write_bytes(bytes(content))
            elif what == "not json":
                manifest.write_text(manifest.read_text()[:-20])
            elif what == "edited":
                manifest.write_text(manifest.read_text().replace('"perp"', '"spot"'))
            elif what == "other env":
                argv += ["--data", csv(tmp_path, hours(400)), "--symbols", "BTC/USDT"]
            code, out, err = run(door_main, argv, capsys)
            assert code == 2, (what, err)
            assert not out
            sentence = " ".join(err.split("error: ")[1].split())
            expected = {
                "missing": "is not a checkpoint",
                "truncated": "corrupt or truncated",
                "flipped": "does not match its SHA-256",
                "not json": "is not JSON",
                "edited": "does not match its SHA-256",
                "other env": "does not fit the checkpoint",
            }
            assert expected[what] in sentence, (what, sentence)


def test_help_answers_without_the_heavy_imports() -> None:
    """Of every door, one after the other in one process: what is named first brought what is heavy.

    Numba, a fifth of a second, comes with those that read grids of order books: `rehearse` and `tune`, which are last.
    """
    code = """
import importlib, sys
from experiments.command import DOORS
heavy, last = {"torch", "ray", "ccxt", "pandas", "stable_baselines3", "matplotlib", "numba"}, ("rehearse", "tune")
for name in sorted((name for group in DOORS.values() for name in group), key=last.__contains__):
    if name != "completion":
        importlib.import_module(f"experiments.{name}").parser().format_help()
        found = (heavy - {"numba"} if name in last else heavy) & sys.modules.keys()
        assert not found, (name, found)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_tensorboard_has_curves_figures_and_hyper_parameters(trained: dict[str, Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (trained["folder"] / "runs").glob("*/tensorboard")
    training = EventAccumulator(str(folder / "ppo-0-0"))
    training.Reload()
    scalars = set(training.Tags()["scalars"])
    assert {"train/episode_return", "train/value_loss", "validation/sharpe"} <= scalars
    assert len(training.Scalars("train/episode_return")) > 3
    assert "_hparams_/session_start_info" in training.summary_metadata
    evaluation = EventAccumulator(str(folder / "evaluation"))
    evaluation.Reload()
    assert {"equity", "leaderboard"} <= set(evaluation.Tags()["images"])
    assert "test/flat/final_equity" in evaluation.Tags()["scalars"]


def test_ctrl_c_in_a_training_keeps_what_is_finished(tmp_path: Path) -> None:
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    argv = [*QUICK[:-2], "--seeds", "50", *places]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("runs/*/agents/ppo-0-1")):
        assert process.poll() is None, process.communicate()
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err + out
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("door_of", "argv", "said"),
    [
        (portfolio, "add main a --limit max_drawdown=0.1", "--limit is for make and limits; add does not read it"),
        (portfolio, "show main --currency EUR", "--currency is for make; show does not read it"),
        (portfolio, "make main a", "SESSION is for add and remove and transfer; make does not read it"),
        (supervise, "start a --with speed=1x", "--with is for add; start does not read it"),
        (supervise, "add a --checkpoint ppo --trust my.idea", "--trust is for run; add does not read it"),
        (download, "--ticks --symbols BTC/USDT --every 5", "--every is for --feeds"),
        (download, "--ticks --statistics open_interest", "each work by themselves"),
        (download, "--feeds https://example.org/rss --sandbox", "--sandbox is for candles"),
        (paper, "ppo --fills book", "--fills book walks the live order book of an exchange: add --feed ccxt"),
    ],
)
def test_an_option_that_is_not_read_is_refused(
    door_of: Any, argv: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(said)):
        door_of.main(argv.split())
    assert not list(tmp_path.iterdir())


def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"a": [math.nan, (1.0, math.inf)], "b": {"c": -math.inf, "d": None, "e": "NaN"}}
    assert door(lambda _: told) == 0
    assert capsys.readouterr().out == '{"a": [null, [1.0, null]], "b": {"c": null, "d": null, "e": "NaN"}}\n'
