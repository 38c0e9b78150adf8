"""Curves and figures of trainings in Weights & Biases or MLflow as well, beside TensorBoard.

Each training is one run of the project, or experiment, ``qframe-rl``, with its curves and, later, its parameters and
figures; runs are grouped by the folder of the run that they belong to. Where all that goes is settled as these
libraries settle it: ``WANDB_MODE=offline`` keeps it on this machine, and ``MLFLOW_TRACKING_URI`` names a server, a
database or a folder.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qframe_rl.config import UserError
from qframe_rl.evaluate.painted import pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROJECT = "qframe-rl"
_POINTS = 500
"""Points of curves that MLflow is sent at once, at most; it takes no more than a thousand."""


class Tracker(Protocol):
    """A run of one training, kept by somebody else's tool."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve.

        Parameters
        ----------
        name
            Of the curve.
        value
            Its value.
        step
            Environment steps so far.
        """

    def figure(self, name: str, figure: Figure) -> None:
        """A figure."""

    def hyper_parameters(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """What was set and what came of it."""

    def flush(self) -> None:
        """Send what waits; more may come."""

    def close(self) -> None:
        """Send what is left; the run is over."""


OpenTracker = Callable[[Path, str], Tracker]
"""Begins a run, given TensorBoard's folder of the training and the training's title."""


class OpenRuns:
    """The runs of one command, each begun when it is first written to and ended with the command.

    Parameters
    ----------
    begin
        What begins a run, for each tool.
    """

    def __init__(self, begin: Sequence[OpenTracker] = ()):
        self._begin = tuple(begin)
        self._runs: dict[Path, list[Tracker]] = {}

    def of(self, folder: Path, title: str) -> list[Tracker]:
        """The runs of a training, one of each tool, as in `OpenTracker`; raises what beginning one raises."""
        if not self._begin:
            return []
        if folder not in self._runs:
            self._runs[folder] = [begin(folder, title) for begin in self._begin]
        return self._runs[folder]

    def close(self, say: Callable[[str], None]) -> None:
        """End all; what fails is said."""
        runs, self._runs = self._runs, {}
        for folder, trackers in runs.items():
            for tracker in trackers:
                told(folder.name, tracker, lambda one: one.close(), say)


def told(title: str, tracker: Tracker, tell: Callable[[Any], None], say: Callable[[str], None]) -> bool:
    """Tell a tracker something; whether it took it. One that fails is said: a training is not lost for a server.

    Parameters
    ----------
    title
        Of the training.
    tracker
        Which.
    tell
        Given the tracker.
    say
        Told what failed.
    """
    try:
        tell(tracker)
    except Exception as error:
        why = f"{type(tracker).__name__} failed ({type(error).__name__}: {str(error)[:200]})"
        say(f"{title}: {why}; curves go on in TensorBoard alone.")
        return False
    return True


class WandbTracker(Tracker):
    """A run of Weights & Biases.

    Parameters
    ----------
    folder
        TensorBoard's of the training.
    title
        Of the training.

    Raises
    ------
    UserError
        If it cannot begin: nobody is logged in, or the server is not reached.
    """

    def __init__(self, folder: Path, title: str):
        import wandb

        place = folder.parent.parent / "wandb"
        place.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(silent=True, console="off")
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT), group=_group(folder), name=folder.name,
                job_type=title, dir=str(place.parent), reinit="create_new", settings=settings,
            )  # fmt: skip
        except (wandb.errors.Error, OSError) as error:
            raise UserError(
                f"--track wandb: {_line(error)}; log in with `wandb login`, or set WANDB_MODE=offline."
            ) from None
        self._image = wandb.Image

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve, over environment steps."""
        self._run.log({name: value}, step=step)

    def figure(self, name: str, figure: Figure) -> None:
        """A figure."""
        from PIL import Image

        self._run.log({name: self._image(Image.fromarray(pixels(figure)))})

    def hyper_parameters(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """What was set and what came of it."""
        self._run.config.update(dict(params))  # type: ignore[no-untyped-call]
        self._run.summary.update(dict(metrics))

    def flush(self) -> None:
        """Nothing waits: it sends by itself."""

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


class MlflowTracker(Tracker):
    """A run of MLflow.

    Parameters
    ----------
    folder
        TensorBoard's of the training.
    title
        Of the training.

    Raises
    ------
    UserError
        If it cannot begin: the server or the database is not reached.
    """

    def __init__(self, folder: Path, title: str):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        self._metric, self._param = Metric, Param
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        try:
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
            tags = {"group": _group(folder), "training": title}
            self._id = self._client.create_run(experiment, run_name=folder.name, tags=tags).info.run_id
        except (MlflowException, OSError) as error:
            raise UserError(f"--track mlflow: {_line(error)}; see MLFLOW_TRACKING_URI.") from None
        self._points: list[Any] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve, over environment steps; they are sent in batches."""
        self._points.append(self._metric(_spelt(name), float(value), int(time.time() * 1000), step))
        if len(self._points) >= _POINTS:
            self.flush()

    def figure(self, name: str, figure: Figure) -> None:
        """A figure."""
        self._client.log_image(self._id, pixels(figure), f"{_spelt(name)}.png")

    def hyper_parameters(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """What was set and what came of it."""
        plain = [self._param(_spelt(name), str(value)[:6000]) for name, value in params.items()]
        self._client.log_batch(self._id, params=plain)
        for name, value in metrics.items():
            self.scalar(name, value, 0)

    def close(self) -> None:
        """Send what is left."""
        self.flush()
        self._client.set_terminated(self._id)

    def flush(self) -> None:
        """Send the points that wait."""
        points, self._points = self._points, []
        if points:
            self._client.log_batch(self._id, metrics=points)


TRACKERS: dict[str, tuple[str, OpenTracker]] = {"wandb": ("wandb", WandbTracker), "mlflow": ("mlflow", MlflowTracker)}
"""By name: the package that is needed, and what begins a run."""


def tracker_of(name: str) -> OpenTracker:
    """What begins runs of a tool.

    Raises
    ------
    UserError
        If its package is not installed.
    """
    package, begin = TRACKERS[name]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--track {name} needs the package {package}: pip install 'qframe-rl[{name}]'.")
    return begin


def _group(folder: Path) -> str:
    """Name of the run that a training belongs to."""
    return folder.parent.parent.name


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200].rstrip(".") if str(error).strip() else type(error).__name__


def _spelt(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
