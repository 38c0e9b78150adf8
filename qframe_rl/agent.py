"""All that the author of a strategy must know: what it sees, what it answers, and how it is trained.

A strategy is a file in ``agents/`` with a ``Config`` and ``make(config, spec) -> Agent``. It sees the market through
its `View` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from qframe_rl.members import member_channel, outsiders, reducing
from qframe_rl.types import CLOSE, Account, Bool, Fills, Float, History, Instrument, Int, Orders, Segments

State = dict[str, NDArray[Any]]
"""What a trained agent is made of: named arrays of at least one axis, written as safetensors."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is knowable at one decision instant, and nothing later. Arrays are read-only."""

    time: int
    """Now: close of the last bar, ns UTC."""
    times: Int
    """(W,) closes of the window's bars."""
    bars: Float
    """(W, A, C) the window: open, high, low, close, volume, then the feed's named columns; NaN where not traded."""
    account: Account
    """Cash, positions and marks after the last bar."""
    fills: Fills
    """What the last bar did to the orders."""
    first: bool
    """The first view of a session or episode: a policy with memory forgets here."""
    exhausted: bool = False
    """The data ended: nothing decided now will ever settle."""
    terminated: bool = False
    """The account was liquidated or ruined."""
    cash_rate: float = 0.0
    """What idle cash earned over the last bar, fraction of it."""
    member: int = 0
    """Channel of ``bars`` that says who is in the universe; 0 = there is none, and all are in."""
    locks: Int | None = None
    """(A, 2) decisions, this one counted, for which protections allow no long, and no short, to be opened or added to;
    0 = they do. None where nothing protects the account."""
    resting: Orders | None = None
    """(A, K) orders that stand in their slots; None where there are none."""
    limit_use: Float | None = None
    """(3,) after the last bar: of ``max_drawdown`` and of ``daily_loss`` the share that is used up, 0 where there is no
    such limit, and 1 where orders could only reduce what is held, else 0. None where no risk engine stands before the
    account."""

    @property
    def close(self) -> Float:
        """(W, A) closes."""
        return self.bars[:, :, CLOSE]

    @property
    def tradable(self) -> Bool:
        """(A,) whether the instrument may be bought: it traded in the last bar, and the universe has it."""
        return ~np.isnan(self.bars[-1, :, CLOSE]) & ~self.outside

    @property
    def outside(self) -> Bool:
        """(A,) whether the universe does not have the instrument: what is held of it can only be reduced."""
        return outsiders(self.bars[-1], self.member)

    def allowed(self, orders: Orders) -> Orders:
        """What goes out of the orders for the next bar: of who is outside the universe no more than closing parts."""
        return reducing(orders, self.account.position, self.outside, self.resting)

    @property
    def over(self) -> bool:
        """Whether no further decision will be asked for."""
        return self.exhausted or self.terminated


class Interface(Protocol):
    """Numbers out, numbers in: what a policy sees and how its action becomes orders. Saved with the policy."""

    window: int
    """Bars that `observe` needs."""
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    market_shape: tuple[int, int]
    """Bars and numbers per bar of the market's part, with which an observation begins; (0, 0) = there is none."""
    idle: tuple[int, ...]
    """Of discrete actions the one that asks for the least, for each choice; empty where there is none such."""

    def observe(self, view: View) -> NDArray[np.float32]:
        """Observation of one view."""

    def orders(self, action: Any, view: View) -> Orders:
        """Orders that an action means at one view."""


@dataclass(frozen=True)
class MarketSpec:
    """What a strategy may know before the first bar."""

    instruments: tuple[Instrument, ...]
    """The A instruments it trades."""
    columns: tuple[str, ...]
    """Names of the channels after open, high, low, close, volume."""
    bar_ns: int
    """Length of a bar."""
    leverage: float
    """Cap on gross exposure."""
    shorting: bool
    """Whether exposures may be negative."""
    cost_rate: float
    """Cost of one unit of turnover by market order: taker fee plus half-spread, largest of the instruments."""
    interface: Interface
    """The market's own interface, its scaler fitted on training rows."""
    seed: int = 0
    """Root of all randomness of the agent."""
    theory: Mapping[str, float] | None = None
    """Constants of the known optimum, where the market has one."""

    @property
    def member(self) -> int:
        """Channel of bars that says who is in the universe, as in `View`; 0 = all are."""
        return member_channel(self.columns)


class Agent(Protocol):
    """What a strategy is."""

    window: int
    """Bars that it needs to see at each decision."""

    def decide(self, view: View) -> Orders:
        """Orders for the next bar."""


@runtime_checkable
class Portable(Agent, Protocol):
    """An agent that another process can go on with in the middle of a session, to the same bits.

    A live session of an agent that cannot runs its whole record again when it is resumed.
    """

    def carried(self) -> State | None:
        """What it remembers from one decision to the next, besides its `state`; empty = nothing, None = cannot say."""

    def carry(self, memory: State) -> None:
        """Take over what `carried` returned, before the first decision of this process."""


class Memoryless:
    """An agent whose decisions follow from the `View` and its `state` alone."""

    def carried(self) -> State:
        """Nothing."""
        return {}

    def carry(self, memory: State) -> None:
        """Nothing to take over."""


@runtime_checkable
class Planner(Agent, Protocol):
    """An agent that looks at closed bars alone, never at its account: what it asks for can be stated ahead.

    Backtests of many settings, periods or price paths then go through one batched call, to the same bits.
    """

    band: float
    """It asks for no trade while exposure is within this of its target, as in `qframe_rl.interface.rebalance`."""

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """State what it asks for in a session whose first decision is made at row ``first``.

        Parameters
        ----------
        bars, times
            (T, A, C) channels and (T,) closes, as in a `View`.
        first
            Row of the first decision, at least ``window - 1``.

        Returns
        -------
        Float
            (T - first, A) target exposures; row k is decided at the close of row ``first + k`` and depends on no later
            one. NaN = leave as it is.
        """


