"""Several strategies as one: their target exposures are weighted, netted, and traded together.

Each member trades a paper account of its own, settled by the kernel at this market's fees and spread. Weights come from
what those accounts did up to now: a member is judged by decisions that it made before it knew (ALGORITHMS, card 4.6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl import catalog
from qframe_rl.agent import Agent, Log, MarketSpec, Portable, Resumable, State, Task, View
from qframe_rl.config import Base, UserError, build
from qframe_rl.deep.guard import Guard
from qframe_rl.deep.members import MemberLog, MemberTask
from qframe_rl.estimate import allocation
from qframe_rl.estimate.routing import FixedShare, Oamp
from qframe_rl.interface import MarketInterface, Observer, rebalance
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.types import Account, Bar, Fills, Float, Orders, alone

if TYPE_CHECKING:
    from qframe_rl.deep.router import LearnedRouter

_USUAL = ("momentum", "mean_reversion", "buy_and_hold")
"""Members where none are named, as far as the catalogue has them."""
_DUST = 1e-9
"""Differences of exposure below this are rounding, not decisions."""
_WIDE = 4.0
"""Standard deviations of a gain that ``oamp`` takes for the whole range of losses."""


class Config(Base):
    """Who is in it, and how capital is divided."""

    members: tuple[str, ...] = Field(
        default_factory=lambda: tuple(name for name in _USUAL if name in catalog.names("agents"))
    )
    """Strategies of the catalogue; LABEL=NAME takes one twice with different parameters. Learners are trained with
    it."""
    member: dict[str, dict[str, Any]] = Field(default={})
    """Parameters of the members, by name or label."""
    method: Literal[
        "equal", "inverse_volatility", "risk_parity", "hrp", "mean_variance", "best", "hedge", "eg", "stacking",
        "fixed_share", "oamp", "learned",
    ] = "equal"  # fmt: skip
    """``equal`` parts; ``inverse_volatility`` and ``risk_parity`` by risk (the second knows correlations), ``hrp`` by
    risk down a tree of clusters; ``mean_variance`` by shrunk means and covariances; ``best`` puts all on the best
    Sharpe ratio so far; ``hedge`` and ``eg`` shift to what earned most, a little each time; ``stacking`` regresses
    returns on the members' exposures; ``fixed_share`` and ``oamp`` route: the first puts all on what has lately earned
    most and follows a change of the best, with ``reweight_bars`` of 1 soonest; the second mixes, and comes near the one
    that is best in the long run; ``learned`` is a network that picks a member at every bar, trained on what all of them
    would have earned on the training bars. Choosing among methods is a trial like any other."""
    estimate_bars: int = Field(default=720, ge=20, le=1_000_000)
    """Bars of paper returns that weights are estimated from (all but ``equal``, ``hedge`` and ``eg``; a router's unit).
    Until a tenth of them have passed, parts are equal."""
    reweight_bars: int = Field(default=24, ge=1, le=1_000_000)
    """Bars between two reckonings of the weights."""
    rate: float = Field(default=0.05, gt=0.0, le=1e6)
    """Learning rate of ``hedge`` and ``eg``. For ``hedge`` over T reckonings the best is sqrt(8 ln M / T)."""
    loss_scale: float = Field(default=0.05, gt=0.0, le=1e6)
    """Return between two reckonings that counts as a loss of 0 (gained) or 1 (lost); beyond it is cut (``hedge``)."""
    route_rate: float = Field(default=0.3, gt=0.0, le=1e6)
    """How fast ``fixed_share`` moves: a gain of a standard deviation more grows a share by this, in logarithms."""
    route_share: float = Field(default=0.003, ge=0.0, le=1.0)
    """Part of all that ``fixed_share`` divides anew at each reckoning: about one over the reckonings for which one
    member stays the best."""
    route_steps: int = Field(default=4000, ge=1, le=10_000_000)
    """Gradient steps of ``learned``."""
    aversion: float = Field(default=5.0, gt=0.0, le=1e6)
    """Aversion to variance of ``mean_variance``; 1 wants the largest expected log growth, more is more careful."""
    ridge: float = Field(default=0.1, ge=0.0, le=1e6)
    """Penalty on squared weights, in units of the exposures' mean square (``stacking``)."""
    guard: bool = False
    """Whether nothing is traded while the market's features are strange by those of the training bars (`ROWS` bars
    rarer than all but a twentieth of usual ones); what lost 5 % or more is closed then. One strategy alone can be
    guarded so: name it as the only member."""
    band: float = Field(default=0.02, ge=0.0, le=1000.0)
    """No trade while an exposure is within this of the weighted one, unless a member trades the instrument."""


QUICK = {"estimate_bars": 60, "method": "risk_parity", "member": {"mean_reversion": {"regime_bars": 60}}}
"""Parameters that need little history: for a first try, and for tests."""


class Ensemble:
    """Does what the weighted members want together; what they want against each other is not traded."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config = config
        self.members = _members(config, spec)
        self.window = max(agent.window for agent in self.members.values())
        self.rules = _paper_rules(spec)
        n, a = len(self.members), len(spec.instruments)
        self.weight: Float = np.full(n, 1.0 / n)
        self.paper = Account(np.zeros(n), np.zeros((n, a)), np.full((n, a), np.nan))
        self.asked = _no_orders((n, a))
        self.fills = Fills.none(n, a)
        self.exposure: Float = np.zeros((n, a))
        self.n_settled = 0
        self.returns: deque[Float] = deque(maxlen=max(config.estimate_bars, config.reweight_bars))
        self.forecasts: deque[tuple[Float, Float]] = deque(maxlen=config.estimate_bars)
        self.held: Float = np.zeros(a)
        self.router = self._router(n)
        self.guard = Guard(_observer(spec, "guard"), spec.seed) if config.guard else None
        self.learned = self._learned(spec) if config.method == "learned" else None
        self.window = max(self.window, self.guard.window if self.guard else 0)

    def decide(self, view: View) -> Orders:
        """Settle the paper accounts, ask every member, and trade the weighted sum."""
        self._start(view) if view.first else self._settle(view)
        if self.n_settled > 0 and self.n_settled % self.config.reweight_bars == 0:
            self.weight = self._weights()
        self._ask(view)
        if self.learned:
            self.weight = self.learned.pick(self._seen(view), self.exposure)
        target = self.weight @ self.exposure
        wanted = ((self.asked.quantity != 0.0) & (self.weight > 0.0)[:, None]).any(axis=0)
        wanted |= np.abs(target - view.account.exposure) > max(self.config.band, _DUST)
        if self.guard:
            target, wanted = self.guard.allowed(view, target, wanted, self.held)
        self.held = view.account.position.copy()
        return rebalance(view, np.where(wanted, target, np.nan))

    def carried(self) -> State | None:
        """Paper accounts, weights, what they are reckoned from, and what the members remember; None if one cannot."""
        rows = [part for part, _ in self.forecasts]
        memory: State = {
            "n_settled": np.array([self.n_settled]),
            "weight": self.weight.copy(),
            "exposure": self.exposure.copy(),
            "held": self.held.copy(),
            "returns": np.array(self.returns).reshape(-1, len(self.members)),
            "known": np.array([len(part) for part in rows], dtype=np.int64),
            "forecasts": np.concatenate(rows) if rows else np.empty((0, len(self.members))),
            "outcomes": np.concatenate([part for _, part in self.forecasts]) if rows else np.empty(0),
        }
        for name, fields in (("paper", self.paper), ("asked", self.asked), ("fills", self.fills)):
            memory |= {f"{name}/{k}": np.array(field) for k, field in enumerate(fields) if field is not None}
        if self.guard:
            memory["entry"] = self.guard.entry.copy()
        if router := self.router or self.learned:
            memory |= {f"router/{key}": value for key, value in router.memory().items()}
        for name, agent in self.members.items():
            own = agent.carried() if isinstance(agent, Portable) else None
            if own is None:
                return None
            memory |= {f"member/{name}/{key}": value for key, value in own.items()}
        return memory

    def carry(self, memory: State) -> None:
        """Take all of it over."""
        self.n_settled = int(memory["n_settled"][0])
        self.weight, self.exposure, self.held = (np.array(memory[name]) for name in ("weight", "exposure", "held"))
        parts = {name: _own(memory, f"{name}/") for name in ("paper", "asked", "fills")}
        fields = {name: [np.array(part[str(k)]) for k in range(len(part))] for name, part in parts.items()}
        self.paper, self.asked = Account(*fields["paper"]), Orders(*fields["asked"])
        self.fills = Fills.made(fields["fills"])
        self.returns.extend(memory["returns"])
        ends = np.cumsum(memory["known"])[:-1]
        if len(memory["known"]):
            rows, outcomes = (np.split(memory[name], ends) for name in ("forecasts", "outcomes"))
            self.forecasts.extend(zip(rows, outcomes, strict=True))
        if router := self.router or self.learned:
            router.carry(_own(memory, "router/"))
        if self.guard:
            self.guard.entry = np.array(memory["entry"])
        for name, agent in self.members.items():
            if isinstance(agent, Portable):
                agent.carry(_own(memory, f"member/{name}/"))

    def _start(self, view: View) -> None:
        n, shape = len(self.members), self.paper.position.shape
        equity, mark = np.full(n, float(view.account.equity)), np.broadcast_to(view.account.mark, shape).copy()
        self.paper = Account(equity, np.zeros(shape), mark)
        self.asked = _no_orders(shape)
        self.fills = Fills.none(*shape)
        self.weight = np.full(n, 1.0 / n)
        self.n_settled = 0
        self.returns.clear()
        self.forecasts.clear()
        if router := self.router or self.learned:
            router.begin()

    def _settle(self, view: View) -> None:
        """Let the newest bar do to the paper accounts what it does to any account.

        A view does not say what funding fell due: it is known for an instrument that the ensemble itself held.
        """
        before = self.paper.equity
        due = np.divide(view.fills.funding, self.held, out=np.zeros_like(self.held), where=self.held != 0.0)
        bar = Bar(view.time, view.bars[-1], due, view.fills.forced != 0.0, view.cash_rate)
        self.paper, self.fills = settle(self.paper, self.asked, bar, self.rules)
        self.n_settled += 1
        self.returns.append(np.where(before > 0.0, self.paper.equity / np.maximum(before, 1e-300) - 1.0, 0.0))
        if self.learned:
            self.learned.step(self.returns[-1])
        if self.config.method == "stacking":
            moved = view.close[-1] / view.close[-2] - 1.0 if len(view.close) > 1 else np.full(len(self.held), np.nan)
            known = ~np.isnan(moved)
            self.forecasts.append((self.exposure[:, known].T.copy(), moved[known]))

    def _ask(self, view: View) -> None:
        """Collect the members' orders, and the exposures that they lead to."""
        equity = self.paper.equity
        for m, agent in enumerate(self.members.values()):
            account = Account(*(field[m] for field in self.paper))
            told = replace(view, account=account, fills=Fills.made(field[m] for field in self.fills.sums))
            orders = told.allowed(agent.decide(told)) if equity[m] > 0.0 else Orders.market(np.zeros(len(self.held)))
            for kept, new in zip(self.asked.terms, alone(orders, "an ensemble's member").terms, strict=True):
                kept[m] = new
            # What waits for a price is followed once it has filled on paper.
            sure = np.where(np.isnan(orders.limit) & np.isnan(orders.stop), orders.quantity, 0.0)
            worth = np.where(account.position + sure == 0.0, 0.0, (account.position + sure) * account.mark)
            self.exposure[m] = worth / equity[m] if equity[m] > 0.0 else 0.0

    def _weights(self) -> Float:
        config, n = self.config, len(self.members)
        if config.method in ("hedge", "eg"):
            grown = np.prod(1.0 + np.array(self.returns)[-config.reweight_bars :], axis=0)
            if config.method == "eg":
                return allocation.exponentiated_gradient(self.weight, np.maximum(grown, 1e-12), config.rate)
            losses = np.clip(0.5 - 0.5 * (grown - 1.0) / config.loss_scale, 0.0, 1.0)
            return allocation.hedge(self.weight, losses, config.rate)
        if config.method == "learned":
            return self.weight
        if config.method == "equal" or self.n_settled < max(config.estimate_bars // 10, 2 * n):
            return np.full(n, 1.0 / n)
        if self.router:
            return self.router.step(self._gains())
        if config.method == "stacking":
            rows, outcomes = (np.concatenate([part[k] for part in self.forecasts]) for k in (0, 1))
            return allocation.stacking(rows, outcomes, config.ridge)
        returns = np.array(self.returns)[-config.estimate_bars :]
        if config.method in ("mean_variance", "best"):
            mean_variance = config.method == "mean_variance"
            return allocation.mean_variance(returns, config.aversion) if mean_variance else allocation.best(returns)
        by_risk = {
            "inverse_volatility": allocation.inverse_volatility, "risk_parity": allocation.risk_parity,
            "hrp": allocation.hierarchical_risk_parity,
        }  # fmt: skip
        return by_risk[config.method](np.atleast_2d(np.cov(returns.T)))

    def _seen(self, view: View) -> Float:
        """(A x F) scaled features of the newest bar."""
        rows = self.observer.raw(view.bars, view.times, len(view.bars) - 1)
        return self.observer.scaler(rows).ravel().astype(np.float64)

    def _gains(self) -> Float:
        """(M,) returns since the last reckoning, in units of their usual deviation."""
        n = self.config.reweight_bars
        unit = float(np.std(np.array(self.returns))) * n**0.5
        grown = np.prod(1.0 + np.array(self.returns)[-n:], axis=0) - 1.0
        return grown / unit if unit > 0.0 else np.zeros(len(self.members))

    def _learned(self, spec: MarketSpec) -> LearnedRouter:
        from qframe_rl.deep.router import LearnedRouter

        self.observer = _observer(spec, "method=learned")
        self.window = max(self.window, self.observer.lookback)
        shape = *self.exposure.shape, len(self.held) * len(self.observer.features)
        return LearnedRouter(shape, spec.cost_rate, spec.seed, self.config.route_steps)

    def _router(self, n: int) -> FixedShare | Oamp | None:
        if self.config.method == "fixed_share":
            return FixedShare(n, self.config.route_rate, self.config.route_share)
        return Oamp(n, _WIDE) if self.config.method == "oamp" else None


class LearningEnsemble(Ensemble):
    """One that has members, a router or a guard to train."""

    def fit(self, task: Task, log: Log) -> None:
        """Train each member that learns, all on the same task; one that was trained before an interruption is kept."""
        kept = dict(task.recall()) if isinstance(task, Resumable) else {}
        done: State = {}
        for name, agent in self._learners().items():
            if found := _own(kept, f"{name}/trained/"):
                agent.restore(found)
            else:
                agent.fit(MemberTask(task, f"{name}/going/", done, kept), MemberLog(log, name))
            done |= {f"{name}/trained/{key}": value for key, value in agent.state().items()}
        if self.guard:
            self.guard.fit(task)
        if self.learned:
            from qframe_rl.deep.router import lived

            learn, stop = (lived(p, self.window, self._practised) for p in (task.train, task.validation))
            part = MemberTask(task, "/router/going/", done, kept)
            self.learned.fit(learn, stop, part, MemberLog(log, "router"))

    def _practised(self, view: View) -> tuple[Float, Float, Float]:
        """What is seen of a bar of training, what the members gained in it, and what they want then."""
        self.held = np.ones_like(self.held)
        self._start(view) if view.first else self._settle(view)
        self._ask(view)
        gains = np.zeros(len(self.members)) if view.first else self.returns[-1]
        return self._seen(view), gains, self.exposure.copy()

    def state(self) -> State:
        """The members' states, each under its name, and those of guard and router."""
        own = {f"/guard/{key}": value for key, value in (self.guard.state() if self.guard else {}).items()}
        own |= {f"/router/{key}": value for key, value in (self.learned.state() if self.learned else {}).items()}
        return own | {f"{n}/{key}": v for n, agent in self._learners().items() for key, v in agent.state().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Hand each member its own."""
        for name, agent in self._learners().items():
            agent.restore(_own(state, f"{name}/"))
        if self.guard:
            self.guard.restore(_own(state, "/guard/"))
        if self.learned:
            self.learned.restore(_own(state, "/router/"))

    def _learners(self) -> dict[str, Any]:
        return {name: agent for name, agent in self.members.items() if hasattr(agent, "fit")}


def _own(state: Mapping[str, NDArray[Any]], prefix: str) -> State:
    """What belongs to one member."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _no_orders(shape: tuple[int, ...]) -> Orders:
    """Orders to be written into: each field is an array of its own."""
    return Orders(np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan))


def _observer(spec: MarketSpec, what: str) -> Observer:
    """The market's own, which a guard and a learned router look through."""
    if not isinstance(spec.interface, MarketInterface):
        raise UserError(f"agent.ensemble.{what} needs a market whose interface observes features.")
    return spec.interface.observer


def _members(config: Config, spec: MarketSpec) -> dict[str, Agent]:
    """Make the members; each learner has randomness of its own."""
    made: dict[str, Agent] = {}
    for k, text in enumerate(config.members):
        label, _, name = text.rpartition("=")
        label = label or name
        if label in made:
            raise UserError(f"agent ensemble: members names {label!r} twice; write LABEL=NAME to tell them apart.")
        module = catalog.load("agents", name)
        settings = build(module.Config, config.member.get(label, {}), f"agent ensemble, member {label}")
        made[label] = module.make(settings, replace(spec, seed=spec.seed + k))
    if not made:
        raise UserError("agent ensemble: members is empty; name at least one strategy.")
    for label in config.member:
        if label not in made:
            raise UserError(f"agent ensemble: there are parameters for {label!r}, which is not a member.")
    return made


def parts(config: Config) -> tuple[str, ...]:
    """Names of the strategies that it is made of, members of members too: their code is part of what it is."""
    names = tuple(text.rpartition("=")[2] for text in config.members)
    return tuple(dict.fromkeys((*names, *_of_members(config, "parts"))))


def datasets(config: Config) -> tuple[str, ...]:
    """What its members learn from: the content counts as their code does."""
    return _of_members(config, "datasets")


def _of_members(config: Config, what: str) -> tuple[str, ...]:
    """What the members' modules say of themselves, as far as they say it."""
    found: list[str] = []
    for text in config.members:
        label, _, name = text.rpartition("=")
        module, where = catalog.load("agents", name), f"agent ensemble, member {label or name}"
        if hasattr(module, what):
            found += getattr(module, what)(build(module.Config, config.member.get(label or name, {}), where))
    return tuple(dict.fromkeys(found))


def _paper_rules(spec: MarketSpec) -> Rules:
    """The market's rules as far as a strategy may know them: fees, lots, leverage and spread, without impact."""
    taker = max(instrument.taker_fee for instrument in spec.instruments)
    return rules_of(
        spec.instruments, half_spread=max(0.0, spec.cost_rate - taker), volume_share=1.0, leverage=spec.leverage,
        shorting=spec.shorting,
    )  # fmt: skip


def make(config: Config, spec: MarketSpec) -> Ensemble:
    """Make the agent; it is trained only if a member is."""
    plain = Ensemble(config, spec)
    learns = config.guard or config.method == "learned"
    if not learns and not any(hasattr(agent, "fit") for agent in plain.members.values()):
        return plain
    return LearningEnsemble(config, spec)
