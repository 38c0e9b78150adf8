"""Actor and critic on a CPU: outputs, the loss of proximal policy optimisation and its slopes, compiled.

The layers are those of `qframe_rl.policy.tiles`, the loss is `qframe_rl.policy.loss.Loss`, sample by sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from qframe_rl.jit import fused
from qframe_rl.policy.backend import BETAS, EPSILON, LONGEST, NetworkBackend
from qframe_rl.policy.bars import Minibatch
from qframe_rl.policy.chance import Choices
from qframe_rl.policy.loss import Loss
from qframe_rl.policy.net import Net
from qframe_rl.policy.several import ENTROPY, LOG_P, N_ROWS, OF_LOG_P, bar, judge_several, turn_several
from qframe_rl.policy.tiles import (
    BIAS,
    IN,
    N_IN,
    N_OUT,
    NARROW,
    NIL,
    ONE,
    OUT,
    ROWS,
    WIDE,
    X,
    Y,
    ahead,
    back,
    begin,
    in_lines,
    pack,
    place,
    spread,
    unpack,
)  # fmt: skip
from qframe_rl.types import Bool, Float, Int, Single

_NOTHING: Bool = np.zeros((0, 0), dtype=np.bool_)
_HALF, _FLOOR = np.float32(0.5), np.float32(-np.inf)
# Logit of a choice that is forbidden: its probability is 0, and finite numbers times 0 stay 0.
_NEVER = np.float32(-1e30)
_HALF_LOG_2PI = np.float32(0.5 * math.log(2.0 * math.pi))


@fused
def see(
    plans: Int, packed: Single, v: Single, encodings: Single, spot: Int, accounts: Single, outs: Single, values: Single
) -> None:
    """Write (B, n_outputs) outputs of the actor and (B,) values.

    Parameters
    ----------
    plans, packed, v
        Layers of actor and critic, their weights laid out, and a tile.
    encodings, spot
        (n, 2 x hidden) and which of them is whose, (B,); not looked at where the first layer has a bias.
    accounts
        (B, n_account).
    outs, values
        Written.
    """
    n_account, stride, inputs = plans[0, 0, N_IN], plans[0, 0, IN], plans[0, 0, X]
    out, value, width = plans[0, -1, Y], plans[1, -1, Y], plans[0, 0, N_OUT]
    for first in range(0, len(values), ROWS):
        n = min(ROWS, len(values) - first)
        for s in range(n):
            for j in range(n_account):
                v[inputs + s * stride + j] = accounts[first + s, j]
        for part in range(2):
            begin(plans[part], packed, v, encodings, spot, first, n, part * width)
            ahead(plans[part], packed, v)
        for s in range(n):
            for j in range(outs.shape[1]):
                outs[first + s, j] = v[out + place(s, j)]
            values[first + s] = v[value + place(s, 0)]


@fused
def _judge_choices(
    v: Single, out: int, slope: int, s: int, n_options: int, actions: Single
) -> tuple[np.float32, np.float32]:
    """Log-probability of a sample's actions, and entropy; logits become log-probabilities, slopes probabilities."""
    log_p, entropy = NIL, NIL
    for part in range(len(actions)):
        # The largest logit is taken off first, so that no exponential overflows.
        first, top, total = part * n_options, _FLOOR, NIL
        for k in range(first, first + n_options):
            top = max(top, v[out + place(s, k)])
        for k in range(first, first + n_options):
            e = np.float32(math.exp(v[out + place(s, k)] - top))
            v[slope + place(s, k)] = e
            total += e
        top += np.float32(math.log(total))
        for k in range(first, first + n_options):
            v[slope + place(s, k)] /= total
            v[out + place(s, k)] -= top
            entropy -= v[slope + place(s, k)] * v[out + place(s, k)]
        log_p += v[out + place(s, first + int(actions[part]))]
    return log_p, entropy


@fused
def _turn_choices(
    v: Single, out: int, slope: int, s: int, n_options: int, actions: Single, of_log_p: np.float32,
    of_entropy: np.float32,
) -> None:  # fmt: skip
    """Write a sample's slopes along its logits, after `_judge_choices`."""
    for part in range(len(actions)):
        first, mess = part * n_options, NIL
        for k in range(first, first + n_options):
            mess -= v[slope + place(s, k)] * v[out + place(s, k)]
        for k in range(first, first + n_options):
            at = slope + place(s, k)
            v[at] *= -of_log_p - of_entropy * (v[out + place(s, k)] + mess)
        v[slope + place(s, first + int(actions[part]))] += of_log_p


