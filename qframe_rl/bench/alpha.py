"""Formulas: values and information coefficients of random ones a second, beside windows laid out in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.pool import mutual
from qframe_rl.alpha.score import coefficients, labels, standing
from qframe_rl.alpha.tree import Formula
from qframe_rl.bench.alpha_sampling import alpha_sampling
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.bench.unfolded import Unfolded, alike, scored
from qframe_rl.policy.apart import one_thread
from qframe_rl.runner.log import Screen
from qframe_rl.types import DAY, HOUR, Bool, Float, Int

_PANELS = {"daily": (2694, 43, DAY, 5), "hourly": (20_000, 16, HOUR, 24)}
"""Rows, instruments, length of a bar and bars of the label."""
_ALONE = {"std": "std(close, 20)", "corr": "corr(close, volume, 40)", "rank": "rank(close)"}
N_FORMULAS, N_POOL = 24, 10


def alpha(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Random formulas with their IC and rank IC, and single operators; one thread, whole panels."""
    found: list[BenchmarkRow] = []
    for name, (n_rows, n, bar_ns, ahead) in _PANELS.items():
        bars, times = panel(n_rows // 20 if small else n_rows, n, bar_ns)
        members = np.ones(bars.shape[:2], dtype=np.bool_)
        trees, label = formulas(4 if small else N_FORMULAS), labels(bars, ahead)
        work = {
            "ours": _ours(trees, bars, times, bar_ns, members, label),
            "unfolded": _theirs(trees, bars, label),
            **{f"ours {op}": _valued([parse(text)], bars, times, bar_ns, members) for op, text in _ALONE.items()},
            **{f"unfolded {op}": _laid_out([parse(text)], bars) for op, text in _ALONE.items()},
        }
        work |= {
            "ours pool": _candidate(trees, bars, times, bar_ns, members, label),
            "unfolded pool": _candidate_anew(trees, bars, label),
        }
        if peers is not None:
            work |= peers.formulas([_tokens(tree) for tree in trees], bars, label)
        with one_thread():
            speed = rates(work, repeats, screen, f"alpha {name}")
        found += rows("alpha.value", n, speed["ours"], "formulas/s", {"unfolded": 1.0, "gplearn": 1.0}, speed)
        found += rows(
            "alpha.candidate", n, speed["ours pool"], "formulas/s", {"unfolded": 1.0},
            {"unfolded": speed["unfolded pool"]},
        )  # fmt: skip
        for op in _ALONE:
            others = {"unfolded": speed[f"unfolded {op}"]}
            found += rows(f"alpha.{op}", n, speed[f"ours {op}"], "panels/s", {"unfolded": 1.0}, others)
    return found + alpha_sampling(small, repeats, screen)


def formulas(n: int, seed: int = 0) -> list[Formula]:
    """Random formulas over bars, token by token, each that may come as likely as any."""
    vocabulary, rng, found = Vocabulary(), np.random.default_rng(seed), []
    for _ in range(n):
        draft = vocabulary.begin()
        while draft.formula is None:
            draft = draft.push(int(rng.choice(np.flatnonzero(draft.mask()))))
        found.append(draft.formula)
    return found


def _tokens(tree: Formula) -> str:
    vocabulary = Vocabulary()
    return " ".join(vocabulary.tokens[k] for k in vocabulary.encode(tree)[:-1])


def panel(n_rows: int, n: int, bar_ns: int, seed: int = 0) -> tuple[Float, Int]:
    """Bars (T, A, 5) of random walks without gaps, and their closes (T,)."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.02 * rng.standard_normal((n_rows, n)), axis=0))
    opening = np.concatenate([close[:1], close[:-1]]) * np.exp(0.002 * rng.standard_normal((n_rows, n)))
    high = np.maximum(opening, close) * (1.0 + 0.01 * rng.random((n_rows, n)))
    low = np.minimum(opening, close) * (1.0 - 0.01 * rng.random((n_rows, n)))
    volume = 1e4 * np.exp(rng.standard_normal((n_rows, n)))
    times = (18_000 + np.arange(n_rows, dtype=np.int64)) * bar_ns
    return np.stack([opening, high, low, close, volume], axis=2), times


def _ours(trees: Sequence[Formula], bars: Float, times: Int, bar_ns: int, members: Bool, label: Float) -> Work:
    evaluator = Evaluator(bars, times, bar_ns, members=members)

    def do() -> float:
        evaluator.keep(())  # nothing is known, but memory is there
        for values in evaluator.values(trees):
            np.nanmean(coefficients(values, members, label), axis=0)
        return float(len(trees))

    return do


def _candidate(trees: Sequence[Formula], bars: Float, times: Int, bar_ns: int, members: Bool, label: Float) -> Work:
    """A formula with its IC and its correlations with a pool whose values stay."""
    evaluator = Evaluator(bars, times, bar_ns, members=members)
    pool = [standing(evaluator.shown(tree), members) for tree in trees[1 : 1 + N_POOL]]

    def do() -> float:
        evaluator.keep(())
        values = evaluator.shown(trees[0])
        np.nanmean(coefficients(values, members, label), axis=0)
        mine = standing(values, members)
        for other in pool:
            mutual(mine, other)
        return 1.0

    return do


def _candidate_anew(trees: Sequence[Formula], bars: Float, label: Float) -> Work:
    """The same with a pool that is computed for each candidate, as evaluators without memory do."""
    evaluator, followed = Unfolded(bars), torch.from_numpy(label)

    def do() -> float:
        value = evaluator.value(trees[0])
        scored(value, followed)
        for other in trees[1 : 1 + N_POOL]:
            alike(value, evaluator.value(other))
        return 1.0

    return do


def _theirs(trees: Sequence[Formula], bars: Float, label: Float) -> Work:
    evaluator, followed = Unfolded(bars), torch.from_numpy(label)

    def do() -> float:
        for tree in trees:
            scored(evaluator.value(tree), followed)
        return float(len(trees))

    return do


def _valued(trees: Sequence[Formula], bars: Float, times: Int, bar_ns: int, members: Bool) -> Work:
    """Values alone, their leaves known; memory of the evaluator used again."""
    evaluator = Evaluator(bars, times, bar_ns, members=members)
    leaves = [node for tree in trees for node in tree.nodes() if not node.parts]

    def do() -> float:
        for _ in range(10):
            evaluator.keep(leaves)
            for tree in trees:
                evaluator.shown(tree)
        return 10.0 * len(trees)

    return do


def _laid_out(trees: Sequence[Formula], bars: Float) -> Work:
    value: Callable[[Formula], torch.Tensor] = Unfolded(bars).value

    def do() -> float:
        for tree in trees:
            value(tree)
        return float(len(trees))

    return do
