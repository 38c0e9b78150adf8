"""Seats of one role as a native batch: B markets, the agents that learn in each of them, and frozen policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.arena.game import Game
from qframe_rl.config import UserError, nearest
from qframe_rl.gym.batch import check_options, mask_of
from qframe_rl.gym.lanes import check_snapshot, seeds_of
from qframe_rl.interface.schemes import numbers_of
from qframe_rl.types import Bool, Float, Int, Single

BatchPolicy = Callable[[Single], NDArray[Any]]
"""What n agents of a role see, a row each, to their n actions, as their space has them. What is done about a row must
not depend on the others."""


def sitting(act: BatchPolicy, game: Game, agents: Int) -> BatchPolicy:
    """A policy as it acts for these agents of these markets.

    Most know no more than the rows that they are handed. One that looks at the market beside them has ``sit(game,
    agents)``, which returns what acts there.

    Parameters
    ----------
    act
        The policy.
    game
        All of its markets are handed at each call.
    agents
        (n,) numbers of the agents.
    """
    sit = getattr(act, "sit", None)
    found: BatchPolicy = act if sit is None else sit(game, agents)
    return found


def seats_of(game: Game, role: str) -> Int:
    """Numbers of the agents of a role; raises UserError if there is no such role, or nobody has it."""
    if role not in game.role_names:
        raise UserError(f"no role {role!r}{nearest(role, game.role_names)}")
    found = np.flatnonzero(game.roles == game.role_names.index(role))
    if not len(found):
        raise UserError(f"nobody in the market is {role}; ask for one or more.")
    return found


def roles_of(game: Game, agents: Int) -> tuple[str, ...]:
    """Roles that some agents have, in the order of the game's own."""
    there = set(game.roles[agents].tolist())
    return tuple(name for k, name in enumerate(game.role_names) if k in there)


def put(actions: Float, markets: Int | slice, seats: Int, given: NDArray[Any]) -> None:
    """Write actions of some seats of some markets where the whole market's are.

    Parameters
    ----------
    actions
        (B, N, K) of all, written.
    markets
        (M,) which ones, or a slice.
    seats
        (n,) agents of one role.
    given
        (M x n, ...), market after market.
    """
    block = actions[markets]
    rows = np.asarray(given, np.float64).reshape(len(block), len(seats), -1)
    block[:, seats, : rows.shape[2]] = rows
    actions[markets] = block


