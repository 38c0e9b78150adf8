"""Schemes by their names: those of the library, and a user's own that was handed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.config import UserError, build, nearest
from qframe_rl.custom import handed_over, is_custom, made_own
from qframe_rl.interface.named import SCHEMES
from qframe_rl.interface.schemes import WITHDRAWN, Scheme, box, outside
from qframe_rl.kernel.columns import EQUITY, MARK, POSITION
from qframe_rl.types import Bool, Float


def scheme_of(name: str, params: Mapping[str, Any], n_instruments: int) -> Scheme:
    """Make a scheme: one of ours by its name, or a user's own that was handed over.

    Parameters
    ----------
    name
        Of `SCHEMES`, or with the digest of what was handed over.
    params
        Parameters of its configuration.
    n_instruments
        A.

    Raises
    ------
    UserError
        For an unknown name or parameter, one that is withdrawn, or one of a user's own that was not handed over, or is
        another by now.
    """
    if is_custom(name):
        return OwnScheme(_own_with(handed_over(name, "actions"), params, n_instruments), n_instruments)
    if name in WITHDRAWN:
        raise UserError(f"the action scheme {name!r} is withdrawn: {WITHDRAWN[name]}.")
    if name not in SCHEMES:
        raise UserError(f"unknown action scheme {name!r}{nearest(name, SCHEMES)}")
    config, make = SCHEMES[name]
    return make(build(config, params, f"actions {name}"), n_instruments)


def _own_with(thing: Callable[..., Any], params: Mapping[str, Any], n_instruments: int) -> Any:
    """A class is told how many instruments there are, before its parameters."""
    return made_own(thing, {"n_instruments": n_instruments, **params} if isinstance(thing, type) else params, "actions")


class OwnScheme(Scheme):
    """A user's own scheme.

    Parameters
    ----------
    thing
        A function ``thing(actions (B, ...), exposure (B, A)) -> (B, A)`` from actions and what is held (signed shares
        of equity) to what is to be held, NaN = leave it; its actions lie in [-1, 1], one for each instrument. Or an
        object with such a method ``targets``, and with ``space`` and ``band`` where it wants others.
    n_instruments
        A.
    """

    def __init__(self, thing: Any, n_instruments: int):
        space, band = getattr(thing, "space", box(n_instruments)), float(getattr(thing, "band", 0.02))
        super().__init__(space, n_instruments, band=band)
        self._own = getattr(thing, "targets", thing)
        self._name = getattr(thing, "__name__", type(thing).__name__)

    def targets(self, actions: NDArray[Any], account: Float, holding: Float, active: Bool) -> tuple[Float, Float]:
        """As `Scheme.targets`; also raises ValueError if it does not give (B, A) numbers."""
        self.rows(actions, len(account))
        actions = np.asarray(actions)
        for b in np.flatnonzero(active & ~_inside(self.space, actions))[:1]:
            raise ValueError(outside(actions, int(b), self.space))
        worth = np.where(holding[:, :, POSITION] == 0.0, 0.0, holding[:, :, POSITION] * holding[:, :, MARK])
        equity = account[:, EQUITY, None]
        held = np.divide(worth, equity, out=np.zeros_like(worth), where=equity > 0.0)
        found = np.ascontiguousarray(self._own(actions, held), dtype=np.float64)
        if found.shape != held.shape or np.isinf(found).any():
            raise ValueError(f"actions {self._name} gave {found.shape} targets, or infinite ones, not {held.shape}")
        return found, self.market


def _inside(space: gymnasium.Space[Any], actions: NDArray[Any]) -> Bool:
    """(B,) whether each action is in the space."""
    if isinstance(space, spaces.Box):
        inside = (actions >= space.low) & (actions <= space.high)
        return np.asarray(inside.reshape(len(actions), -1).all(axis=1))
    with np.errstate(invalid="ignore"):  # what is no number is none of the whole ones that it is cut to
        whole = actions.astype(space.dtype)
    same: Bool = (whole == actions).reshape(len(actions), -1).all(axis=1)
    return same & np.array([space.contains(one) for one in whole], dtype=np.bool_)
