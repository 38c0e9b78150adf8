"""A memory that lasts an episode: what is learned from is what was seen, and what it is good for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from agents import ppo
from qframe_rl.agent import MarketSpec
from qframe_rl.config import UserError
from qframe_rl.gym.problem import Numbers
from qframe_rl.policy.episode import EpisodeMemory
from qframe_rl.policy.net import EpisodeEncoder
from qframe_rl.policy.training import PpoTraining
from tests.agents.test_ppo import task
from tests.agents.test_ppo_training import problem
from tests.contracts.checks import Quiet

EPISODE = {"memory": "episode", "network": "lstm", "units": 8, "hidden": (16,)}


class Cue(VectorEnv[Any, Any, Any]):
    """Shows -1 or 1 at the first of eight steps and 0 after it, and pays for the cue's own action at the last."""

    def __init__(self, n_envs: int):
        self.num_envs, self.clock = n_envs, 0
        self.single_observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.clock, self.cue = 0, self.rng.integers(0, 2, self.num_envs)
        return (2.0 * self.cue[:, None] - 1.0).astype(np.float32), {}

    def step(self, actions: Any) -> Any:
        self.clock += 1
        over, no = np.full(self.num_envs, self.clock == 8), np.zeros(self.num_envs, dtype=np.bool_)
        paid = np.where(over, (actions == self.cue) * 1.0, 0.0)
        seen = np.zeros((self.num_envs, 1), np.float32)
        return self.reset()[0] if over.any() else seen, paid, over, no, {}


class CueTask:
    train = validation = ()

    def __init__(self) -> None:
        envs = Cue(1)
        numbers = Numbers(envs.single_observation_space, envs.single_action_space)
        self.spec = MarketSpec((), (), 0, 1.0, True, 0.0, numbers, seed=1)

    def envs(self, n_envs: int, *, indexed: bool = False) -> Cue:
        return Cue(n_envs)


@pytest.mark.parametrize(
    "params",
    [pytest.param(EPISODE, marks=pytest.mark.long), EPISODE | {"network": "gru", "memory_steps": 8}, {"hidden": (16,)}],
)
def test_a_cue_is_remembered_to_the_end_of_the_episode(params: dict[str, Any]) -> None:
    work = CueTask()
    agent = ppo.make(
        ppo.Config(total_steps=30_000, n_envs=32, n_steps=32, batch_size=256, gamma=0.95, **params), work.spec
    )
    agent.fit(work, Quiet())  # type: ignore[arg-type]
    envs, act = Cue(400), agent.policy()
    seen, paid = envs.reset()[0], np.zeros(400)
    for _ in range(8):
        seen, paid, *_ = envs.step(act(seen))
    assert paid.mean() == 1.0 if "memory" in params else 0.4 < paid.mean() < 0.6


@pytest.mark.parametrize("network", ["lstm", "gru"])
@pytest.mark.parametrize("place", ["problem", "market"])
def test_what_is_learned_from_is_what_was_seen(network: str, place: str) -> None:
    """Outputs of a rollout, of its pieces, and of the network that acts bar by bar: episodes of ten steps."""
    work: Any = problem("execution") if place == "problem" else task(4)
    config = ppo.Config(**(EPISODE | {"network": network, "n_envs": 3, "n_steps": 21, "memory_steps": 6}))
    agent = ppo.make(config, work.spec)
    net = agent._new(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    one = PpoTraining(config.plan(0), net, work.envs(3, indexed=True), 0, Quiet())
    one.look(0, one.envs.reset()[0])
    for _ in range(2):  # the second goes on with what was remembered
        remembered = one.memory.now.clone()  # type: ignore[union-attr]
        one.collect()
        memory = one.memory
        assert memory is not None
        n_rows = net.shape.n_rows
        for t in range(21):
            seen = one.account[t]
            if n_rows:
                rows = one.features[one.cursor[t][:, None] + np.arange(1 - n_rows, 1)]  # type: ignore[index]
                seen = torch.cat([torch.from_numpy(rows.reshape(3, -1)), seen], dim=1)
            with torch.no_grad():
                out, value, after = net.recall(seen, remembered)
            assert torch.allclose(out, one.out[t], atol=1e-5)
            assert torch.allclose(value, one.values[t], atol=1e-5)
            assert after is not None
            remembered = torch.where(torch.from_numpy(one.over[t])[:, None], 0.0, after)
        order, batch_of = one._shuffle()
        assert sorted(order.tolist()) == list(range(63))
        for pick in torch.split(order, 20):
            batch = batch_of(pick)
            encodings = one._encode(batch.units)[batch.spot]  # type: ignore[arg-type]
            out, value = net(encodings, one.account[:-1].flatten(0, 1)[batch.pick])
            assert torch.allclose(out, one.out.flatten(0, 1)[batch.pick], atol=1e-5)
            assert torch.allclose(value, one.values[:-1].ravel()[batch.pick], atol=1e-5)
        one.cursor[0], one.account[0] = one.cursor[-1], one.account[-1]


def test_a_gradient_goes_back_to_the_beginning_of_a_piece_and_no_further() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = EpisodeEncoder(1, "lstm", 4, 2)
    memory = EpisodeMemory(None, 1, 12, 1, 6, encoder, torch.device("cpu"))
    account = torch.randn(12, 1, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    over = np.zeros((12, 1), dtype=np.bool_)
    over[8] = True
    memory.shuffle(np.zeros((12, 1), np.int64), account, over, torch.Generator())

    def reach(piece: int, place: int) -> list[int]:
        account.grad = None
        memory.encode(torch.tensor([piece]), encoder)[place].sum().backward()  # type: ignore[no-untyped-call]
        assert account.grad is not None
        return np.flatnonzero(account.grad.ravel().numpy()).tolist()

    assert reach(0, 4) == [0, 1, 2, 3, 4]
    assert reach(1, 2) == [6, 7, 8]  # the gradient ends where the piece begins
    assert reach(2, 1) == [9, 10]  # and the piece where the episode did


def test_a_session_remembers_from_its_first_view_on() -> None:
    work = problem("regime", hidden=True)
    agent = ppo.make(ppo.Config(**(EPISODE | {"total_steps": 256, "n_envs": 4, "n_steps": 16})), work.spec)
    agent.fit(work, Quiet())
    seen = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    act, again = agent.policy(), agent.policy()
    for rows in seen[:3]:
        act(rows)
    before: Any = ()
    for rows in seen[:3]:
        _, before = agent.answer(rows, before)
    other = ppo.make(agent.config, work.spec)
    other.restore(agent.state())
    assert np.array_equal(other.answer(seen[3], before)[0], act(seen[3]))
    assert not torch.equal(before[0], agent.answer(seen[2], ())[1][0])  # type: ignore[arg-type]
    assert np.array_equal(again(seen[0]), agent.act(seen[0]))


def test_only_a_recurrent_network_has_a_memory_to_last() -> None:
    with pytest.raises(UserError, match="no memory"):
        ppo.make(ppo.Config(memory="episode"), problem().spec).fit(problem(), Quiet())
