"""What a training among many agents, or a tournament, leaves for its report, and reading it back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.arena.selfplay import SelfPlay
from qframe_rl.config import UserError
from qframe_rl.evaluate.arena_plot import SeatRecord
from qframe_rl.evaluate.report.arena import ArenaMaterial, TournamentMaterial
from qframe_rl.runner.files import read_json, write_json
from qframe_rl.types import Float, Int

FACTS, RATINGS = "arena.json", "ratings.json"
"""The files by which a training among many agents and a tournament are known."""
_CURVES, _EARNED, _SEAT = "curves.json", "earned.json", "seat.json"
_SHOWN = ("episode_return", "entropy", "explained_variance", "kl")
_BAND = (0.05, 0.95)


class LearningCurves:
    """Curves of all roles of a training under way, kept beside it.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: Path):
        self.place, self.rows = folder / _CURVES, list[dict[str, Any]]()

    def resume(self, update: int) -> None:
        """Take over what there is up to an update."""
        if self.place.exists():
            self.rows = [row for row in read_json(self.place)["updates"] if row["update"] <= update]

    def add(self, training: SelfPlay) -> None:
        """Note an update."""
        roles = {
            role: {name: one.curves[name] for name in _SHOWN if name in one.curves}
            for role, one in training.trainings.items()
        }
        self.rows.append({"update": training.update, "steps": training.steps, "roles": roles})

    def write(self) -> None:
        """Keep them."""
        write_json(self.place, {"updates": self.rows})


class EarnedPaths:
    """What one agent of each role had earned by each step of an episode: mean, and the band of nine in ten episodes.

    Parameters
    ----------
    seats
        Numbers of the agents of each role.
    """

    def __init__(self, seats: Mapping[str, Int]):
        self.seats = dict(seats)
        self.paths: dict[str, dict[str, list[float]]] = {
            role: {name: [] for name in ("mean", "low", "high")} for role in seats
        }

    def __call__(self, total: Float) -> None:
        """Take a step of (E, N) sums of rewards so far."""
        for role, seats in self.seats.items():
            own = total[:, seats].mean(axis=1)
            low, high = np.quantile(own, _BAND)
            for name, value in (("mean", own.mean()), ("low", low), ("high", high)):
                self.paths[role][name].append(float(value))

    def write(self, folder: Path) -> None:
        """Keep it in the run's folder."""
        write_json(folder / _EARNED, self.paths)


def write_seat(folder: Path, title: str, lived: SeatRecord) -> None:
    """Keep what one agent lived through in an episode; prices that there are not are null.

    Parameters
    ----------
    folder
        Of the run.
    title
        Which agent.
    lived
        Its episode.
    """
    told = {name: [_plain(row) for row in part.tolist()] for name, part in lived._asdict().items()}
    write_json(folder / _SEAT, {"title": title, **told})


def _plain(value: Any) -> Any:
    """Numbers as JSON has them; what is not finite as null."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if np.isfinite(value) else None


def arena_run(place: Path) -> Path | None:
    """Folder of the training or tournament that is meant by itself or by a checkpoint of a role; None if none is."""
    for run in (place, place.parent.parent if place.parent.name == "agents" else place):
        if (run / FACTS).is_file() or (run / RATINGS).is_file():
            return run
    return None


def arena_material(run: Path) -> ArenaMaterial:
    """What the report of a training is made of.

    Raises
    ------
    UserError
        If a file is missing or corrupt.
    """
    facts, experiment = read_json(run / FACTS), read_json(run / "experiment.json")
    for name in (_CURVES, _EARNED):
        if not (run / name).is_file():
            raise UserError(f"{run} has no {name}: an earlier version wrote it, or it did not finish; run it again.")
    seat = read_json(run / _SEAT) if (run / _SEAT).is_file() else None
    return ArenaMaterial(
        run.name, facts, experiment, read_json(run / _CURVES)["updates"], read_json(run / _EARNED), seat
    )  # fmt: skip


def tournament_material(run: Path) -> TournamentMaterial:
    """What the report of a tournament is made of; raises as `arena_material`."""
    told, pairs = read_json(run / RATINGS), {}
    for name, paid in read_json(run / "pairs.json").items():
        one, _, other = name.partition(" : ")
        pairs[one, other] = np.array(paid, float)
    return TournamentMaterial(run.name, told["plan"], told["ratings"], pairs, told["hash"])
