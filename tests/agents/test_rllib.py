"""RLlib behind the house's interface: native batches in, named arrays out, and Ray for training alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from agents import rllib
from qframe_rl.agent import MarketSpec
from qframe_rl.config import Ref, UserError, build
from qframe_rl.gym.make import make_problem
from qframe_rl.rllib.act import Actor, joined, part
from qframe_rl.rllib.names import ALGORITHMS, Algorithm
from qframe_rl.runner.solve.solve import ProblemTask, scores
from tests.contracts import checks

ROLLOUT = {"minibatch_size": 64, "num_epochs": 2}
REPLAY = {
    "train_batch_size_per_learner": 32, "num_steps_sampled_before_learning_starts": 64,
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
OPTIONS: dict[Algorithm, dict[str, Any]] = {"ppo": ROLLOUT, "dqn": REPLAY, "sac": REPLAY}
BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "ray" or name.startswith("ray."):
            raise ModuleNotFoundError("No module named 'ray'", name="ray")

sys.meta_path.insert(0, Blocker())
"""
"""What makes Ray impossible to import in a process."""


def agent(spec: MarketSpec, algorithm: Algorithm = "ppo", **params: Any) -> rllib.Rllib:
    steps = {"n_steps": 16} if algorithm == "ppo" else {}
    common = {"total_steps": 256, "n_envs": 8, "hidden": (16,), "algorithm": algorithm, **steps}
    return rllib.make(build(rllib.Config, {**common, "options": OPTIONS[algorithm], **params}, "test"), spec)


def task(name: str = "regime", seed: int = 3, **params: Any) -> ProblemTask:
    return ProblemTask(make_problem(Ref(name=name, params=params)), seed)


def equal(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("name", "algorithm"), [("regime", "ppo"), ("regime", "dqn"), ("market_making", "ppo"), ("market_making", "sac")]
)
def test_each_algorithm_trains_and_is_restored(shared_ray: None, name: str, algorithm: Algorithm) -> None:
    work, heard = task(name), Heard()
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr] # noqa: NPY002
    one = agent(work.spec, algorithm)
    one.fit(work, heard)
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index] # noqa: NPY002
    assert heard.last == (256, 256)
    assert all(isinstance(value, np.ndarray) and value.ndim for value in one.state().values())
    two = agent(work.spec, algorithm)
    two.restore(one.state())
    played = [scores(work.problem, each.policy(), 20) for each in (one, one, two)]
    assert np.array_equal(played[0], played[1])
    assert np.array_equal(played[0], played[2])


class Heard(checks.Quiet):
    """Keeps the last progress and the names of curves."""

    def __init__(self) -> None:
        self.last, self.names = (0, 0), set[str]()

    def scalar(self, name: str, value: float, step: int) -> None:
        super().scalar(name, value, step)
        self.names.add(name)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.last = (done, total)


def test_curves_are_told(shared_ray: None) -> None:
    work, heard = task(episode_steps=10), Heard()
    agent(work.spec).fit(work, heard)
    assert {"train/episode_return", "train/policy_loss", "train/entropy", "train/vf_explained_var"} <= heard.names


@pytest.mark.parametrize(
    ("name", "algorithm"), [("regime", "ppo"), ("market_making", "ppo"), ("regime", "dqn"), ("market_making", "sac")]
)
def test_where_it_can_be_the_same_seed_gives_the_same_bits(shared_ray: None, name: str, algorithm: Algorithm) -> None:
    found = []
    for seed in (3, 3, 4):
        work = task(name, seed)
        found.append(agent(work.spec, algorithm))
        found[-1].fit(work, checks.Quiet())
    assert equal(found[0].state(), found[1].state())
    assert not equal(found[0].state(), found[2].state())


@pytest.mark.slow
@pytest.mark.long
def test_learners_of_their_own_processes(shared_ray: None) -> None:
    """Two learners share the batch; more runners than there are cores are refused."""
    work = task()
    found = agent(work.spec, n_learners=2)
    found.fit(work, checks.Quiet())
    assert np.isfinite(np.concatenate([value.ravel() for value in found.state().values()])).all()
    with pytest.raises(UserError, match="asks for 8 runners and 0 learners, and the cluster has 4 cores"):
        agent(work.spec, n_runners=8).fit(work, checks.Quiet())


