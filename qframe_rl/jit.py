"""How the library's inner loops are compiled: one set of Numba options, one place.

Strict IEEE arithmetic, no fast-math: additions are never reordered and products never contracted, so one account and
four thousand give the same bits. The machine code is cached beside the source file and shared by all processes.

Compiled functions allocate nothing; they work on arrays that they are handed. That lets Numba's reference counting stay
off (``_nrt=False``): with it on, each inner call takes and drops an atomic count of every array it is passed, which
costs several times the arithmetic behind it (72 ns instead of 8 ns for an account without orders).
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile ``function`` with Numba."""
    return cast(F, numba.njit(cache=True, error_model="numpy", _nrt=False)(function))  # type: ignore[call-overload]


def inlined(function: F) -> F:
    """Compile ``function`` with Numba as a part of the compiled functions that call it."""
    return cast(F, numba.njit(cache=True, error_model="numpy", _nrt=False, forceinline=True)(function))  # type: ignore[call-overload]
