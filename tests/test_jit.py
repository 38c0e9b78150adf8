"""Machine code on disk is never that of another text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import qframe_rl
from qframe_rl.jit import sources

PACKAGE = Path(qframe_rl.__file__).parent


@pytest.mark.parametrize(
    "name", ["kernel/lanes.py", "kernel/columns.py", "risk/columns.py", "policy/products.py", "types.py", "jit.py"]
)
def test_a_change_of_what_is_compiled_or_imported_there_leaves_the_cache(name: str, tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    before = sources(copy)
    assert before == sources(PACKAGE)
    with (copy / name).open("a", encoding="utf-8") as file:
        file.write("# another text\n")
    assert sources(copy) != before


def test_a_change_of_anything_else_does_not(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "watch" / "log.py").write_text("# another text\n", encoding="utf-8")
    assert sources(copy) == sources(PACKAGE)
