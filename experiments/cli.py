"""What every door shares: options made from configuration, layered settings, progress, errors, JSON."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qframe_rl import catalog
from qframe_rl.config import Base, Unavailable, UserError, build, nearest, shortened
from qframe_rl.custom import by_path, in_params
from qframe_rl.feeds.data import DataConfig

if TYPE_CHECKING:
    from rich.console import Console

PRESETS = Path(__file__).resolve().parent / "presets"
SHIPPED = next(
    place
    for place in (PRESETS.parent / "shipped", PRESETS.parent.parent / "checkpoints")
    if place.is_dir() or place.name == "checkpoints"
)
"""Where the checkpoints that ship lie: in the package, or in the checkout."""
Tree = dict[str, Any]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after what was done by then was put in order."""

    def __init__(self, result: Tree | None):
        super().__init__()
        self.result = result


def called(door: str) -> str:
    """How the user calls a door: by the one command where that was used, else as a module."""
    name = _named(door)
    return name if name.startswith("qframe") else name.replace("python", program(), 1)


def _named(door: str) -> str:
    return f"qframe {door}" if Path(sys.argv[0]).stem == "qframe" else f"python -m experiments.{door}"


class Parser(argparse.ArgumentParser):
    """Argument parser whose options are the fields of configuration records.

    Parameters
    ----------
    door
        Name of the module in ``experiments``.
    description
        What it does.
    examples
        Arguments that are worth showing.
    more
        Lines at the end of the help.
    first
        Options that matter most, in their order, with spaces between: they head the help, wherever they are added.
    """

    def __init__(self, door: str, description: str, examples: Sequence[str] = (), more: str = "", first: str = ""):
        name = _named(door)
        lines = "\n".join(f"  {name} {example}".rstrip() for example in examples)
        super().__init__(
            prog=name,
            description=description,
            epilog=f"examples:\n{lines}\n{more}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.first = first.split()
        self._foremost = self.add_argument_group("what matters most") if first else None
        self.add_argument(
            "--json", action="store_true", help="end stdout with one line of JSON, see docs/cli.md (default: off)"
        )

    def format_help(self) -> str:
        """Write the help, the foremost options first and not all of them in a line of usage."""
        if self._foremost is not None:
            known = {option: action for action in self._actions for option in action.option_strings}
            foremost = [known[option] for option in self.first]
            for group in self._action_groups:
                group._group_actions = [action for action in group._group_actions if action not in foremost]
            self._foremost._group_actions = foremost
            self._action_groups.remove(self._foremost)
            self._action_groups.insert(0, self._foremost)
            places = [f"{action.metavar or action.dest}" for action in self._get_positional_actions()]
            self.usage = " ".join(["%(prog)s", *places, "[options]"])
        return super().format_help()

    def add_on(self) -> None:
        """Add the option that says where the jobs of a run are worked on."""
        self.add_argument(
            "--on", metavar="ray[:ADDRESS]",
            help="where the work is done: ray begins a Ray cluster on this machine, ray:ADDRESS takes one that runs; "
            "results are the same, see docs/scaling.md (default: in this process)",
        )  # fmt: skip

    def add_own(self, path: str = "own") -> None:
        """Add the options by which a reward, action scheme or feature of the user's own is handed over.

        Parameters
        ----------
        path
            Where reward and actions stand in the settings; what is not the user's own stands there by ``--set``.
        """
        group = self.add_argument_group("a reward, action scheme or feature of your own")
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

    def add_ledger(self) -> None:
        """Add the option that says where all that was ever tried is counted."""
        self.add_argument(
            "--ledger", type=Path, metavar="FILE",
            help="file in which all trials are counted, see docs/evaluation.md (default: the user's, "
            "qframe-rl/trials.db below XDG_STATE_HOME or where the platform keeps the state of programs)",
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line."""
        self.exit(2, f"error: {message}; see --help.\n")

    def add_fields(
        self, title: str, model: type[Base], path: str, names: Mapping[str, str | None], *, defaults: bool = True,
        taken: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Add an option for each field of ``model``.

        Parameters
        ----------
        title
            Heading of the group in the help.
        model
            The record.
        path
            Where the record stands in the settings, such as ``data``; empty for the root.
        names
            Option names that differ from the field's, None to leave a field out.
        defaults
            Whether the help states the defaults.
        taken
            What this command takes in place of a field's default.
        """
        group = self.add_argument_group(title)
        for field, info in model.model_fields.items():
            name = names.get(field, field)
            if name is None:
                continue
            text = " ".join((info.description or "").split()).rstrip(".").replace("%", "%%")
            default = info.get_default(call_default_factory=True)
            group.add_argument(
                f"--{name.replace('_', '-')}",
                dest=f"{path}.{field}" if path else field,
                metavar="VALUE",
                help=f"{text} (default: {shown((taken or {}).get(field, default))})" if defaults else text,
            )


def _handed_over(path: str) -> str:
    """Type of an option that names a function or class of the user's own."""
    try:
        return by_path(path)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def within(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """Type of an option that is a number between two others, both included."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{shortened(text)} is not {what} from {low:g} to {high:g}")
        return value

    return read


def shown(default: object) -> str:
    """A default as it is written on the command line."""
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default) or "none"
    if isinstance(default, Base):
        return str(getattr(default, "name", default))
    return "none" if default is None else str(default).replace("%", "%%")


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
        if name.startswith("QFRAME_") and name != "QFRAME_DATA":
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


def _names(tree: Tree) -> set[str]:
    """Strategies that settings run."""
    given = tree.get("agents", ())
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
    return {str(part).strip() for part in parts}


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
    """Where symbols are named but no data: look in ``$QFRAME_DATA``, or in ``./data``.

    Bars of a ``live`` feed come from the exchange: no folder need be there, and to name the exchange is enough.

    Raises
    ------
    UserError
        If neither folder is there.
    """
    data = tree.setdefault("data", {})
    if not isinstance(data, dict):
        data = tree["data"] = {"data": data}
    if "data" in data or not (data.get("symbols") or (live and data.get("exchange"))):
        return
    folder = os.environ.get("QFRAME_DATA", "data")
    if not live and not Path(folder).is_dir():
        where = f"$QFRAME_DATA ({folder})" if "QFRAME_DATA" in os.environ else "./data"
        raise UserError(f"{where} is not a folder of data; set QFRAME_DATA, give --data, or run experiments.download.")
    data["data"] = folder


def door(main: Callable[[Sequence[str] | None], dict[str, Any] | None], argv: Sequence[str] | None = None) -> int:
    """Run a command: 0 done, 1 an exchange failed, 2 a user's mistake, 130 after Ctrl-C; each says why in a sentence.

    The object that ``main`` returns is printed as the last line of stdout.
    """
    from threadpoolctl import threadpool_limits

    code = 0
    try:
        # With another number of threads, sums of linear algebra have other last bits.
        with threadpool_limits(1, user_api="blas"):
            result = main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("stopped.", file=sys.stderr)
        code, result = 130, getattr(stop, "result", None)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}; name a place that can be read and written.", file=sys.stderr)
        return 2
    if result is not None:
        print(json.dumps(result, allow_nan=False))
    return code


def console(*, to_stderr: bool) -> Console:
    """Where results are printed; at least 110 columns wide where nobody looks."""
    from rich.console import Console

    made = Console(stderr=to_stderr)
    return made if made.is_terminal else Console(stderr=to_stderr, width=110)


def program(name: str = "python") -> str:
    """How the user calls a program of the running environment: bare where its folder is on the path."""
    found = shutil.which(name)
    own = Path(sys.executable).parent / name
    if found is not None and Path(found).parent == own.parent:
        return name
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def checkpoint_place(text: str) -> Path:
    """Folder that a text means where a checkpoint is asked for: a folder, or the name of one that ships."""
    place = Path(text)
    return SHIPPED / text if not place.exists() and text in shipped() else place


def shipped() -> list[str]:
    """Names of the checkpoints that ship."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/checkpoint.json"))


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