@fused
def _judge_gauss(
    v: Single, out: int, slope: int, s: int, log_std: Single, sharp: Single, actions: Single
) -> tuple[np.float32, np.float32]:
    """Log-density of a sample's actions, and entropy; slopes become standardised distances from the means.

    ``sharp`` is the inverse of each standard deviation, the same for all samples.
    """
    squares, constant = NIL, NIL
    for k in range(len(actions)):
        z = (actions[k] - v[out + place(s, k)]) * sharp[k]
        v[slope + place(s, k)] = z
        squares += z * z
        constant += log_std[k] + _HALF_LOG_2PI
    return -_HALF * squares - constant, constant + _HALF * np.float32(len(actions))


@fused
def _turn_gauss(
    v: Single, slope: int, s: int, sharp: Single, of_log_std: Single, of_log_p: np.float32, of_entropy: np.float32
) -> None:
    """Write a sample's slopes along its means, and add those along ``log_std``, after `_judge_gauss`."""
    for k in range(len(sharp)):
        z = v[slope + place(s, k)]
        of_log_std[k] += of_log_p * (z * z - ONE) + of_entropy
        v[slope + place(s, k)] = of_log_p * z * sharp[k]


@fused
def learn(
    plans: Int, packed: Single, v: Single, places: Int, slopes: Single, grad: Single, encodings: Single, spot: Int,
    of_encodings: Single, samples: Single, pick: Int, barred: Bool, n_options: int, log_std: Single,
    of_log_std: Single, sharp: Single, rows: Single | None, clip: np.float32, of_entropy: np.float32, share: np.float32,
    told: Float,
) -> None:  # fmt: skip
    """Write the slopes of the loss along everything that it depends on, and its parts.

    Parameters
    ----------
    plans, packed, v, encodings, spot
        As in `see`.
    places
        Three places of the tile for slopes.
    slopes, grad
        Scratch for slopes along the weights, laid out; and all of them in their row, written.
    of_encodings
        Like ``encodings``; added to.
    samples, pick
        Rows of account, actions, advantage, return and old log-probability; which of them to learn from, (B,).
    barred
        (N, n_outputs) choices that are forbidden; without rows none is.
    n_options
        Of each choice; 0 = actions are drawn from normal distributions.
    log_std, of_log_std
        Their logarithmic standard deviations; their slopes, a part of ``grad``.
    sharp, rows
        Scratch: as many numbers as ``log_std`` has, and (N_ROWS, ROWS) where there are several choices; None else,
        and then nothing is compiled for them.
    clip, of_entropy, share
        Largest change of the probability ratio, slope of the loss along an entropy, weight of a sample.
    told
        (5,) added to: sums over samples of the parts of the loss, see `Loss`.
    """
    actor, critic = plans[0], plans[1]
    n_account, stride, inputs, width = actor[0, N_IN], actor[0, IN], actor[0, X], actor[0, N_OUT]
    n_facts = samples.shape[1]
    out, value = actor[-1, Y], critic[-1, Y]
    at, of_value, spare = places
    n_parts = n_facts - 3 - n_account
    slopes[:] = NIL
    grad[:] = NIL
    for k in range(len(log_std)):
        sharp[k] = np.float32(math.exp(-log_std[k]))
    for first in range(0, len(pick), ROWS):
        n = min(ROWS, len(pick) - first)
        v[inputs : inputs + stride * ROWS] = NIL
        for s in range(n):
            row = samples[pick[first + s]]
            for j in range(n_account):
                v[inputs + s * stride + j] = row[j]
        for part in range(2):
            begin(plans[part], packed, v, encodings, spot, first, n, part * width)
            ahead(plans[part], packed, v)
        v[at : at + actor[-1, OUT] * ROWS] = NIL
        v[of_value : of_value + NARROW * ROWS] = NIL
        who = pick[first : first + n]
        bar(v, out, n, barred, who, _NEVER)
        if rows is not None:
            judge_several(v, out, spare, n, n_options, samples, who, n_account, n_parts, rows)
        for s in range(n):
            row = samples[pick[first + s]]
            actions, gain, target, old = row[n_account : n_facts - 3], row[-3], row[-2], row[-1]
            if rows is not None:
                log_p, entropy = rows[LOG_P, s], rows[ENTROPY, s]
            elif n_options:
                log_p, entropy = _judge_choices(v, out, at, s, n_options, actions)
            else:
                log_p, entropy = _judge_gauss(v, out, at, s, log_std, sharp, actions)
            change = log_p - old
            ratio = np.float32(math.exp(change))
            # The smaller of both counts; where that is the clipped one, no slope leads to the actor.
            free, bound = gain * ratio, gain * min(max(ratio, ONE - clip), ONE + clip)
            away = v[value + place(s, 0)] - target
            of_log_p = -share * free if free <= bound else NIL
            if rows is not None:
                rows[OF_LOG_P, s] = of_log_p
            elif n_options:
                _turn_choices(v, out, at, s, n_options, actions, of_log_p, of_entropy)
            else:
                _turn_gauss(v, at, s, sharp, of_log_std, of_log_p, of_entropy)
            v[of_value + place(s, 0)] = away * share
            told[0] -= min(free, bound)
            told[1] += away * away
            told[2] += entropy
            # An estimate of the divergence from the old policy that is never negative (Schulman, 2020).
            told[3] += ratio - ONE - change
            told[4] += abs(ratio - ONE) > clip
        if rows is not None:
            turn_several(v, at, out, spare, n, n_options, samples, who, n_account, n_parts, rows, of_entropy)
        for part in range(2):
            g = back(plans[part], packed, v, of_value if part else at, spare, slopes)
            if actor[0, BIAS] < 0:
                spread(v, g, of_encodings, spot, first, n, part * width, width)
    for part in range(2):
        unpack(plans[part], slopes, grad)


