"""Formulas by a recurrent policy that writes them token by token, and learns from what they earned.

It lies here, below the networks of agents, because a pool is mined by the name of its search; so it has its own small
network and its own generator. PyTorch is imported when such a search is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.search.chance import Prior, in_lockstep
from qframe_rl.alpha.tree import Formula
from qframe_rl.threads import one_thread
from qframe_rl.types import Bool, Float, Int

N_EMBEDDING, N_HIDDEN = 32, 64
CLIP, N_EPOCHS, N_MINIBATCH, LEARNING_RATE, ENTROPY = 0.2, 4, 32, 1e-3, 0.01
RISKY = 0.9
"""Quantile of a batch's rewards above which a risk-seeking search learns."""
_NEVER = -1e9


class TokenNetwork(nn.Module):
    """Logits of the next token from those before, added to the logarithm of a prior.

    Parameters
    ----------
    n_tokens
        V; token V begins a formula.
    seed
        Of the weights.
    """

    def __init__(self, n_tokens: int, seed: int):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens + 1, N_EMBEDDING, device="meta")
        self.cell = nn.GRUCell(N_EMBEDDING, N_HIDDEN, device="meta")
        self.head = nn.Linear(N_HIDDEN, n_tokens, device="meta")
        self.to_empty(device="cpu")  # so that no other generator is drawn from
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, 1.0, generator=generator)
            for weight in self.cell.parameters():
                weight.uniform_(-(N_HIDDEN**-0.5), N_HIDDEN**-0.5, generator=generator)
            self.head.weight.normal_(0.0, 0.01, generator=generator)  # so that the prior is where it begins
            self.head.bias.zero_()

    def forward(self, tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, V) after the last tokens (N,), and the memory (N, N_HIDDEN)."""
        hidden = self.cell(self.embedding(tokens), hidden)
        return self.head(hidden), hidden


class _Batch(NamedTuple):
    """What was written, padded to the longest."""

    tokens: Tensor
    """(N, L)."""
    priors: Tensor
    """(N, L, V) logarithms; those of padding are 0 throughout."""
    written: Tensor
    """(N, L) whether there is a token."""
    before: Tensor
    """(N, L) logarithms of the chances with which they were written."""


class NeuralSearch:
    """A recurrent policy over tokens, trained by PPO (Schulman and others 2017), or on the best tenth of each batch.

    The second (Petersen and others 2021) cares for the best that it writes and not for the mean. The baseline of the
    first is the batch's mean, since a formula earns once, at its end.

    Parameters
    ----------
    vocabulary
        What it may write.
    seed
        Of weights and draws.
    risk_seeking
        Whether it learns from the best tenth alone.
    """

    def __init__(self, vocabulary: Vocabulary, seed: int, *, risk_seeking: bool = False):
        self.vocabulary, self.risk_seeking = vocabulary, risk_seeking
        self._rng, self._prior = np.random.default_rng((seed, 2)), Prior(vocabulary)
        self._network = TokenNetwork(len(vocabulary), seed)
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=LEARNING_RATE)
        self._last: _Batch | None = None

    def propose(self, n: int) -> Sequence[Formula]:
        """``n`` formulas, written side by side."""
        with one_thread(), torch.no_grad():
            pen = _Pen(self._network, self._prior, self._rng, n)
            formulas, written = in_lockstep(self.vocabulary, n, pen.choose)
        self._last = _padded(written, pen)
        return formulas

    def learn(self, rewards: Float) -> None:
        """Make what earned more than others likelier."""
        batch, worth = self._last, self._advantages(rewards)
        if batch is None or not worth.any():
            return
        chosen = np.flatnonzero(worth) if self.risk_seeking else np.arange(len(worth))
        with one_thread():
            for _ in range(N_EPOCHS):
                order = self._rng.permutation(chosen)
                for begin in range(0, len(order), N_MINIBATCH):
                    self._update(batch, worth, order[begin : begin + N_MINIBATCH])

    def _advantages(self, rewards: Float) -> Float:
        """(N,) of deviations; of the best tenth by how much they are above the rest, else 0."""
        if self.risk_seeking:
            best = (rewards >= np.quantile(rewards, RISKY)) & (rewards > rewards.min())
            above = np.where(best, rewards - rewards[~best].mean(), 0.0)
            return np.asarray(above / above[best].mean() if best.any() else above)
        spread = float(rewards.std())
        return np.asarray((rewards - rewards.mean()) / spread if spread > 0.0 else np.zeros(len(rewards)))

    def _update(self, batch: _Batch, worth: Float, chosen: Int) -> None:
        rows = torch.from_numpy(chosen)
        part = _Batch(*(x[rows] for x in batch))
        advantage = torch.from_numpy(worth[chosen].astype(np.float32))[:, None]
        likely, entropy = _read(self._network, part)
        ratio = torch.exp(likely - part.before)
        gain = torch.minimum(ratio * advantage, ratio.clamp(1.0 - CLIP, 1.0 + CLIP) * advantage)
        loss = -(gain + ENTROPY * entropy)[part.written].mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()


class _Pen:
    """Chooses the next tokens of formulas that are written side by side, and remembers what it was asked."""

    def __init__(self, network: TokenNetwork, prior: Prior, rng: np.random.Generator, n: int):
        self._network, self._prior, self._rng = network, prior, rng
        self._hidden = torch.zeros(n, N_HIDDEN)
        self._token = torch.full((n,), network.head.out_features)
        self.priors: list[list[Float]] = [[] for _ in range(n)]
        self.likely: list[list[float]] = [[] for _ in range(n)]

    def choose(self, numbers: Sequence[int], masks: list[Bool]) -> Int:
        rows = torch.tensor(numbers)
        logits, self._hidden[rows] = self._network(self._token[rows], self._hidden[rows])
        prior = np.array([_logarithm(self._prior.probabilities(mask)) for mask in masks])
        chances = (
            torch.log_softmax(logits + torch.from_numpy(prior.astype(np.float32)), dim=1).numpy().astype(np.float64)
        )
        total = np.cumsum(np.exp(chances), axis=1)
        drawn = (total <= self._rng.random((len(rows), 1)) * total[:, -1:]).sum(axis=1)
        for k, row, token, one in zip(numbers, prior, drawn.tolist(), chances, strict=True):
            self.priors[k].append(row)
            self.likely[k].append(float(one[token]))
        self._token[rows] = torch.from_numpy(drawn)
        return np.asarray(drawn, dtype=np.int64)


def _logarithm(chances: Float) -> Float:
    return np.where(chances > 0.0, np.log(np.maximum(chances, 1e-300)), _NEVER)


def _padded(written: list[list[int]], pen: _Pen) -> _Batch:
    n, longest, width = len(written), max(map(len, written)), len(pen.priors[0][0])
    tokens, there = np.zeros((n, longest), dtype=np.int64), np.zeros((n, longest), dtype=np.bool_)
    priors, before = np.zeros((n, longest, width), dtype=np.float32), np.zeros((n, longest), dtype=np.float32)
    for k, one in enumerate(written):
        tokens[k, : len(one)], there[k, : len(one)] = one, True
        priors[k, : len(one)], before[k, : len(one)] = pen.priors[k], pen.likely[k]
    return _Batch(*(torch.from_numpy(x) for x in (tokens, priors, there, before)))


def _read(network: TokenNetwork, batch: _Batch) -> tuple[Tensor, Tensor]:
    """Logarithms of the chances of what was written, and entropies of what might have been, (N, L) each."""
    n, longest = batch.tokens.shape
    hidden, token = torch.zeros(n, N_HIDDEN), torch.full((n,), network.head.out_features)
    likely, entropy = [], []
    for k in range(longest):
        logits, hidden = network(token, hidden)
        chances = torch.log_softmax(logits + batch.priors[:, k], dim=1)
        token = batch.tokens[:, k]
        likely.append(chances.gather(1, token[:, None])[:, 0])
        entropy.append(-(chances.exp() * chances.clamp_min(-50.0)).sum(dim=1))
    return torch.stack(likely, dim=1), torch.stack(entropy, dim=1)
