"""What every door shares: options made from configuration, progress, errors, JSON."""

from __future__ import annotations

import argparse
import errno
import io
import json
import math
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.ctrl_c import heeded
from experiments.own import add_own
from experiments.settings import PRESETS, Tree
from qframe_rl.config import Base, Unavailable, UserError, shortened
from qframe_rl.servers import DATA_PASSWORD, has_password

if TYPE_CHECKING:
    from rich.console import Console

SHIPPED = next(
    place
    for place in (PRESETS.parent / "shipped", PRESETS.parent.parent / "checkpoints")
    if place.is_dir() or place.name == "checkpoints"
)
"""Where the checkpoints that ship lie: in the package, or in the checkout."""
_SERVER = re.compile(r"\b(redis|rediss|postgresql|postgres|influxdb|influxdbs)://.*", re.DOTALL)
"""An address of a server that may have a password, wherever in an argument it begins."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after what was done by then was put in order."""

    def __init__(self, result: Tree | None):
        super().__init__()
        self.result = result


def called(door: str, *words: object) -> str:
    """How the user calls a door with these words: by the one command where that was used, else as a module."""
    first, *rest = _named(door).split()
    return shlex.join([first, *rest, *map(str, words)]) if first == "qframe" else program("python", *rest, *words)


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
        self.passwords = {"--store": "QFRAME_STORE_PASSWORD"}
        """Variables that have passwords of addresses, by the option that takes the address; else `DATA_PASSWORD`."""
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

    def add_track(self) -> None:
        """Add the option that names who keeps curves beside TensorBoard."""
        self.add_argument(
            "--track", choices=("wandb", "mlflow"), action="append", default=[],
            help="keep curves, figures and parameters there as well, beside TensorBoard, as that tool is set up: "
            "WANDB_MODE=offline, MLFLOW_TRACKING_URI=... (may be repeated)",
        )  # fmt: skip

    def add_execute(self) -> None:
        """Add the option that says how orders are worked between two decisions."""
        self.add_argument(
            "--execute", metavar="WAY",
            help="work the strategy's market orders on finer bars, which --timeframe names (such as 1m), between its\n"
            "decisions: now (whole, on the next of them), twap:LENGTH (equal slices over it, such as twap:30m),\n"
            "pov:SHARE%% (of the volume since, such as pov:5%%), passive or passive:LENGTH (rests at the last close,\n"
            "crosses at the end) (default: each order on the strategy's own next bar)",
        )  # fmt: skip

    def add_own(self, path: str = "own") -> None:
        """Add the options of `experiments.own.add_own`."""
        add_own(self, path)

    def add_ledger(self) -> None:
        """Add the option that says where all that was ever tried is counted."""
        self.add_argument(
            "--ledger", type=Path, metavar="FILE",
            help="file in which all trials are counted, see docs/evaluation.md (default: the user's, "
            "qframe-rl/trials.db below XDG_STATE_HOME or where the platform keeps the state of programs)",
        )  # fmt: skip

    def add_state(self, default: Path | None, what: str) -> None:
        """Add the options that say where the service keeps what is its own.

        Parameters
        ----------
        default
            Folder that is taken unless told; None = as ``what`` says.
        what
            What the help says of the folder.
        """
        self.add_argument("--state", type=_folder, default=default, metavar="FOLDER", help=what)
        self.add_argument(
            "--store", metavar="URL",
            help="keep its rows in PostgreSQL, for several hosts: postgresql://user@host:5432/database, with its "
            "password in QFRAME_STORE_PASSWORD (default: QFRAME_STORE, if it is set, else service.db in the folder of "
            "--state)",
        )  # fmt: skip

    def add_alive(self) -> None:
        """Add the option that names what those who look after processes look at."""
        self.add_argument(
            "--alive", type=Path, metavar="FILE",
            help="file that is touched every second while it works, for checks of its health (default: none)",
        )  # fmt: skip

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Refuse a password of a server among the arguments before anything is done with them."""
        given = list(sys.argv[1:] if args is None else args)
        for before, text in zip(["", *given], given, strict=False):
            found = _SERVER.search(text)
            if found is not None and has_password(found[0]):
                option = text.partition("=")[0] if text.startswith("--") else before
                self._refuse_password(option, found[0])
        return super().parse_known_args(given, namespace)

    def refuse_unread(self, given: Mapping[str, Any], act: str, readers: Mapping[str, Sequence[str]]) -> None:
        """Refuse options that an act of the command does not read: who gives one expects something of it.

        Parameters
        ----------
        given, act
            What was given, and which act.
        readers
            Acts that read an option, or an argument by its name in capitals.

        Raises
        ------
        UserError
            Naming the first.
        """
        for option, acts in readers.items():
            known = self._option_string_actions.get(option)
            if given[option.lower() if known is None else known.dest] not in (None, []) and act not in acts:
                raise UserError(f"{option} is for {' and '.join(acts)}; {act} does not read it: leave it out.")

    def _refuse_password(self, option: str, url: str) -> NoReturn:
        variable = self.passwords.get(option, DATA_PASSWORD)
        if url.startswith("influx") and "token=" in url:
            variable = "INFLUX_TOKEN"
        raise UserError(
            f"{option or 'an address'}: others on the machine read a command's arguments; leave the password out of "
            f"the address, and give it as the variable {variable}."
        )

    def print_help(self, file: Any = None) -> None:
        """Print the help, and say so where stdout does not take it."""
        if code := printed(self.format_help()):
            self.exit(code)

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


def _folder(text: str) -> Path:
    """Type of an option that names a folder where others name a database."""
    if "://" in text:
        raise argparse.ArgumentTypeError("it is a folder; an address is given as --store")
    return Path(text)


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


def beating(stopped: Callable[[], bool], file: Path | None) -> Callable[[], bool]:
    """What says whether to stop, and touches a file, each second at most, whenever it is asked; None = no file."""
    if file is None:
        return stopped
    last = -math.inf

    def asked() -> bool:
        nonlocal last
        if time.monotonic() - last >= 1.0:
            file.touch()
            last = time.monotonic()
        return stopped()

    return asked


def shown(default: object) -> str:
    """A default as it is written on the command line."""
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default) or "none"
    if isinstance(default, Base):
        return str(getattr(default, "name", default))
    return "none" if default is None else str(default).replace("%", "%%")


def door(main: Callable[[Sequence[str] | None], dict[str, Any] | None], argv: Sequence[str] | None = None) -> int:
    """Run a command: 0 done, 1 something outside failed, 2 a user's mistake, 130 after Ctrl-C; each says why.

    The object that ``main`` returns is printed as the last line of stdout.
    """
    from threadpoolctl import threadpool_limits

    code = 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: tables have signs that not all locales have
    try:
        # With another number of threads, sums of linear algebra have other last bits.
        with heeded() as came, threadpool_limits(1, user_api="blas"):
            result = main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Exception) as stop:
        if not came and not isinstance(stop, KeyboardInterrupt):
            return _unwritten(stop)
        by = "" if isinstance(stop, KeyboardInterrupt) else f", in the midst of {type(stop).__name__}: {stop}"
        print(f"stopped{by}.", file=sys.stderr)
        code, result = 130, getattr(stop, "result", None)
    return code if result is None else printed(json.dumps(_stated(result), allow_nan=False) + "\n", code)


def _unwritten(error: Exception) -> int:
    """Say where stdout or a file takes or gives nothing; return the exit status. Any other failure goes on."""
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return 141
    if not isinstance(error, OSError) or (error.filename is None and error.errno != errno.ENOSPC):
        raise error
    if (place := error.filename or "stdout, or a file") != error.filename:
        _drop_stdout()
    print(f"error: {place}: {error.strerror}; name a place that can be read and written.", file=sys.stderr)
    return 2


def printed(text: str, code: int = 0) -> int:
    """Write what stdout ends with; return the exit status: ``code``, 141 where nobody reads on, 2 where it is full."""
    try:
        if sys.stdout is not None:
            sys.stdout.write(text)
            sys.stdout.flush()
        return code
    except OSError as error:
        _drop_stdout()
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"error: stdout: {error.strerror}; name a place that can be written.", file=sys.stderr)
        return 2


def _drop_stdout() -> None:
    """Let what is still to be written out go nowhere: the interpreter tries it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stated(value: Any) -> Any:
    """Plain data as JSON can have it: a number that is none, or beyond all, is null."""
    if isinstance(value, Mapping):
        return {key: _stated(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_stated(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def console(*, to_stderr: bool) -> Console:
    """Where results are printed; at least 110 columns wide where nobody looks. Brackets and ``:on:`` are text."""
    from rich.console import Console

    made = Console(stderr=to_stderr, markup=False, emoji=False)
    return made if made.is_terminal else Console(stderr=to_stderr, markup=False, emoji=False, width=110)


def program(name: str, *words: object) -> str:
    """How the user calls a program of the running environment, as a shell takes it: bare where it is on the path."""
    found, own = shutil.which(name), Path(sys.executable).parent / name
    if found is not None and Path(found).parent == own.parent:
        own = Path(name)
    elif own.is_relative_to(Path.cwd()):
        own = own.relative_to(Path.cwd())
    return shlex.join([str(own), *map(str, words)])


def checkpoint_place(text: str) -> Path:
    """Folder that a text means where a checkpoint is asked for: a folder, or the name of one that ships."""
    place = Path(text)
    return SHIPPED / text if not place.exists() and text in shipped() else place


def shipped() -> list[str]:
    """Names of the checkpoints that ship."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/checkpoint.json"))