@fused
def step(plans: Int, flat: Single, grad: Single, moments: Single, terms: Single, packed: Single) -> None:
    """Take a step of Adam (Kingma & Ba, 2015) and lay the parameters out.

    Parameters
    ----------
    plans, flat, packed
        Layers; parameters in a row, changed; and as they are laid out, written.
    grad
        Gradient, (n,).
    moments
        (2, n) running means of gradients and of their squares.
    terms
        Norm of the gradient, at most; two decays; step size; factor of the root of the second moment, and what is added
        to that.
    """
    longest, slow, fast, rate, root, more = terms
    # In double precision: as many squares as there are parameters are added one by one.
    squares = 0.0
    for g in grad:
        squares += g * g
    shorter = min(ONE, longest / np.float32(math.sqrt(squares) + 1e-6))
    mean, square = moments[0], moments[1]
    for k in range(len(flat)):
        g = shorter * grad[k]
        mean[k] = slow * mean[k] + (ONE - slow) * g
        square[k] = fast * square[k] + (ONE - fast) * g * g
        flat[k] -= rate * mean[k] / (root * np.sqrt(square[k]) + more)
    for part in range(2):
        pack(plans[part], flat, packed)


class Dense(NetworkBackend):
    """The head of a network on one thread of a CPU, in single precision; see `NetworkBackend`.

    Parameters
    ----------
    net, loss, first
        As in `NetworkBackend`; parameters as they are laid out are shared with ``first`` too.
    """

    def __init__(self, net: Net, loss: Loss, first: Dense | None = None):
        super().__init__(net, loss, first)
        chance = net.chance
        self._options = chance.n_options if isinstance(chance, Choices) else 0
        nothing = torch.zeros(0)
        self._log_std = nothing if self._options else cast(Tensor, chance.log_std)
        self._of_log_std = nothing if self._options else cast(Tensor, self._log_std.grad)
        self._sharp = np.zeros(len(self._log_std), dtype=np.float32)
        several = isinstance(chance, Choices) and chance.n_parts > 1
        self._rows = in_lines(N_ROWS * ROWS).reshape(N_ROWS, ROWS) if several else None
        self._plans, size, tile, self._places = _plans(net, self.flat)
        self._packed: Single = in_lines(size) if first is None else first._packed
        self._slopes, self._tile = in_lines(size), in_lines(tile)
        self._moments, self._n_steps = np.zeros((2, len(self.flat)), dtype=np.float32), 0
        self._pack()

    def step(self, others: Sequence[NetworkBackend], rate: float) -> None:
        """Step along the gradient, see `NetworkBackend`."""
        grad = self._gathered(others).numpy()
        self._n_steps += 1
        slow, fast = (1.0 - beta**self._n_steps for beta in BETAS)
        terms = (LONGEST, *BETAS, rate / slow, 1.0 / math.sqrt(fast), EPSILON)
        step(self._plans, self.flat.numpy(), grad, self._moments, np.array(terms, dtype=np.float32), self._packed)

    def see(self, encodings: Tensor | None, spot: Tensor | None, account: Tensor, outs: Tensor, values: Tensor) -> None:
        """Write the actor's outputs and values, see `NetworkBackend`."""
        seen, where = _arrays(encodings, spot)
        see(self._plans, self._packed, self._tile, seen, where, account.numpy(), outs.numpy(), values.numpy())

    def learn(
        self, encodings: Tensor | None, batch: Minibatch, samples: Tensor, n: int, barred: Tensor | None = None
    ) -> Tensor:
        """Write the gradient of a minibatch's part, see `NetworkBackend`."""
        seen, where = _arrays(encodings, batch.spot)
        of_seen, told = np.zeros_like(seen), np.zeros(5)
        never = _NOTHING if barred is None else barred.numpy()
        learn(
            self._plans, self._packed, self._tile, self._places, self._slopes, self.grad.numpy(), seen, where, of_seen,
            samples.numpy(), batch.pick.numpy(), never, self._options, self._log_std.detach().numpy(),
            self._of_log_std.numpy(), self._sharp, self._rows, np.float32(self.loss.clip_range),
            np.float32(-self.loss.ent_coef / n), np.float32(1.0 / n), told,
        )  # fmt: skip
        if encodings is not None:
            torch.autograd.backward(encodings, torch.from_numpy(of_seen).to(encodings.dtype))
        return torch.from_numpy(told / n)

    def moments(self) -> list[Tensor]:
        """What Adam remembers, see `NetworkBackend`."""
        return [torch.from_numpy(row.copy()) for row in self._moments] + [
            torch.tensor([float(self._n_steps)], dtype=torch.float64)
        ]

    def take_over(self, moments: Sequence[Tensor]) -> None:
        """Go on, see `NetworkBackend`."""
        mean, square, steps = moments
        self._moments[0], self._moments[1], self._n_steps = mean.numpy(), square.numpy(), int(steps[0])
        self._pack()

    def _pack(self) -> None:
        for plan in self._plans:
            pack(plan, self.flat.numpy(), self._packed)


