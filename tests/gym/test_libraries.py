"""What of docs/conformance.md runs in seconds with what is installed: the rest is ``make long ARGS="libraries"``."""

from __future__ import annotations

from typing import Any

import pytest
from gymnasium.vector import AutoresetMode

from tests.conformance.libraries import with_gymnasium, with_sb3
from tests.conformance.libraries.page import written
from tests.conformance.libraries.rows import CASES, STEPS, Case
from tests.markets import panel

OURS = [case for case in CASES if not case.control]
BARS = {"history": panel(200, 2, kind="spot"), "features": ["log_return:1"], "episode_bars": STEPS}
BOX = Case("Portfolio-v2", "QFrame/Portfolio-v2", BARS)
CONTROL = next(case for case in CASES if case.id == "Pendulum-v1")
NOT_HERE = {"NumpyToTorch"}
"""It wants a package that only its tests need."""
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("case", OURS, ids=lambda case: case.name)
def test_stable_baselines3_makes_and_checks_them(case: Case) -> None:
    with_sb3.check_env(case.make())
    env = with_sb3.vec(case)
    env.reset()
    env.step([env.action_space.sample() for _ in range(2)])


@pytest.mark.parametrize("name", sorted({*with_gymnasium.SINGLE, *with_gymnasium.SINGLE_BOX} - NOT_HERE))
def test_gymnasiums_wrappers_take_one_environment(name: str) -> None:
    with_gymnasium.wrapped({**with_gymnasium.SINGLE, **with_gymnasium.SINGLE_BOX}[name], BOX)


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", sorted({*with_gymnasium.BATCH, *with_gymnasium.BATCH_BOX} - NOT_HERE))
def test_a_wrapped_native_batch_gives_what_a_wrapped_batch_of_gymnasiums_gives(name: str, mode: AutoresetMode) -> None:
    wrap = {**with_gymnasium.BATCH, **with_gymnasium.BATCH_BOX}[name]
    try:
        with_gymnasium.batched(wrap, mode, CONTROL)
    except (AssertionError, ValueError) as refused:
        with pytest.raises(type(refused)):
            with_gymnasium.batched(wrap, mode, BOX)
    else:
        with_gymnasium.batched(wrap, mode, BOX)


def row(case: str, why: str = "", control: bool = False, **more: str) -> dict[str, Any]:
    told = {"tool": "tool", "version": "1", "what": "check", "part": "", "case": case, "control": control, "why": why}
    return told | more


@pytest.mark.parametrize(
    ("rows", "ours"),
    [
        ([row("ours"), row("theirs", control=True)], 0),
        ([row("ours", "ValueError: a"), row("theirs", control=True)], 1),
        ([row("ours", "ValueError: a"), row("theirs", "ValueError: b", control=True)], 0),
        ([row("ours", "ValueError: a"), row("theirs", "KeyError: b", control=True)], 1),
        ([row("ours", "ValueError: a"), row("theirs", "ValueError: b", control=True), row("more", control=True)], 1),
        ([row("ours", "ValueError: a")], 1),
        ([row("ours"), row("theirs", "ValueError: b", control=True)], 0),
    ],
)
def test_a_failure_is_the_tools_own_where_every_control_fails_alike(rows: list[dict[str, Any]], ours: int) -> None:
    text, found = written(rows)
    assert len(found) == ours
    assert ("## Ours" in text) == bool(ours)
    assert text.count("| tool 1 | check |") == 1


def test_the_page_names_no_path_of_a_machine() -> None:
    text, _ = written([row("ours", "ImportError: \x1b[33m/root/here/there.py at 0x7f3e, `this`")])
    assert "ImportError: ... at , 'this'" in text
