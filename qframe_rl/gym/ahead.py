"""Compile what the first step of an environment needs, before it is waited for: ``python -m qframe_rl.gym.ahead``.

It needs few of the library's dependencies (those that the Makefile installs first), so that it can run while the large
ones are still on their way.
"""

from __future__ import annotations

import gymnasium

import qframe_rl  # noqa: F401  makes the environments known


def first_steps() -> None:
    """Take one step in an environment and in a batch of them; the machine code stays on disk for all processes."""
    one = gymnasium.make("QFrame/Perp-v1")
    many = gymnasium.make_vec("QFrame/Perp-v1", num_envs=2)
    for envs in (one, many):
        envs.reset(seed=0)
        envs.step(envs.action_space.sample())


if __name__ == "__main__":
    first_steps()
