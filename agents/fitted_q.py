"""Fitted Q iteration on full information: a row of history tells what every choice would have paid, so all are learned.

Orders of a price taker do not move the price. The reward of each pair of what is held and what is wanted follows from
two prices, and targets are reckoned for all pairs of a row at once: nothing is explored, replayed or corrected. What
comes later is the network's own forecast. Published systems (EarnHFT, 2024; MacroHFT, 2024; FineFT, 2025) lead a
student by the best choices on the path that came about, which know the noise to come; see docs/papers.md for what that
costs.

On a problem with a few actions it tries each of them from every state that it comes by, with the same chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, Memoryless, State, Task, View
from qframe_rl.config import Base, UserError
from qframe_rl.interface import Levels, MarketInterface, rebalance
from qframe_rl.types import OPEN, YEAR, Bool, Float, History, Int, Orders, Segments, Single

if TYPE_CHECKING:
    from qframe_rl.deep.fitted_q import Drawn, QNet, QSchedule

_ENVS = 256
"""Episodes of a problem that states are gathered from side by side."""


class Config(Base):
    """What is chosen among, and how values are fitted."""

    levels: tuple[Annotated[float, Field(ge=-1000.0, le=1000.0)], ...] = Field(default=(), max_length=50)
    """Exposures to choose among, shares of equity, divided by the number of instruments; 0 is always one of them. Empty
    = those of the market's ``levels``, else all of ``exposure``, nothing, and all of it short where that is allowed."""
    exposure: float = Field(default=1.0, gt=0.0, le=1e6)
    """Share of equity that full positions in all instruments come to where the market states no levels; the leverage
    caps it."""
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(default=(64, 64), min_length=1, max_length=10)
    """Widths of the tanh layers."""
    gamma: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Discount a bar: it looks about 1 / (1 - gamma) bars ahead."""
    steps: int = Field(default=4000, ge=1, le=10_000_000)
    """Gradient steps."""
    passes: int = Field(default=20, ge=1, le=10_000)
    """Times that the Sharpe ratio on the tail of training is looked at; the best weights of the second half are
    kept."""
    batch_size: int = Field(default=1024, ge=1, le=10_000_000)
    """Rows of a step; each has a target for every pair of held and wanted."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=100.0)
    """Step size of Adam at the beginning."""
    last_rate: float = Field(default=5e-5, gt=0.0, le=100.0)
    """Step size at the end."""
    target_rate: float = Field(default=0.01, gt=0.0, le=1.0)
    """Part of the way that the copy which targets are reckoned with follows the network in a step."""
    max_gradient: float = Field(default=10.0, gt=0.0, le=1e6)
    """Norm that gradients are cut to."""
    band: float = Field(default=0.05, ge=0.0, le=1000.0)
    """No trade while an exposure is within this of the level that is wanted."""
    states: int = Field(default=100_000, ge=1, le=100_000_000)
    """States that it tries all actions from, on a problem."""


QUICK = {"hidden": (16,), "steps": 60, "passes": 3, "batch_size": 128, "states": 2_000}
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Revealed:
    """Rows of history to learn from; `qframe_rl.deep.fitted_q.Rows`.

    Parameters
    ----------
    shown
        (M, F) what is seen.
    gain
        (M,) return from the open after each row to the next one.
    at
        (N,) those of the M that are learned from.
    onward
        How many of the M further on the next row of the same instrument is.
    levels, switch
        (K,) exposures and (K, K) what it costs to go from one to another.
    """

    def __init__(self, shown: Single, gain: Float, at: Int, onward: int, levels: Float, switch: Float):
        self.shown, self.gain, self.at, self.onward = shown, gain, at, onward
        self.levels, self.switch = levels, switch
        self.unit = float(gain[at].std() + switch.max() / np.ptp(levels))

    def __len__(self) -> int:
        return len(self.at)

    def rewards(self, at: Int) -> Float:
        """(n, K, K) by what is held and what is wanted, fractions of equity."""
        return self.levels * self.gain[self.at[at]][:, None, None] - self.switch

    def draw(self, at: Int) -> Drawn:
        """Rows as tensors, rewards in units of what a bar moves and a trade costs."""
        import torch

        from qframe_rl.deep.fitted_q import Drawn

        rows = self.at[at]
        seen, after = self.shown[rows], self.shown[rows + self.onward]
        reward = (self.rewards(at) / self.unit).astype(np.float32)
        return Drawn(*(torch.from_numpy(part) for part in (seen, reward, after)))


