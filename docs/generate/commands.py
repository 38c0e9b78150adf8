"""The page of every command with its options, made from the parsers themselves."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from unittest.mock import patch

from experiments.command import DOORS

MADE_HERE = {"completion": "`qframe completion bash`, `zsh` or `tcsh` prints what that shell needs."}


def pages() -> dict[str, tuple[str, str]]:
    """Path of the page to its title and text."""
    lines = [
        "# Commands",
        "All options of all commands, in the order of their help. [The command line](../cli.md) explains settings, "
        "formats of data and the JSON that `--json` prints.",
    ]
    for title, doors in DOORS.items():
        lines.append(f"*{title}*: " + ", ".join(f"[`{name}`](#{name})" for name in doors))
    for doors in DOORS.values():
        for name in doors:
            lines += [f"## `qframe {name}` {{ #{name} }}", MADE_HERE.get(name) or _of(name)]
    return {"reference/commands.md": ("Commands", "\n\n".join(lines) + "\n")}


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command, as one who calls ``qframe`` has it."""
    with patch.object(sys, "argv", ["qframe"]):
        made: argparse.ArgumentParser = importlib.import_module(f"experiments.{name}").parser()
        made.format_help()  # puts what matters most first
    return made


def _of(name: str) -> str:
    parser = parser_of(name)
    lines = [" ".join((parser.description or "").split())]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        actions = [action for action in actions if not isinstance(action, argparse._HelpAction)]
        if not actions:
            continue
        rows = [f"| {_name(action)} | {_text(action)} |" for action in actions]
        lines += [f"**{group.title}**", "\n".join(["| option | what it does |\n|---|---|", *rows])]
    example = (parser.epilog or "").partition("examples:\n")[2]
    shown = [line.strip() for line in example.splitlines() if line.strip().startswith("qframe")]
    if shown:
        lines += ["**examples**", "```\n" + "\n".join(shown) + "\n```"]
    return "\n\n".join(lines)


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return f"`{action.option_strings[-1]}{value}`"


def _text(action: argparse.Action) -> str:
    text = " ".join((action.help or "").split()).replace("%%", "%").replace("|", "\\|")
    # What stands in capitals is a placeholder, and < would begin a tag.
    return re.sub(r"[<>*_]", lambda found: "\\" + found.group(), text)
