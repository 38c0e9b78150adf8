"""TorchRL: by id and by object, its check of specifications, rollouts, a native batch, its collector."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torchrl.collectors import Collector
from torchrl.envs import (
    EnvBase,
    GymEnv,
    GymWrapper,
    ParallelEnv,
    PettingZooWrapper,
    RewardSum,
    StepCounter,
    TransformedEnv,
)
from torchrl.envs.utils import RandomPolicy, check_env_specs

from qframe_rl.arena import parallel_env
from tests.conformance.libraries.rows import CROWD, STEPS, Case, Checks

FRAMES = 2 * STEPS


def by_id(case: Case) -> EnvBase:
    """Made by TorchRL."""
    return GymEnv(case.id, **case.params)


def by_object(case: Case) -> EnvBase:
    """Made by Gymnasium."""
    return GymWrapper(case.make())


def batch(mode: AutoresetMode, case: Case) -> EnvBase:
    """A native batch, in one of the modes that TorchRL takes; Gymnasium's own over single ones for the controls."""
    if case.control:
        return GymWrapper(SyncVectorEnv([case.make] * 3, autoreset_mode=mode))
    return GymWrapper(gymnasium.make_vec(case.id, num_envs=3, autoreset_mode=mode, **case.params))


def numbered(case: Case) -> EnvBase:
    """A batch made by TorchRL."""
    return GymEnv(case.id, num_envs=3, **case.params)


def specified(make: Any, case: Case) -> None:
    """What comes is what the specifications say; a seed gives the same episode again."""
    env = make(case)
    check_env_specs(env)
    env.set_seed(3)
    torch.manual_seed(0)
    one = env.rollout(STEPS // 2)
    env.set_seed(3)
    torch.manual_seed(0)
    assert torch.equal(one["observation"], env.rollout(STEPS // 2)["observation"])
    env.close()


def collected(make: Any, case: Case) -> None:
    """A collector over the ends of episodes."""
    env = TransformedEnv(make(case), StepCounter())
    env.append_transform(RewardSum())
    collector = Collector(env, RandomPolicy(env.action_spec), frames_per_batch=FRAMES * 3, total_frames=FRAMES * 6)
    for data in collector:
        assert data.numel() == FRAMES * 3
        assert data["next", "step_count"].max() <= STEPS
    collector.shutdown()


def parallel(case: Case) -> EnvBase:
    """Processes of its own."""
    return ParallelEnv(2, partial(GymEnv, f"qframe_rl:{case.id}" if not case.control else case.id, **case.params))


def ended(env: EnvBase) -> None:
    """Walk over the end of an episode."""
    env.rollout(STEPS + 5, break_when_any_done=False)
    env.close()


def among_many(case: Case) -> None:
    """Agents are grouped by their roles, what comes is what the specifications say, and all end together."""
    env = PettingZooWrapper(parallel_env(case.id, **case.params), use_mask=False)
    assert {role: len(names) for role, names in env.group_map.items()} == {"maker": 2, "taker": 1, "execution": 1}
    check_env_specs(env)
    lived = env.rollout(STEPS + 5, break_when_any_done=True)
    assert len(lived) == STEPS and lived["next", "maker", "reward"].shape == (STEPS, 2, 1)
    assert bool(lived["next", "truncated"][-1]) and not bool(lived["next", "terminated"].any())
    env.close()


def main() -> None:
    """Run all."""
    check = Checks("torchrl")
    makers: dict[str, Any] = {
        "`GymEnv`": by_id,
        "`GymWrapper`": by_object,
        "`GymWrapper` on a native batch, SAME_STEP": partial(batch, AutoresetMode.SAME_STEP),
        "`GymWrapper` on a native batch, DISABLED": partial(batch, AutoresetMode.DISABLED),
    }
    for name, make in makers.items():
        check(f"{name}, `check_env_specs`, seeds", partial(specified, make))
        check(f"{name}, `Collector`", partial(collected, make))
    check("`GymEnv(num_envs=3)`, a rollout", lambda case: ended(numbered(case)))
    check("`ParallelEnv`, a rollout", lambda case: ended(parallel(case)))
    check("`PettingZooWrapper`, `check_env_specs`, a rollout", among_many, cases=(CROWD,))


if __name__ == "__main__":
    main()
