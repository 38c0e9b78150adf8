"""Products of small matrices, for compiled code.

What a compiler makes of three loops keeps the sums in memory; here they stay in registers, and a core comes close to
what its units can multiply: `python -m experiments.benchmark gradient` has products of 64 x 64 at 237 GFLOP/s in single
precision on the machine of docs/performance.md, 2.5 times numpy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Numbers of a vector; where a machine's are shorter, the compiler takes several."""
_FLAGS = ("contract",)
"""Product and sum may be one instruction with one rounding; nothing else may be changed, not the order either."""


def products(n_rows: int, n_vectors: int) -> Callable[..., None]:
    """Make a function of compiled code that adds a block of a product of matrices.

    It is called as ``add(c, c0, a, a0, of_row, of_term, b, b0, n_terms)``, with three arrays (n,) of float32, and does
    ``C[r, j] += sum over k < n_terms of A[r, k] B[k, j]``, term by term, for ``n_rows`` rows r and ``n_vectors`` x
    `LANES` columns j. C and B have just these columns and begin at c0 and b0; A[r, k] stands at a0 + r of_row +
    k of_term. n_terms is at least one, and nobody checks bounds.
    """

    @intrinsic
    def add(
        typing: Any, c: Any, c0: Any, a: Any, a0: Any, of_row: Any, of_term: Any, b: Any, b0: Any, n_terms: Any
    ) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def start_of(k: int) -> Any:
                data = context.make_array(signature.args[k])(context, builder, args[k]).data
                return builder.gep(data, [args[k + 1]])

            def vector_at(base: Any, index: Any) -> Any:
                return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

            whole, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
            unknown, width = ir.Constant(vector, ir.Undefined), LANES * n_vectors
            into, left, right = start_of(0), start_of(2), start_of(6)
            by_row, by_term, terms = args[4], args[5], args[8]
            # Sums are loaded before the loop and stored after it; inside they are its values (phi), in registers.
            places = [vector_at(into, whole(LANES * k)) for k in range(n_rows * n_vectors)]
            sums = [builder.load(place, align=4) for place in places]

            before, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("terms", "after"))
            builder.branch(loop)
            builder.position_at_end(loop)
            term, totals = builder.phi(whole), [builder.phi(vector) for _ in sums]
            row, place = builder.mul(term, whole(width)), builder.mul(term, by_term)
            ones = [
                builder.load(vector_at(right, builder.add(row, whole(LANES * v))), align=4) for v in range(n_vectors)
            ]
            new = []
            for k, total in enumerate(totals):
                r, v = divmod(k, n_vectors)
                # One number of A, in all lanes of a vector, meets a whole row of B.
                if v == 0:
                    number = builder.load(builder.gep(left, [builder.add(place, builder.mul(by_row, whole(r)))]))
                    single = builder.insert_element(unknown, number, ir.IntType(32)(0))
                    every = builder.shuffle_vector(
                        single, unknown, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
                    )
                new.append(builder.fadd(total, builder.fmul(every, ones[v], flags=_FLAGS), flags=_FLAGS))
            following = builder.add(term, whole(1))
            for phi, first, then in ((term, whole(0), following), *zip(totals, sums, new, strict=True)):
                phi.add_incoming(first, before)
                phi.add_incoming(then, loop)
            builder.cbranch(builder.icmp_signed("<", following, terms), loop, after)
            builder.position_at_end(after)
            for at, total in zip(places, new, strict=True):
                builder.store(total, at, align=4)
            return context.get_dummy_value()

        return types.void(c, c0, a, a0, of_row, of_term, b, b0, n_terms), build

    return cast(Callable[..., None], add)
