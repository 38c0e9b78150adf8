"""What words say of prices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qframe_rl.text.lexicon import INTENSIFIERS, NEGATIONS, phrases, words
from qframe_rl.text.score import score, tokens
from tests.text.f1 import ABOVE, LABELS, kappa, labelled, macro_f1, sides

DATA = Path(os.environ.get("QFRAME_DATA", "data")) / "alt" / "bitcoin_headlines.parquet"


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Bitcoin ETF inflows surge to record high", 1),
        ("To the moon! bullish breakout", 1),
        ("Long liquidations spike", -1),
        ("Whales dump BTC, bears in control", -1),
        ("Exchange hacked, withdrawals suspended", -1),
        ("Stablecoin loses its peg in a bank run", -1),
        ("A conference was held in Lugano on Tuesday", 0),
        ("", 0),
        ("比特币 上涨 12345 !!!", 0),
    ],
)
def test_headlines_that_a_general_lexicon_is_blind_to(text: str, side: int) -> None:
    assert sides([score(text)], ABOVE) == [side]


def test_every_score_lies_within_one() -> None:
    for text in ("surge " * 5000, "crash " * 5000, "very massive crash", "not " * 100 + "surge", "but " * 9, "-'-'--"):
        assert -1.0 <= score(text) <= 1.0


def test_a_text_as_long_as_a_book_takes_as_long_as_its_words() -> None:
    """Each word looked back to the beginning of its sentence: a book in a field of a file took hours."""
    assert 0.0 < score("bull crash despite " * 20_000 + "but " * 20_000 + "bull " * 20_000) < 1.0


def test_a_negation_turns_round_and_a_clause_ends_it() -> None:
    assert score("Bitcoin will not rally") < 0.0 < score("Bitcoin will rally")
    assert score("Whales do not panic") > 0.0
    assert score("Did it not? A rally came") > 0.0
    assert score("not one of the four old coins will rally") > 0.0


def test_words_of_degree_strengthen_and_weaken() -> None:
    assert score("it slightly dropped") > score("it dropped") > score("a massive drop")
    assert 0.0 < score("it may rally") < score("it will rally")


def test_what_stands_behind_but_outweighs_what_stands_before_it() -> None:
    assert score("Losses yesterday but gains today") > 0.0 > score("Gains yesterday but losses today")
    assert score("Despite heavy losses, inflows rose") > 0.0


def test_phrases_count_instead_of_their_words() -> None:
    assert score("An all-time high") == score("An all time high") == pytest.approx(3.0 / 4.0)
    assert score("open interest") == 0.0
    assert score("the bull market") > 0.0 > score("the bear market")


def test_endings_are_the_word() -> None:
    assert score("it rallied") == score("they rally") == score("rallies") == score("rallying")
    assert score("plummeting") == score("plummets") < 0.0
    assert score("it dipped") == score("dips")


def test_words_and_their_marks() -> None:
    assert tokens("Won\u2019t rally: 5 % sell-off, long-winded!") == [
        "won't",
        "rally",
        ":",
        "sell-off",
        ",",
        "long",
        "winded",
        "!",
    ]


def test_the_lexicon_is_told_apart_and_can_be_met() -> None:
    known = words()
    assert not NEGATIONS & known.keys()
    for word in (*known, *NEGATIONS, *INTENSIFIERS):
        assert tokens(word) == [word], word
    for phrase in phrases():
        assert len(phrase) > 1 and tokens(" ".join(phrase)) == list(phrase), phrase


def test_agreement_and_f1_by_hand() -> None:
    assert kappa([1, 1, 0, 0], [1, 0, 0, 0]) == pytest.approx((0.75 - 0.5) / 0.5)
    assert macro_f1([1, 0, -1, -1], [1, 0, -1, 1]) == pytest.approx((2 / 3 + 1.0 + 2 / 3) / 3)
    assert len(LABELS.read_text().splitlines()) == 321


@pytest.mark.skipif(not DATA.is_file(), reason="needs market data")
def test_held_out_headlines_are_told_apart_as_stated() -> None:
    """The figures of docs/texts.md: a miss of .60, and more than .05 above VADER's .50."""
    rows = labelled(DATA)
    held = [row for row in rows if row.year == 2023]
    said = sides([score(row.text) for row in held], ABOVE)
    assert (len(rows), len(held)) == (320, 200)
    assert macro_f1([row.first for row in held], said) == pytest.approx(0.589, abs=0.0006)
    assert macro_f1([row.second for row in held], said) == pytest.approx(0.580, abs=0.0006)
