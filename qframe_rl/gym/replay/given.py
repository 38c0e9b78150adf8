"""What may be given as ``history=`` of an order book: runs of ticks, and recipes by which others find them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qframe_rl.config import UserError, build, shortened
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.tick_load import MADE, TickHistory, load_ticks
from qframe_rl.gym.replay.packed import TickSpan, whole_runs
from qframe_rl.types import Instrument

GivenTicks = TickHistory | Mapping[str, Any] | str | Path | None


def spans_of(given: GivenTicks) -> tuple[Instrument, Sequence[TickSpan]]:
    """An instrument and all of its runs.

    Parameters
    ----------
    given
        A `TickHistory`; a folder with a store, or ``synthetic:ticks``; a recipe: a dict of fields of
        `qframe_rl.feeds.data.DataConfig`; None = made-up ticks.

    Raises
    ------
    UserError
        For anything else, or ticks that cannot be read.
    """
    if given is None:
        given = MADE
    if isinstance(given, str | Path):
        given = {"data": str(given)}
    if isinstance(given, Mapping):
        given = load_ticks(build(DataConfig, given, "history"))
    if not isinstance(given, TickHistory):
        raise UserError(f"history of an order book is a TickHistory, a folder or a recipe (got {shortened(given)}).")
    return given.instrument, whole_runs(given.runs)
