"""The one command: every door behind it, what a shell needs, files to begin from, and strangers' folders in the way."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import command, new
from experiments.cli import SHIPPED, called, checkpoint_place, console, program, shipped
from experiments.screen import BarScreen
from qframe_rl.config import UserError

ROOT = Path(command.__file__).resolve().parents[1]
NO_DOORS = {
    "__init__",
    "beside",
    "cli",
    "command",
    "ctrl_c",
    "own",
    "paper_books",
    "paper_result",
    "refitting",
    "screen",
    "settings",
    "shadowing",
    "told",
    "told_contest",
    "train_arena",
    "watched",
}


def run(argv: list[str], where: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that does not know ours by itself."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run([sys.executable, *argv], cwd=where, env=env, capture_output=True, text=True)


def test_every_door_is_behind_it() -> None:
    doors = {path.stem for path in (ROOT / "experiments").glob("*.py")} - NO_DOORS
    listed = [name for group in command.DOORS.values() for name in group]
    assert len(set(listed)) == len(listed) and set(listed) - {"completion"} == doors
    for name in listed:
        assert f"  {name} " in command.overview()


def test_what_is_no_command_is_said_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["trian"]) == 2
    assert capsys.readouterr().err == "error: qframe trian: no such command; did you mean 'train'?\n"
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("qframe 0.")
    assert command.main([]) == 0
    assert capsys.readouterr().out.startswith("usage: qframe COMMAND")


@pytest.mark.parametrize("name", [name for group in command.DOORS.values() for name in group])
def test_the_help_of_each_names_the_command_and_what_matters_first(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/qframe"])
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: qframe {name}") and "python -m" not in text.partition("examples:")[0]
    if name in ("train", "evaluate", "paper", "tune", "rehearse"):
        head = text.partition("what matters most:\n")[2].partition("\n\n")[0]
        options = [line.split()[0] for line in head.splitlines() if line.startswith("  -")]
        assert 8 <= len(options) <= 10 and len(text.partition("\n\n")[0].splitlines()) == 1


def test_a_door_by_itself_is_called_as_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.importlib.import_module("experiments.status").main(["--help"])
    assert capsys.readouterr().out.startswith("usage: python -m experiments.status")


@pytest.mark.slow
def test_a_shell_can_complete_it(tmp_path: Path) -> None:
    made = run(["-m", "experiments.command", "completion", "bash"], tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "qframe.sh").write_text(made.stdout)
    assert subprocess.run(["bash", "-n", "qframe.sh"], cwd=tmp_path).returncode == 0
    for word in ("train", "--symbols", "--walk-forward", "--daily-loss"):
        assert word in made.stdout


@pytest.mark.parametrize("name", shipped())
def test_a_checkpoint_that_ships_is_known_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoint_place(name) == SHIPPED / name and (SHIPPED / name / "checkpoint.json").is_file()
    (tmp_path / name).mkdir()
    assert checkpoint_place(name) == Path(name)  # what the user has there goes before
    assert checkpoint_place("nowhere") == Path("nowhere")


@pytest.mark.parametrize("argv", [[], ["--version"], ["train", "--help"], ["status", "--json", "SESSION"]])
@pytest.mark.parametrize(("gone", "code"), [("reader", 141), ("space", 2)])
def test_a_stdout_that_takes_nothing_more_is_no_traceback(
    argv: list[str], gone: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of ``| head -1``, and of a full disk."""
    monkeypatch.setattr(importlib.import_module("experiments.status"), "main", lambda argv: {"sessions": []})
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") if gone == "reader" else open("/dev/full", "w") as out:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", out)
        try:
            ended: object = command.main(argv)
        except SystemExit as stop:
            ended = stop.code
        monkeypatch.undo()
    err = capsys.readouterr().err
    assert ended == code
    assert err == (
        "" if gone == "reader" else "error: stdout: No space left on device; name a place that can be written.\n"
    )


def test_a_locale_without_the_signs_of_tables_gets_others(tmp_path: Path) -> None:
    code = "import sys; from experiments.cli import door; sys.exit(door(lambda argv: print('+1.2 \u2026 +3.4 \u2713')))"
    done = run(["-c", code], tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "+1.2 \\u2026 +3.4 \\u2713\n", "")


