"""One seat of a market of many agents, against others that do not learn, as Gymnasium wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.film import BookFilm, Pixels
from qframe_rl.arena.game import Game
from qframe_rl.config import UserError, nearest
from qframe_rl.types import Single

Frozen = Callable[[Single], NDArray[Any]]
"""(n,) what an agent sees to its action, of the shape of its space."""


class SeatEnv(gymnasium.Env[Single, NDArray[Any]]):
    """What one agent of a market lives through while frozen policies sit in the other seats.

    A step lasts until the agent is to act again; where some answer others, that may be several of the market.

    Parameters
    ----------
    game
        The market, a batch of one.
    seat
        Name of the agent, such as ``maker_0``.
    others
        A policy for the name of every other agent.

    render_mode
        ``rgb_array``: pictures of the order book, as the seat has it (`qframe_rl.arena.film`).

    Raises
    ------
    UserError
        If there is no such seat, a policy lacks or is of nobody, or there is no such picture.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, game: Game, seat: str, others: Mapping[str, Frozen], render_mode: str | None = None):
        self.game, names = game, game.names
        if seat not in names:
            raise UserError(f"no seat {seat!r}{nearest(seat, names)}")
        if set(others) != set(names) - {seat}:
            wanted = ", ".join(name for name in names if name != seat) or "nobody"
            raise UserError(f"policies of {', '.join(sorted(others)) or 'nobody'} are given, not of {wanted}.")
        self.seat, self._others = names.index(seat), [(names.index(name), act) for name, act in others.items()]
        self.observation_space, self.action_space = self.game.observation_space, self.game.action_space(self.seat)
        self._shapes = [game.action_space(agent).shape for agent in range(game.n_agents)]
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render_mode has no {render_mode!r}; it is rgb_array, or none.")
        if render_mode is not None and not isinstance(game, Crowd):
            raise UserError("there are pictures of order books alone; leave render_mode out.")
        self.render_mode = render_mode
        self.film = BookFilm(game, self.seat) if render_mode is not None and isinstance(game, Crowd) else None
        self._everyone, self._running, self._seen = np.ones(1, np.bool_), False, self.game.observe()[0]

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
            self.game.seed_with(seed if seed is not None else int(self.np_random.integers(1 << 62)))
        self.game.reset(self._everyone)
        self._seen, self._running = self.game.observe()[0], True
        if self.film is not None:
            self.film.begin()
        self._wait()
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
        paid, over = self._pass(action)
        paid += self._wait() if not over else 0.0
        ended, terminal = not self._running, self.game.terminates
        return self._seen[self.seat].copy(), paid, ended and terminal, ended and not terminal, {}

    def render(self) -> Pixels | None:  # type: ignore[override]
        """Draw the book now and before: (640, 960, 3); None without a render mode.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first `reset`.
        """
        if self.film is None:
            return None
        if not self.film.frames:
            raise ResetNeeded("call reset() before render(): there is nothing to see yet")
        return self.film.picture()

    def _wait(self) -> float:
        """Let the others go on until the seat is to act, or all is over; what it is paid meanwhile."""
        paid, over, space = 0.0, False, self.action_space
        nothing = np.zeros(space.shape or ())
        while not over and not self.game.acting[0, self.seat]:
            more, over = self._pass(nothing)
            paid += more
        return paid

    def _pass(self, action: NDArray[Any]) -> tuple[float, bool]:
        """Take the market a step on."""
        chosen = np.zeros((1, *self.game.mask.shape))
        self._put(chosen, self.seat, action)
        for agent, act in self._others:
            self._put(chosen, agent, act(self._seen[agent].copy()))
        rewards, over = self.game.step(chosen, self._everyone)
        self._seen, self._running = self.game.observe()[0], not over[0]
        if self.film is not None:
            self.film.look()
        return float(rewards[0, self.seat]), bool(over[0])

    def _put(self, chosen: NDArray[Any], agent: int, action: NDArray[Any]) -> None:
        given, shape = np.asarray(action, dtype=np.float64), self._shapes[agent]
        if given.shape != shape:
            raise ValueError(f"the action of {self.game.names[agent]} has shape {given.shape}, not {shape}")
        chosen[0, agent, : given.size] = given
