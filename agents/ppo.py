"""Proximal policy optimisation (Schulman et al., 2017), compact and fast.

The environments hand out places on the tape instead of copied windows; the feature matrix lies on the device, and each
distinct bar is encoded once (`qframe_rl.policy`). Rewards are divided by the running standard deviation of the
discounted return (Engstrom et al., 2020), so that the defaults serve any scale; an episode that was cut off is
bootstrapped with the value of its true last observation (Pardo et al., 2018).

A training is `qframe_rl.policy.training.PpoTraining`: `collect`, `judge`, `improve`, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from qframe_rl.agent import Log, MarketSpec, Resumable, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.policy import InputShape, Net, Span, Torso
from qframe_rl.policy.apart import one_thread
from qframe_rl.policy.best import BestWeights, falls_due, sharpe_error, weights_of
from qframe_rl.policy.plan import Given, PartLog, Ramp, TrainingPlan, sizes
from qframe_rl.policy.shared import SharedNet
from qframe_rl.policy.training import Masks, PpoTraining, Watcher, legal
from qframe_rl.types import Orders, Single

Act = Callable[[Single], NDArray[Any]]
"""(B, n) observations of B episodes to their B actions."""
Memory = tuple[Tensor | None, ...]
"""What each member remembers of the running episodes, (B, n) each."""
_SNAPSHOTS = 20
"""Times in a training that it is kept, so that it can go on after an interruption."""
_APART = 1 << 33
"""Between the seeds of two members; those of a batch of environments lie between."""


class Config(Base):
    """Hyper-parameters; the defaults learn the default market and are mild on real data."""

    total_steps: int = Field(default=800_000, ge=1, le=10**12)
    """Environment steps to train for. A bar of history is seen total_steps / (bars of training) times."""
    n_envs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Environments stepped as one batch; null = by total_steps, for at least a hundred updates (a market 2,048 samples
    between two of them and a problem 512; from some 800,000 steps on more)."""
    n_steps: int | None = Field(default=None, ge=2, le=1_000_000)
    """Steps of each environment between two updates; null = by total_steps."""
    batch_size: int | None = Field(default=None, ge=2, le=10_000_000)
    """Samples of a minibatch; null = a quarter of those of an update, 128 at least."""
    n_epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Passes over the samples of an update; null = 4, and 10 over up to 4,096 samples of a problem."""
    learning_rate: float = Field(
        default=1e-3, gt=0.0, le=100.0, json_schema_extra=search(low=1e-4, high=3e-3, log=True)
    )
    """Step size of Adam at the start."""
    learning_rate_end: float | None = Field(default=None, ge=0.0, le=100.0)
    """Step size at the end, to which it goes linearly; null = a tenth of that at the start."""
    gamma: float = Field(default=0.98, gt=0.0, le=1.0, json_schema_extra=search(low=0.8, high=0.999))
    """Discount per bar: 1 / (1 - gamma) bars are looked ahead."""
    gae_lambda: float = Field(default=0.9, ge=0.0, le=1.0)
    """Weight of longer returns in the advantage."""
    clip_range: float = Field(default=0.2, gt=0.0, le=1e6)
    """Largest change of an action's probability ratio that is rewarded."""
    target_kl: float | None = Field(default=None, gt=0.0, le=1e6)
    """Divergence from the policy that collected the samples after which an update makes no more passes over them;
    null = never."""
    ent_coef: float = Field(default=0.003, ge=0.0, le=1e6, json_schema_extra=search(low=1e-4, high=0.03, log=True))
    """Weight of the entropy bonus at the start."""
    ent_coef_end: float | None = Field(default=None, ge=0.0, le=1e6)
    """Weight of the entropy bonus at the end, to which it goes linearly; null = that at the start."""
    reward_scale: float | None = Field(default=None, gt=0.0, le=1e12)
    """What rewards are multiplied by; null = divided by the running standard deviation of the discounted return."""
    log_std: float = Field(default=-1.0, ge=-20.0, le=10.0)
    """Logarithm of the standard deviation that continuous actions begin with, on the scale of [-1, 1]."""
    network: Torso = "mlp"
    """What looks at the bars: mlp, cnn, lstm, gru, or shared, an mlp of one instrument whose weights serve for all.
    cnn, lstm and gru want env.n_rows of 32 or so: it is their memory, unless memory is episode."""
    memory: Span = "window"
    """How long lstm and gru remember: window = the bars that are seen, anew at each; episode = all that was seen since
    the episode or the session began, account included, on problems too."""
    memory_steps: int = Field(default=64, ge=1, le=1_000_000)
    """Steps of an episode that a gradient goes back through, at the most, where the memory is that of an episode."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of a cnn, lstm or gru."""
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(64, 64), min_length=1, max_length=16)
    """Units of the hidden layers of actor and critic, tanh."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic in training of what looks at the bars, on a GPU of all. bfloat16 pays from a few thousand bars
    on, on hardware that has it."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads of the network's arithmetic in training on a CPU. Another number gives other last bits."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network is trained. It acts on the CPU."""
    members: int = Field(default=1, ge=1, le=1000)
    """Networks trained one after another, each from its own seed; the agent acts by their mean distribution."""
    evaluations: int = Field(default=10, ge=0, le=1_000_000)
    """Times that the tail of the training part is scored during training; the best weights are kept. 0 = never. A
    problem has no such tail."""
    patience: int = Field(default=4, ge=0, le=1_000_000)
    """Evaluations in a row that are no better than the best, after which training stops; 0 = never."""
    margin: float | None = Field(default=None, ge=0.0, le=100.0)
    """Standard errors of the tail's Sharpe ratio, 1 / sqrt(its years), by which trained weights must beat the untrained
    policy, which hardly trades and is kept where none does; null = the best weights that were scored are kept."""

    @model_validator(mode="after")
    def _scores(self) -> Self:
        if self.margin is not None and not self.evaluations:
            raise ValueError("margin: nothing can beat the untrained policy where evaluations is 0")
        if self.network == "shared" and (self.memory == "episode" or self.threads > 1):
            raise ValueError("network shared has no memory to last an episode, and is trained on one thread")
        return self

    @property
    def reads_all(self) -> bool:
        """Whether the network says anew what it sees of every bar after each update."""
        return self.network in ("lstm", "gru") and self.memory == "window"

    def plan(self, n_bars: int) -> TrainingPlan:
        """The training of one member, on so many bars, of which only a network that reads all asks; 0 = a problem."""
        given = Given(self.n_envs, self.n_steps, self.batch_size, self.n_epochs)
        least = n_bars // 4 if self.reads_all else 0
        rate, entropy = self.learning_rate_end, self.ent_coef_end
        return TrainingPlan(
            self.total_steps, sizes(self.total_steps, given, market=n_bars > 0, least=least),
            Ramp(self.learning_rate, 0.1 * self.learning_rate if rate is None else rate),
            Ramp(self.ent_coef, self.ent_coef if entropy is None else entropy),
            self.gamma, self.gae_lambda, self.clip_range, self.reward_scale, self.target_kl, self.memory_steps,
            torch.bfloat16 if self.precision == "bfloat16" else torch.float32, self.threads, self.device,
        )  # fmt: skip


