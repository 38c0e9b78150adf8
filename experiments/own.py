"""Options by which a user hands over what is his own: rewards, action schemes, features, strategies, markets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from qframe_rl.config import UserError
from qframe_rl.custom import by_path, trust


def add_own(made: argparse.ArgumentParser, path: str = "own") -> None:
    """Add the options by which a reward, action scheme, feature or strategy of the user's own is handed over.

    Parameters
    ----------
    made
        Gets them.
    path
        Where reward and actions stand in the settings; what is not the user's own stands there by ``--set``.
    """
    group = made.add_argument_group("a reward, action scheme, feature or strategy of your own")
    for what in ("reward", "actions"):
        group.add_argument(
            f"--{what}", dest=f"{path}.{what}", type=_handed_over, metavar="MODULE:NAME",
            help=f"function or class of your own, such as my_module:my_{what}; a checkpoint that was made with one "
            "knows its name and digest alone (default: none)",
        )  # fmt: skip
    if path == "own":
        group.add_argument(
            "--feature", dest="own.features", type=_handed_over, action="append", default=[],
            metavar="MODULE:NAME", help="the same, of a feature (repeatable; default: none)",
        )  # fmt: skip
        group.add_argument(
            "--trust", dest="own.modules", type=_trusted, action="append", default=[], metavar="MODULE",
            help="module of a strategy or market of your own that a checkpoint names, such as strategies.my_idea:\n"
            "it is imported, as it is now (repeatable; default: none)",
        )  # fmt: skip


def own_options(given: Mapping[str, Any]) -> list[str]:
    """Options that hand to another process what `add_own` had handed over to this one."""
    names = {"--reward": [given.get("own.reward")], "--actions": [given.get("own.actions")]}
    names |= {"--feature": given.get("own.features", []), "--trust": given.get("own.modules", [])}
    return [part for option, own in names.items() for name in own if name for part in (option, name.partition("@")[0])]


def _handed_over(path: str) -> str:
    """Type of an option that names a function or class of the user's own."""
    try:
        return by_path(path)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _trusted(module: str) -> str:
    """Type of an option that names a module that checkpoints may name."""
    try:
        return trust(module)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
