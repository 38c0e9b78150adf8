"""Letting a library train without a trace: global random generators and threads are as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from qframe_rl.threads import one_thread as one_thread


@contextmanager
def own_randomness() -> Iterator[None]:
    """Let others seed the global generators for a while, on one thread: then give them back as they were."""
    import random

    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]), one_thread():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
