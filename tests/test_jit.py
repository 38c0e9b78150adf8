"""Machine code on disk is never that of another text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import qframe_rl
from qframe_rl.jit import sources
from qframe_rl.kernel.rows import advance_rows
from qframe_rl.kernel.rules import rules_of
from qframe_rl.risk.columns import watch_for
from qframe_rl.risk.limits import Limits
from tests import ahead
from tests.markets import panel

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


@pytest.mark.parametrize("n", [1, 2])
def test_limits_on_one_instrument_are_compiled_for_the_arrays_of_several(n: int) -> None:
    watch = watch_for(Limits(max_leverage=0.5), rules_of(panel(20, n, kind="perpetual").instruments).table, 1)
    assert watch is not None
    assert all(array.flags.writeable for array in watch if hasattr(array, "flags"))


def test_strategies_walked_ahead_are_settled_by_the_kernel_of_environments() -> None:
    """What a caller states once and for all has a type of its own in Numba, and was one more kernel to compile."""
    ahead.walk(panel(400, 2, kind="perpetual"), {})
    kinds = [[str(kind) for kind in one] for one in advance_rows.signatures]  # type: ignore[attr-defined]
    assert kinds and not [kind for one in kinds for kind in one if kind.startswith("Literal")]