def test_ctrl_c_while_a_command_is_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["qframe", "train"])
    monkeypatch.setattr(command.importlib, "import_module", stopped)
    with pytest.raises(SystemExit) as ended:
        command.entry()
    assert ended.value.code == 130 and capsys.readouterr().err == "stopped.\n"


def test_names_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets ended the command, and ``:on:`` became a picture, where a user's folder is called so."""
    name = "a [/x] :on: ü"
    for place in (console(to_stderr=False), BarScreen().console):
        place.print(name)
    with BarScreen() as screen:
        screen.begin(name)
        screen.advance(name, 1, 2, name)
        screen.end(name, name)
    said = capsys.readouterr()
    assert said.out == f"{name}\n" and said.err.count(name) == 3


def test_what_is_to_be_typed_next_is_typed_as_a_shell_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/qframe"])
    assert called("evaluate", Path("checkpoints/1a"), "--set", "a=b") == "qframe evaluate checkpoints/1a --set a=b"
    assert called("evaluate", Path("my runs/[1]")) == "qframe evaluate 'my runs/[1]'"
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    assert called("evaluate", "my runs").endswith("python -m experiments.evaluate 'my runs'")
    assert program("tensorboard", "--logdir", Path("my runs")).endswith("tensorboard --logdir 'my runs'")


def test_a_new_file_is_refused_where_one_is(tmp_path: Path) -> None:
    refused = {
        "My-Idea": "cannot be the name", "class": "cannot be the name", "momentum": "an agent 'momentum' already",
        "none": "None, the name of its class", "view": "View, the name", "config": "Config, the name",
        "market_spec": "MarketSpec, the name",
    }  # fmt: skip
    for name, match in refused.items():
        with pytest.raises(UserError, match=match):
            new.written("agent", name, tmp_path)
    path, spelled = new.written("agent", "my_idea", tmp_path)
    assert spelled == "strategies.my_idea" and path == tmp_path / "strategies" / "my_idea.py"
    with pytest.raises(UserError, match="there already"):
        new.written("agent", "my_idea", tmp_path)
    assert new.written("env", "my_market", tmp_path)[1] == "markets.my_market"


@pytest.mark.slow
def test_new_files_work_where_they_are(tmp_path: Path) -> None:
    """Outside of a checkout, by their dotted paths, and with a stranger's folders beside them."""
    for kind, name in (("agent", "my_idea"), ("env", "my_market")):
        made = run(["-m", "experiments.command", "new", kind, name], tmp_path)
        assert made.returncode == 0, made.stderr
    for name in ("agents", "envs", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    quick = ["--agents", "strategies.my_idea,flat", "--env", "markets.my_market", "--bars", "2000", "--json"]
    begun = "import sys; del sys.path[0]; sys.argv[0] = 'qframe'; from experiments.command import entry; entry()"
    made = run(["-c", begun, "train", *quick], tmp_path)
    assert made.returncode == 0, made.stderr
    assert "my_idea" in made.stdout


def test_a_strangers_catalogue_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").touch()
    made = run(["-m", "experiments.train", "--describe", "momentum"], tmp_path)
    assert made.returncode == 2
    assert made.stderr.startswith("error: the package 'agents' at ") and len(made.stderr.splitlines()) == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_new_files_and_that_of_the_guide_pass_the_checks_and_the_contracts(tmp_path: Path) -> None:
    kept = shutil.ignore_patterns(".*", "runs", "docs", "checkpoints", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, tmp_path / "house", ignore=kept)
    here = tmp_path / "house"
    for kind, name in (("agent", "my_idea"), ("env", "my_market")):
        made = run(["-m", "experiments.command", "new", kind, name], here, PYTHONPATH=str(here))
        assert made.returncode == 0, made.stderr
    guide = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    (here / "agents" / "of_the_guide.py").write_text(guide[0])
    files = ["agents/my_idea.py", "agents/of_the_guide.py", "envs/my_market.py"]
    bin = Path(sys.executable).parent
    for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        done = subprocess.run([bin / check[0], *check[1:], *files], cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    tests = [f"tests/contracts/test_{name}.py" for name in ("agents", "bounds", "envs", "planners")]
    done = run(["-m", "pytest", "-q", *tests, "-k", "my_idea or of_the_guide or my_market"], here, PYTHONPATH=str(here))
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]
