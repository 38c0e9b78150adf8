"""The loss of proximal policy optimisation (Schulman et al., 2017, eq. 7 and 9)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from qframe_rl.policy.chance import Choices, Gauss


class Loss(NamedTuple):
    """Clipped surrogate, half the squared error of the value, and an entropy bonus."""

    clip_range: float
    """Largest change of an action's probability ratio that is rewarded."""
    ent_coef: float
    """Weight of the entropy."""

    def __call__(self, chance: Choices | Gauss, out: Tensor, value: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Sum up over samples.

        Parameters
        ----------
        chance
            Distribution of actions.
        out, value
            (B, n_outputs) outputs of the actor, (B,) values.
        facts
            (B, n_actions + 3): actions, advantage, return, log-probability when they were taken.

        Returns
        -------
        tuple
            The loss, and its parts, (5,): surrogate, squared error, entropy, divergence (Schulman's estimate of KL),
            samples whose ratio was clipped.
        """
        gain, target, old = facts[:, -3:].unbind(dim=1)
        log_p, entropy = chance.judge(out, facts[:, :-3])
        change, away = log_p - old, value - target
        ratio = change.exp()
        clipped = ratio.clamp(1.0 - self.clip_range, 1.0 + self.clip_range)
        surrogate = -torch.minimum(gain * ratio, gain * clipped)
        parts = torch.stack([surrogate, away.square(), entropy, ratio - 1.0 - change, (ratio != clipped).float()])
        sums = parts.sum(dim=1)
        return sums[0] + 0.5 * sums[1] - self.ent_coef * sums[2], sums.detach()
