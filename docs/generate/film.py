"""One maker quoting in the crowd, as a picture and as a film: ``python -m docs.generate.film FILE.png [FILE.mp4]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.film import BookFilm
from qframe_rl.arena.seat import SeatEnv

QUOTE, TAKE = np.array([-0.8, -0.8, 0.0, 0.0]), np.full(1, 0.1)


def _env(mode: str | None) -> SeatEnv:
    book = Crowd(CrowdConfig(makers=1, executions=0, episode_steps=200), 1)
    return SeatEnv(book, "maker_0", {"taker_0": lambda seen: TAKE}, mode)


def _play(env: gymnasium.Env[Any, Any]) -> None:
    env.reset(seed=1)
    over = False
    while not over:
        *_, over, _ = env.step(QUOTE)


def picture(path: Path) -> None:
    """Depth over an episode."""
    from PIL import Image

    env = _env("rgb_array")
    _play(env)
    assert isinstance(env.film, BookFilm)
    Image.fromarray(env.film.picture(whole=True)).save(path)


def film(path: Path) -> None:
    """The same as Gymnasium records it."""
    with tempfile.TemporaryDirectory() as place:
        env = gymnasium.wrappers.RecordVideo(_env("rgb_array"), place, episode_trigger=lambda n: n == 0)
        _play(env)
        env.close()
        (made,) = Path(place).glob("*.mp4")
        path.write_bytes(made.read_bytes())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        (film if name.endswith(".mp4") else picture)(Path(name))
