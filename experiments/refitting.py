"""A session whose strategy is trained anew: what `paper` starts for ``--refit``, and the process that trains.

The process is this module itself, with the session's folder and which model it is to train. It has the lowest priority,
writes nothing but its model, and ends when its session does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, door, within
from experiments.own import add_own, own_options
from qframe_rl.config import UserError
from qframe_rl.listeners import Soft

if TYPE_CHECKING:
    from qframe_rl.checkpoint import Checkpoint
    from qframe_rl.live.open import Opened
    from qframe_rl.live.refits import RefitOutcome
    from qframe_rl.refit import Recipe

LOG = "log.txt"
"""What the processes say, in the folder of the models."""
RECIPE = ("refit_lag", "refit_train", "refit_rule", "refit_runs")
_NICE = 19
_LOOK_S = 0.2
_BACK_OFF_S = (0.1, 60.0)
_TRIES = 3
"""Times that a training may end by an error that is not said in a sentence, one after the other."""


def add_refit(made: Parser) -> None:
    """Options of `paper` for a procedure."""
    made.add_argument(
        "--refit", metavar="LENGTH",
        help="train the checkpoint's strategy anew every so long, such as 30d, by its recipe (parameters, market,\n"
        "limits of its training) on the bars known by then, beside the session and at low priority; go on with each\n"
        "model from a stated bar on (default: trade the checkpoint as it is)",
    )  # fmt: skip
    made.add_argument(
        "--refit-lag", metavar="LENGTH",
        help="of --refit: time from the last training bar of a model to its first decision. A replay waits for the\n"
        "training; live, one that takes longer is left out (default: that of the procedure that made the\n"
        "checkpoint, else 1d)",
    )  # fmt: skip
    made.add_argument(
        "--refit-train", type=within(int, 1, 10**9), metavar="BARS",
        help="of --refit: train on the last so many bars (default: as the checkpoint's procedure, else on all)",
    )  # fmt: skip
    made.add_argument(
        "--refit-rule", choices=("best", "above_cash"),
        help="of --refit: go on with the best training by its Sharpe ratio on the tail of the training bars, or only\n"
        "if that is above 0 (default: as the checkpoint's procedure, else best)",
    )  # fmt: skip
    made.add_argument(
        "--refit-runs", type=within(int, 1, 100), metavar="N",
        help="of --refit: trainings of each model (default: as the checkpoint's procedure, else 1)",
    )  # fmt: skip
    made.add_argument(
        "--refit-nice", type=within(int, 0, 19), metavar="N",
        help=f"of --refit: priority of the process that trains, 0 being the session's own and {_NICE} the lowest,\n"
        f"which gets next to nothing on a machine that is always busy (default: {_NICE})",
    )  # fmt: skip


def check_refit(given: Mapping[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises
    ------
    UserError
        Naming the first.
    """
    alone = [name for name in (*RECIPE, "refit_nice") if given[name] is not None]
    if given["refit"] is None and alone:
        raise UserError(f"--{alone[0].replace('_', '-')} is of --refit: add --refit LENGTH, such as --refit 30d.")
    if given["refit"] is not None and given["feed"] not in ("replay", "ccxt"):
        raise UserError(f"--refit is not of --feed {given['feed']}: it wants a replay of bars, or --feed ccxt.")
    if given["refit"] is not None and given["execute"] is not None:
        raise UserError(
            "--refit trains on the bars that the session trades, and --execute makes them finer: leave one out."
        )


def asked_recipe(given: Mapping[str, Any], checkpoint: Checkpoint, note: Callable[[str], None]) -> Recipe | None:
    """The procedure that is asked for; None where none is.

    Raises
    ------
    UserError
        For a strategy that quotes, or a recipe that is none.
    """
    if given["refit"] is None:
        return None
    from qframe_rl.deploy import known_data
    from qframe_rl.refit import differing, procedure_of, recipe_of

    if checkpoint.of_book:
        raise UserError(f"--refit is of strategies on bars; {given['checkpoint']} quotes.")
    asked = {one.removeprefix("refit_"): given[one] for one in RECIPE}
    recipe = recipe_of(checkpoint, given["refit"], asked, known_data(checkpoint)["since"])
    known = procedure_of(checkpoint)
    if known and (other := differing(known, recipe.model_dump(mode="json"))):
        note(f"the procedure that made the checkpoint has another {other}: what a study said of it is not of this one.")
    return recipe


