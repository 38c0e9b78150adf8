"""A text's sentiment by its words: a lexicon with phrases, negations and words that strengthen or weaken."""

from __future__ import annotations

import re

from qframe_rl.text.lexicon import CONCESSIONS, INTENSIFIERS, NEGATIONS, TURNS, phrases, words

_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|[,;:.!?]")
_WORDS, _PHRASES = words(), phrases()
_LONGEST = max(map(len, _PHRASES))
_OPENINGS = frozenset(phrase[0] for phrase in _PHRASES)
_ENDINGS = ("s", "es", "ed", "d", "ing", "ly")
_NEGATED, _SPAN_OF_NEGATION, _SPAN_OF_DEGREE = -0.7, 3, 2
_CONCEDED, _BEFORE_TURN, _AFTER_TURN = 0.3, 0.5, 1.5
_DOUBT = 1.0
"""Added to the weights that a sum is divided by: one weak word says less than three."""


def tokens(text: str) -> list[str]:
    """Words in small letters, and the marks that end a clause.

    Parameters
    ----------
    text
        Any text. Apostrophes stay inside words, hyphens where the lexicon has them; numbers and other scripts are left
        out.
    """
    found = _WORD.findall(text.lower().replace("\u2019", "'"))
    return [part for word in found for part in ([word] if word in _WORDS else word.split("-"))]


def score(text: str) -> float:
    """What a text says of prices.

    Each word or phrase of the lexicon has a weight. A negation up to three words before turns it round (times -0.7), a
    word of degree up to two words before strengthens or weakens it, what "despite" introduces counts 0.3, and around
    "but" the second half outweighs the first. The score is the sum over the sum of sizes plus one.

    Parameters
    ----------
    text
        A headline, or a few sentences.

    Returns
    -------
    float
        Between -1 (falling prices) and 1; 0 if no word of it is known.
    """
    total, size = _weighed(tokens(text))
    return total / (size + _DOUBT)


def _weighed(said: list[str]) -> tuple[float, float]:
    """Sum of the weights of the words and phrases that are known, with what stands around them, and of their sizes."""
    total = size = 0.0
    place, conceded, turned = 0, False, False
    while place < len(said):
        word = said[place]
        if not word[0].isalpha():
            conceded, turned = False, turned and word not in ".!?"
        elif word in CONCESSIONS:
            conceded = True
        elif word in TURNS:
            total, size, turned = total * _BEFORE_TURN, size * _BEFORE_TURN, True
        length, weight = _known(said, place)
        if weight:
            value = weight * _around(said, place) * (_CONCEDED if conceded else 1.0)
            value *= _AFTER_TURN if turned else 1.0
            total, size = total + value, size + abs(value)
        place += length
    return total, size


def _known(said: list[str], place: int) -> tuple[int, float]:
    """How many words from a place on are one entry of the lexicon, and its weight; one word of weight 0 if none is."""
    word = said[place]
    if word in _OPENINGS:
        for length in range(min(_LONGEST, len(said) - place), 1, -1):
            weight = _PHRASES.get(tuple(said[place : place + length]))
            if weight is not None:
                return length, weight
    return 1, _weight(word)


def _weight(word: str) -> float:
    """Of a word, or of what is left of it without its ending."""
    weight = _WORDS.get(word)
    if weight is not None:
        return weight
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:
            stem = word[: -len(ending)]
            for form in (stem, stem + "e", stem[:-1] + "y" if stem[-1] == "i" else stem, _single(stem)):
                if form in _WORDS:
                    return _WORDS[form]
    return 0.0


def _single(stem: str) -> str:
    """A stem whose last letter an ending has doubled, with one of it."""
    return stem[:-1] if stem[-1] == stem[-2] else stem


def _around(said: list[str], place: int) -> float:
    """Factor of what stands before a word, within its clause."""
    factor = 1.0
    for back in range(1, min(_SPAN_OF_NEGATION, place) + 1):
        word = said[place - back]
        if not word[0].isalpha():
            break
        if word in NEGATIONS:
            factor *= _NEGATED
        elif back <= _SPAN_OF_DEGREE:
            factor *= INTENSIFIERS.get(word, 1.0)
    return factor
