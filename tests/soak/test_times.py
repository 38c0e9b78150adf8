"""What is kept of the matrix of faults and commands, and how a document shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.times import BEGIN, END, Cell, Times, document


def test_a_cell_that_was_run_is_not_run_again_and_one_that_failed_is(tmp_path: Path) -> None:
    times = Times(tmp_path / "times")
    times.add(Cell("order", "500", {"halt": 0.1}))
    times.add(Cell("order", "drop", {}, "no positions"))
    again = Times(tmp_path / "times")
    assert (again.has("order", "500"), again.has("order", "drop"), again.has("market", "500")) == (True, False, False)


def test_a_table_says_what_was_slow_and_what_failed(tmp_path: Path) -> None:
    times = Times()
    times.add(Cell("order", "drop", {}, "no positions"))
    times.add(Cell("order", "drop", {"halt": 0.5, "flatten": 2.5}))
    table = times.table(["order", "market"], ["halt", "flatten"])
    said = " ".join(table.splitlines())
    assert "| order | 1 | 0.50, 0.50 | 2.50, 2.50 |" in table
    assert "1 took more than 2 s (order, drop: flatten 2.5 s)" in said
    assert "Set-ups that failed: 1 (order, drop: no positions); run again, 0 of them failed at last." in said


def test_a_document_keeps_what_stands_round_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    document(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="no place for the table"):
        document(page, "new")
