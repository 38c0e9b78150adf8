"""Markets made by their traders: B of them, each with N agents and a population that trades by rules."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qframe_rl.arena import state as s
from qframe_rl.arena.excited import N_ARRIVAL, Excited, calm, come, wait
from qframe_rl.arena.game import ActionSpace, GameConfig, check_markets, checked, space_of
from qframe_rl.arena.population import N_CALL, call, take_excited
from qframe_rl.arena.roles import IDLE, N_ACTION, N_COUNTS, N_PARTS, N_SEEN, observe, pay, pursue_part, value_of, wish
from qframe_rl.arena.sight import N_BOOK_SEEN, N_RECENT, BookSight, end_step, watch
from qframe_rl.arena.state import CrowdRules, MarketState, empty_markets, fields_of
from qframe_rl.arena.trading import look, mark, trade
from qframe_rl.book.state import Books
from qframe_rl.config import UserError
from qframe_rl.gym.chance import draw
from qframe_rl.gym.lanes import Lanes
from qframe_rl.interface import BOUND
from qframe_rl.jit import apart, inlined
from qframe_rl.types import Bool, Float, Int, Single

_JUMPS, _SIZE, _FIRST = range(3)
"""Draws of a step: whether the hidden value jumps, by how much; then one for each agent's turn, one for each agent's
task, four for each message of the population, and five for each Hawkes arrival."""
_MOST_ARRIVALS = 64
"""Of a step; those beyond are left out. Two and a half on average with a Fano factor of 6.25 come to it about never."""


class CrowdConfig(GameConfig):
    """What can be set of a market made by its traders."""

    makers: int = Field(default=2, ge=0, le=64)
    """Agents that quote both sides."""
    takers: int = Field(default=1, ge=0, le=64)
    """Agents that take."""
    maker_sees: Literal["seat", "book"] = "seat"
    """seat: what all agents see. book: what a maker of recorded books does, whose checkpoints then sit here, and those
    of makers who learned here quote there; docs/arena.md says how."""
    executions: int = Field(default=1, ge=0, le=64)
    """Agents that have to buy, or to sell, ``target_lots`` by the end."""
    noise: int = Field(default=20, ge=0, le=256)
    """Members of the population with zero intelligence and a budget (ZI-C)."""
    unbound: int = Field(default=2, ge=0, le=256)
    """Members with zero intelligence and none (ZI-U)."""
    informed: int = Field(default=1, ge=0, le=256)
    """Members that know the hidden value, and take what lies beyond it."""
    trend: int = Field(default=1, ge=0, le=256)
    """Members that hold up to ``lots`` in the direction in which the mid price is a tick or more from its slow mean."""
    quoters: int = Field(default=4, ge=0, le=256)
    """Members that quote near the mid price, and lean against what they hold."""
    hawkes: int = Field(default=0, ge=0, le=256)
    """Members that take as Hawkes arrivals have it, beside those that are called; 0 = nobody."""
    hawkes_rate: float = Field(default=0.4, gt=0.0, le=16.0)
    """Arrivals a step of their own accord, buyers and sellers together."""
    hawkes_own: float = Field(default=0.55, ge=0.0, lt=1.0)
    """Arrivals on its own side that an arrival brings directly, on average."""
    hawkes_cross: float = Field(default=0.05, ge=0.0, lt=1.0)
    """And on the other side."""
    hawkes_decay: float = Field(default=1.0, gt=0.0, le=100.0)
    """By what share excitement falls in a step, continuously."""
    messages: int = Field(default=20, ge=1, le=256)
    """Members that are called in a step."""
    episode_steps: int = Field(default=200, ge=1, le=100_000)
    """Decisions of an episode, which then is cut off for all."""
    warmup_steps: int = Field(default=10, ge=0, le=10_000)
    """Steps of the population alone before it, in which the book fills."""
    price_ticks: int = Field(default=10_000, ge=1_000, le=100_000)
    """Price at which a market begins."""
    reach_ticks: int = Field(default=16, ge=4, le=100)
    """Farthest quote from the mid price."""
    lots: int = Field(default=10, ge=1, le=100)
    """Of the largest order."""
    position_limit: int = Field(default=100, ge=1, le=10_000)
    """Lots that a trader may hold, either side of 0."""
    target_lots: int = Field(default=100, ge=1, le=10_000)
    """Of an execution."""
    maker_fee: int = Field(default=0, ge=-1_000, le=10_000)
    """Of a lot that fills as maker, thousandths of a tick; below 0 it is paid out."""
    taker_fee: int = Field(default=100, ge=0, le=10_000)
    """Of a lot that takes, thousandths of a tick."""
    inventory_penalty: float = Field(default=0.001, ge=0.0, le=1e6)
    """What a step with one lot held costs a maker, ticks; it grows with the square."""
    jump_probability: float = Field(default=0.05, ge=0.0, le=1.0)
    """That the hidden value jumps in a step."""
    jump_ticks: int = Field(default=8, ge=1, le=200)
    """Largest jump."""

    @model_validator(mode="after")
    def _somebody(self) -> CrowdConfig:
        if self.makers + self.takers + self.executions < 1:
            raise ValueError("makers, takers and executions are all 0; at least one agent is needed")
        if self.noise + self.unbound + self.informed + self.trend + self.quoters < 1:
            raise ValueError("the population has no member; set noise")
        if self.maker_sees == "book" and self.position_limit % self.lots:
            raise ValueError("where makers see books, position_limit is whole quotes: a multiple of lots")
        if self.hawkes_own + self.hawkes_cross >= 1.0:
            raise ValueError("hawkes_own and hawkes_cross add up to 1 or more, so that arrivals would explode")
        if self.hawkes and self.hawkes_rate / (1.0 - self.hawkes_own - self.hawkes_cross) > _MOST_ARRIVALS / 4:
            raise ValueError(f"more than {_MOST_ARRIVALS // 4} Hawkes arrivals a step on average; lower hawkes_rate")
        return self


class Crowd(Lanes):
    """B markets, each in an episode of its own.

    What a market lives through follows from its seed, the number of its episode and its agents' actions, not from how
    many there are. A step is the messages of the population, then those of the agents in an order that is drawn; agents
    decide by what they saw before it. Nothing is allocated in a step but what is handed out.

    Parameters
    ----------
    config
        What holds in every market.
    n_markets
        B.
    n_log
        Messages of an episode that are written down, for `log`.
    sight
        How makers see books, `qframe_rl.arena.recorded.sight_of`; None = as all agents do.

    Raises
    ------
    UserError
        For a number of markets or messages that there cannot be, or makers who are to see and have no sight.
    """

    def __init__(self, config: CrowdConfig, n_markets: int, n_log: int = 0, sight: BookSight | None = None):
        check_markets(n_markets)
        if n_log < 0:
            raise UserError(f"n_log {n_log}: a log has room for 0 messages or more.")
        if (config.maker_sees == "book") != (sight is not None):
            raise UserError(f"maker_sees {config.maker_sees}: make_game('crowd', ...) makes a market with its sight.")
        self.config, self.n_markets = config, n_markets
        self.roles = np.repeat(np.arange(s.N_ROLES), (config.makers, config.takers, config.executions))
        """(N,) role of each agent, `qframe_rl.arena.state.ROLES`."""
        members = (config.noise, config.unbound, config.informed, config.trend, config.quoters)
        self.kinds = np.repeat(np.arange(len(members)), members)
        """(K,) kind of each member of the population that is called."""
        n = self.n_agents = len(self.roles)
        self.mask = np.arange(N_ACTION) < np.array(N_COUNTS)[self.roles][:, None]
        """(N, 4) directions of an action that count."""
        self.names = tuple(
            f"{s.ROLES[role]}_{k}" for role, count in enumerate(np.bincount(self.roles, minlength=s.N_ROLES))
            for k in range(count)
        )  # fmt: skip
        """N names: the role and a number."""
        self.role_names: tuple[str, ...] = s.ROLES
        self.terminates = False
        self.choices = np.zeros(n, np.int64)
        self.acting = np.ones((n_markets, n), np.bool_)
        self.rules = CrowdRules(
            n, config.messages, config.price_ticks, config.reach_ticks, config.lots, config.position_limit,
            config.target_lots, config.maker_fee, config.taker_fee, config.jump_ticks, config.episode_steps,
        )  # fmt: skip
        n_traders = n + len(self.kinds) + config.hawkes
        self.sight, n_recent = sight, 0 if sight is None else N_RECENT
        self.books, self.state = empty_markets(n_markets, n_traders, n, n_log, n_recent)
        self._fresh = empty_markets(1, n_traders, n, n_log, n_recent)
        self.excited = Excited(
            config.hawkes_rate, config.hawkes_own, config.hawkes_cross, config.hawkes_decay,
            _MOST_ARRIVALS if config.hawkes else 0,
        )  # fmt: skip
        self.seed, self.episode = np.zeros(n_markets, np.uint64), np.zeros(n_markets, np.uint64)
        self._clock = np.zeros(n_markets, np.int64)
        self._draws = np.zeros((n_markets, _FIRST + 2 * n + N_CALL * config.messages + N_ARRIVAL * self.excited.most))
        self._quotes, self._take = np.zeros((n_markets, n, 2, 2), np.int64), np.zeros((n_markets, n, 3), np.int64)
        self._before, self._rewards = np.zeros((n_markets, n), np.int64), np.zeros((n_markets, n))
        n_seen = N_SEEN if sight is None else N_BOOK_SEEN
        self.observation_space = spaces.Box(-BOUND, BOUND, (n_seen,), np.float32)
        """Of one agent."""

    def action_space(self, agent: int) -> ActionSpace:
        """A new space of one agent: the directions that count, in [-1, 1]."""
        return space_of(0, N_COUNTS[self.roles[agent]])

    def reset(self, mask: Bool) -> None:
        """Begin a new episode in the masked (B,) markets: the book is empty, and fills before agents see it."""
        self.episode[mask] += np.uint64(1)
        for own, fresh in zip(
            fields_of(self.books, self.state).values(), fields_of(*self._fresh).values(), strict=True
        ):  # fmt: skip
            own[mask] = fresh[0]
        n, config = self.n_agents, self.config
        self.state.marks[mask, s.CLOCK] = -config.warmup_steps
        self.state.marks[mask, s.MID2] = self.state.marks[mask, s.MID2_BEFORE] = 2 * config.price_ticks
        self.state.marks[mask, s.SLOW] = 2 * s.SLOW_UNIT * config.price_ticks
        self.state.marks[mask, s.VALUE] = config.price_ticks
        self._draw(mask)
        sides = np.where(self._draws[:, _FIRST + n : _FIRST + 2 * n] < 0.5, 1, -1) * config.target_lots
        self.state.targets[mask] = np.where(self.roles == s.EXECUTION_ROLE, sides, 0)[mask]
        for _ in range(config.warmup_steps):
            self._move(mask, False)
        self.state.marks[mask, s.ARRIVAL2] = self.state.marks[mask, s.MID2]

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool]:
        """Take the active markets a step on.

        Parameters
        ----------
        actions
            (B, N, 4) in [-1, 1]; what the mask lets not count may be anything.
        active
            (B,) which markets.

        Returns
        -------
        tuple[Float, Bool]
            (B, N) rewards, and (B,) which episodes were cut off; 0 and False for the inactive.

        Raises
        ------
        ValueError
            For another shape, or a number outside that counts, NaN among them; nothing has moved then.
        UserError
            If an episode was over before.
        """
        chosen = checked(self, actions, active)
        if (active & ((self.episode == 0) | (self.state.marks[:, s.CLOCK] >= self.rules.n_steps))).any():
            raise UserError("an episode is over, or was never begun: reset(mask) first.")
        wish(self.state, active, self.roles, chosen, self._quotes, self._take, self.rules)
        self._move(active, True)
        return self._rewards.copy(), active & (self.state.marks[:, s.CLOCK] >= self.rules.n_steps)

    def observe(self) -> Single:
        """(B, N, n) observations in a fresh array: `qframe_rl.arena.roles.SEEN`; a maker's with a sight, the book's."""
        seats = self.seats_seen()
        if self.sight is None:
            return seats
        return self.sight.shown(self.books, self.state, self.rules, self.roles == s.MAKER_ROLE, seats)

    def seats_seen(self) -> Single:
        """(B, N, 18) what all would see without a sight, `qframe_rl.arena.roles.SEEN`, in a fresh array."""
        out = np.empty((self.n_markets, self.n_agents, N_SEEN), np.float32)
        observe(self.books, self.state, self.roles, self.rules, out)
        return out

    def idle(self) -> Float:
        """(B, N, 4) actions of all agents that do the least."""
        out = np.zeros((self.n_markets, *self.mask.shape))
        for agent, role in enumerate(self.roles):
            out[:, agent, : len(IDLE[role])] = IDLE[role]
        return out

    def worth(self) -> Float:
        """(B, A) money less fees and stock at the mid price of every trader, agents first, ticks times lots."""
        accounts, mid2 = self.state.accounts, self.state.marks[:, s.MID2, None]
        found: Float = (accounts[..., s.CASH] + accounts[..., s.STOCK] * mid2 * (s.UNIT // 2)) / s.UNIT
        return found

    def keep_log(self) -> None:
        """Have room for all messages of an episode, from the next reset on; what was written down so far is lost."""
        steps, agents = self.config.episode_steps + self.config.warmup_steps, N_PARTS * self.n_agents
        room = steps * (self.config.messages + self.excited.most + agents)
        self.state, fresh = (
            state._replace(log=np.zeros((len(state.log), room, state.log.shape[2]), np.int64))
            for state in (self.state, self._fresh[1])
        )
        self._fresh = self._fresh[0], fresh

    def log(self, market: int = 0) -> Int:
        """(n, 6) messages of a market's episode; raises UserError if there were more than room was asked for."""
        n = int(self.state.marks[market, s.N_LOG])
        if n > self.state.log.shape[1]:
            raise UserError(f"{n} messages, and room for {self.state.log.shape[1]}; ask for more (n_log).")
        return self.state.log[market, :n].copy()

    def _kept(self) -> dict[str, NDArray[Any]]:
        return fields_of(self.books, self.state) | {"seed": self.seed, "episode": self.episode}

    def _market(self) -> tuple[object, ...]:
        return (self.config, self.sight)

    def _draw(self, mask: Bool) -> None:
        np.add(self.state.marks[:, s.CLOCK], self.config.warmup_steps, out=self._clock)
        draw(mask, self.seed, self.episode, self._clock, self._draws)

    def _move(self, mask: Bool, agents: bool) -> None:
        self._draw(mask)
        _live(
            self.books, self.state, mask, self._draws, self.kinds, self.roles, self._quotes, self._take, agents,
            self.config.jump_probability, self.config.inventory_penalty, self._before, self._rewards, self.rules,
            self.excited,
        )  # fmt: skip


