"""What may be given as ``history=``: bars, tables of pandas, files, and recipes by which others find them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qframe_rl.config import UserError, build, shortened
from qframe_rl.feeds.data import DataConfig
from qframe_rl.types import History, timeframe_name

if TYPE_CHECKING:
    import pandas as pd

    Frame = pd.DataFrame
else:
    Frame = Any

Given = History | Sequence[History] | Frame | Mapping[str, Any] | str | Path | None


def histories_of(given: Given, detail: str | None = None) -> list[History]:
    """Bars of what was handed over.

    Parameters
    ----------
    given
        A `History`, or several whose instruments have the same rules; a DataFrame, or a dict of them by symbol, as in
        `qframe_rl.feeds.frames.from_frames`; a file of candles or a folder with a store; a recipe: a dict of fields of
        `qframe_rl.feeds.data.DataConfig`, or the text of its ``data`` alone, such as ``synthetic:ar1``, which travels
        in the specification of an environment where bars would be too large; None = the embedded default market.
    detail
        Length of the finer bars that a recipe's come with.

    Raises
    ------
    UserError
        For anything else, or data that cannot be read.
    """
    if given is None:
        given = "synthetic:ar1"
    if isinstance(given, str | Path):
        given = {"data": str(given)}
    if isinstance(given, History):
        return [given]
    if _is_frame(given):
        return [_from_frames({str(getattr(given, "attrs", {}).get("symbol", "ASSET/USD")): given})]
    if isinstance(given, Mapping) and given:
        if any(map(_is_frame, given.values())):
            return [_from_frames(given)]
        return [_loaded(given if detail is None else {**given, "detail": detail})]
    listed = list(given) if isinstance(given, Sequence) else []  # a dict that is left here is empty
    if not listed or not all(isinstance(one, History) for one in listed):
        raise UserError(
            f"history must be a History or a list of them, a DataFrame or a dict of them, a file, or a recipe "
            f"(got {shortened(given)})."
        )
    return _alike(cast(list[History], listed))


def _alike(histories: list[History]) -> list[History]:
    """Refuse histories that one market cannot walk: its rules, features and bars are those of the first.

    They may be of other symbols whose rules are the same.
    """
    first = histories[0]
    for k, one in enumerate(histories):
        for what, own, other in (
            ("instruments", _terms(first), _terms(one)),
            ("columns", first.columns, one.columns),
            ("bars", timeframe_name(first.bar_ns), timeframe_name(one.bar_ns)),
        ):
            if own != other:
                raise UserError(
                    f"history: the histories of a list trade by the same rules, but {what} of number {k + 1} are "
                    f"{shortened(other)} and those of the first {shortened(own)}; make an environment for each."
                )
    return histories


def _terms(history: History) -> list[dict[str, Any]]:
    """What rules say of each instrument, whatever it is called."""
    return [{name: value for name, value in one.plain().items() if name != "symbol"} for one in history.instruments]


def _is_frame(value: object) -> bool:
    return hasattr(value, "columns") and hasattr(value, "reset_index")


def _from_frames(frames: Mapping[str, Any]) -> History:
    from qframe_rl.feeds.frames import from_frames

    return from_frames(frames)


def _loaded(recipe: Mapping[str, Any]) -> History:
    from qframe_rl.feeds.load import load

    return load(build(DataConfig, recipe, "history"))