@pytest.mark.long
def test_a_cell_of_a_run_never_waits_for_the_cores_that_cells_hold(shared_ray: None) -> None:
    """As with ``--on ray``: a task that holds every core trains with two runners, to the bits of two outside."""
    import ray

    def cell() -> dict[str, Any]:
        made = agent(task().spec, n_runners=2)
        made.fit(task(), checks.Quiet())
        return made.state()

    there = ray.get(ray.remote(num_cpus=4)(cell).remote(), timeout=200)
    assert equal(there, cell())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Box(0.0, 1.0, (3,), np.float32),
     spaces.MultiDiscrete([2, 3])],
    ids=["discrete", "box", "weights", "several"],
)  # fmt: skip
def test_plain_torch_does_what_the_module_of_rllib_does(
    shared_ray: None, algorithm: Algorithm, space: spaces.Space[Any]
) -> None:
    """Two policies of different sizes under one roof, each taken out again; greedy actions from RLlib's own outputs."""
    from qframe_rl.rllib.build import configured

    if {"dqn": not isinstance(space, spaces.Discrete), "sac": not isinstance(space, spaces.Box)}.get(algorithm, False):
        pytest.skip(f"{algorithm} does not take it")
    rng = np.random.default_rng(0)
    sizes = {"left": 4, "right": 7}
    seen = {name: spaces.Box(-1.0, 1.0, (n,), np.float32) for name, n in sizes.items()}
    multi = configured(plan(algorithm), {name: (box, space) for name, box in seen.items()})
    made = multi.get_multi_rl_module_spec(inference_only=False).build()
    state = joined({name: made[name].get_state() for name in sizes})
    for name, n in sizes.items():
        actor = Actor(algorithm, n, space, (16, 8))
        actor.load(part(state, name))
        rows = rng.standard_normal((50, n)).astype(np.float32)
        with torch.no_grad():
            out = made[name].forward_inference({"obs": torch.from_numpy(rows)})
        assert np.array_equal(actor.act(rows), greedy(out, space, algorithm))


def test_agents_of_one_environment_are_trained_by_a_policy_each(shared_ray: None) -> None:
    """A dict of policies: what is right for one is wrong for the other, and both learn it."""
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    from qframe_rl.rllib.build import configured, weights

    box, choice = spaces.Box(-1.0, 1.0, (1,), np.float32), spaces.Discrete(2)

    class Opposed(MultiAgentEnv):
        """One is paid for naming the sign that it sees, the other for the opposite."""

        def __init__(self, config: Any = None):
            super().__init__()
            self.possible_agents = self.agents = ["bull", "bear"]
            self.observation_spaces = dict.fromkeys(self.agents, box)
            self.action_spaces = dict.fromkeys(self.agents, choice)
            self.rng = np.random.default_rng(0)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.step_count, self.sign = 0, 1
            return self.shown(), {}

        def shown(self) -> Any:
            return dict.fromkeys(self.agents, np.array([self.sign], dtype=np.float32))

        def step(self, actions: Any) -> Any:
            up = int(self.sign > 0)
            rewards = {"bull": float(actions["bull"] == up), "bear": float(actions["bear"] != up)}
            self.sign, self.step_count = int(self.rng.choice([-1, 1])), self.step_count + 1
            return self.shown(), rewards, {"__all__": False}, {"__all__": self.step_count == 16}, {}

    options = {"lr": 0.02, "minibatch_size": 64, "num_epochs": 8, "use_kl_loss": False}
    config = configured(plan("ppo", **options), {"bull": (box, choice), "bear": (box, choice)})
    algorithm = (
        config.environment(Opposed).env_runners(num_envs_per_env_runner=1, rollout_fragment_length=64).build_algo()
    )
    for _ in range(8):
        algorithm.train()
    state = weights(algorithm)
    algorithm.stop()
    rows = np.array([[1.0], [-1.0]], dtype=np.float32)
    for name, right in (("bull", [1, 0]), ("bear", [0, 1])):
        actor = Actor("ppo", 1, choice, (16, 8))
        actor.load(part(state, name))
        assert actor.act(rows).tolist() == right


def plan(algorithm: Algorithm, **params: Any) -> Any:
    from qframe_rl.rllib.build import Plan

    given = {"train_batch_size_per_learner": 64} if algorithm in ("sac", "dqn") else {}
    return Plan(
        algorithm, n_envs=4, n_steps=16, n_runners=0, n_learners=0, seed=1, gamma=0.9, hidden=(16, 8),
        log_std_init=-1.0, report_every=64, training=params or given,
    )  # fmt: skip


