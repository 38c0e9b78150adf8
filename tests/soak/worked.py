"""How long until a session whose orders are worked has obeyed, told in the midst of a parent.

``python -m tests.soak.worked`` runs a session on the rehearsal exchange, whose strategy buys at every fourth bar what
is worked in between. Once part of a parent has filled (and the next child rests, where it rests) it is told one
word after the other: seconds until the state is on record, nothing rests and, after a flatten, all is flat. Then two
more bars have to pass without a child.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from qframe_rl.agent import Memoryless, View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.execution import Worked, plan_of
from qframe_rl.types import HOUR, Orders
from tests.soak.switch import Running, running, trained

LIMIT_S = 2.0


class Buys(Memoryless):
    """Buys eight of everything."""

    window = 2

    def decide(self, view: View) -> Orders:
        return Orders.market(np.full(len(view.account.position), 8.0))


def ordered(session: Running) -> int:
    """Orders that ever went out."""
    return len(session.own()["orders"]["usdm"])


def told(session: Running, word: str, way: str) -> float:
    """Seconds to obey a word in the midst of a parent, after which nothing of it goes out."""
    n = ordered(session)
    session.until(lambda: ordered(session) > n and (way != "passive" or session.rests() > 0), 150.0, "a child")
    took = session.obeyed(word)
    n, bars = ordered(session), session.bars()
    session.until(lambda: session.bars() >= bars + 2, 60.0, "two bars")
    if ordered(session) != n:
        raise AssertionError(f"{way}, {word}: a child went out after it")
    session.resumed()
    return took


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", default="flatten,SIGUSR2,HALT,halt")
    parser.add_argument("--ways", default="twap:4h,passive")
    given = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as text:
        place = trained(Path(text))
        for n, way in enumerate(given.ways.split(",")):
            instruments = load_checkpoint(place).instruments
            agent = Worked(Buys(), plan_of(way), instruments, 4 * HOUR, HOUR, 2)
            with running(place, Path(text) / str(n), agent=agent) as session:
                for word in given.words.split(","):
                    took = told(session, word, way)
                    worst = max(worst, took)
                    print(f"{way:8} {word:8} {took:.2f} s, {ordered(session)} orders", flush=True)
    print(f"longest {worst:.2f} s")
    if worst > LIMIT_S:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
