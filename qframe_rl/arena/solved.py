"""What is known of a market of many agents whose equilibrium has a closed form, and how policies are held against it.

A file of ``envs/`` that knows has ``solution(config) -> GameSolution`` beside its ``make``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from qframe_rl.gym.problem import Act, Curve


class EquilibriumCheck(NamedTuple):
    """What policies of all roles come to; computed, not simulated."""

    figures: Mapping[str, float]
    """What the closed form is of, by name."""
    gains: Mapping[str, float]
    """By role what the best answer to the others would gain beyond the role's policy, in shares of what is at stake."""


class GameSolution(NamedTuple):
    """An equilibrium."""

    bands: Mapping[str, tuple[float, float]]
    """Within which each figure must lie."""
    judge: Callable[[Mapping[str, Act]], EquilibriumCheck]
    """Judge policies, by role."""
    policies: Callable[[], Mapping[str, Act]]
    """Those of the equilibrium, by role."""
    portrait: Callable[[Mapping[str, Act]], tuple[Curve, ...]]
    """Draw policies so that they can be compared with these."""
