"""What no exchange could have printed is refused before anything is made of it."""

from __future__ import annotations

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import History, iso


def checked(history: History, *, sparse: bool = False) -> History:
    """Return ``history``, or refuse a panel that no exchange could have printed.

    Parameters
    ----------
    history
        The panel.
    sparse
        Whether some of its instruments may have no bar, as candidates of a universe may.

    Raises
    ------
    UserError
        Naming the origin, the instrument and the first offending bar: no bars, unsorted or duplicated times, a missing,
        infinite or non-positive price, high below low, open or close outside of them, a negative volume.
    """
    name = history.source.origin
    if len(history) == 0:
        raise UserError(f"{name}: no bars; widen the time span or check the symbol.")
    step = np.diff(history.time)
    if (step <= 0).any():
        row = int(np.argmax(step <= 0)) + 1
        what = "duplicated" if step[row - 1] == 0 else "not sorted"
        raise UserError(f"{name}: timestamps are {what} at {iso(int(history.time[row]) - history.bar_ns)}.")
    _check_prices(history, name, sparse)
    return history


def _check_prices(history: History, name: str, sparse: bool) -> None:
    o, h, low, c, v = (history.values[:, :, k] for k in range(5))
    missing = np.isnan(history.values[:, :, :5])
    if not np.isfinite(history.funding).all():
        raise UserError(f"{name}: funding has a value that is not a number.")
    faults = {
        "a NaN among open, high, low, close and volume": missing.any(axis=2) & ~missing.all(axis=2),
        "an infinite value": np.isinf(history.values[:, :, :5]).any(axis=2),
        "a price that is not above zero": (np.minimum(low, np.minimum(o, c)) <= 0.0),
        "high below low": h < low,
        "open or close outside [low, high]": (np.maximum(o, c) > h) | (np.minimum(o, c) < low),
        "a negative volume": v < 0.0,
    }
    for what, bad in faults.items():
        if bad.any():
            row, a = (int(k) for k in np.argwhere(bad)[0])
            when = iso(int(history.time[row]) - history.bar_ns)
            raise UserError(f"{name}: {history.instruments[a].symbol} has {what} in the bar of {when}; mend the data.")
    if missing.all(axis=(0, 2)).any() and not sparse:
        a = int(np.argmax(missing.all(axis=(0, 2))))
        raise UserError(f"{name}: {history.instruments[a].symbol} has no bar in this span.")