class Refitting:
    """The trainings of one session, one at a time, until its stack is closed.

    Parameters
    ----------
    session
        Folder of the session.
    waits
        Whether the session waits for a training.
    nice
        Priority of the process that trains.
    note
        Told in one line what happens to them.
    own
        Options of `experiments.own.own_options`, for a strategy that needs them.
    """

    def __init__(
        self, session: Path, waits: bool, nice: int, note: Callable[[str], None], own: Sequence[str] = ()
    ):  # fmt: skip
        self.session, self.waits, self.note, self._nice, self._own = session, waits, note, nice, own
        self._wanted: tuple[int, int] | None = None
        self._failed: dict[int, str] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._due, self._wait_s, self._tries = 0.0, _BACK_OFF_S[0], 0
        self._held, self._ending, self._soft = threading.Lock(), threading.Event(), Soft(note)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self, number: int, until: int) -> None:
        """See to it that a model is trained; an earlier one that is not is given up.

        Parameters
        ----------
        number
            Of the model.
        until
            Close of the last bar that it is trained on, ns UTC.
        """
        with self._held:
            if self._wanted is not None and self._wanted[0] == number:
                return
            self._stop()
            self._wanted = number, until
            self._due, self._wait_s, self._tries = 0.0, _BACK_OFF_S[0], 0

    def outcome(self, number: int) -> RefitOutcome | None:
        """What came of a training; None = nothing yet."""
        from qframe_rl.checkpoint import load_checkpoint
        from qframe_rl.live.refits import RefitOutcome

        if number in self._failed:
            return RefitOutcome("failed", reason=self._failed[number])
        place = self._place(number)
        if not place.exists():
            return None
        model = load_checkpoint(place)
        refused = model.provenance["promotion"].get("refused", "")
        return RefitOutcome("refused" if refused else "taken", model.digest, refused)

    def end(self) -> None:
        """Stop the training under way; what it finished is taken over when it is begun again."""
        with self._held:
            self._stop()
            self._wanted = None

    def close(self) -> None:
        """End all of it with the session."""
        self._ending.set()
        self._thread.join()
        self.end()

    def _watch(self) -> None:
        while not self._ending.wait(_LOOK_S):
            with self._held:
                if self._wanted is not None:
                    self._soft.run(f"the training of model {self._wanted[0]}", self._tend, *self._wanted)

    def _tend(self, number: int, until: int) -> None:
        """Start a training, or say how it ended, and start it again where it was killed."""
        if number in self._failed or time.monotonic() < self._due or self._place(number).exists():
            return
        if self._child is None:
            self._start(number, until)
            return
        code = self._child.poll()
        if code is None:
            return
        self._child, said = None, _last_line(self._folder / LOG)
        self._tries += code > 0
        if code == 2 or self._tries == _TRIES:
            self._failed[number] = said or f"code {code}"
            return
        self.note(f"the training of model {number} ended ({said or f'code {code}'}); it starts again")
        self._due, self._wait_s = time.monotonic() + self._wait_s, min(2.0 * self._wait_s, _BACK_OFF_S[1])

    def _start(self, number: int, until: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "experiments.refitting", str(self.session), str(number), str(until)]
        argv += ["--nice", str(self._nice), *self._own]
        settings = {name: value for name, value in os.environ.items() if name != "APPRISE_URLS"}
        with (self._folder / LOG).open("ab") as log:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=settings
            )

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    @property
    def _folder(self) -> Path:
        from qframe_rl.live.refits import FOLDER

        return self.session / FOLDER

    def _place(self, number: int) -> Path:
        return self._folder / f"{number:04d}"