QUICK = {
    "total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "hidden": (16,),
    "evaluations": 2,
}  # fmt: skip
"""Parameters of a training that takes a second: for a first try, and for tests."""


class Update(NamedTuple):
    """What a listener is told of after each update of a training."""

    done: int
    """Environment steps so far, of all members."""
    total: int
    """Environment steps of the whole training."""
    curves: Mapping[str, float]
    """Losses, entropy, divergence, returns of episodes, by name; of this update."""
    policy: Callable[[], Act]
    """Makes the policy as it is now, over plain observations; see `qframe_rl.agent.Solver`."""


Follower = Callable[[Update], object]
"""Told of each update; a training ends, with what it has, where one returns False."""


class Ppo:
    """A policy behind the market's interface, or the mean of several.

    Parameters
    ----------
    config
        Hyper-parameters.
    spec
        Spaces, bars and seed.
    """

    def __init__(self, config: Config, spec: MarketSpec):
        if config.margin is not None and not spec.bar_ns:
            raise UserError("agent ppo: margin is of a Sharpe ratio of bars, and there are none here; leave it out.")
        self.config = config
        self.seed = spec.seed
        self.interface = spec.interface
        self.window, self._n_instruments = spec.interface.window, len(spec.instruments)
        self.listeners: list[Follower] = []
        self._nets: tuple[Net, ...] = ()
        self._memory: Memory = ()

    def fit(self, task: Task, log: Log) -> None:
        """Train from scratch, or on from where an interrupted training was last kept, to the same bits."""
        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise UserError("agent ppo: device cuda was asked for, but torch sees none; take device cpu.")
        keeper = task if isinstance(task, Resumable) else None
        kept = {} if keeper is None else dict(keeper.recall())
        done = [] if not kept else [self._loaded(part) for part in _parted(kept, int(kept["member"][0]))]
        with one_thread():
            while len(done) < self.config.members:
                done.append(self._member(len(done), task, log, keeper, kept, done))
                kept = {}
        self._nets = tuple(net.cpu().eval() for net in done)

    def training(self, envs: Any, total_steps: int, n_steps: int, log: Log, start: State | None = None) -> PpoTraining:
        """A training that somebody else takes step by step, see `qframe_rl.arena.selfplay`; the agent acts by it.

        Parameters
        ----------
        envs
            As `PpoTraining` has it; numbers alone are seen.
        total_steps, n_steps
            In place of the configuration's, as is the number of ``envs``.
        log
            Told of each update.
        start
            Weights to begin with; None = new ones.
        """
        own = {"total_steps": total_steps, "n_envs": envs.num_envs, "n_steps": n_steps}
        net = self._new(0) if start is None else self._loaded(start)
        self._nets = (net,)
        return PpoTraining(
            self.config.model_copy(update=own).plan(0), net, envs, self.seed, log, self._masks
        )  # fmt: skip

    def decide(self, view: View) -> Orders:
        """Act greedily."""
        before = () if view.first else self._memory
        actions, self._memory = self.answer(self.interface.observe(view)[None], before)
        return self.interface.orders(actions[0], view)

    def act(self, observations: Single) -> NDArray[Any]:
        """(B, n) observations to B greedy actions; each begins an episode where the memory lasts one, see `policy`.

        Raises
        ------
        RuntimeError
            Before training.
        """
        return self.answer(observations, ())[0]

    def policy(self) -> Act:
        """The policy over plain observations, see `qframe_rl.agent.Solver`."""
        return self._walking(Net.recall)

    def acting(self) -> Act:
        """The same without what critics say, see `qframe_rl.agent.Chooser`."""
        return self._walking(Net.lead)

    def _walking(self, see: Callable[..., tuple[Any, ...]]) -> Act:
        memory: Memory = ()

        def act(observations: Single) -> NDArray[Any]:
            nonlocal memory
            actions, memory = self.answer(observations, memory, see)
            return actions

        return act

    def carried(self) -> State:
        """What is remembered of the running episode, of each member; nothing where the window is the memory."""
        return {str(k): part.numpy().copy() for k, part in enumerate(self._memory) if part is not None}

    def carry(self, memory: State) -> None:
        """Take the memory over."""
        self._memory = tuple(torch.from_numpy(np.array(memory[str(k)])) for k in range(len(memory)))

    def state(self) -> State:
        """Weights of actor and critic as they are at that moment; nothing before training."""
        if len(self._nets) == 1 and self.config.members == 1:
            return weights_of(self._nets[0])
        return {f"{k}/{name}": value for k, net in enumerate(self._nets) for name, value in weights_of(net).items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over.

        Raises
        ------
        ValueError
            If they are not those of this network.
        """
        n = self.config.members
        parts = _parted(state, n) if n > 1 else [dict(state)]
        if sum(map(len, parts)) != len(state):
            raise ValueError(f"there are not {n} members with weights of their own")
        self._nets, self._memory = tuple(self._loaded(part) for part in parts), ()

    def answer(
        self, observations: Single, before: Memory, see: Callable[..., tuple[Any, ...]] = Net.recall
    ) -> tuple[NDArray[Any], Memory]:
        """B greedy actions on (B, n) observations, and what is remembered after them; empty before a first step.

        Raises
        ------
        RuntimeError
            Before training.
        """
        if not self._nets:
            raise RuntimeError("train or restore the agent before it decides")
        with torch.inference_mode():
            rows = torch.from_numpy(observations)
            seen = [see(net, rows, old) for net, old in zip(self._nets, before or repeat(None), strict=False)]
            chance, outs = self._nets[0].chance, [out for out, *_ in seen]
            if (masks := self._masks) is not None:
                barred = torch.from_numpy(~masks(observations).reshape(len(observations), -1))
                outs = [out.masked_fill(barred, -torch.inf) for out in outs]
            out = outs[0] if len(outs) == 1 else chance.mean(outs)
            return legal(chance.best(out), self.interface.action_space), tuple(after for *_, after in seen)

    def _member(
        self, k: int, task: Task, log: Log, keeper: Resumable | None, kept: State, done: list[Net]
    ) -> Net:  # fmt: skip
        """Train the k-th member, or train it on from what was kept of it."""
        config, seed = self.config, self.seed + k * _APART
        plan = self._plan(task)
        envs = task.envs(plan.sizes.n_envs, indexed=True)
        if k:
            envs.reset(seed=seed)
        net = self._new(k)
        self._nets = (net,)
        training = PpoTraining(plan, net, envs, seed, PartLog(log, k, config.members), self._masks)
        best = BestWeights(
            lambda: self._score(net, task), config.evaluations if task.validation else 0, config.patience
        )
        if kept:
            training.restore(kept)
            best.restore(kept)
        elif task.validation and config.margin is not None:
            n_bars = sum(s.n_bars for _, segments in task.validation for s in segments)
            best.best = self._score(net, task) + config.margin * sharpe_error(n_bars, task.spec.bar_ns)
            best.weights = weights_of(net)

        def keep(training: PpoTraining) -> bool:
            if keeper is not None and falls_due(training, _SNAPSHOTS):
                others = {f"{j}/{name}": v for j, one in enumerate(done) for name, v in weights_of(one).items()}
                keeper.remember(training.state() | best.state() | others | {"member": np.array([k])})
            return True

        if best.waits:
            training([self._told(k), best, keep])
        return self._loaded(best.weights) if best.weights else net

    def _plan(self, task: Task) -> TrainingPlan:
        n_bars = self.interface.market_shape[0]
        if self.config.reads_all:
            n_bars = max(n_bars, sum(s.n_bars for _, segments in task.train for s in segments))
        return self.config.plan(n_bars)

    def _told(self, k: int) -> Watcher:
        """Tells the listeners."""
        total = self.config.total_steps

        def tell(training: PpoTraining) -> bool:
            news = Update(k * total + training.done, self.config.members * total, training.curves, self.policy)
            told = [listener(news) is not False for listener in self.listeners]
            return all(told)

        return tell

    def _score(self, net: Net, task: Task) -> float:
        """Validate a member as it is now."""
        before, memory = self._nets, self._memory
        self._nets = (self._loaded(weights_of(net)),)
        try:
            return task.validate(self)
        finally:
            self._nets, self._memory = before, memory

    @property
    def _masks(self) -> Masks | None:
        return getattr(self.interface, "masks", None)

    def _loaded(self, state: Mapping[str, NDArray[Any]]) -> Net:
        """A network with these weights; raises ValueError where they are of another."""
        with torch.device("meta"):  # a network that other weights belong to takes no memory
            shapes = {name: tuple(value.shape) for name, value in self._new(0).state_dict().items()}
        for name in sorted(shapes.keys() | state.keys()):
            if name not in shapes or name not in state or shapes[name] != state[name].shape:
                raise ValueError(f"{name} is not of this network, or has another shape")
        net = self._new(0)
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        return net.eval()

    def _new(self, k: int) -> Net:
        """A network with the weights that the seed of the k-th member begins with."""
        c, interface = self.config, self.interface
        n_rows, width = interface.market_shape
        n_account = math.prod(interface.observation_space.shape or ()) - n_rows * width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + k * _APART)
            shape = InputShape(n_rows, width, n_account)
            space, idle = interface.action_space, interface.idle
            if c.network == "shared":
                return SharedNet(shape, space, self._n_instruments, c.hidden, c.log_std, idle)
            return Net(shape, space, c.network, c.units, c.hidden, c.log_std, c.memory, idle)


def _parted(state: Mapping[str, NDArray[Any]], n: int) -> list[State]:
    """Weights of each of n members."""
    heads = [f"{k}/" for k in range(n)]
    return [{name.removeprefix(head): v for name, v in state.items() if name.startswith(head)} for head in heads]


def make(config: Config, spec: MarketSpec) -> Ppo:
    """Make the agent."""
    return Ppo(config, spec)