def greedy(out: dict[str, Any], space: spaces.Space[Any], algorithm: Algorithm) -> Any:
    """Best action by what RLlib's module answered."""
    if "actions" in out:
        return out["actions"].numpy()
    inputs = out["action_dist_inputs"].numpy()
    if isinstance(space, spaces.Box):
        mean = inputs[:, : space.shape[0]]
        if algorithm == "sac":
            mean = torch.tanh(torch.from_numpy(mean)).numpy()
        return np.clip(space.low + (mean + 1.0) * (space.high - space.low) / 2.0, space.low, space.high)
    if isinstance(space, spaces.MultiDiscrete):
        return np.stack([inputs[:, :2].argmax(axis=1), inputs[:, 2:].argmax(axis=1)], axis=1)
    return inputs.argmax(axis=1)


class Counts(VectorEnv[Any, Any, Any]):
    """Counts its steps in one observation array that it writes over and over; even ones end after 5, odd are cut."""

    def __init__(self, n_envs: int):
        self.num_envs = n_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = self.observation_space = spaces.Box(-1.0, 1e6, (2,), np.float32)
        self.single_action_space = self.action_space = spaces.Discrete(2)
        self.buffer = np.zeros((n_envs, 2), dtype=np.float32)

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[Any, dict[str, Any]]:
        assert seed is not None
        self.buffer[:] = np.stack([np.zeros(self.num_envs), seed + np.arange(self.num_envs)], axis=1)
        return self.buffer, {}

    def step(self, actions: Any) -> tuple[Any, ...]:
        self.buffer[:, 0] += 1.0
        rewards, over = self.buffer[:, 0].astype(np.float64), np.full(self.num_envs, self.buffer[0, 0] == 5.0)
        infos = {"final_obs": self.buffer.copy(), "_final_obs": over} if over.any() else {}
        even = self.buffer[:, 1] % 2 == 0
        self.buffer[over, 0] = 0.0
        return self.buffer, rewards, over & even, over & ~even, infos


class Counting:
    """A task of it."""

    spec = type("MarketSpec", (), {"seed": 10})()

    def envs(self, n_envs: int, *, indexed: bool = False) -> Any:
        return Counts(n_envs)


def test_a_runner_cuts_its_batch_into_episodes_as_they_were_seen(shared_ray: None) -> None:
    """Chunks of one episode follow on another; the true last observation is kept; the batch's own array is not."""
    from qframe_rl.rllib.build import configured
    from qframe_rl.rllib.runner import NativeRunner

    envs = Counts(2)
    config = configured(plan("ppo"), {"default_policy": (envs.observation_space, envs.action_space)})
    config = config.environment(env_config={"task": Counting, "scale": 0.5})
    config = config.env_runners(num_envs_per_env_runner=2, num_env_runners=3)
    runner = NativeRunner(config=config, worker_index=2, num_workers=3)
    first, second = (runner.sample(num_timesteps=2 * 7, explore=True) for _ in range(2))
    assert [len(episode) for episode in first] == [5, 2, 5, 2]
    assert [episode.t_started for episode in second] == [2, 0, 2, 0]
    assert [len(episode) for episode in second] == [3, 4, 3, 4]
    assert [episode.is_terminated for episode in first] == [True, False, False, False]
    assert [episode.is_truncated for episode in first] == [False, False, True, False]
    assert first[1].id_ == second[0].id_ != second[1].id_
    assert len({episode.id_ for episode in (*first, *second)}) == 6
    whole = first[0].get_observations()
    assert np.array_equal(whole[:, 0], np.arange(6))
    assert np.array_equal(whole[:, 1], np.full(6, 12)), "runner 2 begins at the task's seed + 2 environments"
    assert np.array_equal(first[2].get_observations()[:, 1], np.full(6, 13))
    assert np.array_equal(first[0].get_rewards(), 0.5 * np.arange(1, 6))
    assert np.array_equal(first[1].get_observations()[:, 0], [0, 1, 2])
    assert np.array_equal(second[0].get_observations()[:, 0], [2, 3, 4, 5])
    assert float(runner.get_metrics()["episode_return_mean"].peek()) == pytest.approx(0.5 * 15)


