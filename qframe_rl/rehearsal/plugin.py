"""Pytest fixtures: name ``qframe_rl.rehearsal.plugin`` in ``pytest_plugins``, or import them into a test module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal.serve import Rehearsal, serve


@pytest.fixture
def rehearsals() -> Iterator[Callable[..., Rehearsal]]:
    """Start exchanges: takes what `serve` takes, returns the running one; all end with the test."""
    with ExitStack() as stack:

        def start(markets: Any, *given: Any, **options: Any) -> Rehearsal:
            return stack.enter_context(serve(markets, *given, **options))

        yield start


@pytest.fixture
def rehearsal(rehearsals: Callable[..., Rehearsal]) -> Rehearsal:
    """An exchange in lock-step with one perpetual, ``SYN0/USDT:USDT``, 2,000 hourly bars."""
    return rehearsals(synthetic("regimes", n_bars=2000))
