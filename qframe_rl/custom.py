"""Rewards, action schemes and features of a user's own, known by name and digest, and modules that he trusts.

Whoever makes an environment hands them over, as objects or by path (``my_rewards:growth``); a configuration, and a
checkpoint, keep their name and the digest of their code, as ``my_rewards:growth@0123456789abcdef``. Nothing is ever
imported by such a name: where it is met, what was handed over before is taken, if its code is still the same.

A strategy or market of the user's own is a module. A checkpoint that names one is refused unless he named it as well.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qframe_rl.config import UserError, listed
from qframe_rl.digests import digest

_PATH = re.compile(r"(?!column:)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_IDENTITY = re.compile(rf"({_PATH.pattern})@([0-9a-f]{{16}})")
_known: dict[str, dict[str, Callable[..., Any]]] = {}
"""What was handed over, by name without its module and by digest."""
_trusted: set[str] = set()
"""Modules that checkpoints may name."""


def hand_over(thing: Callable[..., Any]) -> str:
    """Make a function or class known; return its name with its digest.

    Raises
    ------
    UserError
        For an object of a class, a method of one, or anything else that is neither a function nor a class.
    """
    if not isinstance(thing, types.FunctionType | type) and not hasattr(thing, "py_func"):
        raise UserError(
            f"{thing!r} is neither a function nor a class; hand over the class, with its parameters beside."
        )
    name, found = thing.__qualname__.replace("<locals>.", "").replace("<lambda>", "unnamed"), digest(thing)
    _known.setdefault(name, {})[found] = thing
    return f"{thing.__module__}:{name}@{found}"


def everything() -> dict[str, dict[str, Callable[..., Any]]]:
    """All that was handed over, for `adopt` in another process."""
    return {name: dict(found) for name, found in _known.items()}


def adopt(known: Mapping[str, Mapping[str, Callable[..., Any]]]) -> None:
    """Take over what was handed over elsewhere."""
    for name, found in known.items():
        _known.setdefault(name, {}).update(found)


def by_path(path: str) -> str:
    """Import what a path such as ``my_rewards:growth`` names and hand it over; return its name with its digest.

    Raises
    ------
    UserError
        If there is no such module, or nothing of that name in it.
    """
    module, _, name = path.partition(":")
    if not _PATH.fullmatch(path):
        raise UserError(f"{path!r} is not MODULE:NAME, such as my_rewards:growth.")
    thing: Any = _found(module, path)
    for part in name.split("."):
        if not hasattr(thing, part):
            raise UserError(f"{path}: {module} has no {name!r}.")
        thing = getattr(thing, part)
    if not callable(thing):
        raise UserError(f"{path}: that is no function and no class.")
    return hand_over(thing)


def remembered(path: str) -> str:
    """Name with its digest of what was handed over and is called as a path calls it; nothing is imported.

    Raises
    ------
    UserError
        If nothing was, or several things of that name.
    """
    name = path.partition(":")[2]
    if len(same := _known.get(name, {})) != 1:
        raise UserError(
            f"{path} is the user's own and is not imported; hand it over by qframe_rl.custom.hand_over({name}), or by "
            f"its path where the command has an option for that."
        )
    return f"{path}@{next(iter(same))}"


def trust(module: str) -> str:
    """Import a module of a strategy or market of the user's own, and let checkpoints name it from now on.

    Parameters
    ----------
    module
        Its dotted path, such as ``strategies.my_idea``.

    Raises
    ------
    UserError
        If there is none.
    """
    if not _MODULE.fullmatch(module):
        raise UserError(f"{module!r} is not the dotted path of a module, such as strategies.my_idea.")
    _found(module, module)
    _trusted.add(module)
    return module


def is_trusted(module: str) -> bool:
    """Whether the user named a module as one that checkpoints may name."""
    return module in _trusted


def imported(module: str, refusal: str) -> types.ModuleType:
    """Import a module; raises UserError with ``refusal`` if it is not there, and not if one is not that it imports."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UserError(refusal) from None


def _found(module: str, asked: str) -> types.ModuleType:
    _look_here()
    return imported(module, f"{asked}: no module {module!r}; is it in this folder, or on PYTHONPATH?")


def _look_here() -> None:
    """Let modules of the working folder be imported, as ``python -m`` does."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def is_custom(name: str) -> bool:
    """Whether a name is that of something that was handed over, digest included."""
    return _IDENTITY.fullmatch(name) is not None


def handed_over(name: str, what: str) -> Callable[..., Any]:
    """What was handed over under a name.

    Parameters
    ----------
    name
        With its digest.
    what
        ``reward``, ``actions`` or ``feature``, for a refusal.

    Raises
    ------
    UserError
        If nothing was, or something whose code is another.
    """
    match = _IDENTITY.fullmatch(name)
    assert match is not None
    path, wanted = match.groups()
    same = _known.get(path.partition(":")[2], {})
    if wanted in same:
        return same[wanted]
    mend = f"--{what} {path}, or qframe_rl.custom.hand_over({path.partition(':')[2]})"
    if same:
        raise UserError(
            f"{what} {path} has another digest ({', '.join(same)}) than the one that is asked for ({wanted}): its code "
            f"was edited since; hand over the one of then by {mend}."
        )
    raise UserError(f"{what} {path} (digest {wanted}) is the user's own and is not imported; hand it over by {mend}.")


def made_own(thing: Callable[..., Any], params: Mapping[str, Any], what: str) -> Callable[..., Any]:
    """A function with its parameters, or an object of a class made with them.

    Raises
    ------
    UserError
        If it does not take them.
    """
    try:
        if isinstance(thing, type):
            return thing(**params)  # type: ignore[no-any-return]
        inspect.signature(thing).bind_partial(**params)
    except TypeError as error:
        raise UserError(f"{what} {thing.__qualname__}: {error}.") from None
    return partial(thing, **params) if params else thing


def in_params(params: Mapping[str, Any], named: Callable[[str], str] = by_path) -> dict[str, Any]:
    """Parameters of a market with names in place of objects and paths, which are handed over.

    Parameters
    ----------
    params
        ``reward`` and ``actions`` may be a function, a class, a path, or a table with one of these as ``name``;
        ``features`` may have functions and paths among their names.
    named
        What gives a path its name: `by_path` imports it, so for what comes out of a file take `remembered`.
    """
    found = dict(params)
    for key in ("reward", "actions"):
        if key in found:
            found[key] = _named(found[key], named)
    given = found.get("features", ())
    if isinstance(given, str):
        given = listed(given)
    if isinstance(given, list | tuple):
        names = [one if isinstance(one, str) and not _is_module(one) else _named(one, named) for one in given]
        if names != list(given):  # else it stays as it was written: trials are known by that
            found["features"] = names
    return found


def _named(given: Any, named: Callable[[str], str]) -> Any:
    if isinstance(given, Mapping) and "name" in given:
        return {**given, "name": _named(given["name"], named)}
    if isinstance(given, str):
        return named(given) if _PATH.fullmatch(given) else given
    return hand_over(given) if callable(given) else given


def _is_module(text: str) -> bool:
    """Whether a feature's name may be a path: what stands before the colon is a module, and no number after it.

    What stands behind ``alpha:`` is a formula.
    """
    module, _, name = text.partition(":")
    if not _PATH.fullmatch(text) or name.isdigit() or module == "alpha":
        return False
    _look_here()
    return importlib.util.find_spec(module.partition(".")[0]) is not None