@apart
def _live(
    books: Books, state: MarketState, active: Bool, draws: Float, kinds: Int, roles: Int, quotes: Int, take: Int,
    agents: bool, jumps: float, penalty: float, before: Int, rewards: Float, rules: CrowdRules,
    excited: Excited,
) -> None:  # fmt: skip
    """Make a step in the active markets."""
    n = rules.n_agents
    calls = _FIRST + 2 * n
    arrivals = calls + N_CALL * rules.n_messages
    for b in range(len(active)):
        for i in range(n):
            rewards[b, i] = 0.0
        if active[b]:
            marks = state.marks[b]
            for i in range(n):
                before[b, i] = value_of(state, b, i, roles[i])
            marks[s.MID2_BEFORE], marks[s.FLOW], marks[s.VOLUME] = marks[s.MID2], 0, 0
            _jump(marks, draws[b, _JUMPS] < jumps, draws[b, _SIZE], rules)
            _shuffle(state.turns, draws, b)
            now, came = 0.0, 0
            for turn in range(rules.n_messages + (n * N_PARTS if agents else 0)):
                part = turn - rules.n_messages
                if part < 0 and excited.most > 0:
                    until = (turn + 1) / rules.n_messages
                    now, came = _arrive(
                        books, state, b, draws, arrivals, now, came, until, len(kinds), rules, excited
                    )  # fmt: skip
                if part < 0:
                    there = call(books, state, b, kinds, draws, calls + N_CALL * turn, rules)
                else:
                    who = int(state.turns[part // N_PARTS])
                    there = pursue_part(state, b, who, part % N_PARTS, quotes, take, rules)
                if there:
                    trade(books, state, b, rules)
                    mark(books, state, b)
                    if state.recent.shape[1] > 0:
                        watch(books, state, b)
            if excited.most > 0:
                calm(state.excitement[b], excited, 1.0 - now)
            marks[s.SLOW] += (s.SLOW_UNIT * marks[s.MID2] - marks[s.SLOW]) >> 5
            marks[s.CLOCK] += 1
            look(books, state, b)
            if state.recent.shape[1] > 0:
                end_step(state, b)
            if agents:
                for i in range(n):
                    rewards[b, i] = pay(state, b, i, roles[i], before[b, i], penalty, rules)


@inlined
def _arrive(
    books: Books, state: MarketState, b: int, draws: Float, first: int, now: float, came: int, until: float,
    n_called: int, rules: CrowdRules, excited: Excited,
) -> tuple[float, int]:  # fmt: skip
    """Let Hawkes arrivals come until a time of the step; return when the last one came, and how many there were."""
    left = state.excitement[b]
    while came < excited.most:
        k = first + N_ARRIVAL * came
        ahead = wait(left, excited, draws[b, k], draws[b, k + 1])
        if now + ahead >= until:
            break
        calm(left, excited, ahead)
        side = come(left, excited, draws[b, k + 2])
        others = state.accounts.shape[1] - rules.n_agents - n_called
        member = rules.n_agents + n_called + min(int(draws[b, k + 3] * others), others - 1)
        if take_excited(state, b, member, side, draws[b, k + 4], rules):
            trade(books, state, b, rules)
            mark(books, state, b)
            if state.recent.shape[1] > 0:
                watch(books, state, b)
        now, came = now + ahead, came + 1
    return now, came


@apart
def _jump(marks: Int, now: bool, u: float, rules: CrowdRules) -> None:
    """Let the hidden value jump; it stays within a quarter of where it began."""
    if now:
        by = 1 + min(int(abs(2.0 * u - 1.0) * rules.jump), rules.jump - 1)
        quarter = rules.base >> 2
        value = marks[s.VALUE] + (by if u > 0.5 else -by)
        marks[s.VALUE] = min(max(value, rules.base - quarter), rules.base + quarter)


@apart
def _shuffle(turns: Int, draws: Float, b: int) -> None:
    """Draw the order of agents (Fisher & Yates)."""
    n = len(turns)
    for i in range(n):
        turns[i] = i
    for i in range(n - 1, 0, -1):
        k = min(int(draws[b, _FIRST + i] * (i + 1)), i)
        turns[i], turns[k] = turns[k], turns[i]
