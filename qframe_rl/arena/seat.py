"""One seat of a market of many agents, against others that do not learn, as Gymnasium wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.roles import N_ACTION
from qframe_rl.config import UserError, nearest
from qframe_rl.types import Single

Frozen = Callable[[Single], NDArray[Any]]
"""(18,) what an agent sees to its action, of the shape of its space."""


class SeatEnv(gymnasium.Env[Single, NDArray[Any]]):
    """What one agent of a market lives through while frozen policies sit in the other seats.

    Parameters
    ----------
    config
        The market.
    seat
        Name of the agent, such as ``maker_0``.
    others
        A policy for the name of every other agent.

    Raises
    ------
    UserError
        If there is no such seat, or a policy lacks or is of nobody.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, config: CrowdConfig, seat: str, others: Mapping[str, Frozen]):
        self.crowd = Crowd(config, 1)
        names = self.crowd.names
        if seat not in names:
            raise UserError(f"no seat {seat!r}{nearest(seat, names)}")
        if set(others) != set(names) - {seat}:
            wanted = ", ".join(name for name in names if name != seat) or "nobody"
            raise UserError(f"policies of {', '.join(sorted(others)) or 'nobody'} are given, not of {wanted}.")
        self.seat, self._others = names.index(seat), [(names.index(name), act) for name, act in others.items()]
        self.observation_space, self.action_space = self.crowd.observation_space, self.crowd.action_space(self.seat)
        self._everyone, self._running, self._seen = np.ones(1, np.bool_), False, self.crowd.observe()[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Single, dict[str, Any]]:
        """Begin an episode.

        Parameters
        ----------
        seed
            Of this and of later episodes; None = go on with the one of before.
        options
            There are none.

        Raises
        ------
        UserError
            For an option.
        """
        if options:
            raise UserError(f"reset has no option {next(iter(options))!r}; there are none.")
        first = self._np_random is None
        super().reset(seed=seed)
        if seed is not None or first:
            self.crowd.seed_with(seed if seed is not None else int(self.np_random.integers(1 << 62)))
        self.crowd.reset(self._everyone)
        self._seen, self._running = self.crowd.observe()[0], True
        return self._seen[self.seat].copy(), {}

    def step(self, action: NDArray[Any]) -> tuple[Single, float, bool, bool, dict[str, Any]]:
        """Take a step.

        Raises
        ------
        ValueError
            For an action of another shape, or outside the space, of this seat or of another; nothing has moved then.
        gymnasium.error.ResetNeeded
            Before the first `reset`, and after the end of an episode.
        """
        if not self._running:
            raise ResetNeeded("call reset() before step(): no episode is under way")
        chosen = np.zeros((1, self.crowd.n_agents, N_ACTION))
        self._put(chosen, self.seat, action)
        for agent, act in self._others:
            self._put(chosen, agent, act(self._seen[agent].copy()))
        rewards, over = self.crowd.step(chosen, self._everyone)
        self._seen, self._running = self.crowd.observe()[0], not over[0]
        return self._seen[self.seat].copy(), float(rewards[0, self.seat]), False, bool(over[0]), {}

    def _put(self, chosen: NDArray[Any], agent: int, action: NDArray[Any]) -> None:
        given, count = np.asarray(action, dtype=np.float64), int(self.crowd.mask[agent].sum())
        if given.shape != (count,):
            raise ValueError(f"the action of {self.crowd.names[agent]} has shape {given.shape}, not ({count},)")
        chosen[0, agent, :count] = given
