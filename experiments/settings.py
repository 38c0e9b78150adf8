"""Layered settings: presets, the environment, ``--set`` and options, one over the other."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qframe_rl import catalog
from qframe_rl.config import Base, UserError, build, nearest, shortened
from qframe_rl.custom import in_params
from qframe_rl.feeds.data import DataConfig
from qframe_rl.servers import DATA_PASSWORD, POSTGRES, is_address, unlocked

PRESETS = Path(__file__).resolve().parent / "presets"
Tree = dict[str, Any]
OTHERS = (
    "QFRAME_SERVICE_", "QFRAME_ACCOUNT_", "QFRAME_STORE", "QFRAME_RELAY_", "QFRAME_CHAT_", "QFRAME_DECISIONS_KEY",
    DATA_PASSWORD,
)  # fmt: skip
"""How variables begin that are no settings: of the service and other doors, keys of accounts, and passwords."""


def settings(model: type[Base], preset: str | None, assignments: Sequence[str], options: Mapping[str, Any]) -> Tree:
    """Layer settings: preset < environment < ``--set`` < options; the model's defaults lie under all of them.

    Parameters of a strategy that the preset runs and a later layer does not are left out with it.

    Parameters
    ----------
    model
        The record that the settings are for.
    preset
        Name of a file in ``experiments/presets``, or a path to one.
    assignments
        ``KEY=VALUE`` texts of ``--set``; keys are dotted, values as in TOML or bare text.
    options
        Values of options by dotted key; None where not given.

    Raises
    ------
    UserError
        For a missing or broken preset, an unknown environment variable or a malformed assignment.
    """
    tree: Tree = {} if preset is None else read_preset(preset)
    ran, told = _names(tree), set()
    for name, text in sorted(os.environ.items()):
        if name.startswith("QFRAME_") and name != "QFRAME_DATA" and not name.startswith(OTHERS):
            keys = name.removeprefix("QFRAME_").lower().split("__")
            if keys[0] not in model.model_fields:
                raise UserError(
                    f"environment variable {name}: unknown key {keys[0]!r}{nearest(keys[0], model.model_fields)}"
                )
            told.add(tuple(keys[:2]))
            _put(tree, keys, _value(text))
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--set {text!r} is not KEY=VALUE (such as --set agent.ppo.total_steps=200000).")
        keys = _keys(key)
        if keys[0] not in model.model_fields:
            raise UserError(f"--set {text}: unknown key {keys[0]!r}{nearest(keys[0], model.model_fields)}")
        told.add(tuple(keys[:2]))
        _put(tree, keys, _value(value))
    for key, value in options.items():
        if value is not None:
            _put(tree, key.split("."), value)
    for name in ran - _names(tree):
        if ("agent", name) not in told and isinstance(tree.get("agent"), dict):
            tree["agent"].pop(name, None)
    if isinstance(tree.get("env"), dict):
        tree["env"] = {name: in_params(at) if name == "params" else at for name, at in in_params(tree["env"]).items()}
    return tree


def asked_book(tree: Mapping[str, Any]) -> str:
    """Name of the order book that settings ask for; empty where they ask for none."""
    env = tree.get("env", {})
    name = env.get("name") if isinstance(env, Mapping) else env
    return str(name) if name in catalog.order_books() else ""


def roster(door: str) -> tuple[str, ...]:
    """Strategies that a command takes where none is named: those of ``rosters.toml`` that the catalogue has.

    Raises
    ------
    UserError
        If it has none of them.
    """
    named = tomllib.loads((PRESETS.parent / "rosters.toml").read_text(encoding="utf-8"))[door]
    found = tuple(name for name in named if name in catalog.names("agents"))
    if not found:
        raise UserError(f"the catalogue has none of {', '.join(named)}; say which strategy to take.")
    return found


def read_preset(preset: str) -> Tree:
    """Settings of a preset; raises UserError where it is missing or broken."""
    path = Path(preset) if preset.endswith(".toml") else PRESETS / f"{preset}.toml"
    if not path.is_file():
        known = [p.stem for p in PRESETS.glob("*.toml")]
        raise UserError(f"no preset {preset!r}{nearest(preset, known)}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"preset {path} is not TOML: {error}.") from None
    except RecursionError:
        raise UserError(f"preset {path}: tables or lists lie too deep in one another.") from None


def _put(tree: Tree, keys: Sequence[str], value: Any) -> None:
    """Set a nested key; a bare name on the way becomes a table with that name."""
    *path, last = keys
    for key in path:
        below = tree.get(key, {})
        tree[key] = below = {"name": below} if isinstance(below, str) else below
        if not isinstance(below, dict):
            raise UserError(f"{'.'.join(keys)}: {key!r} is {shortened(below)}, and nothing can be set in it.")
        tree = below
    there = tree.get(last)
    if isinstance(there, dict) and isinstance(value, str) and len(keys) == 1:
        there["name"] = value
    else:
        tree[last] = value


def _keys(text: str) -> list[str]:
    """Parts of a dotted key as in TOML: a name that has a dot itself stands in quotes."""
    try:
        below: Any = tomllib.loads(f"{text} = 0")
    except (ValueError, RecursionError):
        raise UserError(f"--set: {text!r} is not a dotted key (such as agent.ppo.total_steps).") from None
    keys = []
    while isinstance(below, dict):
        ((key, below),) = below.items()
        keys.append(key)
    return keys


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError):
        raise UserError(f"--set: {shortened(text)} has too many digits, or lies too deep in brackets.") from None


def locate_data(tree: Tree, *, live: bool = False) -> None:
    """Where symbols or a universe are named but no data: look in ``$QFRAME_DATA``, or in ``./data``.

    Bars of a ``live`` feed come from the exchange: no folder need be there, and to name the exchange is enough.

    Raises
    ------
    UserError
        If neither folder is there.
    """
    data = tree.setdefault("data", {})
    if not isinstance(data, dict):
        data = tree["data"] = {"data": data}
    if is_address(data.get("data", ""), *POSTGRES):
        data["data"] = unlocked(data["data"])  # before anything quotes it
    if "data" in data or not (data.get("symbols") or data.get("universe") or (live and data.get("exchange"))):
        return
    folder = os.environ.get("QFRAME_DATA", "data")
    if not live and not is_address(folder, *POSTGRES) and not Path(folder).is_dir():
        where = f"$QFRAME_DATA ({folder})" if "QFRAME_DATA" in os.environ else "./data"
        raise UserError(f"{where} is not a folder of data; set QFRAME_DATA, give --data, or run experiments.download.")
    data["data"] = folder


def stored_in(given: str | None, mend: str) -> Path | str | None:
    """Where market data lie that a service shows or its jobs use: a folder, or the address of a database.

    Parameters
    ----------
    given
        What was asked for; None = as QFRAME_DATA says, if it is set.
    mend
        What to do where it is no folder.

    Raises
    ------
    UserError
        If it is neither.
    """
    place = given or os.environ.get("QFRAME_DATA")
    if not place:
        return None
    if is_address(place, *POSTGRES):
        return unlocked(place)
    if not Path(place).is_dir():
        raise UserError(f"--data: {place} is no folder; {mend}.")
    return Path(place)


def data_settings(options: Mapping[str, Any], *, live: bool = False) -> Tree:
    """What options say about data: ``data.*`` of parsed arguments that were given, checked and typed.

    ``live`` as in `locate_data`.
    """
    tree: Tree = {"data": given_under(options, "data")}
    if not tree["data"]:
        return {}
    locate_data(tree, live=live)
    return build(DataConfig, tree["data"], "options").model_dump(include=set(tree["data"]))


def given_under(options: Mapping[str, Any], path: str) -> Tree:
    """What was given of the options that stand under ``path`` in the settings, as text."""
    start = f"{path}."
    return {k.removeprefix(start): v for k, v in options.items() if k.startswith(start) and v is not None}


def _names(tree: Tree) -> set[str]:
    """Strategies that settings run."""
    given = tree.get("agents", ())
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
    return {str(part).strip() for part in parts}
