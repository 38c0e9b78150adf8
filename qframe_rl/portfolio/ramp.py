"""Capital that is earned: a member gets its share in steps, each only after the one before was kept to.

``5%:14d,25%:30d,100%``: a twentieth of the share for fourteen days, a quarter for thirty, then all of it. A day counts
where the member traded and stood inside its promise at every look; the first look at which it does not takes it a step
back, one more each day as long as that lasts, and the days of a step begin anew whenever it comes to it. The rule sees
figures and changes nothing by itself.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from qframe_rl.config import UserError
from qframe_rl.times import DAY, HOUR

MOST_STEPS = 20
_STEP = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%(?::([0-9]{1,4})([hdw]))?")
_UNIT = {"h": HOUR, "d": DAY, "w": 7 * DAY}


class RampStep(NamedTuple):
    """A step."""

    share: float
    """Of what the member is to get at last."""
    ns: int | None
    """How long it is kept to before the next one; None for the last."""


class RampBounds(NamedTuple):
    """What counts as inside the promise."""

    drift_bps: float = 20.0
    """How much more real books may cost than the rule for bars says, mean, basis points."""
    drawdown: float | None = None
    """Loss since the highest equity, as a fraction; None = that of the checkpoint's test bars."""


class RampFigures(NamedTuple):
    """How a member stands."""

    time_ns: int
    """Close of its last bar, ns UTC."""
    state: str
    """ACTIVE, REDUCE_ONLY, FLATTEN, HALTED."""
    drawdown: float
    """Loss since its highest equity, as a fraction; what was paid in or out is none."""
    drift_bps: float | None
    """None while nothing filled by both rules."""
    answer: str | None
    """Of the test of its promise: inside, below, too early; None where its checkpoint forecast nothing."""
    promised: float | None
    """Drawdown of the checkpoint's test bars, as a fraction; None where that is not known."""
    mark: str = ""
    """What is wrong with its figures, such as silent; empty where nothing is."""
    placed: bool = True
    """Whether it has its step's share; before that its days do not count."""


class RampState(NamedTuple):
    """How far a member is."""

    step: int = 0
    served_ns: int = 0
    """How long it has kept to this step."""
    time_ns: int = 0
    """Close of the last bar that was looked at; 0 before the first."""
    back_ns: int = 0
    """Close of the bar after which it last went back; 0 = never."""


class RampDecision(NamedTuple):
    """That a member goes a step on or back."""

    before: float
    """Share."""
    after: float
    reasons: tuple[str, ...]


class CapitalRamp:
    """The steps of a member.

    Parameters
    ----------
    steps
        In their order.
    bounds
        What counts as inside the promise.
    """

    def __init__(self, steps: tuple[RampStep, ...], bounds: RampBounds | None = None):
        self.steps, self.bounds = steps, bounds or RampBounds()

    def share(self, state: RampState) -> float:
        """Of what the member is to get at last, so much it gets now."""
        return self.steps[min(state.step, len(self.steps) - 1)].share

    def outside(self, now: RampFigures) -> tuple[str, ...]:
        """Why a member is not inside its promise; empty if it is."""
        found = []
        if now.state != "ACTIVE":
            found.append(f"its trading is {now.state}")
        if now.drift_bps is not None and now.drift_bps > self.bounds.drift_bps:
            found.append(
                f"drift {now.drift_bps:.1f} bps is more than {self.bounds.drift_bps:g} bps over the backtest's rule"
            )
        most = self.bounds.drawdown if self.bounds.drawdown is not None else now.promised
        if most is not None and now.drawdown > most:
            found.append(f"drawdown {now.drawdown:.2%} is deeper than {most:.2%}")
        if now.answer == "below":
            found.append("what it earns is below what its checkpoint's scores forecast")
        return tuple(found)

    def look(self, before: RampState, now: RampFigures) -> tuple[RampState, RampDecision | None]:
        """Look at a member once.

        Of figures that are old, of bars that were seen, and of a member whose checkpoint promised nothing, nothing
        follows: it neither goes on nor back.

        Parameters
        ----------
        before
            How far it was.
        now
            How it stands.

        Returns
        -------
        tuple
            How far it is, and what was decided; None where it stays.
        """
        if now.mark or now.time_ns <= before.time_ns:
            return before, None
        passed = min(now.time_ns - before.time_ns, DAY) if before.time_ns else 0
        state = before._replace(time_ns=now.time_ns, step=min(before.step, len(self.steps) - 1))
        reasons = self.outside(now)
        if reasons:
            return self._back(state, reasons)
        if not now.placed or now.answer is None or (now.promised is None and self.bounds.drawdown is None):
            return state, None
        return self._served(state, passed)

    def _back(self, state: RampState, reasons: tuple[str, ...]) -> tuple[RampState, RampDecision | None]:
        state = state._replace(served_ns=0)
        if state.step == 0 or (state.back_ns and state.time_ns - state.back_ns < DAY):
            return state, None
        after = state._replace(step=state.step - 1, back_ns=state.time_ns)
        return after, RampDecision(self.share(state), self.share(after), reasons)

    def _served(self, state: RampState, passed: int) -> tuple[RampState, RampDecision | None]:
        state = state._replace(served_ns=state.served_ns + passed)
        length = self.steps[state.step].ns
        if length is None or state.served_ns < length:
            return state, None
        after = state._replace(step=state.step + 1, served_ns=0)
        kept = f"{length / DAY:g} days inside its promise"
        return after, RampDecision(self.share(state), self.share(after), (kept,))


def steps_of(text: str) -> tuple[RampStep, ...]:
    """Steps as people write them: ``5%:14d,25%:30d,100%``, with h, d or w after a number.

    Raises
    ------
    UserError
        If they are none, do not rise, are not in (0, 100 %], or if any but the last lacks its length.
    """
    found: list[RampStep] = []
    for part in text.split(","):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise UserError(f"--ramp {part[:40]!r} is no step: give a share and a length, such as 5%:14d,25%:30d,100%.")
        share, length, unit = match.groups()
        found.append(RampStep(float(share) / 100.0, int(length) * _UNIT[unit] if length else None))
    _check(found)
    return tuple(found)


def steps_text(steps: tuple[RampStep, ...]) -> str:
    """What `steps_of` reads."""
    parts = []
    for share, ns in steps:
        unit = next((name for name in "wdh" if ns is not None and ns % _UNIT[name] == 0), "")
        length = "" if ns is None else f":{ns // _UNIT[unit]}{unit}"
        parts.append(f"{share * 100:.4f}".rstrip("0").rstrip(".") + f"%{length}")
    return ",".join(parts)


def _check(steps: list[RampStep]) -> None:
    shares = [step.share for step in steps]
    if len(steps) > MOST_STEPS or not all(0.0 < share <= 1.0 for share in shares):
        raise UserError(f"--ramp has 1 to {MOST_STEPS} steps, each of more than 0 % and at most 100 %.")
    if any(after <= before for before, after in pairwise(shares)):
        raise UserError("--ramp: each step is larger than the one before, such as 5%:14d,25%:30d,100%.")
    if steps[-1].ns is not None or not all(step.ns for step in steps[:-1]):
        raise UserError("--ramp: each step but the last has a length, such as 5%:14d,25%:30d,100%.")
