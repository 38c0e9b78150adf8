"""QFrame RL: reinforcement-learning environments for crypto trading, with one path from training to paper trading.

Importing the package makes the markets of the catalogue known to Gymnasium: ``gymnasium.make("QFrame/Spot-v1")``.
Those of many agents are PettingZoo's: ``qframe_rl.arena.parallel_env("crowd")``.
"""

import gymnasium

from qframe_rl import catalog

for _name in catalog.names("envs"):
    if _name in catalog.games():
        continue
    gymnasium.register(
        id=catalog.env_id(_name),
        entry_point="qframe_rl.gym.make:make_env",
        vector_entry_point="qframe_rl.gym.make:make_vec",
        kwargs={"name": _name},
        disable_env_checker=True,
        order_enforce=False,
    )
