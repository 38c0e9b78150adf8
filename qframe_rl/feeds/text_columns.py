"""What texts say of bars: how many came, what their words say of prices, how new they are."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError, nearest, shortened
from qframe_rl.feeds.own_rows import SYMBOL, own_rows
from qframe_rl.feeds.texts import Texts, texts_of
from qframe_rl.text.score import score, tokens
from qframe_rl.times import delay_ns
from qframe_rl.types import Bool, Float, History, Int, timeframe_ns

STATISTICS = ("count", "mean", "sum", "novelty")
_SPEC = re.compile(
    r"\w+=texts:(?P<file>.+?):(?P<statistic>[a-z]+):(?P<window>[1-9]\d*[smhdw])"
    r"(?::(?P<delay>\d+[smhdw])(?::(?P<age>\d+[smhdw]))?)?"
)
_SPELLING = "NAME=texts:FILE:STATISTIC:WINDOW[:DELAY[:AGE]], such as news=texts:news.parquet:mean:24h"
_DECAYS = 8
"""Windows after which a decaying text is left out: e^-8 is 0.0003."""


class _Asked(NamedTuple):
    """One specification, taken apart; lengths in ns."""

    path: Path
    statistic: str
    window: int
    delay: int | None
    age: int | None


def text_columns(history: History, specs: Sequence[str], root: Path) -> list[Float]:
    """Columns of texts; where a file has a column ``symbol``, for every instrument its own.

    Parameters
    ----------
    history
        The bars.
    specs
        ``NAME=texts:FILE:STATISTIC:WINDOW[:DELAY[:AGE]]`` each, FILE and DELAY as in `texts.texts_of`. STATISTIC is,
        of the texts that became known in the WINDOW up to and with a close: ``count``, how many there are; ``mean``,
        the mean of their scores (`qframe_rl.text.score`); ``novelty``, the mean share of a text's words that no text of
        the WINDOW before it had; ``sum``, the scores of all texts times exp(-age / WINDOW), left out after 8 of them.
        No text is a count and a sum of 0, and a mean and a novelty of NaN. All are NaN until the file's first text has
        been known for a WINDOW, and where its last one is older than AGE: silence of a feed is not silence in the news.
    root
        Folder that relative files lie in.

    Returns
    -------
    list[Float]
        (T, A), or (T, 1) for all instruments alike, of each.

    Raises
    ------
    UserError
        For another spelling, and as in `texts.texts_of`.
    """
    asked = [_parsed(spec, root) for spec in specs]
    files = {key: texts_of(*key) for key in {(one.path, one.delay) for one in asked}}
    return [_column(one, files[one.path, one.delay], history) for one in asked]


def _parsed(spec: str, root: Path) -> _Asked:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UserError(f"column {shortened(spec)} is not {_SPELLING}; STATISTIC is {', '.join(STATISTICS)}.")
    statistic = match["statistic"]
    if statistic not in STATISTICS:
        raise UserError(f"column {shortened(spec)}: texts have no {statistic!r}{nearest(statistic, STATISTICS)}")
    delay = None if match["delay"] is None else delay_ns(match["delay"])
    age = None if match["age"] is None else timeframe_ns(match["age"])
    return _Asked(root / match["file"], statistic, timeframe_ns(match["window"]), delay, age)


def _column(asked: _Asked, texts: Texts, history: History) -> Float:
    """(T, A or 1) of one specification."""
    if any(name.strip().lower() == SYMBOL for name in texts.table.column_names):
        rows = own_rows(texts.table, history.symbols, asked.path)
    else:
        rows = [np.arange(len(texts.known))]
    covered = _covered(asked, texts.known, history.time)
    parts = [np.where(covered, _statistic(asked, texts, own, history.time), np.nan) for own in rows]
    return np.column_stack(parts)


def _covered(asked: _Asked, known: Int, close: Int) -> Bool:
    """(T,) whether a file says anything of the time before a close, be it that nothing happened."""
    if not len(known):
        return np.zeros(len(close), dtype=np.bool_)
    last = known[np.maximum(np.searchsorted(known, close, side="right") - 1, 0)]
    fresh = np.ones(len(close), dtype=np.bool_) if asked.age is None else close - last <= asked.age
    out: Bool = fresh & (close >= known[0] + asked.window)
    return out


def _statistic(asked: _Asked, texts: Texts, own: Int, close: Int) -> Float:
    """(T,) of the texts of these rows; added up text by text, so a longer history has the same bits."""
    known = texts.known[own]
    span = asked.window * (_DECAYS if asked.statistic == "sum" else 1)
    first, stop = np.searchsorted(close, known), np.searchsorted(close, known + span)
    total, n = np.zeros(len(close)), np.zeros(len(close))
    shown = np.flatnonzero(stop > first)
    said = [texts.text[row] for row in own]
    values = _values(asked, known, said, shown)
    for k, value in zip(shown.tolist(), values, strict=True):
        part = slice(int(first[k]), int(stop[k]))
        n[part] += 1.0
        decay = np.exp((known[k] - close[part]) / asked.window) if asked.statistic == "sum" else 1.0
        total[part] += value * decay
    if asked.statistic in ("count", "sum"):
        return n if asked.statistic == "count" else total
    mean: Float = np.divide(total, n, out=np.full(len(close), np.nan), where=n > 0.0)
    return mean


def _values(asked: _Asked, known: Int, said: Sequence[str], shown: Int) -> list[float]:
    """What each text that is shown adds."""
    if asked.statistic == "count":
        return [1.0] * len(shown)
    if asked.statistic == "novelty":
        return _novelty(known, said, asked.window, shown)
    return [score(said[k]) for k in shown.tolist()]


def _novelty(known: Int, said: Sequence[str], window: int, shown: Int) -> list[float]:
    """Share of the words of each text that none of the window before it had."""
    if not len(shown):
        return []
    before: deque[tuple[int, frozenset[str]]] = deque()
    standing: Counter[str] = Counter()
    out, wanted = [], set(shown.tolist())
    for k in range(int(np.searchsorted(known, known[shown[0]] - window)), int(shown[-1]) + 1):
        while before and before[0][0] <= known[k] - window:
            standing.subtract(before.popleft()[1])
        words = frozenset(word for word in tokens(said[k]) if word[0].isalpha())
        if k in wanted:
            out.append(sum(not standing[word] for word in words) / max(1, len(words)))
        before.append((int(known[k]), words))
        standing.update(words)
    return out
