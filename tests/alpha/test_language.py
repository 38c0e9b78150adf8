"""The language of formulas: text and tree, units, tokens, what may come next, and what is the same."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from qframe_rl.alpha.canonical import canonical, identity
from qframe_rl.alpha.grammar import MOST_TOKENS, SEP, Vocabulary
from qframe_rl.alpha.ideas import ideas
from qframe_rl.alpha.operators import OPERATORS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import MOST_CHARACTERS, number, parse
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError
from qframe_rl.features import features
from qframe_rl.types import HOUR
from tests.alpha.draws import COLUMNS, bars, formula

VOCABULARY = Vocabulary(COLUMNS)


@pytest.mark.parametrize(
    ("text", "reads", "unit", "lookback"),
    [
        ("rank(corr(close, volume, 10))", "rank(corr(close,volume,10))", "number", 90),
        ("delta(close,5)/std(close,20)", "div(delta(close,5),std(close,20))", "number", 20),
        ("ref(mean(high, 20), 40)", "ref(mean(high,20),40)", "price", 60),
        ("ret1 - 2 - 3", "sub(sub(ret1,2),3)", "number", 2),
        ("ret1 - (ret1 - .5)", "sub(ret1,sub(ret1,0.5))", "number", 2),
        ("-ret1 * -2", "mul(neg(ret1),-2)", "number", 2),
        ("close * volume + money", "add(mul(close,volume),money)", "money", 1),
        ("money / close / volume * 1e3", "mul(div(div(money,close),volume),1000)", "number", 1),
        ("mean(rank(tsz(close, 200)), 5)", "mean(rank(tsz(close,200)),5)", "number", 204),
        ("column:signal", "column:signal", "number", 1),
        ("beta(close, volume / 2, 3) ", None, "", 0),
        ("cov(close, volume, 60)", "cov(close,volume,60)", "money", 60),
        ("ref(close,0000000000025)", "ref(close,25)", "price", 26),
        ("mean(close, 00000000000000000000000000000003)", "mean(close,3)", "price", 3),
    ],
)
def test_a_text_is_its_tree(text: str, reads: str | None, unit: str, lookback: int) -> None:
    if reads is None:
        with pytest.raises(UserError, match="has no unit here"):
            parse(text)
        return
    tree = parse(text)
    assert (tree.text, tree.unit, tree.lookback) == (reads, unit, lookback)
    assert parse(tree.text) == tree
    assert pickle.loads(pickle.dumps(tree)) == tree


@pytest.mark.parametrize("name", ["\u00e9cart", "10y-yield", "S&P 500, net", "x (y", "a:b", "vix"])
def test_columns_of_any_name_can_be_written(name: str) -> None:
    """A table of one's own names its columns as it likes; what a search finds with them must be read again."""
    columns = ("vix", name)
    for tree in ideas(columns, crosses=False):
        assert parse(tree.text, columns) == tree
    read = parse(f"delta(column:{name}, 3)-column:{name} * 2", columns)
    assert read.text == f"sub(delta(column:{name},3),mul(column:{name},2))" and set(read.columns) == {name}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("ref(close, -1)", 12, "would show a later bar; write a whole number from 1"),
        ("ref(close, 0)", 12, "must be 1 to"),
        ("delta(close,-5)", 13, "later bar"),
        ("ref(close, 1 - 3)", 14, "')' is expected"),
        ("mean(close, 1)", 13, "must be 2 to"),
        ("corr(close,volume,2)", 19, "must be 3 to"),
        ("ref(close, 0000000000000)", 12, "must be 1 to"),
        ("mean(close, 001000000000000000)", 13, "must be 2 to"),
        ("mean(close, 3.5)", 13, "whole number"),
        ("mean(close, 99999999999999999999)", 13, "must be 2 to"),
        ("corr(close, volum, 10)", 13, "did you mean 'volume'"),
        ("rnak(close)", 1, "did you mean 'rank'"),
        ("close(1)", 1, "takes nothing in brackets"),
        ("mean", 1, "lacks its operands"),
        ("mean(close)", 11, "mean is written mean(x, w)"),
        ("rank(close", 11, "')' is expected here where the formula ends"),
        ("close + volume", 7, "two of one unit, not a price and a volume"),
        ("var(close, 5)", 1, "take std"),
        ("2 / ret1", 3, "stands on the left"),
        ("2 * ret1", 3, "write ret1 * 2"),
        ("mean(2, 5)", 1, "a constant may stand only"),
        ("3", 1, "a constant alone"),
        ("", 1, "there is nothing"),
        ("close)", 6, "too much"),
        ("__import__('os').system('true')", 12, "has no meaning here"),
        ("close.__class__", 6, "has no meaning"),
        ("lambda: 1", 7, "has no meaning"),
        ("ret1 * 1e999", 8, "too large"),
        ("column:signla", 1, "did you mean 'signal'"),
        ("-" * 200 + "ret1", 97, "inside each other"),
        ("(" * 200 + "ret1", 97, "inside each other"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(text: str, place: int, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, COLUMNS)
    assert f"character {place}: " in str(caught.value), caught.value
    assert said in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_a_number_is_asked_for_and_sizes_are_bounded() -> None:
    assert number("ret(close, 5)").text == "ret(close,5)"
    for text, said in (
        ("close", "is a price"), ("mean(volume, 5)", "is a volume"), ("ret(ref(close,1000000),1000000)", "looks back"),
        ("ret1" + " " * MOST_CHARACTERS, "too long"), ("+".join(["ret1"] * 300), "more than 256 parts"),
        ("abs(" * 60 + "ret1" + ")" * 60, "inside each other"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            number(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ret1" + " " * 4000, "too long; the most is 4,000."),
        ("(" * 1000 + "ret1" + ")" * 1000, "split it."),
        ("abs(" * 900 + "ret1", "split it."),
        ("-" * 3900 + "ret1", "split it."),
        ("+".join(["ret1"] * 700), "split it."),
        ("ret1-" + "(" * 95 + "ret1", "split it."),
        ("mean(" * 20 + "close" + ",5)" * 20, "such as ret(x, 1) or x / close."),
        ("ret1*" + "9" * 3900, "is too large for a number."),
        ("a" * 3900, "zscore."),
        ("column:" + "a" * 3900, "they have none."),
        ("ref(close," + "9" * 3900 + ")/close", "to 1,000,000, not 9999"),
        ("mean(close," + "9" * 3000 + ".5)/close", "whole number from 2, not '9999"),
        ("close(" + "9" * 3000, "write it alone."),
        ("ret1 " + "9" * 3000, "the formula ended before it."),
        ("9" * 300 + " - ret1", "write neg(ret1) + "),
    ],
)
def test_long_and_deep_texts_of_a_checkpoint_are_refused_in_one_short_sentence(text: str, said: str) -> None:
    for spec in (f"alpha:{text}", f"4h:alpha:{text}"):
        with pytest.raises(UserError) as caught:
            features([spec], (), HOUR)
        told = str(caught.value)
        assert said.rstrip(".") in told and "\n" not in told and len(told) < 520, told


def test_blanks_of_a_text_of_several_lines_do_not_count() -> None:
    for spec in ("alpha:ret(close,\n  5)\n", "4h:alpha:ret(close,\n  5)\n"):
        assert features([spec], (), HOUR)[0].name == spec


def test_a_negative_shift_cannot_be_made_at_all() -> None:
    """Neither as a text, nor as a tree, nor by tokens, nor loaded."""
    close = Formula("close")
    for shift in (-1, 0):
        with pytest.raises(UserError):
            Formula("ref", (close,), shift)
    with pytest.raises(UserError):
        pickle.loads(pickle.dumps(Formula("ref", (close,), 1)).replace(b"K\x01", b"J\xff\xff\xff\xff"))
    assert not any(token.startswith("w-") for token in VOCABULARY.tokens)


def test_no_beginning_is_a_dead_end_and_every_formula_returns_from_text_and_tokens() -> None:
    """``python -m tests.long.dead_ends`` draws 70,000."""
    rng, used = np.random.default_rng(0), set()
    for vocabulary in (Vocabulary(COLUMNS, leads=True), Vocabulary(crosses=False)):
        for _ in range(400):
            tree = formula(vocabulary, rng)
            assert tree.unit == "number" and tree.size <= MOST_TOKENS
            assert parse(tree.text) == tree
            assert vocabulary.decode(vocabulary.encode(tree)) == tree
            used |= {node.op for node in tree.nodes()}
            assert canonical(canonical(tree)) == canonical(tree)
            assert identity(identity(tree)) == identity(tree)
            assert parse(identity(tree).text) == identity(tree)
            assert tree.least == 1 or vocabulary.index.get("leader")
    assert used >= set(OPERATORS)


def _after(*words: str) -> set[str]:
    draft = VOCABULARY.begin()
    for word in words:
        draft = draft.push(VOCABULARY.index[word])
    return {VOCABULARY.tokens[k] for k in np.flatnonzero(draft.mask())}


def test_what_may_come_next() -> None:
    leaves = {"open", "high", "low", "close", "volume", "typical", "ret1", "money", "column:signal"}
    assert _after() == leaves
    assert SEP not in _after("close") and SEP in _after("ret1")
    assert "var" not in _after("close", "w20") and "var" in _after("ret1", "w20")
    assert not _after("close", "2") & (leaves | {"add", "rank", "w5", SEP, "corr"}) and "mul" in _after("close", "2")
    assert not _after("close", "w1") & {"mean", "std", "corr", "wma"} and "ref" in _after("close", "w1")
    assert not _after("close", "w60") & {"ref", "ret"}
    assert "corr" not in _after("close", "close", "w10") and "corr" in _after("close", "volume", "w10")
    assert "corr" not in _after("close", "w10")
    assert "add" not in _after("close", "volume") and "mul" in _after("close", "volume")


def test_the_last_token_at_the_cap_counts() -> None:
    words = ["close", "rank"] + ["neg"] * 12
    assert _after(*words) >= {SEP, "neg"}
    assert _after(*words, "neg") == {SEP}
    # Two tokens are left: another number and what joins them fit, a price and what makes a number of both do not.
    assert "ret1" in _after("ret1", *["neg"] * 12) and "close" not in _after("ret1", *["neg"] * 12)
    assert "ret1" not in _after("ret1", *["neg"] * 13)


def test_tokens_that_are_none_are_refused() -> None:
    for text in ("mean(close, 7) / close", "ret1 * 3", "+".join(["ret1"] * 9), "column:other"):
        with pytest.raises(UserError):
            VOCABULARY.encode(parse(text))
    with pytest.raises(UserError, match="may not come after"):
        VOCABULARY.decode([VOCABULARY.index["mean"]])
    with pytest.raises(UserError, match="end without SEP"):
        VOCABULARY.decode([VOCABULARY.index["ret1"]])
    for token in (999, len(VOCABULARY), -1, -len(VOCABULARY)):
        with pytest.raises(UserError, match=f"no token {token}; they are numbered from 0 to {len(VOCABULARY) - 1}"):
            VOCABULARY.decode([token])
    for text, named in (("wma(ret1, 2)", "wma"), ("mean(ret1, 7)", "7"), ("rank(ret1)", "rank")):
        with pytest.raises(UserError, match=f": {named} is not what a search writes there"):
            Vocabulary(crosses=False).encode(parse(text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("volume * close / money", "close * volume / money"),
        ("corr(close, volume, 5)", "corr(volume, close, 5)"),
        ("ret1 - 2", "ret1 + -2"), ("ret1 + 1 + 2", "ret1 + 3"), ("ret1 * 2 * 5 * 1", "ret1 * 10"),
        ("ret1 / 2", "ret1 * .5"), ("abs(abs(neg(ret1)))", "abs(ret1)"), ("neg(neg(ret1))", "ret1"),
        ("max(ret1, ret1)", "ret1"), ("rank(rank(ret1))", "rank(ret1)"), ("sign(sign(ret1))", "sign(ret1)"),
        ("ret1 + neg(tsz(low, 5))", "ret1 - tsz(low, 5)"), ("ret1 * -1", "neg(ret1)"),
        ("max(max(ret1, .5), 2)", "max(ret1, 2)"),
    ],
)  # fmt: skip
def test_what_is_the_same_in_other_words(one: str, other: str) -> None:
    assert canonical(parse(one)) == canonical(parse(other))
    values, times = bars(120, 8, 1)
    evaluator = Evaluator(values, times, HOUR)
    left, right = (evaluator.value(canonical(parse(text))) for text in (one, other))
    assert np.array_equal(left, right, equal_nan=True)
    assert np.allclose(evaluator.value(parse(one)), left, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("neg(ret1)", True), ("rank(ret1)", True), ("zscore(ret1 * -30)", True), ("ret1 * 2 + 1", True),
        ("log(close / open)", False), ("abs(ret1)", False), ("ret1 * 0", False), ("sign(ret1)", False),
        ("min(-2, 1)", None), ("min(ret1 * -30, 2)", False), ("rank(neg(log(rank(ret1))))", True),
    ],
)  # fmt: skip
def test_what_orders_the_instruments_alike_is_one(one: str, same: bool | None) -> None:
    """-x is a duplicate of x; so is what an increasing map at the root makes of it."""
    if same is None:
        with pytest.raises(UserError):
            parse(one)
        return
    assert (identity(parse(one)) == parse("ret1")) is same


def test_random_formulas_and_their_canonical_forms_have_the_same_values() -> None:
    values, times = bars(160, 8, 9)
    evaluator, rng, compared = Evaluator(values, times, HOUR, COLUMNS), np.random.default_rng(5), 0
    for _ in range(150):
        tree = formula(VOCABULARY, rng)
        if canonical(tree) == tree or any(node.op in ("sign", "argmax", "argmin") for node in tree.nodes()):
            continue
        ours, theirs = evaluator.value(tree), evaluator.value(canonical(tree))
        both = ~np.isnan(ours) & ~np.isnan(theirs)
        size = np.abs(ours[both]).max(initial=1e-300)
        assert (np.abs(ours - theirs)[both] <= 1e-6 * size).mean(dtype=float) > 0.99 if both.any() else True, tree.text
        compared += bool(both.any())
    assert compared > 20
