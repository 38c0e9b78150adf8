"""What ``info`` holds beside the observation: asked for by name, and free where nothing is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest
from qframe_rl.gym.engine import BatchEngine
from qframe_rl.kernel.columns import CASH, EARNED, EQUITY, FEE, FUNDING, PRICE, PUSHED, QUANTITY, SPREAD
from qframe_rl.types import Bool, Float

Infos = dict[str, Any]
"""Arrays of B rows by name, and beside each, under ``_`` and its name, a mask of the rows that count."""


def _exposure(engine: BatchEngine) -> Float:
    """(B, A) worth of each position as a signed share of equity; 0 without equity."""
    worth = np.where(engine.position == 0.0, 0.0, engine.position * engine.mark)
    equity = engine.equity[:, None]
    return np.divide(worth, equity, out=np.zeros_like(worth), where=equity > 0.0)


def _costs(engine: BatchEngine) -> dict[str, Float]:
    """(B,) what the last bar cost by kind, quote currency; funding is negative where it was received."""
    kinds = {"fee": FEE, "spread": SPREAD, "impact": PUSHED, "funding": FUNDING}
    return {name: engine.fills[:, :, column].sum(axis=1) for name, column in kinds.items()}


_KINDS: dict[str, Callable[[BatchEngine], NDArray[Any] | dict[str, Float]]] = {
    "equity": lambda engine: engine.equity.copy(),
    "cash": lambda engine: engine.cash.copy(),
    "time": lambda engine: engine.tape.time[engine.row],
    "exposure": _exposure,
    "position": lambda engine: engine.position.copy(),
    "costs": _costs,
    "interest": lambda engine: engine.account[:, EARNED].copy(),
    "fills": lambda engine: engine.fills[:, :, QUANTITY].copy(),
    "prices": lambda engine: engine.fills[:, :, PRICE].copy(),
}
_ONE: dict[str, Callable[[BatchEngine], float | int]] = {
    "equity": lambda engine: engine.account.item(0, EQUITY),
    "cash": lambda engine: engine.account.item(0, CASH),
    "time": lambda engine: engine.tape.time.item(engine.row.item(0)),
    "interest": lambda engine: engine.account.item(0, EARNED),
}
"""The same of the only account of a batch, without an array."""
NAMES = tuple(_KINDS)
"""``equity``, ``cash`` and ``interest`` (of the last bar) in quote currency, ``time`` of the last close in ns UTC,
``exposure`` (A,) as shares of equity, ``position`` and ``fills`` of the last bar (A,) in signed base units and the
``prices`` of these, and ``costs`` of the last bar: a dict of ``fee``, ``spread``, ``impact`` and ``funding`` in quote
currency."""
RECORDED = frozenset({"costs", "fills", "prices"})
"""Those that need the engine to keep what became of the orders."""


def checked(names: Iterable[str] | str) -> tuple[str, ...]:
    """Names of what is asked for, in their order; raises UserError for one that there is not."""
    asked = tuple(dict.fromkeys(part.strip() for part in (names.split(",") if isinstance(names, str) else names)))
    for name in asked:
        if name not in _KINDS:
            raise UserError(f"info has no {name!r}{nearest(name, NAMES)}")
    return asked


def infos_of(engine: BatchEngine, names: tuple[str, ...], mask: Bool) -> Infos:
    """What is asked for of every account of a batch, laid out as Gymnasium does.

    Parameters
    ----------
    engine
        The batch.
    names
        What is asked for, of `NAMES`.
    mask
        (B,) the accounts that count.
    """
    return _masked({name: _KINDS[name](engine) for name in names}, mask)


def _masked(values: Mapping[str, Any], mask: Bool) -> Infos:
    found: Infos = {}
    for name, value in values.items():
        found[name] = _masked(value, mask) if isinstance(value, dict) else value
        found[f"_{name}"] = mask
    return found


def info_of(engine: BatchEngine, names: tuple[str, ...]) -> dict[str, Any]:
    """What is asked for of the only account of a batch of one."""
    return {name: _ONE[name](engine) if name in _ONE else _first(_KINDS[name](engine)) for name in names}


def _first(value: Any) -> Any:
    if isinstance(value, dict):
        return {kind: _first(one) for kind, one in value.items()}
    return value[0] if value.ndim > 1 else value[0].item()
