"""Letting Stable-Baselines3 work without a trace: global random generators and threads of torch are as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def own_randomness() -> Iterator[None]:
    """Stable-Baselines3 seeds the global generators: give them back as they were."""
    import random

    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]), one_thread():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks of this size are slower on several threads, many times so where the cores are shared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
