"""The learner's parts against plain definitions, and the whole on what it must get right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from agents import ppo
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_market
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import whole
from qframe_rl.policy import Dense, Graph, Loss, returns, training
from tests.contracts.checks import Quiet


def test_advantages_are_sums_of_discounted_surprises() -> None:
    """Against the definition, written out: sum of (gamma lambda)^k delta up to the end of the episode."""
    rng = np.random.default_rng(0)
    n, b, gamma, lam = 40, 3, 0.9, 0.8
    rewards, values, last = rng.normal(size=(n, b)), rng.normal(size=(n + 1, b)), rng.normal(size=(n, b))
    over = rng.random((n, b)) < 0.1
    out = np.empty((n, b))
    returns.estimate(rewards, over, values, last, gamma, lam, out)
    for k in range(b):
        for t in range(n):
            total, weight = 0.0, 1.0
            for u in range(t, n):
                after = last[u, k] if over[u, k] else values[u + 1, k]
                total += weight * (rewards[u, k] + gamma * after - values[u, k])
                weight *= gamma * lam
                if over[u, k]:
                    break
            assert out[t, k] == pytest.approx(total, rel=1e-12, abs=1e-12)


def test_the_running_spread_is_that_of_all_numbers() -> None:
    rng, spread = np.random.default_rng(0), returns.RunningDeviation()
    parts = [rng.normal(3.0, 2.0, (k, 4)) for k in (1, 7, 30)]
    for part in parts:
        spread.add(part)
    assert spread.value == pytest.approx(np.concatenate(parts).std(), rel=1e-6)


class Cut(VectorEnv[Any, Any, Any]):
    """Pays one a step for ever; cut off every five steps, or ended there. The observation tells the step."""

    def __init__(self, n_envs: int, *, ends: bool):
        self.num_envs, self.ends = n_envs, ends
        self.single_observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.clock = 0

    def _seen(self) -> np.ndarray:
        return np.full((self.num_envs, 1), self.clock / 5.0, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.clock = 0
        return self._seen(), {}

    def step(self, actions: Any) -> Any:
        self.clock += 1
        over = np.full(self.num_envs, self.clock == 5)
        infos: dict[str, Any] = {}
        if over.any():
            infos = {"final_obs": self._seen(), "_final_obs": over}
            self.clock = 0
        no = np.zeros_like(over)
        ended, cut = (over, no) if self.ends else (no, over)
        return self._seen(), np.ones(self.num_envs), ended, cut, infos


@pytest.mark.parametrize("ends", [False, True])
def test_an_episode_cut_off_is_worth_what_goes_on_and_one_that_ended_is_not(ends: bool) -> None:
    """With gamma .8 a stream of ones is worth 5; if it ends after five steps, 3.36 at its start."""
    config = ppo.Config(
        total_steps=60_000,
        n_envs=16,
        n_steps=20,
        batch_size=160,
        n_epochs=4,
        gamma=0.8,
        gae_lambda=0.9,
        learning_rate=3e-3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ppo.Net(ppo.InputShape(0, 0, 1), spaces.Discrete(2), "mlp", 1, (32, 32), 0.0)
    one = training.PpoTraining(config.plan(0), net, Cut(16, ends=ends), 0, Quiet())
    with ppo.one_thread():
        one()
    worth = float(one.values[0].mean()) * one.spread.value
    assert worth == pytest.approx(3.36 if ends else 5.0, rel=0.03)


def test_an_episode_cut_off_is_valued_at_its_own_last_observation() -> None:
    """Not at what the next one begins with, which is all that a reused buffer would still hold."""
    config = ppo.Config(n_envs=3, n_steps=20)
    net = ppo.Net(ppo.InputShape(0, 0, 1), spaces.Discrete(2), "mlp", 1, (8,), 0.0)
    one = training.PpoTraining(config.plan(0), net, Cut(3, ends=False), 0, Quiet())
    one.look(0, one.envs.reset()[0])
    last = one.collect()
    with torch.inference_mode():
        worth = float(net.see(torch.ones(1, 1))[1])
        at_first = float(net.see(torch.zeros(1, 1))[1])
    assert worth != pytest.approx(at_first, abs=1e-4)
    assert last[4::5] == pytest.approx(np.full((4, 3), worth), abs=1e-6)
    assert not np.delete(last, np.s_[4::5], axis=0).any()


def task(n_rows: int = 1, actions: str = "levels") -> Any:
    from qframe_rl.bench.worlds import WorldTask

    history = synthetic("ar1", 1500, seed=3)
    params = {"n_rows": n_rows, "actions": {"name": actions}}
    market = make_market(Ref(name="perp", params=params), history.instruments, history.columns, history.bar_ns)
    parts = [(history, whole(history))]
    market = market.fit(parts)
    return WorldTask(market, market.tape(parts), history.columns, 5)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"network": "cnn"},
        {"network": "shared"},
        {"network": "lstm"},
        {"network": "gru", "units": 8},
        {"precision": "bfloat16", "n_steps": 256},
        {"threads": 3},
        {"threads": 2, "network": "lstm"},
        {"network": "gru", "units": 8, "memory": "episode"},
        {"members": 2},
    ],
)
@pytest.mark.parametrize("actions", ["levels", "exposure"])
def test_every_network_trains_saves_and_loads_to_the_same_bits(params: dict[str, Any], actions: str) -> None:
    place = task(1 if not params.get("network") else 16, actions)
    config = ppo.Config(**{**ppo.QUICK, **params})
    one, two = ppo.make(config, place.spec), ppo.make(config, place.spec)
    one.fit(place, Quiet())
    two.fit(place, Quiet())
    rows = place.envs(32).reset(seed=1)[0]
    assert all(np.array_equal(one.state()[name], value) for name, value in two.state().items())
    three = ppo.make(config, place.spec)
    three.restore(one.state())
    assert np.array_equal(one.act(rows), three.act(rows))
    with pytest.raises(ValueError, match="not of this network"):
        name = "actor.0.weight" if config.members == 1 else "1/actor.0.weight"
        three.restore({**one.state(), name: np.zeros((1, 1), np.float32)})


@pytest.mark.parametrize("network", ["mlp", "lstm"])
def test_the_way_of_a_gpu_leads_where_that_of_a_cpu_does(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one update; on the CPU, where both can run."""
    place = task(16)
    config = ppo.Config(**{**ppo.QUICK, "total_steps": 256, "network": network})

    def learned() -> dict[str, Any]:
        agent = ppo.make(config, place.spec)
        agent.fit(place, Quiet())
        return agent.state()

    on_cpu, loss = learned(), Loss(config.clip_range, 0.003)
    monkeypatch.setattr(training, "lanes", lambda plan, net: [Graph(net, loss, plan.dtype)])
    for name, value in learned().items():
        assert np.allclose(value, on_cpu[name], atol=2e-4), name


def test_the_step_size_falls_linearly_to_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = Dense.step

    def told(self: Dense, others: Any, rate: float) -> None:
        rates.append(rate)
        step(self, others, rate)

    monkeypatch.setattr(Dense, "step", told)
    config = ppo.Config(**{**ppo.QUICK, "total_steps": 2560, "n_epochs": 1, "batch_size": 256, "learning_rate": 0.01})
    place = task()
    ppo.make(config, place.spec).fit(place, Quiet())
    assert rates == pytest.approx([0.01 * (1.0 - 0.09 * k) for k in range(10)])


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="n_rows"):
        ppo.make(ppo.Config(network="lstm"), task().spec).fit(task(), Quiet())
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device"):
            ppo.make(ppo.Config(device="cuda"), task().spec).fit(task(), Quiet())
    with pytest.raises(RuntimeError, match="train or restore"):
        ppo.make(ppo.Config(), task().spec).act(np.zeros((1, 4), np.float32))
