"""Searches: what they propose, from which seed, and whether they learn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from qframe_rl.alpha.canonical import identity
from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.search import SEARCHES, search_of
from qframe_rl.alpha.search.chance import Prior
from qframe_rl.alpha.search.genetic import parts
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError
from qframe_rl.types import Float


def proposals(name: str, seed: int, batches: int = 3) -> list[str]:
    search, found = search_of(name, Vocabulary(), seed), []
    for _ in range(batches):
        trees = search.propose(40)
        found += [tree.text for tree in trees]
        search.learn(worth(trees))
    return found


def worth(trees: list[Formula] | tuple[Formula, ...] | object) -> Float:
    """What is wanted: volume, and no constants."""
    return np.array([("volume" in t.text) - 0.3 * t.text.count("constant") for t in trees])  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_same_seed_proposes_the_same_and_no_other_generator_moves(name: str) -> None:
    import torch

    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), torch.get_num_threads()  # noqa: NPY002
    one = proposals(name, 3)
    assert proposals(name, 3) == one and proposals(name, 4) != one
    assert all(len(Vocabulary().encode(tree)) <= 16 for tree in search_of(name, Vocabulary(), 0).propose(50))
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), torch.get_num_threads())  # noqa: NPY002


@pytest.mark.parametrize("name", ["genetic", "policy", "risk"])
def test_what_is_paid_for_is_proposed_more_often(name: str) -> None:
    vocabulary = Vocabulary()
    search = search_of(name, vocabulary, 0)
    shares = []
    for _ in range(20):
        trees = search.propose(64)
        paid = np.array([float("volume" in tree.text and "mean" not in tree.text) for tree in trees])
        shares.append(paid.mean())
        search.learn(paid)
    assert np.mean(shares[-4:]) > np.mean(shares[:3]) + 0.15


def test_on_few_instruments_nothing_is_compared() -> None:
    for name in SEARCHES:
        search = search_of(name, Vocabulary(("funding",), crosses=False), 0)
        for _ in range(4):
            trees = search.propose(100)
            assert not any(tree.crosses for tree in trees)
            search.learn(np.linspace(0.0, 1.0, 100))


def test_a_prior_is_uniform_over_kinds_and_within_each() -> None:
    vocabulary = Vocabulary()
    mask = np.ones(len(vocabulary), dtype=np.bool_)
    chances = Prior(vocabulary).probabilities(mask)
    kinds = vocabulary.kinds
    assert [chances[kinds == kind].sum() for kind in range(10)] == pytest.approx([0.1] * 10)
    assert all(len(set(chances[kinds == kind])) == 1 for kind in range(10))
    mask[kinds == 1] = False
    assert Prior(vocabulary).probabilities(mask)[kinds == 1].sum() == 0.0


def test_the_parts_of_a_formula_are_runs_of_its_tokens() -> None:
    vocabulary = Vocabulary()
    tree = parse("delta(close,5) / std(close,20) * 30")
    tokens = vocabulary.encode(tree)[:-1]
    found = parts(vocabulary, tokens)
    assert {(part.begin, part.end, part.unit) for part in found} == {
        (0, 1, "price"), (0, 3, "price"), (3, 4, "price"), (3, 6, "price"), (0, 7, "number"), (0, 9, "number"),
    }  # fmt: skip


def test_a_population_that_repeats_itself_begins_anew() -> None:
    """Where one formula alone is worth anything, its children soon say nothing new."""
    vocabulary = Vocabulary()
    search, texts = search_of("genetic", vocabulary, 0), set[str]()
    fewest = 100
    for _ in range(60):
        trees = search.propose(100)
        new = {identity(tree).text for tree in trees} - texts
        texts |= new
        fewest = min(fewest, len(new))
        search.learn(np.array([1.0 / tree.size for tree in trees]))
    assert 5 <= fewest < 60
    with pytest.raises(UserError, match="unknown search 'policies'; did you mean 'policy'"):
        search_of("policies", vocabulary, 0)


def test_torch_is_not_needed_for_what_has_no_network() -> None:
    code = (
        "import sys; from qframe_rl.alpha.grammar import Vocabulary; from qframe_rl.alpha.search import search_of; "
        "search_of('genetic', Vocabulary(), 0).propose(3); assert 'torch' not in sys.modules; "
        "search_of('risk', Vocabulary(), 0).propose(3); assert 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
