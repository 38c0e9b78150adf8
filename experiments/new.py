"""Begin a strategy or a market of your own: ``python -m experiments.new --help``."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Literal

from experiments.cli import Parser, called, console, door
from qframe_rl import catalog
from qframe_rl.config import UserError

TEMPLATES = Path(__file__).resolve().parent / "templates"
Kind = Literal["agent", "env"]
ELSEWHERE = {"agent": "strategies", "env": "markets"}
"""Folders outside of a checkout, where a file is named by its dotted path."""


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "new",
        "Write the file of a strategy or of a market that already works, to begin from. In a checkout it joins the\n"
        "catalogue and its contract tests; elsewhere it is named by its dotted path.",
        ["agent my_idea", "env my_market"],
    )
    made.add_argument("kind", choices=("agent", "env"), help="a strategy, or a market of bars")
    made.add_argument("name", metavar="NAME", help="its name: small letters, digits and _")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Write the file."""
    given = vars(parser().parse_args(argv))
    path, spelled = written(given["kind"], given["name"], Path.cwd())
    out = console(to_stderr=given["json"])
    out.print(f"written  {path}", highlight=False, soft_wrap=True)
    option = "--agents" if given["kind"] == "agent" else "--env"
    out.print(f"try it   {called('train', option, spelled)}", highlight=False, soft_wrap=True)
    return {"file": str(path), "name": spelled} if given["json"] else None


def written(kind: Kind, name: str, here: Path) -> tuple[Path, str]:
    """Write a file from its template; return its path and how the command line names it.

    Raises
    ------
    UserError
        For a name that no module can have, that the catalogue knows already, whose class the file imports, or a file
        that is there.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None or keyword.iskeyword(name):
        raise UserError(f"{name!r} cannot be the name of a module: begin with a letter, go on with a-z, 0-9 and _.")
    catalogue: catalog.Kind = "agents" if kind == "agent" else "envs"
    if name in catalog.names(catalogue):
        raise UserError(
            f"there is {'an agent' if kind == 'agent' else 'a market'} {name!r} already; choose another name."
        )
    own = (here / "pyproject.toml").is_file() and (here / catalogue / "__init__.py").is_file()
    folder = here / (catalogue if own else ELSEWHERE[kind])
    path = folder / f"{name}.py"
    if path.exists():
        raise UserError(f"{path} is there already; choose another name.")
    source = (TEMPLATES / f"{kind}.py.txt").read_text(encoding="utf-8")
    made = "".join(part.capitalize() for part in name.split("_"))
    if keyword.iskeyword(made) or re.search(rf"^(?:from .*import .*\b|class ){made}\b", source, re.MULTILINE):
        raise UserError(f"{name!r}: {made}, the name of its class, has a meaning already; choose another name.")
    title = name.replace("_", " ").capitalize()
    folder.mkdir(exist_ok=True)
    path.write_text(Template(source).substitute(name=name, Title=title, Class=made), encoding="utf-8")
    return path, name if own else f"{folder.name}.{name}"


if __name__ == "__main__":
    sys.exit(door(main))
