"""The cases of one kind in this process, a line of JSON each: ``python -m tests.fuzz.run KIND SEED FIRST COUNT``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import NamedTuple

from qframe_rl import catalog
from qframe_rl.config import Unavailable, UserError
from tests.fuzz.guard import Hung, Watch, limit_memory, limit_time, plant
from tests.fuzz.subjects import KINDS, ROOT

_SENTENCE = 2_000
"""Most characters of a refusal."""


class Outcome(NamedTuple):
    """What came of a case."""

    kind: str
    case: int
    what: str
    """``opened``, ``refused``, or what must not be."""
    said: str


def one(kind: str, seed: int, case: int, keep: Path | None = None, watch: Watch | None = None) -> Outcome:
    """Spoil a file and open it; an empty folder of its own is the working folder."""
    rng = Random(f"{kind} {seed} {case}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made, contextlib.chdir(made):
        folder = Path(made)
        usual = sys.getrecursionlimit()
        sys.setrecursionlimit(50_000)  # what lies deep is to be written
        KINDS[kind].spoil(folder, rng)
        sys.setrecursionlimit(usual)
        if keep is not None:
            os.system(f"cp -r {folder}/. {keep}")
        what, said = _opened(kind, folder, watch)
    return Outcome(kind, case, what, said)


def _opened(kind: str, folder: Path, watch: Watch | None) -> tuple[str, str]:
    if watch is not None:
        watch.seen.clear()
        watch.on = True
    try:
        with limit_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            KINDS[kind].open(folder)
        what, said = "opened", ""
    except (UserError, Unavailable) as error:
        what, said = "refused", str(error)
        if "\n" in said or len(said) > _SENTENCE or not said.strip():
            what = "no sentence"
    except OSError as error:  # a door says it with the name of the file
        what, said = ("refused", str(error)) if error.filename is not None else ("traceback", traceback.format_exc())
    except Hung:
        what, said = "hung", traceback.format_exc()
    except MemoryError:
        what, said = "memory", traceback.format_exc()
    except BaseException:
        what, said = "traceback", traceback.format_exc()
    finally:
        if watch is not None:
            watch.on = False
    if watch is not None and watch.seen:
        return "ran code", "; ".join(watch.seen)
    return what, said


def main() -> None:
    """Read the command line."""
    kind, seed, first, count = sys.argv[1], *map(int, sys.argv[2:5])
    os.environ["QFRAME_DATA"] = "data"
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stderr(sys.stderr):
        plant(Path(place))
        watch = Watch()
        watch.named = kind == "toml"
        # What is imported and compiled for any file is no cost of a spoiled one.
        with tempfile.TemporaryDirectory() as sound, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for catalogue in ("agents", "envs"):
                for name in catalog.names(catalogue):
                    catalog.load(catalogue, name)
            KINDS[kind].warm(Path(sound))
        for case in range(10):
            one(kind, -1, case)
        limit_memory()
        for case in range(first, first + count):
            outcome = one(kind, seed, case, watch=watch)
            print(json.dumps(outcome), flush=True)
            if outcome.what in ("hung", "memory"):
                break  # whoever began this process begins another


if __name__ == "__main__":
    main()