def _arrays(encodings: Tensor | None, spot: Tensor | None) -> tuple[Single, Int]:
    """Encodings in single precision, and which is whose."""
    if encodings is None:
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    seen: Single = encodings.detach().float().numpy()
    return seen, np.arange(len(seen)) if spot is None else spot.numpy()


def _plans(net: Net, flat: Tensor) -> tuple[Int, int, int, Int]:
    """Layers of actor and critic, sizes of all weights laid out and of a tile, and three places in it for slopes."""
    n_account, hidden = net.shape.n_account, cast(nn.Linear, net.actor[0]).in_features
    rows: list[tuple[int, ...]] = []
    n_packed, n_tile = 0, _filled(n_account, 4) * ROWS

    def lie(parameter: Tensor | None) -> int:
        return -1 if parameter is None else (parameter.data_ptr() - flat.data_ptr()) // flat.element_size()

    for part, layers in enumerate((net.actor, net.critic)):
        x, skip = 0, part * hidden
        bias = lie(net.account.bias)
        todo = [(n_account, hidden, lie(net.account.weight) + skip * n_account, bias if bias < 0 else bias + skip)]
        for one in layers:
            layer = cast(nn.Linear, one)
            todo.append((layer.in_features, layer.out_features, lie(layer.weight), lie(layer.bias)))
        for k, (n_in, n_out, weight, bias) in enumerate(todo):
            width = NARROW if k == len(layers) else WIDE
            filled_in, filled_out = _filled(n_in, WIDE if k else 4), _filled(n_out, width)
            ahead, back = n_packed, n_packed + filled_in * filled_out
            shift = back + _filled(filled_in, WIDE) * filled_out
            rows.append((n_in, n_out, filled_in, filled_out, width, weight, bias, ahead, back, shift, x, n_tile))
            x, n_packed, n_tile = n_tile, shift + filled_out, n_tile + filled_out * ROWS
    plans = np.array(rows, dtype=np.int64).reshape(2, len(net.actor) + 1, -1)
    n_slopes = int(max(plans[..., OUT].max(), plans[:, 1:, IN].max())) * ROWS
    places = n_tile + n_slopes * np.arange(3)
    return plans, n_packed, n_tile + 3 * n_slopes, places


def _filled(n: int, by: int) -> int:
    return -(-n // by) * by