def test_rewards_scale_and_actions_of_weights_lie_in_their_space() -> None:
    from qframe_rl.rllib.act import within

    box = spaces.Box(0.0, 1.0, (2,), np.float32)
    assert np.array_equal(within(np.array([[-3.0, 0.0], [1.0, 0.5]], dtype=np.float32), box), [[0.0, 0.5], [1.0, 0.75]])


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("market_making", {"algorithm": "dqn"}, "'dqn' cannot take Box.*take one of ppo, sac"),
        ("regime", {"algorithm": "sac"}, "take one of ppo, dqn"),
        ("regime", {"n_envs": 9, "n_runners": 2}, "n_envs 9 cannot be shared equally by n_runners 2"),
        ("regime", {"n_envs": 3, "n_steps": 5, "n_learners": 2}, "a batch of 3 x 5 steps cannot be shared equally"),
    ],
)
def test_what_cannot_work_is_refused_before_training(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rllib.make(build(rllib.Config, params, "test"), task(name).spec)


def test_wrong_options_are_named(shared_ray: None) -> None:
    with pytest.raises(UserError, match=r"agent rllib: `minibatch_size` \(999\) must be <="):
        agent(task().spec, options={"minibatch_size": 999}).fit(task(), checks.Quiet())
    with pytest.raises(UserError, match="unknown key 'num_epoch'; did you mean 'num_epochs'"):
        agent(task().spec, options={"num_epoch": 3}).fit(task(), checks.Quiet())


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("ppo", "gamma"), ("ppo", "train_batch_size_per_learner"), ("dqn", "training_intensity")],
)
def test_what_other_settings_say_is_no_option(algorithm: Algorithm, key: str) -> None:
    from qframe_rl.rllib.build import configured

    box, choice = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(2)
    given = {"train_batch_size_per_learner": 64} if algorithm == "dqn" else {}
    with pytest.raises(UserError, match=f"unknown key '{key}'"):
        configured(plan(algorithm, **given, **{key: 1}), {"default_policy": (box, choice)})


def test_weights_of_another_shape_are_refused(shared_ray: None) -> None:
    work = task()
    one = agent(work.spec)
    one.fit(work, checks.Quiet())
    with pytest.raises(ValueError, match="has another shape"):
        agent(work.spec, hidden=(8,)).restore(one.state())
    with pytest.raises(ValueError, match="have 2 layers under"):
        agent(work.spec, hidden=(16, 16)).restore(one.state())
    with pytest.raises(RuntimeError, match="train or restore"):
        agent(work.spec).policy()(np.zeros((1, 2), dtype=np.float32))


TRAIN = """
from experiments import train
from experiments.cli import door
raise SystemExit(door(train.main, {argv}))
"""
PAPER = """
from experiments import paper
from experiments.cli import door
code = door(paper.main, {argv})
assert not [name for name in sys.modules if name.split(".")[0] == "ray"]
raise SystemExit(code)
"""


def python(text: str, argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text.format(argv=argv)], capture_output=True, text=True)


def test_without_ray_training_is_refused_in_one_sentence(tmp_path: Path) -> None:
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    done = python(BLOCKED + TRAIN, ["--bars", "3000", "--agents", "rllib", *places])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "agent rllib trains with ray, which is not installed; pip install 'qframe-rl[rllib]'."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_what_was_trained_by_ray_trades_on_paper_where_there_is_none(tmp_path: Path) -> None:
    params = {"total_steps": 16_384, "n_envs": 16, "n_steps": 32, "hidden": "16,8", "learning_rate": 0.005}
    sets = [f"--set=agent.rllib.{name}={value}" for name, value in params.items()]
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    trained = python(TRAIN, ["--bars", "3000", "--agents", "rllib", *sets, "--set=resamples=100", *places, "--json"])
    assert trained.returncode == 0, trained.stderr
    place = next((tmp_path / "runs").glob("*/agents/rllib-0-0"))
    out = ["--speed", "max", "--json", "--out"]
    found = [
        python(text, [str(place), *out, str(tmp_path / name)])
        for name, text in (("with", PAPER.replace("assert", "None #")), ("without", BLOCKED + PAPER))
    ]
    assert [one.returncode for one in found] == [0, 0], found[1].stderr
    results = [json.loads(one.stdout.splitlines()[-1]) for one in found]
    assert results[0]["journal_hash"] == results[1]["journal_hash"]
    assert results[1]["bars"] > 100
    assert results[1]["final_equity"] != 10_000.0, "it trades"
