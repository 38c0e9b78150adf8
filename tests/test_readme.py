"""The README's examples run as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def test_the_example_runs() -> None:
    (code,) = blocks("README.md")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
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
    path = {"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, env=path)
    if done.returncode:
        pytest.fail(done.stderr)
    assert "my_company.secret" in done.stdout
