"""Layers of actor and critic in compiled tiles of samples, ahead and back.

A network of 64 x 64 is too small for a library of products: what a call costs, and passes over activations that have
left the cache, take several times the arithmetic. Here 64 samples at a time go all the way through, and everything
between stays in the cache of the core.

A tile is a row of panels of 64 samples x 64 units (16 at the outputs), so that every inner loop is of a constant
length; layers are filled up with zeros to whole panels.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import fused, inlined
from qframe_rl.policy.products import LANES, products
from qframe_rl.types import Int, Single

ROWS = 64
"""Samples of a tile."""
WIDE, NARROW = 64, 16
"""Units of a panel of hidden units, and of outputs."""
# What a row of the plan says of a layer: inputs and outputs, and both as they are filled up; units of a panel of its
# outputs; where its weights and its biases lie among the parameters (-1 = it has none); where they lie when laid out
# for the way ahead and for the way back, and the biases; where its inputs and its outputs lie in a tile.
N_IN, N_OUT, IN, OUT, WIDTH, WEIGHT, BIAS, AHEAD, BACK, SHIFT, X, Y = range(12)
# tanh(x) = x P(x^2) / Q(x^2) within 6e-9 on [-8, 8], and within 4e-7 in float32; a fit by least squares, reweighted
# until the largest error was smallest.
_P0, _P1, _P2, _P3, _P4 = (
    np.float32(x) for x in (9.999999700e-01, 1.343819331e-01, 3.564158728e-03, 2.177329008e-05, 1.506187395e-08)
)
_Q1, _Q2, _Q3, _Q4 = (np.float32(x) for x in (4.677151408e-01, 2.613602551e-02, 3.399183706e-04, 8.453687492e-07))
NIL, ONE, _TOP = (np.float32(x) for x in (0.0, 1.0, 8.0))

_LINE = 16
"""Numbers of a cache line."""


# Both keep 16 vectors of sums, as many as registers have room for beside what is multiplied.
_add_wide, _add_narrow = products(4, WIDE // LANES), products(16, NARROW // LANES)


@fused
def _wide(
    c: Single, c0: int, a: Single, a0: int, of_row: int, of_term: int, b: Single, b0: int, n_rows: int, n_terms: int
) -> None:
    """C[r, j] += sum over k of A[r, k] B[k, j] in panels of hidden units; rows come in fours."""
    for r in range(0, n_rows, 4):
        _add_wide(c, c0 + r * WIDE, a, a0 + r * of_row, of_row, of_term, b, b0, n_terms)


@fused
def _narrow(v: Single, y: int, x: int, packed: Single, w: int) -> None:
    """The same for a panel of outputs, of a panel of hidden units."""
    for s in range(0, ROWS, 16):
        _add_narrow(v, y + s * NARROW, v, x + s * WIDE, WIDE, 1, packed, w, WIDE)


@fused
def _repeat(y: Single, row: Single) -> None:
    """Write a row once for each sample."""
    for s in range(ROWS):
        to = y[s * len(row) : (s + 1) * len(row)]
        for j in range(len(row)):
            to[j] = row[j]


@fused
def _bend(x: Single) -> None:
    """Hyperbolic tangent, in place."""
    for k in range(len(x)):
        # Beyond it the tangent is 1 within the error of the fit, and the fit is no tangent.
        t = min(max(x[k], -_TOP), _TOP)
        s = t * t
        p = (((_P4 * s + _P3) * s + _P2) * s + _P1) * s + _P0
        q = (((_Q4 * s + _Q3) * s + _Q2) * s + _Q1) * s + ONE
        x[k] = t * p / q


@fused
def _unbend(slopes: Single, x: Single) -> None:
    """Slopes along hyperbolic tangents to those along what they were taken of, in place."""
    # The slope of tanh is 1 - tanh^2: nothing but its value need be kept of the way ahead.
    for k in range(len(x)):
        slopes[k] *= ONE - x[k] * x[k]


@fused
def ahead(plan: Int, packed: Single, v: Single) -> None:
    """Go through actor or critic: from what stands in the tile for its first layer to its outputs.

    Parameters
    ----------
    plan
        (layers, 12) what the tile and ``packed`` hold of each layer; columns N_IN to Y.
    packed
        Weights and biases as `pack` lays them out.
    v
        The tile. Inputs of the first layer stand at its X, biases or encodings at its Y, see `begin`; every layer's
        outputs are written to its Y, hidden ones bent by tanh.
    """
    last = len(plan) - 1
    for i in range(last + 1):
        layer = plan[i]
        n_in, width, start, weights = layer[IN], layer[WIDTH], layer[Y], layer[AHEAD]
        for of in range(0, layer[OUT], width):
            y, w = start + of * ROWS, weights + of * n_in
            if i == 0:
                # What it is added to stands there already; its inputs are few, so they have no panels of their own.
                _wide(v, y, v, layer[X], n_in, 1, packed, w, ROWS, layer[N_IN])
                continue
            _repeat(v[y : y + width * ROWS], packed[layer[SHIFT] + of : layer[SHIFT] + of + width])
            for into in range(0, n_in, WIDE):
                x = layer[X] + into * ROWS
                if i < last:
                    _wide(v, y, v, x, WIDE, 1, packed, w + into * width, ROWS, WIDE)
                else:
                    _narrow(v, y, x, packed, w + into * width)
        if i < last:
            _bend(v[start : start + layer[OUT] * ROWS])


@fused
def back(plan: Int, packed: Single, v: Single, at: int, spare: int, slopes: Single) -> int:
    """Go back again; return where in the tile the slopes along the first layer's outputs stand.

    Parameters
    ----------
    plan, packed, v
        As `ahead` left them.
    at
        Where slopes along the outputs stand in the tile.
    spare
        A place of the same size; both are written over in turn.
    slopes
        Added to: along the weights, laid out for the way ahead in the first layer, for the way back in the others.
    """
    for i in range(len(plan) - 1, -1, -1):
        layer = plan[i]
        n_in, n_out, width = layer[IN], layer[OUT], layer[WIDTH]
        if layer[BIAS] >= 0:
            for of in range(0, n_out, width):
                total = slopes[layer[SHIFT] + of : layer[SHIFT] + of + width]
                for s in range(ROWS):
                    row = v[at + of * ROWS + s * width : at + of * ROWS + (s + 1) * width]
                    for j in range(width):
                        total[j] += row[j]
        if i == 0:
            # Nobody asks for slopes along what is seen of the account.
            for of in range(0, n_out, WIDE):
                _wide(slopes, layer[AHEAD] + of * n_in, v, layer[X], 1, n_in, v, at + of * ROWS, n_in, ROWS)
            break
        v[spare : spare + n_in * ROWS] = NIL
        for of in range(0, n_out, width):
            g, used = at + of * ROWS, min(width, layer[N_OUT] - of)
            for into in range(0, n_in, WIDE):
                # Along weights: slopes along outputs, transposed, times inputs; rows come in fours, and those that fill
                # up are zero. Along inputs: slopes along outputs times weights.
                w = layer[BACK] + into * n_out + of * WIDE
                _wide(slopes, w, v, g, 1, width, v, layer[X] + into * ROWS, (used + 3) // 4 * 4, ROWS)
                _wide(v, spare + into * ROWS, v, g, width, 1, packed, w, ROWS, used)
        _unbend(v[spare : spare + n_in * ROWS], v[layer[X] : layer[X] + n_in * ROWS])
        at, spare = spare, at
    return at


@fused
def begin(plan: Int, packed: Single, v: Single, encodings: Single, spot: Int, first: int, n: int, column: int) -> None:
    """Write biases, or encodings of samples, as outputs of a first layer.

    Parameters
    ----------
    plan, packed, v
        As in `ahead`.
    encodings
        (n, any) of bars; not looked at where the layer has a bias.
    spot
        Which row of them belongs to each sample.
    first, n
        Samples of this tile: ``first`` to ``first + n``, at most `ROWS` of them.
    column
        Of the encodings, where those of this network begin.
    """
    layer = plan[0]
    for of in range(0, layer[OUT], WIDE):
        y, m = layer[Y] + of * ROWS, min(WIDE, layer[N_OUT] - of)
        if layer[BIAS] >= 0:
            _repeat(v[y : y + WIDE * ROWS], packed[layer[SHIFT] + of : layer[SHIFT] + of + WIDE])
        else:
            if m < WIDE:
                v[y : y + ROWS * WIDE] = NIL
            for s in range(n):
                row = v[y + s * WIDE : y + (s + 1) * WIDE]
                seen = encodings[spot[first + s], column + of : column + of + m]
                # A loop of constant length is unrolled; the same below.
                if m == WIDE:
                    for j in range(WIDE):
                        row[j] = seen[j]
                else:
                    for j in range(m):
                        row[j] = seen[j]
            # No sample stands there, and slopes along it are zero; but zero times what an earlier one left may be NaN.
            v[y + n * WIDE : y + ROWS * WIDE] = NIL


@fused
def spread(v: Single, g: int, of_encodings: Single, spot: Int, first: int, n: int, column: int, width: int) -> None:
    """Add slopes along the first layer's outputs to those along the encodings.

    Parameters
    ----------
    v, g
        The tile, and where in it `back` left the slopes.
    of_encodings
        Like the encodings of `begin`; added to.
    spot, first, n, column
        As in `begin`.
    width
        Outputs of the first layer.
    """
    for of in range(0, width, WIDE):
        m = min(WIDE, width - of)
        for s in range(n):
            at = g + of * ROWS + s * WIDE
            row, total = v[at : at + WIDE], of_encodings[spot[first + s], column + of : column + of + m]
            if m == WIDE:
                for j in range(WIDE):
                    total[j] += row[j]
            else:
                for j in range(m):
                    total[j] += row[j]


@fused
def pack(plan: Int, flat: Single, packed: Single) -> None:
    """Lay weights and biases out.

    Parameters
    ----------
    plan
        As in `ahead`.
    flat
        Parameters in their row.
    packed
        Written, but for what fills layers up to whole panels, which is and stays zero.
    """
    for layer in plan:
        for o in range(layer[N_OUT]):
            if layer[BIAS] >= 0:
                packed[layer[SHIFT] + o] = flat[layer[BIAS] + o]
            of, width = o // layer[WIDTH] * layer[WIDTH], layer[WIDTH]
            for i in range(layer[N_IN]):
                # Twice, by outputs and by inputs: either way a product reads rows that lie together.
                weight = flat[layer[WEIGHT] + o * layer[N_IN] + i]
                packed[layer[AHEAD] + of * layer[IN] + i * width + o - of] = weight
                packed[layer[BACK] + i // WIDE * WIDE * layer[OUT] + o * WIDE + i % WIDE] = weight


@fused
def unpack(plan: Int, slopes: Single, grad: Single) -> None:
    """Add slopes, as `learn` lays them out, to the gradient.

    Parameters
    ----------
    plan
        As in `ahead`.
    slopes
        As `back` adds them up.
    grad
        In the order of the parameters; added to.
    """
    for k in range(len(plan)):
        layer = plan[k]
        for o in range(layer[N_OUT]):
            if layer[BIAS] >= 0:
                grad[layer[BIAS] + o] += slopes[layer[SHIFT] + o]
            of = o // WIDE * WIDE
            for i in range(layer[N_IN]):
                ahead = layer[AHEAD] + of * layer[IN] + i * WIDE + o - of
                back = layer[BACK] + i // WIDE * WIDE * layer[OUT] + o * WIDE + i % WIDE
                grad[layer[WEIGHT] + o * layer[N_IN] + i] += slopes[back if k else ahead]


@inlined
def place(s: int, k: int) -> int:
    """Where output ``k`` of sample ``s`` lies in a tile."""
    return k // NARROW * NARROW * ROWS + s * NARROW + k % NARROW


def in_lines(n: int) -> Single:
    """(n,) zeros that begin with a cache line, so that no vector of them lies across two."""
    room: Single = np.zeros(n + _LINE, dtype=np.float32)
    first = -(room.ctypes.data // room.itemsize) % _LINE
    return room[first : first + n]
