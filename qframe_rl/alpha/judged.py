"""How one formula does on a ground: what it says, whether it counts, and its ICs row by row."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from qframe_rl.alpha.ground import Ground
from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.said import rows_needed, said
from qframe_rl.alpha.score import COVERED, TELLING, dates_of, ic_rows, standing_with_counts
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import Bool, Float

Fault = Literal["", "missing", "flat", "few values"]
"""Why a formula does not count."""
FAULTS: dict[str, str] = {
    "missing": f"it has a value in fewer than {COVERED:.0%} of the cells",
    "flat": f"it differs among the instruments, or through time, on fewer than {TELLING:.0%} of the dates",
    "few values": "its median date has fewer than half as many distinct values as instruments",
}
"""The same in words."""


class OnGround(NamedTuple):
    """A formula on a ground."""

    stand: Float
    """(N, A) what it says, from `qframe_rl.alpha.said.said`."""
    ics: Float
    """(N,) of each row; NaN in rows that are no dates of it, and nowhere else a number where it does not count."""
    fault: Fault
    """Empty where it counts."""

    @property
    def ic(self) -> float:
        """Mean IC."""
        return float(np.nanmean(self.ics)) if not self.fault else 0.0


def on_ground(tree: Formula, ground: Ground, evaluator: Evaluator) -> OnGround:
    """Compute a formula on a ground and look at it.

    Parameters
    ----------
    tree
        The formula.
    ground
        The rows.
    evaluator
        Its `qframe_rl.alpha.ground.Ground.evaluator`.

    Returns
    -------
    OnGround
        By the rules of `qframe_rl.alpha.score.score`; of fewer instruments than are ranked, what it says must vary on
        each and have a value in as many cells.
    """
    skipped = ground.start - ground.first
    silent = max(0, rows_needed(tree, ground.bars.shape[1]) - 1 - skipped)
    values, label = evaluator.shown(tree), ground.followed.label
    there: Bool = ground.seen & ~np.isnan(label)
    there[:silent] = False
    dates = dates_of(there)
    if ground.crosses:
        stand, counts = standing_with_counts(values[skipped:], ground.seen)
        fault = _fault(values[skipped:], counts, ground.seen, dates)
    else:
        stand = np.ascontiguousarray(said(values, evaluator.members)[skipped:])
        fault = _fault_of_few(stand, ground.seen, dates)
    if fault:
        return OnGround(stand, np.full(len(stand), np.nan), fault)
    ics = rows_of_ic(stand, label, ground.seen)
    ics[~dates] = np.nan
    return OnGround(stand, ics, "" if np.isfinite(ics).any() else "missing")


def rows_of_ic(stand: Float, label: Float, members: Bool) -> Float:
    """IC of each row, (N,); NaN where nobody has a label.

    Parameters
    ----------
    stand
        (N, A) from `qframe_rl.alpha.said`.
    label
        (N, A) of a ground.
    members
        (N, A) the universe.

    Returns
    -------
    Float
        Of fewer instruments than are ranked the products of what is said and what followed, each in deviations from
        its mean through time, averaged over the instruments: their mean is the mean correlation through time.
        Of more, NaN also where `qframe_rl.alpha.score.dates_of` says that the labels are too few for a date.
    """
    if stand.shape[1] >= LEAST_MEMBERS:
        out = np.empty(len(stand))
        ic_rows(stand, label, members, np.empty((2, stand.shape[1])), out)
        out[~dates_of(members & ~np.isnan(label))] = np.nan
        return out
    both = members & ~np.isnan(stand) & ~np.isnan(label)
    product = np.zeros(stand.shape)
    for a in range(stand.shape[1]):
        rows = both[:, a]
        if rows.any():
            product[rows, a] = _deviations(stand[rows, a]) * _deviations(label[rows, a])
    n = both.sum(axis=1)
    return np.where(n > 0, product.sum(axis=1) / np.maximum(n, 1), np.nan)


def _deviations(x: Float) -> Float:
    far = x - x.mean()
    spread = float(np.sqrt(np.mean(far * far)))
    return np.asarray(far / spread if spread > 1e-12 * abs(float(x.mean())) else np.zeros(len(x)))


def _fault(values: Float, counts: Float, members: Bool, dates: Bool) -> Fault:
    if not dates.any():
        return "missing"
    inside = members[dates]
    if float(np.isfinite(values[dates])[inside].mean()) < COVERED:
        return "missing"
    n, different = counts[dates].T
    if float(np.mean((different > 1) & (n >= LEAST_MEMBERS))) < TELLING:
        return "flat"
    return "few values" if float(np.median(different / np.maximum(n, 1))) < 0.5 else ""


def _fault_of_few(stand: Float, members: Bool, dates: Bool) -> Fault:
    if not dates.any():
        return "missing"
    inside, seen = members[dates], stand[dates]
    if float(np.isfinite(seen)[inside].mean()) < COVERED:
        return "missing"
    differs = [len(np.unique(x[np.isfinite(x)])) > 1 for x in seen.T if np.isfinite(x).any()]
    return "" if all(differs) else "flat"
