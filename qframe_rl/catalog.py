"""The file system is the registry: a file in ``agents/`` or ``envs/`` is a strategy or a market by its name.

The library has baselines of its own, by which it measures: they are strategies like any other, and always there.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from qframe_rl.config import UserError, nearest
from qframe_rl.custom import imported

Kind = Literal["agents", "envs"]
_ROOT = Path(__file__).resolve().parent.parent


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """Names in a catalogue, sorted."""
    return tuple(sorted({*_files(kind), *(baselines() if kind == "agents" else ())}))


@cache
def baselines() -> tuple[str, ...]:
    """Names of the strategies that belong to the library, sorted."""
    return _files("qframe_rl/baselines")


def _files(folder: str) -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in (_ROOT / folder).glob("*.py") if not p.stem.startswith("_")))


def module_of(kind: Kind, name: str) -> str:
    """Full name of the module of a strategy or market."""
    if "." in name:
        return name
    return f"qframe_rl.baselines.{name}" if kind == "agents" and name in baselines() else f"{kind}.{name}"


_OTHER_KINDS = {"BookConfig": "an order book", "ProblemConfig": "a problem", "GameConfig": "a market of many agents"}
"""What environments without bars are, by the kind of their ``Config``."""


def load(kind: Kind, name: str) -> Any:
    """Import a strategy or a market.

    Parameters
    ----------
    kind
        The catalogue.
    name
        A name of it, or a dotted module path from elsewhere, which is imported as it stands.

    Raises
    ------
    UserError
        If there is none of that name or two, if it lacks ``Config`` or ``make``, or if another package's ``agents`` or
        ``envs`` stands in front of ours.
    """
    if "." in name:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"{kind[:-1]} {name!r} is not in the catalogue, nor a module path such as my.module.")
        refusal = f"no module {name!r} for the {kind[:-1]}; is its package on PYTHONPATH?"
        return _complete(imported(name, refusal), name)
    if name not in names(kind):
        raise UserError(f"unknown {kind[:-1]} {name!r}{nearest(name, names(kind))}")
    module = module_of(kind, name)
    if module.startswith(f"{kind}."):
        _refuse_foreign(kind)
    elif (_ROOT / kind / f"{name}.py").exists():
        raise UserError(f"{kind}/{name}.py has the name of a strategy of the library; give it another one.")
    return _complete(importlib.import_module(module), name)


def env_id(name: str) -> str:
    """Gymnasium id of a market: ``QFrame/`` + its name in capitals + ``-v`` + the ``VERSION`` its file states, or 0."""
    text = (_ROOT / "envs" / f"{name}.py").read_text(encoding="utf-8")
    version = re.search(r"^VERSION = (\d+)$", text, re.MULTILINE)
    title = "".join(part.capitalize() for part in name.split("_"))
    return f"QFrame/{title}-v{version.group(1) if version else 0}"


def problems() -> tuple[str, ...]:
    """Names of the environments that have no bars but a known optimum.

    Read from the text of their files, so that a help text can list them without importing any.
    """
    return _configured_by("ProblemConfig")


def order_books() -> tuple[str, ...]:
    """Names of the environments on recorded order books."""
    return _configured_by("BookConfig")


def games() -> tuple[str, ...]:
    """Names of the markets of many agents, of which Gymnasium knows none: `qframe_rl.arena` has their doors."""
    return _configured_by("GameConfig")


def bar_markets() -> tuple[str, ...]:
    """Names of the markets of bars: the rest of ``envs/``."""
    return tuple(name for name in names("envs") if name not in (*problems(), *order_books(), *games()))


def load_bar_market(name: str) -> Any:
    """Import a market of bars, as `load` does.

    Raises
    ------
    UserError
        As `load`, and for an environment of another kind.
    """
    module = load("envs", name)
    for base in module.Config.__mro__:
        if base.__name__ in _OTHER_KINDS:
            kind, known = _OTHER_KINDS[base.__name__], ", ".join(bar_markets())
            raise UserError(f"env {name!r} is {kind}, which has no bars; take one of {known}.")
    return module


def _configured_by(kind: str) -> tuple[str, ...]:
    texts = {name: (_ROOT / "envs" / f"{name}.py").read_text(encoding="utf-8") for name in names("envs")}
    wanted = re.compile(rf"^class Config\((?:\w+, )*{kind}\):", re.MULTILINE)
    return tuple(name for name, text in texts.items() if wanted.search(text))


def quoters() -> tuple[str, ...]:
    """Names of the strategies that quote in order books and trade no bars."""
    return tuple(
        name
        for name in _files("agents")
        if "spec: BookSpec)" in (_ROOT / "agents" / f"{name}.py").read_text(encoding="utf-8")
    )


def bar_agents() -> tuple[str, ...]:
    """Names of the strategies that trade bars."""
    return tuple(name for name in names("agents") if name not in quoters())


def market_for(kind: str) -> str:
    """Name of the market that ``auto`` means for instruments of a kind: the one whose file says so with ``AUTO``.

    Raises
    ------
    UserError
        If none does.
    """
    for name in names("envs"):
        if f'AUTO = "{kind}"\n' in (_ROOT / "envs" / f"{name}.py").read_text(encoding="utf-8"):
            return name
    raise UserError(f"no market of the catalogue is meant for instruments of kind {kind}; name one with --env.")


def _refuse_foreign(kind: Kind) -> None:
    """Refuse a package of the same name that stands in front of ours, such as one in the current folder."""
    found = importlib.import_module(kind)
    places = [Path(place).resolve() for place in getattr(found, "__path__", None) or [str(found.__file__)]]
    if _ROOT / kind not in places:
        raise UserError(
            f"the package {kind!r} at {places[0]} is not QFrame RL's and stands in front of it; "
            "begin from another folder, rename that one, or use the command qframe."
        )


def _complete(module: ModuleType, name: str) -> ModuleType:
    missing = [part for part in ("Config", "make") if not hasattr(module, part)]
    if missing:
        raise UserError(f"{name!r} has no {' and no '.join(missing)}; see CONTRIBUTING.md for what a file needs.")
    return module
