"""One command for every door: ``qframe train``, ``qframe paper`` and so on; ``qframe`` alone lists them."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

NAME = "qframe"
DOORS = {
    "every day": {
        "train": "train strategies, compare them, choose one and judge it once",
        "evaluate": "score checkpoints, or study strategies through time",
        "report": "one page and one PDF of runs and checkpoints",
        "download": "fetch candles and funding rates into a store",
        "docs": "read the documents in a browser",
    },
    "live": {
        "paper": "let a checkpoint trade, on paper, a testnet or an account",
        "status": "show live sessions",
        "control": "halt, flatten, reduce or resume a live session, or adopt",
        "chat": "watch and stop sessions by a messenger",
        "decisions": "receive decisions that are made elsewhere",
        "replay": "run a session again from its journal",
        "export": "write a session's fills with what they cost and earned",
        "backup": "copy journals, runs and rows as they are now, whatever runs",
        "rehearse": "serve an exchange to rehearse against",
    },
    "for others to see": {
        "serve": "an API over sessions, runs and checkpoints",
        "supervise": "keep sessions running",
        "portfolio": "capital over several sessions, and their limits",
        "worker": "do jobs that are asked for",
        "relay": "move events to a queue and a database of other hosts",
        "token": "make and delete what opens it",
    },
    "research": {
        "universe": "who may be bought when, by a rule of what was known",
        "features": "find features, or say what a formula is and draw it",
        "protections": "what each protection does to a rule, with its interval",
        "mine": "search for formulas, and judge them year by year",
        "tune": "search for the parameters of a strategy",
        "tournament": "rate agents in the seats of a market of many",
        "solve": "train agents on problems whose optimum is known",
        "collect": "write what strategies live as a Minari dataset",
    },
    "of the house": {
        "new": "begin a strategy or a market of your own",
        "benchmark": "how fast it is, beside the machine's limits and peers",
        "checkpoints": "train the agents that ship anew",
        "completion": "print what a shell needs to complete these commands",
    },
}
"""Commands by group, each with what it does."""
SHELLS = ("bash", "zsh", "tcsh")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; return its exit status."""
    from importlib.metadata import version

    from experiments.cli import door, printed
    from qframe_rl.config import nearest

    words = list(sys.argv[1:] if argv is None else argv)
    known = [name for group in DOORS.values() for name in group]
    if not words or words[0] in ("-h", "--help"):
        return printed(f"{overview()}\n")
    if words[0] == "--version":
        return printed(f"{NAME} {version('qframe-rl')}\n")
    if words[0] not in known:
        print(f"error: {NAME} {words[0]}: no such command{nearest(words[0], known)}", file=sys.stderr)
        return 2
    _see_own_modules()
    if words[0] == "completion":
        return _completion(words[1:])
    return door(importlib.import_module(f"experiments.{words[0]}").main, words[1:])


def entry() -> NoReturn:
    """Begin from the console; Ctrl-C before a door has begun, while much is imported, is said as it is later."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        sys.exit(130)


def overview() -> str:
    """What stands on the screen without a command."""
    lines = [f"usage: {NAME} COMMAND [options]; {NAME} COMMAND --help says which", ""]
    for title, doors in DOORS.items():
        lines += [f"{title}:", *(f"  {name:12} {what}" for name, what in doors.items()), ""]
    return "\n".join([*lines, f"first steps: {NAME} train --preset quick, then {NAME} paper ppo"])


def _see_own_modules() -> None:
    """Find strategies and markets of the current folder by dotted path, but no package there in place of ours."""
    importlib.import_module("agents")
    importlib.import_module("envs")
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.append(here)


def _completion(words: Sequence[str]) -> int:
    made = argparse.ArgumentParser(
        f"{NAME} completion",
        description="Print what a shell needs to complete commands and options.",
        epilog=f"for bash: {NAME} completion bash > ~/.local/share/bash-completion/completions/{NAME}",
    )
    made.add_argument("shell", choices=SHELLS, help="the shell")
    shell = made.parse_args(words).shell
    import shtab

    from experiments.cli import printed

    root = argparse.ArgumentParser(NAME)
    below = root.add_subparsers()
    for group in DOORS.values():
        for name, what in group.items():
            if name == "completion":
                below.add_parser(name, help=what).add_argument("shell", choices=SHELLS)
                continue
            parser = importlib.import_module(f"experiments.{name}").parser()
            below.add_parser(name, help=what, parents=[parser], add_help=False)
    return printed(f"{shtab.complete(root, shell)}\n")


if __name__ == "__main__":
    entry()