class VectorSeatEnv(VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """What agents of a role live through in a batch of markets, each agent a lane; the others do not learn.

    Lane k is seat ``k % n`` of market ``k // n``. A market's lanes begin and end together: market b of a batch seeded
    with s lives through what `qframe_rl.arena.seat.SeatEnv` seeded with s + b does, in every autoreset mode of
    Gymnasium.

    Parameters
    ----------
    game
        The markets.
    role
        Of the agents that act.
    others
        A policy by role for all other agents, those of the same role included.
    seats
        Numbers of the agents of the role that act, counted within it; None = all.
    autoreset_mode
        What happens when an episode ends.

    Raises
    ------
    UserError
        If there is no such role or seat, or a policy lacks or is of nobody.
    """

    features, growing, n_rows = None, False, 0

    def __init__(
        self,
        game: Game,
        role: str,
        others: Mapping[str, BatchPolicy],
        seats: Sequence[int] | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ):
        self.game, self.role, own = game, role, seats_of(game, role)
        chosen = np.arange(len(own)) if seats is None else np.array(sorted(set(seats)), np.int64)
        if not len(chosen) or chosen[0] < 0 or chosen[-1] >= len(own):
            raise UserError(f"seats {list(seats or ())} of {role}: there are 0 to {len(own) - 1}.")
        self.seats = own[chosen]
        rest = np.setdiff1d(np.arange(game.n_agents), self.seats)
        wanted = roles_of(game, rest)
        if set(others) != set(wanted):
            given = ", ".join(sorted(others)) or "nobody"
            raise UserError(f"policies of {given} are given, not of {', '.join(wanted) or 'nobody'}.")
        seated = [(np.intersect1d(seats_of(game, name), rest), others[name]) for name in wanted]
        self._others = [(agents, sitting(act, game, agents)) for agents, act in seated]
        self.num_envs = game.n_markets * len(self.seats)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space = game.observation_space
        self.single_action_space = game.action_space(int(self.seats[0]))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._over = np.ones(game.n_markets, np.bool_)
        self._actions, self._seen = np.zeros((game.n_markets, *game.mask.shape)), game.observe()

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Single, dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            Market b gets ``seed + b``; or one for each lane, the same for those of a market; None = go on with those
            of before.
        options
            ``reset_mask``, (lanes,) bool: in which; the same for the lanes of a market.

        Raises
        ------
        UserError
            For another option, or lanes of one market that ask for different things.
        """
        options = options or {}
        check_options(options, ("reset_mask",))
        mask = self._by_market(mask_of(options, self.num_envs), "reset_mask")
        if seed is None and self._np_random is None:
            super().reset()
            self.game.seed_with(int(self.np_random.integers(1 << 62)), mask)
        elif seed is not None:
            super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else int(seed[0]))
            if not isinstance(seed, int | np.integer):
                seed = self._by_market(seeds_of(seed, self.num_envs), "seed").tolist()
            self.game.seed_with(seed, mask)
        self._begin(mask)
        self._over &= ~mask
        return self._shown(), {}

    def step(self, actions: NDArray[Any]) -> tuple[Single, Float, Bool, Bool, dict[str, Any]]:
        """Take every market on until its seats are to act again.

        Raises
        ------
        ValueError
            For actions of another shape, or outside the space; nothing has moved then.
        """
        actions = numbers_of(actions, self.action_space.shape or (), "these seats want")
        waiting = self._over
        if self.autoreset_mode == AutoresetMode.DISABLED and waiting.any():
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        put(self._actions, slice(None), self.seats, actions)
        rewards, over = self._pass(~waiting)
        more, ended = self._wait(~waiting & ~over)
        rewards, self._over = rewards + more, over | ended
        if waiting.any():
            self._begin(waiting)
        infos: dict[str, Any] = {}
        ended = np.repeat(self._over, len(self.seats))
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            infos = {"final_obs": self._shown(), "_final_obs": ended}
            self._begin(self._over)
            self._over = np.zeros_like(self._over)
        never, paid = np.zeros_like(ended), rewards[:, self.seats].ravel()
        terminated, truncated = (ended, never) if self.game.terminates else (never, ended)
        return self._shown(), paid, terminated, truncated, infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every market, and whether they were given seeds."""
        seeded = np.full_like(self._over, self._np_random is not None)
        return self.game.snapshot() | {"over": self._over.copy(), "seeded": seeded}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits, and so do resets without a seed.

        Raises
        ------
        ValueError
            For a snapshot of another batch.
        """
        check_snapshot({"over": self._over, "seeded": self._over}, state)
        self.game.restore({name: value for name, value in state.items() if name not in ("over", "seeded")})
        if self._np_random is None and state["seeded"].any():
            super().reset(seed=0)
        self._over, self._seen = state["over"].copy(), self.game.observe()

    def _begin(self, mask: Bool) -> None:
        """Begin episodes, and let the others go on until the seats are to act."""
        self.game.reset(mask)
        self._seen = self.game.observe()
        self._wait(mask)

    def _wait(self, active: Bool) -> tuple[Float, Bool]:
        """Let the others go on until the seats are to act, or all is over: (B, N) what is paid, (B,) what is over."""
        paid, over = np.zeros(self.game.roles.shape), np.zeros_like(active)
        while (stuck := active & ~over & ~self.game.acting[:, self.seats].any(axis=1)).any():
            more, ended = self._pass(stuck)
            paid, over = paid + more, over | ended
        return paid, over

    def _pass(self, active: Bool) -> tuple[Float, Bool]:
        """Take markets a step on."""
        for agents, act in self._others:
            put(self._actions, slice(None), agents, act(self._rows(agents)))
        found = self.game.step(self._actions, active)
        self._seen = self.game.observe()
        return found

    def _rows(self, agents: Int) -> Single:
        return np.ascontiguousarray(self._seen[:, agents]).reshape(-1, self._seen.shape[-1])

    def _shown(self) -> Single:
        return self._rows(self.seats)

    def _by_market(self, of_lanes: NDArray[Any], what: str) -> NDArray[Any]:
        """What is the same for all lanes of a market; raises UserError where it is not."""
        parts = of_lanes.reshape(self.game.n_markets, -1)
        if (parts != parts[:, :1]).any():
            raise UserError(f"{what}: the {len(self.seats)} lanes of a market begin and end together.")
        return parts[:, 0].copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""
