"""The interface of every market that the kernel settles, and `rebalance`, which has the same arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import View
from qframe_rl.coarser import apart
from qframe_rl.features import FORMULA
from qframe_rl.interface.bracket import SlotScheme
from qframe_rl.interface.observer import ONE, ONE_ROW, PANELS, Observer, Parts, Scaler, laid_out
from qframe_rl.interface.own_scheme import scheme_of
from qframe_rl.kernel.columns import LIMIT, N_ORDER, QUANTITY, STOP
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import target_rows
from qframe_rl.orders import orders_of
from qframe_rl.types import CLOSE, Float, Orders

_scratch = cache(scratch)
_FEW = 4
"""Instruments of which targets become orders sooner number by number than by a call of compiled code."""
_NONE = np.full(_FEW, np.nan)


class MarketInterface:
    """The `Interface` of every market that is settled by the kernel.

    Parameters
    ----------
    observer
        What a policy sees.
    scheme
        Name of an action scheme: ``levels``, ``exposure``, ``simplex``, ``delta``, ``limit`` or ``bracket``, or of a
        user's own.
    params
        Parameters of the scheme's configuration.

    Raises
    ------
    UserError
        As `qframe_rl.interface.own_scheme.scheme_of`.
    """

    def __init__(self, observer: Observer, scheme: str, params: Mapping[str, Any]):
        self.observer = observer
        self.scheme_name = scheme
        self.scheme_params = dict(params)
        self.scheme = scheme_of(scheme, params, observer.n_instruments)
        self.window = observer.window
        self.market_shape = (observer.n_rows, observer.n_instruments * len(observer.features))
        self.observation_space: gymnasium.Space[Any] = observer.space
        self.action_space = self.scheme.space
        self.idle = self.scheme.idle

    def fit(self, parts: Parts) -> MarketInterface:
        """Return the same interface with its scaler fitted on the rows of the parts' segments alone."""
        return MarketInterface(self.observer.fit(parts), self.scheme_name, self.scheme_params)

    def observe(self, view: View) -> NDArray[np.float32]:
        """Observation of one view, (n_numbers,) float32."""
        return self.observer.observe(view)

    def orders(self, action: Any, view: View) -> Orders:
        """Orders that one action means at one view; raises ValueError for an action outside the space."""
        account, holding, bars = laid_out(view)
        if isinstance(self.scheme, SlotScheme):
            return orders_of(self.scheme.slots(np.asarray(action)[None], account, holding, bars, ONE_ROW, ONE)[0])
        target, offset = self.scheme.targets(np.asarray(action)[None], account, holding, ONE)
        return _orders(target, offset, account, holding, bars, self.scheme.band)

    def describe(self) -> dict[str, Any]:
        """Plain data from which `interface_from` makes it again, the scaler's numbers to the last bit."""
        o = self.observer
        timed = any(apart(f.name) is not None or f.name.startswith(FORMULA) for f in o.features)
        return (
            ({"bar_ns": o.bar_ns} if timed else {})
            | dict.fromkeys(o.panels, True)
            | {
                "features": [feature.name for feature in o.features],
                "n_rows": o.n_rows,
                "n_instruments": o.n_instruments,
                "columns": list(o.columns),
                "mean": o.scaler.mean.tolist(),
                "scale": o.scaler.scale.tolist(),
                "scheme": self.scheme_name,
                "params": self.scheme_params,
            }
        )


def interface_from(data: Mapping[str, Any]) -> MarketInterface:
    """Make an interface from what `MarketInterface.describe` returned."""
    scaler = Scaler(np.array(data["mean"], dtype=np.float64), np.array(data["scale"], dtype=np.float64))
    shape = (data["n_rows"], data["n_instruments"], data["columns"])
    panels = [name for name in PANELS if data.get(name, False)]
    observer = Observer(data["features"], *shape, scaler, data.get("bar_ns", 0), panels=panels)
    return MarketInterface(observer, data["scheme"], data["params"])


def rebalance(view: View, target: Float, band: float = 0.0) -> Orders:
    """Market orders that take the account to target exposures.

    Parameters
    ----------
    view
        The decision instant.
    target
        (A,) signed share of equity to hold of each instrument; NaN = leave as it is.
    band
        No order where exposure is within this of its target, unless the target is exactly 0.

    Raises
    ------
    ValueError
        For targets of another shape.
    """
    target, n = np.ascontiguousarray(target, dtype=np.float64), view.bars.shape[1]
    if target.shape != (n,):
        raise ValueError(f"target exposures have shape {target.shape}, but there are {n} instruments")
    if n <= _FEW and view.member == 0:
        return _aimed(view, target, band)
    account, holding, bars = laid_out(view)
    return _orders(target[None], np.empty((0, len(target))), account, holding, bars, band)


def _aimed(view: View, target: Float, band: float) -> Orders:
    """The same as `_orders`, number by number: of few instruments that costs a fifth, and gives the same bits."""
    account, closes = view.account, view.bars[-1, :, CLOSE].tolist()
    position, mark, equity = account.position.tolist(), account.mark.tolist(), float(account.cash)
    for held, worth in zip(position, mark, strict=True):  # as `Account.equity`
        equity += held * worth if held != 0.0 else 0.0
    fields = zip(target.tolist(), position, mark, closes, strict=True)
    asked = np.array([_away(*each, equity, band) for each in fields])
    return Orders(asked, _NONE[: len(asked)].copy(), _NONE[: len(asked)].copy())


def _away(target: float, held: float, mark: float, close: float, equity: float, band: float) -> float:
    """What is ordered of one instrument, as `qframe_rl.kernel.lanes.aim` has it."""
    if close != close or target != target or not equity > 0.0:
        return 0.0
    if target == 0.0:
        return -held
    # Python divides by zero no number; a price of zero is for the compiled arithmetic to say something about.
    away = target * equity / mark - held if mark != 0.0 else math.copysign(math.inf, target)
    return away if abs(target - held * mark / equity) > band else 0.0


def _orders(target: Float, offset: Float, account: Float, holding: Float, bars: Float, band: float) -> Orders:
    out = np.empty((1, target.shape[1], N_ORDER))
    target_rows(target, offset, band, account, holding, bars, ONE_ROW, out, _scratch(target.shape[1]))
    return Orders(out[0, :, QUANTITY], out[0, :, LIMIT], out[0, :, STOP])
