"""Memory that is asked for before it is needed: arrays that fit no cache are read at once by accounts in other bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from qframe_rl.types import Float


def _fetch_ahead(context: Any, array: Any, row: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        tools: Any = cgutils
        view = context.make_array(signature.args[0])(context, builder, given[0])
        stride = tools.unpack_tuple(builder, view.strides)[0]
        place = builder.gep(builder.bitcast(view.data, tools.voidptr_t), [builder.mul(given[1], stride)])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [tools.voidptr_t, number, number, number])
        function = tools.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To read, to be kept in all caches, of data.
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


fetch_ahead = cast(Callable[[Float, int], None], intrinsic(_fetch_ahead))
"""Ask for the beginning of row ``row`` of ``array``, for compiled functions, and do not wait for it."""
