"""Who walks: one strategy, or several by turns, as a line of text names them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import Float

_FORM = "NAME[:PARAMETER:VALUE]...[=WEIGHT], such as oracle=.6,random=.4 or oracle:cost:0"


class Walker(NamedTuple):
    """One of those who walk."""

    name: str
    """``oracle``, ``random``, a strategy of the catalogue or a checkpoint."""
    params: dict[str, Any]
    """Parameters that differ from its defaults; those of an oracle are of the problem that it takes this one for."""
    weight: float
    """Share of the steps or episodes, of all weights together 1."""

    @property
    def text(self) -> str:
        """As it may be written."""
        return ":".join([self.name, *(f"{key}:{value}" for key, value in self.params.items())])


def mixed(parts: tuple[str, ...]) -> tuple[Walker, ...]:
    """Read the parts of a mixture; weights are scaled to sum to one, and are equal where none is given.

    Raises
    ------
    UserError
        If there is none, one is written otherwise, or some have weights and others not.
    """
    found, weights = [], []
    for part in parts:
        text, equals, weight = part.rpartition("=") if "=" in part else (part, "", "1")
        name, *rest = text.split(":")
        if not name or len(rest) % 2:
            raise UserError(f"mix {part!r} is not {_FORM}.")
        try:
            weights.append(float(weight))
        except ValueError:
            raise UserError(f"mix {part!r}: {weight!r} is no weight; write {_FORM}.") from None
        found.append((name, dict(zip(rest[::2], rest[1::2], strict=True)), bool(equals)))
    if not found:
        raise UserError(f"mix names nobody; write {_FORM}.")
    if len({weighed for *_, weighed in found}) > 1:
        raise UserError(f"mix {','.join(parts)}: give all of them a weight, or none.")
    total = sum(weights)
    if not (all(0.0 <= weight < np.inf for weight in weights) and total > 0.0):
        raise UserError(f"mix {','.join(parts)}: weights must be 0 or more, and one of them above 0.")
    return tuple(Walker(name, params, w / total) for (name, params, _), w in zip(found, weights, strict=True))


def weighed(mix: tuple[Walker, ...], weights: Float) -> tuple[Walker, ...]:
    """The same walkers with other weights."""
    return tuple(one._replace(weight=float(w)) for one, w in zip(mix, weights, strict=True))


def described(mix: tuple[Walker, ...], by: str) -> str:
    """The mixture in a line."""
    if len(mix) == 1:
        return mix[0].text
    return ", ".join(f"{one.weight:.4g} {one.text}" for one in mix) + f" by {by}"