def refitted(
    opened: Opened, given: Mapping[str, Any], checkpoint: Checkpoint, given_data: Mapping[str, Any],
    note: Callable[[str], None], stack: contextlib.ExitStack, taken: Callable[[Checkpoint], None],
) -> Opened:  # fmt: skip
    """The session of a procedure: its bars of before are kept, and its agent is exchanged at stated bars.

    Parameters
    ----------
    opened
        The session of the first model, whose terms state the procedure.
    given, given_data
        Options; those of data.
    checkpoint
        Of the first model.
    note
        Told in one line of exchanges and trainings.
    stack
        Ends trainings when it is closed.
    taken
        Told of each model that the session goes on with.

    Raises
    ------
    UserError
        For a strategy that learns nothing, a market on finer bars, or where the bars before the session lack.
    """
    if not hasattr(opened.agent, "fit"):
        raise UserError(
            f"--refit: {opened.terms.name} learns nothing, so there is nothing to train anew; leave it out."
        )
    if opened.market.rules.detail_ns:
        raise UserError(
            "--refit: models are trained on bars of the record, which have no finer ones; leave env.detail out."
        )
    from qframe_rl.live.refits import JournalledModels, procedure
    from qframe_rl.runner.refit_beside import has_past

    if not has_past(opened.folder):
        _keep_past(opened, checkpoint, given_data)
    nice = _NICE if given["refit_nice"] is None else given["refit_nice"]
    trainer = Refitting(opened.folder.absolute(), given["feed"] == "replay", nice, note, own_options(given))
    stack.callback(trainer.close)
    models = JournalledModels(opened.folder, opened.terms, trainer, note, taken)
    return replace(opened, agent=procedure(opened.agent, opened.terms, models))


def _keep_past(opened: Opened, checkpoint: Checkpoint, given_data: Mapping[str, Any]) -> None:
    """Keep the bars before the session's first one: of a replay its own, of an exchange those on disk."""
    from experiments.screen import downloads
    from qframe_rl.deploy import data_for
    from qframe_rl.feeds.ccxt import CcxtFeed
    from qframe_rl.feeds.load import load
    from qframe_rl.live.recorded import ReplayFeed
    from qframe_rl.runner.refit_beside import keep_past
    from qframe_rl.types import iso

    config = data_for(checkpoint, {**given_data, "until": None})
    if isinstance(opened.feed, ReplayFeed):
        keep_past(opened.folder, opened.feed.history.rows(0, opened.feed.start), config)
        return
    if config.data.startswith("synthetic:"):
        raise UserError("--refit: the checkpoint comes with made-up bars; say where those of the exchange lie, --data.")
    with downloads() as report:
        past = load(config, report)
    assert isinstance(opened.feed, CcxtFeed)
    last = int(past.time[-1])
    if opened.feed.now() - last > opened.terms.window * past.bar_ns:
        raise UserError(
            f"--refit: the bars in {config.data} end at {iso(last)}, before the first that this session will see: "
            "fetch what lies between with `qframe download` first."
        )
    keep_past(opened.folder, past, config)


def main(argv: Sequence[str] | None = None) -> None:
    """Train one model; what `paper` runs."""
    made = argparse.ArgumentParser("python -m experiments.refitting", description=main.__doc__)
    made.add_argument("session", type=Path)
    made.add_argument("number", type=int)
    made.add_argument("until", type=int)
    made.add_argument("--nice", type=int, default=_NICE)
    add_own(made)
    given = made.parse_args(argv)
    os.nice(given.nice)
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    from qframe_rl.runner.refit_beside import train_beside

    train_beside(given.session, given.number, given.until, lambda: os.getppid() == parent)


def _end_with(parent: int) -> None:
    """End this process when its session has ended; a file is there whole or not at all, whenever that is."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


if __name__ == "__main__":
    sys.exit(door(main))
