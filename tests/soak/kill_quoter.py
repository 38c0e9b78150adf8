"""Kill a session whose quotes go to an exchange, at random instants: no order is lost or doubled.

``python -m tests.soak.kill_quoter --kills 30 --faults orders``: the session quotes on the rehearsal exchange over the
genuine client, is killed and started again on the same journal. At last the exchange has those orders that the journal
calls accepted, each once, and no others; none rests; cash and lots are those of the journal, and a replay of it comes
to the same.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import read
from qframe_rl.rehearsal.faults import script_of
from tests.live.quoting_exchange import again, exchange, has, once, traded
from tests.soak.children import Child, outlived

_LAST = 12
"""Parts of the tape that the last process lives through."""
_ORDERS = 5
"""Orders that a process sends before it is worth a kill."""
_LOOK_S = 0.05
"""How often is looked for them, seconds: with every look the exchange and the session have less of the machine."""


def served(seconds: float, faults: str, seed: int) -> None:
    """Serve the exchange for ever; its address is the first line of stdout."""
    with exchange(round(seconds / 0.0015), seed, faults=script_of(faults)) as running:
        print(running.url, flush=True)
        signal.pause()


def soak(folder: Path, kills: int, faults: str, seed: int) -> dict[str, Any]:
    """Run it.

    Parameters
    ----------
    folder
        For the journal and the tape.
    kills
        How many.
    faults
        What goes wrong at the exchange, as in ``qframe rehearse --faults``; empty = nothing.
    seed
        Of the instants.

    Returns
    -------
    dict
        What there was.
    """
    out = folder / "session"
    journal = out / "journal.db"
    code = f"from tests.soak.kill_quoter import served; served({120.0 + 60.0 * kills}, {faults!r}, {seed})"
    market = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert market.stdout is not None
    try:
        url = market.stdout.readline().decode().strip()
        done, starts = outlived(
            "tests.soak.kill_quoter",
            lambda last: ["--child", str(out), "--url", url, "--last", str(_LAST if last else 10**9)],
            journal, folder / "said.txt", kills, random.Random(seed), 3.0,
            lambda child, before: _quotes(journal, child, before),
        )  # fmt: skip
        found = once(out, url)
        del found["has"]
        replayed = again(out)
        assert replayed.fills == found["fills"], "a replay comes to something else"
        return found | {"kills": done, "starts": starts, "decisions": replayed.decisions}
    finally:
        market.kill()
        market.wait()
        market.stdout.close()


def _quotes(journal: Path, child: Child, before: int) -> bool:
    """Whether a process has sent so many orders, beyond what was there when it began."""
    time.sleep(_LOOK_S)
    if not journal.exists() or writer_of(journal) != child.pid:
        return False
    with Peek(journal) as peek:
        sent = peek.rows("SELECT seq FROM events WHERE seq > ? AND kind = 'intent'", (before,), _ORDERS)
    return len(sent) == _ORDERS


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--faults", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--last", type=int)
    given = parser.parse_args()
    if given.child is not None:
        path = given.child / "journal.db"
        before = sum(e.kind == "lived" for e in read(path)) if path.exists() else 0
        traded(given.url, given.child, lambda: has(given.child, "lived", before + given.last))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), given.kills, given.faults, given.seed)
    print(" ".join(f"{name}={value}" for name, value in found.items()), "exactly once")


if __name__ == "__main__":
    main()
