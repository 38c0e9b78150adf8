"""RLlib's door of a market of many agents, with RLlib itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.arena import parallel_env
from qframe_rl.config import UserError

pytest.importorskip("ray")
SETTINGS = {"makers": 2, "executions": 0, "noise": 6, "messages": 6, "episode_steps": 12}


@pytest.mark.long
def test_it_is_the_parallel_env() -> None:
    from qframe_rl.arena.rllib import RllibGame, role_of

    env, many = RllibGame({"name": "crowd", **SETTINGS}), parallel_env("crowd", **SETTINGS)
    (seen, _), (wanted, _) = env.reset(seed=3), many.reset(seed=3)
    over = False
    while not over:
        assert seen.keys() == wanted.keys() and all((seen[k] == wanted[k]).all() for k in seen)
        actions = {name: env.action_spaces[name].sample() for name in env.agents}
        seen, paid, ended, cut, _ = env.step(actions)
        wanted, rewards, *_ = many.step(actions)
        assert paid == rewards and not ended["__all__"]
        over = cut["__all__"]
    assert many.agents == [] and role_of("maker_12") == "maker" and set(cut) == {*env.possible_agents, "__all__"}
    with pytest.raises(UserError, match="which market of many agents"):
        RllibGame({})
    with pytest.raises(UserError, match="makres"):
        RllibGame({"name": "crowd", "makres": 1})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_rllib_trains_a_policy_for_each_role(shared_ray: None) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    from qframe_rl.arena.rllib import RllibGame, role_of

    config: Any = PPOConfig().environment(RllibGame, env_config={"name": "crowd", **SETTINGS})
    config = config.multi_agent(policies={"maker", "taker"}, policy_mapping_fn=role_of)
    config = config.env_runners(num_env_runners=0, rollout_fragment_length=24)
    config = config.training(train_batch_size_per_learner=48, minibatch_size=24, num_epochs=1)
    config = config.reporting(min_time_s_per_iteration=0).debugging(seed=0, log_level="ERROR")
    algorithm = config.build_algo()
    try:
        before = weights(algorithm)
        told = algorithm.train()
        after = weights(algorithm)
    finally:
        algorithm.stop()
    assert before.keys() == after.keys() == {"maker", "taker"}
    for role in before:
        assert any((before[role][name] != after[role][name]).any() for name in before[role]), f"{role} learned"
    assert told["env_runners"]["num_episodes"] > 0


def weights(algorithm: Any) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
    return {
        role: {name: np.array(value) for name, value in own.items()}
        for role, own in state.items() if role in ("maker", "taker")
    }  # fmt: skip
