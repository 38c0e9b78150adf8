"""Trainings half done: the file in which one is kept, and gone on from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from qframe_rl.agent import State
from qframe_rl.config import UserError


class Interruptible:
    """The part of a `qframe_rl.agent.Task` that an interrupted training is kept by."""

    snapshot: Path | None
    """File; None = nowhere."""

    def remember(self, state: State) -> None:
        """Write ``state`` to the snapshot, whole or not at all."""
        if self.snapshot is not None:
            write_state(state, self.snapshot)

    def recall(self) -> State:
        """Read the snapshot; empty where there is none.

        Raises
        ------
        UserError
            If it is corrupt.
        """
        return {} if self.snapshot is None or not self.snapshot.exists() else read_state(self.snapshot)


def write_state(state: State, path: Path) -> None:
    """Write arrays to a file, whole or not at all."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: np.asarray(value, order="C") for name, value in state.items()}, fresh)
    fresh.replace(path)


def read_state(path: Path) -> State:
    """Read what `write_state` wrote.

    Raises
    ------
    UserError
        If it is corrupt.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except SafetensorError:
        raise UserError(f"{path} is corrupt; remove it, and the training begins anew.") from None