class Runs(NamedTuple):
    """Targets of N decisions, as runs of equal ones."""

    length: int
    """N."""
    starts: Int
    """(M,) ascending: the decision that each run begins with; the first is 0."""
    values: Float
    """(M, A) target exposures of each run; NaN = leave as it is."""

    def dense(self) -> Float:
        """(N, A) targets of every decision."""
        return np.repeat(self.values, np.diff(self.starts, append=self.length), axis=0)

    def until(self, length: int) -> Runs:
        """The first ``length`` decisions."""
        count = int(np.searchsorted(self.starts, length))
        return Runs(length, self.starts[:count], self.values[:count])


@runtime_checkable
class Sparse(Planner, Protocol):
    """A planner that can state its targets as runs, so that bars in which nothing changes cost nothing."""

    def runs(self, bars: Float, times: Int, first: int) -> Runs:
        """State the same as `targets`, as runs of equal rows.

        Parameters
        ----------
        bars, times, first
            As in `Planner.targets`.
        """


@runtime_checkable
class Chooser(Agent, Protocol):
    """An agent that decides by what its policy chooses on its interface's observation, and by nothing else.

    Backtests of many price paths, periods or folds are then walked side by side, the policy asked for all at once.
    """

    interface: Interface

    def acting(self) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
        """The policy by which `decide` decides: (B, n) observations to B actions, B accounts that begin together.

        It is called once a bar, and what it remembers of the accounts belongs to the one that was returned.
        """


class Log(Protocol):
    """Where a learner reports."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a training curve.

        Parameters
        ----------
        name
            Of the curve, such as ``loss/policy``; a slash groups curves.
        value
            Its height here.
        step
            Where on the curve, in the learner's own unit; it rises from call to call.
        """

    def progress(self, done: int, total: int, note: str = "") -> None:
        """How far the training is, in its own unit.

        Parameters
        ----------
        done, total
            Of the learner's own unit: frames, passes, epochs.
        note
            A few words to show beside it.
        """


class Indexed(Protocol):
    """A batch whose observations are ``cursor`` (B,) int32 and ``account`` (B, 2A): see `VectorTradingEnv`."""

    features: NDArray[np.float32]
    """(T, A x F) what there is to see of the market at each cursor; rows ``cursor - n_rows + 1`` to ``cursor``."""
    n_rows: int
    """Rows that make one observation."""
    growing: bool
    """Whether `features` are written as episodes begin: rows that no cursor has pointed at yet may be empty."""


class Transitions(NamedTuple):
    """N recorded steps, in the order in which they were lived."""

    observations: NDArray[np.float32]
    """(N, n) what was seen."""
    actions: NDArray[Any]
    """(N, ...) what was done, as the action space has it."""
    rewards: Float
    """(N,) what it paid."""
    following: NDArray[np.float32]
    """(N, n) what was seen next; where an episode was over, its true last observation."""
    terminated: Bool
    """(N,) whether the episode ended by itself there, so that nothing came after; False where it was cut off."""


class Task(Protocol):
    """What a learner is trained on. It holds no row that the learner is judged on."""

    spec: MarketSpec
    train: Sequence[tuple[History, Segments]]
    """Pieces of history to learn from, and the rows of each to learn on; the rest of a piece is warm-up."""
    validation: Sequence[tuple[History, Segments]]
    """Pieces to stop and choose by: the tail of the training part, after a gap."""

    def envs(self, n_envs: int, *, indexed: bool = False) -> VectorEnv[Any, Any, Any]:
        """Training environments with autoreset mode SAME_STEP, over the training segments.

        With ``indexed`` those of a market are `Indexed`: they hand out where each account stands instead of copying
        what a policy sees there.
        """

    def validate(self, agent: Agent) -> float:
        """Sharpe ratio (annual, net of costs) of ``agent`` over the pieces of ``validation``."""

    def transitions(self, dataset: str) -> Transitions:
        """Steps of a Minari dataset, by its id or its folder, as the policy of this task would have seen them.

        Raises
        ------
        UserError
            If it is of another environment than this task's, or reaches past the bars that may be learned from.
        """


@runtime_checkable
class Resumable(Protocol):
    """A task that keeps an unfinished training, pass by pass, so that it goes on after an interruption or a crash."""

    def remember(self, state: State) -> None:
        """Keep how far the training is."""

    def recall(self) -> State:
        """What `remember` was last given in this training or an interrupted one before it; empty at the start."""


class Learner(Agent, Protocol):
    """An agent that is trained."""

    def fit(self, task: Task, log: Log) -> None:
        """Train on ``task``: from scratch, or on from what ``task.recall()`` has."""

    def state(self) -> State:
        """Everything that training produced."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned, in another process."""


class Solver(Learner, Protocol):
    """A learner that can also be trained on a problem: an environment of plain numbers whose optimum is known.

    There ``task.train`` and ``task.validation`` are empty, `View` and `Orders` do not occur, and ``spec.interface``
    has no more than spaces (and ``masks``, where some discrete actions are forbidden). So `fit` asks the task for no
    bars, spends the step budget of its own configuration, and leaves a policy. ``make`` in the agent's file states its
    class as the return type: that is how it is known to be a solver.
    """

    def policy(self) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
        """The trained, deterministic policy: (B, n) observations to B actions, as the action space has them.

        The B episodes begin together and the policy is called once a step; what it remembers of them belongs to the
        one that was returned. An episode that is over is still asked for, and its action ignored.
        """