class Tried:
    """States of a problem, each action tried from every one; `qframe_rl.deep.fitted_q.Rows`.

    Parameters
    ----------
    seen, reward, after, alive
        (N, F), (N, K), (N, K, F) and (N, K), as `qframe_rl.deep.fitted_q.Drawn`.
    """

    def __init__(self, seen: Single, reward: Float, after: Single, alive: Bool):
        self.seen, self.after, self.alive = seen, after, alive.astype(np.float32)
        spread = float(reward.std())
        self.reward = (reward / (spread if spread > 0.0 else 1.0)).astype(np.float32)[:, None]

    def __len__(self) -> int:
        return len(self.seen)

    def draw(self, at: Int) -> Drawn:
        """Rows as tensors."""
        import torch

        from qframe_rl.deep.fitted_q import Drawn

        return Drawn(*(torch.from_numpy(part[at]) for part in (self.seen, self.reward, self.after, self.alive)))


class FittedQ(Memoryless):
    """One network of values for all instruments; what it holds is read from the account."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config, self.spec = config, spec
        self._net: Any = None
        if not spec.instruments:
            self._check_actions(spec.interface.action_space)
            return
        if not isinstance(spec.interface, MarketInterface):
            raise UserError("agent 'fitted_q' needs a market whose interface observes features.")
        self.observer = spec.interface.observer
        self.window = self.observer.lookback
        self.levels = self._levels(spec.interface)
        self.switch = _switch(self.levels, spec)

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch, from what was restored, or from where an interrupted training came to."""
        from qframe_rl.deep.fitted_q import fit_q
        from qframe_rl.deep.training import own_randomness

        if self.spec.instruments:
            rows: Any = self.table(task.train)
            stop = [(self._piece(history), segments) for history, segments in task.validation]
        else:
            rows, stop = self._tried(task), []
        with own_randomness(self.spec.seed):
            self._net = self._net or self._network()
            fit_q(self._net, rows, self._fit(), task, log, lambda: self._score(stop) if stop else task.validate(self))

    def decide(self, view: View) -> Orders:
        """Answer the best level of each instrument, from the level that its exposure is nearest to."""
        import torch

        from qframe_rl.deep.fitted_q import greedy

        if self._net is None:
            raise RuntimeError("train or restore the agent before it decides")
        shown = self.observer.scaler(self.observer.raw(view.bars, view.times, len(view.bars) - 1))[0]
        exposure = view.account.exposure
        held = np.abs(exposure[:, None] - self.levels).argmin(axis=1)
        with torch.inference_mode():
            best = greedy(self._net(torch.from_numpy(shown)))
        target = self.levels[best[np.arange(len(held)), held]]
        return rebalance(view, target, self.config.band)

    def policy(self) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
        """The best action of a problem, by its observation."""
        import torch

        net = self._net
        if net is None:
            raise RuntimeError("train or restore the agent before it acts")

        def act(observations: NDArray[np.float32]) -> NDArray[Any]:
            with torch.inference_mode():
                best: NDArray[Any] = net(torch.from_numpy(observations))[:, 0].argmax(-1).numpy()
            return best

        return act

    def state(self) -> State:
        """Weights of the network."""
        from qframe_rl.deep.training import arrays

        return arrays(self._net)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over."""
        from qframe_rl.deep.training import restored

        self._net = restored(self._network, state)

    def table(self, parts: Any) -> Revealed:
        """What there is to learn from in (history, segments): rows whose next two bars trade and follow at once.

        Raises
        ------
        UserError
            If there is none.
        """
        shown, gains, rows, base, n = [], [], [], 0, len(self.spec.instruments)
        for history, segments in parts:
            gain, whole = _gains(history)
            inside = np.zeros(len(history), dtype=np.bool_)
            for segment in segments:
                inside[segment.start : max(segment.start, segment.stop - 2)] = True
            found = np.flatnonzero((whole & inside[:, None]).ravel())
            rows.append(base + found)
            shown.append(self.observer.matrix(history).reshape(len(history) * n, -1))
            gains.append(gain.ravel())
            base += len(history) * n
        at = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
        if not len(at):
            raise UserError("agent 'fitted_q' needs training periods in which three bars follow one another.")
        return Revealed(np.concatenate(shown), np.concatenate(gains), at, n, self.levels, self.switch)

    def best(self, history: History) -> Int:
        """(T, A, K) index of the best level at the close of every row of a history, by the level held."""
        import torch

        from qframe_rl.deep.fitted_q import greedy

        shown = self.observer.matrix(history).reshape(len(history), len(history.instruments), -1)
        with torch.inference_mode():
            return greedy(self._net(torch.from_numpy(shown)))

    def _network(self) -> QNet:
        from qframe_rl.deep.fitted_q import QNet

        if self.spec.instruments:
            k = len(self.levels)
            return QNet(len(self.observer.features), self.config.hidden, k, k)
        interface = self.spec.interface
        return QNet(interface.observation_space.shape[0], self.config.hidden, 1, int(interface.action_space.n))  # type: ignore[index, attr-defined]

    def _fit(self) -> QSchedule:
        from qframe_rl.deep.fitted_q import QSchedule

        c = self.config
        return QSchedule(
            c.gamma, c.steps, c.passes, c.batch_size, c.learning_rate, c.last_rate, c.target_rate, c.max_gradient,
            self.spec.seed,
        )  # fmt: skip

    def _levels(self, interface: MarketInterface) -> Float:
        """(K,) exposures to choose among, ascending, 0 among them."""
        spec, scheme = self.spec, interface.scheme
        full = min(self.config.exposure, spec.leverage)
        stated = self.config.levels or (scheme.levels if isinstance(scheme, Levels) else (-full, full))
        lowest = -spec.leverage if spec.shorting else 0.0
        found = np.unique([0.0, *(x for x in stated if lowest <= x <= spec.leverage)])
        if len(found) < 2:
            raise UserError(f"agent.fitted_q.levels: of {tuple(stated)} this market allows none but 0.")
        return np.asarray(found / len(spec.instruments), dtype=np.float64)

    def _check_actions(self, space: Any) -> None:
        if not isinstance(space, spaces.Discrete):
            raise UserError("agent 'fitted_q' chooses among a few actions; this problem's are any number in a range.")

    def _piece(self, history: History) -> _Piece:
        from qframe_rl.deep.book import moves

        gap, body, _ = moves(history)
        return _Piece(history, gap, body)

    def _score(self, parts: list[tuple[_Piece, Segments]]) -> float:
        """Annual Sharpe ratio after costs over all segments, each begun with nothing held."""
        import torch

        from qframe_rl.deep.book import net_returns, sharpe
        from qframe_rl.deep.fitted_q import walk

        found, flat = [], int(np.flatnonzero(self.levels == 0.0)[0])
        for piece, segments in parts:
            best = self.best(piece.history)
            for segment in segments:
                rows = slice(max(0, segment.start - 1), segment.stop - 1)
                chosen = np.empty(best[rows].shape[:2], dtype=np.int64)
                walk(np.ascontiguousarray(best[rows]), np.full(best.shape[1], flat), chosen)
                held = self.levels[chosen]
                before = np.concatenate([np.zeros((1, held.shape[1])), held[:-1]])
                after = slice(rows.start + 1, rows.stop + 1)
                now, then, gap, body = (
                    torch.from_numpy(x) for x in (held, before, piece.gap[after], piece.body[after])
                )
                found.append(net_returns(now, then, gap, body, self.spec.cost_rate).sum(-1))
        returns = torch.cat(found)
        return float(sharpe(returns / (returns.std() + 1e-9), YEAR / self.spec.bar_ns))

    def _tried(self, task: Task) -> Tried:
        """Walk a problem at random, and try every action from each state on the way."""
        envs: Any = task.envs(_ENVS)
        n_actions = int(envs.single_action_space.n)
        rng = np.random.default_rng(self.spec.seed)
        seen, _ = envs.reset(seed=self.spec.seed)
        rows = []
        for _ in range(-(-self.config.states // _ENVS)):
            before = envs.snapshot()
            tried = []
            for k in range(n_actions):
                envs.restore(before)
                tried.append(_step(envs, np.full(_ENVS, k)))
            rows.append((seen, *(np.stack(part, axis=1) for part in zip(*tried, strict=True))))
            envs.restore(before)
            seen = envs.step(rng.integers(0, n_actions, _ENVS))[0]
        return Tried(*(np.concatenate(part) for part in zip(*rows, strict=True)))


class _Piece(NamedTuple):
    """A piece to score on, and the `UnitReturns` of its bars."""

    history: History
    gap: Float
    body: Float


def _step(envs: Any, actions: Int) -> tuple[Float, Single, Bool]:
    """Rewards of a step, what was seen after it before any new episode began, and whether one goes on."""
    after, reward, terminated, truncated, infos = envs.step(actions)
    if (terminated | truncated).any():
        after = infos["final_obs"]
    return reward, after, ~terminated


def _gains(history: History) -> tuple[Float, Bool]:
    """(T, A) return from the open after each row to the open after that, funding paid; and whether all is known."""
    opening = history.values[:, :, OPEN]
    one, two = np.full_like(opening, np.nan), np.full_like(opening, np.nan)
    one[:-2], two[:-2] = opening[1:-1], opening[2:] - history.funding[2:]
    gain = (two - one) / one
    whole = np.isfinite(gain) & np.isfinite(opening)
    whole[:-2] &= (history.time[2:] - history.time[:-2] == 2 * history.bar_ns)[:, None]
    return np.where(whole, gain, 0.0), whole


def _switch(levels: Float, spec: MarketSpec) -> Float:
    """(K, K) what an order from one level to another costs: half the spread, and the fee on what it then comes to."""
    fee = max(instrument.taker_fee for instrument in spec.instruments)
    spread = max(0.0, spec.cost_rate - fee)
    change = levels - levels[:, None]
    rate = np.where(change > 0.0, spread + fee * (1.0 + spread), spread + fee * (1.0 - spread))
    return np.asarray(rate * np.abs(change))


def make(config: Config, spec: MarketSpec) -> FittedQ:
    """Make the agent."""
    return FittedQ(config, spec)
