"""The README's examples run as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from qframe_rl.feeds.synthetic import synthetic

ROOT = Path(__file__).resolve().parent.parent


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def test_the_example_runs(tmp_path: Path) -> None:
    """Word for word, in a folder with candles of one's own."""
    (code,) = blocks("README.md")
    assert code.count("\n") <= 17
    history = synthetic("ar1", n_bars=3_000)
    table = pd.DataFrame(history.values[:, 0, :5], columns=["open", "high", "low", "close", "volume"])
    table.set_index(pd.to_datetime(history.time - history.bar_ns)).to_csv(tmp_path / "candles.csv")
    path = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("equity ")


def test_the_strategy_of_the_guide_is_found_by_a_dotted_name(tmp_path: Path) -> None:
    (code,) = blocks("CONTRIBUTING.md")
    (tmp_path / "my_company").mkdir()
    (tmp_path / "my_company" / "secret.py").write_text(code)
    command = [
        "experiments.train", "--bars", "3000", "--agents", "my_company.secret", "--runs", str(tmp_path / "runs"),
        "--checkpoints", str(tmp_path / "checkpoints"), "--set", 'agent."my_company.secret".lookback_bars=12',
    ]  # fmt: skip
    path = {"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, env=path)
    if done.returncode:
        pytest.fail(done.stderr)
    assert "my_company.secret" in done.stdout
