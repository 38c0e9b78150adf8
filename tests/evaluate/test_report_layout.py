"""Pages: nothing lost, nothing over the edge, little left blank; and records of which little can be said."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from qframe_rl.evaluate.report.chart import Chart, ChartSeries, Report, Section, Table
from qframe_rl.evaluate.report.layout import LEAST, MOST, Item, arrange
from qframe_rl.evaluate.report.page import page
from qframe_rl.evaluate.report.paper import pages
from qframe_rl.evaluate.report.sections import costs, positions
from qframe_rl.evaluate.report.through_time import drawdowns, through_time
from qframe_rl.evaluate.tearsheet import tear_sheet

from .made import returns_record
from .test_tearsheet import RECORDS

ROOM = 10.0


def item(fixed: float, chart: float = 0.0, *, again: float = 0.0, bound: bool = False) -> Item:
    return Item(lambda *_: None, fixed, chart, again, bound)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.floats(0.1, 3.0), st.sampled_from([0.0, 2.0]), st.booleans()), min_size=1, max_size=40))
def test_nothing_is_lost_and_nothing_goes_over_the_edge(rows: list[tuple[float, float, bool]]) -> None:
    items = [item(fixed, chart, bound=bound and k > 0 and k % 3 != 0) for k, (fixed, chart, bound) in enumerate(rows)]
    found = arrange(items, ROOM)
    assert [one for page in found for one in page.items] == items
    for sheet in found:
        used = sum(one.fixed + one.chart * sheet.scale for one in sheet.items)
        assert used + sheet.blank == pytest.approx(ROOM)
        assert sheet.blank > -1e-9 or len(sheet.items) <= 3
        assert LEAST <= sheet.scale <= MOST
    assert not any(sheet.items[0].bound for sheet in found[1:])


def test_charts_fill_what_would_be_blank() -> None:
    """Four charts of three inches: two on a page leave four inches blank; stretched, they leave less."""
    found = arrange([item(0.7, 2.5) for _ in range(4)], ROOM)
    assert [len(sheet.items) for sheet in found] == [4] and found[0].scale == pytest.approx(0.72)
    found = arrange([item(0.7, 2.5) for _ in range(6)], ROOM)
    assert [len(sheet.items) for sheet in found] == [3, 3] and all(abs(sheet.blank) < 1e-9 for sheet in found)


def test_what_is_too_high_for_a_page_has_one() -> None:
    found = arrange([item(1.0), item(25.0), item(1.0)], ROOM)
    assert [one.fixed for sheet in found for one in sheet.items] == [1.0, 25.0, 1.0]


def test_a_page_that_begins_within_a_table_says_its_head_again() -> None:
    found = arrange([item(6.0), *(item(1.0, again=0.5 * (k > 0)) for k in range(8))], ROOM)
    assert sum(sheet.items[0].again for sheet in found) == 0.5
    assert found[1].blank == pytest.approx(ROOM - 0.5 - sum(one.fixed for one in found[1].items))


def long_report() -> Report:
    rows = tuple((f"row {k}", f"{k}.00", "words that are wide enough for no second table") for k in range(90))
    narrow = tuple((f"n{k}", str(k)) for k in range(40))
    series = ChartSeries("", [0.0, 1.0, 2.0], [1.0, 2.0, 1.0])
    charts = tuple(Chart(f"chart {k}", (series,), x="number") for k in range(5))
    sections = (
        Section("One", ("Words.",), charts, (Table("Wide", ("a", "a longer head", "c"), rows),)),
        Section("Two", (), charts[:1], (Table("Narrow", ("a", "b"), narrow),), tables_first=True),
    )
    return Report("A title", "A headline", "open", ("A reason.", "Another."), sections, "A note")


def texts(figures: Iterator[Figure] | list[Figure]) -> list[str]:
    return [text.get_text() for one in figures for text in one.texts]


def test_every_row_is_drawn_once_and_within_the_page() -> None:
    figures = list(pages([long_report()]))
    said = texts(figures)
    for k in range(90):
        assert said.count(f"row {k}") == 1
    for k in range(40):
        assert said.count(f"n{k}") == 1
    assert said.count("Narrow") == said.count("(continued)") == 1, "a long narrow table goes on beside itself"
    assert said.count("Wide") == 1 and said.count("Wide (continued)") >= 1
    assert f"A title, page {len(figures)} of {len(figures)}" in said
    for figure in figures:
        foot = [text.get_position()[1] for text in figure.texts if text.get_position()[1] > 0.04]
        assert min(foot) >= 0.06 and max(foot) < 0.97
        lowest = min([*foot, *(ax.get_position().y0 for ax in figure.axes)])
        assert lowest < 0.5, "no page is half empty"


@pytest.mark.parametrize("name", list(RECORDS))
def test_sections_of_records_of_which_little_can_be_said(name: str) -> None:
    record = RECORDS[name]
    told = costs({"x": record}), positions("x", record, ())
    for held in (None, RECORDS["no trades"], record):
        sheet = tear_sheet(record, held)
        sections = (Section("d", tables=(drawdowns(sheet),)), *through_time("x", record, held, sheet), *told)
        report = Report("t", "h", "open", (), sections)
        text = page([report])
        assert ">nan" not in text and "NaN" not in text and "None" not in text
        assert len(list(pages([report]))) >= 1


def test_what_is_not_known_is_a_dash() -> None:
    record, held = returns_record(np.full(59, -0.01)), RECORDS["no trades"]
    sheet = tear_sheet(record, held)
    _, risk = through_time("x", record, held, sheet)
    cells = {row[0]: row[1:] for row in risk.tables[1].rows}
    assert cells["beta"] == ("-", "") and cells["alpha a year"] == ("-", "")
    (row,) = drawdowns(sheet).rows
    assert row[3] == "not yet" and row[6] == "-"
    assert "equity never fell" in drawdowns(tear_sheet(held)).rows[0]
    assert np.all([len(one) == 7 for one in drawdowns(tear_sheet(held)).rows])
