"""How well headlines are told apart by their words: ``python -m tests.text.f1 --peers .venv-peers/bin/python``.

``labels.csv`` has what 320 headlines say of prices, known by the SHA-256 of their text: -1, 0 or 1. A language model
read them twice, the second time in another order and soon after the first, which it remembered; so their agreement
says how steady one reader is within the hour, not how far people would agree. The texts lie in the market data, not
here. Those of 2023 are held out: no word of the lexicon was chosen or weighed by one of them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from qframe_rl.text.score import score

LABELS = Path(__file__).with_name("labels.csv")
ABOVE, VADER_ABOVE = 0.3, 0.05
"""Size of a score from which it rises or falls: chosen on the earlier months; VADER's by its own documents."""
_PEER = """
import json, sys, time
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
made, texts = SentimentIntensityAnalyzer(), json.load(sys.stdin)
begun = time.process_time()
found = [made.polarity_scores(text)["compound"] for text in texts]
json.dump({"scores": found, "rate": len(texts) / (time.process_time() - begun)}, sys.stdout)
"""


class Labelled(NamedTuple):
    """A headline, and what was read in it."""

    text: str
    year: int
    source: float
    """Score by the source's own model."""
    first: int
    second: int


def labelled(path: Path) -> list[Labelled]:
    """The headlines of a file that have labels, first of equal ones alone."""
    with LABELS.open() as lines:
        labels = {row["sha256"]: (int(row["first"]), int(row["second"])) for row in csv.DictReader(lines)}
    found = {}
    for row in pq.read_table(path).to_pylist():
        key = hashlib.sha256(row["text"].encode()).hexdigest()
        if key in labels and key not in found:
            found[key] = Labelled(row["text"], row["timestamp"].year, row["sentiment"], *labels[key])
    return list(found.values())


def kappa(first: Sequence[int], second: Sequence[int]) -> float:
    """Agreement beyond chance (Cohen 1960)."""
    n = len(first)
    same = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(first.count(c) / n * second.count(c) / n for c in (-1, 0, 1))
    return (same - chance) / (1.0 - chance)


def macro_f1(said: Sequence[int], found: Sequence[int]) -> float:
    """Mean over falling, neither and rising of 2 tp / (2 tp + fp + fn)."""
    return sum(
        2 * sum(a == b == c for a, b in zip(said, found, strict=True)) / max(1, said.count(c) + found.count(c)) / 3
        for c in (-1, 0, 1)
    )


def sides(scores: Sequence[float], above: float) -> list[int]:
    """Scores as falling, neither, rising."""
    return [(value > above) - (value < -above) for value in scores]


def vader(python: str, texts: Sequence[str]) -> dict[str, list[float]]:
    """What vaderSentiment says, in an environment of its own."""
    done = subprocess.run([python, "-c", _PEER], input=json.dumps(texts), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{python} cannot ask vaderSentiment, which `make peers` installs: {done.stderr.strip()[-200:]}"
        )
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--peers", metavar="PYTHON", help="interpreter of `make peers`, for VADER (default: left out)")
    given = asked.parse_args()
    rows = labelled(Path(os.environ.get("QFRAME_DATA", "data")) / "alt" / "bitcoin_headlines.parquet")
    first, second = [row.first for row in rows], [row.second for row in rows]
    print(f"{len(rows)} headlines, agreement of the two passes: kappa {kappa(first, second):.3f}")
    for name, years in (("2021-2022", (2021, 2022)), ("2023, held out", (2023,))):
        part = [row for row in rows if row.year in years]
        found = {"lexicon": sides([score(row.text) for row in part], ABOVE)}
        if given.peers:
            found["VADER"] = sides(vader(given.peers, [row.text for row in part])["scores"], VADER_ABOVE)
        found["source"] = sides([row.source for row in part], ABOVE)
        for who, said in found.items():
            by_first, by_second = (macro_f1([row[k] for row in part], said) for k in (3, 4))
            print(f"{name:15} {len(part)}  {who:8} macro-F1 {by_first:.3f} by the first pass, {by_second:.3f} second")
    texts = [row.text for row in rows] * 20
    begun = time.process_time()
    for text in texts:
        score(text)
    print(f"{len(texts) / (time.process_time() - begun):,.0f} texts a second, one thread")


if __name__ == "__main__":
    main()
