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
from pathlib import Path
from typing import Any

from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import read, verify
from qframe_rl.rehearsal.faults import script_of
from tests.live.quoting_exchange import again, exchange, has, once, traded
from tests.soak.children import Child, killed, started

_LAST = 12
"""Parts of the tape that the last process lives through."""


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
    rng, done, starts = random.Random(seed), 0, 0
    out, said, last = folder / "session", folder / "said.txt", 0
    journal = out / "journal.db"
    code = f"from tests.soak.kill_quoter import served; served({120.0 + 60.0 * kills}, {faults!r}, {seed})"
    market = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert market.stdout is not None
    try:
        url = market.stdout.readline().decode().strip()
        while True:
            starts += 1
            parts = _LAST if done >= kills else 10**9
            child = started("tests.soak.kill_quoter", ["--child", str(out), "--url", url, "--last", str(parts)], said)
            if done < kills:
                ended = killed(
                    child, lambda child=child, last=last: _quotes(journal, child, last), rng, 3.0, lambda: None
                )
            else:
                ended = child.wait() is not None
            if ended and child.returncode != 0:
                raise SystemExit(f"the session ended with {child.returncode}: {said.read_text()[-3000:]}")
            done += not ended
            if journal.exists():
                head = verify(journal)
                assert head.seq >= last, f"events were lost: {head.seq} after {last}"
                last = head.seq
            if ended:
                break
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
    """Whether a process writes, beyond what was there when it began."""
    return journal.exists() and writer_of(journal) == child.pid and verify(journal).seq > before + 3


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
