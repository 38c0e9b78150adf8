"""Breaks one rule at a time, and looks whether a test notices: ``python -m tests.mutants``.

Each mutant is one replacement in a copy of the tree; the tests named beside it run against that. One that all of them
let pass survives: it is a rule that no test pins, or a change that changes nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

# Not used here: a child of this process need not import them again.
import ccxt
import numba
import numpy
import pytest

HEAVY = (ccxt, numba, numpy)

ROOT = Path(__file__).parents[1]
VENUES = "tests/venues/test_rules.py"
SLOTS = "tests/venues/test_slots.py"
ANSWERS = "tests/venues/test_answers.py"
ENGINE = "tests/risk/test_engine.py"
LOCKS = "tests/oracle/test_locks.py"
PROTECTIONS = "tests/risk/test_protections.py"
JOURNAL = "tests/journal"
FEED = "tests/feeds/test_ccxt.py"
STREAM = "tests/feeds/test_stream.py"
BOOK = "tests/venues/test_book.py"
UNIVERSE = "tests/feeds/test_universe.py"
MEMBERS = "tests/test_members.py"
WORKED = "tests/execution"
FINER = "tests/test_finer.py"
INSIDE = "tests/oracle/test_inside.py"
JOINED = "tests/feeds/test_finer.py"
REFITS = "tests/live/test_refits.py"
CONTINUING = "tests/runner/test_continuing.py"


class Mutant(NamedTuple):
    """One broken rule."""

    file: str
    """Below ``qframe_rl``."""
    old: str
    """A text that is there once."""
    new: str
    tests: str


MUTANTS = (
    # Orders that are worked.
    Mutant("execution/children.py", "np.ceil(gone - slack(gone))", "np.floor(gone + slack(gone))", WORKED),
    Mutant("execution/children.py", "fills.forced[a] or filled * asked < 0.0 or", "fills.forced[a] or", WORKED),
    Mutant("execution/children.py", "(lots == 0.0) != (abs(out)", "False and (abs(out)", WORKED),
    Mutant("execution/children.py", "if lots and lots < parent.left and", "if False and", WORKED),
    Mutant(
        "execution/children.py",
        "down(price, step, scale) if side > 0.0",
        "up(price, step, scale) if side > 0.0",
        WORKED,
    ),
    Mutant("execution/worked.py", "last - self._window), last)", "last - self._window), last + 1)", WORKED),
    Mutant("execution/worked.py", "if number <= self._asked:", "if False:", WORKED),
    Mutant("execution/worked.py", "own[n].copy() for n in", "0.0 * own[n] for n in", WORKED),
    # Finer bars: nearness, gaps, stops that follow, liquidations, and what adds up.
    Mutant("kernel/finer.py", " | (live & trails))", ")", FINER),
    Mutant("kernel/finer.py", "v[lanes.OPEN + k] if passed else stop,", "stop,", FINER),
    Mutant("kernel/finer_reach.py", "            follow(v, k, j, orders)", "            pass", FINER),
    # What is left out of the way through finer bars.
    Mutant("kernel/finer_reach.py", "whole and left > 1e-9 * size", "whole", FINER),
    Mutant("kernel/finer_reach.py", "(1.0 - trail) * 1.000002", "0.5", FINER),
    Mutant("kernel/finer_reach.py", "(1.0 + trail) * 0.999998", "2.0", FINER),
    Mutant("kernel/finer_reach.py", "(free or q * v", "(q * v", INSIDE),
    Mutant("kernel/finer_reach.py", "min(own[ABOVE], level * 0.999999)", "level", INSIDE),
    Mutant("kernel/finer_reach.py", "own[TOP] if traded else np.nan", "bars[end - 1, a, HIGH]", FINER),
    Mutant("kernel/finer_reach.py", "extremes[f // TOGETHER, a, 0]", "extremes[0, a, 0]", FINER),
    Mutant("kernel/finer_reach.py", "while end > f + 1 and", "while False and", INSIDE),
    Mutant("kernel/finer_rows.py", "    return bool(found)", "    return False", FINER),
    Mutant(
        "kernel/finer.py", "plan[AWAITS, j] != 0.0 and parts[PART, j] == 0.0 and", "plan[AWAITS, j] != 0.0 and", INSIDE
    ),
    Mutant("kernel/finer.py", "own[KEPT], own[N_MET] = v[lanes.HELD + k], 0.0", "own[N_MET] = 0.0", INSIDE),
    Mutant("kernel/slot_rows.py", "if short and not scratch.closer[k] and active[b]", "if False", FINER),
    Mutant("kernel/finer_rows.py", "(whole[b] and account[b, RUINED] != 0.0", "(False", FINER),
    Mutant("feeds/finer.py", "    _refuse(history, bar, wrong", "    len(bar) or (history, bar, wrong", JOINED),
    # Who is in a universe, and what can be done with who is out.
    Mutant(
        "feeds/universe.py",
        'history.time, at, side="right"',
        'history.time, at + DAY, side="right"',
        UNIVERSE,
    ),
    Mutant("feeds/universe.py", "inside &= ~noticed", "pass", UNIVERSE),
    Mutant("feeds/universe.py", "-volume[one], one", "volume[one], one", UNIVERSE),
    Mutant("kernel/blocks.py", "return odd != 0.0", "return False", MEMBERS),
    Mutant("members.py", "np.where(outside, closing, quantity)", "quantity", MEMBERS),
    Mutant("refit.py", "replace(view, first=True) if fresh else view", "view", CONTINUING),
    Mutant("refit.py", "first = stop + self.lag", "first = stop", CONTINUING),
    Mutant("runner/study/continuing.py", "self.first - self.lag + k", "self.first + k", CONTINUING),
    Mutant("live/refits.py", "if model.digest != digest:", "if False:", REFITS),
    Mutant("live/permit.py", 'paper.refit["digest"] != terms.refit["digest"]', "False", REFITS),
    # Those that an audit found alive.
    Mutant(
        "venues/order_sender.py", "abs(intent.quantity) / amount_unit", "abs(intent.quantity) * amount_unit", VENUES
    ),
    Mutant("venues/order_sender.py", 'if certain and found == ["", ""]', 'if found == ["", ""]', VENUES),
    Mutant("venues/order_sender.py", ' or order.get("clientOrderId") != name', "", VENUES),
    Mutant("venues/order_sender.py", "any(text in str(error) for text in same_again)", "False", VENUES),
    Mutant("venues/ccxt.py", "abs(quantity) <= abs(held)", "abs(quantity) <= 2.0 * abs(held)", VENUES),
    Mutant("venues/ccxt.py", "bar.time // _MS - _OVERLAP_MS", "bar.time // _MS", VENUES),
    Mutant("venues/ccxt.py", "self._now() - self._time <= self._bar_ns // 2", "True", VENUES),
    Mutant("venues/reading.py", "if again == last:", "if True:", VENUES),
    Mutant("venues/troubles.py", "> 0.5 * lots", "> 5.0 * lots", VENUES),
    Mutant("journal/ledger.py", '["hash"] == _hash(kept.state)', '["hash"] != ""', JOURNAL),
    Mutant(
        "journal/ledger.py",
        "            if self._next is not None:\n                raise RuntimeError(",
        "            if False:\n                raise RuntimeError(",
        JOURNAL,
    ),
    Mutant("journal/store.py", 'if said != "ok":', "if False:", JOURNAL),
    Mutant("risk/rows.py", "watch.sent[b, at, WHEN] <= now - HOUR", "watch.sent[b, at, WHEN] < now - HOUR", ENGINE),
    Mutant(
        "risk/rows.py",
        "if orders[a, QUANTITY] != 0.0:\n            count += 1",
        "if True:\n            count += 1",
        ENGINE,
    ),
    Mutant("risk/rows.py", "state[REJECTS] >= terms[MAX_REJECTS]", "state[REJECTS] > terms[MAX_REJECTS]", ENGINE),
    # Others over venues, risk, journal and feeds.
    Mutant("venues/order_sender.py", "and not isinstance(error, ccxt.PermissionDenied)", "", VENUES),
    Mutant(
        "venues/order_sender.py",
        "            if isinstance(error, ccxt.InvalidNonce):",
        "            if False:",
        VENUES,
    ),
    Mutant(
        "venues/order_sender.py",
        "found.append(way(name, intent))\n            if found[-1]:",
        "found.append(way(name, intent))\n            if False:",
        VENUES,
    ),
    Mutant("venues/order_sender.py", "now - ended > self.wait_s", "now - ended > 0.5 * self.wait_s", VENUES),
    Mutant("venues/order_sender.py", "(one.post is None or one.post.done) and", "", VENUES),
    Mutant("venues/order_sender.py", "goes = self._ledger.writing and valid()", "goes = self._ledger.writing", VENUES),
    Mutant("venues/order_sender.py", 'params["reduceOnly"] = True', "pass", VENUES),
    Mutant("venues/order_sender.py", 'params["stopPrice"] = intent.stop', "pass", VENUES),
    Mutant(
        "venues/order_sender.py", "        self._ledger.commit()\n        # An intent", "        # An intent", VENUES
    ),
    Mutant("venues/order_sender.py", "if option is None:", "if False:", VENUES),
    Mutant(
        "venues/timely.py",
        "            raise error from None\n    return request()",
        "            raise error from None\n    raise ccxt.InvalidNonce()",
        VENUES,
    ),
    Mutant(
        "venues/timely.py",
        "            answer(client.load_time_difference)\n        except unclear():\n            raise error",
        "            pass\n        except unclear():\n            raise error",
        VENUES,
    ),
    Mutant("feeds/answer.py", "error.__traceback__.tb_next is None", "False", ANSWERS),
    Mutant(
        "feeds/answer.py",
        "kind: type[Exception] = ccxt.BaseError",
        "kind: type[Exception] = Exception",
        ANSWERS,
    ),
    Mutant("venues/reading.py", "if not {one.symbol for one in held} <= set(symbols):", "if False:", ANSWERS),
    Mutant("venues/resting.py", "return dict(_APART) if stop and", "return {} if stop and", VENUES),
    Mutant(
        "venues/resting.py",
        "        yield dict(_APART)",
        "        yield {}",
        "tests/experiments/test_exchange_stops.py",
    ),
    Mutant("venues/resting.py", "self.quantity * held < 0.0", "self.quantity * held > 0.0", VENUES),
    Mutant("venues/resting.py", "(self.apart if order.apart else self.numbers)", "order.id or self.numbers", VENUES),
    Mutant("venues/reading.py", "self.clear(instrument.symbol, known.ours, asked)", "pass", VENUES),
    Mutant("venues/reading.py", "wallet -= size", "wallet += size", VENUES),
    Mutant("venues/reading.py", "* (one.contractSize or 1.0)", "", "tests/venues"),
    Mutant("venues/reading.py", "(days - 1) * _DAY_MS", "10**15", VENUES),
    Mutant("venues/reading.py", '"fee_base": paid if in_base else 0.0', '"fee_base": 0.0', VENUES),
    Mutant(
        "venues/ccxt.py",
        "self._send(orders, self.account.position, self._in_time, ~doubtful)",
        "self._send(orders, self.account.position, self._in_time, doubtful | True)",
        VENUES,
    ),
    Mutant(
        "venues/ccxt.py",
        "np.array([s not in closing for s in self._symbols])",
        "np.array([True for s in self._symbols])",
        VENUES,
    ),
    Mutant("venues/slot_trader.py", "for key in [key for key in opening if key[0] in bare]:", "for key in []:", SLOTS),
    Mutant("venues/slot_trader.py", "and key not in kept and key not in stops])", "and key not in kept])", SLOTS),
    Mutant("venues/slot_trader.py", "if a not in bare})", "})", SLOTS),
    Mutant("venues/slot_orders.py", "self.drop(slot, one.left)", "self.drop(slot)", SLOTS),
    Mutant("venues/slot_orders.py", "self._owners[order] = owner", "pass", SLOTS),
    Mutant("venues/ccxt.py", "for reducing in (True, False)", "for reducing in (False, True)", VENUES),
    Mutant("venues/ccxt.py", 'in ("refused", "never") for said', "in () for said", VENUES),
    Mutant("venues/counting.py", 'one["id"] in seen or', "", VENUES),
    Mutant("venues/ccxt.py", "np.where(doubtful, 0.0, self._owed)", "np.where(doubtful, 0.0, 0.0)", VENUES),
    Mutant(
        "venues/ccxt.py",
        "off = unexplained(self._instruments, expected, after) & ~doubtful",
        "off = unexplained(self._instruments, expected, after)",
        VENUES,
    ),
    Mutant("venues/ccxt.py", "self._ordered - gross", "self._ordered", VENUES),
    Mutant(
        "venues/ccxt.py",
        "            if order:\n                self._names[order] = a",
        "            if False:\n                self._names[order] = a",
        VENUES,
    ),
    Mutant("venues/sweep.py", "if self._again.due(symbol):", "if False:", VENUES),
    Mutant("venues/book.py", "levels[levels[:, PRICE] <= limit]", "levels[levels[:, PRICE] < limit]", BOOK),
    Mutant("risk/rows.py", "REDUCES if watch.state[b, STATE] == REDUCE_ONLY else 0", "0", ENGINE),
    Mutant("risk/rows.py", "abs(position)) if against else 0.0", "abs(position)) if against else quantity", ENGINE),
    Mutant("risk/rows.py", "equity <= state[PEAK] * (1.0 - terms[MAX_DRAWDOWN])", "equity <= state[PEAK]", ENGINE),
    Mutant(
        "risk/rows.py",
        "if state[STATE] == FLATTEN and not _held(holding, sizes):",
        "if state[STATE] == FLATTEN:",
        ENGINE,
    ),
    Mutant("risk/protections.py", "if guard.until[b, a, side] > clock[BARS]:", "if False:", PROTECTIONS),
    Mutant("risk/protections.py", "PAUSED)\n        _begin_tops(equity, guard, b)", "PAUSED)", PROTECTIONS),
    Mutant("risk/protections.py", "tops[k] = max(tops[k], tops[k + 1])", "pass", PROTECTIONS),
    Mutant("risk/pauses.py", "if peak >= bar", "if peak > bar", PROTECTIONS),
    Mutant("risk/slots.py", "orders[a, AFTER, j] <= 0.0 and not reduces", "not reduces", LOCKS),
    Mutant("risk/slots.py", "if not asked & (1 << side):", "if True:", LOCKS),
    Mutant("risk/slot_guard.py", "reduces(met, j) == (exits == 1)", "reduces(met, j) == (exits == 0)", LOCKS),
    Mutant("risk/rows.py", "min(terms[MAX_GROSS], most)", "max(terms[MAX_GROSS], most)", ENGINE),
    Mutant(
        "risk/engine.py", "now.late_ns > limits.stale_s * SECOND", "now.late_ns > 2 * limits.stale_s * SECOND", ENGINE
    ),
    Mutant("risk/engine.py", "abs(now.skew_ns)", "now.skew_ns", ENGINE),
    Mutant("risk/engine.py", 'elif word != "reduce" or self.state is State.ACTIVE:', "else:", ENGINE),
    Mutant("journal/store.py", "if digest != stated:", "if False:", JOURNAL),
    Mutant("journal/store.py", "if seq != last + 1:", "if False:", JOURNAL),
    Mutant("journal/inbox.py", "WHERE number > ? ORDER BY number", "WHERE number >= ? ORDER BY number", JOURNAL),
    Mutant("journal/ledger.py", "if self.writing and not came:", "if self.writing:", JOURNAL),
    Mutant("feeds/ccxt.py", "final = (close <= now) & (followed", "final = (close <= now) | (followed", FEED),
    Mutant("feeds/ccxt.py", "                self.streams.check()", "                pass", STREAM),
    Mutant("feeds/stream.py", "except unclear() as error:", "except Exception as error:", STREAM),
    Mutant("feeds/answer.py", "except OSError as error:", "except ZeroDivisionError as error:", STREAM),
    Mutant("feeds/rows.py", "low <= 0.0", "low < 0.0", FEED),
    Mutant("feeds/exchange.py", "for _ in range(2):", "for _ in range(0):", FEED),
    Mutant(
        "feeds/exchange.py",
        "return _from(self._believed((listing.symbol, MARKS if mark else timeframe), request, closed), since)",
        "return self._believed((listing.symbol, MARKS if mark else timeframe), request, closed)",
        FEED,
    ),
)


def killed(mutant: Mutant, tree: Path) -> bool:
    """Whether a test fails in a copy of the tree in which a rule is broken."""
    file = tree / "qframe_rl" / mutant.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file}: {mutant.old!r} is there {whole.count(mutant.old)} times, not once")
    file.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code = forked(tree, ["-x", "-q", "-p", "no:cacheprovider", *mutant.tests.split()])
        if code not in (0, 1):
            raise SystemExit(f"{mutant}: the tests do not run, pytest ends with {code}")
        return code == 1
    finally:
        file.write_text(whole, encoding="utf-8")


def forked(tree: Path, argv: list[str]) -> int:
    """Run pytest in a tree, in a child that has what is heavy imported already; return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 3
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.chdir(tree)
        sys.path[0] = str(tree)
        ours = [name for name in sys.modules if name.partition(".")[0] in ("qframe_rl", "tests", "agents", "envs")]
        for name in ours:
            del sys.modules[name]
        code = int(pytest.main(argv))
    finally:
        # Whatever happened, a child never goes on with what its parent was about to do.
        os._exit(code)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants of files with this in their names")
    given = parser.parse_args()
    # A mutant may be as long as what it replaces, and is written within the same second: nothing compiled may be kept.
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
    survivors = n = 0
    with tempfile.TemporaryDirectory() as text:
        tree = Path(text) / "tree"
        leave = shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs", "node_modules", ".*_cache")
        shutil.copytree(ROOT, tree, ignore=leave)
        for mutant in MUTANTS:
            if given.only in mutant.file:
                dead = killed(mutant, tree)
                n, survivors = n + 1, survivors + (not dead)
                print(f"{'killed' if dead else 'ALIVE ':6} {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(f"{n - survivors} of {n} killed")


if __name__ == "__main__":
    main()
